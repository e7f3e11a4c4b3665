//! The arms of messages on HTTP/1.1 wires: decisions are `crate::http1`'s, bytes go through `crate::io`.

pub(super) mod server;
pub(super) mod client;
pub(super) mod tunnel;

pub use server::{Facts, Worker};
