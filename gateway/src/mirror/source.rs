//! What a request's copies are made of: its head as rendered for the primary, and what is known of it when they are begun.
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

/// What a copy is cut from, and what decides whether it is.
pub struct Source<'a> {
    pub head: &'a [u8],
    pub at: &'a RenderedHead,
    pub framing: Framing,
    pub to_head: bool,
    /// The method usually carries content.
    pub expects_content: bool,
    /// The request is itself a copy.
    pub is_copy: bool,
    /// What proves its copies to be ours.
    pub proof: Option<&'a Proof>,
    /// The request as the client sent it, and what of its path the route matched.
    pub asked: &'a RequestView<'a>,
    pub matched: Matched,
    /// Index of the primary it goes to, among the route's.
    pub primary: usize,
    /// What joins the exchange and its copies; made with the first copy that is taken, if nobody wanted it before.
    pub pairing: &'a OnceCell<Rc<Pairing>>,
    pub random: &'a Random,
    /// Drawn once for all mirrors, so that they are compared by the same requests: a copy is compared where this takes it.
    pub compares: Option<Draw>,
    /// The trace that the copies belong to, each with a span of its own.
    pub trace: Option<&'a Trace>,
    /// Why nobody gets copies now: mirror work is given up first.
    pub overload: Option<DropReason>,
    pub now_ms: u64,
}
