//! Two sample services, v1 and v2: the part of httpbin's surface that a demonstration needs, and a line on standard
//! output for each request they see, like the logs of two pods.
//!
//! They know nothing of the gateway before them; they live on a thread of their own, so that nothing asked of them can
//! hold up the control plane.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::serve::ListenerExt;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::os;

/// Content of one request; a sample that is asked to hold more says so.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest answer of `/bytes/{n}`.
const ANSWER_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Longest wait of `/delay/{seconds}`.
const DELAY_SECONDS_MAX: f64 = 10.0;

/// Where the two services listen, on loopback ports the kernel chose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples {
    pub(crate) v1: SocketAddr,
    pub(crate) v2: SocketAddr,
}

/// Starts both services; `gone` is called if they ever end.
pub(crate) fn start(gone: impl FnOnce() + Send + 'static) -> io::Result<Samples> {
    let bind = || {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        Ok::<_, io::Error>((listener.local_addr()?, listener))
    };
    let (v1, first) = bind()?;
    let (v2, second) = bind()?;
    apart("umbra-samples", gone, async {
        tokio::try_join!(serve(first, pod("v1", print)), serve(second, pod("v2", print))).map(drop)
    })?;
    Ok(Samples { v1, v2 })
}

/// Runs services on a thread of their own; `gone` is called if they ever end.
pub(crate) fn apart(
    name: &str,
    gone: impl FnOnce() + Send + 'static,
    services: impl Future<Output = io::Result<()>> + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = move || {
        /// Tells on every way out, a panic included.
        struct Gone<F: FnOnce()>(Option<F>);
        impl<F: FnOnce()> Drop for Gone<F> {
            fn drop(&mut self) {
                if let Some(tell) = self.0.take() {
                    tell();
                }
            }
        }
        let _gone = Gone(Some(gone));
        if let Err(error) = runtime.block_on(services) {
            tracing::error!("sample services: {error}");
        }
    };
    os::without_signals(|| thread::Builder::new().name(name.to_owned()).spawn(body))?;
    Ok(())
}

/// A line of the pod's log. A closed standard output silences the services and ends nothing.
fn print(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Serves for the rest of the process's life.
pub(crate) async fn serve(listener: std::net::TcpListener, pod: Router) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?.tap_io(|stream| {
        // Without it an answer in two writes waits for an acknowledgement; not worth failing a connection for.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, pod.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// The differences between the two services.
#[derive(Clone)]
struct Pod {
    version: &'static str,
    print: Arc<dyn Fn(&str) + Send + Sync>,
}

fn pod(version: &'static str, print: impl Fn(&str) + Send + Sync + 'static) -> Router {
    let pod = Pod { version, print: Arc::new(print) };
    Router::new()
        .route("/status/{code}", any(status))
        .route("/get", get(echo_get))
        .route("/post", post(echo_post))
        .route("/anything", any(echo_anything))
        .route("/anything/{*rest}", any(echo_anything))
        .route("/headers", get(headers))
        .route("/delay/{seconds}", any(delay))
        .route("/bytes/{n}", get(bytes))
        // `log` holds the content of every request before its handler runs, within its own bound.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(pod.clone(), log))
        .with_state(pod)
}

/// Takes the whole request, lets it be answered, and prints its line.
async fn log(State(pod): State<Pod>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let target = parts.uri.path_and_query().map_or_else(|| "*".to_owned(), ToString::to_string);
    let id = text_of(&parts.headers, "x-request-id").unwrap_or("-").to_owned();
    let copy = if parts.headers.contains_key("x-umbra-mirror") { "  (copy)" } else { "" };
    let told = text_of(&parts.headers, CONTENT_LENGTH.as_str()).and_then(|n| n.parse::<usize>().ok());
    let refuse = |status| ((status, "content too long or not readable\n").into_response(), "? B".to_owned());
    let (response, size) = if told.is_some_and(|n| n > REQUEST_BYTES_MAX) {
        refuse(StatusCode::PAYLOAD_TOO_LARGE)
    } else {
        match axum::body::to_bytes(body, REQUEST_BYTES_MAX).await {
            Ok(content) => {
                let size = format!("{} B", content.len());
                (next.run(Request::from_parts(parts, Body::from(content))).await, size)
            }
            // Cut short, badly framed, or larger than the limit without a declared length.
            Err(_) => refuse(StatusCode::BAD_REQUEST),
        }
    };
    let status = response.status().as_u16();
    (pod.print)(&format!("{}  {method} {target} {status}  {size}  id={id}{copy}", pod.version));
    response
}

/// Answers with the code asked for, as far as it can end an exchange.
async fn status(State(pod): State<Pod>, Path(code): Path<String>) -> Response {
    let code =
        code.parse().ok().filter(|c| (200..=599).contains(c)).and_then(|c| StatusCode::from_u16(c).ok());
    let Some(code) = code else {
        return (StatusCode::BAD_REQUEST, "a status code is a number from 200 to 599\n").into_response();
    };
    let version = [("x-sample-version", pod.version)];
    if code.is_redirection() && code != StatusCode::NOT_MODIFIED {
        return (code, version, [(LOCATION, "/get")]).into_response();
    }
    (code, version).into_response()
}

async fn echo_get(State(pod): State<Pod>, seen: Seen) -> Response {
    pretty(pod, seen.always())
}

async fn echo_post(State(pod): State<Pod>, seen: Seen) -> Response {
    let mut answer = seen.always();
    answer.extend(seen.content());
    pretty(pod, answer)
}

async fn echo_anything(State(pod): State<Pod>, seen: Seen) -> Response {
    let mut answer = seen.always();
    answer.extend(seen.content());
    answer.insert("method".to_owned(), seen.method.as_str().into());
    pretty(pod, answer)
}

async fn headers(State(pod): State<Pod>, seen: Seen) -> Response {
    pretty(pod, Map::from_iter([("headers".to_owned(), seen.header_fields())]))
}

async fn delay(State(pod): State<Pod>, Path(seconds): Path<String>, seen: Seen) -> Response {
    let Some(wait) = wait_of(&seconds) else {
        return (StatusCode::BAD_REQUEST, "a delay is a number of seconds\n").into_response();
    };
    tokio::time::sleep(wait).await;
    echo_anything(State(pod), seen).await
}

fn wait_of(seconds: &str) -> Option<Duration> {
    let seconds: f64 = seconds.parse().ok()?;
    // `min` would take a NaN for the bound.
    if seconds.is_nan() {
        return None;
    }
    Duration::try_from_secs_f64(seconds.min(DELAY_SECONDS_MAX)).ok()
}

/// `n` bytes, the same for the same `n`, so that a client can tell whether they are whole.
async fn bytes(Path(n): Path<String>) -> Response {
    match n.parse::<usize>() {
        Ok(n) if n <= ANSWER_BYTES_MAX => {
            // A period that is no power of two: a block out of place shows.
            let content: Vec<u8> = (0..=250_u8).cycle().take(n).collect();
            ([(CONTENT_TYPE, "application/octet-stream")], content).into_response()
        }
        Ok(_) | Err(_) => {
            (StatusCode::BAD_REQUEST, format!("a number of bytes is at most {ANSWER_BYTES_MAX}\n"))
                .into_response()
        }
    }
}

/// A request as httpbin would show it.
struct Seen {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    peer: SocketAddr,
    content: Bytes,
}

impl<S: Send + Sync> axum::extract::FromRequest<S> for Seen {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (method, uri, headers) =
            (request.method().clone(), request.uri().clone(), request.headers().clone());
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0);
        let content = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let peer = peer.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Ok(Self { method, uri, headers, peer, content })
    }
}

impl Seen {
    /// The members that every answer has; `/get` has no others.
    fn always(&self) -> Map<String, Value> {
        let peer = self.peer.ip().to_string();
        let origin = text_of(&self.headers, "x-forwarded-for").unwrap_or(&peer);
        let scheme = text_of(&self.headers, "x-forwarded-proto").unwrap_or("http");
        let host = text_of(&self.headers, HOST.as_str()).unwrap_or("localhost");
        let target = self.uri.path_and_query().map_or("/", |t| t.as_str());
        Map::from_iter([
            ("args".to_owned(), pairs(self.uri.query().unwrap_or_default().as_bytes())),
            ("headers".to_owned(), self.header_fields()),
            ("origin".to_owned(), origin.into()),
            ("url".to_owned(), format!("{scheme}://{host}{target}").into()),
        ])
    }

    /// The members for a request's content. Multipart forms stay `data`; nothing here takes them apart.
    fn content(&self) -> Map<String, Value> {
        let kind = text_of(&self.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let (data, form) = if kind.starts_with("application/x-www-form-urlencoded") {
            (String::new(), pairs(&self.content))
        } else {
            (as_text(&self.content), json!({}))
        };
        Map::from_iter([
            ("data".to_owned(), data.into()),
            ("files".to_owned(), json!({})),
            ("form".to_owned(), form),
            ("json".to_owned(), serde_json::from_slice(&self.content).unwrap_or(Value::Null)),
        ])
    }

    /// Names in httpbin's spelling, repeated fields joined.
    fn header_fields(&self) -> Value {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let field = fields.entry(title_case(name.as_str())).or_default();
            if !field.is_empty() {
                field.push(',');
            }
            field.push_str(&value);
        }
        json!(fields)
    }
}

/// Indented, keys sorted and ended by a line feed, as httpbin writes it.
fn pretty(pod: Pod, mut answer: Map<String, Value>) -> Response {
    answer.insert("version".to_owned(), pod.version.into());
    let text = format!("{:#}\n", Value::Object(answer));
    ([(CONTENT_TYPE, "application/json")], [("x-sample-version", pod.version)], text).into_response()
}

/// `a=1&b=2` as an object; a name given twice gets a list.
fn pairs(encoded: &[u8]) -> Value {
    let mut object = Map::new();
    for (name, value) in form_urlencoded::parse(encoded) {
        let value = Value::from(value.into_owned());
        match object.get_mut(name.as_ref()) {
            None => {
                object.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    Value::Object(object)
}

fn as_text(content: &Bytes) -> String {
    match std::str::from_utf8(content) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("data:application/octet-stream;base64,{}", STANDARD.encode(content)),
    }
}

fn title_case(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|c| {
            let shown = if start { c.to_ascii_uppercase() } else { c };
            start = c == '-';
            shown
        })
        .collect()
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Answer {
        status: u16,
        head: String,
        body: Vec<u8>,
        /// The line that the pod printed for it.
        line: String,
    }

    impl Answer {
        fn json(&self) -> Value {
            serde_json::from_slice(&self.body).unwrap()
        }
    }

    /// A v2 pod on a port of its own, asked in raw bytes.
    struct Pod {
        address: SocketAddr,
        lines: Receiver<String>,
    }

    impl Pod {
        fn start() -> Self {
            let (lines, printed) = channel();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, pod("v2", move |line| lines.send(line.to_owned()).unwrap())));
            Self { address, lines: printed }
        }

        async fn ask(&self, request_line: &str, fields: &str, content: &[u8]) -> Answer {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let head = format!(
                "{request_line} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n",
                content.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(content).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
            let head = String::from_utf8(answer[..end].to_vec()).unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Answer { status, head, body: answer[end + 4..].to_vec(), line: self.lines.recv().unwrap() }
        }
    }

    #[tokio::test]
    async fn status_answers_with_the_code_asked_for() {
        let v2 = Pod::start();
        for code in [200, 204, 302, 304, 418, 503] {
            let answer = v2.ask(&format!("GET /status/{code}"), "", b"").await;
            assert_eq!(answer.status, code);
            assert_eq!(answer.line, format!("v2  GET /status/{code} {code}  0 B  id=-"));
        }
        for bad in ["100", "600", "x"] {
            assert_eq!(v2.ask(&format!("GET /status/{bad}"), "", b"").await.status, 400, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_copy_prints_its_id_its_size_and_that_it_is_one() {
        let v2 = Pod::start();
        let fields = "X-Request-Id: 7f\r\nX-Umbra-Mirror: v2\r\n";
        let answer = v2.ask("POST /anything", fields, b"hello").await;
        assert_eq!(answer.line, "v2  POST /anything 200  5 B  id=7f  (copy)");
    }

    #[tokio::test]
    async fn anything_shows_the_request_as_httpbin_does() {
        let v2 = Pod::start();
        let fields =
            "Content-Type: application/json\r\nX-One: a\r\nX-One: b\r\nX-Forwarded-For: 10.0.0.9\r\n";
        let answer = v2.ask("PUT /anything/deep/er?a=1&a=2&b=%20x", fields, br#"{"k":[1]}"#).await;
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert_eq!(json["method"], "PUT");
        assert_eq!(json["args"], json!({"a": ["1", "2"], "b": " x"}));
        assert_eq!(json["data"], r#"{"k":[1]}"#);
        assert_eq!(json["json"], json!({"k": [1]}));
        assert_eq!(json["form"], json!({}));
        assert_eq!(json["headers"]["X-One"], "a,b");
        assert_eq!(json["headers"]["Host"], "shop.example");
        assert_eq!(json["origin"], "10.0.0.9");
        assert_eq!(json["url"], "http://shop.example/anything/deep/er?a=1&a=2&b=%20x");
        assert_eq!(json["version"], "v2");
    }

    #[tokio::test]
    async fn a_form_is_taken_apart_and_bytes_are_encoded() {
        let v2 = Pod::start();
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let json = v2.ask("POST /post", form, b"name=x+y").await.json();
        assert_eq!((&json["form"], &json["data"]), (&json!({"name": "x y"}), &json!("")));
        assert_eq!(json["origin"], "127.0.0.1");
        let json = v2.ask("POST /post", "", &[0xff, 0x00]).await.json();
        assert_eq!(json["data"], "data:application/octet-stream;base64,/wA=");
    }

    #[tokio::test]
    async fn get_and_headers_show_no_content() {
        let v2 = Pod::start();
        let json = v2.ask("GET /get?q=1", "", b"").await.json();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["args", "headers", "origin", "url", "version"]);
        let json = v2.ask("GET /headers", "", b"").await.json();
        assert_eq!(json["headers"]["Host"], "shop.example");
        assert_eq!(v2.ask("POST /get", "", b"x").await.status, 405);
        assert_eq!(v2.ask("GET /nowhere", "", b"").await.line, "v2  GET /nowhere 404  0 B  id=-");
    }

    #[tokio::test]
    async fn bytes_gives_as_many_as_asked_up_to_its_bound() {
        let v2 = Pod::start();
        let answer = v2.ask("GET /bytes/100000", "", b"").await;
        assert_eq!(answer.body.len(), 100_000);
        assert!(answer.head.contains("content-length: 100000"), "{}", answer.head);
        assert_eq!(v2.ask(&format!("GET /bytes/{}", ANSWER_BYTES_MAX + 1), "", b"").await.status, 400);
    }

    #[test]
    fn a_delay_is_at_most_ten_seconds() {
        let waits = [("0", 0), ("0.5", 500), ("10", 10_000), ("9999", 10_000), ("inf", 10_000)];
        for (asked, milliseconds) in waits {
            assert_eq!(wait_of(asked), Some(Duration::from_millis(milliseconds)), "{asked}");
        }
        for bad in ["-1", "NaN", "soon", ""] {
            assert_eq!(wait_of(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn delay_answers_after_its_time() {
        let v2 = Pod::start();
        let before = std::time::Instant::now();
        let answer = v2.ask("POST /delay/0.05", "", b"late").await;
        assert!(before.elapsed() >= Duration::from_millis(50));
        assert_eq!(answer.json()["data"], "late");
        assert_eq!(v2.ask("GET /delay/soon", "", b"").await.status, 400);
    }

    #[tokio::test]
    async fn content_beyond_the_bound_is_refused() {
        let v2 = Pod::start();
        let mut stream = TcpStream::connect(v2.address).await.unwrap();
        let head =
            format!("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", REQUEST_BYTES_MAX + 1);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    }

    #[test]
    fn both_services_answer_on_ports_of_their_own() {
        let samples = start(|| {}).unwrap();
        assert_ne!(samples.v1, samples.v2);
        for address in [samples.v1, samples.v2] {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /get HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        }
    }
}
