//! HTTP/2 connections to one endpoint, each with a place for many exchanges: which of them takes another one, and whether
//! there is to be one more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use config::UpstreamProtocol;

use crate::message::http2::{Channel, Place, Tally};

/// The protocol that an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
    /// The endpoint has not chosen yet.
    Unknown,
}

/// The state that the connections to all endpoints of one upstream have in common; its generations share it.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Of connections that exchanges share.
    pub(super) tally: Rc<Tally>,
    /// Endpoints that chose HTTP/1.1.
    http1: Cell<usize>,
    /// Connections in use, or being made, to endpoints that chose HTTP/1.1.
    pub(super) plain: Cell<usize>,
    /// The youngest generation decides how many exchanges there may be.
    youngest: Cell<u64>,
}

impl Extent {
    pub(super) fn next_generation(&self) -> u64 {
        self.youngest.set(self.youngest.get() + 1);
        self.youngest.get()
    }

    pub(super) fn is_youngest(&self, generation: u64) -> bool {
        self.youngest.get() == generation
    }

    /// How many connections there are, and are being made.
    pub(super) fn open(&self) -> usize {
        self.tally.open() + self.plain.get()
    }

    /// Whether any endpoint chose HTTP/1.1.
    pub(super) fn has_http1(&self) -> bool {
        self.http1.get() > 0
    }
}

/// The connections to one endpoint.
#[derive(Debug)]
pub(super) struct Channels {
    all: RefCell<Vec<Rc<Channel>>>,
    speaks: Cell<Speaks>,
    /// The endpoint may choose otherwise with the next connection.
    chooses: bool,
    extent: Rc<Extent>,
}

impl Channels {
    pub(super) fn new(protocol: UpstreamProtocol, extent: &Rc<Extent>) -> Self {
        let speaks = match protocol {
            UpstreamProtocol::Http1 => Speaks::Http1,
            UpstreamProtocol::Http2 => Speaks::Http2,
            UpstreamProtocol::Alpn => Speaks::Unknown,
        };
        let chooses = protocol == UpstreamProtocol::Alpn;
        Self { all: RefCell::default(), speaks: Cell::new(speaks), chooses, extent: Rc::clone(extent) }
    }

    /// Whether it is an endpoint of such an upstream.
    pub(super) fn is_for(&self, protocol: UpstreamProtocol) -> bool {
        match protocol {
            UpstreamProtocol::Alpn => self.chooses,
            UpstreamProtocol::Http1 => !self.chooses && self.speaks.get() == Speaks::Http1,
            UpstreamProtocol::Http2 => !self.chooses && self.speaks.get() == Speaks::Http2,
        }
    }

    /// Whether it may choose HTTP/1.1.
    pub(super) fn chooses(&self) -> bool {
        self.chooses
    }

    /// Whether each exchange that needs a connection calls for one, and shares none before it speaks.
    pub(super) fn is_http1(&self) -> bool {
        self.speaks.get() == Speaks::Http1
    }

    /// Notes the protocol that it has chosen.
    pub(super) fn chose(&self, http2: bool) {
        if self.chooses {
            self.speaks(if http2 { Speaks::Http2 } else { Speaks::Http1 });
        }
    }

    fn speaks(&self, what: Speaks) {
        let before = self.speaks.replace(what);
        if before == what {
            return;
        }
        let http1 = &self.extent.http1;
        match (before, what) {
            (Speaks::Http1, _) => http1.set(http1.get().saturating_sub(1)),
            (_, Speaks::Http1) => http1.set(http1.get() + 1),
            (Speaks::Http2 | Speaks::Unknown, Speaks::Http2 | Speaks::Unknown) => {}
        }
        self.extent.tally.has_changed();
    }

    /// A place on the first of its connections that has one. On the first, so that the others can end.
    pub(super) fn place(&self) -> Option<Place> {
        let mut all = self.all.borrow_mut();
        all.retain(|channel| !channel.is_over());
        all.iter().find(|channel| channel.has_room() && !channel.is_stuck()).map(Place::on)
    }

    /// The same where there may be no other connection: on the one that is least stuck. A request without content goes on anyhow.
    pub(super) fn any_place(&self) -> Option<Place> {
        let all = self.all.borrow();
        let with_room = all.iter().filter(|channel| channel.has_room());
        with_room.max_by_key(|channel| channel.window_room()).map(Place::on)
    }

    /// Adds a channel; one that is known already stays as it is.
    pub(super) fn add(&self, channel: &Rc<Channel>) {
        let mut all = self.all.borrow_mut();
        if !all.iter().any(|known| Rc::ptr_eq(known, channel)) {
            all.push(Rc::clone(channel));
            channel.counts();
        }
    }

    /// Whether one is open on which its peer takes nothing at present: another one would be no better.
    pub(super) fn is_shut(&self) -> bool {
        self.all.borrow().iter().any(|channel| channel.takes_more() && channel.capacity() == 0)
    }

    /// Ends one that no exchange uses; whether there was one.
    pub(super) fn end_idle(&self) -> bool {
        let all = self.all.borrow();
        let idle = all.iter().find(|channel| channel.is_idle() && channel.takes_more());
        idle.inspect(|channel| channel.retire()).is_some()
    }

    /// Ends all that no exchange uses; how many there were.
    pub(super) fn end_all_idle(&self) -> usize {
        std::iter::repeat_with(|| self.end_idle()).take_while(|ended| *ended).count()
    }
}

impl Drop for Channels {
    /// With the last configuration that named the endpoint its connections end, once the exchanges on them have.
    fn drop(&mut self) {
        self.all.get_mut().iter().for_each(|channel| channel.retire());
        if self.chooses {
            self.speaks(Speaks::Unknown);
        }
    }
}
