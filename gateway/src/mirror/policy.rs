//! A mirror of a route, prepared for a worker: the requests that it may copy, the share of them that it copies, and the special
//! treatment of the copies. Pure.
//!
//! Rules that only some mirrors have stand apart in [`Rules`], so that a plain mirror passes all of them by one test.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::{After, HeaderEdits, MirrorHost, Percent, RequestKey, ResponseCondition, Sample};

use super::governor::Governor;
use super::lane::Lane;
use super::redact::Secrets;
use super::sample::Draw;
use super::source::Source;
use super::spread::Spread;
use crate::http1::edit::PathEdit;
use crate::http1::render::MIRROR_MARK;
use crate::matcher::Matcher;
use crate::metrics::{Arm, MirrorCounters};
use crate::rate::Bucket;

/// Number of a copy among those of one request, from the second on.
pub const COPY_NUMBER: &str = "X-Umbra-Copy";

/// Status of the primary's answer.
pub const PRIMARY_STATUS: &str = "X-Umbra-Primary-Status";

/// From the request forwarded to the head of the primary's answer, in milliseconds with three decimals.
pub const PRIMARY_DURATION: &str = "X-Umbra-Primary-Duration";

/// A mirror of a route, prepared for a worker.
#[derive(Debug)]
pub struct Policy {
    /// Index among the route's mirrors.
    pub index: usize,
    pub counters: Arc<MirrorCounters>,
    pub lane: Rc<Lane>,
    pub percent: Percent,
    pub body_bytes_max: usize,
    pub host: MirrorHost,
    /// The whole marker line of a copy.
    pub mark: Vec<u8>,
    /// `None` for a plain mirror.
    pub rules: Option<Rc<Rules>>,
    /// Indices of primaries whose answers are not compared with this mirror's: of a candidate, its own upstream; of a baseline,
    /// the upstreams that it is no baseline of.
    pub unpaired: Box<[usize]>,
    /// Share of the requests whose answers are compared, and how much of each answer's content.
    pub compare: Option<(Percent, usize)>,
    /// The mirror's draw decides to which arm of its route's trial a request belongs.
    pub is_trial: bool,
}

/// The rules that few mirrors have.
#[derive(Debug)]
pub struct Rules {
    only: Option<Matcher>,
    only_primary: Option<usize>,
    sample_by: Option<RequestKey>,
    rate: Option<Rc<Bucket>>,
    /// Milliseconds in the ring.
    ttl_ms: Option<u64>,
    answer: Option<ResponseCondition>,
    /// The field that copies of writes bear.
    pub(super) idempotency_key: Option<String>,
    governor: Option<Rc<Governor>>,
    spread: Option<Rc<Spread>>,
    pub(super) path: Option<PathEdit>,
    /// A client's own fields by our names are among those removed.
    pub(super) headers: HeaderEdits,
    pub(super) secrets: Option<Rc<Secrets>>,
}

impl Policy {
    /// `workers` share the mirror's `rate_max`. State that belongs to the mirror's name goes on from `before`, the same mirror
    /// in the configuration before: the spent part of its rate, and how far its share is lowered.
    pub fn new(
        (index, mirror): (usize, &config::Mirror),
        counters: &Arc<MirrorCounters>,
        lane: &Rc<Lane>,
        workers: usize,
        before: Option<&Self>,
    ) -> Self {
        let before = before.and_then(|policy| policy.rules.as_deref());
        let policy = Self {
            index,
            counters: Arc::clone(counters),
            lane: Rc::clone(lane),
            percent: mirror.percent,
            body_bytes_max: mirror.body_bytes_max,
            host: mirror.host.clone(),
            mark: [MIRROR_MARK, mirror.name.as_bytes(), b"\r\n"].concat(),
            rules: Rules::new(mirror, workers, before).map(Rc::new),
            unpaired: Box::default(),
            compare: mirror.compare.as_ref().map(|compare| (compare.percent, compare.body_bytes_max)),
            is_trial: false,
        };
        counters.share.set(policy.share().per_million.into());
        policy
    }

    /// Whether the request concerns this mirror at all. One that does not opens no account.
    pub(super) fn concerns(&self, source: &Source<'_>) -> bool {
        self.rules.as_ref().is_none_or(|rules| {
            rules.only_primary.is_none_or(|primary| primary == source.primary)
                && rules.only.as_ref().is_none_or(|only| only.holds(source.asked))
        })
    }

    /// How many accounts an eligible request opens: one, or as many as it may have copies.
    pub(super) fn accounts(&self) -> u32 {
        self.percent.per_million.div_ceil(Percent::ALL.per_million).max(1)
    }

    /// The share that holds now.
    pub(super) fn share(&self) -> Percent {
        self.spread().map_or_else(|| self.governed(), |spread| spread.share())
    }

    /// How its copies are spread over its routes, where they are.
    pub fn spread(&self) -> Option<&Rc<Spread>> {
        self.rules.as_ref().and_then(|rules| rules.spread.as_ref())
    }

    /// Whether a governor looks at it.
    pub fn is_governed(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.governor.is_some())
    }

    /// The share that a governor leaves it.
    pub fn governed(&self) -> Percent {
        let governor = self.rules.as_ref().and_then(|rules| rules.governor.as_deref());
        governor.map_or(self.percent, Governor::effective)
    }

    /// The request's draw, or that of its key. A request without the key is drawn like any other.
    pub(super) fn draw(&self, common: Draw, source: &Source<'_>) -> Draw {
        let key = self.rules.as_ref().and_then(|rules| rules.sample_by.as_ref());
        key.and_then(|key| source.asked.hash(key)).map_or(common, Draw::of_key)
    }

    /// The arm of the trial of this mirror that the request belongs to, if any; none while the share is lowered, for the two
    /// arms would then be of different times.
    pub fn arm(&self, draw: Draw, source: &Source<'_>) -> Option<Arm> {
        let share = self.share();
        if source.is_copy || share != self.percent || !self.concerns(source) {
            return None;
        }
        Some(if draw.takes(share) { Arm::Copied } else { Arm::Spared })
    }

    /// To be called once a second; `busy_ticks` counts the worker's late ticks.
    pub fn govern(&self, busy_ticks: u64) {
        if let Some(governor) = self.rules.as_ref().and_then(|rules| rules.governor.as_ref()) {
            governor.look(&self.counters, self.lane.ring_percent(), busy_ticks);
        }
    }
}

impl Rules {
    fn new(mirror: &config::Mirror, workers: usize, before: Option<&Self>) -> Option<Self> {
        let is_plain = mirror.only.is_none()
            && mirror.only_primary.is_none()
            && mirror.sample_by.is_none()
            && mirror.sample == Sample::Even
            && mirror.rate_max.is_none()
            && mirror.ttl.is_none()
            && mirror.after == After::Request
            && mirror.response.is_none()
            && mirror.idempotency_key.is_none()
            && mirror.governor.is_none()
            && mirror.path.is_none()
            && mirror.headers.is_empty()
            && mirror.redact.is_empty()
            && mirror.percent.per_million <= Percent::ALL.per_million;
        if is_plain {
            return None;
        }
        let rate = mirror.rate_max.map(|rate| {
            let same =
                before.and_then(|rules| rules.rate.as_ref()).filter(|bucket| bucket.is_of(rate, workers));
            same.map_or_else(|| Rc::new(Bucket::new(rate, workers)), Rc::clone)
        });
        let governor =
            mirror.governor.as_ref().map(|settings| match before.and_then(|rules| rules.governor.as_ref()) {
                Some(same) if same.is_of(settings, mirror.percent) => Rc::clone(same),
                Some(other) => Rc::new(other.go_on(settings, mirror.percent)),
                None => Rc::new(Governor::new(settings, mirror.percent)),
            });
        let before = before.and_then(|rules| rules.spread.as_ref());
        let spread = (mirror.sample == Sample::RareFirst).then(|| {
            let spread = before.map_or_else(|| Rc::new(Spread::new(mirror.percent)), Rc::clone);
            spread.begin(mirror.percent);
            spread
        });
        let mut headers = mirror.headers.clone();
        let ours = [COPY_NUMBER, PRIMARY_STATUS, PRIMARY_DURATION];
        headers.remove.extend(ours.map(str::to_ascii_lowercase));
        Some(Self {
            only: mirror.only.as_ref().map(Matcher::new),
            only_primary: mirror.only_primary,
            sample_by: mirror.sample_by.clone(),
            rate,
            ttl_ms: mirror.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            answer: match mirror.after {
                After::Request => mirror.response.clone(),
                // Any response will do.
                After::Response => Some(mirror.response.clone().unwrap_or_default()),
            },
            idempotency_key: mirror.idempotency_key.clone(),
            governor,
            spread,
            path: mirror.path.as_ref().map(PathEdit::new),
            headers,
            secrets: Secrets::new(&mirror.redact).map(Rc::new),
        })
    }

    /// How many of so many copies `rate_max` allows now; they are spent then.
    pub(crate) fn within_rate(&self, copies: usize, now_ms: u64) -> usize {
        self.rate.as_ref().map_or(copies, |bucket| (0..copies).take_while(|_| bucket.take(now_ms)).count())
    }

    /// When a copy that enters the ring now is too old to be sent.
    pub(super) fn stale_ms(&self, now_ms: u64) -> u64 {
        self.ttl_ms.map_or(u64::MAX, |ttl| now_ms.saturating_add(ttl))
    }

    /// Copies wait for the primary's answer.
    pub(super) fn wants_answer(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether the primary's answer is like the mirror wants it.
    pub(super) fn likes(&self, status: u16, after: Duration) -> bool {
        self.answer.as_ref().is_none_or(|wanted| {
            (wanted.statuses.is_empty() || wanted.statuses.iter().any(|range| range.contains(&status)))
                && wanted.slower_than.is_none_or(|least| after > least)
        })
    }

    /// Content behind this head is searched before a copy is sent.
    pub(super) fn searches(&self, head: &[u8]) -> bool {
        self.secrets.as_ref().is_some_and(|secrets| secrets.searches(head))
    }
}
