//! HTTP/1.1 as pure functions over bytes: no socket, no clock, no runtime.
//!
//! In reading order: where a head ends (`scan`), what it says (`head`), how its content is delimited (`framing`,
//! `chunked`, `body`), which fields stop here (`hop_by_hop`), what opens a tunnel (`handshake`), what we write
//! ourselves (`render`, `reply`), how a route changes it (`edit`), and what may be told of
//! a head that was refused (`glimpse`).

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
