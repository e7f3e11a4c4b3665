//! The gateways behind a verdict on several gateways' evidence: a missing one holds the verdict, for promoting takes all of
//! them. Pure.

use serde::Serialize;

use super::{Decision, Verdict};

/// The gateways that were asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// Gateways whose evidence was judged, this one among them.
    pub replicas: usize,
    /// Gateways that did not answer.
    pub missing: Vec<Missing>,
    /// Gateways whose evidence on a mirror was not added to the others'.
    pub apart: Vec<Aside>,
    /// Gateways whose evidence was added but in part, for figures that they do not tell.
    pub in_part: Vec<Aside>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub replica: String,
    pub why: String,
}

/// A gateway's evidence on a mirror that is not added to the others', or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Aside {
    pub replica: String,
    pub mirror: String,
    /// The first of the routes.
    pub route: String,
    pub why: String,
}

impl Fleet {
    /// The fleet as it is told without the token: numbers, without addresses and messages of the gateways.
    #[must_use]
    pub fn without_names(mut self) -> Self {
        for Missing { replica, why } in &mut self.missing {
            (*replica, *why) = ("another gateway".to_owned(), "why is told with the token".to_owned());
        }
        let named = self.apart.iter_mut().chain(&mut self.in_part);
        named.for_each(|of| of.replica = "another gateway".to_owned());
        self
    }
}

/// Gateways named in one sentence.
const NAMED_MAX: usize = 3;

impl Verdict {
    /// The same, where these were asked: it rests on those that answered where it rejects, and promotes by all alone.
    #[must_use]
    pub fn of_fleet(mut self, fleet: Fleet) -> Self {
        for mirror in &mut self.mirrors {
            let apart: Vec<&Aside> = fleet.apart.iter().filter(|of| of.mirror == mirror.mirror).collect();
            let one = |of: &&Aside| format!("not counted: {} {} (on {})", of.replica, of.why, of.route);
            mirror.aside.extend(apart.iter().take(NAMED_MAX).map(one));
            let more = apart.len().saturating_sub(NAMED_MAX);
            if more > 0 {
                mirror.aside.push(format!("not counted: {more} more gateways"));
            }
            let in_part = fleet.in_part.iter().filter(|of| of.mirror == mirror.mirror);
            let one = |of: &Aside| format!("counted in part: {} {} (on {})", of.replica, of.why, of.route);
            mirror.aside.extend(in_part.take(NAMED_MAX).map(one));
            if !fleet.missing.is_empty() {
                let all = fleet.replicas + fleet.missing.len();
                let why = |of: &Missing| format!("{} ({})", of.replica, of.why);
                let named: Vec<String> = fleet.missing.iter().take(NAMED_MAX).map(why).collect();
                mirror.aside.push(format!(
                    "{} of {all} gateways did not answer: {}",
                    fleet.missing.len(),
                    named.join(", ")
                ));
            }
            let is_whole = apart.is_empty() && fleet.missing.is_empty();
            if !is_whole && mirror.verdict == Decision::Promote {
                mirror.verdict = Decision::Hold;
                mirror.aside.push("held: to promote takes the evidence of all gateways".to_owned());
            }
        }
        let worst = self.mirrors.iter().map(|mirror| mirror.verdict).max();
        self.verdict = worst.unwrap_or(self.verdict);
        self.fleet = Some(fleet);
        self
    }
}
