//! Verdicts on simulated services: what is the same is not rejected, what is worse is, by the name of what is worse.

use super::*;

fn times(values: impl Iterator<Item = u64>) -> Histogram<u64> {
    let mut of = crate::metrics::merged();
    values.for_each(|value| of.saturating_record(value));
    of
}

fn evidence(route: &str, matrix: &[(&str, &str, u64)]) -> Evidence {
    let matrix: Vec<_> = matrix.iter().map(|(p, m, n)| ((*p).to_owned(), (*m).to_owned(), *n)).collect();
    let n = matrix.iter().map(|(_, _, n)| n).sum();
    Evidence {
        route: route.to_owned(),
        mirror: "v2".to_owned(),
        matrix,
        primary: times((0..n).map(|i| 10_000 + i % 100)),
        mirror_times: times((0..n).map(|i| 10_000 + i % 100)),
        wanted: n,
        dropped: 0,
        differences: Vec::new(),
    }
}

fn differing(count: u64, compared: u64, baseline: (u64, u64)) -> Difference {
    Difference {
        field: "$.user.plan".to_owned(),
        kind: "changed",
        count,
        compared,
        baseline_count: baseline.0,
        baseline_compared: baseline.1,
        example: (Some("\"pro\"".to_owned()), Some("\"free\"".to_owned())),
        samples: vec!["id-1".to_owned()],
    }
}

fn failed(verdict: &Verdict) -> Vec<String> {
    let rules = verdict.mirrors.iter().flat_map(|mirror| &mirror.rules);
    rules.filter(|r| r.result == Outcome::Fail).map(|r| format!("{} {}", r.rule, r.route)).collect()
}

#[test]
fn a_sound_mirror_is_promoted_and_nothing_seen_is_held() {
    let policy = Policy::default();
    assert_eq!(judge(&policy, &[]).verdict, Decision::Hold);
    assert_eq!(judge(&policy, &[evidence("a", &[])]).verdict, Decision::Hold);
    assert_eq!(judge(&policy, &[evidence("a", &[("200", "200", 100)])]).verdict, Decision::Hold);
    let mut few = evidence("a", &[("200", "200", 3)]);
    few.mirror_times = times([90_000, 91_000, 92_000].into_iter());
    assert_eq!(judge(&policy, &[few]).verdict, Decision::Hold, "three requests tell no percentile");
    let verdict = judge(&policy, &[evidence("a", &[("200", "200", 1000), ("500", "500", 20)])]);
    assert_eq!(verdict.verdict, Decision::Promote, "{verdict:#?}");
}

#[test]
fn each_thing_that_is_worse_is_named_with_what_shows_it() {
    let policy = Policy::default();
    let mut fields = evidence("fields", &[("200", "200", 2000)]);
    fields.differences = vec![differing(400, 2000, (0, 2000))];
    let errors = evidence("errors", &[("200", "200", 1960), ("200", "500", 30), ("200", "timeout", 10)]);
    let mut slow = evidence("slow", &[("200", "200", 2000)]);
    slow.mirror_times = times((0..2000).map(|i| 30_000 + i % 100));
    let sound = evidence("sound", &[("200", "200", 2000)]);
    let verdict = judge(&policy, &[fields, errors, slow, sound]);
    assert_eq!(verdict.verdict, Decision::Reject);
    let named =
        ["error_rate_difference errors", "mismatch_above_noise fields", "p50_ratio slow", "p99_ratio slow"];
    let mut found = failed(&verdict);
    found.sort();
    assert_eq!(found, named);
    let shown: Vec<&String> = verdict.mirrors[0].rules.iter().flat_map(|rule| &rule.evidence).collect();
    for text in [
        "$.user.plan changed: \"pro\" → \"free\", 400 of 2000 (id-1)",
        "v1 200, v2 500: 30 times",
        "v1 200, v2 timeout: 10 times",
    ] {
        assert!(shown.contains(&&text.to_owned()), "{text}: {shown:?}");
    }
    assert!(shown.iter().any(|text| text.starts_with("v1 10.") && text.contains("v2 30.")), "{shown:?}");
}

#[test]
fn noise_and_what_the_policy_leaves_out_are_not_held_against_a_mirror() {
    let mut noisy = evidence("a", &[("200", "200", 2000)]);
    noisy.differences = vec![differing(420, 2000, (400, 2000))];
    assert_eq!(
        judge(&Policy::default(), &[noisy]).verdict,
        Decision::Promote,
        "a little more than the noise"
    );
    let mut noisy = evidence("a", &[("200", "200", 2000)]);
    noisy.differences = vec![differing(490, 2000, (400, 2000))];
    assert_eq!(judge(&Policy::default(), &[noisy]).verdict, Decision::Hold, "more, by chance or not");
    let mut noisy = evidence("a", &[("200", "200", 2000)]);
    noisy.differences = vec![differing(800, 2000, (400, 2000))];
    assert_eq!(judge(&Policy::default(), &[noisy]).verdict, Decision::Reject, "twice the noise");
    let with = |count| {
        let mut noisy = evidence("a", &[("200", "200", 2000)]);
        noisy.differences = vec![differing(count, 2000, (2000, 2000))];
        noisy
    };
    assert_eq!(judge(&Policy::default(), &[with(2000)]).verdict, Decision::Promote);
    let mut worse = evidence("a", &[("200", "200", 2000)]);
    worse.differences = vec![differing(400, 2000, (0, 2000))];
    let lenient = Policy { ignore_fields: vec!["$.user.plan".into()], ..Policy::default() };
    assert_eq!(judge(&lenient, &[worse]).verdict, Decision::Promote);
    let bad = || evidence("bad", &[("200", "500", 1000)]);
    let good = evidence("good", &[("200", "200", 1000)]);
    let lenient = Policy { ignore_routes: vec!["bad".into()], ..Policy::default() };
    assert_eq!(judge(&lenient, &[bad(), good]).verdict, Decision::Promote);
    assert_eq!(judge(&Policy::default(), &[bad()]).verdict, Decision::Reject);
}

#[test]
fn lost_copies_hold_and_a_small_route_holds_nobody_up_but_can_reject() {
    let mut lossy = evidence("a", &[("200", "200", 1000)]);
    (lossy.wanted, lossy.dropped) = (1500, 500);
    assert_eq!(judge(&Policy::default(), &[lossy]).verdict, Decision::Hold);
    let big = || evidence("big", &[("200", "200", 10_000)]);
    let small = evidence("small", &[("200", "200", 50)]);
    assert_eq!(judge(&Policy::default(), &[big(), small]).verdict, Decision::Promote);
    let broken = evidence("small", &[("200", "500", 50)]);
    assert_eq!(judge(&Policy::default(), &[big(), broken]).verdict, Decision::Reject);
}

#[test]
fn a_fraction_of_a_millisecond_is_no_reason_to_reject() {
    let quick = |by: u64| {
        let mut of = evidence("a", &[("200", "200", 2000)]);
        of.primary = times((0..2000).map(|i| 100 + i % 10));
        of.mirror_times = times((0..2000).map(|i| 100 + by + i % 10));
        judge(&Policy::default(), &[of]).verdict
    };
    assert_eq!(quick(400), Decision::Promote);
    assert_eq!(quick(2000), Decision::Reject);
}

/// A service of 40 routes as chance makes it; the mirror fails `errors` of its requests beside the 1 % that both do, and
/// takes `slower` times as long.
fn drawn(rng: &mut fastrand::Rng, errors: f64, slower: f64) -> Vec<Evidence> {
    let mut all = Vec::new();
    for route in 0..40 {
        let (mut cells, mut ours, mut theirs) = ([0; 4], Vec::new(), Vec::new());
        for _ in 0..500 {
            let fails = [rng.f64() < 0.01, rng.f64() < 0.01 + errors];
            cells[usize::from(fails[0]) * 2 + usize::from(fails[1])] += 1;
            let mut time = || (5_000.0 * (1.0 - 3.0 * (1.0 - rng.f64()).ln())) as u64;
            ours.push(time());
            theirs.push((time() as f64 * slower) as u64);
        }
        let matrix = [
            ("200", "200", cells[0]),
            ("200", "500", cells[1]),
            ("500", "200", cells[2]),
            ("500", "500", cells[3]),
        ];
        let mut of = evidence(&format!("r{route}"), &matrix);
        (of.primary, of.mirror_times) = (times(ours.into_iter()), times(theirs.into_iter()));
        all.push(of);
    }
    all
}

#[test]
fn chance_alone_rejects_hardly_ever_and_real_changes_nearly_always() {
    let mut rng = fastrand::Rng::with_seed(7);
    let policy = Policy::default();
    let mut rejected = |errors, slower| {
        let runs = 100;
        let one = |rng: &mut fastrand::Rng| judge(&policy, &drawn(rng, errors, slower)).verdict;
        (0..runs).filter(|_| one(&mut rng) == Decision::Reject).count()
    };
    assert!(rejected(0.0, 1.0) <= 5);
    assert!(rejected(0.08, 1.0) >= 95);
    assert!(rejected(0.0, 2.5) >= 95);
}
