//! WebSockets of a port: every message comes back, as late and as broken as the port's plan and fault say.

use bytes::Bytes;
use h2::server::SendResponse;
use http::Response;

use super::behavior::Behavior;
use super::connection::Connection;
use super::fault::Fault;
use super::http2::Answer;
use super::incoming::Incoming;
use super::local::PortLocal;
use super::over::Over;
use super::port::bump;
use crate::os;
use crate::websocket::{self, Frames, Opcode, Role};

/// Close code for a client whose bytes are no frame (RFC 6455 §7.4.1).
const PROTOCOL_ERROR: [u8; 2] = 1002_u16.to_be_bytes();

/// The reply to some bytes of a client.
#[derive(Default)]
struct Said {
    frames: Vec<u8>,
    messages: u64,
    /// The reply is the last one.
    is_last: bool,
}

/// The reply to `bytes`, which are read to their end.
fn answered(frames: &mut Frames, mut bytes: &[u8], local: &PortLocal) -> Said {
    let mut said = Said::default();
    loop {
        let whole = match frames.next(&mut bytes) {
            Ok(Some(whole)) => whole,
            Ok(None) => return said,
            Err(_) => {
                bump(&local.counters().requests_bad, 1);
                said.frames.extend(websocket::frame(Role::Server, Opcode::Close, &PROTOCOL_ERROR));
                said.is_last = true;
                return said;
            }
        };
        let payload = frames.take_payload(whole);
        let opcode = match whole.opcode {
            Opcode::Pong => continue,
            Opcode::Ping => Opcode::Pong,
            Opcode::Close => {
                said.is_last = true;
                Opcode::Close
            }
            data @ (Opcode::Continuation | Opcode::Text | Opcode::Binary) => {
                said.messages += 1;
                data
            }
        };
        said.frames.extend(websocket::frame(Role::Server, opcode, &payload));
        if said.is_last {
            return said;
        }
    }
}

/// Waits as behaviour and fault want it.
async fn wait(behavior: &Behavior, local: &PortLocal) {
    let delay = behavior.delay.draw(&mut local.random.borrow_mut(), || local.port.in_flight());
    local.alarm.sleep(delay).await;
    while matches!(local.fault(), Fault::Hold | Fault::NeverAnswer) {
        local.changed.notified().await;
    }
    if let Fault::AnswerAfter(extra) = local.fault() {
        local.alarm.sleep(extra).await;
    }
}

fn count(said: &Said, local: &PortLocal) {
    bump(&local.counters().requests, said.messages);
    bump(&local.counters().answers, said.messages);
}

impl Connection {
    /// Agrees to a WebSocket and echoes until it ends, which the connection does too.
    pub(super) async fn echo(&mut self, behavior: &Behavior, accept: &str) -> Result<(), Over> {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.write(head.into()).await?;
        let (local, mut frames, mut sent) = (self.local.clone(), Frames::of(Role::Client), 0);
        loop {
            let said = answered(&mut frames, self.buffer.bytes(), &local);
            self.buffer.clear();
            if !said.frames.is_empty() {
                wait(behavior, &local).await;
                count(&said, &local);
                self.say(said.frames.into(), &mut sent).await?;
            }
            if said.is_last {
                self.stream.finish().await;
                return self.swallow().await;
            }
            self.fill(false).await?;
        }
    }

    async fn say(&mut self, frames: Bytes, sent: &mut u64) -> Result<(), Over> {
        let fault = self.local.fault();
        let (Fault::ResetAt(at) | Fault::CloseAt(at) | Fault::TruncateAt(at)) = fault else {
            let per_s = match fault {
                Fault::SlowWrite(per_s) => Some(per_s),
                _ => None,
            };
            *sent += frames.len() as u64;
            return self.send_paced(frames, per_s).await;
        };
        let pass = at.saturating_sub(*sent).min(frames.len() as u64);
        self.write(frames.slice(..pass as usize)).await?;
        *sent += pass;
        if *sent < at {
            return Ok(());
        }
        match fault {
            Fault::ResetAt(_) => os::reset_on_close(self.stream.fd()),
            Fault::CloseAt(_) => self.stream.finish().await,
            _ => os::shutdown_write(self.stream.fd()),
        }
        Err(Over)
    }
}

impl Answer<'_> {
    /// The same on a stream, which an extended CONNECT has asked for (RFC 8441).
    pub(super) async fn echo(
        &self,
        incoming: &mut Incoming,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), Over> {
        let local = &self.shared.local;
        let response = Response::builder().status(200).body(()).map_err(|_| Over)?;
        let mut stream = respond.send_response(response, false)?;
        let (mut frames, mut sent) = (Frames::of(Role::Client), 0);
        while let Some(data) = incoming.next(local).await? {
            let said = answered(&mut frames, &data, local);
            if !said.frames.is_empty() {
                wait(self.behavior, local).await;
                count(&said, local);
                let bytes = self.cut(&mut stream, said.frames.into(), sent).await?;
                sent += bytes.len() as u64;
                self.send(&mut stream, bytes, said.is_last).await?;
            }
            if said.is_last {
                // Let go of before its end, the client's half would be reset.
                while incoming.next(local).await?.is_some() {}
                return Ok(());
            }
        }
        stream.send_data(Bytes::new(), true)?;
        Ok(())
    }
}
