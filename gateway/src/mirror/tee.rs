//! Takes the copy of one request as it passes on its way to the primary.
//!
//! Nothing here waits and nothing here fails its caller: every method returns `()`, a copy that cannot be taken is given
//! up and counted, and the live request goes on untouched. Small pieces are copied, large ones shared, so that a slice
//! never keeps a big block alive for a few bytes.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use config::{MirrorHost, Percent};

use super::lane::{Lane, RequestCopy};
use super::ledger::Ticket;
use super::sample::Draw;
use crate::buffer::Buffers;
use crate::http1::framing::Framing;
use crate::http1::render::{self, RenderedHead};
use crate::limits::{RESPONSE_BUFFER_BYTES, SHARE_MIN_BYTES};
use crate::metrics::{Drop as Dropped, MirrorCounters, Skip};

/// One mirror of one route, prepared for a worker.
#[derive(Debug)]
pub struct Policy {
    pub counters: Arc<MirrorCounters>,
    pub lane: Rc<Lane>,
    pub percent: Percent,
    pub body_bytes_max: usize,
    pub host: MirrorHost,
    /// The whole marker line of a copy.
    pub mark: Vec<u8>,
}

/// What a copy is cut from, and what decides whether it is.
#[derive(Debug)]
pub struct Source<'a> {
    pub head: &'a [u8],
    pub at: &'a RenderedHead,
    pub framing: Framing,
    pub to_head: bool,
    /// The method usually carries content.
    pub expects_content: bool,
    /// The request is itself a copy.
    pub is_copy: bool,
    /// The worker is late on its own loop.
    pub worker_busy: bool,
    pub now_ms: u64,
}

/// The copies under way of one request; dropping it gives them up as aborted.
#[derive(Debug, Default)]
pub struct Tee {
    /// Apart from the rest, because most requests have one mirror and then nothing is allocated.
    first: Option<Pending>,
    more: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    reserved: Reserved,
    head: Vec<u8>,
    /// The head is complete: the request declared its length, so content follows it directly.
    head_ended: bool,
    /// Content copied and not yet in `pieces`.
    small: Vec<u8>,
    pieces: Vec<Bytes>,
    content_bytes: usize,
    /// Bytes of blocks that `pieces` keep alive.
    pinned_bytes: usize,
    body_bytes_max: usize,
    to_head: bool,
    expects_content: bool,
}

/// Content being held for a copy that is not complete, set aside in its ring's budget.
#[derive(Debug)]
struct Reserved {
    lane: Rc<Lane>,
    bytes: usize,
}

impl Reserved {
    fn grow(&mut self, bytes: usize) -> bool {
        let reserved = self.lane.reserve(bytes);
        if reserved {
            self.bytes += bytes;
        }
        reserved
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.lane.release(self.bytes);
        }
    }
}

impl Tee {
    /// Opens an account for each mirror and takes the head for those that want the copy.
    pub fn begin(policies: &[Policy], draw: Draw, source: &Source<'_>, buffers: &Buffers) -> Self {
        let mut tee = Self::default();
        for policy in policies {
            if let Some(pending) = Pending::begin(policy, draw, source, buffers) {
                match tee.first {
                    None => tee.first = Some(pending),
                    Some(_) => tee.more.push(pending),
                }
            }
        }
        tee
    }

    /// Whether anything is still being taken.
    pub fn is_active(&self) -> bool {
        self.first.is_some() || !self.more.is_empty()
    }

    /// Content that is going to be overwritten: copied.
    pub fn copy(&mut self, content: &[u8]) {
        if content.is_empty() {
            return;
        }
        self.each(|p| {
            let mut p = p.take(content.len(), content.len())?;
            // While nothing is shared yet, content of a declared length stands right behind the head.
            let fits = p.head.capacity() - p.head.len() >= content.len();
            if p.head_ended && p.pieces.is_empty() && p.small.is_empty() && fits {
                p.head.extend_from_slice(content);
            } else {
                p.small.extend_from_slice(content);
            }
            Some(p)
        });
    }

    /// Content in a block of its own, `pinned_bytes` large: shared if it fills the block well, else copied.
    pub fn share(&mut self, content: &Bytes, pinned_bytes: usize) {
        if content.len() < SHARE_MIN_BYTES {
            return self.copy(content);
        }
        self.each(|p| {
            let mut p = p.take(content.len(), pinned_bytes)?;
            p.flush_small();
            p.pieces.push(content.clone());
            p.pinned_bytes += pinned_bytes;
            Some(p)
        });
    }

    /// The request is complete and on its way to the primary: the copies go into their rings.
    pub fn complete(&mut self, trailers: &[u8], now_ms: u64) {
        self.each(|p| {
            p.complete(trailers, now_ms);
            None
        });
    }

    /// The request will not be copied.
    pub fn skip(&mut self, why: Skip) {
        self.each(|p| {
            p.ticket.skip(why);
            None
        });
    }

    fn each(&mut self, mut step: impl FnMut(Pending) -> Option<Pending>) {
        self.first = self.first.take().and_then(&mut step);
        if !self.more.is_empty() {
            self.more = std::mem::take(&mut self.more).into_iter().filter_map(step).collect();
        }
    }
}

impl Pending {
    fn begin(policy: &Policy, draw: Draw, source: &Source<'_>, buffers: &Buffers) -> Option<Self> {
        let ticket = Ticket::open(&policy.counters);
        if source.is_copy {
            ticket.skip(Skip::Loop);
            return None;
        }
        if !draw.takes(policy.percent) {
            ticket.sampled_out();
            return None;
        }
        if source.worker_busy {
            ticket.drop(Dropped::WorkerBusy);
            return None;
        }
        if let Some(why) = policy.lane.would_drop(source.now_ms) {
            ticket.drop(why);
            return None;
        }
        if let Framing::Length(n) = source.framing
            && n > policy.body_bytes_max as u64
        {
            ticket.drop(Dropped::BodyTooLarge);
            return None;
        }
        let head_bytes = source.at.common_end + policy.mark.len() + 64;
        let mut head = match source.framing {
            // Content that fits beside its head goes into the same buffer; larger content gets none of its room there.
            Framing::Length(n) if n <= RESPONSE_BUFFER_BYTES.saturating_sub(head_bytes) as u64 => {
                buffers.with_room(head_bytes + usize::try_from(n).unwrap_or(0))
            }
            Framing::Length(_) | Framing::None | Framing::Chunked | Framing::UntilClose => {
                buffers.with_room(head_bytes)
            }
        };
        let common = &source.head[..source.at.common_end];
        match &policy.host {
            MirrorHost::Keep => head.extend_from_slice(common),
            MirrorHost::Shadow => {
                let host = render::shadow_host(&common[source.at.host.clone()]);
                replace_host(&mut head, common, source.at, &host);
            }
            MirrorHost::Literal(host) => replace_host(&mut head, common, source.at, host.as_bytes()),
        }
        head.extend_from_slice(&policy.mark);
        let head_ended = source.framing != Framing::Chunked;
        if head_ended {
            render::end_request(&mut head, source.framing, source.expects_content, false);
        }
        Some(Self {
            ticket,
            reserved: Reserved { lane: Rc::clone(&policy.lane), bytes: 0 },
            head,
            head_ended,
            small: Vec::new(),
            pieces: Vec::new(),
            content_bytes: 0,
            pinned_bytes: 0,
            body_bytes_max: policy.body_bytes_max,
            to_head: source.to_head,
            expects_content: source.expects_content,
        })
    }

    /// Makes room for `bytes` more of content that keep `held_bytes` alive, or gives the copy up: it never goes out cut.
    fn take(mut self, bytes: usize, held_bytes: usize) -> Option<Self> {
        self.content_bytes += bytes;
        if self.content_bytes > self.body_bytes_max {
            self.ticket.drop(Dropped::BodyTooLarge);
            return None;
        }
        if !self.reserved.grow(held_bytes) {
            self.ticket.drop(Dropped::RingBytes);
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

    /// Offers the copy to its lane.
    fn complete(mut self, trailers: &[u8], now_ms: u64) {
        if !self.head_ended {
            self.end_head(trailers);
        }
        self.flush_small();
        let bytes = self.head.capacity() + self.pinned_bytes;
        let lane = Rc::clone(&self.reserved.lane);
        drop(self.reserved);
        let copy =
            RequestCopy { head: self.head, pieces: self.pieces, to_head: self.to_head, ticket: self.ticket };
        lane.offer(copy, bytes, now_ms);
    }

    /// Ends the head now that the length is known. Its framing is ours: one length, or one chunk where trailers follow.
    fn end_head(&mut self, trailers: &[u8]) {
        let framing = match (self.content_bytes, trailers.is_empty()) {
            (0, true) => Framing::None,
            (n, true) => Framing::Length(n as u64),
            (_, false) => Framing::Chunked,
        };
        render::end_request(&mut self.head, framing, self.expects_content, false);
        if framing == Framing::Chunked && self.content_bytes > 0 {
            self.head.extend_from_slice(format!("{:x}\r\n", self.content_bytes).as_bytes());
        }
        if self.pieces.is_empty() {
            self.head.extend_from_slice(&self.small);
            self.small.clear();
        }
        if framing == Framing::Chunked {
            let end_of_chunk: &[u8] = if self.content_bytes > 0 { b"\r\n" } else { b"" };
            let end = [end_of_chunk, b"0\r\n", trailers, b"\r\n"].concat();
            let last = if self.pieces.is_empty() { &mut self.head } else { &mut self.small };
            last.extend_from_slice(&end);
        }
    }
}

fn replace_host(head: &mut Vec<u8>, common: &[u8], at: &RenderedHead, host: &[u8]) {
    head.extend_from_slice(&common[..at.host.start]);
    head.extend_from_slice(host);
    head.extend_from_slice(&common[at.host.end..]);
}

#[cfg(test)]
mod tests {
    use super::super::sample::Random;
    use super::*;
    use config::DropPolicy;

    const HEAD: &[u8] = b"POST /x HTTP/1.1\r\nHost: a:81\r\nX: y\r\n";

    fn lane() -> Rc<Lane> {
        let lane = config::Lane {
            name: "v2".into(),
            upstream: 0,
            ring_entries_max: 8,
            ring_bytes_max: 1 << 20,
            drop: DropPolicy::Newest,
            connect_timeout: std::time::Duration::from_secs(1),
            timeout: std::time::Duration::from_secs(1),
            connections_max: 1,
            pipeline_max: 1,
            response_bytes_max: 1,
        };
        Rc::new(Lane::new(&lane, &["127.0.0.1:1".parse().unwrap()], &Arc::default()))
    }

    fn policy(host: MirrorHost, per_million: u32) -> Policy {
        Policy {
            counters: Arc::default(),
            lane: lane(),
            percent: Percent { per_million },
            body_bytes_max: 100_000,
            host,
            mark: b"X-Umbra-Mirror: v2\r\n".to_vec(),
        }
    }

    fn begin(policies: &[Policy], framing: Framing) -> Tee {
        let at = RenderedHead { host_line: 18..30, host: 24..28, common_end: HEAD.len() };
        let source = Source {
            head: HEAD,
            at: &at,
            framing,
            to_head: false,
            expects_content: true,
            is_copy: false,
            worker_busy: false,
            now_ms: 0,
        };
        Tee::begin(policies, Draw::of(&Random::new(1)), &source, &Buffers::default())
    }

    fn wire(policy: &Policy) -> Option<String> {
        let copy = policy.lane.take_if(|_| true)?;
        let mut bytes = copy.head.clone();
        copy.pieces.iter().for_each(|p| bytes.extend_from_slice(p));
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_copy_is_the_request_with_its_host_rule_its_mark_and_our_framing() {
        for (host, expect) in [
            (MirrorHost::Keep, "a:81"),
            (MirrorHost::Shadow, "a-shadow:81"),
            (MirrorHost::Literal("v2.example".into()), "v2.example"),
        ] {
            let policies = [policy(host, 1_000_000)];
            let mut tee = begin(&policies, Framing::Chunked);
            tee.copy(b"hel");
            tee.copy(b"lo");
            tee.complete(b"", 0);
            assert_eq!(
                wire(&policies[0]).unwrap(),
                format!(
                    "POST /x HTTP/1.1\r\nHost: {expect}\r\nX: y\r\nX-Umbra-Mirror: v2\r\nContent-Length: 5\r\n\r\nhello"
                )
            );
        }
    }

    #[test]
    fn large_pieces_are_shared_in_order_with_small_ones_and_trailers_end_a_single_chunk() {
        let policies = [policy(MirrorHost::Keep, 1_000_000)];
        let mut tee = begin(&policies, Framing::Chunked);
        let large = Bytes::from(vec![b'L'; SHARE_MIN_BYTES]);
        tee.copy(b"first ");
        tee.share(&large, SHARE_MIN_BYTES * 2);
        tee.share(&Bytes::from_static(b" last"), SHARE_MIN_BYTES * 2);
        tee.complete(b"X-T: 1\r\n", 0);
        let text = wire(&policies[0]).unwrap();
        let content = format!("first {} last", "L".repeat(SHARE_MIN_BYTES));
        let expect = format!("\r\n\r\n{:x}\r\n{content}\r\n0\r\nX-T: 1\r\n\r\n", content.len());
        assert!(text.ends_with(&expect), "{}", &text[..200]);
        assert!(text.contains("Transfer-Encoding: chunked\r\n") && !text.contains("Content-Length"));
    }

    #[test]
    fn a_copy_that_grows_too_large_is_given_up_and_never_cut() {
        let policies = [policy(MirrorHost::Keep, 1_000_000)];
        let mut tee = begin(&policies, Framing::Chunked);
        tee.copy(&vec![0; 100_000]);
        assert!(tee.is_active());
        tee.copy(b"x");
        assert!(!tee.is_active());
        tee.complete(b"", 0);
        assert_eq!(wire(&policies[0]), None);
        assert_eq!(policies[0].counters.dropped.get(Dropped::BodyTooLarge), 1);
        let mut declared = begin(&policies, Framing::Length(100_001));
        assert!(!declared.is_active());
        declared.complete(b"", 0);
        assert_eq!(policies[0].counters.dropped.get(Dropped::BodyTooLarge), 2);
    }

    #[test]
    fn content_held_for_incomplete_copies_is_bounded_by_the_ring_and_given_back() {
        let mut policies = [policy(MirrorHost::Keep, 1_000_000)];
        policies[0].body_bytes_max = 1 << 20;
        let block = Bytes::from(vec![0; SHARE_MIN_BYTES]);
        let held: Vec<Tee> = (0..3)
            .map(|_| {
                let mut tee = begin(&policies, Framing::Chunked);
                (0..10).for_each(|_| tee.share(&block, 50_000));
                tee
            })
            .collect();
        assert_eq!(held.iter().map(Tee::is_active).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(policies[0].counters.dropped.get(Dropped::RingBytes), 1);
        drop(held);
        assert!(policies[0].lane.reserve(1 << 20));
    }

    #[test]
    fn a_request_that_ends_early_is_skipped_for_every_mirror() {
        let policies = [policy(MirrorHost::Keep, 1_000_000), policy(MirrorHost::Shadow, 1_000_000)];
        let mut tee = begin(&policies, Framing::Chunked);
        tee.copy(b"half");
        drop(tee);
        for policy in &policies {
            assert_eq!(wire(policy), None);
            assert_eq!(policy.counters.skipped.get(Skip::Aborted), 1);
        }
    }
}
