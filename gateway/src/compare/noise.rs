//! The baselines' answers to a request: where they differ from the primary's, and whether the request was theirs to answer.
//! Pure.

use std::borrow::Cow;
use std::collections::HashSet;

use config::{Mirror, Role, Route};

use super::differ::{Compared, Kind};
use crate::observe::record::Record;

/// The differences of a baseline's answer to a request, or of several baselines' together.
#[derive(Debug, Clone, Default)]
pub(super) struct Again {
    pub(super) places: HashSet<(String, Kind)>,
    pub(super) has_contents: bool,
}

impl Again {
    pub(super) fn of(compared: &Compared) -> Self {
        let places = compared.differences.iter().map(|of| (of.field.clone(), of.kind));
        Self { places: places.collect(), has_contents: compared.content_skipped.is_none() }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.places.extend(other.places.iter().cloned());
        self.has_contents |= other.has_contents;
        self
    }
}

/// The baselines' part in the comparison of a candidate's answer.
#[derive(Debug)]
pub(super) enum Noise<'a> {
    /// The candidate has no baseline, or none whose answer was compared.
    Unknown,
    /// The candidate has one, and requests like this one do not go there.
    Unasked,
    Seen(Cow<'a, Again>),
}

impl<'a> Noise<'a> {
    /// `again`: the differences of this record's baselines, each with its place among the route's mirrors.
    pub(super) fn beside(
        mirror: &Mirror,
        route: &Route,
        record: &Record,
        again: &'a [(usize, Again)],
    ) -> Self {
        if mirror.role == Role::Baseline {
            return Self::Unknown;
        }
        let is_its = |at: usize| route.mirrors.get(at).is_some_and(|of| of.is_baseline_of(mirror));
        let mut seen = again.iter().filter(|(at, _)| is_its(*at)).map(|(_, of)| of);
        let Some(first) = seen.next() else {
            let has_any = route.mirrors.iter().any(|of| of.is_baseline_of(mirror));
            // A record names each mirror that the request concerns, also where its copy was not drawn or was given up.
            let is_asked = record.copies.iter().any(|copy| is_its(copy.mirror));
            return if has_any && !is_asked { Self::Unasked } else { Self::Unknown };
        };
        Self::Seen(seen.fold(Cow::Borrowed(first), |all, of| Cow::Owned(all.into_owned().plus(of))))
    }

    pub(super) fn seen(&self) -> Option<&Again> {
        match self {
            Self::Seen(again) => Some(again),
            Self::Unknown | Self::Unasked => None,
        }
    }

    pub(super) fn is_unasked(&self) -> bool {
        matches!(self, Self::Unasked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{answer, record};
    use super::super::{Budgets, Comparator, Findings, Schemas};
    use crate::observe::record::CopyEnd;

    #[test]
    fn of_a_request_that_is_not_a_baselines_to_answer_nothing_is_noise_and_of_one_that_it_was_spared_nothing_is_known()
     {
        let text = "[upstream.v1]\nendpoints = [\"a:1\"]\n[upstream.v2]\nendpoints = [\"a:2\"]\n[upstream.again]\nendpoints = [\"a:3\"]\n\
                    [[route]]\nname = \"a\"\nprimary = \"v1\"\nmirrors = [\n{ upstream = \"v2\", compare = {} },\n\
                    { upstream = \"again\", role = \"baseline\", baseline_for = [\"v2\"], only = { methods = [\"GET\"] } },\n\
                    { upstream = \"v2\", name = \"v3\", compare = {} },\n]\n";
        let config = Arc::new(config::parse("test", text).unwrap().config);
        let findings = Arc::new(Findings::default());
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        let mut take = |id: &str, baseline: Option<CopyEnd>| {
            let mut all = record(&config, 0, id, answer("{\"a\":1}"), answer("{\"a\":2}"));
            let mut third = record(&config, 0, id, answer("{\"a\":1}"), answer("{\"a\":2}")).copies.remove(0);
            third.mirror = 2;
            all.copies.push(third);
            if let Some(end) = baseline {
                let mut copy = record(&config, 0, id, answer("1"), answer("{\"a\":1}")).copies.remove(0);
                (copy.mirror, copy.end) = (1, end);
                if end == CopyEnd::SampledOut {
                    copy.answer = None;
                }
                all.copies.push(copy);
            }
            comparator.take(&all);
        };
        take("1", Some(CopyEnd::Completed(200)));
        take("2", Some(CopyEnd::SampledOut));
        take("3", None);
        let told = |mirror: &str| {
            let tally = findings.tallies().into_iter().find(|of| of.mirror == mirror).unwrap();
            (
                tally.compared,
                tally.beside.pairs,
                tally.beside.only_mirror,
                tally.unasked.pairs,
                tally.unasked.differing,
            )
        };
        assert_eq!(told("v2"), (3, 1, 1, 1, 1));
        assert_eq!(told("v3"), (3, 0, 0, 0, 0), "it has none");
        let groups = findings.groups();
        let count = |mirror: &str| {
            let of = groups.iter().find(|of| of.group.mirror == mirror).unwrap();
            (of.group.count, of.group.alone.count, of.baseline_compared)
        };
        assert_eq!((count("v2"), count("v3")), ((3, 1, 1), (3, 0, 0)));
    }
}
