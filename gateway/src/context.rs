//! The state that the rooms of one worker share: plain data and cells, created by `worker`, borrowed by every room on the path.
//!
//! No lock and nothing `Send`: it never leaves its thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::admission::{Admission, Places};
use crate::buffer::Buffers;
use crate::generation::Generation;
use crate::io::Sweeper;
use crate::message::http2::Sessions;
use crate::metrics::Shard;
use crate::mirror::proof::Proof;
use crate::observe::tap::Tap;
use crate::random::Random;
use crate::tunnels::Tunnels;

pub struct Context {
    /// The generation that serves a request that comes now.
    pub generation: RefCell<Rc<Generation>>,
    pub shard: Arc<Shard>,
    /// Where records of exchanges go.
    pub tap: Rc<Tap>,
    pub buffers: Rc<Buffers>,
    pub sweeper: Rc<Sweeper>,
    /// Clients' connections on which HTTP/2 is spoken.
    pub sessions: Sessions,
    /// How many client connections each address holds, where that is bounded.
    pub places: Places,
    /// The limits on requests.
    pub admission: Rc<Admission>,
    /// Requests that became tunnels.
    pub tunnels: Rc<Tunnels>,
    pub random: Random,
    /// The proof that copies of ours are known by.
    pub proof: Proof,
    /// No new requests on kept connections, no new connections.
    pub draining: Rc<Cell<bool>>,
    /// The worker is late on its own loop: mirror work is given up first.
    pub busy: Cell<bool>,
    /// The Date of answers, refreshed once a second.
    pub date: RefCell<String>,
    /// A request for `/__panic` panics, if the environment asks for it.
    #[cfg(debug_assertions)]
    pub panic_on_request: bool,
}

impl Context {
    /// The generation in force. Its holder keeps it alive: an exchange for its own length, no task longer.
    pub fn generation(&self) -> Rc<Generation> {
        Rc::clone(&self.generation.borrow())
    }

    /// Why no copies are taken now, if so.
    pub fn overload(&self, config: &config::Config) -> Option<crate::metrics::DropReason> {
        if self.busy.get() {
            Some(crate::metrics::DropReason::WorkerBusy)
        } else {
            self.admission.overload(config)
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.sweeper.now_ms()
    }

    /// Microseconds since the worker started, now.
    pub fn now_us(&self) -> u64 {
        self.sweeper.now_us()
    }

    /// A request id unique enough to follow one request through two services: 128 random bits in hex.
    pub fn request_id(&self) -> [u8; 32] {
        let bits = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        let mut id = [0; 32];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[(bits >> (124 - 4 * i) & 15) as usize];
        }
        id
    }
}
