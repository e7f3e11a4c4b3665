//! One end of a simulated connection, read strictly; an origin's end has TLS where the other begins it.

use std::io;

use super::ID;
use super::covered;
use crate::io::simulated::{End, World};
use crate::tls::session::Session;

/// A message as a strict reader takes it.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) start: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) content: Vec<u8>,
}

impl Message {
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(super) fn id(&self) -> &str {
        self.values(ID).next().unwrap_or_default()
    }
}

/// One end of a connection, with the bytes that came from it.
pub(super) struct Wire {
    pub(super) end: End,
    pub(super) inbox: Vec<u8>,
    /// TLS, and whether it ends without a word.
    cover: Option<(Box<Session>, bool)>,
}

pub(super) enum NoMessage {
    /// The connection ended before one was complete.
    Ended,
    Malformed(String),
}

impl Wire {
    pub(super) fn new(end: End) -> Self {
        Self { end, inbox: Vec::new(), cover: None }
    }

    /// Waits for the other end to begin, and shakes hands where it does so by a hello; whether there is a connection then.
    pub(super) async fn begin(&mut self, world: &World) -> bool {
        if self.more().await.is_err() {
            return false;
        }
        if self.inbox.first() != Some(&22) {
            return true;
        }
        match world.below(24) {
            0 => self.end.write_at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            1 => world.sleep_us(world.below(3_000_000) as u64).await,
            _ => {}
        }
        let mut session = covered::session(world.below(6) > 0);
        let mut cipher = std::mem::take(&mut self.inbox);
        let breaks_off = world.below(24) == 0;
        loop {
            let pushed = session.push(&cipher);
            cipher.clear();
            let mut out = Vec::new();
            session.send(&mut out);
            if breaks_off {
                out.truncate(world.below(out.len().max(1)));
            }
            let sent = self.end.write_all(&out).await;
            if pushed.is_err() || sent.is_err() || breaks_off {
                return false;
            }
            if !session.is_handshaking() {
                break;
            }
            if !matches!(self.end.read(&mut cipher, 8192).await, Ok(1..)) {
                return false;
            }
        }
        self.cover = Some((Box::new(session), world.below(6) == 0));
        self.take_opened().is_ok()
    }

    /// Whether these bytes come first.
    pub(super) async fn begins_with(&mut self, bytes: &[u8]) -> bool {
        loop {
            let known = self.inbox.len().min(bytes.len());
            if self.inbox[..known] != bytes[..known] {
                return false;
            }
            if known == bytes.len() {
                return true;
            }
            if self.more().await.is_err() {
                return false;
            }
        }
    }

    /// Takes the bytes that are there, without waiting.
    pub(super) fn hear(&mut self) -> Result<(), NoMessage> {
        let mut bytes = Vec::new();
        match self.end.read_now(&mut bytes) {
            Ok(0) => return Err(NoMessage::Ended),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(NoMessage::Ended),
        }
        match &mut self.cover {
            Some((session, _)) => session.push(&bytes).map_err(|_| NoMessage::Ended)?,
            None => self.inbox.extend(bytes),
        }
        self.take_opened()
    }

    pub(super) async fn more(&mut self) -> Result<(), NoMessage> {
        let before = self.inbox.len();
        loop {
            let Some((session, _)) = &mut self.cover else {
                let read = self.end.read(&mut self.inbox, 8192).await;
                return if matches!(read, Ok(1..)) { Ok(()) } else { Err(NoMessage::Ended) };
            };
            let mut cipher = Vec::new();
            if !matches!(self.end.read(&mut cipher, 8192).await, Ok(1..)) {
                return Err(NoMessage::Ended);
            }
            session.push(&cipher).map_err(|_| NoMessage::Ended)?;
            self.take_opened()?;
            if self.inbox.len() > before {
                return Ok(());
            }
        }
    }

    /// Moves decrypted bytes to the inbox.
    fn take_opened(&mut self) -> Result<(), NoMessage> {
        let Some((session, _)) = &mut self.cover else { return Ok(()) };
        while session.take(&mut self.inbox, 8192).map_err(|_| NoMessage::Ended)? > 0 {}
        if session.is_ended() { Err(NoMessage::Ended) } else { Ok(()) }
    }

    /// The bytes on the wire for `bytes`.
    fn sealed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some((session, _)) = &mut self.cover else { return bytes.to_vec() };
        let mut out = Vec::new();
        // A session that is broken says nothing any more.
        let _ = session.seal(&[io::IoSlice::new(bytes)], &mut out);
        out
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let out = self.sealed(bytes);
        self.end.write_all(&out).await
    }

    pub(super) fn write_at_once(&mut self, bytes: &[u8]) {
        let out = self.sealed(bytes);
        self.end.write_at_once(&out);
    }

    async fn line(&mut self) -> Result<String, NoMessage> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.inbox, b"\r\n") {
                let line: Vec<u8> = self.inbox.drain(..at + 2).take(at).collect();
                let line = String::from_utf8(line).map_err(|_| NoMessage::Malformed("not text".into()))?;
                let bad = line.contains(|c: char| c.is_control() && c != '\t');
                return if bad { Err(NoMessage::Malformed(format!("{line:?}"))) } else { Ok(line) };
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, n: usize, content: &mut Vec<u8>) -> Result<(), NoMessage> {
        while self.inbox.len() < n {
            self.more().await?;
        }
        content.extend(self.inbox.drain(..n));
        Ok(())
    }

    /// Reads the next message. `has_content` is false for answers that have none whatever their fields say.
    pub(super) async fn message(
        &mut self,
        is_answer: bool,
        has_content: impl Fn(&str) -> bool,
    ) -> Result<Message, NoMessage> {
        let mut message = Message { start: self.line().await?, ..Message::default() };
        let is_start = if is_answer {
            message.start.starts_with("HTTP/1.1 ")
        } else {
            message.start.ends_with(" HTTP/1.1") && message.start.split(' ').count() == 3
        };
        if !is_start {
            return Err(NoMessage::Malformed(format!("starts with {:?}", message.start)));
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(NoMessage::Malformed(format!("a field {line:?}")));
            };
            message.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if !has_content(&message.start) {
            return Ok(message);
        }
        let lengths: Vec<String> = message.values("content-length").map(str::to_owned).collect();
        let codings: Vec<String> = message.values("transfer-encoding").map(str::to_owned).collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) if !is_answer => {}
            ([], []) => while self.more().await.is_ok() {},
            ([length], []) => {
                let n = length.parse().map_err(|_| NoMessage::Malformed(format!("length {length}")))?;
                self.take(n, &mut message.content).await?;
            }
            ([], [coding]) if coding == "chunked" => loop {
                let size = self.line().await?;
                let size = usize::from_str_radix(&size, 16);
                let size = size.map_err(|_| NoMessage::Malformed("chunk size".into()))?;
                if size > 0 {
                    self.take(size, &mut message.content).await?;
                }
                while !self.line().await?.is_empty() {}
                if size == 0 {
                    break;
                }
            },
            _ => return Err(NoMessage::Malformed(format!("{lengths:?} beside {codings:?}"))),
        }
        if lengths.is_empty() && codings.is_empty() && is_answer {
            message.content = std::mem::take(&mut self.inbox);
        }
        Ok(message)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some((session, false)) = &mut self.cover {
            let mut out = Vec::new();
            session.close(&mut out);
            self.end.write_at_once(&out);
        }
    }
}
