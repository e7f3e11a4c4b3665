//! A connection of one port, accept to close: reads requests, answers them by the port's plan, or breaks them by its fault.
//! Opens no listener and decides no plan.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::answer::{self, Answer};
use super::behavior::{AnswerFraming, Behavior, Content};
use super::fault::Fault;
use super::local::{InFlight, Live, PortLocal};
use super::over::{ECHO_BYTES_MAX, Over, SLOW_TICKS_PER_S, hex};
use super::port::{Arrival, bump};
use super::wire::Wire;
use super::{handshake, http2};
use crate::http1::body::Body;
use crate::http1::{HEAD_BYTES_MAX, head};
use crate::io::{Buffer, Stream};
use crate::os;
use crate::websocket;

const BUFFER_BYTES: usize = 8 * 1024;
const BUFFER_BYTES_LARGE: usize = 256 * 1024;
/// No method of HTTP/1.1 begins so.
const PREFACE_START: &[u8] = b"PRI * HTTP/2";

pub(super) struct Connection {
    pub(super) stream: Wire,
    pub(super) buffer: Buffer,
    pub(super) local: Rc<PortLocal>,
    number: u64,
    answers: u64,
    /// The client began with the preface of HTTP/2 (RFC 9113 §3.4), which is still in the buffer.
    is_http2: bool,
}

pub async fn serve(stream: Stream, local: Rc<PortLocal>) {
    let fd = stream.fd();
    let number = local.next_connection.get();
    local.next_connection.set(number + 1);
    // Dropped after `connection`'s last use and before its stream closes: the list never names a closed descriptor.
    let number = number * local.port.counters.len() as u64 + local.worker as u64;
    let live = Live::new(&local, fd);
    let fault = local.fault();
    if fault == Fault::ResetOnAccept {
        os::reset_on_close(fd);
        return;
    }
    if matches!(fault, Fault::AcceptNeverRead | Fault::SlowRead(_)) {
        os::shrink_receive_buffer(fd);
    }
    let Ok(stream) = handshake::cover(stream, &local).await else { return };
    let is_http2 = stream.speaks_http2();
    let buffer = Buffer::new(BUFFER_BYTES);
    let mut connection = Connection { stream, buffer, local: local.clone(), number, answers: 0, is_http2 };
    if !is_http2 {
        let _ = connection.run().await;
    }
    if connection.is_http2 {
        let Connection { stream, buffer, .. } = connection;
        Box::pin(http2::serve(stream.into_duplex(), buffer, local, number)).await;
        drop(live);
    } else {
        drop(live);
    }
}

impl Connection {
    async fn run(&mut self) -> Result<(), Over> {
        loop {
            let request = self.read_head().await?;
            let local = self.local.clone();
            let _in_flight = InFlight::new(local.counters());
            self.exchange(&request).await?;
        }
    }

    /// Reads more, at the pace the fault allows. Counts a request that was cut off if `inside` one.
    pub(super) async fn fill(&mut self, inside: bool) -> Result<(), Over> {
        self.wait_until_reading_is_allowed().await;
        let result = if let Fault::SlowRead(per_s) = self.local.fault() {
            self.local
                .alarm
                .sleep(Duration::from_nanos(1_000_000_000 / per_s.clamp(1, SLOW_TICKS_PER_S)))
                .await;
            let step = (per_s / SLOW_TICKS_PER_S).max(1) as usize;
            self.stream.fill_at_most(&mut self.buffer, step).await
        } else {
            self.stream.fill(&mut self.buffer).await
        };
        match result {
            Ok(count) if count > 0 => {
                bump(&self.local.counters().bytes_in, count as u64);
                // The read may have been waiting since before the fault began.
                self.wait_until_reading_is_allowed().await;
                Ok(())
            }
            _ => {
                if inside || !self.buffer.is_empty() {
                    bump(&self.local.counters().requests_incomplete, 1);
                }
                Err(Over)
            }
        }
    }

    async fn wait_until_reading_is_allowed(&self) {
        while self.local.fault().forbids_reading() {
            self.local.changed.notified().await;
        }
    }

    async fn read_head(&mut self) -> Result<head::Request, Over> {
        loop {
            if self.answers == 0 && self.buffer.bytes().starts_with(PREFACE_START) {
                self.is_http2 = true;
                return Err(Over);
            }
            if !self.buffer.is_empty() {
                match head::request(self.buffer.bytes()) {
                    Ok(Some(request)) => return Ok(request),
                    Ok(None) => {}
                    Err(_) => {
                        bump(&self.local.counters().requests_bad, 1);
                        let refusal =
                            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                        let _ = self.stream.write_all(Bytes::from_static(refusal.as_bytes())).await;
                        return Err(Over);
                    }
                }
            }
            if self.buffer.is_full() {
                self.buffer.resize((self.buffer.capacity() * 2).min(2 * HEAD_BYTES_MAX));
            }
            self.fill(false).await?;
        }
    }

    async fn exchange(&mut self, request: &head::Request) -> Result<(), Over> {
        let plan = self.local.plan();
        let bytes = self.buffer.bytes();
        let target = &bytes[request.target.clone()];
        let query = target.iter().position(|&b| b == b'?').map(|at| &target[at + 1..]);
        let special = query.map(|query| {
            let mut behavior = plan.plan.behavior.clone();
            behavior.apply_query(&String::from_utf8_lossy(query));
            behavior
        });
        let behavior = special.as_ref().unwrap_or(&plan.plan.behavior);
        if let Some(key) = &request.websocket_key {
            let status = behavior.status.draw(&mut self.local.random.borrow_mut());
            if status < 300 {
                let (behavior, accept) = (behavior.clone(), websocket::accept(&bytes[key.clone()]));
                self.buffer.consume(request.head_len);
                return Box::pin(self.echo(&behavior, &accept)).await;
            }
        }
        let arrival = request.id.as_ref().map(|id| self.arrival(request, id.clone()));
        self.buffer.consume(request.head_len);

        let body = Body::new(request.framing);
        if request.expects_continue && !body.is_done() && self.buffer.is_empty() {
            self.write(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n")).await?;
        }
        let close = !request.keep_alive
            || behavior.framing == AnswerFraming::Close
            || behavior.requests_per_connection_max.is_some_and(|max| self.answers + 1 >= max);
        let constant = plan.constant.as_ref().filter(|_| special.is_none() && !close && !request.is_head);
        if behavior.early {
            let pending = self.answer(behavior, constant, Bytes::new(), request.is_head, close);
            Box::pin(pending).await?;
            self.read_body(body, arrival, false).await?;
        } else {
            let echoed = self.read_body(body, arrival, behavior.content == Content::Echo).await?;
            self.answer(behavior, constant, echoed, request.is_head, close).await?;
        }
        self.answers += 1;
        bump(&self.local.counters().answers, 1);
        if close {
            self.stream.finish().await;
            return self.swallow().await;
        }
        Ok(())
    }

    fn arrival(&self, request: &head::Request, id: std::ops::Range<usize>) -> Arrival {
        let bytes = self.buffer.bytes();
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range]).into_owned();
        Arrival {
            id: text(id),
            method: text(request.method.clone()),
            target: text(request.target.clone()),
            headers: head::fields(&bytes[..request.head_len]),
            body_bytes: 0,
            body_sha256: String::new(),
            complete: false,
            received_unix_ns: 0,
            connection: self.number,
        }
    }

    /// Reads the body to its end and, for requests with an id, logs it, also when it was cut off.
    async fn read_body(
        &mut self,
        mut body: Body,
        mut arrival: Option<Arrival>,
        keep: bool,
    ) -> Result<Bytes, Over> {
        let (mut kept, mut count, mut hash) = (Vec::new(), 0u64, arrival.as_ref().map(|_| Sha256::new()));
        let result = loop {
            let fed = body.feed(self.buffer.bytes(), |data| {
                count += data.len() as u64;
                if let Some(hash) = &mut hash {
                    hash.update(data);
                }
                if keep && kept.len() + data.len() <= ECHO_BYTES_MAX {
                    kept.extend_from_slice(data);
                }
            });
            match fed {
                Ok(used) => self.buffer.consume(used),
                Err(_) => {
                    bump(&self.local.counters().requests_bad, 1);
                    break Err(Over);
                }
            }
            if body.is_done() {
                bump(&self.local.counters().requests, 1);
                break Ok(());
            }
            if matches!(body, Body::Length(left) if left > BUFFER_BYTES as u64) {
                self.buffer.resize(BUFFER_BYTES_LARGE);
            }
            if let Err(over) = self.fill(true).await {
                break Err(over);
            }
        };
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_BYTES {
            self.buffer.resize(BUFFER_BYTES);
        }
        if let (Some(mut arrival), Some(hash)) = (arrival.take(), hash) {
            arrival.body_bytes = count;
            arrival.body_sha256 = hex(&hash.finalize());
            arrival.complete = result.is_ok();
            arrival.received_unix_ns = self.local.port.now_unix_ns();
            self.local.port.record(self.local.worker, arrival);
        }
        result.map(|()| kept.into())
    }

    /// The answer as the behaviour wants it, or as the fault spoils it.
    async fn answer(
        &mut self,
        behavior: &Behavior,
        constant: Option<&Bytes>,
        echoed: Bytes,
        to_head: bool,
        close: bool,
    ) -> Result<(), Over> {
        let delay = behavior.delay.draw(&mut self.local.random.borrow_mut(), || self.local.port.in_flight());
        self.local.alarm.sleep(delay).await;
        while self.local.fault() == Fault::Hold {
            self.local.changed.notified().await;
        }
        let fault = self.local.fault();
        if let (Fault::None, Some(constant), 0) = (fault, constant, behavior.interim) {
            return self.write(constant.clone()).await;
        }
        for _ in 0..behavior.interim {
            self.write(Bytes::from_static(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")).await?;
        }
        let mut rng = fastrand::Rng::with_seed(self.local.random.borrow_mut().u64(..));
        let answer = Answer::new(behavior, &mut rng, echoed.clone(), to_head, close);
        match fault {
            // The listener's own faults do not touch the answers on connections that live on.
            Fault::None
            | Fault::Hold
            | Fault::SlowRead(_)
            | Fault::NeverAccept
            | Fault::Refuse
            | Fault::Blackhole
            | Fault::Flap(_)
            | Fault::AcceptNeverRead
            | Fault::ResetOnAccept
            // Nor do those of handshakes, nor those that HTTP/1.1 has no word for.
            | Fault::BadCertificate(_)
            | Fault::HandshakeStall(_)
            | Fault::HandshakeGarbage
            | Fault::GoAwayAt(_)
            | Fault::ZeroWindow
            | Fault::NoTrailers => self.send(answer, Course::default()).await,
            Fault::NeverAnswer => self.swallow().await,
            Fault::SlowWrite(per_s) => {
                self.send(answer, Course { bytes_per_s: Some(per_s), ..Course::default() }).await
            }
            Fault::ResetAt(at) => {
                self.send(answer, Course { left: Some(at), ..Course::default() }).await?;
                os::reset_on_close(self.stream.fd());
                Err(Over)
            }
            Fault::CloseAt(at) => {
                self.send(answer, Course { left: Some(at), ..Course::default() }).await?;
                self.stream.finish().await;
                self.swallow().await
            }
            Fault::TruncateAt(at) => {
                self.send(answer, Course { left: Some(at), ..Course::default() }).await?;
                self.stream.written().await;
                os::shutdown_write(self.stream.fd());
                self.swallow().await
            }
            Fault::Garbage => {
                let garbage: Vec<u8> = (0..256).map(|_| rng.u8(128..)).collect();
                self.write(garbage.into()).await?;
                self.stream.finish().await;
                self.swallow().await
            }
            Fault::ExtraBytes(count) => {
                // In one write, so that both arrive together.
                let mut all = answer.render(&self.local.pattern).to_vec();
                all.resize(all.len() + count.min(1 << 20) as usize, b'X');
                self.write(all.into()).await
            }
            Fault::Duplicate => {
                let all = answer.render(&self.local.pattern);
                self.write([&all[..], &all[..]].concat().into()).await
            }
            Fault::BadFraming(kind) => {
                self.write(Bytes::from_static(answer::bad_framing(kind))).await?;
                self.swallow().await
            }
            Fault::OversizeHead(bytes) => {
                let mut head = b"HTTP/1.1 200 OK\r\nX-Oversize: ".to_vec();
                head.resize(head.len() + bytes as usize, b'x');
                head.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
                self.write(head.into()).await
            }
            Fault::EndlessChunked => {
                self.write(Bytes::from_static(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
                    .await?;
                let mut chunk = b"4000\r\n".to_vec();
                chunk.extend_from_slice(&self.local.pattern[..0x4000]);
                chunk.extend_from_slice(b"\r\n");
                self.repeat(chunk.into(), Fault::EndlessChunked).await
            }
            Fault::EndlessInterim => {
                let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(64);
                self.repeat(interim.into(), Fault::EndlessInterim).await
            }
            Fault::HalfClose => {
                self.send(answer, Course::default()).await?;
                self.stream.finish().await;
                self.swallow().await
            }
            Fault::AnswerAfter(extra) => {
                self.local.alarm.sleep(extra).await;
                self.send(answer, Course::default()).await
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Over> {
        bump(&self.local.counters().bytes_out, bytes.len() as u64);
        self.stream.write_all(bytes).await.map_err(|_| Over)
    }

    /// Sends an answer piece by piece, up to the wire's limit and at its pace.
    async fn send(&mut self, mut answer: Answer, mut wire: Course) -> Result<(), Over> {
        let mut piece = std::mem::take(&mut answer.head);
        // Head and first piece leave together: one send for a small answer.
        if let Some(first) = answer.next_piece(&self.local.pattern) {
            piece.extend_from_slice(&first);
        }
        let mut piece = Some(Bytes::from(piece));
        while let Some(bytes) = piece {
            let allowed = wire.left.map_or(bytes.len(), |left| bytes.len().min(left as usize));
            self.send_paced(bytes.slice(..allowed), wire.bytes_per_s).await?;
            if let Some(left) = &mut wire.left {
                *left -= allowed as u64;
                if *left == 0 {
                    return Ok(());
                }
            }
            piece = answer.next_piece(&self.local.pattern);
        }
        Ok(())
    }

    pub(super) async fn send_paced(
        &mut self,
        mut bytes: Bytes,
        bytes_per_s: Option<u64>,
    ) -> Result<(), Over> {
        let Some(per_s) = bytes_per_s else { return self.write(bytes).await };
        let step = (per_s / SLOW_TICKS_PER_S).max(1) as usize;
        let pause = Duration::from_nanos(1_000_000_000 / per_s.clamp(1, SLOW_TICKS_PER_S));
        while !bytes.is_empty() {
            let part = bytes.split_to(step.min(bytes.len()));
            self.write(part).await?;
            self.local.alarm.sleep(pause).await;
        }
        Ok(())
    }

    /// Writes the same bytes until the peer or the fault goes away.
    async fn repeat(&mut self, bytes: Bytes, fault: Fault) -> Result<(), Over> {
        while self.local.fault() == fault {
            self.write(bytes.clone()).await?;
        }
        Err(Over)
    }

    /// Reads and forgets until the peer is gone.
    pub(super) async fn swallow(&mut self) -> Result<(), Over> {
        loop {
            self.buffer.clear();
            match self.stream.fill(&mut self.buffer).await {
                Ok(count) if count > 0 => bump(&self.local.counters().bytes_in, count as u64),
                _ => return Err(Over),
            }
        }
    }
}

/// The fault between a response and the wire.
#[derive(Default)]
struct Course {
    /// Bytes that may still pass.
    left: Option<u64>,
    bytes_per_s: Option<u64>,
}
