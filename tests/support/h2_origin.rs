//! An origin that speaks HTTP/2, by hyperium's `h2`: the path of a request tells the answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};

/// A request as it came whole.
#[derive(Debug, Clone)]
pub struct Taken {
    pub method: String,
    pub uri: String,
    pub fields: http::HeaderMap,
    pub body: Vec<u8>,
    pub trailers: http::HeaderMap,
}

impl Taken {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|value| value.to_str().ok())
    }
}

#[derive(Default)]
struct Seen {
    taken: Mutex<Vec<Taken>>,
    connections: AtomicUsize,
    begun: AtomicUsize,
    cancelled: AtomicUsize,
}

/// A running origin. Paths: `/echo` gives content and trailers back, `/stream` as they come, `/large/N` sends N bytes, `/early`
/// is interim first, `/none` is 204, `/held` waits until [`H2Origin::release`], `/cut` breaks off, `/refused` refuses once.
pub struct H2Origin {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    gate: tokio::sync::watch::Sender<bool>,
}

impl H2Origin {
    /// Takes so many streams at once on a connection.
    pub fn new(streams_max: u32) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Seen>::default();
        let (gate, released) = tokio::sync::watch::channel(false);
        let theirs = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    theirs.connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve(stream, streams_max, Arc::clone(&theirs), released.clone()));
                }
            });
        });
        Self { address, seen, gate }
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.seen.taken.lock().expect("no panic").clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Requests whose head came.
    pub fn begun(&self) -> usize {
        self.seen.begun.load(Ordering::SeqCst)
    }

    /// Requests that their sender gave up.
    pub fn cancelled(&self) -> usize {
        self.seen.cancelled.load(Ordering::SeqCst)
    }

    /// Answers the held requests, and holds none any more.
    pub fn release(&self) {
        let _ = self.gate.send(true);
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    streams_max: u32,
    seen: Arc<Seen>,
    gate: tokio::sync::watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams_max);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        seen.begun.fetch_add(1, Ordering::SeqCst);
        let (seen, gate) = (Arc::clone(&seen), gate.clone());
        tokio::spawn(async move {
            if answer(request, respond, &seen, gate).await.is_err() {
                seen.cancelled.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
}

fn response(status: u16) -> http::Response<()> {
    http::Response::builder().status(status).header("x-origin", "h2").body(()).expect("a response")
}

async fn answer(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: &Seen,
    mut gate: tokio::sync::watch::Receiver<bool>,
) -> Result<(), h2::Error> {
    let (parts, mut content) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path == "/stream" {
        let mut stream = respond.send_response(response(200), false)?;
        while let Some(piece) = content.data().await {
            let piece = piece?;
            content.flow_control().release_capacity(piece.len())?;
            super::http2::send_all(&mut stream, &piece, false).await?;
        }
        let trailers = content.trailers().await?.unwrap_or_default();
        return stream.send_trailers(trailers);
    }
    if path == "/refused" && parts.headers.contains_key("x-refuse") {
        respond.send_reset(Reason::REFUSED_STREAM);
        return Ok(());
    }
    let mut body = Vec::new();
    while let Some(piece) = content.data().await {
        let piece = piece?;
        body.extend_from_slice(&piece);
        content.flow_control().release_capacity(piece.len())?;
    }
    let trailers = content.trailers().await?.unwrap_or_default();
    let taken = Taken {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        fields: parts.headers,
        body: body.clone(),
        trailers: trailers.clone(),
    };
    seen.taken.lock().expect("no panic").push(taken);
    if path == "/held" {
        tokio::select! {
            held = gate.wait_for(|released| *released) => { let _ = held; }
            reset = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
                return Err(reset.map_or_else(|error| error, h2::Error::from));
            }
        }
    }
    if path == "/none" {
        respond.send_response(response(204), true)?;
        return Ok(());
    }
    if path == "/early" {
        respond.send_informational(response(103))?;
    }
    if parts.method == http::Method::HEAD {
        let head = http::Response::builder().status(200).header("content-length", "1234").body(());
        respond.send_response(head.expect("a response"), true)?;
        return Ok(());
    }
    if path == "/only" {
        // As gRPC answers at once: trailers and nothing else.
        let head = http::Response::builder().status(200).header("grpc-status", "5").body(());
        respond.send_response(head.expect("a response"), true)?;
        return Ok(());
    }
    if let Some(bytes) = path.strip_prefix("/large/").and_then(|n| n.parse().ok()) {
        let mut stream = respond.send_response(response(200), false)?;
        return super::http2::send_all(&mut stream, &crate::pattern(bytes), true).await;
    }
    let mut stream = respond.send_response(response(200), false)?;
    if path == "/cut" {
        super::http2::send_all(&mut stream, b"the beginning", false).await?;
        let _ = gate.wait_for(|released| *released).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    super::http2::send_all(&mut stream, &body, trailers.is_empty()).await?;
    if trailers.is_empty() { Ok(()) } else { stream.send_trailers(trailers) }
}
