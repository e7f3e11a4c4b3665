//! The listeners of one worker: opened and closed as configurations come, each with the connections that came in by it.
//!
//! The room knows the wanted listeners. Accepting is `listener`'s, and the end of a connection is the connection's.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::{Entrance, listener};
use crate::context::Context;
use crate::generation::ListenerSockets;
use crate::io::{Listener, Owner};
use crate::limits::DRAIN_IDLE_MS;
use crate::time::Millis;

/// Open listeners, and those whose connections drain.
#[derive(Default)]
pub struct Listeners {
    open: RefCell<Vec<Open>>,
    leaving: RefCell<Vec<Leaving>>,
    /// Every worker can serve: a listener that is opened from now on accepts at once.
    accepts: Cell<bool>,
}

struct Open {
    entrance: Rc<Entrance>,
    sockets: Vec<Rc<Listener>>,
    /// Sockets that could not be waited at yet, for want of a descriptor: clients are in their queues already.
    unopened: Vec<(Arc<TcpListener>, Owner)>,
}

/// Connections of a listener that is gone.
struct Leaving {
    entrance: Rc<Entrance>,
    give_up_at_ms: u64,
    /// Sockets that still accept the connections in their queues.
    ending: Vec<Weak<Listener>>,
}

impl Listeners {
    /// Opens the new ones among `wanted` and closes those that are gone. Connections of the others go on; those of a closed
    /// listener are told with their next response, and have as long as in a drain.
    ///
    /// # Errors
    /// The first socket that cannot be registered; all others are open, and it is tried again with every tick.
    pub fn follow(&self, cx: &Rc<Context>, wanted: &[ListenerSockets]) -> io::Result<()> {
        let is_wanted = |open: &Open| wanted.iter().any(|listener| listener.id == open.entrance.id);
        let closed: Vec<Open> = self.open.borrow_mut().extract_if(.., |open| !is_wanted(open)).collect();
        closed.into_iter().for_each(|open| self.close(cx, open));
        let mut result = Ok(());
        for given in wanted {
            if let Some(open) = self.open.borrow().iter().find(|open| open.entrance.id == given.id) {
                // The next handshake is by the settings in force now; connections go on.
                open.entrance.tls.replace(given.tls.clone());
                open.entrance.protocols.set(given.protocols);
                continue;
            }
            let entrance = Rc::new(Entrance {
                id: given.id,
                tls: given.tls.clone().into(),
                protocols: Cell::new(given.protocols),
                is_draining: Cell::new(false),
            });
            let mut open = Open { entrance, sockets: Vec::new(), unopened: given.sockets.clone() };
            let opened = open.open(cx, self.accepts.get());
            result = result.and(opened);
            self.open.borrow_mut().push(open);
        }
        result
    }

    /// Accepts at all of them.
    pub fn begin(&self, cx: &Rc<Context>) {
        if !self.accepts.replace(true) {
            for open in &*self.open.borrow() {
                open.sockets.iter().for_each(|socket| open.accept(cx, socket));
            }
        }
    }

    fn close(&self, cx: &Rc<Context>, open: Open) {
        open.entrance.is_draining.set(true);
        let ending = open.end(cx, self.accepts.get());
        let patience = Millis::from(cx.generation().config.timeouts.drain);
        let entrance = open.entrance;
        cx.sweeper.shorten_idle(Millis(DRAIN_IDLE_MS), Some(entrance.id));
        cx.sessions.drain(Some(entrance.id));
        let give_up_at_ms = cx.now_ms().saturating_add(patience.0);
        self.leaving.borrow_mut().push(Leaving { entrance, give_up_at_ms, ending });
    }

    /// Opens sockets that could not be opened before, and ends the connections of closed listeners whose time is over; to be
    /// called often.
    pub fn tick(&self, cx: &Rc<Context>) {
        let accepts = self.accepts.get();
        for open in self.open.borrow_mut().iter_mut().filter(|open| !open.unopened.is_empty()) {
            // The control plane has been told.
            let _ = open.open(cx, accepts);
        }
        let now_ms = cx.now_ms();
        self.leaving.borrow_mut().retain_mut(|leaving| {
            if !leaving.ending.is_empty() && leaving.ending.iter().all(|one| one.strong_count() == 0) {
                // Connections that were accepted last are idle too.
                leaving.ending.clear();
                cx.sweeper.shorten_idle(Millis(DRAIN_IDLE_MS), Some(leaving.entrance.id));
            }
            if now_ms >= leaving.give_up_at_ms {
                cx.tunnels.drain(Some(leaving.entrance.id));
                cx.sweeper.end_group(leaving.entrance.id);
            }
            // Each of its connections has it too, and so has the accepting task until its end.
            Rc::strong_count(&leaving.entrance) > 1
        });
    }

    /// The worker drains: accepts no more. With `leave` the sockets are another process's now. Returns the listeners that close
    /// once their accept has noticed.
    pub fn end(&self, cx: &Rc<Context>, leave: bool) -> Vec<Weak<Listener>> {
        let accepts = self.accepts.get();
        let end = |open: Open| {
            if leave {
                open.sockets.iter().for_each(|socket| socket.leave());
                open.sockets.iter().map(Rc::downgrade).collect()
            } else {
                open.end(cx, accepts)
            }
        };
        self.open.take().into_iter().flat_map(end).collect()
    }
}

impl Open {
    /// Opens the sockets that are not open yet; the first error is returned.
    fn open(&mut self, cx: &Rc<Context>, accepts: bool) -> io::Result<()> {
        let mut result = Ok(());
        for (socket, owner) in std::mem::take(&mut self.unopened) {
            match Listener::new(Arc::clone(&socket), owner) {
                Ok(listener) => {
                    let listener = Rc::new(listener);
                    if accepts {
                        self.accept(cx, &listener);
                    }
                    self.sockets.push(listener);
                }
                Err(error) => {
                    self.unopened.push((socket, owner));
                    result = result.and(Err(error));
                }
            }
        }
        result
    }

    fn accept(&self, cx: &Rc<Context>, socket: &Rc<Listener>) {
        let accept = listener::accept(Rc::clone(cx), Rc::clone(socket), Rc::clone(&self.entrance));
        crate::io::spawn(accept);
    }

    /// Returns the listeners that close once their queues are empty.
    fn end(&self, cx: &Rc<Context>, accepts: bool) -> Vec<Weak<Listener>> {
        for socket in &self.sockets {
            if !accepts {
                self.accept(cx, socket);
            }
            socket.end();
        }
        self.sockets.iter().map(Rc::downgrade).collect()
    }
}
