//! Hours of trouble in small: peers that break and come back while clients whose every answer is their own look on.

pub mod clients;
pub mod configuration;
pub mod trouble;
pub mod seen;
pub mod wire;
mod http1;
mod http2;
mod websocket;
mod request;
mod door;

/// The name of an error: a client ran into its own patience, which is longer than any of the gateway's.
pub const FORGOTTEN: &str = "forgotten";
