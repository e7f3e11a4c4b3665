//! A mirror's copies of one request while they are taken, and while they wait for the primary's answer.
//!
//! Several copies of one request differ in their heads only: its content is taken once and shared.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use config::MirrorHost;

use super::copy::{RequestCopy, Unsearched, end_head, without_secrets};
use super::lane::Reserved;
use super::ledger::Ticket;
use super::policy::{COPY_NUMBER, PRIMARY_DURATION, PRIMARY_STATUS, Policy, Rules};
use super::proof;
use super::sample::Draw;
use super::source::Source;
use crate::buffer::Buffers;
use crate::field_lines;
use crate::http1::edit::{self, RequestEdit};
use crate::http1::framing::Framing;
use crate::http1::render::{self, RenderedHead};
use crate::limits::RESPONSE_BUFFER_BYTES;
use crate::metrics::{DropReason, SkipReason};
use crate::observe::pairing::Joined;
use crate::observe::trace;

#[derive(Debug)]
pub(super) struct Pending {
    ticket: Ticket,
    /// Tickets of further copies, where the mirror amplifies.
    more: Vec<Ticket>,
    reserved: Reserved,
    head: Vec<u8>,
    /// Behind the marker line, where further lines of ours go.
    mark_end: usize,
    /// Where the copy's span stands before that, if it has one.
    span_at: Option<usize>,
    /// The head is complete: the request declared its length, so content follows it directly.
    head_ended: bool,
    /// Its content is searched for secrets before it is sent.
    searches: bool,
    /// Content copied and not yet in `pieces`.
    small: Vec<u8>,
    pieces: Vec<Bytes>,
    content_bytes: usize,
    /// Bytes of blocks that `pieces` keep alive.
    pinned_bytes: usize,
    body_bytes_max: usize,
    to_head: bool,
    expects_content: bool,
    /// The request is complete.
    is_complete: bool,
    awaits_answer: bool,
    unsearched: Option<Box<Unsearched>>,
    rules: Option<Rc<Rules>>,
}

impl Pending {
    /// Opens the accounts of a request's copies and takes the head, where one is wanted and can be taken.
    pub(super) fn begin(policy: &Policy, draw: Draw, source: &Source<'_>, buffers: &Buffers) -> Option<Self> {
        if !policy.concerns(source) {
            return None;
        }
        let (share, draw) = (policy.share(), policy.draw(draw, source));
        let mut tickets = None;
        for number in 0..policy.accounts() {
            let mut ticket = Ticket::open(&policy.counters);
            if source.pairing.get().is_some_and(|pairing| pairing.is_recorded()) {
                // Copies that are not taken are told of, too.
                join(&mut ticket, policy, number, source);
            }
            match &mut tickets {
                _ if source.is_copy => ticket.skip(SkipReason::Loop),
                _ if !draw.takes_copy(share, number) => ticket.sampled_out(),
                taken => {
                    join(&mut ticket, policy, number, source);
                    match taken {
                        None => tickets = Some((ticket, Vec::new())),
                        Some((_, more)) => more.push(ticket),
                    }
                }
            }
        }
        let (mut ticket, mut more) = tickets?;
        if let Some(why) = reason_not_to(policy, source) {
            give_up(ticket, more, |ticket| ticket.drop(why));
            return None;
        }
        if let Some(rules) = &policy.rules
            // A copy that waits for the answer is counted against the rate when it is to be sent.
            && !rules.wants_answer()
        {
            let allowed = rules.within_rate(1 + more.len(), source.now_ms);
            let Some(further) = allowed.checked_sub(1) else {
                give_up(ticket, more, |ticket| ticket.drop(DropReason::Rate));
                return None;
            };
            more.drain(further..).for_each(|ticket| ticket.drop(DropReason::Rate));
        }
        let mut head = room(policy, source, buffers);
        take_head(&mut head, policy, source);
        let searches = policy.rules.as_ref().is_some_and(|rules| rules.searches(&head));
        head.extend_from_slice(&policy.mark);
        if let Some(proof) = source.proof {
            proof.write(&mut head);
        }
        let span_at = source.trace.map(|trace| {
            let span = ticket.joined().map_or([0; 8], |joined| joined.span);
            render::traceparent(&mut head, &trace::traceparent(trace, &span));
            head.len() - SPAN_TO_END
        });
        let mark_end = head.len();
        let head_ended = source.framing != Framing::Chunked && !searches;
        if head_ended {
            render::end_request(&mut head, source.framing, source.expects_content, false);
        }
        Some(Self {
            ticket,
            more,
            reserved: Reserved::new(&policy.lane),
            head,
            mark_end,
            span_at,
            head_ended,
            searches,
            small: Vec::new(),
            pieces: Vec::new(),
            content_bytes: 0,
            pinned_bytes: 0,
            body_bytes_max: policy.body_bytes_max,
            to_head: source.to_head,
            expects_content: source.expects_content,
            is_complete: false,
            awaits_answer: policy.rules.as_ref().is_some_and(|rules| rules.wants_answer()),
            unsearched: None,
            rules: policy.rules.clone(),
        })
    }

    /// Content to be copied.
    pub(super) fn copy(self, content: &[u8]) -> Option<Self> {
        let mut p = self.take(content.len(), content.len())?;
        // While nothing is shared yet, content of a declared length stands right behind the head of a lone copy.
        let fits = p.head.capacity() - p.head.len() >= content.len();
        if p.head_ended && p.more.is_empty() && p.pieces.is_empty() && p.small.is_empty() && fits {
            p.head.extend_from_slice(content);
        } else {
            p.small.extend_from_slice(content);
        }
        Some(p)
    }

    /// Content to be shared, in a block of `pinned_bytes`.
    pub(super) fn share(self, content: &Bytes, pinned_bytes: usize) -> Option<Self> {
        let mut p = self.take(content.len(), pinned_bytes)?;
        p.flush_small();
        p.pieces.push(content.clone());
        p.pinned_bytes += pinned_bytes;
        Some(p)
    }

    /// The request is complete: the copies go into their ring, or are held until the primary has answered.
    pub(super) fn complete(mut self, trailers: &[u8], now_ms: u64) -> Option<Self> {
        if self.is_complete {
            // The request is forwarded once more; its copies wait already.
            return Some(self);
        }
        self.is_complete = true;
        match self.rules.clone() {
            Some(rules) => self.end(&rules, trailers),
            None => self.end_plain(trailers),
        }
        if !self.awaits_answer {
            self.offer(now_ms);
            return None;
        }
        // Copies that wait here are bounded by the open exchanges, and by the bytes of the ring they will enter.
        let held = self.held_bytes().saturating_sub(self.reserved.bytes());
        if self.reserved.grow(held) {
            return Some(self);
        }
        self.give_up(|ticket| ticket.drop(DropReason::RingBytes));
        None
    }

    /// The primary answered. An answer may come before the request is complete.
    pub(super) fn answered(mut self, status: u16, after: Duration, now_ms: u64) -> Option<Self> {
        let Some(rules) = self.rules.as_ref().filter(|_| self.awaits_answer) else { return Some(self) };
        if !rules.likes(status, after) {
            self.give_up(|ticket| ticket.skip(SkipReason::Response));
            return None;
        }
        let allowed = rules.within_rate(1 + self.more.len(), now_ms);
        let Some(further) = allowed.checked_sub(1) else {
            self.give_up(|ticket| ticket.drop(DropReason::Rate));
            return None;
        };
        self.more.drain(further..).for_each(|ticket| ticket.drop(DropReason::Rate));
        let ms = after.as_secs_f64() * 1e3;
        let lines = format!("{PRIMARY_STATUS}: {status}\r\n{PRIMARY_DURATION}: {ms:.3}\r\n");
        self.head.splice(self.mark_end..self.mark_end, lines.into_bytes());
        self.awaits_answer = false;
        if self.is_complete {
            self.offer(now_ms);
            return None;
        }
        Some(self)
    }

    pub(super) fn give_up(self, settle: impl Fn(Ticket)) {
        give_up(self.ticket, self.more, settle);
    }

    /// Makes room for `bytes` more of content that keep `held_bytes` alive, or gives the copy up: it never goes out cut.
    fn take(mut self, bytes: usize, held_bytes: usize) -> Option<Self> {
        debug_assert!(!self.is_complete, "nothing comes behind the end of a request");
        self.content_bytes += bytes;
        if self.content_bytes > self.body_bytes_max {
            self.give_up(|ticket| ticket.drop(DropReason::BodyTooLarge));
            return None;
        }
        if !self.reserved.grow(held_bytes) {
            self.give_up(|ticket| ticket.drop(DropReason::RingBytes));
            return None;
        }
        Some(self)
    }

    fn flush_small(&mut self) {
        if !self.small.is_empty() {
            let small = std::mem::take(&mut self.small);
            self.pinned_bytes += small.capacity();
            self.pieces.push(Bytes::from(small));
        }
    }

    /// Ends head and content.
    fn end_plain(&mut self, trailers: &[u8]) {
        if !self.head_ended {
            let end = end_head(&mut self.head, self.content_bytes, trailers, self.expects_content);
            if self.pieces.is_empty() && self.more.is_empty() {
                self.head.extend_from_slice(&self.small);
                self.small.clear();
                self.head.extend_from_slice(&end);
            } else {
                self.small.extend_from_slice(&end);
            }
            self.head_ended = true;
        }
        self.flush_small();
    }

    /// Ends head and content, or leaves that to the shipper that searches it.
    fn end(&mut self, rules: &Rc<Rules>, trailers: &[u8]) {
        let trailers = match &rules.secrets {
            Some(secrets) if !trailers.is_empty() => &without_secrets(secrets, trailers),
            Some(_) | None => trailers,
        };
        let secrets = rules.secrets.as_ref().filter(|_| self.searches && self.content_bytes > 0);
        let Some(secrets) = secrets else { return self.end_plain(trailers) };
        self.flush_small();
        self.unsearched = Some(Box::new(Unsearched {
            secrets: Rc::clone(secrets),
            trailers: trailers.to_vec(),
            expects_content: self.expects_content,
            body_bytes_max: self.body_bytes_max,
        }));
    }

    /// Bytes that one copy keeps alive.
    fn held_bytes(&self) -> usize {
        let trailers = self.unsearched.as_ref().map_or(0, |unsearched| unsearched.trailers.capacity());
        self.head.capacity() + self.pinned_bytes + trailers
    }

    /// Offers the copies to their lane. Each counts all it keeps alive against the ring: whichever leaves last frees it.
    fn offer(self, now_ms: u64) {
        let bytes = self.held_bytes();
        let stale_ms = self.rules.as_ref().map_or(u64::MAX, |rules| rules.stale_ms(now_ms));
        let Self { ticket, more, reserved, head, mark_end, span_at, pieces, to_head, unsearched, .. } = self;
        let lane = Rc::clone(reserved.lane());
        drop(reserved);
        let copy = |head, pieces, unsearched, ticket| RequestCopy {
            head,
            pieces,
            to_head,
            stale_ms,
            tries: 0,
            unsearched,
            ticket,
        };
        if more.is_empty() {
            return lane.offer(copy(head, pieces, unsearched, ticket), bytes, now_ms);
        }
        let (start, end) = head.split_at(mark_end);
        let further = (2..).zip(more).map(|(number, mut ticket)| {
            let line = format!("{COPY_NUMBER}: {number}\r\n");
            let mut head = [start, line.as_bytes(), end].concat();
            if let Some(at) = span_at
                && let Some(joined) = ticket.joined()
                && let Some(place) = head.get_mut(at..at + 2 * joined.span.len())
            {
                trace::write_hex(place, &joined.span);
            }
            copy(head, pieces.clone(), unsearched.clone(), ticket)
        });
        // Made before the first is offered, sent behind it.
        let further: Vec<_> = further.collect();
        lane.offer(copy(head, pieces, unsearched, ticket), bytes, now_ms);
        further.into_iter().for_each(|copy| lane.offer(copy, bytes, now_ms));
    }
}

/// From the first digit of a span in a line of `traceparent` to the line's end: the digits, flags and CRLF.
const SPAN_TO_END: usize = 16 + "-00\r\n".len();

/// Gives a copy its place beside the exchange, once.
fn join(ticket: &mut Ticket, policy: &Policy, number: u32, source: &Source<'_>) {
    if ticket.joined().is_none() {
        let pairing = Rc::clone(source.pairing.get_or_init(Rc::default));
        let mirror = policy.index;
        let span = source.trace.map_or([0; 8], |_| trace::new_span(source.random));
        let compares = |percent| source.compares.is_some_and(|draw| draw.takes_copy(percent, 0));
        // A mirror with other rules gets another request, but its response is compared all the same.
        let keeps = policy.compare.filter(|(percent, _)| compares(*percent)).map(|(_, bytes)| bytes);
        let is_paired = !policy.unpaired.contains(&source.primary);
        let keeps_bytes = keeps.filter(|_| is_paired).map_or(0, |bytes| bytes.max(1));
        pairing.keep(keeps_bytes);
        ticket.join(Joined {
            pairing,
            mirror,
            number,
            span,
            is_paired,
            keeps_bytes,
            lag_us: 0,
            request: None,
            left_ms: None,
            took_us: 0,
            left_out: None,
        });
    }
}

/// Why no copy can be taken now, known before anything is copied.
fn reason_not_to(policy: &Policy, source: &Source<'_>) -> Option<DropReason> {
    if let Some(why) = source.overload.or_else(|| policy.lane.would_drop(source.now_ms)) {
        return Some(why);
    }
    match source.framing {
        Framing::Length(n) if n > policy.body_bytes_max as u64 => Some(DropReason::BodyTooLarge),
        Framing::Length(_) | Framing::None | Framing::Chunked | Framing::UntilClose => None,
    }
}

fn give_up(ticket: Ticket, more: Vec<Ticket>, settle: impl Fn(Ticket)) {
    settle(ticket);
    more.into_iter().for_each(settle);
}

/// A buffer for a copy's head, and for content that fits beside it; larger content gets none of its room there.
fn room(policy: &Policy, source: &Source<'_>, buffers: &Buffers) -> Vec<u8> {
    let head_bytes =
        source.at.common_end + policy.mark.len() + 64 + source.proof.map_or(0, |_| proof::LINE_BYTES);
    match source.framing {
        Framing::Length(n) if n <= RESPONSE_BUFFER_BYTES.saturating_sub(head_bytes) as u64 => {
            buffers.with_room(head_bytes + usize::try_from(n).unwrap_or(0))
        }
        Framing::Length(_) | Framing::None | Framing::Chunked | Framing::UntilClose => {
            buffers.with_room(head_bytes)
        }
    }
}

/// Writes the head that every wire shares, as this mirror is to see it.
fn take_head(head: &mut Vec<u8>, policy: &Policy, source: &Source<'_>) {
    let common = &source.head[..source.at.common_end];
    let shadow;
    let host = match &policy.host {
        MirrorHost::Keep => None,
        MirrorHost::Shadow => {
            shadow = render::shadow_host(&common[source.at.host.clone()]);
            Some(shadow.as_slice())
        }
        MirrorHost::Literal(host) => Some(host.as_bytes()),
    };
    match (&policy.rules, host) {
        (Some(rules), host) => edit_head(head, common, source, rules, host),
        (None, None) => head.extend_from_slice(common),
        (None, Some(host)) => {
            head.extend_from_slice(&common[..source.at.host.start]);
            head.extend_from_slice(host);
            head.extend_from_slice(&common[source.at.host.end..]);
        }
    }
    if let Some(name) = policy.rules.as_ref().and_then(|rules| rules.idempotency_key.as_deref())
        && !is_safe(source.asked.method)
    {
        idempotency_key(head, name, common);
    }
}

/// A method that asks for no change (RFC 9110 §9.2.1).
fn is_safe(method: &[u8]) -> bool {
    [&b"GET"[..], b"HEAD", b"OPTIONS", b"TRACE"].contains(&method)
}

/// The key by which servers know a write again: the client's own stays. Else it is the id of the request, which the primary gets too,
/// as a string of structured fields (RFC 8941 §3.3.3).
fn idempotency_key(head: &mut Vec<u8>, name: &str, common: &[u8]) {
    let id = field_lines::first(common, b"x-request-id").filter(|id| render::is_id(id));
    let Some(id) = id.filter(|_| field_lines::first(head, name.as_bytes()).is_none()) else { return };
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": \"");
    for byte in id {
        if matches!(byte, b'"' | b'\\') {
            head.push(b'\\');
        }
        head.push(*byte);
    }
    head.extend_from_slice(b"\"\r\n");
}

/// Edits a copy's head. Secrets go first, so that values that the mirror's own edits set stay.
fn edit_head(head: &mut Vec<u8>, common: &[u8], source: &Source<'_>, rules: &Rules, host: Option<&[u8]>) {
    let change = RequestEdit {
        path: rules.path.as_ref().map(|path| {
            let path = path.path(source.asked.path, source.matched);
            let Some(secrets) = &rules.secrets else { return path };
            let mut without = Vec::with_capacity(path.len());
            secrets.target(&mut without, &path);
            without.into()
        }),
        host,
        headers: [Some(Cow::Borrowed(&rules.headers)), None],
    };
    let edit =
        |common: &[u8], at: &RenderedHead, head: &mut Vec<u8>| edit::request(head, common, at, &change);
    match &rules.secrets {
        None => edit(common, source.at, head),
        Some(secrets) => {
            let mut redacted = Vec::with_capacity(common.len());
            let at = secrets.head(&mut redacted, common, source.at);
            edit(&redacted, &at, head)
        }
    };
}
