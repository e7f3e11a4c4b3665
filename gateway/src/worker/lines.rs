//! Two workers write to no cache line in common on the path of a request: the memory that the control plane makes for them lies
//! apart, and a worker's own memory is of its own thread's pages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Barrier};

use config::Config;

use crate::discovery::Located;
use crate::generation::{Generation, WorkerConfig};
use crate::io::Sweeper;
use crate::metrics::{Code, Counters, HandshakeCounters, Histogram, MirrorEnd, PrimaryEnd, Shard, place_of};
use crate::observe::tap::{self, Tap};
use crate::prepared::{Difference, Prepared};

const WORKERS: usize = 4;

/// Two lines, which processors fetch together; some have lines of this length.
const LINE: usize = 128;

/// Bytes that one worker writes to, and their name.
type Places = Vec<(&'static str, Range<usize>)>;

fn config(mirrors: &str) -> Arc<Config> {
    let text = format!(
        "[workers]\ncount = {WORKERS}\n[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\n\
         [upstream.v2]\nendpoints = [\"127.0.0.1:2\"]\n[upstream.v3]\nendpoints = [\"127.0.0.1:3\"]\n\
         [[route]]\nname = \"a\"\npath_prefix = \"/a\"\nprimary = \"v1\"\nmirrors = [{mirrors}]\n\
         [[route]]\nname = \"b\"\npath_prefix = \"/b\"\nprimary = \"v1\"\n"
    );
    Arc::new(config::parse("test", &text).expect("the test's own text is sound").config)
}

fn worker_config(config: &Arc<Config>, before: Option<&WorkerConfig>) -> WorkerConfig {
    let addresses = (1..=3_u16).map(|port| vec![([127, 0, 0, 1], port).into()]).collect();
    let (counters, prepared) = match before {
        None => (Counters::new(config), Prepared::new(config)),
        Some(before) => (
            Counters::after(config, &before.config, &before.counters),
            before.prepared.after(&Difference::between(&before.config, config), config),
        ),
    };
    WorkerConfig {
        config: Arc::clone(config),
        located: Located { addresses: Arc::new(addresses), ..Located::default() },
        counters: Arc::new(counters),
        clients_max: 10,
        prepared: Arc::new(prepared),
        callings: Arc::default(),
        captures: Arc::default(),
        listeners: Vec::new(),
    }
}

/// With the counts of those that share it: a ticket of the ledger is one.
fn shared<T>(of: &Arc<T>) -> Range<usize> {
    let value = place_of(&**of);
    value.start - align_of::<T>().max(16)..value.end
}

/// Records values of many sizes, and says where they went.
fn filled(of: &Histogram) -> Places {
    [1, 500, 70_000, 9_000_000].iter().for_each(|value| of.record(*value));
    of.places().into_iter().map(|place| ("a distribution", place)).collect()
}

fn handshakes(of: &HandshakeCounters) -> Places {
    vec![("handshakes", place_of(of))]
}

fn of_counters(counters: &Counters) -> Places {
    let mut all = Places::new();
    for route in &counters.routes {
        all.push(("a route", shared(route)));
        for of in [&route.duration, &route.request_bytes, &route.response_bytes] {
            all.extend(filled(of));
        }
    }
    for primary in counters.primaries.iter().flatten() {
        all.push(("a primary", shared(primary)));
        all.extend(filled(&primary.latency));
    }
    for mirror in counters.mirrors.iter().flatten() {
        all.push(("a mirror", shared(mirror)));
        let pairs = &mirror.pairs;
        for status in [200, 404, 503] {
            let code = Code::of(status);
            pairs.matrix.inc(PrimaryEnd::Code(code), MirrorEnd::Code(code));
        }
        all.extend(pairs.matrix.places().into_iter().map(|place| ("pairs", place)));
        all.push(("clusters", shared(&pairs.tails.clusters)));
        let times = [&mirror.latency, &mirror.lag, &pairs.primary, &pairs.slower, &pairs.faster];
        let others = [&pairs.sure_primary, &pairs.sure_mirror, &pairs.ratios, &pairs.primary_bytes];
        times.into_iter().chain(others).for_each(|of| all.extend(filled(of)));
        all.extend(filled(&pairs.mirror_bytes));
    }
    for trial in &counters.trials {
        all.push(("a trial", shared(trial)));
        for of in [&trial.copied.duration, &trial.spared.duration] {
            all.extend(filled(of));
        }
    }
    for lane in &counters.lanes {
        all.push(("a lane", shared(lane)));
        all.extend(handshakes(&lane.tls));
    }
    for upstream in &counters.upstreams {
        all.push(("an upstream", shared(upstream)));
        all.extend(handshakes(&upstream.tls));
    }
    all
}

/// The memory of a worker that serves by these configurations, on its own thread. `all_done`: the memory of a thread that has
/// ended is another's.
fn of_worker(shard: &Arc<Shard>, tap: &Tap, worker_configs: &[&WorkerConfig], all_done: &Barrier) -> Places {
    let mut all = Places::from([("the shard", shared(shard))]);
    all.extend(tap.places().into_iter().map(|place| ("records", place)));
    let sweeper = Sweeper::simulated();
    let generations = worker_configs.iter().map(|of| Generation::new(of, &sweeper, None));
    let generations: Vec<_> = generations.collect();
    for generation in &generations {
        all.push(("a generation", place_of(&**generation)));
        all.push(("the configuration's count", shared(&generation.own_config)));
        all.extend(of_counters(&generation.counters));
    }
    all_done.wait();
    all
}

#[test]
fn no_line_is_written_by_two_workers() {
    let mirror = |name: &str| format!("{{ upstream = \"{name}\" }}");
    let first = config(&mirror("v2"));
    let second = config(&[mirror("v2"), mirror("v3")].join(", "));
    // As the control plane makes them: all of them, one after the other, and those of a change behind.
    let shards: Vec<Arc<Shard>> = (0..WORKERS).map(|_| Arc::default()).collect();
    let (taps, _spouts): (Vec<Tap>, Vec<_>) = shards.iter().map(tap::tap).unzip();
    let begun: Vec<WorkerConfig> = (0..WORKERS).map(|_| worker_config(&first, None)).collect();
    let changed: Vec<WorkerConfig> =
        begun.iter().map(|before| worker_config(&second, Some(before))).collect();
    let workers = shards.iter().zip(taps).zip(begun.iter().zip(&changed));
    let all_done = &Barrier::new(WORKERS);
    let places: Vec<Places> = std::thread::scope(|scope| {
        let start = |((shard, tap), (begun, changed))| {
            scope.spawn(move || of_worker(shard, &tap, &[begun, changed], all_done))
        };
        let running: Vec<_> = workers.map(start).collect();
        running.into_iter().map(|worker| worker.join().expect("it only counts")).collect()
    });
    let mut lines: BTreeMap<usize, (usize, &str)> = BTreeMap::new();
    for (worker, places) in places.iter().enumerate() {
        assert!(places.len() > 50, "{places:?}");
        for (what, place) in places.iter().filter(|(_, place)| !place.is_empty()) {
            for line in place.start / LINE..place.end.div_ceil(LINE) {
                let (other, whose) = *lines.entry(line).or_insert((worker, what));
                assert_eq!(worker, other, "{what} shares a line with {whose} of another worker");
            }
        }
    }
}
