//! The listeners of one worker: opened and closed as configurations come, each with the connections that came in by it.
//!
//! It knows which listeners there are to be. How one accepts is `listener`'s, how its connections end is theirs.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use super::{Entrance, listener};
use crate::context::Context;
use crate::generation::ListenerSockets;
use crate::io::{Listener, Stream};
use crate::limits::DRAIN_IDLE_MS;
use crate::time::Millis;

/// Open listeners, and those whose connections drain.
#[derive(Default)]
pub struct Listeners {
    open: RefCell<Vec<Open>>,
    leaving: RefCell<Vec<Leaving>>,
    /// Every worker can serve: what is opened from now on accepts at once.
    accepts: Cell<bool>,
}

struct Open {
    entrance: Rc<Entrance>,
    sockets: Vec<Rc<Listener>>,
}

/// Connections of a listener that is gone.
struct Leaving {
    entrance: Rc<Entrance>,
    give_up_at_ms: u64,
}

impl Listeners {
    /// Opens what is new among `wanted` and closes what is not there any more. Connections of the others see nothing of it;
    /// those of a listener that is closed are told with their next response, and have as long as in a drain.
    ///
    /// # Errors
    /// The first socket that cannot be waited at; all others are open.
    pub fn follow(&self, cx: &Rc<Context>, wanted: &[ListenerSockets]) -> io::Result<()> {
        let is_wanted = |open: &Open| wanted.iter().any(|listener| listener.id == open.entrance.id);
        let closed: Vec<Open> = self.open.borrow_mut().extract_if(.., |open| !is_wanted(open)).collect();
        closed.into_iter().for_each(|open| self.close(cx, open));
        let mut result = Ok(());
        for given in wanted {
            if let Some(open) = self.open.borrow().iter().find(|open| open.entrance.id == given.id) {
                // The next handshake is by what is in force now; connections go on.
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
            let mut sockets = Vec::with_capacity(given.sockets.len());
            for (socket, owner) in &given.sockets {
                match Listener::new(socket.clone(), *owner) {
                    Ok(listener) => sockets.push(Rc::new(listener)),
                    Err(error) => result = result.and(Err(error)),
                }
            }
            let open = Open { entrance, sockets };
            if self.accepts.get() {
                open.accept(cx);
            }
            self.open.borrow_mut().push(open);
        }
        result
    }

    /// Accepts at all of them.
    pub fn begin(&self, cx: &Rc<Context>) {
        if !self.accepts.replace(true) {
            self.open.borrow().iter().for_each(|open| open.accept(cx));
        }
    }

    fn close(&self, cx: &Rc<Context>, open: Open) {
        open.entrance.is_draining.set(true);
        open.shutdown(cx);
        let patience = Millis::from(cx.generation().config.timeouts.drain);
        let entrance = open.entrance;
        cx.sweeper.shorten_idle(Millis(DRAIN_IDLE_MS), Some(entrance.id));
        cx.sessions.drain(Some(entrance.id));
        let give_up_at_ms = cx.now_ms().saturating_add(patience.0);
        self.leaving.borrow_mut().push(Leaving { entrance, give_up_at_ms });
    }

    /// Ends the connections of closed listeners whose time is over; to be called often.
    pub fn let_go(&self, cx: &Context) {
        let now_ms = cx.now_ms();
        self.leaving.borrow_mut().retain(|leaving| {
            if now_ms >= leaving.give_up_at_ms {
                cx.sweeper.end_group(leaving.entrance.id);
            }
            // Each of its connections has it too, and whoever accepts until that has ended.
            Rc::strong_count(&leaving.entrance) > 1
        });
    }

    /// The worker drains: accepts no more. With `leave` the sockets are another process's now. Returns what closes as soon as
    /// its accept has seen it.
    pub fn end(&self, cx: &Rc<Context>, leave: bool) -> Vec<Weak<Listener>> {
        let open = self.open.take();
        for open in &open {
            if leave {
                open.sockets.iter().for_each(|socket| socket.leave());
            } else {
                open.shutdown(cx);
            }
        }
        open.iter().flat_map(|open| &open.sockets).map(Rc::downgrade).collect()
    }
}

impl Open {
    fn accept(&self, cx: &Rc<Context>) {
        for socket in &self.sockets {
            let accept = listener::accept(Rc::clone(cx), Rc::clone(socket), Rc::clone(&self.entrance));
            crate::io::spawn(accept);
        }
    }

    fn shutdown(&self, cx: &Rc<Context>) {
        for socket in &self.sockets {
            socket.shutdown(|stream, peer| {
                listener::serve(cx, Stream::new(stream, &cx.sweeper), peer, socket.port, &self.entrance);
            });
        }
    }
}
