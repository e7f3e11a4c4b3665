//! A mirror beside its own beginning.

use super::*;
use crate::verdict::drift::drift;

const SINCE: &str = "2026-11-29T12:31:00Z";

/// Evidence with a window: figures before a moment, and since then.
fn halves(before: Seen, after: impl Fn() -> Seen) -> Evidence {
    let seen = Seen::together([&before, &after()].into_iter());
    let window = Evidence { seen: after(), ..evidence("a", &[]) };
    let windows = vec![Window { since: SINCE.to_owned(), within: 20.0, number: 3, evidence: window }];
    Evidence { seen: Seen { compared: compared(0, 4_000), ..seen }, windows, ..evidence("a", &[]) }
}

fn errors(ours: u64, theirs: u64, n: u64) -> Seen {
    let rest = n - ours - theirs;
    cells(&[("200", "200", rest), ("503", "200", ours), ("200", "500", theirs)])
}

/// Times of either side about so long, in microseconds.
fn timed(ours: u64, theirs: u64, n: u64) -> Seen {
    let about = |us: u64| times((0..n).map(|i| us + i % 100));
    Seen { primary_times: about(ours), mirror_times: about(theirs), ..cells(&[("200", "200", n)]) }
}

fn found(of: &Evidence) -> Vec<Drift> {
    drift(&Policy::default(), Chance::of(0.05), of)
}

fn named(of: &Evidence) -> Vec<&'static str> {
    found(of).iter().map(|drift| drift.what).collect()
}

#[test]
fn what_a_mirror_does_otherwise_since_a_moment_is_named_and_what_v1_does_too_is_not() {
    let rows: [(Evidence, &[&str]); 11] = [
        (halves(errors(0, 2, 3_000), || errors(0, 80, 1_000)), &["errors"]),
        (halves(errors(0, 40, 3_000), || errors(0, 0, 1_000)), &[]),
        (halves(errors(0, 2, 3_000), || errors(0, 1, 1_000)), &[]),
        // v1 fails as much more, and so does a backend that both share.
        (halves(errors(2, 2, 3_000), || errors(80, 80, 1_000)), &[]),
        (halves(timed(10_000, 10_000, 9_000), || timed(10_000, 30_000, 1_000)), &["p50", "p99"]),
        (halves(timed(10_000, 10_000, 3_000), || timed(10_000, 10_000, 1_000)), &[]),
        (halves(timed(10_000, 30_000, 3_000), || timed(10_000, 10_000, 1_000)), &[]),
        (halves(timed(10_000, 10_000, 3_000), || timed(30_000, 30_000, 1_000)), &[]),
        // Longer by no more than the slack.
        (halves(timed(300, 300, 3_000), || timed(300, 1_200, 1_000)), &[]),
        // Of few nothing is known, on either side of the moment.
        (halves(errors(0, 0, 3_000), || errors(0, 100, 200)), &[]),
        (halves(timed(10_000, 10_000, 200), || timed(10_000, 30_000, 3_000)), &[]),
    ];
    for (at, (of, expect)) in rows.iter().enumerate() {
        assert_eq!(named(of), *expect, "row {at}");
    }
}

#[test]
fn a_drift_says_when_and_from_what_to_what_and_judges_nothing() {
    // Twice as quick as v1 to begin with, and then as quick.
    let of = halves(timed(10_000, 5_000, 3_000), || timed(10_000, 10_000, 1_000));
    let verdict = judge(&Policy::default(), &[of]);
    assert_eq!(verdict.verdict, Decision::Promote, "{verdict:#?}");
    let mirror = &verdict.mirrors[0];
    let one = mirror.drift.iter().find(|drift| drift.what == "p50").unwrap();
    assert_eq!((one.since.as_str(), one.within, one.route.as_str()), (SINCE, 20.0, "a"));
    let near = |figure: f64, us: f64| (figure / us - 1.0).abs() < 0.02;
    assert!(near(one.before, 5_050.0) && near(one.after, 10_050.0), "{one:?}");
    assert!(near(one.primary_before, 10_050.0) && near(one.primary_after, 10_050.0) && one.chance < 0.01);
    let said = said::sentences(mirror, None);
    let told = said.iter().find(|said| said.contains("its median time")).unwrap();
    assert!(
        told.starts_with(
            "v2 is not what it was, on a: its median time went from 5.0 ms to 9.9 ms at 12:31 ± 20 seconds"
        ) || told.starts_with("v2 is not what it was, on a: its median time went from 5.0 ms to 10."),
        "{told}"
    );
}

#[test]
fn a_mirror_that_stays_as_it_is_hardly_ever_drifts_whichever_moments_are_remembered() {
    let mut rng = fastrand::Rng::with_seed(41);
    let mut drifted = 0;
    for _ in 0..50 {
        let mut side = |n: u64| {
            let mut time = || (5_000.0 * (1.0 - 0.5 * (1.0 - rng.f64()).ln())) as u64;
            let (ours, theirs): (Vec<u64>, Vec<u64>) = (0..n).map(|_| (time(), time())).unzip();
            let failed = (0..n).filter(|_| rng.f64() < 0.01).count() as u64;
            Seen {
                primary_times: times(ours.into_iter()),
                mirror_times: times(theirs.into_iter()),
                ..errors(0, failed, n)
            }
        };
        let parts = [side(1_000), side(1_000), side(1_000), side(1_000)];
        let since = |at: usize| Seen::together(parts[at..].iter());
        let window = |at: usize| Window {
            since: SINCE.to_owned(),
            within: 20.0,
            number: at as u32,
            evidence: Evidence { seen: since(at), ..evidence("a", &[]) },
        };
        let of = Evidence { seen: since(0), windows: (1..4).map(window).collect(), ..evidence("a", &[]) };
        drifted += usize::from(!found(&of).is_empty());
    }
    assert!(drifted <= 2, "{drifted} of 50");
}
