//! One client of HTTP/1.1, in the clear or under TLS: its kept connection, its requests, and how it leaves one.

use std::rc::Rc;
use std::time::Duration;

use loadgen::http1::body::Body;
use loadgen::http1::{chunked, head};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::door::{Door, Stream, patiently};
use super::request::{Failure, Request};
use super::wire::Wire;

const READ_BYTES: usize = 64 << 10;

pub(super) struct Client {
    door: Rc<Door>,
    wire: Wire,
    /// Of the last exchange, where it may serve another.
    kept: Option<Stream>,
}

impl Client {
    pub(super) fn new(door: Rc<Door>, wire: Wire) -> Self {
        Self { door, wire, kept: None }
    }

    /// The content of a response of 200.
    pub(super) async fn exchange(&mut self, request: &Request) -> Result<Vec<u8>, Failure> {
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => self.door.open(self.wire).await?,
        };
        patiently(write(&mut stream, &rendered(request))).await?;
        let (status, content, is_reusable) = read_reply(&mut stream).await?;
        self.kept = is_reusable.then_some(stream);
        if status == 200 { Ok(content) } else { Err(Failure::new(status.to_string())) }
    }

    /// Sends some of it, or all, and goes away without waiting; with a reset where an answer was on its way already.
    pub(super) async fn leave(&self, request: &Request, random: &mut fastrand::Rng) {
        let bytes = rendered(request);
        let some = if random.bool() { bytes.len() } else { random.usize(..bytes.len()) };
        let Ok(mut stream) = self.door.open(self.wire).await else { return };
        let _ = patiently(write(&mut stream, &bytes[..some])).await;
        tokio::time::sleep(Duration::from_millis(random.u64(..5))).await;
    }
}

pub(super) async fn write(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Bytes read, none at the end.
pub(super) async fn read_more(stream: &mut Stream, buffer: &mut Vec<u8>) -> Result<usize, Failure> {
    buffer.reserve(READ_BYTES);
    patiently(stream.read_buf(buffer)).await
}

fn rendered(request: &Request) -> Vec<u8> {
    let (method, path, id, content) = (request.method, &request.path, &request.id, &request.content);
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n").into_bytes();
    match request.pieces {
        Some(size) => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            chunked::encode(content, size, &mut bytes);
        }
        None => {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
            bytes.extend_from_slice(content);
        }
    }
    bytes
}

/// Status and content, and whether the connection can serve again.
async fn read_reply(stream: &mut Stream) -> Result<(u16, Vec<u8>, bool), Failure> {
    let mut unread = Vec::new();
    let head = loop {
        match head::response(&unread, false).map_err(|bad| Failure::new(bad.label()))? {
            // Interim responses go before the one that counts.
            Some(interim) if interim.status < 200 => drop(unread.drain(..interim.head_len)),
            Some(head) => break head,
            None if read_more(stream, &mut unread).await? == 0 => return Err(Failure::new("cut")),
            None => {}
        }
    };
    unread.drain(..head.head_len);
    let (mut body, mut content) = (Body::new(head.framing), Vec::new());
    let failed = loop {
        match body.feed(&unread, |data| content.extend_from_slice(data)) {
            Ok(used) => drop(unread.drain(..used)),
            Err(bad) => break Failure::new(bad.label()),
        }
        if body.is_done() {
            return Ok((head.status, content, head.keep_alive && unread.is_empty()));
        }
        match read_more(stream, &mut unread).await {
            Ok(0) if body.ends_at_close() => return Ok((head.status, content, false)),
            Ok(0) => break Failure::new("cut"),
            Ok(_) => {}
            Err(failure) => break failure,
        }
    };
    Err(if head.status == 200 { failed.after(content) } else { failed })
}
