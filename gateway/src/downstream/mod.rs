//! Clients: accepting them, and the life of one connection.

pub mod listener;
pub mod connection;
pub mod admission;
mod places;
mod handshake;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;

use crate::asked::Scheme;
use crate::io::Stream;
use crate::tls::Listening;
pub use places::{Place, Places};

/// One client connection and what has been read from it.
#[derive(Debug)]
pub struct Client {
    pub stream: Stream,
    /// Received and not yet used.
    pub inbox: Vec<u8>,
    /// The client's address as it goes into X-Forwarded-For.
    pub address: Box<str>,
    /// Port of the listener it came to.
    pub port: u16,
    /// What is spoken on it.
    pub scheme: Scheme,
    /// What its handshake said; `None` on a plaintext listener.
    pub secured: Option<Box<Secured>>,
    /// Requests served on this connection.
    pub served: u64,
    /// How long the next request is waited for, in the worker's milliseconds; `None` while one is under way.
    pub idle_until_ms: Option<u64>,
    /// An empty line was passed over since the last request.
    pub has_skipped_line: bool,
    /// Among those of its address.
    pub place: Place,
}

/// What is known of a client by its TLS handshake.
#[derive(Debug)]
pub struct Secured {
    /// What it shook hands with.
    pub listening: Arc<Listening>,
    /// Its certificate as it goes into X-Forwarded-Client-Cert; empty where it has shown none.
    pub certificate: String,
}

impl Client {
    pub fn new(stream: Stream, address: IpAddr, port: u16, place: Place) -> Self {
        Self {
            stream,
            inbox: Vec::new(),
            address: address.to_canonical().to_string().into(),
            port,
            scheme: Scheme::Http,
            secured: None,
            served: 0,
            idle_until_ms: None,
            has_skipped_line: false,
            place,
        }
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
