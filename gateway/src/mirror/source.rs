//! The source of a request's copies: its head as rendered for the primary, and the facts of it when they are begun.
//!
//! Plain data, made once for each request that has mirrors.

use std::cell::OnceCell;
use std::rc::Rc;

use super::proof::Proof;
use super::sample::Draw;
use crate::asked::RequestView;
use crate::http1::framing::Framing;
use crate::http1::render::RenderedHead;
use crate::matcher::Matched;
use crate::metrics::DropReason;
use crate::observe::pairing::Pairing;
use crate::observe::record::Trace;
use crate::random::Random;

/// The bytes that a copy is cut from, and the facts that decide whether it is.
pub struct Source<'a> {
    pub head: &'a [u8],
    pub at: &'a RenderedHead,
    pub framing: Framing,
    pub to_head: bool,
    /// The method usually carries content.
    pub expects_content: bool,
    /// The request is itself a copy.
    pub is_copy: bool,
    /// The proof that its copies are ours.
    pub proof: Option<&'a Proof>,
    /// The request as the client sent it, and the part of its path that the route matched.
    pub asked: &'a RequestView<'a>,
    pub matched: Matched,
    /// Index of the primary it goes to, among the route's.
    pub primary: usize,
    /// Joins the exchange and its copies; made with the first copy that is taken, if it is not there yet.
    pub pairing: &'a OnceCell<Rc<Pairing>>,
    pub random: &'a Random,
    /// Drawn once for all mirrors, so that they are compared by the same requests: a copy is compared where this takes it.
    pub compares: Option<Draw>,
    /// The trace that the copies belong to, each with a span of its own.
    pub trace: Option<&'a Trace>,
    /// Why no mirror gets copies now: mirror work is given up first.
    pub overload: Option<DropReason>,
    pub now_ms: u64,
}
