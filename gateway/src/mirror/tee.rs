//! Takes the copies of one request as it passes on its way to the primary.
//!
//! Nothing here waits and nothing here fails its caller: every method returns `()`, a copy that cannot be taken is given
//! up and counted, and the live request goes on untouched. Small pieces are copied, large ones shared, so that a slice
//! never keeps a big block alive for a few bytes.

use std::time::Duration;

use bytes::Bytes;

use super::pending::Pending;
use super::policy::Policy;
use super::sample::Draw;
use super::source::Source;
use crate::buffer::Buffers;
use crate::limits::SHARE_MIN_BYTES;
use crate::metrics::SkipReason;
use crate::random::Random;

/// The copies under way of one request; dropping it gives them up as aborted.
#[derive(Debug, Default)]
pub struct Tee {
    /// Apart from the rest, because most requests have one mirror and then nothing is allocated.
    first: Option<Pending>,
    more: Vec<Pending>,
}

impl Tee {
    /// Opens the accounts of each mirror that the request concerns and takes the head for those that want a copy.
    ///
    /// Copies leave in an order that is drawn for each request: the copy that leaves first finds the state that the others
    /// change, and no mirror is to be judged by its place in the configuration. Of any two, either is as often the first.
    pub fn begin(policies: &[Policy], draw: Draw, source: &Source<'_>, buffers: &Buffers) -> Self {
        let mut tee = Self::default();
        for policy in in_turn(policies, source.random) {
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
        if !content.is_empty() {
            self.each(|p| p.copy(content));
        }
    }

    /// Content in a block of its own, `pinned_bytes` large: shared if it fills the block well, else copied.
    pub fn share(&mut self, content: &Bytes, pinned_bytes: usize) {
        if content.len() < SHARE_MIN_BYTES {
            return self.copy(content);
        }
        self.each(|p| p.share(content, pinned_bytes));
    }

    /// The request is complete and on its way to the primary: the copies go into their rings, or wait for its answer.
    pub fn complete(&mut self, trailers: &[u8], now_ms: u64) {
        self.each(|p| p.complete(trailers, now_ms));
    }

    /// The primary answered, so long after the request was forwarded to it: copies that waited for that go into their
    /// rings or are skipped.
    pub fn answered(&mut self, status: u16, after: Duration, now_ms: u64) {
        self.each(|p| p.answered(status, after, now_ms));
    }

    /// The request will not be copied.
    pub fn skip(&mut self, why: SkipReason) {
        self.each(|p| {
            p.give_up(|ticket| ticket.skip(why));
            None
        });
    }

    fn each(&mut self, mut step: impl FnMut(Pending) -> Option<Pending>) {
        if self.first.is_some() {
            self.first = self.first.take().and_then(&mut step);
        }
        if !self.more.is_empty() {
            self.more = std::mem::take(&mut self.more).into_iter().filter_map(step).collect();
        }
    }
}

/// From any of them on, forwards or backwards.
fn in_turn<'p, T>(all: &'p [T], random: &Random) -> impl Iterator<Item = &'p T> {
    let n = all.len();
    // A single mirror is in order, and costs no draw.
    let drawn = if n > 1 { random.below(2 * n as u64) as usize } else { 0 };
    let (from, is_backwards) = (drawn / 2, drawn % 2 == 1);
    let at = move |step: usize| if is_backwards { (from + n - step) % n } else { (from + step) % n };
    (0..n).filter_map(move |step| all.get(at(step)))
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::OnceCell;
    use std::rc::Rc;
    use std::sync::Arc;

    use config::{HeaderEdits, MirrorHost, Percent, Redact};

    use super::super::copy::Searching;
    use super::super::lane::tests::lane;
    use super::*;
    use crate::asked::tests::with_asked;
    use crate::http1::framing::Framing;
    use crate::http1::render::RenderedHead;
    use crate::matcher::Matched;
    use crate::metrics::DropReason;

    const HEAD: &[u8] = b"POST /x HTTP/1.1\r\nHost: a:81\r\nX: y\r\n";

    /// A plain one.
    pub(in crate::mirror) fn mirror() -> config::Mirror {
        config::Mirror {
            name: "v2".into(),
            lane: 0,
            percent: Percent::ALL,
            only: None,
            only_primary: None,
            sample_by: None,
            sample: config::Sample::Even,
            rate_max: None,
            ttl: None,
            after: config::After::Request,
            response: None,
            idempotency_key: None,
            governor: None,
            body_bytes_max: 100_000,
            host: MirrorHost::Keep,
            path: None,
            headers: HeaderEdits::default(),
            redact: Redact::default(),
            role: config::Role::Candidate,
            baseline_for: Vec::new(),
            compare: None,
        }
    }

    fn of(mirror: &config::Mirror) -> Policy {
        Policy::new((0, mirror), &Arc::default(), &Rc::new(lane()), 1, None)
    }

    fn policy(host: MirrorHost, per_million: u32) -> Policy {
        of(&config::Mirror { host, percent: Percent { per_million }, ..mirror() })
    }

    fn begin(policies: &[Policy], framing: Framing) -> Tee {
        let at = RenderedHead { host_line: 18..30, host: 24..28, common_end: HEAD.len() };
        begin_at(HEAD, &at, policies, framing, Draw::of(&Random::new(1)))
    }

    fn begin_at(head: &[u8], at: &RenderedHead, policies: &[Policy], framing: Framing, draw: Draw) -> Tee {
        with_asked("POST", "http://a:81/x", &[("sid", "ada")], |asked| {
            let source = Source {
                head,
                at,
                framing,
                to_head: false,
                expects_content: true,
                is_copy: false,
                proof: None,
                asked,
                matched: Matched::Whole,
                primary: 0,
                pairing: &OnceCell::new(),
                random: &Random::new(1),
                compares: None,
                trace: None,
                overload: None,
                now_ms: 0,
            };
            Tee::begin(policies, draw, &source, &Buffers::default())
        })
    }

    fn wire(policy: &Policy) -> Option<String> {
        let mut copy = policy.lane.take_if(|_| true)?;
        if let Some(unsearched) = copy.unsearched.take() {
            let mut searching = Searching::begin(&unsearched, &copy.head, &copy.pieces).ok()?;
            while !searching.turn().ok()? {}
            copy.pieces = vec![searching.end(&mut copy.head).ok()?];
        }
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
    fn each_mirror_leaves_before_each_other_as_often_and_all_of_them_do() {
        let random = Random::new(11);
        for n in 0..6_usize {
            let all: Vec<usize> = (0..n).collect();
            let mut before = vec![vec![0_u32; n]; n];
            let mut first = vec![0_u32; n];
            for _ in 0..2_000 {
                let order: Vec<usize> = in_turn(&all, &random).copied().collect();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, all, "each once");
                if let Some(at) = order.first() {
                    first[*at] += 1;
                }
                for (at, one) in order.iter().enumerate() {
                    order[at + 1..].iter().for_each(|other| before[*one][*other] += 1);
                }
            }
            for one in 0..n {
                assert!((first[one] as usize).abs_diff(2_000 / n) < 200, "{n}: {first:?}");
                for other in (0..n).filter(|other| *other != one) {
                    assert!(before[one][other].abs_diff(1_000) < 120, "{n}: {before:?}");
                }
            }
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
        assert_eq!(policies[0].counters.dropped.get(DropReason::BodyTooLarge), 1);
        let mut declared = begin(&policies, Framing::Length(100_001));
        assert!(!declared.is_active());
        declared.complete(b"", 0);
        assert_eq!(policies[0].counters.dropped.get(DropReason::BodyTooLarge), 2);
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
        assert_eq!(policies[0].counters.dropped.get(DropReason::RingBytes), 1);
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
            assert_eq!(policy.counters.skipped.get(SkipReason::Aborted), 1);
        }
    }

    #[test]
    fn requests_outside_a_mirrors_match_open_no_account() {
        let only =
            |path: &str| config::Match { path: config::PathMatch::Exact(path.into()), ..Default::default() };
        let policies = [
            of(&config::Mirror { only: Some(only("/x")), ..mirror() }),
            of(&config::Mirror { only: Some(only("/y")), ..mirror() }),
            of(&config::Mirror { only_primary: Some(0), ..mirror() }),
            of(&config::Mirror { only_primary: Some(1), ..mirror() }),
        ];
        begin(&policies, Framing::None).complete(b"", 0);
        let eligible: Vec<u64> = policies.iter().map(|p| p.counters.eligible.get()).collect();
        assert_eq!(eligible, [1, 0, 1, 0]);
        assert!(wire(&policies[0]).is_some() && wire(&policies[2]).is_some());
    }

    #[test]
    fn a_write_bears_the_key_that_the_client_gave_it_or_its_id_the_same_for_all_of_its_copies() {
        let with = |lines: &str| format!("POST /x HTTP/1.1\r\nHost: a:81\r\n{lines}");
        let rows = [
            ("X-Request-Id: i-1\r\n", Some("idempotency-key: \"i-1\"\r\n")),
            ("x-request-id: a\"b\\c\r\n", Some("idempotency-key: \"a\\\"b\\\\c\"\r\n")),
            ("X-Request-Id: i-1\r\nIDEMPOTENCY-KEY: own\r\n", None),
            ("X: y\r\n", None),
        ];
        for (lines, expect) in rows {
            let key = Some("idempotency-key".to_owned());
            let amplified = Percent { per_million: 2_000_000 };
            let policies = [
                of(&config::Mirror { idempotency_key: key.clone(), ..mirror() }),
                of(&config::Mirror { idempotency_key: key, percent: amplified, ..mirror() }),
                of(&mirror()),
            ];
            let head = with(lines);
            let at = RenderedHead { host_line: 18..30, host: 24..28, common_end: head.len() };
            let draw = Draw::of(&Random::new(1));
            begin_at(head.as_bytes(), &at, &policies, Framing::None, draw).complete(b"", 0);
            for policy in [&policies[0], &policies[1], &policies[1]] {
                let text = wire(policy).unwrap();
                let found = text.matches("idempotency-key: ").count();
                assert_eq!(found, usize::from(expect.is_some()), "{text}");
                assert!(text.contains(expect.unwrap_or(lines)), "{text}");
            }
            assert!(!wire(&policies[2]).unwrap().contains("idempotency-key: "), "it is not asked for");
        }
    }

    #[test]
    fn copies_of_one_request_are_numbered_and_share_its_content() {
        let policies = [policy(MirrorHost::Keep, 3_000_000)];
        for framing in [Framing::Length(5), Framing::Chunked] {
            let mut tee = begin(&policies, framing);
            tee.copy(b"hello");
            tee.complete(b"", 0);
            for line in ["", "X-Umbra-Copy: 2\r\n", "X-Umbra-Copy: 3\r\n"] {
                let expect = format!("X: y\r\nX-Umbra-Mirror: v2\r\n{line}Content-Length: 5\r\n\r\nhello");
                let text = wire(&policies[0]).unwrap();
                assert!(text.ends_with(&expect), "{text}");
            }
            assert_eq!(wire(&policies[0]), None);
        }
        let mut tee = begin(&policies, Framing::Length(5));
        tee.copy(b"hello");
        tee.complete(b"", 0);
        let content = || policies[0].lane.take_if(|_| true).map(|copy| copy.pieces[0].as_ptr());
        assert!(content() == content() && content().is_some());
        let large = Bytes::from(vec![b'L'; SHARE_MIN_BYTES]);
        let mut tee = begin(&policies, Framing::Length(large.len() as u64));
        tee.share(&large, large.len());
        tee.complete(b"", 0);
        for _ in 0..3 {
            let copy = policies[0].lane.take_if(|_| true).unwrap();
            assert_eq!(copy.pieces[0].as_ptr(), large.as_ptr());
        }
        assert_eq!(policies[0].counters.eligible.get(), 12);
    }

    #[test]
    fn a_fraction_not_taken_is_sampled_out_and_the_rest_of_an_account_ends_alike() {
        // The draw of these tests is neither the lowest nor the highest there is.
        let low = of(&config::Mirror { percent: Percent { per_million: 2_000_001 }, ..mirror() });
        let high = of(&config::Mirror { percent: Percent { per_million: 2_999_999 }, ..mirror() });
        let policies = [low, high];
        begin(&policies, Framing::None).skip(SkipReason::PrimaryUnavailable);
        let account = |p: &Policy| {
            let c = &p.counters;
            (c.eligible.get(), c.sampled_out.get(), c.skipped.get(SkipReason::PrimaryUnavailable))
        };
        assert_eq!((account(&policies[0]), account(&policies[1])), ((3, 1, 2), (3, 0, 3)));
    }

    #[test]
    fn all_requests_of_a_key_are_drawn_alike() {
        let key = |name: &str| Some(config::RequestKey::Header(name.into()));
        let share = Percent { per_million: 500_000 };
        let by = |name| of(&config::Mirror { sample_by: key(name), percent: share, ..mirror() });
        let at = RenderedHead { host_line: 18..30, host: 24..28, common_end: HEAD.len() };
        let policies = [by("sid"), by("none")];
        let random = Random::new(9);
        for _ in 0..1000 {
            let draw = Draw::of(&random);
            begin_at(HEAD, &at, &policies, Framing::None, draw).skip(SkipReason::Aborted);
        }
        let skipped = policies.each_ref().map(|p| p.counters.skipped.get(SkipReason::Aborted));
        assert!(skipped[0] == 0 || skipped[0] == 1000, "{skipped:?}");
        assert!((400..600).contains(&skipped[1]), "{skipped:?}");
    }

    #[test]
    fn a_copy_that_wants_the_answer_waits_for_it_and_tells_it() {
        let answer = |slower_than| {
            let wanted = config::ResponseCondition { statuses: vec![500..=599], slower_than };
            of(&config::Mirror { response: Some(wanted), ..mirror() })
        };
        let ms = Duration::from_millis;
        for early in [false, true] {
            let policies = [answer(None), answer(Some(ms(20))), policy(MirrorHost::Keep, 1_000_000)];
            let mut tee = begin(&policies, Framing::Chunked);
            tee.copy(b"hello");
            if early {
                tee.answered(503, Duration::from_micros(12_345), 0);
                tee.complete(b"", 0);
            } else {
                tee.complete(b"", 0);
                assert!(wire(&policies[2]).is_some(), "others do not wait");
                assert!(tee.is_active() && policies[0].lane.is_empty());
                // Forwarded once more.
                tee.complete(b"", 0);
                tee.answered(503, Duration::from_micros(12_345), 0);
            }
            assert!(!tee.is_active());
            let text = wire(&policies[0]).unwrap();
            let expect = "X-Umbra-Mirror: v2\r\nX-Umbra-Primary-Status: 503\r\n\
                          X-Umbra-Primary-Duration: 12.345\r\nContent-Length: 5\r\n\r\nhello";
            assert!(text.ends_with(expect), "{text}");
            assert_eq!(policies[1].counters.skipped.get(SkipReason::Response), 1, "too fast");
            assert_eq!(wire(&policies[1]), None);
        }
    }

    #[test]
    fn what_waits_for_an_answer_counts_against_the_ring_and_is_given_back() {
        let wanted = config::ResponseCondition { statuses: vec![500..=599], slower_than: None };
        let limit = 1 << 20;
        let policies = [of(&config::Mirror { response: Some(wanted), body_bytes_max: limit, ..mirror() })];
        let block = Bytes::from(vec![0; 400_000]);
        let mut held: Vec<Tee> = (0..3)
            .map(|_| {
                let mut tee = begin(&policies, Framing::Length(400_000));
                tee.share(&block, 500_000);
                tee.complete(b"", 0);
                tee
            })
            .collect();
        assert_eq!(held.iter().map(Tee::is_active).collect::<Vec<_>>(), [true, true, false]);
        let counters = &policies[0].counters;
        assert_eq!((counters.dropped.get(DropReason::RingBytes), counters.pending.get()), (1, 2));
        held[0].answered(200, Duration::ZERO, 0);
        assert_eq!(counters.skipped.get(SkipReason::Response), 1);
        drop(held);
        assert_eq!(counters.skipped.get(SkipReason::Aborted), 1);
        assert!(policies[0].lane.reserve(limit));
    }

    #[test]
    fn more_copies_than_the_rate_are_dropped_before_or_after_the_answer() {
        let wanted = config::ResponseCondition { statuses: Vec::new(), slower_than: Some(Duration::ZERO) };
        for response in [None, Some(wanted)] {
            let percent = Percent { per_million: 3_000_000 };
            let policies = [of(&config::Mirror { rate_max: Some(10), percent, response, ..mirror() })];
            for _ in 0..2 {
                let mut tee = begin(&policies, Framing::None);
                tee.complete(b"", 0);
                tee.answered(200, Duration::from_millis(1), 0);
            }
            assert_eq!(policies[0].counters.dropped.get(DropReason::Rate), 4);
            assert!(wire(&policies[0]).is_some() && wire(&policies[0]).is_some());
            assert_eq!(wire(&policies[0]), None);
        }
    }

    #[test]
    fn a_copy_is_edited_and_rid_of_secrets_alone() {
        let edits = HeaderEdits {
            remove: vec!["x".into()],
            set: vec![("authorization".into(), "for v2".into())],
            ..HeaderEdits::default()
        };
        let names = |name: &str| vec![name.to_owned()];
        let redact = Redact {
            headers: names("authorization"),
            cookies: names("sid"),
            query: names("token"),
            json: names("/card"),
        };
        let path = Some(config::PathRewrite::Whole("/v2".into()));
        let policies =
            [of(&config::Mirror { headers: edits, redact, path, host: MirrorHost::Shadow, ..mirror() })];
        let head =
            b"POST /x?token=S&a=1 HTTP/1.1\r\nHost: a:81\r\nX: y\r\nAuthorization: S\r\nCookie: sid=S\r\n\
            X-Umbra-Copy: 9\r\n";
        let at = RenderedHead { host_line: 30..42, host: 36..40, common_end: head.len() };
        let draw = Draw::of(&Random::new(1));
        let trailers = b"Authorization: S\r\nT: 1\r\n";
        let start = "POST /v2?token=%5Bredacted%5D&a=1 HTTP/1.1\r\nHost: a-shadow:81\r\nCookie: sid=[redacted]\r\n\
                     authorization: for v2\r\nX-Umbra-Mirror: v2\r\n";
        let mut tee = begin_at(head, &at, &policies, Framing::Length(12), draw);
        tee.copy(br#"{"card":"S"}"#);
        tee.complete(b"", 0);
        let end = "Content-Length: 21\r\n\r\n{\"card\":\"[redacted]\"}";
        assert_eq!(wire(&policies[0]).unwrap(), format!("{start}{end}"));
        let mut tee = begin_at(head, &at, &policies, Framing::Chunked, draw);
        tee.copy(br#"{"card":"#);
        tee.copy(br#""S"}"#);
        tee.complete(trailers, 0);
        let end = "Transfer-Encoding: chunked\r\n\r\n15\r\n{\"card\":\"[redacted]\"}\r\n0\r\n\
                   Authorization: [redacted]\r\nT: 1\r\n\r\n";
        assert_eq!(wire(&policies[0]).unwrap(), format!("{start}{end}"));
        // An empty content has no secret.
        let mut tee = begin_at(head, &at, &policies, Framing::None, draw);
        tee.complete(b"", 0);
        assert_eq!(wire(&policies[0]).unwrap(), format!("{start}Content-Length: 0\r\n\r\n"));
    }
}
