//! HTTP/1.1 as pure functions over bytes: no socket, no clock, no runtime.
//!
//! In reading order: where a head ends (`scan`), its meaning (`head`), how its content is delimited (`framing`, `chunked`,
//! `body`), the fields that stop here (`hop_by_hop`), the handshake of a tunnel (`handshake`), the heads that we write
//! ourselves (`render`, `reply`), how a route changes them (`edit`), and the parts of a refused head that may be logged
//! (`glimpse`).

mod line_feeds;
pub mod scan;
pub mod handshake;
pub mod head;
pub mod framing;
pub mod hop_by_hop;
pub mod chunked;
pub mod body;
pub mod offer;
pub mod response;
pub mod render;
pub mod edit;
pub mod reply;
pub mod glimpse;
