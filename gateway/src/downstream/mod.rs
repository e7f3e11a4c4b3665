//! Clients: accepting them, and the life of one connection.

pub mod listener;
pub mod listeners;
pub mod connection;
mod http1;
mod http2;
mod streams;
mod handshake;
mod watch;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use config::{Protocol, Protocols};

use crate::admission::Place;
use crate::asked::Scheme;
use crate::context::Context;
use crate::exchange;
use crate::io::Stream;
use crate::time::Age;
use crate::tls::{Listening, Secured};

/// A client connection, and the bytes that have been read from it.
#[derive(Debug)]
pub struct Client {
    pub stream: Stream,
    /// Received and not yet used.
    pub inbox: Vec<u8>,
    pub peer: Rc<Peer>,
    /// The protocol that ALPN chose; `None` in plaintext, where the first bytes tell.
    pub chosen: Option<Protocol>,
    pub age: Age,
    /// Requests served on this connection.
    pub served: u64,
    /// How long the next request is waited for, in the worker's milliseconds; `None` while one is under way.
    pub idle_until_ms: Option<u64>,
    /// An empty line was passed over since the last request.
    pub has_skipped_line: bool,
    /// The listener that accepted it.
    pub listener: Rc<Entrance>,
}

/// The client of a connection, shared by all that is under way on it.
#[derive(Debug)]
pub struct Peer {
    /// The client's address as it goes into X-Forwarded-For.
    pub address: Box<str>,
    pub address_port: u16,
    /// Port of the listener it came to.
    pub port: u16,
    /// See [`crate::generation::ListenerSockets::id`].
    pub listener: u32,
    /// The scheme of its requests.
    pub scheme: Scheme,
    /// The facts of its handshake; `None` on a plaintext listener.
    pub secured: Option<Secured>,
    /// Among those of its address.
    pub place: Place,
}

impl Peer {
    /// The client its requests come from.
    pub fn caller(&self, is_http2: bool) -> exchange::Caller<'_> {
        let Self { address, address_port, port, listener, scheme, secured, place } = self;
        exchange::Caller {
            address: address.as_bytes(),
            address_port: *address_port,
            port: *port,
            listener: *listener,
            scheme: *scheme,
            is_http2,
            place,
            secured: secured.as_ref(),
        }
    }
}

/// The state that the connections of one listener have in common.
#[derive(Debug, Default)]
pub struct Entrance {
    /// See [`crate::generation::ListenerSockets::id`].
    pub id: u32,
    /// The protocols that are spoken with clients that come now.
    pub protocols: Cell<Protocols>,
    /// The TLS that clients that come now shake hands with; `None` where they speak plaintext.
    pub tls: RefCell<Option<Arc<Listening>>>,
    /// The listener is gone: no new requests on its kept connections.
    pub is_draining: Cell<bool>,
}

impl Client {
    pub fn new(
        stream: Stream,
        peer: SocketAddr,
        port: u16,
        place: Place,
        listener: Rc<Entrance>,
        age: Age,
    ) -> Self {
        stream.join_group(listener.id);
        Self {
            stream,
            inbox: Vec::new(),
            peer: Rc::new(Peer {
                address: peer.ip().to_canonical().to_string().into(),
                address_port: peer.port(),
                port,
                listener: listener.id,
                scheme: Scheme::Http,
                secured: None,
                place,
            }),
            chosen: None,
            age,
            served: 0,
            idle_until_ms: None,
            has_skipped_line: false,
            listener,
        }
    }

    /// No new requests are taken on this connection: the worker drains, or its listener is gone.
    pub fn is_draining(&self, cx: &Context) -> bool {
        cx.draining.get() || self.listener.is_draining.get()
    }

    /// Forgets the first `n` bytes received.
    pub fn consume(&mut self, n: usize) {
        if n >= self.inbox.len() {
            self.inbox.clear();
        } else {
            self.inbox.drain(..n);
        }
    }
}
