//! One client of WebSockets: a tunnel for some messages, closed as it should be, and then the next. Over an upgraded
//! connection of HTTP/1.1, or over a stream of HTTP/2.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::Method;
use loadgen::http1::head;
use loadgen::websocket::{self, Frames, KEY, Opcode, Role};
use tokio::io::AsyncWriteExt;

use super::door::{Door, Stream, patiently};
use super::http1::{read_more, write};
use super::http2::{self, Session};
use super::request::{Failure, Request};
use super::wire::Wire;

/// Messages of one tunnel, at most.
const MESSAGES_MAX: u32 = 30;

pub(super) struct Client {
    way: Way,
    open: Option<Tunnel>,
}

enum Way {
    Upgrade(Rc<Door>, Wire),
    Connect(Rc<Session>),
}

impl Client {
    pub(super) fn upgrading(door: Rc<Door>, wire: Wire) -> Self {
        Self { way: Way::Upgrade(door, wire), open: None }
    }

    pub(super) fn connecting(session: Rc<Session>) -> Self {
        Self { way: Way::Connect(session), open: None }
    }

    /// The message that answers the request's; the request's path is that of a tunnel that begins with it.
    pub(super) async fn exchange(
        &mut self,
        request: &Request,
        random: &mut fastrand::Rng,
    ) -> Result<Vec<u8>, Failure> {
        let mut tunnel = match self.open.take() {
            Some(tunnel) => tunnel,
            None => self.way.open(&request.path, random.u32(1..=MESSAGES_MAX)).await?,
        };
        let place = tunnel.path.clone();
        let at = |step: &'static str| {
            let place = format!(", {step} of a tunnel to {place}");
            move |failure| Failure { place, ..failure }
        };
        let frame = websocket::frame(Role::Client, Opcode::Binary, &request.content);
        tunnel.line.write(&frame).await.map_err(at("write"))?;
        let echo = tunnel.message().await.map_err(at("echo"))?;
        tunnel.left -= 1;
        if tunnel.left == 0 {
            tunnel.close().await.map_err(at("close"))?;
        } else {
            self.open = Some(tunnel);
        }
        Ok(echo)
    }

    /// Goes away with a message begun.
    pub(super) async fn leave(&mut self, request: &Request, random: &mut fastrand::Rng) {
        let Ok(mut tunnel) = self.way.alone().open(&request.path, 1).await else { return };
        let frame = websocket::frame(Role::Client, Opcode::Binary, &request.content);
        let some = if random.bool() { frame.len() } else { random.usize(..frame.len()) };
        let _ = tunnel.line.write(&frame[..some]).await;
        tokio::time::sleep(Duration::from_millis(random.u64(..5))).await;
    }
}

impl Way {
    /// The same on a connection that nobody else is on, for those who leave: resets of tunnels that are answered once in many
    /// messages would use up what a connection may have of them.
    fn alone(&self) -> Self {
        match self {
            Self::Upgrade(door, wire) => Self::Upgrade(door.clone(), *wire),
            Self::Connect(session) => Self::Connect(Rc::new(session.another())),
        }
    }

    async fn open(&self, path: &str, messages: u32) -> Result<Tunnel, Failure> {
        let (line, unread) = match self {
            Self::Upgrade(door, wire) => upgrade(door.open(*wire).await?, path).await?,
            Self::Connect(session) => (connect(session, path).await?, Vec::new()),
        };
        let path = path.split('/').nth(1).unwrap_or_default().to_string();
        Ok(Tunnel { path, line, frames: Frames::of(Role::Server), unread, left: messages })
    }
}

async fn upgrade(mut stream: Stream, path: &str) -> Result<(Line, Vec<u8>), Failure> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    patiently(write(&mut stream, request.as_bytes())).await?;
    let mut unread = Vec::new();
    loop {
        match head::response(&unread, false).map_err(|bad| Failure::new(bad.label()))? {
            Some(agreed) if agreed.status == 101 => {
                let accept = head::response_field(&unread[..agreed.head_len], "sec-websocket-accept");
                if accept != Some(websocket::accept(KEY.as_bytes()).as_bytes()) {
                    return Err(Failure::new("not accepted"));
                }
                unread.drain(..agreed.head_len);
                return Ok((Line::Bytes(stream), unread));
            }
            Some(interim) if interim.status < 200 => drop(unread.drain(..interim.head_len)),
            Some(refused) => return Err(Failure::new(refused.status.to_string())),
            None if read_more(&mut stream, &mut unread).await? == 0 => return Err(Failure::new("cut")),
            None => {}
        }
    }
}

async fn connect(session: &Session, path: &str) -> Result<Line, Failure> {
    session.allow_connect().await?;
    let head = || {
        let head = http::Request::builder()
            .method(Method::CONNECT)
            .uri(session.uri(path))
            .header("sec-websocket-version", "13")
            .extension(Protocol::from_static("websocket"));
        head.body(()).map_err(|error| Failure::new(error.to_string()))
    };
    let (response, sender) = session.begin(head).await?;
    let response = patiently(response).await?;
    if response.status() != 200 {
        return Err(Failure::new(response.status().as_str()));
    }
    Ok(Line::Stream(sender, response.into_body()))
}

/// Bytes both ways.
enum Line {
    Bytes(Stream),
    Stream(SendStream<Bytes>, RecvStream),
}

impl Line {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Bytes(stream) => patiently(write(stream, bytes)).await,
            Self::Stream(sender, _) => http2::send(sender, Bytes::copy_from_slice(bytes), false).await,
        }
    }

    /// Nothing more is written.
    async fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::Bytes(stream) => patiently(stream.shutdown()).await,
            Self::Stream(sender, _) => Ok(sender.send_data(Bytes::new(), true)?),
        }
    }

    /// False at the end.
    async fn read(&mut self, into: &mut Vec<u8>) -> Result<bool, Failure> {
        match self {
            Self::Bytes(stream) => Ok(read_more(stream, into).await? > 0),
            Self::Stream(_, body) => {
                let data = http2::next(body).await?;
                into.extend_from_slice(data.as_deref().unwrap_or_default());
                Ok(data.is_some())
            }
        }
    }
}

struct Tunnel {
    path: String,
    line: Line,
    frames: Frames,
    unread: Vec<u8>,
    /// Messages until it is closed.
    left: u32,
}

impl Tunnel {
    /// The next frame or message that is whole.
    async fn whole(&mut self) -> Result<(Opcode, Vec<u8>), Failure> {
        loop {
            let mut rest = &self.unread[..];
            let whole = self.frames.next(&mut rest).map_err(|_| Failure::new("no frame"))?;
            let used = self.unread.len() - rest.len();
            self.unread.drain(..used);
            if let Some(whole) = whole {
                return Ok((whole.opcode, self.frames.take_payload(whole)));
            }
            if !self.line.read(&mut self.unread).await? {
                return Err(Failure::new("cut"));
            }
        }
    }

    async fn message(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            match self.whole().await? {
                (Opcode::Continuation | Opcode::Text | Opcode::Binary, payload) => return Ok(payload),
                (Opcode::Close, _) => return Err(Failure::new("closed")),
                (Opcode::Ping | Opcode::Pong, _) => {}
            }
        }
    }

    /// A closing handshake, and the end of the line in both directions: a stream that is dropped would be reset.
    async fn close(mut self) -> Result<(), Failure> {
        self.line.write(&websocket::frame(Role::Client, Opcode::Close, &[])).await?;
        loop {
            match self.whole().await? {
                (Opcode::Close, _) => break,
                (Opcode::Ping | Opcode::Pong, _) => {}
                _ => return Err(Failure::new("a message nobody asked for")),
            }
        }
        self.line.finish().await?;
        while self.line.read(&mut self.unread).await? {}
        if self.unread.is_empty() { Ok(()) } else { Err(Failure::new("bytes behind the end")) }
    }
}
