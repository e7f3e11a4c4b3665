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

/// Requests of the whole service in a second.
const RATE: usize = 600;

const ROUTES: usize = 4;

/// What v2 does otherwise.
#[derive(Debug, Clone, Copy, Default)]
struct Fault {
    errors: f64,
    slower: f64,
    tail: f64,
    field: f64,
}

/// One route as it is counted, from the start on.
#[derive(Default)]
struct Route {
    cells: [u64; 4],
    ours: crate::metrics::Histogram,
    theirs: crate::metrics::Histogram,
    again: crate::metrics::Histogram,
    again_cells: [u64; 4],
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
    /// One second: v1 fails 0.2 % by itself and has a field that differs in 3 %; times are skewed, and a stall lengthens those
    /// of both that are under way.
    fn second(&mut self, rng: &mut fastrand::Rng, fault: Fault) {
        let n = RATE / ROUTES;
        let mut stalled = [0_usize; 3];
        for _ in 0..n {
            let fails = [0.0, fault.errors, 0.0].map(|more| rng.f64() < 0.002 + more);
            self.cells[usize::from(fails[0]) * 2 + usize::from(fails[1])] += 1;
            self.again_cells[usize::from(fails[0]) * 2 + usize::from(fails[2])] += 1;
            for (side, to) in [&self.ours, &self.theirs, &self.again].into_iter().enumerate() {
                let is_v2 = side == 1;
                let factor = if is_v2 { 1.0 + fault.slower } else { 1.0 };
                let mut time = 5_000.0 * (1.0 - 0.5 * (1.0 - rng.f64()).ln()) * factor;
                if rng.f64() < 0.000_5 {
                    stalled[side] = rng.usize(1..=8);
                }
                if stalled[side] > 0 {
                    stalled[side] -= 1;
                    time += 40_000.0;
                }
                if is_v2 && rng.f64() < fault.tail {
                    time += 200_000.0;
                }
                to.record(time as u64);
            }
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

    fn evidence(&self, name: usize) -> Evidence {
        let noise = if self.is_noisy { self.n / 33 } else { 0 };
        let seen = |cells, times, differing| Seen {
            matrix: matrix_of(cells),
            primary_times: Slots::of([&self.ours]),
            mirror_times: Slots::of([times]),
            sent: self.n,
            compared: Some(Compared { answers: self.n, contents: self.n, differing, ..Compared::default() }),
            ..Seen::default()
        };
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
            example: (None, None),
            samples: Vec::new(),
        };
        Evidence {
            route: format!("r{name}"),
            mirror: "v2".to_owned(),
            copies: 1,
            are_chosen_by_response: false,
            is_baseline_chosen_alike: true,
            seen: seen(self.cells, &self.theirs, self.field),
            baseline: Some(seen(self.again_cells, &self.again, noise)),
            differences: if self.field > 0 { vec![field] } else { Vec::new() },
            bursts: [None; 2],
            windows: Vec::new(),
        }
    }
}

/// The second of the first rejection, and of the first promotion, in an epoch of so many.
fn epoch(rng: &mut fastrand::Rng, policy: &Policy, fault: Fault, seconds: usize) -> [Option<usize>; 2] {
    let mut routes: Vec<Route> = (0..ROUTES).map(|_| Route::default()).collect();
    let mut first = [None, None];
    for second in 1..=seconds {
        routes.iter_mut().for_each(|route| route.second(rng, fault));
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
        let [reject, promote] = epoch(&mut rng, &policy(), Fault::default(), 60);
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
        ("0.5 % errors", Fault { errors: 0.005, ..none }, 60),
        ("2 % errors", Fault { errors: 0.02, ..none }, 20),
        ("10 % errors", Fault { errors: 0.1, ..none }, 5),
        ("p50 + 30 %", Fault { slower: 0.3, ..none }, 60),
        ("2 % x 200 ms", Fault { tail: 0.02, ..none }, 60),
        ("a field in 1 %", Fault { field: 0.01, ..none }, 240),
    ];
    for (name, fault, most) in faults {
        let mut rng = fastrand::Rng::with_seed(18);
        let runs = runs(1);
        let mut took: Vec<usize> = (0..runs)
            .map(|_| epoch(&mut rng, &Policy::default(), fault, most)[0].unwrap_or(usize::MAX))
            .collect();
        took.sort_unstable();
        let at = |share: f64| took.get((share * (runs - 1) as f64) as usize).copied().unwrap_or_default();
        println!("{name}: rejected after {} s, {} s (90 %) of {runs} at {RATE}/s", at(0.5), at(0.9));
        assert!(took.iter().filter(|took| **took == usize::MAX).count() * 50 <= runs, "{name}: {took:?}");
    }
}

/// Runs of one kind, on every core: what each came to, by the second.
fn many(runs: usize, seed: u64, policy: &Policy, fault: Fault, seconds: usize) -> Vec<[Option<usize>; 2]> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = |first: usize| -> Vec<[Option<usize>; 2]> {
        let one = |run: usize| {
            let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(run as u64));
            epoch(&mut rng, policy, fault, seconds)
        };
        (first..runs).step_by(threads).map(one).collect()
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// The least number of samples of which a test that is made once, with this chance to err, has even odds to find a share of
/// `is` where `most` is allowed: exact, by the binomial distribution.
fn once(is: f64, most: f64, alpha: f64) -> u64 {
    let at_least = |n: u64, p: f64, k: u64| {
        // The upper tail, from its first term on.
        let ln = |n: u64| (1..=n).map(|i| (i as f64).ln()).sum::<f64>();
        let first = ln(n) - ln(k) - ln(n - k) + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln();
        let (mut term, mut sum) = (first.exp(), 0.0);
        for i in k..=n {
            sum += term;
            term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
            if term < sum * 1e-12 {
                break;
            }
        }
        sum
    };
    // Of n samples about as many as this show it.
    let finds = |n: u64| {
        let k = (is * n as f64).floor() as u64;
        k > 0 && at_least(n, most, k) <= alpha
    };
    (1..200_000).find(|n| finds(*n)).unwrap_or(u64::MAX)
}

/// In how many seconds others, who look at thresholds, would have known: an analysis that asks once a minute whether v2 succeeds in
/// 99 % (Argo Rollouts), and a comparison that calls a field different where it is so in 0.03 % and a fifth more often than its
/// noise (Diffy). `None`: never in the time.
fn by_thresholds(rng: &mut fastrand::Rng, fault: Fault, seconds: usize) -> [Option<usize>; 2] {
    let mut routes: Vec<Route> = (0..ROUTES).map(|_| Route::default()).collect();
    let (mut found, mut before) = ([None, None], (0, 0));
    for second in 1..=seconds {
        routes.iter_mut().for_each(|route| route.second(rng, fault));
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

#[test]
#[ignore = "ten thousand runs take minutes: a bench whose figures are kept"]
fn the_figures_of_many_runs() {
    let runs = runs(100);
    let none = Fault::default();
    let all = many(runs, 17, &policy(), none, 60);
    let rejected = all.iter().filter(|[reject, _]| reject.is_some()).count();
    let promoted = all.iter().filter(|[_, promote]| promote.is_some()).count();
    println!(
        "{runs} runs of 60 s at {RATE}/s on {ROUTES} routes, looked at every second; seeds 17,000,051 + run"
    );
    println!("equal: rejected at any look {rejected}, promoted {promoted}");
    assert!(rejected * 20 <= runs && promoted * 100 >= 99 * runs);
    // What the rule over all routes may err, of 5 %: a quarter of a quarter for errors, for a quantile a sixteenth.
    let (errors, tails) = (0.05 * 0.25 * 0.25, 0.05 * 0.25 * 0.062_5 * 0.5);
    let field = 0.05 * 0.75 / 4.0 * 0.75 * 0.25 * field_part_of_the_first();
    let faults = [
        ("0.5 % errors", Fault { errors: 0.005, ..none }, 60, Some((once(0.005, 0.001, errors), 1))),
        ("2 % errors", Fault { errors: 0.02, ..none }, 30, Some((once(0.02, 0.001, errors), 1))),
        ("10 % errors", Fault { errors: 0.1, ..none }, 10, Some((once(0.1, 0.001, errors), 1))),
        ("p50 + 30 %", Fault { slower: 0.3, ..none }, 60, None),
        ("2 % x 200 ms", Fault { tail: 0.02, ..none }, 60, Some((once(0.02, 0.000_5, tails), 1))),
        (
            "a field in 1 %",
            Fault { field: 0.01, ..none },
            240,
            Some((once(0.01, 0.001, field), ROUTES as u64)),
        ),
    ];
    for (name, fault, most, bound) in faults {
        let mut took: Vec<usize> = many(runs, 18, &Policy::default(), fault, most)
            .into_iter()
            .map(|[reject, _]| reject.unwrap_or(usize::MAX))
            .collect();
        took.sort_unstable();
        let at = |share: f64| took[(share * (runs - 1) as f64) as usize];
        let missed = took.iter().filter(|took| **took == usize::MAX).count();
        let mut rng = fastrand::Rng::with_seed(18);
        let others = by_thresholds(&mut rng, fault, 600);
        println!(
            "{name}: {} s ({} samples), {} s (90 %), never in {most} s: {missed}; made once: {}; once a minute beyond 1 %: {}; \
             relative and absolute: {}",
            at(0.5),
            at(0.5) * RATE,
            at(0.9),
            bound.map_or_else(|| "-".to_owned(), |(n, routes)| format!("{} samples", n * routes)),
            others[0].map_or_else(|| "never in 600 s".to_owned(), |s| format!("{s} s")),
            others[1].map_or_else(|| "never in 600 s".to_owned(), |s| format!("{s} s")),
        );
    }
    let mut rng = fastrand::Rng::with_seed(17);
    let equal = by_thresholds(&mut rng, none, 600);
    println!("equal, by thresholds: once a minute {:?}, relative and absolute {:?}", equal[0], equal[1]);
}

/// As `rules` shares it.
fn field_part_of_the_first() -> f64 {
    8.0 / (8.0 * 9.0)
}

#[test]
fn a_thousand_routes_are_judged_at_once() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut routes: Vec<Route> = (0..1000).map(|_| Route::default()).collect();
    routes.iter_mut().for_each(|route| (0..4).for_each(|_| route.second(&mut rng, Fault::default())));
    let evidence: Vec<Evidence> = routes.iter().enumerate().map(|(n, route)| route.evidence(n)).collect();
    let began = std::time::Instant::now();
    let verdict = judge(&Policy::default(), &evidence);
    println!("a verdict over 1,000 routes: {:?}", began.elapsed());
    assert_eq!(verdict.mirrors.len(), 1);
    assert!(verdict.mirrors[0].rules.len() >= 7 * 1000);
}
