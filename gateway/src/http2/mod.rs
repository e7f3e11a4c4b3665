//! HTTP/2 as pure functions over bytes, for both roles: no socket, no clock, no runtime (RFC 9113, RFC 7541).
//!
//! In reading order: frames (`frame`), fields in blocks (`hpack`), fields and the inner form of a message (`fields`), windows
//! (`flow`), the cost that a peer may cause (`guard`), and the connection that is all of it together (`session`).
//!
//! The inner form of every message is a rendered HTTP/1.1 head: an HTTP/2 client's request passes `http1::head` like any other,
//! and edits, copies, redaction and comparison know one form. This room knows nothing of routes, mirrors and tasks.
//!
//! # How a session is driven
//!
//! One [`session::Session`] per connection, shared by one reader, one writer and a task per stream. It is never borrowed
//! across an await; every call is short and returns at once. `now_ms` is the worker's clock.
//!
//! * **Reader**: while [`wants_bytes`](session::Session::wants_bytes), reads a block, calls [`feed`](session::Session::feed) with all of it, then takes every
//!   [`next_event`](session::Session::next_event) before it reads again. Content is named by its place in the block, so the
//!   block can be shared with the stream's task as it is (`Buffers::share`) or copied where it is small.
//! * **Writer**: whenever no write is in flight and [`has_output`](session::Session::has_output), it calls
//!   [`take`](session::Session::take) with an empty buffer and writes the result, whole. Frames that streams queue meanwhile
//!   are the next write. Content enters `out` only here: one DATA frame of each stream in turn, up to
//!   [`OUT_BYTES_MAX`](session::OUT_BYTES_MAX), so that a write is never older than the windows that allowed it.
//! * **Timer**: every 100 ms [`tick`](session::Session::tick), which keeps the limits that are durations.
//! * After any of these, and after [`release`](session::Session::release) and [`drain`](session::Session::drain), there may be
//!   events: take them. [`Closed`](session::Event::Closed) is the last; then the writer writes once more and the connection is
//!   closed.
//!
//! A stream's task, in the role of a server: [`Head`](session::Event::Head) begins it, with the request in its inner form.
//! [`Data`](session::Event::Data) brings content; when the primary took a piece, the task says
//! [`taken`](session::Session::taken), which is the back-pressure. It answers by [`queue`](session::Session::queue): a head,
//! content while [`has_room`](session::Session::has_room) (else it waits for [`Room`](session::Event::Room)), trailers or an
//! end, of which [`is_flushed`](session::Session::is_flushed) says whether the peer took it; and says
//! [`release`](session::Session::release) when its exchange has ended, whichever way. A task that panicked is released by the
//! task's owner, and its stream is reset. Until then the stream counts against `streams_max`.
//! [`Refused`](session::Event::Refused) is a request to be answered with its fault; [`Malformed`](session::Event::Malformed)
//! one that is only counted.
//!
//! In the role of a client: [`open`](session::Session::open) while [`streams_free`](session::Session::streams_free), then the
//! same. A stream reset as [`Unprocessed`](session::Why::Unprocessed) or with `REFUSED_STREAM` was not looked at.
//!
//! The end of content is told beside the head: [`Content::UntilEnd`](fields::Content::UntilEnd) promises nothing, and the room
//! that carries it to HTTP/1.1 chooses chunked framing at its first byte ([`fields::say_chunked`]) or none at its end.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod frame;
pub mod hpack;
pub mod fields;
pub mod flow;
pub mod guard;
pub mod session;
