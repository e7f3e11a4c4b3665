//! Baselines that get other requests than their candidate, or fewer.

use super::*;

/// A baseline that is asked half of the requests, of which `known` differ on each side alone; of the others `unasked` do.
fn parted(known: u64, unasked: u64, is_volatile: bool) -> Evidence {
    let n = 20_000;
    let mut of = differing(n, known + unasked, (known, n / 2));
    of.is_baseline_asked_alike = false;
    if let Some(compared) = &mut of.seen.compared {
        compared.unasked = Unasked { pairs: n / 2, differing: unasked };
    }
    of.differences[0].beside = n / 2;
    (of.differences[0].only_mirror, of.differences[0].only_baseline) = (known, known);
    of.differences[0].unasked = Lone { count: unasked, compared: n / 2, is_volatile };
    of
}

#[test]
fn what_a_baseline_shows_of_its_own_requests_is_noise_and_the_others_are_judged_as_without_one() {
    // Noise of the requests that both get, differences of the others, whether these look drawn → decision.
    let rows = [
        (0, 0, false, Decision::Promote),
        (4_000, 0, false, Decision::Promote),
        (0, 500, false, Decision::Reject),
        (4_000, 500, false, Decision::Reject),
        (0, 10_000, true, Decision::Hold),
        (0, 3, false, Decision::Promote),
    ];
    for (known, unasked, is_volatile, expect) in rows {
        let verdict = judge(&Policy::default(), &[parted(known, unasked, is_volatile)]);
        assert_eq!(
            verdict.verdict, expect,
            "{known} {unasked} {is_volatile}: {:#?}",
            verdict.mirrors[0].said
        );
    }
    let verdict = judge(&Policy::default(), &[parted(4_000, 500, false)]);
    let shown = &verdict.mirrors[0].rules[0];
    assert!(
        shown.rule == "mismatch_above_noise" && shown.evidence[0].starts_with("$.user.plan"),
        "{shown:?}"
    );
    let (result, why) = ruled(parted(0, 10_000, true), "mismatch_above_noise");
    assert!(result == Outcome::Hold && why.contains("drawn anew each time"), "{why}");
    // A difference does not hide in the noise of the others.
    let mut worse = parted(4_000, 0, false);
    worse.differences[0].only_mirror = 5_500;
    worse.differences[0].count = 5_500;
    assert_eq!(decide(worse), Decision::Reject);
}

#[test]
fn counters_decide_nothing_that_a_baseline_of_other_requests_alone_would_have_them_decide() {
    let failing = |is_asked_alike: bool, of_v2: u64, again: u64| {
        let n = 10_000;
        let mut of = evidence("a", &[("200", "200", n - of_v2), ("200", "500", of_v2)]);
        let again = cells(&[("200", "200", n - again), ("200", "500", again)]);
        of.baseline = Some(again);
        of.is_baseline_asked_alike = is_asked_alike;
        ruled(of, "error_rate_difference")
    };
    assert_eq!(failing(true, 500, 500).0, Outcome::Pass, "being a copy makes v1 fail as often");
    let (result, why) = failing(false, 500, 500);
    assert!(result == Outcome::Hold && why.contains("other requests than the mirror"), "{why}");
    assert_eq!(failing(false, 0, 0).0, Outcome::Pass);
    assert_eq!(failing(false, 500, 0).0, Outcome::Fail);
}

#[test]
fn all_routes_are_one_where_the_baseline_has_the_same_share_of_each() {
    let route = |name: &str, n: u64, again: u64| {
        let failed = n / 50;
        let mut of = evidence(name, &[("200", "200", n - failed), ("200", "500", failed)]);
        of.baseline = Some(cells(&[("200", "200", again)]));
        of
    };
    let rules_over_all = |all: &[Evidence]| {
        let verdict = judge(&Policy::default(), all);
        verdict.mirrors[0].rules.iter().any(|rule| rule.route == "(all routes)")
    };
    // Too few on each of them, and enough on all, of which a baseline sees a tenth.
    let share = |tenths: [u64; 3]| -> Vec<Evidence> {
        (0..3).map(|at| route(["a", "b", "c"][at], 2_000, 200 * tenths[at])).collect()
    };
    let errors = |mut all: Vec<Evidence>| {
        // Of each route it is not known yet.
        for of in &mut all {
            of.seen.matrix = vec![("200".into(), "200".into(), 290), ("200".into(), "500".into(), 6)];
        }
        rules_over_all(&all)
    };
    assert!(errors(share([10, 10, 10])) && errors(share([1, 1, 1])));
    assert!(!errors(vec![route("a", 2_000, 2_000), route("b", 2_000, 20)]), "another mix of routes");
    let mut unlike = share([10, 10, 10]);
    unlike.iter_mut().for_each(|of| of.is_baseline_asked_alike = false);
    assert!(!errors(unlike));
}
