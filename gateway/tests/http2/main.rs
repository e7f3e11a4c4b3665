//! HTTP/2, from outside the room: bytes written by a second, stupid framer go in, frames and events come out. The crates `h2`
//! and `loona-hpack` are the second readers.

mod wire;
mod messages;
mod answers;
mod floods;
mod states;
mod windows;
mod fields;
mod peers;
