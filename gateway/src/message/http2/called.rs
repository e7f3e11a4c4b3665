//! The task of one connection to an upstream: it calls, then reads, writes and looks at the clock until the connection ends.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::channel::Channel;
use super::is_spare;
use super::tally::Tally;
use crate::address::Address;
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http2::fields::Scheme;
use crate::http2::guard::Limits;
use crate::io::{self, Idle, NotCalled, ReadHalf, Stream, Sweeper, Turn, WriteHalf};
use crate::limits::{BLOCK_BYTES, LINGER_MS, PARK_MS, RESPONSE_BUFFER_BYTES, TICK_MS};
use crate::task;
use crate::time::Millis;
use crate::tls;
use crate::tls::fault::Fault;

/// The server a connection is to.
#[derive(Debug, Clone)]
pub struct Callee {
    pub address: Address,
    /// `None` in plaintext.
    pub tls: Option<tls::Callee>,
    /// It may choose HTTP/1.1 in the handshake.
    pub may_choose: bool,
}

/// Calls a primary, within `within`, its introduction included; `tally` is of all connections to its upstream. An exchange that
/// waits for the call to come to something may stop waiting; it goes on.
pub fn call(
    to: Callee,
    within: Duration,
    limits: Limits,
    tally: &Rc<Tally>,
    buffers: &Rc<Buffers>,
    sweeper: &Rc<Sweeper>,
) -> Rc<Channel> {
    let scheme = if to.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let channel = Channel::new(scheme, limits, tally, buffers, sweeper);
    let over = Over(Rc::clone(&channel));
    io::spawn(async move {
        // A panic ends this connection and nothing else.
        let _ = task::caught(pin!(over.0.run(to, within, limits))).await;
        drop(over);
    });
    channel
}

/// However the task ends, by a panic too, every exchange with a stream is told.
struct Over(Rc<Channel>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.cut(Failure::Closed);
    }
}

impl Channel {
    /// How much content its peer lets go on it now, of all exchanges together.
    pub fn window_room(&self) -> usize {
        self.session.borrow().window_room()
    }

    /// Its peer lets no content go on it for a while: a request with content would wait there.
    pub fn is_stuck(&self) -> bool {
        self.session.borrow().is_shut(self.now_ms())
    }

    async fn run(&self, to: Callee, within: Duration, limits: Limits) {
        let by_ms = self.now_ms().saturating_add(Millis::from(within).0).saturating_add(TICK_MS);
        let called = Stream::call(to.address, to.tls.as_ref(), Turn::Primary, within, &self.sweeper).await;
        let (mut stream, facts) = match called {
            Ok(called) => called,
            Err(why) => return self.is_not_called(why),
        };
        self.shook(facts);
        if facts.is_some_and(|facts| !facts.is_http2) {
            if to.may_choose {
                return self.is_http1(stream);
            }
            return self.is_not_called(NotCalled::Tls(Fault::NoCommonProtocol));
        }
        let Stream { r, w } = &mut stream;
        let is_written = Cell::new(false);
        let (reading, writing) = (read(self, r, &is_written), write(self, w, limits, &is_written));
        let (mut reading, mut writing, mut ticking) = (pin!(reading), pin!(writing), pin!(tick(self, by_ms)));
        let (mut is_read, mut was_written) = (false, false);
        poll_fn(|task| {
            is_read = is_read || reading.as_mut().poll(task).is_ready();
            was_written = was_written || writing.as_mut().poll(task).is_ready();
            // It never ends by itself.
            let _ = ticking.as_mut().poll(task);
            if is_read && was_written { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Looks at the clock as often as the worker does. A peer that has not introduced itself by `by_ms` is given up.
async fn tick(channel: &Channel, by_ms: u64) {
    loop {
        io::sleep_ms(TICK_MS).await;
        if channel.is_calling() && channel.now_ms() >= by_ms {
            channel.cut(Failure::ConnectTimeout);
        }
        if channel.listens() {
            channel.tick();
        }
    }
}

/// Feeds the session until either side ends.
async fn read(channel: &Channel, r: &mut ReadHalf, is_written: &Cell<bool>) {
    let mut room = RESPONSE_BUFFER_BYTES;
    while channel.listens() {
        let large = room > RESPONSE_BUFFER_BYTES;
        let block = if large { channel.buffers.block() } else { channel.buffers.medium() };
        let (read, block) = r.read_or_park(block, room, Millis(PARK_MS)).await;
        match read {
            Ok(Idle::Read(n @ 1..)) => {
                channel.feed(&block);
                // An upstream that fills a small one sends much.
                room = if n == room { BLOCK_BYTES } else { RESPONSE_BUFFER_BYTES };
            }
            Ok(Idle::Parked) => channel.rest(),
            Ok(Idle::Read(0)) => {
                channel.cut(Failure::Closed);
                return channel.buffers.give(block);
            }
            Err(error) => {
                channel.cut(Failure::of(&error));
                return channel.buffers.give(block);
            }
        }
        let is_parked = matches!(read, Ok(Idle::Parked));
        channel.buffers.give(block);
        if is_parked
            && channel.listens()
            && let Err(error) = r.readable().await
        {
            return channel.cut(Failure::of(&error));
        }
    }
    if channel.is_cut() {
        return;
    }
    let block = r.linger(channel.buffers.small(), channel.now_ms(), is_written).await;
    channel.buffers.give(block);
}

/// Writes what there is to say, all of it in one, until nothing more is.
async fn write(channel: &Channel, w: &mut WriteHalf, limits: Limits, is_written: &Cell<bool>) {
    let within = Millis(limits.write_ms_max);
    let mut spare = Vec::new();
    while let Some(out) = channel.output(std::mem::take(&mut spare)).await {
        let (sent, mut out) = w.write_all(out, within).await;
        if let Err(failed) = sent {
            channel.cut(Failure::of(&failed.error));
            break;
        }
        out.clear();
        if is_spare(&out) {
            spare = out;
        }
    }
    if !channel.is_cut() {
        w.finish(within).await;
    }
    is_written.set(true);
    // A pending read is not waited for much longer.
    w.limit_pending_read(Millis(if channel.is_cut() { 0 } else { LINGER_MS }));
}
