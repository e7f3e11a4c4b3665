//! The terms of a conversation with an upstream, and what may come of it: the same on every wire.

use super::Declared;
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http1::offer::Offer;
use crate::http1::response::HeadLimits;

/// The terms that an exchange brings to its conversation.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub buffers: &'a Buffers,
    pub heads: HeadLimits,
    /// The request is a HEAD.
    pub to_head: bool,
    pub declared: Declared,
    /// It asks for a tunnel.
    pub offer: Option<Offer>,
}

/// The request did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotWritten {
    pub failure: Failure,
    /// The upstream may have seen some of it.
    pub any_sent: bool,
}

/// The heads of a response that were found.
#[derive(Debug)]
pub enum Found<T> {
    /// No further head is complete.
    More,
    Interim(T),
    Final(T),
}

/// Bytes that may still come on a line behind the response to its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Over,
    /// Content that the response declared and must not have: the line is watched for a moment before it is used.
    Watched,
}
