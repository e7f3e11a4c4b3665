//! Counters of a mirror on a route at one moment, and since its epoch began; `control` knows when that was.

use std::collections::BTreeSet;
use std::time::SystemTime;

use config::{Config, Mirror, Percent, Redact, Route};
use xxhash_rust::xxh64::xxh64;

use super::outcomes::{Chosen, Pairing, pairings};
use crate::control::{Clients, ConfigStore, Counts, Epoch, Got, Looked, Snapshot};
use crate::metrics::{self, DropReason, Histogram, LeftOut, MirrorCounters, Slots, total};
use crate::observe::disclosure::redacted;
use crate::verdict::design_effect;

/// Looks at all that is in force; to be called about once a second.
pub(super) fn look(store: &ConfigStore) {
    let snapshot = store.open();
    let all = pairings(&snapshot, &Chosen::default());
    for (route, mirror) in store.epochs.look(&looked(store, &snapshot, &all), SystemTime::now()) {
        store.findings.begin(&route, &mirror);
    }
}

/// Each of them with its endpoints.
pub(super) fn looked<'a>(
    store: &ConfigStore,
    snapshot: &'a Snapshot,
    all: &'a [Pairing<'a>],
) -> Vec<Looked<'a>> {
    let config = &*snapshot.config;
    let one = |pairing: &'a Pairing<'a>| {
        let route = config.routes.get(pairing.index)?;
        Some(Looked {
            route: pairing.route,
            mirror: &pairing.mirror.name,
            endpoints: endpoints(config, route, pairing.mirror),
            versions: versions(store, config, route, pairing.mirror),
            question: question(config, route, pairing.mirror),
            share: share(config, route, pairing.mirror),
            counts: Box::new(move || counts(pairing)),
            clients: Box::new(move || clients(snapshot, pairing)),
        })
    };
    all.iter().filter_map(one).collect()
}

/// Millionths of the route's requests that this mirror draws, where chance alone leaves the others out.
fn share(config: &Config, route: &Route, mirror: &Mirror) -> Option<u32> {
    let drawn = route.mirrors.get(config.trial(route)?)?;
    (drawn.name == mirror.name).then_some(mirror.percent.per_million)
}

/// Responses to the clients of its route since the mirror has its present share: of copied requests, and of the others.
pub(super) fn clients(snapshot: &Snapshot, pairing: &Pairing<'_>) -> Option<Clients> {
    let route = snapshot.config.routes.get(pairing.index)?;
    let share = share(&snapshot.config, route, pairing.mirror)?;
    let workers: Vec<_> = snapshot.counters.iter().filter_map(|of| of.trials.get(pairing.index)).collect();
    let got = |read: fn(&metrics::Trial) -> &metrics::Got| {
        let sum = |of: fn(&metrics::Got) -> u64| workers.iter().map(|trial| of(read(trial))).sum();
        Got {
            requests: sum(|got| got.requests.get()),
            refused: sum(|got| got.refused.get()),
            failed: sum(|got| got.failed.get()),
            times: Slots::of(workers.iter().map(|trial| &read(trial).duration)),
        }
    };
    Some(Clients { share, copied: got(|trial| &trial.copied), spared: got(|trial| &trial.spared) })
}

fn counts(pairing: &Pairing<'_>) -> Counts {
    let times = |read: fn(&MirrorCounters) -> &Histogram| pairing.slots(read);
    Counts {
        matrix: pairing.matrix(),
        primary_times: times(|c| &c.pairs.sure_primary),
        mirror_times: times(|c| &c.pairs.sure_mirror),
        ratios: times(|c| &c.pairs.ratios),
        tails: pairing.tails(),
        sent: pairing.sum(|c| c.sent.get()),
        unreachable: pairing.sum(|c| c.dropped.get(DropReason::Unreachable)),
        lost: pairing.sum(|c| c.dropped.sum_where(is_loss)),
        suspect: pairing.sum(|c| c.suspect.get()),
        less_time: pairing.sum(|c| c.left_out.get(LeftOut::LessTime)),
        end_unread: pairing.sum(|c| c.left_out.get(LeftOut::EndUnread)),
    }
}

/// Whether a copy that was given up so is missing from the evidence.
fn is_loss(why: DropReason) -> bool {
    match why {
        // A copy that a full rate gave up was not wanted after all; an unreachable mirror has a rule of its own.
        DropReason::Rate | DropReason::Unreachable => false,
        DropReason::BodyTooLarge
        | DropReason::RingEntries
        | DropReason::RingBytes
        | DropReason::Oldest
        | DropReason::WorkerBusy
        | DropReason::Stale
        | DropReason::Redaction
        | DropReason::Exchanges
        | DropReason::Drain => true,
    }
}

/// A mirror on a route, with its counts now and the epoch that they belong to.
pub(super) struct Counted {
    now: Counts,
    pub(super) epoch: Option<Epoch>,
}

impl Counted {
    pub(super) fn of(store: &ConfigStore, pairing: &Pairing<'_>) -> Self {
        let epoch = store.epochs.of(pairing.route, &pairing.mirror.name);
        Self { now: counts(pairing), epoch }
    }

    /// The counts since the epoch began.
    pub(super) fn all(&self) -> Counts {
        self.epoch.as_ref().map_or_else(|| self.now.clone(), |epoch| epoch.counted(&self.now))
    }
}

/// The counts since the last remembered moment before `since`; without one, since the epoch began.
pub(super) fn lately(epoch: &Epoch, all: &Counts, since: Option<SystemTime>) -> Counts {
    let mark = epoch.marks.iter().rev().find(|mark| since.is_some_and(|since| mark.at <= since));
    mark.map_or_else(|| all.clone(), |mark| all.since(&mark.counted))
}

/// The design effect of times, at the median and at the 99th percentile, as v1's times show it: v2's may be at fault.
pub(super) fn bursts(epoch: &Epoch, all: &Counts) -> [Option<f64>; 2] {
    let nothing = Counts::default();
    let moments: Vec<&Counts> =
        [&nothing].into_iter().chain(epoch.marks.iter().map(|mark| &*mark.counted)).chain([all]).collect();
    [0.5, 0.99].map(|quantile| {
        let times = &all.primary_times;
        let limit = times.at(times.count() as f64 * quantile);
        let stretch = |two: &[&Counts]| match two {
            [before, after] => {
                let new = after.primary_times.since(&before.primary_times);
                let beyond = total(new.iter().filter(|(value, _)| *value > limit).map(|(_, n)| n));
                Some((new.count(), beyond))
            }
            _ => None,
        };
        let stretches: Vec<(u64, u64)> = moments.windows(2).filter_map(stretch).collect();
        design_effect(&stretches).map(|effect| effect.clamp(1.0, BURST_MAX))
    })
}

/// No burst is taken for larger: so much variance is another load, not a hiccup.
const BURST_MAX: f64 = 16.0;

/// A hash of the question that a mirror answers. It changes with the rules of comparison, with the choice of requests and their
/// edits, and with the fields redacted for this mirror or others of its route; the share of requests is no part of it.
fn question(config: &Config, route: &Route, mirror: &Mirror) -> String {
    let Mirror {
        only,
        only_primary,
        response,
        idempotency_key,
        host,
        path,
        headers,
        redact,
        role,
        baseline_for,
        compare,
        ..
    } = mirror;
    let compare = compare.as_ref().map(|of| config::Compare { percent: Percent::ALL, ..of.clone() });
    let mut asked =
        format!("{:?}", (only, only_primary, response, host, path, headers, redact, role, compare));
    // Without these keys the hash is that of versions before them, so that evidence goes on.
    if let Some(key) = idempotency_key {
        asked.push_str(key);
    }
    if !baseline_for.is_empty() {
        asked.push_str(&format!("{baseline_for:?}"));
    }
    // Findings from before a field was redacted are not shown afterwards. Where no field more is, the hash stays the same.
    let hidden = redacted(config, [route]);
    if has_more(&hidden, redact) {
        asked.push_str(&format!("{hidden:?}"));
    }
    format!("{:016x}", xxh64(asked.as_bytes(), 0))
}

fn has_more(all: &Redact, own: &Redact) -> bool {
    let lists = [
        (&all.headers, &own.headers),
        (&all.cookies, &own.cookies),
        (&all.query, &own.query),
        (&all.json, &own.json),
    ];
    lists.iter().any(|(all, own)| all.iter().any(|name| !own.contains(name)))
}

/// Of the primaries, and of the mirror: as their responses say, or as a cluster or the configuration does.
fn versions(store: &ConfigStore, config: &Config, route: &Route, mirror: &Mirror) -> [Option<String>; 2] {
    let [heard, heard_of_mirror] = store.findings.versions(&route.name, &mirror.name);
    let of = |id: config::UpstreamId| store.version(config.upstreams.get(id)?);
    let of_primaries = || {
        let all: BTreeSet<String> =
            route.primaries().iter().filter_map(|primary| of(primary.upstream?)).collect();
        (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join(", "))
    };
    let lane = config.lanes.get(mirror.lane);
    [heard.or_else(of_primaries), heard_of_mirror.or_else(|| of(lane?.upstream))]
}

/// Of the primaries, and of the mirror.
fn endpoints(config: &Config, route: &Route, mirror: &Mirror) -> [BTreeSet<String>; 2] {
    let of = |id: config::UpstreamId| {
        let upstream = config.upstreams.get(id);
        upstream.into_iter().flat_map(|of| of.endpoints.iter().map(ToString::to_string))
    };
    let primaries = route.primaries().iter().filter_map(|primary| primary.upstream).flat_map(of).collect();
    let lane = config.lanes.get(mirror.lane);
    [primaries, lane.into_iter().flat_map(|lane| of(lane.upstream)).collect()]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::control::{Cause, Epochs};
    use crate::metrics::{Arm, Code, MirrorEnd, PrimaryEnd};

    fn config(v2: &str) -> Arc<Config> {
        let text = format!(
            "[upstream.v1]\nendpoints = [\"10.0.0.1:1\"]\n[upstream.v2]\nendpoints = [{v2}]\n\
             [[route]]\nname = \"r\"\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\" }}]\n"
        );
        Arc::new(config::parse("test", &text).unwrap().config)
    }

    fn turn(store: &ConfigStore, config: Arc<Config>) {
        store.turn(store.open().after(config));
    }

    #[test]
    fn an_epoch_begins_anew_when_none_of_its_endpoints_is_left_or_when_somebody_says_so() {
        let store = ConfigStore::new(&config("\"10.0.0.2:1\", \"10.0.0.3:1\""));
        let epochs = Epochs::default();
        let mut now = SystemTime::UNIX_EPOCH;
        let mut look = |store: &ConfigStore| {
            now += Duration::from_secs(60);
            let snapshot = store.open();
            let all = pairings(&snapshot, &Chosen::default());
            (epochs.look(&looked(store, &snapshot, &all), now).len(), epochs.of("r", "v2").unwrap())
        };
        let ok = (PrimaryEnd::Code(Code::of(200)), MirrorEnd::Code(Code::of(200)));
        let count = |n: usize| {
            let snapshot = store.open();
            (0..n).for_each(|_| snapshot.counters[0].mirrors[0][0].pairs.matrix.inc(ok.0, ok.1));
        };
        count(5);
        assert_eq!(look(&store).1.base.pairs(), 0, "what came before the first look is of it");
        // One endpoint of two is replaced, then the other: a rolling update ends with the last.
        turn(&store, config("\"10.0.0.2:1\", \"10.0.0.4:1\""));
        let (begun, epoch) = look(&store);
        assert_eq!((begun, epoch.marks.len()), (0, 1));
        count(7);
        turn(&store, config("\"10.0.0.4:1\", \"10.0.0.5:1\""));
        let (begun, epoch) = look(&store);
        assert_eq!((begun, epoch.base.pairs(), epoch.marks.len()), (1, 12, 0));
        // The moments that are remembered lie the closer the later they are.
        for _ in 0..200 {
            look(&store);
        }
        let (_, epoch) = look(&store);
        let ages: Vec<u32> = epoch.marks.iter().map(|mark| epoch.number() - mark.number).collect();
        assert!(ages.len() == 10 && ages.ends_with(&[1, 0]) && ages[0] > 50, "{ages:?}");
        count(3);
        let snapshot = store.open();
        let all = pairings(&snapshot, &Chosen::default());
        assert_eq!(epochs.begin(&looked(&store, &snapshot, &all), Some("other"), now), []);
        assert_eq!(
            epochs.begin(&looked(&store, &snapshot, &all), Some("v2"), now),
            [("r".to_owned(), "v2".to_owned())]
        );
        assert_eq!(epochs.of("r", "v2").unwrap().base.pairs(), 15);
    }

    #[test]
    fn what_clients_got_is_of_the_epoch_and_of_the_share_goes_on_in_the_next_process_and_ends_with_either() {
        let with = |percent: u32| {
            let text = format!(
                "[upstream.v1]\nendpoints = [\"10.0.0.1:1\"]\n[upstream.v2]\nendpoints = [\"10.0.0.2:1\"]\n\
                 [[route]]\nname = \"r\"\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\", percent = {percent} }}]\n"
            );
            Arc::new(config::parse("test", &text).unwrap().config)
        };
        let count = |store: &ConfigStore, n: usize| {
            let snapshot = store.open();
            (0..n).for_each(|_| snapshot.counters[0].trials[0].count(Arm::Copied, 503, Some(1_000)));
            (0..9 * n).for_each(|_| snapshot.counters[0].trials[0].count(Arm::Spared, 200, Some(1_000)));
        };
        // (share, of those copied, that failed, of those not)
        let known = |store: &ConfigStore| {
            look(store);
            let mut book = crate::admin::whole_book(store);
            let of = book.accounts.remove(0).clients.unwrap();
            assert_eq!(of.spared.times.count(), of.spared.requests);
            (of.share, of.copied.requests, of.copied.failed, of.spared.requests)
        };
        let store = ConfigStore::new(&with(10));
        count(&store, 5);
        assert_eq!(known(&store), (100_000, 5, 5, 45));
        let book = crate::admin::whole_book(&store);

        let next = ConfigStore::new(&with(10));
        count(&next, 2);
        assert_eq!(crate::admin::restore(&next, book.clone()), 1);
        assert_eq!(known(&next), (100_000, 7, 7, 63));
        // The next process keeps the whole of it.
        let third = ConfigStore::new(&with(10));
        crate::admin::restore(&third, crate::admin::whole_book(&next));
        assert_eq!(known(&third), (100_000, 7, 7, 63));
        let begin = |store: &ConfigStore| {
            let snapshot = store.open();
            let all = pairings(&snapshot, &Chosen::default());
            store.epochs.begin(&looked(store, &snapshot, &all), None, SystemTime::now());
        };
        begin(&next);
        assert_eq!(known(&next), (100_000, 0, 0, 0));
        count(&next, 1);
        assert_eq!(known(&next), (100_000, 1, 1, 9));
        turn(&next, with(20));
        assert_eq!(known(&next), (200_000, 0, 0, 0), "another coin");
        count(&next, 3);
        assert_eq!(known(&next), (200_000, 3, 3, 27));
        // A process of an earlier version knew nothing of it.
        let mut earlier = serde_json::to_value(&book).unwrap();
        earlier.as_object_mut().unwrap().remove("format");
        let account = earlier["accounts"][0].as_object_mut().unwrap();
        assert!(account.remove("clients").is_some());
        assert!(account["epoch"].as_object_mut().unwrap().remove("share").is_some());
        let after = ConfigStore::new(&with(10));
        let earlier = crate::control::Book::of_json(earlier.to_string().as_bytes()).unwrap();
        assert_eq!(crate::admin::restore(&after, earlier), 1);
        assert_eq!(known(&after), (100_000, 0, 0, 0));
        count(&after, 2);
        assert_eq!(known(&after), (100_000, 2, 2, 18));
        let otherwise = ConfigStore::new(&with(30));
        crate::admin::restore(&otherwise, book);
        assert_eq!(known(&otherwise), (300_000, 0, 0, 0));
    }

    #[test]
    fn what_becomes_a_secret_of_a_neighbour_is_shown_no_longer_and_evidence_begins_anew() {
        let with = |log: &str, own: &str, neighbour: &str| {
            let text = format!(
                "{log}[upstream.v1]\nendpoints = [\"10.0.0.1:1\"]\n[upstream.v2]\nendpoints = [\"10.0.0.2:1\"]\n\
                 [[route]]\nname = \"r\"\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\"{own} }}, {{ upstream = \"v2\", \
                 name = \"v3\"{neighbour} }}]\n"
            );
            Arc::new(config::parse("test", &text).unwrap().config)
        };
        let (card, key) = (", redact = { json = [\"/card\"] }", ", redact = { headers = [\"x-key\"] }");
        let log = "[access_log]\nto = \"stdout\"\nredact = [\"user\"]\n";
        let word = |config: &Config| question(config, &config.routes[0], &config.routes[0].mirrors[0]);
        let rows = [
            (with("", "", ""), with("", "", card), true),
            (with("", card, ""), with("", card, card), false),
            (with("", card, card), with("", card, key), true),
            (with("", "", card), with("", "", key), true),
            (with("", "", ""), with(log, "", ""), true),
        ];
        for (before, after, is_another) in rows {
            assert_eq!(word(&before) != word(&after), is_another, "{before:?} {after:?}");
        }
        let store = ConfigStore::new(&with("", "", ""));
        look(&store);
        turn(&store, with("", "", card));
        look(&store);
        assert_eq!(store.epochs.of("r", "v2").unwrap().because, Cause::Rules);
    }

    #[test]
    fn a_version_that_a_cluster_tells_of_is_learnt_and_another_one_begins_evidence_anew() {
        let store = ConfigStore::new(&config("\"10.0.0.2:1\""));
        let mut now = SystemTime::UNIX_EPOCH;
        let mut look = || {
            now += Duration::from_secs(1);
            let snapshot = store.open();
            let all = pairings(&snapshot, &Chosen::default());
            let begun = store.epochs.look(&looked(&store, &snapshot, &all), now).len();
            let epoch = store.epochs.of("r", "v2").unwrap();
            (begun, epoch.because, epoch.versions[1].clone())
        };
        assert_eq!(look(), (0, Cause::Start, None));
        store.is_of_version("v2", "5f4d");
        assert_eq!(
            look(),
            (0, Cause::Start, Some("5f4d".to_owned())),
            "the first that is known is what it began with"
        );
        store.is_of_version("elsewhere", "1");
        store.is_of_version("v2", "77ab");
        assert_eq!(look(), (1, Cause::Version, Some("77ab".to_owned())));
        assert_eq!(look().0, 0);
    }
}
