//! Decides whether a mirror is ready to take the primary's place: promote, hold or reject. Each rule has its figure, with its
//! confidence, and its evidence. Pure: evidence and a policy in, a verdict out.
//!
//! A rule *fails* where "it is within its threshold" is refuted by a test that holds at every look (`sequential`): the chance
//! that an equal mirror is ever rejected, however often somebody asks, over all rules of all routes, is the policy's. It *holds*
//! where the figure is beyond and chance could have done it, or where too little was seen: to begin with no mirror is rejected,
//! as a service that starts may be slow and fail. It *passes* where so much was seen that a share of twice its threshold would
//! hardly have stayed hidden.

mod evidence;
mod sequential;
mod rules;
mod threshold;
mod mismatch;
mod contents;
mod times;
mod unknown;
mod fleet;
mod mirroring;
mod drift;
pub mod said;

use config::Policy;
use serde::Serialize;

use crate::metrics::total;
pub use drift::Drift;
pub use evidence::{Compared, Difference, Evidence, Lone, Seen, Unasked, Window};
pub use fleet::{Aside, Fleet, Missing};
pub use mirroring::{Got, Mirroring, Trial, mirroring};
use rules::Rules;
use sequential::Chance;
pub use sequential::design_effect;

/// Routes that carry less of a mirror's copies, all of them together, cannot hold its verdict up, only reject it.
const MINOR_ROUTES_SHARE: f64 = 0.05;

/// How much of a mirror's chance to be rejected for nothing its rules over all routes have; each route has as much of the rest.
const EVERYWHERE_PART: f64 = 0.5;

/// The part of a route's chance of a false rejection that its rules over recent windows have.
const WINDOWS_PART: f64 = 0.25;

/// The decision on a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Promote,
    /// Too little is known.
    Hold,
    Reject,
}

impl Decision {
    pub const ALL: [Self; 3] = [Self::Promote, Self::Hold, Self::Reject];

    pub fn text(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::Reject => "reject",
        }
    }
}

/// The result of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pass,
    Hold,
    Fail,
}

/// The ruling of one rule on one route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ruling {
    pub rule: &'static str,
    pub route: String,
    /// The figure's unit: `share` or `ratio`.
    pub unit: &'static str,
    pub figure: Option<f64>,
    pub threshold: f64,
    /// How likely an equal mirror would ever show as much, of all looks; where it fails.
    pub chance: Option<f64>,
    /// Where the figure lies with the policy's confidence, at every look. An end that too few samples leave open is
    /// infinite (`null` in
    /// JSON).
    pub interval: Option<[f64; 2]>,
    /// The moment since which alone the evidence was judged, as RFC 3339 has it: before it the mirror was well.
    pub since: Option<String>,
    /// Uncertainty of the moment at which the trouble began, in seconds.
    pub within: Option<f64>,
    /// Samples of which the figure was made.
    pub samples: u64,
    /// Samples without which it cannot pass.
    pub needed: u64,
    /// As many as the policy asks for, and as the threshold needs.
    pub enough: bool,
    pub result: Outcome,
    /// In words, where figures alone do not tell.
    pub why: Option<String>,
    /// Evidence for the result: fields with an example and request ids, cells of the matrix, times.
    pub evidence: Vec<String>,
    /// Worse beyond doubt, and seen too seldom to reject.
    #[serde(skip)]
    is_suspect: bool,
}

/// All rules on one mirror.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MirrorVerdict {
    pub mirror: String,
    pub verdict: Decision,
    /// Since when evidence counts, as RFC 3339 has it, for how long, and how many pairs came since.
    pub since: Option<String>,
    pub seconds: Option<f64>,
    pub pairs: u64,
    /// Why it began then.
    pub because: Option<&'static str>,
    /// The versions of v1 and of the mirror, where they are known.
    pub versions: [Option<String>; 2],
    /// Sentences for people: causes, the worst first, then what is waited for.
    pub said: Vec<String>,
    pub rules: Vec<Ruling>,
    /// Routes that carry so few of its copies that they can reject it, and not hold it up.
    pub rest: Vec<String>,
    /// Changes in the mirror's own figures since the evidence began.
    pub drift: Vec<Drift>,
    /// The clients' figures with copying and without, by route.
    pub mirroring: Vec<Mirroring>,
    /// Evidence that is missing, of other gateways or of critical routes; in sentences.
    #[serde(skip)]
    pub aside: Vec<String>,
}

/// All mirrors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub verdict: Decision,
    pub mirrors: Vec<MirrorVerdict>,
    /// The gateways whose evidence it rests on; `None`: this one's alone.
    pub fleet: Option<Fleet>,
}

/// Judges by `policy`. Without evidence the verdict is hold.
pub fn judge(policy: &Policy, evidence: &[Evidence]) -> Verdict {
    let counts = |e: &&Evidence| !policy.ignore_routes.contains(&e.route);
    let evidence: Vec<&Evidence> = evidence.iter().filter(counts).collect();
    let mut names: Vec<&str> = evidence.iter().map(|e| e.mirror.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let alpha = 1.0 - f64::from(policy.confidence.per_million) / 1e6;
    let chance = Chance::of(alpha).part(1.0 / names.len().max(1) as f64);
    let of = |name: &&str| evidence.iter().copied().filter(|e| e.mirror == **name).collect::<Vec<_>>();
    let mut mirrors: Vec<MirrorVerdict> =
        names.iter().map(|name| mirror(policy, chance, name, of(name))).collect();
    let is_unseen = |route: &&String| !evidence.iter().any(|of| of.route == **route);
    let unseen: Vec<&String> = policy.critical.iter().filter(is_unseen).collect();
    for mirror in &mut mirrors {
        for route in &unseen {
            mirror.verdict = mirror.verdict.max(Decision::Hold);
            mirror.aside.push(format!("held: no mirror gets copies of the critical route {route}"));
        }
    }
    let verdict = mirrors.iter().map(|mirror| mirror.verdict).max().unwrap_or(Decision::Hold);
    Verdict { verdict, mirrors, fleet: None }
}

fn mirror(policy: &Policy, chance: Chance, name: &str, mut evidence: Vec<&Evidence>) -> MirrorVerdict {
    let all: u64 = total(evidence.iter().map(|e| e.seen.wanted()));
    let mut decision = if all == 0 { Decision::Hold } else { Decision::Promote };
    let mut rulings: Vec<Ruling> = Vec::new();
    let counts = |ruling: &Ruling| !policy.ignore_rules.iter().any(|ignored| ignored == ruling.rule);
    let (mut failed, mut drifts) = (Vec::new(), Vec::new());
    let mut decide = |of: Vec<Ruling>, can_hold: bool| {
        for ruling in of.into_iter().filter(counts) {
            decision = decision.max(match ruling.result {
                Outcome::Fail => Decision::Reject,
                Outcome::Hold if can_hold || ruling.is_suspect => Decision::Hold,
                Outcome::Hold | Outcome::Pass => Decision::Promote,
            });
            rulings.push(ruling);
        }
    };
    let together = Evidence::together(&evidence);
    let rest = if together.is_some() { 1.0 - EVERYWHERE_PART } else { 1.0 };
    let each = chance.part(rest / evidence.len().max(1) as f64);
    let pairs = total(evidence.iter().map(|e| e.seen.pairs()));
    // From the smallest: before a route is passed over, all smaller ones are.
    evidence.sort_by_key(|e| e.seen.wanted());
    let (mut passed_over, mut rest) = (0_u64, Vec::new());
    for route in evidence {
        passed_over = passed_over.saturating_add(route.seen.wanted());
        let is_small = passed_over as f64 <= MINOR_ROUTES_SHARE * all as f64;
        let is_minor = is_small && !policy.is_critical(&route.route);
        if is_minor && route.seen.wanted() > 0 {
            rest.push(route.route.clone());
        }
        let own = policy.of_route(&route.route);
        let mut of = Rules::of(own, each.part(1.0 - WINDOWS_PART)).route(route);
        drifts.extend(drift::drift(own, each, route));
        let since = lately(own, each, route, &mut of);
        of.extend(since);
        failed.extend(of.iter().filter(|ruling| ruling.result == Outcome::Fail).map(|ruling| ruling.rule));
        decide(of, !is_minor);
    }
    if let Some(together) = together {
        let mut of = Rules::of(policy, chance.part(EVERYWHERE_PART)).everywhere(&together);
        // A route that is known to be worse says where it is.
        of.retain(|ruling| !failed.contains(&ruling.rule));
        decide(of, false);
    }
    rulings.reverse();
    rulings.sort_by_key(|ruling| ruling.result.rank());
    MirrorVerdict {
        mirror: name.to_owned(),
        verdict: decision,
        since: None,
        seconds: None,
        pairs,
        because: None,
        versions: [None, None],
        said: Vec::new(),
        rules: rulings,
        rest,
        drift: drifts,
        mirroring: Vec::new(),
        aside: Vec::new(),
    }
}

/// A failure that began at a moment must be so many times less likely by chance than the failure over the whole epoch.
const MUCH_SURER: f64 = 1e-4;

/// The evidence since each remembered moment is a test of its own, so that a good hour does not outweigh a bad last minute. The
/// `n`th test has a part of `1 / n (n + 1)` of the chance: the sum over all that ever come is one. Of several moments that find
/// the same, the surest lies nearest to the change.
fn lately(policy: &Policy, each: Chance, route: &Evidence, known: &mut [Ruling]) -> Vec<Ruling> {
    let mut found: Vec<Ruling> = Vec::new();
    for Window { since, within, number, evidence } in &route.windows {
        let n = f64::from((*number).max(1));
        let chance = each.part(WINDOWS_PART / (n * (n + 1.0)));
        let rules = Rules { is_of_failures: true, ..Rules::of(policy, chance) };
        for mut ruling in rules.lately(evidence) {
            if ruling.result != Outcome::Fail {
                continue;
            }
            ruling.since = Some(since.clone());
            ruling.within = Some(*within);
            let is_it = |of: &&mut Ruling| of.rule == ruling.rule && of.result == Outcome::Fail;
            let is_surer = |than: &Ruling, by: f64| {
                ruling.chance.zip(than.chance).is_some_and(|(one, other)| one < other * by)
            };
            if let Some(of) = known.iter_mut().find(is_it) {
                // The whole epoch fails by this rule too: only the moment is new.
                if is_surer(of, MUCH_SURER) {
                    of.chance = ruling.chance;
                    of.since = ruling.since;
                    of.within = ruling.within;
                }
            } else if let Some(of) = found.iter_mut().find(is_it) {
                if is_surer(of, 1.0) {
                    *of = ruling;
                }
            } else {
                found.push(ruling);
            }
        }
    }
    found
}

impl Outcome {
    /// The worst first.
    fn rank(self) -> u8 {
        match self {
            Self::Fail => 0,
            Self::Hold => 1,
            Self::Pass => 2,
        }
    }
}

#[cfg(test)]
mod tests;
