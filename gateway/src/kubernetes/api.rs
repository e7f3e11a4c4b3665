//! Requests to an API server: one answer, a list in pages, the lines of a watch. Objects are JSON throughout.
//!
//! The room knows credentials and bounds, and no kind of object.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde_json::Value;

use crate::visible::visible;

/// A request that is not answered after this long has failed. Watches have deadlines of their own.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// An answer is refused beyond; a page of 500 objects is far below.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event is refused beyond; an object has at most 1.5 MiB in etcd.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// All pages of a list together: beyond, it has failed. A cluster of ten thousand routes takes a tenth of it.
const LIST_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Pages of a list: as many as a hundred thousand objects take. A list that never ends fails.
const PAGES_MAX: usize = 200;

/// Objects in one page of a list.
const PAGE: usize = 500;

/// Why a request has no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The API server answered with an error status.
    Status { code: u16, message: String, retry_after: Option<Duration> },
    /// No whole answer came, or none that can be read.
    Lost(String),
}

impl Trouble {
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::Lost(_) => None,
        }
    }

    fn lost(error: impl std::fmt::Display) -> Self {
        Self::Lost(error.to_string())
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { code, message, .. } if message.is_empty() => write!(f, "answered {code}"),
            Self::Status { code, message, .. } => write!(f, "answered {code}: {}", visible(message)),
            Self::Lost(why) => f.write_str(&visible(why)),
        }
    }
}

/// The way to an API server. To be used on the runtime on which it was made: its connections are tasks there.
#[derive(Clone)]
pub(super) struct Api {
    client: kube::Client,
}

/// All objects of a kind.
pub(super) struct Listed {
    pub(super) items: Vec<Value>,
    pub(super) version: String,
}

impl Api {
    /// By `KUBECONFIG` or `~/.kube/config`, else by a Pod's service account.
    pub(super) async fn infer() -> Result<Self, String> {
        let mut config = kube::Config::infer().await.map_err(|error| error.to_string())?;
        // The callers have pauses of their own, and count the errors.
        config.default_retry = false;
        let client = kube::Client::try_from(config).map_err(|error| error.to_string())?;
        Ok(Self { client })
    }

    /// The kubeconfig's, or that of our Pod.
    pub(super) fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Trouble> {
        self.ask(request(Method::GET, path, "application/json", None)?).await
    }

    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<Value, Trouble> {
        self.ask(request(Method::POST, path, "application/json", Some(("application/json", object)))?).await
    }

    pub(super) async fn replace(&self, path: &str, object: &Value) -> Result<Value, Trouble> {
        self.ask(request(Method::PUT, path, "application/json", Some(("application/json", object)))?).await
    }

    pub(super) async fn merge(&self, path: &str, patch: &Value) -> Result<Value, Trouble> {
        let body = Some(("application/merge-patch+json", patch));
        self.ask(request(Method::PATCH, path, "application/json", body)?).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Trouble> {
        self.ask(request(Method::DELETE, path, "application/json", None)?).await
    }

    /// All objects at `path`, page by page; `kept` strips each object as its page arrives, so that the whole list is never in
    /// memory. Where the continue token has expired (410), one request asks for all objects at once.
    pub(super) async fn list(
        &self,
        path: &str,
        metadata_only: bool,
        kept: impl Fn(Value) -> Value,
    ) -> Result<Listed, Trouble> {
        match self.pages(path, metadata_only, &kept, Some(PAGE)).await {
            Err(trouble) if trouble.code() == Some(410) => self.pages(path, metadata_only, &kept, None).await,
            listed => listed,
        }
    }

    async fn pages(
        &self,
        path: &str,
        metadata_only: bool,
        kept: &impl Fn(Value) -> Value,
        size: Option<usize>,
    ) -> Result<Listed, Trouble> {
        let limit = size.map(|size| format!("{}limit={size}", separator(path))).unwrap_or_default();
        let path = format!("{path}{limit}");
        let accept = accept(metadata_only, "PartialObjectMetadataList");
        let mut items = Vec::new();
        let (mut token, mut all_bytes) = (String::new(), 0);
        for _ in 0..PAGES_MAX {
            let page = format!("{path}{token}");
            let (mut page, bytes) = self.ask_sized(request(Method::GET, &page, &accept, None)?).await?;
            all_bytes += bytes;
            if all_bytes > LIST_BYTES_MAX {
                return Err(Trouble::Lost(format!("the list takes more than {LIST_BYTES_MAX} bytes")));
            }
            let meta = |name: &str| page.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
            let version = meta("resourceVersion").unwrap_or_default().to_owned();
            let next = meta("continue").unwrap_or_default();
            token = format!("{}continue={}", separator(&path), escaped(next));
            let is_last = next.is_empty();
            if let Some(Value::Array(all)) = page.get_mut("items").map(Value::take) {
                items.extend(all.into_iter().map(kept));
            }
            if is_last {
                return Ok(Listed { items, version });
            }
        }
        Err(Trouble::Lost(format!("the list has more than {PAGES_MAX} pages")))
    }

    /// Opens a watch: the changes at `path` after the resource version `version`.
    pub(super) async fn watch(
        &self,
        path: &str,
        metadata_only: bool,
        version: &str,
        seconds: u64,
    ) -> Result<Events, Trouble> {
        let accept = accept(metadata_only, "PartialObjectMetadata");
        let path = format!(
            "{path}{}watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            separator(path),
            escaped(version)
        );
        let request = request(Method::GET, &path, &accept, None)?;
        let answer = tokio::time::timeout(ANSWER_MAX, self.send(request)).await.map_err(|_| late())??;
        Ok(Events { body: answer, held: Vec::new(), seen: 0 })
    }

    async fn ask(&self, request: Request<Body>) -> Result<Value, Trouble> {
        self.ask_sized(request).await.map(|(value, _)| value)
    }

    /// And how many bytes it took.
    async fn ask_sized(&self, request: Request<Body>) -> Result<(Value, usize), Trouble> {
        let whole = async {
            let body = self.send(request).await?;
            let bytes =
                Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Trouble::lost)?.to_bytes();
            serde_json::from_slice(&bytes).map(|value| (value, bytes.len())).map_err(Trouble::lost)
        };
        tokio::time::timeout(ANSWER_MAX, whole).await.map_err(|_| late())?
    }

    /// The body of an answer that is one.
    async fn send(&self, request: Request<Body>) -> Result<Body, Trouble> {
        let answer = self.client.send(request).await.map_err(Trouble::lost)?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let retry_after = head.headers.get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
        let bytes =
            Limited::new(body, 64 * 1024).collect().await.map(|all| all.to_bytes()).unwrap_or_default();
        let said: Option<Value> = serde_json::from_slice(&bytes).ok();
        let message = said.as_ref().and_then(|said| said.get("message")?.as_str()).unwrap_or_default();
        Err(Trouble::Status {
            code: head.status.as_u16(),
            message: message.to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
        })
    }
}

fn late() -> Trouble {
    Trouble::Lost(format!("no answer after {} s", ANSWER_MAX.as_secs()))
}

fn accept(metadata_only: bool, what: &str) -> String {
    if metadata_only {
        format!("application/json;as={what};g=meta.k8s.io;v=v1")
    } else {
        "application/json".to_owned()
    }
}

fn request(
    method: Method,
    path: &str,
    accept: &str,
    body: Option<(&str, &Value)>,
) -> Result<Request<Body>, Trouble> {
    let mut request = Request::builder().method(method).uri(path).header("accept", accept);
    let body = match body {
        Some((kind, value)) => {
            request = request.header("content-type", kind);
            Body::from(value.to_string().into_bytes())
        }
        None => Body::empty(),
    };
    request.body(body).map_err(Trouble::lost)
}

/// The separator before one more parameter of a query.
fn separator(path: &str) -> char {
    if path.contains('?') { '&' } else { '?' }
}

/// As part of a query.
fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The events of a watch, one by one.
pub(super) struct Events {
    body: Body,
    held: Vec<u8>,
    /// So many of `held` are no end of a line.
    seen: usize,
}

impl Events {
    /// `None` at the end. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, Trouble> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', self.held.get(self.seen..).unwrap_or_default()) {
                let rest = self.held.split_off(self.seen + at + 1);
                let line = std::mem::replace(&mut self.held, rest);
                self.seen = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(Trouble::lost);
            }
            self.seen = self.held.len();
            if self.seen > EVENT_BYTES_MAX {
                return Err(Trouble::Lost(format!("an event has more than {EVENT_BYTES_MAX} bytes")));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Trouble::lost(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.held.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
