//! One request over HTTP/2 on a connection of its own, whose server speaks it by prior knowledge or by ALPN. It knows nothing of the
//! request but its head.

use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::http1::edit::lines;
use crate::http2::fields::outbound::Manner;
use crate::http2::fields::{NeverIndexed, Scheme};
use crate::http2::guard::Limits;
use crate::http2::session::{Event, Role, Session};
use crate::limits::AGAIN_BYTES_MAX;
use crate::observe::record::Answer;

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 16 * 1024;

/// What is answered to a request, whose rendered head this is and which has no content; at most so much of it as is compared.
pub(super) async fn exchanged(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    scheme: Scheme,
    head: &[u8],
) -> Result<Answer, String> {
    let began = Instant::now();
    let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut session = Session::new(Role::Client, scheme, Limits::default(), 0);
    let never_indexed = NeverIndexed::default();
    let manner = Manner { scheme, takes_trailers: true, protocol: None, never_indexed: &never_indexed };
    let id = session.open(head, &manner, true, now_ms());
    let id = id.map_err(|why| format!("it cannot be asked over HTTP/2: {why:?}"))?;
    let mut reading = Reading::default();
    let mut block = vec![0; BLOCK_BYTES];
    while !reading.is_over {
        while session.has_output() {
            let out = session.take(Vec::new(), now_ms());
            stream.write_all(&out).await.map_err(|e| e.to_string())?;
        }
        let n = stream.read(&mut block).await.map_err(|e| e.to_string())?;
        let Some(came) = block.get(..n).filter(|came| !came.is_empty()) else {
            return Err("it closed the connection before its answer was whole".to_owned());
        };
        session.feed(came, now_ms());
        while let Some(event) = session.next_event() {
            if let Event::Data { len, .. } = event {
                session.taken(id, len);
            }
            reading.take(event, came)?;
        }
    }
    Ok(reading.answer())
}

/// What came of the answer so far.
#[derive(Default)]
struct Reading {
    status: u16,
    fields: Vec<u8>,
    content: Vec<u8>,
    trailers: Vec<u8>,
    is_cut: bool,
    is_over: bool,
}

impl Reading {
    /// Takes what happened, of these bytes.
    fn take(&mut self, event: Event, came: &[u8]) -> Result<(), String> {
        match event {
            Event::Head { head, end, .. } if !head.is_interim() => {
                self.status = head.status;
                // Without the line of the status, and without the empty one.
                let own = lines(&head.lines).skip(1).filter(|line| *line != b"\r\n");
                own.for_each(|line| self.fields.extend_from_slice(line));
                self.is_over |= end;
            }
            Event::Data { at, len, end, .. } => {
                let piece = came.get(at..).and_then(|rest| rest.get(..len)).unwrap_or_default();
                let room = AGAIN_BYTES_MAX.saturating_sub(self.content.len());
                self.content.extend_from_slice(piece.get(..room).unwrap_or(piece));
                self.is_cut |= piece.len() > room;
                self.is_over |= end || self.is_cut;
            }
            Event::Trailers { lines, .. } => {
                self.trailers = lines;
                self.is_over = true;
            }
            Event::Reset { why, .. } if !self.is_over => {
                return Err(format!("it did not answer to the end: {why:?}"));
            }
            Event::Closed(why) if !self.is_over => {
                return Err(format!("its connection ended before its answer was whole: {why:?}"));
            }
            Event::Head { .. }
            | Event::Refused { .. }
            | Event::Malformed { .. }
            | Event::Reset { .. }
            | Event::Room { .. }
            | Event::Flushed { .. }
            | Event::StreamsChanged
            | Event::Closed(_) => {}
        }
        Ok(())
    }

    fn answer(self) -> Answer {
        Answer {
            status: self.status,
            fields: self.fields.into(),
            content: self.content.into(),
            is_cut: self.is_cut,
            trailers: self.trailers.into(),
        }
    }
}
