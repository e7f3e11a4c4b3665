//! HTTP/1.1 as pure functions over bytes: no socket, no clock, no runtime.
//!
//! In reading order: where a head ends (`scan`), what it says (`head`), how its content is delimited (`framing`,
//! `chunked`, `body`), which fields stop here (`hop_by_hop`), and what we write ourselves (`render`, `reply`).

pub mod body;
pub mod chunked;
pub mod framing;
pub mod head;
pub mod hop_by_hop;
pub mod render;
pub mod reply;
pub mod scan;
