//! Frames that carry neither content nor fields: each is judged by its size, its stream and its account, and then done.

use super::streams::{Ended, Receiving};
use super::{Drain, Event, Role, Session, Why};
use crate::http2::flow::WINDOW_MAX;
use crate::http2::frame::{self, ACK, Code, FrameHead, PAYLOAD_MAX, STREAM_MAX, Setting};

/// Ends the connection: the code, and a sentence for people who read dumps.
type Fault = (Code, &'static str);

impl Session {
    /// Checks PRIORITY. Priorities are not followed (RFC 9113 §5.3.2), but faults in them are errors all the same.
    pub(super) fn priority(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err((Code::Protocol, "PRIORITY of the connection"));
        }
        self.idle_frame(head, now_ms);
        let fault = match payload.first_chunk::<4>().filter(|_| payload.len() == 5) {
            None => (Code::FrameSize, "PRIORITY of a wrong size"),
            Some(other) if u32::from_be_bytes(*other) & STREAM_MAX == head.stream => {
                (Code::Protocol, "a stream depends on itself")
            }
            Some(_) => return Ok(()),
        };
        match self.streams.get(head.stream) {
            None => return Err(fault),
            Some(known) if known.is_over() => {}
            Some(_) => self.fail_stream(head.stream, fault.0, fault.1),
        }
        Ok(())
    }

    pub(super) fn rst_stream(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Result<(), Fault> {
        let code: [u8; 4] =
            payload.try_into().map_err(|_| (Code::FrameSize, "RST_STREAM of a wrong size"))?;
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err((Code::Protocol, "RST_STREAM of an idle stream"));
        }
        let Some(known) = self.streams.get_mut(head.stream) else {
            self.idle_frame(head, now_ms);
            return Ok(());
        };
        let was_over = known.is_over();
        // A reset is how browsers close a tunnel, and no dearer than an end would be.
        let is_close = known.was_tunnel;
        known.abandon();
        if known.is_held && !was_over {
            let why = Why::Peer(Code::of(u32::from_be_bytes(code)));
            self.events.push_back(Event::Reset { stream: head.stream, why });
        }
        self.streams.remember(head.stream, Ended::ByPeer);
        self.forget(head.stream);
        match self.role {
            Role::Server if !was_over && is_close => {}
            Role::Server if !was_over => {
                if let Err(flood) = self.guard.reset() {
                    self.flood(flood);
                }
            }
            Role::Server => self.idle_frame(head, now_ms),
            Role::Client => {}
        }
        Ok(())
    }

    pub(super) fn settings(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err((Code::Protocol, "SETTINGS of a stream"));
        }
        if head.has(ACK) {
            self.idle_frame(head, now_ms);
            let fault = (Code::FrameSize, "an acknowledgement says nothing else");
            return if payload.is_empty() { Ok(()) } else { Err(fault) };
        }
        if !payload.len().is_multiple_of(6) {
            return Err((Code::FrameSize, "SETTINGS of a wrong size"));
        }
        if let Err(flood) = self.guard.settings(now_ms) {
            self.flood(flood);
            return Ok(());
        }
        let mut window = self.peer.window;
        for parameter in payload.chunks_exact(6) {
            let [n0, n1, v0, v1, v2, v3] = parameter else { continue };
            let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
            let setting = Setting::of(u16::from_be_bytes([*n0, *n1]));
            match setting {
                Setting::HeaderTableSize => self.encoder.table_was_resized(),
                Setting::EnablePush if value > 1 || (value == 1 && self.role == Role::Client) => {
                    return Err((Code::Protocol, "ENABLE_PUSH"));
                }
                Setting::MaxConcurrentStreams => self.peer.streams_max = value as usize,
                Setting::InitialWindowSize => {
                    window = i64::from(value);
                    if window > WINDOW_MAX {
                        return Err((Code::FlowControl, "INITIAL_WINDOW_SIZE"));
                    }
                }
                Setting::MaxFrameSize if !(PAYLOAD_MAX as u32..1 << 24).contains(&value) => {
                    return Err((Code::Protocol, "MAX_FRAME_SIZE"));
                }
                Setting::EnableConnectProtocol | Setting::NoRfc7540Priorities if value > 1 => {
                    return Err((Code::Protocol, "a setting is neither 0 nor 1"));
                }
                Setting::EnableConnectProtocol => self.peer.takes_extended_connect = value == 1,
                // Heads and pieces of ours are smaller than any MAX_FRAME_SIZE; MAX_HEADER_LIST_SIZE is advice.
                Setting::EnablePush
                | Setting::MaxFrameSize
                | Setting::MaxHeaderListSize
                | Setting::NoRfc7540Priorities
                | Setting::Unknown(_) => {}
            }
        }
        self.resize_windows(window)?;
        if self.role == Role::Client {
            self.events.push_back(Event::StreamsChanged);
        }
        frame::settings_ack(&mut self.out);
        if let Err(flood) = self.guard.answer() {
            self.flood(flood);
        }
        Ok(())
    }

    /// Client: how many streams may be open at once.
    pub fn streams_allowed(&self) -> usize {
        self.peer.streams_max.min(self.limits.streams_max)
    }

    /// Client: whether streams are opened on it at all, now or when one has ended.
    pub fn takes_streams(&self) -> bool {
        self.role == Role::Client && self.drain == Drain::No
    }

    /// Client: how much content may go on all its streams together.
    pub fn window_room(&self) -> usize {
        self.send_window.room()
    }

    /// Client: how many more streams may be opened now.
    pub fn streams_free(&self) -> usize {
        if self.role == Role::Server || self.drain != Drain::No {
            return 0;
        }
        self.streams_allowed().saturating_sub(self.streams.len())
    }

    /// Client: whether the peer takes an extended CONNECT (RFC 8441).
    pub fn takes_extended_connect(&self) -> bool {
        self.peer.takes_extended_connect
    }

    /// The peer's INITIAL_WINDOW_SIZE changes the send window of every stream.
    fn resize_windows(&mut self, window: i64) -> Result<(), Fault> {
        let change = window - std::mem::replace(&mut self.peer.window, window);
        if change == 0 {
            return Ok(());
        }
        let mut done = Ok(());
        self.streams.for_each(|stream| {
            if stream.send_window.shift(change).is_err() {
                done = Err((Code::FlowControl, "INITIAL_WINDOW_SIZE makes a window too large"));
            }
        });
        if change > 0 {
            self.streams.ids().into_iter().for_each(|id| self.get_ready(id));
        }
        done
    }

    pub(super) fn ping(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Result<(), Fault> {
        let payload: [u8; 8] = payload.try_into().map_err(|_| (Code::FrameSize, "PING of a wrong size"))?;
        if head.stream != 0 {
            return Err((Code::Protocol, "PING of a stream"));
        }
        if head.has(ACK) {
            self.idle_frame(head, now_ms);
            self.ping_answered(payload);
            return Ok(());
        }
        frame::ping(&mut self.out, payload, true);
        if let Err(flood) = self.guard.answer() {
            self.flood(flood);
        }
        Ok(())
    }

    /// Answers to PING and SETTINGS that the peer has not been sent.
    pub fn answers_unsent(&self) -> u32 {
        self.guard.answers_unsent()
    }

    pub(super) fn goaway(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Result<(), Fault> {
        let (last, _code) = payload.split_first_chunk::<4>().ok_or((Code::FrameSize, "GOAWAY too short"))?;
        if head.stream != 0 {
            return Err((Code::Protocol, "GOAWAY of a stream"));
        }
        if payload.len() < 8 {
            return Err((Code::FrameSize, "GOAWAY too short"));
        }
        if self.role == Role::Server {
            // A client that leaves opens no more streams, and says so by doing it.
            self.idle_frame(head, now_ms);
            return Ok(());
        }
        let last = u32::from_be_bytes(*last) & STREAM_MAX;
        let unprocessed: Vec<u32> = self.streams.ids().into_iter().filter(|id| *id > last).collect();
        for id in unprocessed {
            if let Some(known) = self.streams.get_mut(id) {
                let was_over = known.is_over();
                known.abandon();
                known.receiving = Receiving::Reset;
                if known.is_held && !was_over {
                    self.events.push_back(Event::Reset { stream: id, why: Why::Unprocessed });
                }
            }
            self.forget(id);
        }
        if matches!(self.drain, Drain::No | Drain::Announced { .. }) {
            self.drain = Drain::Final;
            self.events.push_back(Event::StreamsChanged);
            self.close_if_done();
        }
        Ok(())
    }

    pub(super) fn window_update(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        now_ms: u64,
    ) -> Result<(), Fault> {
        let bytes: [u8; 4] =
            payload.try_into().map_err(|_| (Code::FrameSize, "WINDOW_UPDATE of a wrong size"))?;
        let increment = u32::from_be_bytes(bytes) & STREAM_MAX;
        self.idle_frame(head, now_ms);
        if head.stream == 0 {
            if increment == 0 {
                return Err((Code::Protocol, "a window grows by nothing"));
            }
            let grown = self.send_window.grow(increment);
            self.shut_since_ms = None;
            self.let_go();
            return grown.map_err(|_| (Code::FlowControl, "the connection's window is too large"));
        }
        if self.is_idle(head.stream) {
            return Err((Code::Protocol, "WINDOW_UPDATE of an idle stream"));
        }
        let Some(known) = self.streams.get_mut(head.stream).filter(|known| !known.we_are_done()) else {
            return Ok(());
        };
        if increment == 0 {
            self.fail_stream(head.stream, Code::Protocol, "a window grows by nothing");
        } else if known.send_window.grow(increment).is_err() {
            self.fail_stream(head.stream, Code::FlowControl, "a stream's window is too large");
        } else {
            known.unread_bytes = known.unread_bytes.saturating_sub(increment as usize);
            known.has_all = false;
            if known.is_held_back {
                self.let_go();
            } else {
                self.get_ready(head.stream);
            }
        }
        Ok(())
    }
}
