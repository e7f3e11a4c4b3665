//! One end of a simulated connection, read strictly.

use super::ID;
use crate::io::simulated::End;

/// One message as a strict reader takes it.
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

/// One end of a connection and what came from it.
pub(super) struct Wire {
    pub(super) end: End,
    inbox: Vec<u8>,
}

pub(super) enum NoMessage {
    /// The connection ended before one was complete.
    Ended,
    Malformed(String),
}

impl Wire {
    pub(super) fn new(end: End) -> Self {
        Self { end, inbox: Vec::new() }
    }

    async fn more(&mut self) -> Result<(), NoMessage> {
        match self.end.read(&mut self.inbox, 8192).await {
            Ok(n) if n > 0 => Ok(()),
            Ok(_) | Err(_) => Err(NoMessage::Ended),
        }
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

    /// The next message. `has_content` is false for answers that have none whatever their fields say.
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
