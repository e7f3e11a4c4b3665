//! Makes the evidence of verdicts: from accounts, by their mirrors' settings in the configuration.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use config::{Config, Lane, Mirror, Percent, Role};

use crate::admin::epoch::{bursts, lately};
use crate::compare::{BUSY, CONTENT_TYPE, Group, Kind, NO_ROOM, TOO_MANY, Tally};
use crate::control::{self, Account, Counts, Epoch, Mark};
use crate::metrics::{Slots, TailCounts, total};
use crate::observe::disclosure::rfc3339;
use crate::verdict::{Compared, Difference, Evidence, Got, Lone, Seen, Trial, Window};

/// The evidence in these accounts.
pub(super) fn evidence_of(
    config: &Config,
    accounts: &[Account],
    mirror: Option<&str>,
    since: Option<SystemTime>,
) -> Vec<Evidence> {
    let by_name: HashMap<(&str, &str), &Account> =
        accounts.iter().map(|of| ((of.route.as_str(), of.mirror.as_str()), of)).collect();
    let seen_of = |of: &[(&Mirror, &Account)], since: Option<SystemTime>| {
        let counts: Vec<Counts> =
            of.iter().map(|(_, account)| lately(&account.epoch, &account.counted, since)).collect();
        let compares = of.iter().any(|(mirror, _)| mirror.compare.is_some());
        seen(&counts, compares, of.iter().filter_map(|(_, account)| account.tally.as_ref()))
    };
    let mut all = Vec::new();
    for route in &config.routes {
        let of_role = |role: Role| {
            let of = route.mirrors.iter().filter(move |of| of.role == role && !config.is_captured(of));
            of.filter_map(|of| Some((of, *by_name.get(&(route.name.as_str(), of.name.as_str()))?)))
        };
        for (of, account) in
            of_role(Role::Candidate).filter(|(of, _)| mirror.is_none_or(|name| of.name == name))
        {
            let baselines: Vec<(&Mirror, &Account)> =
                of_role(Role::Baseline).filter(|(again, _)| again.is_baseline_of(of)).collect();
            let again = Some(&baselines).filter(|all| !all.is_empty());
            let of_baselines: Vec<Again<'_>> = baselines.iter().filter_map(|(_, of)| Again::of(of)).collect();
            // Contents are counted since the epoch began; since a later moment it is known which groups were seen, not how
            // often.
            let groups =
                account.groups.iter().filter(|group| since.is_none_or(|since| group.last_seen >= since));
            let differences: Vec<Difference> =
                groups.map(|group| difference(group, account, &of_baselines)).collect();
            let bursts = bursts(&account.epoch, &account.counted);
            let one = |since: Option<SystemTime>, differences| Evidence {
                route: route.name.clone(),
                mirror: of.name.clone(),
                copies: of.percent.per_million.div_ceil(Percent::ALL.per_million).max(1),
                are_chosen_by_response: of.response.is_some(),
                is_baseline_chosen_alike: baselines.iter().all(|(again, _)| again.response == of.response),
                is_baseline_asked_alike: baselines.iter().all(|(again, _)| again.is_asked_like(of)),
                is_baseline_sent_alike: !baselines.is_empty()
                    && baselines.iter().all(|(again, _)| are_sent_alike(config, of, again)),
                seen: seen_of(&[(of, account)], since),
                baseline: again.map(|all| seen_of(all, since)),
                differences,
                workers: account
                    .gateways
                    .saturating_mul(u32::try_from(config.workers.count).unwrap_or(u32::MAX)),
                bursts,
                windows: Vec::new(),
            };
            let window = |(mark, within): (&Mark, f64)| Window {
                since: rfc3339(mark.at),
                within,
                number: mark.number,
                evidence: one(Some(mark.at), Vec::new()),
            };
            let windows =
                if since.is_none() { dated(&account.epoch).map(window).collect() } else { Vec::new() };
            all.push(Evidence { windows, ..one(since, differences) });
        }
    }
    all
}

/// Whether copies of both wait, travel and are given up by the same settings, and are as many.
fn are_sent_alike(config: &Config, one: &Mirror, other: &Mirror) -> bool {
    let lane = |of: &Mirror| {
        config.lanes.get(of.lane).map(|lane| Lane { name: String::new(), upstream: 0, ..lane.clone() })
    };
    let chosen = |of: &Mirror| (of.percent, of.body_bytes_max, of.after, of.rate_max, of.ttl);
    lane(one) == lane(other) && chosen(one) == chosen(other) && one.only == other.only
}

/// Responses to clients of each route whose share leaves requests out by chance, since that share is in force.
pub(super) fn trials(config: &Config, accounts: &[Account]) -> Vec<Trial> {
    let by_name: HashMap<(&str, &str), &Account> =
        accounts.iter().map(|of| ((of.route.as_str(), of.mirror.as_str()), of)).collect();
    let one = |route: &config::Route| {
        let mirror = route.mirrors.get(config.trial(route)?)?;
        let account = by_name.get(&(route.name.as_str(), mirror.name.as_str()))?;
        let of = account.clients.as_ref().filter(|of| of.share == mirror.percent.per_million)?;
        let got = |of: &control::Got| Got {
            requests: of.requests,
            refused: of.refused,
            failed: of.failed,
            times: of.times.clone(),
        };
        Some(Trial {
            route: route.name.clone(),
            mirror: mirror.name.clone(),
            share: f64::from(mirror.percent.per_million) / 1e6,
            copied: got(&of.copied),
            spared: got(&of.spared),
        })
    };
    config.routes.iter().filter_map(one).collect()
}

/// The moments of an epoch, and how many seconds lie between each and its neighbours at most.
fn dated(epoch: &Epoch) -> impl Iterator<Item = (&Mark, f64)> {
    epoch.marks.iter().enumerate().map(|(at, mark)| {
        let before = at.checked_sub(1).and_then(|at| epoch.marks.get(at)).map_or(epoch.began, |mark| mark.at);
        let after = epoch.marks.get(at + 1).map_or(mark.at, |mark| mark.at);
        let apart = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
        (mark, apart(before, mark.at).max(apart(mark.at, after)).as_secs_f64())
    })
}

/// The sum of these counts, and of the comparisons in `tallies`; `compares`: their responses are compared.
fn seen<'a>(of: &[Counts], compares: bool, tallies: impl Iterator<Item = &'a Tally>) -> Seen {
    let mut matrix = BTreeMap::new();
    for (cell, n) in of.iter().flat_map(|snapshot| &snapshot.matrix) {
        add(matrix.entry(cell.clone()).or_default(), *n);
    }
    let sum = |read: fn(&Counts) -> u64| total(of.iter().map(read));
    Seen {
        matrix: matrix.into_iter().map(|((primary, mirror), n)| (primary, mirror, n)).collect(),
        primary_times: Slots::together(of.iter().map(|snapshot| &snapshot.primary_times)),
        mirror_times: Slots::together(of.iter().map(|snapshot| &snapshot.mirror_times)),
        ratios: Slots::together(of.iter().map(|snapshot| &snapshot.ratios)),
        tails: of.iter().fold(TailCounts::default(), |sum, of| sum.plus(&of.tails)),
        sent: sum(|of| of.sent),
        unreachable: sum(|of| of.unreachable),
        lost: sum(|of| of.lost),
        suspect: sum(|of| of.suspect),
        less_time: sum(|of| of.less_time),
        end_unread: sum(|of| of.end_unread),
        compared: compares.then(|| compared(tallies)),
    }
}

fn compared<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Compared {
    let mut all = Compared::default();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for tally in tallies {
        let skipped = |why: &str| tally.skipped.get(why).copied().unwrap_or_default();
        add(&mut all.answers, tally.compared);
        add(&mut all.contents, tally.contents);
        add(&mut all.differing, tally.differing);
        add(&mut all.no_room, skipped(NO_ROOM));
        add(&mut all.partly, skipped(TOO_MANY).saturating_add(tally.hidden));
        add(&mut all.hidden, tally.hidden);
        add(&mut all.beside.0, tally.beside.pairs);
        add(&mut all.beside.1, tally.beside.only_mirror);
        add(&mut all.beside.2, tally.beside.only_baseline);
        add(&mut all.left_out, skipped(CONTENT_TYPE));
        add(&mut all.unasked.pairs, tally.unasked.pairs);
        add(&mut all.unasked.differing, tally.unasked.differing);
        // Pairs left out for lack of time are so by chance, and those of other content types by the rules: neither is evidence.
        let tells = |why: &str| why != BUSY && why != CONTENT_TYPE;
        for (why, n) in tally.skipped.iter().filter(|(why, _)| tells(why)) {
            add(reasons.entry(why).or_default(), *n);
        }
    }
    if all.hidden > 0 {
        reasons.insert("more_places_than_are_kept_apart", all.hidden);
    }
    all.reasons = reasons.into_iter().map(|(why, n)| (why.to_owned(), n)).collect();
    all
}

/// Other gateways' numbers may be as large as numbers can be.
fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

/// Differences of a baseline, by their places.
struct Again<'a> {
    tally: &'a Tally,
    groups: HashMap<(&'a str, Kind), &'a Group>,
}

impl<'a> Again<'a> {
    /// `None` where its answers are not compared.
    fn of(account: &'a Account) -> Option<Self> {
        let groups = account.groups.iter().map(|group| ((group.field.as_str(), group.kind), group)).collect();
        Some(Self { tally: account.tally.as_ref()?, groups })
    }
}

/// A place where answers differ, with the baselines' differences there.
fn difference(group: &Group, of: &Account, baselines: &[Again<'_>]) -> Difference {
    let kind = group.kind;
    let compared = of.tally.as_ref().map_or(0, |tally| tally.of(kind));
    let (mut baseline_count, mut baseline_compared) = (0, 0);
    for Again { tally, groups } in baselines {
        let same = groups.get(&(group.field.as_str(), kind));
        // Where its table was full, as often as it may have been.
        add(&mut baseline_count, same.map_or(tally.hidden, |same| same.count.saturating_add(same.missed)));
        add(&mut baseline_compared, tally.of(kind));
    }
    let beside = of.tally.as_ref().map_or(0, |tally| tally.beside_of(kind));
    let unasked = of.tally.as_ref().map_or(0, |tally| tally.unasked_of(kind));
    Difference {
        field: group.field.clone(),
        kind: kind.text(),
        count: group.count,
        compared,
        baseline_count,
        baseline_compared,
        is_volatile: group.is_volatile(compared),
        rank: group.rank,
        first: group.began.0,
        beside: beside.saturating_sub(group.began.1),
        only_mirror: group.only_mirror.saturating_sub(u64::from(group.began.1 > 0)),
        only_baseline: group.only_baseline,
        unasked: Lone {
            count: group.alone.count,
            compared: unasked,
            is_volatile: group.alone.is_volatile(unasked),
        },
        example: group.example.clone(),
        samples: group.request_ids(),
    }
}
