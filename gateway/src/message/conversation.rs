//! The values that pass between `exchange` and a wire's arm, the same on every wire: the terms of a conversation, pieces of
//! content, and how either end may fail.

use std::ops::Range;

use super::Declared;
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http1::offer::Offer;
use crate::http1::response::HeadLimits;
use crate::time::Millis;

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

/// One piece of content in the block it was read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub content: Range<usize>,
    /// Bytes it took on the wire.
    pub wire_bytes: usize,
}

/// Why no more content comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentFailed {
    /// The client ended or broke it.
    Gone,
    /// Nothing came in the time allowed.
    Slow,
    /// It breaks its framing.
    Malformed,
}

/// The client takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Within what time a client has to take what it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Within {
    /// Each part of it.
    pub each: Millis,
    /// All of it, in the worker's milliseconds.
    pub end_ms: u64,
}

/// Bytes that came, in the block they were read into.
#[derive(Debug)]
pub struct Chunk {
    pub block: Vec<u8>,
    /// Where they begin; they end with the block.
    pub from: usize,
}

impl Chunk {
    pub fn bytes(&self) -> usize {
        self.block.len().saturating_sub(self.from)
    }
}

/// The wire broke, or its peer did away with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;
