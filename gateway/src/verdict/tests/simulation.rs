//! Services as chance makes them, judged every second of an epoch: how often an equal one is ever rejected or not promoted,
//! and how long it takes to reject one that is worse. Seeds are kept; the figures of many runs stand in `bench/runs`.
//!
//! `UMBRA_SIMULATED_RUNS` says how many runs, a few by default. Each run has a seed of its own, so that any can be seen again;
//! `the_figures_of_many_runs` is for a machine with time:
//!
//! ```text
//! UMBRA_SIMULATED_RUNS=10000 cargo test -p gateway --lib --config 'profile.dev.package.gateway.opt-level=3' -- \
//!     --ignored --nocapture the_figures_of_many_runs
//! ```

use super::*;
use std::sync::Arc;

use crate::metrics::{Clusters, Counter, Histogram, TailCounts, Tails, times_as_long};

/// Requests of the whole service in a second.
const RATE: usize = 600;

const ROUTES: usize = 4;

/// The ways in which v2 is worse.
#[derive(Debug, Clone, Copy, Default)]
struct Fault {
    errors: f64,
    slower: f64,
    tail: f64,
    field: f64,
}

/// Seconds from one moment that is remembered to the next.
const MARK_EVERY: usize = 20;

/// The counts of one route, from the start on.
#[derive(Default)]
struct Route {
    cells: [u64; 4],
    ours: Histogram,
    theirs: Histogram,
    again: Histogram,
    /// Of v2 and of v1 once more.
    ratios: [Histogram; 2],
    again_cells: [u64; 4],
    /// The same two.
    tails: [Tails; 2],
    stalled: [usize; 3],
    /// The counts at each remembered moment.
    marks: Vec<[Seen; 2]>,
    field: u64,
    field_only: [u64; 2],
    first: u64,
    n: u64,
    is_noisy: bool,
}

fn matrix_of([both, only_mirror, only_primary, neither]: [u64; 4]) -> Vec<(String, String, u64)> {
    let cell = |primary: &str, mirror: &str, n| (primary.to_owned(), mirror.to_owned(), n);
    vec![
        cell("200", "200", both),
        cell("200", "500", only_mirror),
        cell("503", "200", only_primary),
        cell("503", "503", neither),
    ]
}

impl Route {
    /// So many requests: v1 fails 0.2 % by itself and has a field that differs in 3 %; times are skewed, and a stall lengthens those
    /// of a service that are under way.
    fn stretch(&mut self, rng: &mut fastrand::Rng, fault: Fault, n: usize) {
        for _ in 0..n {
            let fails = [0.0, fault.errors, 0.0].map(|more| rng.f64() < 0.002 + more);
            self.cells[usize::from(fails[0]) * 2 + usize::from(fails[1])] += 1;
            self.again_cells[usize::from(fails[0]) * 2 + usize::from(fails[2])] += 1;
            let mut times = [0; 3];
            for (side, of) in times.iter_mut().enumerate() {
                let is_v2 = side == 1;
                let factor = if is_v2 { 1.0 + fault.slower } else { 1.0 };
                let mut time = 5_000.0 * (1.0 - 0.5 * (1.0 - rng.f64()).ln()) * factor;
                if rng.f64() < 0.000_5 {
                    self.stalled[side] = rng.usize(1..=8);
                }
                if self.stalled[side] > 0 {
                    self.stalled[side] -= 1;
                    time += 40_000.0;
                }
                if is_v2 && rng.f64() < fault.tail {
                    time += 200_000.0;
                }
                *of = time as u64;
            }
            let [ours, theirs, again] = times;
            self.ours.record(ours);
            self.theirs.record(theirs);
            self.again.record(again);
            self.ratios[0].record(times_as_long(theirs, ours));
            self.ratios[1].record(times_as_long(again, ours));
            self.tails[0].count(ours, theirs);
            self.tails[1].count(ours, again);
            self.n += 1;
            self.is_noisy = fault.field == 0.0;
            // A fault shows in a field that v1 keeps.
            let noise = if fault.field > 0.0 { 0.0 } else { 0.03 };
            let differs = [fault.field, 0.0].map(|more| rng.f64() < noise + more);
            if differs[0] && self.first == 0 {
                self.first = self.n;
            } else if self.first > 0 {
                self.field_only[0] += u64::from(differs[0] && !differs[1]);
                self.field_only[1] += u64::from(differs[1] && !differs[0]);
            }
            self.field += u64::from(differs[0]);
        }
    }

    /// v2 and v1 once more, beside v1.
    fn both(&self) -> [Seen; 2] {
        let noise = if self.is_noisy { self.n / 33 } else { 0 };
        let seen = |cells, times, at: usize, differing| Seen {
            matrix: matrix_of(cells),
            primary_times: Slots::of([&self.ours]),
            mirror_times: Slots::of([times]),
            ratios: Slots::of([&self.ratios[at]]),
            tails: tails(&self.tails[at]),
            sent: self.n,
            compared: Some(Compared { answers: self.n, contents: self.n, differing, ..Compared::default() }),
            ..Seen::default()
        };
        [seen(self.cells, &self.theirs, 0, self.field), seen(self.again_cells, &self.again, 1, noise)]
    }

    fn evidence(&self, name: usize) -> Evidence {
        let noise = if self.is_noisy { self.n / 33 } else { 0 };
        let [seen, again] = self.both();
        let window = |(at, [then, again_then]): (usize, &[Seen; 2])| Window {
            since: String::new(),
            within: MARK_EVERY as f64,
            number: at as u32 + 1,
            evidence: Evidence {
                differences: Vec::new(),
                windows: Vec::new(),
                ..self.named(name, since(&seen, then), since(&again, again_then), Vec::new())
            },
        };
        let windows: Vec<Window> = self.marks.iter().enumerate().map(window).collect();
        let field = Difference {
            field: "$.plan".to_owned(),
            kind: "changed",
            count: self.field,
            compared: self.n,
            baseline_count: noise,
            baseline_compared: self.n,
            is_volatile: false,
            rank: 0,
            first: self.first,
            beside: self.n - self.first,
            only_mirror: self.field_only[0],
            only_baseline: self.field_only[1],
            unasked: Lone::default(),
            example: (None, None),
            samples: Vec::new(),
        };
        let differences = if self.field > 0 { vec![field] } else { Vec::new() };
        Evidence { windows, ..self.named(name, seen, again, differences) }
    }

    fn named(&self, name: usize, seen: Seen, again: Seen, differences: Vec<Difference>) -> Evidence {
        Evidence {
            route: format!("r{name}"),
            mirror: "v2".to_owned(),
            copies: 1,
            are_chosen_by_response: false,
            is_baseline_chosen_alike: true,
            is_baseline_asked_alike: true,
            is_baseline_sent_alike: true,
            seen,
            baseline: Some(again),
            differences,
            workers: 1,
            bursts: [None; 2],
            windows: Vec::new(),
        }
    }
}

fn tails(of: &Tails) -> TailCounts {
    let both = of.only_mirror.iter().zip(&of.only_primary);
    both.map(|(mirror, primary)| (Counter::get(mirror), Counter::get(primary))).collect()
}

/// The counts since then.
fn since(now: &Seen, then: &Seen) -> Seen {
    let cells = now.matrix.iter().zip(&then.matrix);
    let cell = |(now, then): (&(String, String, u64), &(String, String, u64))| {
        (now.0.clone(), now.1.clone(), now.2 - then.2)
    };
    Seen {
        matrix: cells.map(cell).collect(),
        primary_times: now.primary_times.since(&then.primary_times),
        mirror_times: now.mirror_times.since(&then.mirror_times),
        ratios: now.ratios.since(&then.ratios),
        tails: now.tails.since(&then.tails),
        sent: now.sent - then.sent,
        ..Seen::default()
    }
}

/// When it is first rejected, and first promoted, in so many stretches of an epoch, of which a second has `looks`, each followed by a look.
fn epoch(
    rng: &mut fastrand::Rng,
    policy: &Policy,
    fault: Fault,
    looks: usize,
    stretches: usize,
) -> [Option<usize>; 2] {
    let clusters: [Arc<Clusters>; 2] = Default::default();
    let route = || Route { tails: clusters.each_ref().map(Tails::of), ..Route::default() };
    let mut routes: Vec<Route> = (0..ROUTES).map(|_| route()).collect();
    let mut first = [None, None];
    for second in 1..=stretches {
        for route in &mut routes {
            route.stretch(rng, fault, RATE / ROUTES / looks);
            if second % (MARK_EVERY * looks) == 0 {
                let both = route.both();
                route.marks.push(both);
            }
        }
        let evidence: Vec<Evidence> = routes.iter().enumerate().map(|(n, route)| route.evidence(n)).collect();
        match judge(policy, &evidence).verdict {
            Decision::Reject => {
                first[0].get_or_insert(second);
                return first;
            }
            Decision::Promote => {
                first[1].get_or_insert(second);
            }
            Decision::Hold => {}
        }
    }
    first
}

fn runs(few: usize) -> usize {
    std::env::var("UMBRA_SIMULATED_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

/// A share of one in a hundred shows in an epoch of minutes, beside the noise that these services have.
fn policy() -> Policy {
    let percent = Percent { per_million: 10_000 };
    Policy { errors_max: percent, mismatch_max: percent, ..Policy::default() }
}

#[test]
fn an_equal_service_is_hardly_ever_rejected_at_any_second_and_nearly_always_promoted() {
    let mut rng = fastrand::Rng::with_seed(17);
    let (runs, mut rejected, mut promoted) = (runs(4), 0, 0);
    for _ in 0..runs {
        let [reject, promote] = epoch(&mut rng, &policy(), Fault::default(), 1, 60);
        rejected += usize::from(reject.is_some());
        promoted += usize::from(promote.is_some());
    }
    println!("equal: {rejected} rejected, {promoted} promoted of {runs}");
    assert!(rejected * 20 <= runs, "{rejected} of {runs}");
    assert!((runs - promoted) * 100 <= runs, "{promoted} of {runs}");
}

#[test]
fn what_is_worse_is_rejected_within_seconds() {
    let none = Fault::default();
    let faults = [
        ("0.5 % errors", Fault { errors: 0.005, ..none }, 40),
        ("2 % errors", Fault { errors: 0.02, ..none }, 5),
        ("10 % errors", Fault { errors: 0.1, ..none }, 2),
        ("p50 + 30 %", Fault { slower: 0.3, ..none }, 6),
        ("2 % x 200 ms", Fault { tail: 0.02, ..none }, 12),
        ("a field in 1 %", Fault { field: 0.01, ..none }, 20),
    ];
    for (name, fault, most) in faults {
        let mut rng = fastrand::Rng::with_seed(18);
        let runs = runs(1);
        let mut took: Vec<usize> = (0..runs)
            .map(|_| epoch(&mut rng, &Policy::default(), fault, 1, most)[0].unwrap_or(usize::MAX))
            .collect();
        took.sort_unstable();
        let at = |share: f64| took.get((share * (runs - 1) as f64) as usize).copied().unwrap_or_default();
        println!("{name}: rejected after {} s, {} s (90 %) of {runs} at {RATE}/s", at(0.5), at(0.9));
        assert!(took.iter().filter(|took| **took == usize::MAX).count() * 50 <= runs, "{name}: {took:?}");
    }
}

/// Runs of one kind, on every core: for each run the stretch in which each decision fell.
fn many(
    runs: usize,
    seed: u64,
    policy: &Policy,
    fault: Fault,
    (looks, stretches): (usize, usize),
) -> Vec<[Option<usize>; 2]> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = |first: usize| -> Vec<[Option<usize>; 2]> {
        let one = |run: usize| {
            let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(run as u64));
            epoch(&mut rng, policy, fault, looks, stretches)
        };
        (first..runs).step_by(threads).map(one).collect()
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// Where a normal distribution has this much above it.
fn deviations(tail: f64) -> f64 {
    // Abramowitz and Stegun 26.2.23, to 4.5e-4.
    let t = (-2.0 * tail.min(1.0 - tail).ln()).sqrt();
    let z = t
        - (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
            / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t);
    if tail < 0.5 { z } else { -z }
}

/// How likely at least `k` of `n` is, each being so likely.
fn at_least(n: u64, p: f64, k: u64) -> f64 {
    let ln = |n: u64| (1..=n).map(|i| (i as f64).ln()).sum::<f64>();
    let first = ln(n) - ln(k) - ln(n - k) + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln();
    let (mut term, mut sum) = (first.exp(), 0.0);
    for i in k..=n {
        sum += term;
        term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
    }
    sum
}

/// The samples that a test which is made once needs, with this chance to err, to find with this chance that `plus - minus` of
/// the steps is more than `most`: the yardstick for tests at any look. Exact where no step is negative, else by a normal
/// distribution.
fn once(plus: f64, minus: f64, most: f64, alpha: f64, finds: f64) -> f64 {
    let apart = plus - minus - most;
    let by_normal = (deviations(alpha) + deviations(1.0 - finds)).powi(2)
        * (plus + minus - (plus - minus).powi(2))
        / (apart * apart);
    if minus > 0.0 {
        return by_normal;
    }
    // So many by a fair coin, where none is allowed.
    let by_coin = (alpha.ln() / 0.5_f64.ln()).ceil() as u64;
    let mut least = 1;
    let mut does = |n: &u64| {
        let n = *n;
        while most > 0.0 && least <= n && at_least(n, most, least) > alpha {
            least += 1;
        }
        let least = if most > 0.0 { least } else { by_coin };
        least <= n && at_least(n, plus, least) >= finds
    };
    (1..20_000).find(|n| does(n)).map_or(f64::INFINITY, |n| n as f64)
}

/// In how many seconds analyses by thresholds would have known: one that asks once a minute whether v2 succeeds in 99 % (Argo
/// Rollouts), and one that calls a field different where it is so in 0.03 % and a fifth more often than its noise (Diffy).
/// `None`: never in the time.
fn by_thresholds(rng: &mut fastrand::Rng, fault: Fault, seconds: usize) -> [Option<usize>; 2] {
    let mut routes: Vec<Route> = (0..ROUTES).map(|_| Route::default()).collect();
    let (mut found, mut before) = ([None, None], (0, 0));
    for second in 1..=seconds {
        routes.iter_mut().for_each(|route| route.stretch(rng, fault, RATE / ROUTES));
        let all: u64 = routes.iter().map(|route| route.n).sum();
        let failed: u64 = routes.iter().map(|route| route.cells[1] + route.cells[3]).sum();
        if second % 60 == 0 {
            let share = (failed - before.1) as f64 / (all - before.0) as f64;
            before = (all, failed);
            if share > 0.01 {
                found[0].get_or_insert(second);
            }
        }
        let is_other = |route: &Route| {
            let noise = if route.is_noisy { route.n / 33 } else { 0 };
            let (raw, noise) = (route.field as f64, noise as f64);
            (raw - noise) / route.n as f64 > 0.000_3 && (raw - noise) / (raw + noise).max(1.0) > 0.2
        };
        if routes.iter().any(is_other) {
            found[1].get_or_insert(second);
        }
    }
    found
}

/// Looks a second at services that are worse, so that it is known after how many samples they are rejected.
const LOOKS: usize = 10;

#[test]
#[ignore = "ten thousand runs take minutes: a bench whose figures are kept"]
fn the_figures_of_many_runs() {
    let runs = runs(100);
    let none = Fault::default();
    println!(
        "{runs} runs of each kind at {RATE}/s on {ROUTES} routes; seeds 17,000,051 + run and 18,000,054 + run"
    );
    let all = many(runs, 17, &policy(), none, (1, 60));
    let rejected = all.iter().filter(|[reject, _]| reject.is_some()).count();
    let promoted = all.iter().filter(|[_, promote]| promote.is_some()).count();
    println!("equal, 60 s, looked at every second: rejected at any look {rejected}, promoted {promoted}");
    assert!(rejected * 20 <= runs && promoted * 100 >= 99 * runs);
    // The part of 5 % that each rule may err, as `mod` and `rules` share it.
    let everywhere = 0.05 * EVERYWHERE_PART;
    let (errors, median, tail) = (everywhere * 0.5, everywhere * 0.25, everywhere * 0.125);
    let field = 0.05 * (1.0 - EVERYWHERE_PART) / ROUTES as f64 * (1.0 - WINDOWS_PART) * 0.25 / 9.0;
    let of_errors = |more: f64| (0.002 + more, 0.002, 0.001, errors, 1.0);
    let each = ROUTES as f64;
    let faults = [
        ("0.5 % errors", Fault { errors: 0.005, ..none }, 60, of_errors(0.005)),
        ("2 % errors", Fault { errors: 0.02, ..none }, 30, of_errors(0.02)),
        ("10 % errors", Fault { errors: 0.1, ..none }, 10, of_errors(0.1)),
        // Pairs of which v2's takes more than 1.2 times as long, of the distributions above.
        ("p50 + 30 %", Fault { slower: 0.3, ..none }, 60, (0.594, 0.0, 0.5, median * 0.75, 1.0)),
        ("2 % x 200 ms", Fault { tail: 0.02, ..none }, 60, (0.02, 0.0, 0.0, tail * 0.5 / 13.0, 1.0)),
        ("a field in 1 %", Fault { field: 0.01, ..none }, 240, (0.01, 0.0, 0.001, field, each)),
    ];
    for (name, fault, most, (plus, minus, allowed, alpha, times)) in faults {
        let mut took: Vec<usize> = many(runs, 18, &Policy::default(), fault, (LOOKS, most * LOOKS))
            .into_iter()
            .map(|[reject, _]| reject.unwrap_or(usize::MAX))
            .collect();
        took.sort_unstable();
        let at = |share: f64| took[(share * (runs - 1) as f64) as usize].saturating_mul(RATE / LOOKS);
        let missed = took.iter().filter(|took| **took == usize::MAX).count();
        let mut rng = fastrand::Rng::with_seed(18);
        let others = by_thresholds(&mut rng, fault, 600);
        let made_once = |finds: f64| (once(plus, minus, allowed, alpha, finds) * times).ceil();
        println!(
            "{name}: half after {} samples, nine in ten after {}, never in {most} s {missed}; made once {} and {}, {:.2} and {:.2} times as \
             many; once a minute beyond 1 %: {}; relative and absolute: {}",
            at(0.5),
            at(0.9),
            made_once(0.5),
            made_once(0.9),
            at(0.5) as f64 / made_once(0.5),
            at(0.9) as f64 / made_once(0.9),
            others[0].map_or_else(|| "never in 600 s".to_owned(), |s| format!("{s} s")),
            others[1].map_or_else(|| "never in 600 s".to_owned(), |s| format!("{s} s")),
        );
    }
    let mut rng = fastrand::Rng::with_seed(17);
    let equal = by_thresholds(&mut rng, none, 600);
    println!("equal, by thresholds: once a minute {:?}, relative and absolute {:?}", equal[0], equal[1]);
}

#[test]
fn a_thousand_routes_are_judged_at_once() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut routes: Vec<Route> = (0..1000).map(|_| Route::default()).collect();
    routes.iter_mut().for_each(|route| route.stretch(&mut rng, Fault::default(), 600));
    let evidence: Vec<Evidence> = routes.iter().enumerate().map(|(n, route)| route.evidence(n)).collect();
    let began = std::time::Instant::now();
    let verdict = judge(&Policy::default(), &evidence);
    println!("a verdict over 1,000 routes: {:?}", began.elapsed());
    assert_eq!(verdict.mirrors.len(), 1);
    assert!(verdict.mirrors[0].rules.len() >= 7 * 1000);
}
