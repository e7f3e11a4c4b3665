//! Requests as bytes, made once before the run: from URLs, weighted files and recordings. Sends nothing.

use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, ensure};
use bytes::Bytes;

use crate::call::Call;
use crate::replay::{Pace, Recorded};
use crate::websocket::{self, Opcode, Role};
use crate::{grpc, http1};

/// A prepared request.
#[derive(Clone, Debug)]
pub struct Template {
    /// In HTTP/1.1.
    pub bytes: Bytes,
    /// The same in HTTP/2.
    pub message: Message,
    pub is_head: bool,
    /// Index of the address that it goes to, in the mix.
    pub target: usize,
    pub weight: f64,
    /// Index of its kind, in the mix.
    pub kind: u32,
    /// Where `bytes` are a message within a WebSocket.
    pub opening: Option<Opening>,
}

/// How a WebSocket is opened, and the payload that is to come back on it.
#[derive(Clone, Debug)]
pub struct Opening {
    /// In HTTP/1.1.
    pub bytes: Bytes,
    /// In HTTP/2, without the parts that make it a CONNECT.
    pub request: http::Request<()>,
    pub payload: Bytes,
}

/// A request of HTTP/2.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub request: http::Request<()>,
    /// Content; each part goes in frames of its own.
    pub parts: Vec<Bytes>,
}

/// Kinds of requests that figures are told by. Each costs 50 kB in every thread and interval.
const KINDS_MAX: usize = 64;

/// The name of further ones.
const OTHERS: &str = "(others)";

/// A server that requests go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub addr: SocketAddr,
    /// Over TLS, with a server of this name.
    pub cover: Option<String>,
}

/// All prepared requests of a run and where they go.
#[derive(Clone, Debug, Default)]
pub struct Mix {
    pub templates: Vec<Template>,
    pub targets: Vec<Target>,
    /// Requests as they were written; figures are told by them.
    pub kinds: Vec<String>,
    /// For a replay: when each request is due and which it is.
    pub recorded: Option<std::sync::Arc<Vec<(u64, u32)>>>,
    /// Targets by their names in URLs, so that each name is looked up once.
    known: HashMap<(bool, String), usize>,
}

/// The part that all requests of a run have in common.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    pub method: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Content as it was written, which may have variables, in the place of `body`.
    pub text: Option<String>,
    /// Requests that are made of one with variables.
    pub variants: u64,
    pub seed: u64,
    pub chunked: bool,
    pub keep_alive: bool,
    pub http2: bool,
    /// The body is a gRPC message, sent so many times in one call.
    pub grpc_messages: Option<u64>,
    /// Its messages and the method, in the place of the body and the URL's path.
    pub call: Option<Call>,
    /// The body is a message that a WebSocket at the URL is to send back.
    pub websocket: bool,
}

/// `http://host[:port]/target`, or `https://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// https.
    pub secure: bool,
    pub authority: String,
    pub target: String,
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(format!("`{text}`: a URL starts with http:// or https://")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let clean = |s: &str| s.bytes().all(|b| b.is_ascii_graphic());
        if authority.is_empty() || !clean(rest) {
            return Err(format!("`{text}` is no URL"));
        }
        let target = target.split('#').next().unwrap_or("");
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { secure, authority: authority.to_string(), target: format!("{slash}{target}") })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}{}", self.scheme(), self.authority, self.target)
    }
}

impl Url {
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The authority without its port, as certificates name it.
    pub fn host(&self) -> &str {
        let host = match self.authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            Some(_) | None => &self.authority,
        };
        host.trim_start_matches('[').trim_end_matches(']')
    }

    pub fn resolve(&self) -> anyhow::Result<SocketAddr> {
        let has_port = self.authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let full = if has_port {
            self.authority.clone()
        } else {
            format!("{}:{}", self.authority, if self.secure { 443 } else { 80 })
        };
        let mut found = full.to_socket_addrs().with_context(|| format!("cannot resolve {full}"))?;
        found.next().with_context(|| format!("{full} has no address"))
    }
}

impl Shape {
    /// The request's bytes, body included.
    pub fn render(&self, method: &str, url: &Url, body: &[u8]) -> Bytes {
        let mut out = format!("{method} {} HTTP/1.1\r\n", url.target).into_bytes();
        let has = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut field = |name: &str, value: &str| {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        };
        if !has("host") {
            field("Host", &url.authority);
        }
        for (name, value) in &self.headers {
            field(name, value);
        }
        if !self.keep_alive {
            field("Connection", "close");
        }
        let chunked = self.chunked && !body.is_empty();
        if chunked {
            field("Transfer-Encoding", "chunked");
        } else if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            field("Content-Length", &body.len().to_string());
        }
        out.extend_from_slice(b"\r\n");
        if chunked {
            http1::chunked::encode(body, 16 * 1024, &mut out);
        } else {
            out.extend_from_slice(body);
        }
        out.into()
    }
}

/// Fields that are a connection's in HTTP/1.1 and forbidden in HTTP/2 (RFC 9113 §8.2.2).
const CONNECTION_FIELDS: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

impl Shape {
    /// A message, and the handshake of the WebSocket that it is sent on.
    fn open(&self, url: &Url, payload: &[u8]) -> anyhow::Result<(Bytes, Opening)> {
        let own = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", websocket::KEY),
            ("Sec-WebSocket-Version", "13"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = self.headers.iter().cloned().chain(own).collect();
        let http1 = Self { headers, ..self.clone() };
        let version = ("sec-websocket-version".to_owned(), "13".to_owned());
        let headers = self.headers.iter().cloned().chain([version]).collect();
        let http2 = Self { headers, ..self.clone() };
        let opening = Opening {
            bytes: http1.render("GET", url, b""),
            request: http2.message("GET", url, b"")?.request,
            payload: Bytes::copy_from_slice(payload),
        };
        Ok((websocket::frame(Role::Client, Opcode::Binary, payload).into(), opening))
    }

    /// The request as HTTP/2 has it. `Host` becomes its authority.
    fn message(&self, method: &str, url: &Url, body: &[u8]) -> anyhow::Result<Message> {
        let own = |name: &str| self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        let authority = own("host").map_or(&url.authority, |(_, value)| value);
        let path = self.call.as_ref().map_or(&url.target, |call| &call.path);
        let uri = format!("{}://{authority}{path}", url.scheme());
        let mut request = http::Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in &self.headers {
            let name = name.to_ascii_lowercase();
            ensure!(!CONNECTION_FIELDS.contains(&name.as_str()), "HTTP/2 has no field `{name}`");
            if name != "host" {
                request = request.header(name, value);
            }
        }
        let parts = match self.grpc_messages {
            Some(count) => {
                request = request.header("te", "trailers");
                if own("content-type").is_none() {
                    request = request.header("content-type", "application/grpc");
                }
                let of_call =
                    self.call.iter().flat_map(|call| &call.messages).map(|message| grpc::frame(message));
                let mut once: Vec<Bytes> = of_call.collect();
                if self.call.is_none() {
                    once.push(grpc::frame(body));
                }
                std::iter::repeat_n(once, count as usize).flatten().collect()
            }
            None if body.is_empty() => Vec::new(),
            None => {
                if !self.chunked {
                    request = request.header("content-length", body.len());
                }
                vec![Bytes::copy_from_slice(body)]
            }
        };
        Ok(Message { request: request.body(())?, parts })
    }
}

impl Template {
    /// Bytes of the request; in HTTP/2 of its content alone.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.message.parts.iter().map(Bytes::len).sum::<usize>()
    }
}

impl Mix {
    fn target(&mut self, url: &Url) -> anyhow::Result<usize> {
        let name = (url.secure, url.authority.clone());
        if let Some(known) = self.known.get(&name) {
            return Ok(*known);
        }
        let target = Target { addr: url.resolve()?, cover: url.secure.then(|| url.host().to_string()) };
        let index = self.targets.iter().position(|known| *known == target).unwrap_or_else(|| {
            self.targets.push(target);
            self.targets.len() - 1
        });
        self.known.insert(name, index);
        Ok(index)
    }

    /// Where figures of requests that are called so are; the last of as many as there may be stands for all others.
    pub(super) fn kind(&mut self, name: &str) -> u32 {
        let known = self.kinds.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            if self.kinds.len() < KINDS_MAX {
                let is_last = self.kinds.len() + 1 == KINDS_MAX;
                self.kinds.push(if is_last { OTHERS } else { name }.to_owned());
            }
            self.kinds.len() - 1
        });
        index as u32
    }

    /// Adds a request, with its weight and its kind.
    pub fn add(
        &mut self,
        shape: &Shape,
        method: &str,
        url: &Url,
        body: &[u8],
        (weight, kind): (f64, u32),
    ) -> anyhow::Result<u32> {
        ensure!(
            !method.is_empty() && method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'),
            "`{method}` is no method"
        );
        let target = self.target(url)?;
        if shape.websocket {
            ensure!(
                self.templates.iter().all(|known| known.target != target),
                "a WebSocket is opened at one URL of each host"
            );
            let (bytes, opening) = shape.open(url, body)?;
            let (message, opening) = (Message::default(), Some(opening));
            self.templates.push(Template { bytes, message, is_head: false, target, weight, kind, opening });
            return Ok(self.templates.len() as u32 - 1);
        }
        let (bytes, message) = match shape.http2 {
            true => (Bytes::new(), shape.message(method, url, body)?),
            false => (shape.render(method, url, body), Message::default()),
        };
        self.templates.push(Template {
            bytes,
            message,
            is_head: method == "HEAD",
            target,
            weight,
            kind,
            opening: None,
        });
        Ok(self.templates.len() as u32 - 1)
    }

    /// Recorded requests at `pace`, sent to `base`. The shape's own fields stand in the place of recorded ones, and its body in
    /// that of requests without one.
    pub fn add_recorded(
        &mut self,
        shape: &Shape,
        base: &Url,
        requests: &[Recorded],
        pace: Pace,
    ) -> anyhow::Result<()> {
        let first_ns = requests.first().map_or(0, |first| first.at_ns);
        let mut known: HashMap<Said<'_>, u32> = HashMap::new();
        let mut due = Vec::with_capacity(requests.len());
        for (index, recorded) in requests.iter().enumerate() {
            let Recorded { at_ns, method, target, headers, body } = recorded;
            let key = (method.as_str(), target.as_str(), headers.as_slice(), body.as_slice());
            let template = match known.get(&key) {
                Some(&template) => template,
                None => {
                    let is_ours =
                        |name: &str| shape.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
                    let kept = headers.iter().filter(|(name, _)| !is_ours(name)).cloned();
                    let headers = kept.chain(shape.headers.iter().cloned()).collect();
                    let shape = Shape { headers, ..shape.clone() };
                    let url = Url { target: target.clone(), ..base.clone() };
                    let body = if body.is_empty() { &shape.body[..] } else { body };
                    let path = target.split('?').next().unwrap_or_default();
                    let kind = self.kind(&format!("{method} {path}"));
                    let template = self.add(&shape, method, &url, body, (1.0, kind))?;
                    known.insert(key, template);
                    template
                }
            };
            let after_ns = u64::try_from(at_ns - first_ns).unwrap_or(0);
            due.push((pace.due_ns(index, after_ns), template));
        }
        self.recorded = Some(due.into());
        Ok(())
    }
}

/// A recorded request without its time.
type Said<'r> = (&'r str, &'r str, &'r [(String, String)], &'r [u8]);

/// `count` bytes of harmless content.
pub fn sized_body(count: u64) -> Bytes {
    let line = b"loadgen body 0123456789 abcdefghijklmnopqrstuvwxyz\n";
    line.iter().copied().cycle().take(count as usize).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_into_authority_and_target() {
        let check = |text: &str, authority: &str, target: &str| {
            let secure = text.starts_with("https");
            let expected = Url { secure, authority: authority.into(), target: target.into() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        };
        check("http://127.0.0.1:80", "127.0.0.1:80", "/");
        check("http://a/b?c#d", "a", "/b?c");
        check("http://a?c", "a", "/?c");
        check("https://[::1]:8443/a", "[::1]:8443", "/a");
        let host = |text: &str| text.parse::<Url>().map(|url| url.host().to_string());
        assert_eq!(host("https://[::1]:8443/"), Ok("::1".into()));
        assert_eq!(host("https://a.test/b:1"), Ok("a.test".into()));
        for bad in ["ftp://a/", "a/b", "http://", "http://a b/"] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rendered_requests_parse_back() {
        let url = Url { secure: false, authority: "h:1".into(), target: "/x".into() };
        for chunked in [false, true] {
            let shape = Shape { chunked, keep_alive: true, ..Default::default() };
            let bytes = shape.render("POST", &url, b"hello");
            let head = http1::head::request(&bytes).ok().flatten();
            assert!(head.as_ref().is_some_and(|h| h.keep_alive), "{bytes:?}");
            let Some(head) = head else { return };
            let (mut body, mut got) = (http1::body::Body::new(head.framing), Vec::new());
            let used = body.feed(&bytes[head.head_len..], |d| got.extend_from_slice(d));
            assert_eq!((used, &got[..]), (Ok(bytes.len() - head.head_len), &b"hello"[..]));
            assert!(body.is_done());
        }
    }
}
