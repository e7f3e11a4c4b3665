//! TLS: the control plane's part, made of files and configuration, and the pure session that covers a wire.
//!
//! `load` reads and checks, once per configuration; workers share its results. `session` is one connection's state; `io::cover`
//! puts it over a socket. rustls is used in this room and nowhere else.

mod alpn;
pub mod session;
mod tickets;
pub mod fault;
pub mod names;
pub mod server;
mod verifier;
pub mod peer;
pub mod client;
pub mod client_cert;
pub mod pem;
pub mod asking;
pub mod pinned;
mod resolver;
pub mod load;

use std::sync::Arc;

pub use client::{Callee, Calling};
pub use load::Tls;
pub use server::{Listening, ServerName};

/// The facts of a client that its TLS handshake tells.
#[derive(Debug)]
pub struct Secured {
    /// The listener's TLS that it shook hands with.
    pub listening: Arc<Listening>,
    /// The name that it asked for.
    pub server_name: ServerName,
    /// Its certificate as it goes into X-Forwarded-Client-Cert; empty where it has shown none.
    pub certificate: String,
    /// The names in it, which conditions of routes ask for.
    pub names: Box<[Box<str>]>,
}
