//! Verdicts on simulated services: an equal mirror is not rejected, a worse one is, by the name of the rule that it breaks.

mod baselines;
mod drift;
mod lately;
mod losses;
mod simulation;

use config::{Contents, Percent};

use super::rules::EVIDENCE_MAX;
use super::*;
use crate::metrics::Slots;

fn times(values: impl Iterator<Item = u64>) -> Slots {
    let of = crate::metrics::Histogram::default();
    values.for_each(|value| of.record(value));
    Slots::of([&of])
}

fn cells(matrix: &[(&str, &str, u64)]) -> Seen {
    let matrix: Vec<_> = matrix.iter().map(|(p, m, n)| ((*p).to_owned(), (*m).to_owned(), *n)).collect();
    let n = matrix.iter().map(|(_, _, n)| n).sum();
    let some = || times((0..n).map(|i| 10_000 + i % 100));
    Seen {
        matrix,
        primary_times: some(),
        mirror_times: some(),
        sent: n,
        compared: compared(0, n),
        ..Seen::default()
    }
}

fn evidence(route: &str, matrix: &[(&str, &str, u64)]) -> Evidence {
    Evidence {
        route: route.to_owned(),
        mirror: "v2".to_owned(),
        copies: 1,
        are_chosen_by_response: false,
        is_baseline_chosen_alike: true,
        is_baseline_asked_alike: true,
        is_baseline_sent_alike: true,
        seen: cells(matrix),
        baseline: None,
        differences: Vec::new(),
        workers: 1,
        bursts: [None; 2],
        windows: Vec::new(),
    }
}

fn compared(differing: u64, answers: u64) -> Option<Compared> {
    Some(Compared { answers, contents: answers, differing, ..Compared::default() })
}

/// A route where the same field differs so often, and of a baseline where it has any.
fn differing(n: u64, count: u64, baseline: (u64, u64)) -> Evidence {
    let mut of = evidence("fields", &[("200", "200", n)]);
    of.seen.compared = compared(count, n);
    if baseline.1 > 0 {
        let seen = cells(&[("200", "200", baseline.1)]);
        of.baseline = Some(Seen { compared: compared(baseline.0, baseline.1), ..seen });
    }
    of.differences = vec![Difference {
        field: "$.user.plan".to_owned(),
        kind: "changed",
        count,
        compared: n,
        baseline_count: baseline.0,
        baseline_compared: baseline.1,
        is_volatile: false,
        rank: 0,
        first: 0,
        beside: 0,
        only_mirror: 0,
        only_baseline: 0,
        unasked: Lone::default(),
        example: (Some("\"pro\"".to_owned()), Some("\"free\"".to_owned())),
        samples: vec!["id-1".to_owned()],
    }];
    of
}

fn decide(evidence: Evidence) -> Decision {
    judge(&Policy::default(), &[evidence]).verdict
}

/// The result of one rule, and why.
fn ruled(evidence: Evidence, rule: &str) -> (Outcome, String) {
    let verdict = judge(&Policy::default(), &[evidence]);
    let mut found = verdict.mirrors[0].rules.iter().filter(|ruling| ruling.rule == rule);
    let of = found.next().unwrap_or_else(|| panic!("{rule}: {verdict:#?}"));
    (of.result, of.why.clone().unwrap_or_default())
}

fn failed(verdict: &Verdict) -> Vec<String> {
    let rules = verdict.mirrors.iter().flat_map(|mirror| &mirror.rules);
    rules.filter(|r| r.result == Outcome::Fail).map(|r| format!("{} {}", r.rule, r.route)).collect()
}

#[test]
fn a_sound_mirror_is_promoted_and_nothing_seen_is_held() {
    let policy = Policy::default();
    assert_eq!(judge(&policy, &[]).verdict, Decision::Hold);
    assert_eq!(decide(evidence("a", &[])), Decision::Hold);
    assert_eq!(decide(evidence("a", &[("200", "200", 100)])), Decision::Hold);
    let mut few = evidence("a", &[("200", "200", 3)]);
    few.seen.mirror_times = times([90_000, 91_000, 92_000].into_iter());
    assert_eq!(decide(few), Decision::Hold, "three requests tell no percentile");
    let verdict = judge(&policy, &[evidence("a", &[("200", "200", 4000), ("500", "500", 80)])]);
    assert_eq!(verdict.verdict, Decision::Promote, "{verdict:#?}");
}

#[test]
fn each_thing_that_is_worse_is_named_with_what_shows_it() {
    let policy = Policy::default();
    let fields = differing(2000, 400, (0, 2000));
    let errors = evidence("errors", &[("200", "200", 1960), ("200", "500", 30), ("200", "timeout", 10)]);
    let mut slow = evidence("slow", &[("200", "200", 4000)]);
    slow.seen.mirror_times = times((0..4000).map(|i| 30_000 + i % 100));
    let codes = evidence("codes", &[("200", "200", 1900), ("200", "404", 100), ("404", "404", 50)]);
    let mut away = evidence("away", &[("200", "200", 100)]);
    away.seen.unreachable = 400;
    let sound = evidence("sound", &[("200", "200", 2000)]);
    let verdict = judge(&policy, &[fields, errors, slow, codes, away, sound]);
    assert_eq!(verdict.verdict, Decision::Reject);
    let named = [
        "error_rate_difference errors",
        "mismatch_above_noise fields",
        "p50_ratio slow",
        "p99_ratio slow",
        "status_mismatch codes",
        "unreachable away",
    ];
    let mut found = failed(&verdict);
    found.sort();
    assert_eq!(found, named);
    let shown: Vec<&String> = verdict.mirrors[0].rules.iter().flat_map(|rule| &rule.evidence).collect();
    for text in [
        "$.user.plan changed: \"pro\" → \"free\", 400 of 2000 (id-1)",
        "v1 200, v2 500: 30 times",
        "v1 200, v2 timeout: 10 times",
        "v1 200, v2 404: 100 times",
        "400 of 500 copies found no connection",
    ] {
        assert!(shown.contains(&&text.to_owned()), "{text}: {shown:?}");
    }
    assert!(shown.iter().any(|text| text.starts_with("v1 10.") && text.contains("v2 30.")), "{shown:?}");
}

#[test]
fn noise_and_what_the_policy_leaves_out_are_not_held_against_a_mirror() {
    let noisy = |count| decide(differing(4000, count, (800, 4000)));
    assert_eq!(noisy(840), Decision::Promote, "a little more than the noise");
    assert_eq!(noisy(980), Decision::Hold, "more, by chance or not");
    assert_eq!(noisy(1600), Decision::Reject, "twice the noise");
    assert_eq!(decide(differing(4000, 4000, (4000, 4000))), Decision::Promote);
    let lenient = Policy { ignore_fields: vec!["$.user.plan".into()], ..Policy::default() };
    assert_eq!(judge(&lenient, &[differing(4000, 800, (0, 4000))]).verdict, Decision::Promote);
    let bad = || evidence("bad", &[("200", "500", 1000)]);
    let good = evidence("good", &[("200", "200", 4000)]);
    let lenient = Policy { ignore_routes: vec!["bad".into()], ..Policy::default() };
    assert_eq!(judge(&lenient, &[bad(), good]).verdict, Decision::Promote);
    assert_eq!(decide(bad()), Decision::Reject);
}

#[test]
fn a_baseline_that_saw_too_little_leaves_what_differs_undecided_and_says_so() {
    let of = |baseline: Seen, n: u64| {
        let mut of = differing(4000, 4000, (0, n));
        of.baseline = Some(Seen { compared: compared(0, n), ..baseline });
        of
    };
    let (result, why) = ruled(of(Seen::default(), 0), "mismatch_above_noise");
    assert_eq!(result, Outcome::Hold);
    assert!(why.starts_with("the baseline has 0 such answers, too few"), "{why}");
    assert_eq!(decide(of(cells(&[("200", "200", 299)]), 299)), Decision::Hold);
    assert_eq!(decide(of(cells(&[("200", "200", 300)]), 300)), Decision::Reject);
    let mut codes = evidence("a", &[("200", "404", 4000)]);
    codes.baseline = Some(Seen::default());
    let (result, why) = ruled(codes, "status_mismatch");
    assert!(result == Outcome::Hold && why.starts_with("the baseline has 0 such answers"), "{why}");
    let mut broken = evidence("a", &[("200", "500", 4000)]);
    broken.baseline = Some(Seen::default());
    assert_eq!(decide(broken), Decision::Reject, "v1's own answers to the same requests are enough");
}

#[test]
fn what_copies_do_to_v1_itself_is_not_held_against_v2() {
    // A second DELETE finds nothing, a second PUT conflicts, and a copy takes longer.
    let cells_of = || cells(&[("200", "200", 12_000), ("204", "404", 3200), ("200", "503", 800)]);
    let slow = |by: u64| times((0..4000).map(|i| 20_000 + by + i % 100));
    let mut of = evidence("a", &[]);
    (of.seen, of.baseline) = (cells_of(), Some(cells_of()));
    of.seen.mirror_times = slow(100);
    if let Some(baseline) = &mut of.baseline {
        baseline.mirror_times = slow(0);
    }
    let with = |baseline| Evidence {
        seen: Seen { mirror_times: slow(0), ..cells_of() },
        baseline,
        ..evidence("a", &[])
    };
    let verdict = judge(&Policy::default(), &[of]);
    assert_eq!(verdict.verdict, Decision::Promote, "{verdict:#?}");
    assert_eq!(failed(&judge(&Policy::default(), &[with(None)])).len(), 4, "without a baseline it would be");
}

#[test]
fn answers_that_differ_each_in_a_place_of_its_own_are_no_less_wrong() {
    let mut of = differing(4000, 1, (0, 4000));
    of.seen.compared = compared(4000, 4000);
    let verdict = judge(&Policy::default(), &[of]);
    assert_eq!(failed(&verdict), ["mismatch_above_noise fields"]);
    assert!(verdict.mirrors[0].rules[0].evidence[0].starts_with("anything at all: 4000 of 4000"));
}

#[test]
fn a_field_that_surely_differs_is_not_hidden_behind_a_noisier_one() {
    let mut of = differing(2000, 490, (400, 2000));
    let sure = differing(2000, 40, (0, 2000)).differences.remove(0);
    of.differences.push(Difference { field: "$.sure".to_owned(), ..sure });
    let verdict = judge(&Policy::default(), &[of]);
    let first = &verdict.mirrors[0].rules[0];
    assert_eq!((first.rule, first.result), ("mismatch_above_noise", Outcome::Fail));
    assert!(first.evidence[0].starts_with("$.sure"), "{first:?}");
}

#[test]
fn without_a_baseline_what_is_drawn_anew_each_time_is_held_with_the_line_that_ignores_it() {
    let mut of = differing(4000, 4000, (0, 0));
    of.differences[0].is_volatile = true;
    let (result, why) = ruled(of, "mismatch_above_noise");
    assert!(result == Outcome::Hold && why.contains("`role = \"baseline\"`"), "{why}");
    let mut of = differing(4000, 4000, (0, 0));
    of.differences[0].is_volatile = true;
    let verdict = judge(&Policy::default(), &[of]);
    let shown = &verdict.mirrors[0].rules[0].evidence;
    assert!(shown[0].ends_with("volatile: compare = { ignore_json = [\"/user/plan\"] }"), "{shown:?}");
    // Another difference beside it is found.
    let mut of = differing(4000, 4000, (0, 0));
    of.differences[0].is_volatile = true;
    of.differences.push(Difference {
        field: "$.total".to_owned(),
        count: 400,
        is_volatile: false,
        ..of.differences[0].clone()
    });
    assert_eq!(failed(&judge(&Policy::default(), &[of])), ["mismatch_above_noise fields"]);
    // A baseline knows better than a look.
    let mut of = differing(4000, 4000, (0, 4000));
    of.differences[0].is_volatile = true;
    assert_eq!(decide(of), Decision::Reject);
}

#[test]
fn what_was_not_compared_is_not_the_same() {
    let with = |compared| {
        let mut of = evidence("a", &[("200", "200", 4000)]);
        of.seen.compared = compared;
        of
    };
    assert_eq!(decide(with(compared(0, 4000))), Decision::Promote);
    let rules: Vec<&str> =
        judge(&Policy::default(), &[with(None)]).mirrors[0].rules.iter().map(|r| r.rule).collect();
    assert!(!rules.contains(&"mismatch_above_noise"), "nobody compares: {rules:?}");
    let (result, why) = ruled(with(None), "contents_not_compared");
    assert!(
        result == Outcome::Hold && why.contains("write `compare = {}` beside `upstream` of mirror \"v2\""),
        "{why}"
    );
    let optional = Policy { contents: Contents::Optional, ..Policy::default() };
    assert_eq!(judge(&optional, &[with(None)]).verdict, Decision::Promote);
    let partly = Compared { answers: 4000, contents: 4000, partly: 100, ..Compared::default() };
    assert_eq!(decide(with(Some(partly))), Decision::Hold, "nor is what was looked at in part");
    assert_eq!(decide(with(compared(0, 0))), Decision::Hold, "forgotten, or not begun");
    let long = Compared {
        answers: 4000,
        contents: 3900,
        reasons: vec![("too_long".to_owned(), 100)],
        ..Compared::default()
    };
    let verdict = judge(&Policy::default(), &[with(Some(long))]);
    assert_eq!(verdict.verdict, Decision::Hold);
    let first = &verdict.mirrors[0].rules[0];
    assert_eq!(
        (first.rule, first.evidence.as_slice()),
        ("contents_not_compared", ["too_long: 100".to_owned()].as_slice())
    );
    let cramped = Compared { answers: 4000, contents: 4000, no_room: 200, ..Compared::default() };
    assert_eq!(decide(with(Some(cramped))), Decision::Hold, "those that found no room are the long ones");
}

#[test]
fn lost_copies_hold_and_small_routes_hold_nobody_up_but_can_reject() {
    let mut lossy = evidence("a", &[("200", "200", 4000)]);
    lossy.seen.lost = 500;
    assert_eq!(decide(lossy), Decision::Hold);
    let big = || evidence("big", &[("200", "200", 10_000)]);
    let small = || evidence("small", &[("200", "200", 50)]);
    assert_eq!(judge(&Policy::default(), &[big(), small()]).verdict, Decision::Promote);
    let broken = |n| judge(&Policy::default(), &[big(), evidence("small", &[("200", "500", n)])]).verdict;
    assert_eq!(
        (broken(20), broken(300)),
        (Decision::Hold, Decision::Reject),
        "and what looks bad is not passed over"
    );
    let mut unseen = evidence("unseen", &[]);
    unseen.seen.lost = 10_000;
    assert_eq!(judge(&Policy::default(), &[big(), unseen]).verdict, Decision::Hold, "half of what was asked");
    let many = |n| (0..n).map(|_| small()).collect::<Vec<_>>();
    assert_eq!(judge(&Policy::default(), &many(25)).verdict, Decision::Hold, "nothing but small routes");
    let mut all = many(20);
    all.push(big());
    assert_eq!(judge(&Policy::default(), &all).verdict, Decision::Hold, "together they are not small");
}

#[test]
fn a_mirror_that_takes_nothing_is_rejected_once_it_was_asked_enough() {
    let dead = |unreachable| {
        let mut of = evidence("a", &[]);
        of.seen.unreachable = unreachable;
        of
    };
    let (result, why) = ruled(dead(100), "unreachable");
    assert!(result == Outcome::Hold && why == "so far, of 100 samples: to reject takes 300", "{why}");
    assert_eq!(decide(dead(100)), Decision::Hold);
    assert_eq!(decide(dead(300)), Decision::Reject);
}

#[test]
fn a_mirror_that_was_away_for_a_moment_is_held_and_one_that_often_is_rejected() {
    let away = |unreachable| {
        let mut of = evidence("a", &[("200", "200", 60_000)]);
        of.seen.unreachable = unreachable;
        of
    };
    let (result, why) = ruled(away(2_000), "unreachable");
    assert!(result == Outcome::Hold && why.contains("one restart"), "{why}");
    assert_eq!(decide(away(2_000)), Decision::Hold);
    assert_eq!((decide(away(6_000)), decide(away(50))), (Decision::Reject, Decision::Promote));
}

#[test]
fn few_answers_reject_nobody_and_one_among_hundreds_is_chance() {
    let one_in = |n: u64| evidence("a", &[("200", "200", n - 1), ("200", "404", 1)]);
    for n in [1, 2, 10, 131, 300, 400, 1000] {
        assert_eq!(decide(one_in(n)), Decision::Hold, "1 of {n}");
    }
    let cold = evidence("a", &[("200", "500", 12), ("200", "200", 12)]);
    let (result, why) = ruled(cold, "error_rate_difference");
    assert!(result == Outcome::Hold && why == "so far, of 24 samples: to reject takes 30", "{why}");
    // Beyond doubt long before the policy's 300.
    let broken = evidence("a", &[("200", "500", 15), ("200", "200", 15)]);
    assert_eq!(ruled(broken, "error_rate_difference").0, Outcome::Fail);
    // Asked again and again by a controller: a mirror that errs half as often as it may.
    let mut rng = fastrand::Rng::with_seed(5);
    let mut rejected = 0;
    for _ in 0..100 {
        let mut wrong = 0;
        let is_rejected = (1..=60).any(|poll| {
            wrong += (0..300).filter(|_| rng.f64() < 0.000_5).count() as u64;
            let n = poll * 300;
            decide(evidence("a", &[("200", "200", n - wrong), ("200", "404", wrong)])) == Decision::Reject
        });
        rejected += u32::from(is_rejected);
    }
    assert!(rejected <= 1, "{rejected} of 100");
}

#[test]
fn what_passes_is_hardly_ever_above_twice_its_threshold() {
    // Both fail one request in a hundred by themselves, v2 three in a thousand more; asked until it is decided.
    let mut rng = fastrand::Rng::with_seed(6);
    let mut promoted = 0;
    for _ in 0..60 {
        let mut cells = [0_u64; 4];
        let decision = (0..60).find_map(|_| {
            for _ in 0..300 {
                let fails = [rng.f64() < 0.01, rng.f64() < 0.013];
                cells[usize::from(fails[0]) * 2 + usize::from(fails[1])] += 1;
            }
            let [both, only_v2, only_v1, neither] = cells;
            let matrix = [
                ("200", "200", both),
                ("200", "500", only_v2),
                ("500", "200", only_v1),
                ("500", "500", neither),
            ];
            Some(decide(evidence("a", &matrix))).filter(|decision| *decision != Decision::Hold)
        });
        promoted += u32::from(decision == Some(Decision::Promote));
    }
    assert!(promoted <= 3, "{promoted} of 60");
    let (result, why) = ruled(
        evidence("a", &[("200", "200", 2970), ("200", "500", 30), ("500", "200", 30)]),
        "error_rate_difference",
    );
    assert!(result == Outcome::Hold && why.starts_with("it may yet be "), "{why}");
}

#[test]
fn a_baseline_that_saw_little_excuses_nothing() {
    let with = |mirror: &str, baseline: &[(&str, &str, u64)]| {
        let mut of = evidence("a", &[("204", mirror, 4000)]);
        of.baseline = Some(cells(baseline));
        decide(of)
    };
    assert_eq!(with("404", &[("204", "404", 1)]), Decision::Hold);
    assert_eq!(with("204", &[("204", "404", 1)]), Decision::Promote, "nothing is to be excused");
    assert_eq!(with("404", &[("204", "404", 4000)]), Decision::Promote);
}

#[test]
fn what_the_policy_ignores_hides_no_other_difference() {
    let with = |fields: &[(&str, u64)], all| {
        let mut of = evidence("a", &[("200", "200", 4000)]);
        of.seen.compared = compared(all, 4000);
        let one = differing(4000, 0, (0, 0)).differences.remove(0);
        let of_field = |(field, count): &(&str, u64)| Difference {
            field: (*field).to_owned(),
            count: *count,
            ..one.clone()
        };
        of.differences = fields.iter().map(of_field).collect();
        let ignore_fields = fields.iter().map(|(field, _)| (*field).to_owned()).collect();
        judge(&Policy { ignore_fields, ..Policy::default() }, &[of]).verdict
    };
    assert_eq!(with(&[("etag", 2400), ("last-modified", 2400)], 2400), Decision::Promote, "the same answers");
    assert_eq!(with(&[("etag", 2400)], 3000), Decision::Reject, "600 differ in something else");
    assert_eq!(with(&[("etag", 2400), ("x-version", 2400)], 3000), Decision::Promote, "one or the other");
    assert_eq!(with(&[("etag", 400), ("x-version", 400)], 3000), Decision::Reject);
    // One field always differs and is ignored, and five answers in a hundred differ each in a place of its own.
    let mut of = evidence("a", &[("200", "200", 4000)]);
    of.seen.compared = compared(4000, 4000);
    let one = differing(4000, 1, (0, 0)).differences.remove(0);
    of.differences = (0..200).map(|n| Difference { field: format!("$.f{n}"), ..one.clone() }).collect();
    of.differences.push(Difference { field: "etag".to_owned(), count: 4000, ..one });
    let verdict = judge(&Policy { ignore_fields: vec!["etag".into()], ..Policy::default() }, &[of]);
    let first = &verdict.mirrors[0].rules[0];
    assert_eq!((verdict.verdict, first.rule), (Decision::Hold, "mismatch_above_noise"));
    assert!(first.why.as_ref().is_some_and(|why| why.contains("what the policy ignores")), "{first:?}");
    // The ignored field varies by itself, the other is noise through and through.
    let mut of = differing(4000, 4000, (4000, 4000));
    of.differences.push(Difference {
        field: "x-cache".to_owned(),
        count: 2000,
        baseline_count: 3000,
        ..of.differences[0].clone()
    });
    let policy = Policy { ignore_fields: vec!["x-cache".into()], ..Policy::default() };
    assert_eq!(judge(&policy, &[of]).verdict, Decision::Promote);
}

#[test]
fn rules_have_the_names_by_which_a_policy_ignores_them() {
    let mut of = evidence("a", &[("200", "200", 300)]);
    of.seen.compared = compared(0, 300);
    of.seen.end_unread = 1;
    let names = |ignore_rules: Vec<String>| -> Vec<&str> {
        let verdict = judge(&Policy { ignore_rules, ..Policy::default() }, std::slice::from_ref(&of));
        verdict.mirrors[0].rules.iter().map(|rule| rule.rule).collect()
    };
    let mut all = names(Vec::new());
    all.sort_unstable();
    let mut known = config::RULES;
    known.sort_unstable();
    assert_eq!(all, known);
    assert!(!names(vec!["p99_ratio".into()]).contains(&"p99_ratio"));
    assert_eq!(names(known.map(str::to_owned).to_vec()), Vec::<&str>::new());
}

#[test]
fn pairs_that_may_be_of_two_requests_hold_and_say_so() {
    let mut of = evidence("a", &[("200", "200", 1800), ("200", "404", 200)]);
    of.seen.suspect = 64;
    let (result, why) = ruled(of, "status_mismatch");
    assert_eq!(result, Outcome::Hold);
    assert!(why.contains("64 of 2000 pairs may be of two requests"), "{why}");
    let mut of = evidence("a", &[("200", "200", 18_000), ("200", "404", 2_000)]);
    of.seen.suspect = 1;
    assert_eq!(ruled(of, "status_mismatch").0, Outcome::Fail, "one of so many cannot matter");
}

#[test]
fn an_error_by_any_number_is_an_error() {
    let of = |mirror| {
        ruled(evidence("a", &[("200", "200", 3800), ("200", mirror, 200)]), "error_rate_difference").0
    };
    assert_eq!((of("other_5xx"), of("timeout"), of("other")), (Outcome::Fail, Outcome::Fail, Outcome::Pass));
    assert_eq!((of("grpc_internal"), of("grpc_not_found")), (Outcome::Fail, Outcome::Pass));
}

#[test]
fn copies_chosen_by_v1s_answer_are_judged_beside_a_baseline_alone() {
    // Both fail one in a hundred, and only requests that v1 answered well were copied.
    let seen = || cells(&[("200", "200", 3960), ("200", "500", 40)]);
    let with =
        |baseline| Evidence { are_chosen_by_response: true, seen: seen(), baseline, ..evidence("a", &[]) };
    let (result, why) = ruled(with(None), "error_rate_difference");
    assert!(result == Outcome::Hold && why.contains("takes a baseline"), "{why}");
    assert_eq!(ruled(with(None), "p50_ratio").0, Outcome::Hold, "nor are times");
    assert_eq!(ruled(with(Some(seen())), "p50_ratio").0, Outcome::Pass);
    assert_ne!(ruled(with(Some(seen())), "error_rate_difference").0, Outcome::Fail);
    // A baseline that saw little, or is chosen otherwise, tells nothing.
    let few = cells(&[("200", "200", 250), ("200", "500", 3)]);
    assert_eq!(ruled(with(Some(few)), "error_rate_difference").0, Outcome::Hold);
    let every = || cells(&[("200", "200", 3920), ("200", "500", 40), ("500", "200", 40)]);
    let unlike = Evidence { is_baseline_chosen_alike: false, ..with(Some(every())) };
    assert_eq!(ruled(unlike, "error_rate_difference").0, Outcome::Hold);
}

#[test]
fn a_small_route_of_noise_or_losses_holds_nobody_up() {
    let big = || {
        let mut of = evidence("big", &[("200", "200", 10_000)]);
        of.seen.compared = compared(0, 10_000);
        of
    };
    // A field that always differs, of which the baseline has seen little.
    let noisy = differing(20, 20, (20, 20));
    assert_eq!(judge(&Policy::default(), &[big(), noisy]).verdict, Decision::Promote);
    let mut long = evidence("small", &[("200", "200", 20)]);
    long.seen.compared = Some(Compared { answers: 20, ..Compared::default() });
    assert_eq!(judge(&Policy::default(), &[big(), long]).verdict, Decision::Promote);
    let mut lost = evidence("small", &[("200", "200", 20)]);
    lost.seen.lost = 20;
    assert_eq!(judge(&Policy::default(), &[big(), lost]).verdict, Decision::Promote);
}

#[test]
fn what_nobody_asked_to_compare_is_not_missed_and_fields_reject_without_contents() {
    let with = |compared: Compared, count| {
        let mut of = differing(4000, count, (0, 0));
        of.seen.compared = Some(compared);
        of
    };
    let pictures = || Compared { answers: 4000, contents: 100, left_out: 3900, ..Compared::default() };
    assert_eq!(decide(with(pictures(), 0)), Decision::Promote);
    let coded = Compared { answers: 4000, differing: 4000, ..Compared::default() };
    let (result, _) = ruled(with(coded, 4000), "mismatch_above_noise");
    assert_eq!(result, Outcome::Fail, "a field of every answer");
}

#[test]
fn a_baseline_of_few_times_excuses_no_slow_one_and_condemns_none() {
    let mut of = evidence("a", &[("200", "200", 4000)]);
    of.seen.mirror_times = times((0..4000).map(|i| if i % 50 == 0 { 200_000 } else { 10_000 }));
    of.baseline = Some(cells(&[("200", "200", 400)]));
    if let Some(baseline) = &mut of.baseline {
        baseline.mirror_times = times((0..400).map(|i| if i % 50 == 0 { 500_000 } else { 10_000 }));
    }
    let (result, why) = ruled(of, "p99_ratio");
    assert!(result == Outcome::Hold && why.contains("baseline has too few times"), "{why}");
}

#[test]
fn clients_that_hang_up_speak_neither_for_nor_against_a_mirror() {
    let of =
        |gone: u64| evidence("a", &[("200", "200", 4000), ("200", "500", 400), ("abandoned", "200", gone)]);
    assert_eq!(decide(of(0)), Decision::Reject);
    assert_eq!(decide(of(10_000)), Decision::Reject);
    let of = |gone: u64| {
        evidence("a", &[("200", "200", 4000), ("abandoned", "500", gone), ("200", "drain", gone)])
    };
    assert_eq!(decide(of(400)), Decision::Promote);
}

#[test]
fn what_passes_was_seen_often_enough_to_show_a_share_of_the_threshold() {
    let verdict = |n, policy: &Policy| judge(policy, &[evidence("a", &[("200", "200", n)])]).verdict;
    assert_eq!(verdict(2999, &Policy::default()), Decision::Hold);
    assert_eq!(verdict(3000, &Policy::default()), Decision::Promote);
    let percent = Percent { per_million: 10_000 };
    let lenient = Policy { mismatch_max: percent, errors_max: percent, ..Policy::default() };
    let p99 = (verdict(999, &lenient), verdict(1000, &lenient));
    assert_eq!(p99, (Decision::Hold, Decision::Promote), "a percentile of a hundred is its last");
    let none = Percent { per_million: 0 };
    let strict = Policy { mismatch_max: none, errors_max: none, ..Policy::default() };
    assert_eq!((verdict(29_999, &strict), verdict(30_000, &strict)), (Decision::Hold, Decision::Promote));
    let (_, why) = ruled(evidence("a", &[("200", "200", 400)]), "error_rate_difference");
    assert_eq!(why, "400 samples of the 3000 that it takes");
    let twice = |n| {
        let mut of = evidence("a", &[("200", "200", n)]);
        of.copies = 2;
        decide(of)
    };
    assert_eq!(
        (twice(5999), twice(6000)),
        (Decision::Hold, Decision::Promote),
        "copies of one request are one"
    );
}

#[test]
fn evidence_is_as_much_as_anybody_reads() {
    let mut of = differing(2000, 400, (0, 2000));
    let one = of.differences.remove(0);
    of.differences = (0..50).map(|n| Difference { field: format!("$.f{n}"), ..one.clone() }).collect();
    let verdict = judge(&Policy::default(), &[of]);
    let shown = &verdict.mirrors[0].rules[0].evidence;
    assert_eq!((shown.len(), shown.last().map(String::as_str)), (EVIDENCE_MAX + 1, Some("and 41 more")));
}

#[test]
fn a_fraction_of_a_millisecond_is_no_reason_to_reject() {
    let quick = |by: u64| {
        let mut of = evidence("a", &[("200", "200", 4000)]);
        of.seen.primary_times = times((0..4000).map(|i| 100 + i % 10));
        of.seen.mirror_times = times((0..4000).map(|i| 100 + by + i % 10));
        of
    };
    assert_eq!(decide(quick(400)), Decision::Promote);
    assert_eq!(
        ruled(quick(400), "p50_ratio"),
        (Outcome::Pass, "longer by no more than the slack of 1ms".to_owned())
    );
    assert_eq!(decide(quick(2000)), Decision::Reject);
}

/// Times of a service on a machine that stalls: one request in 500 meets a stall, and so do up to seven others that
/// are under way with it.
fn stalled(rng: &mut fastrand::Rng, n: usize) -> Slots {
    let mut all: Vec<u64> = (0..n).map(|_| 2_000 + rng.u64(..1_000)).collect();
    let stalls = (0..n).filter(|_| rng.f64() < 0.002).count();
    for _ in 0..stalls {
        let at = rng.usize(..n);
        let together = rng.usize(1..=8);
        all.iter_mut().skip(at).take(together).for_each(|time| *time += rng.u64(20_000..60_000));
    }
    times(all.into_iter())
}

#[test]
fn a_machine_that_stalls_is_no_reason_to_reject() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut rejected = 0;
    for _ in 0..100 {
        let mut of = evidence("a", &[("200", "200", 6000)]);
        of.seen.primary_times = stalled(&mut rng, 6000);
        of.seen.mirror_times = stalled(&mut rng, 6000);
        rejected += usize::from(decide(of) == Decision::Reject);
    }
    assert!(rejected <= 1, "{rejected} of 100");
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
        (of.seen.primary_times, of.seen.mirror_times) = (times(ours.into_iter()), times(theirs.into_iter()));
        all.push(of);
    }
    all
}

#[test]
fn chance_alone_rejects_hardly_ever_and_real_changes_nearly_always() {
    let mut rng = fastrand::Rng::with_seed(7);
    let policy = Policy::default();
    let mut rejected = |errors, slower| {
        let runs = 40;
        let one = |rng: &mut fastrand::Rng| judge(&policy, &drawn(rng, errors, slower)).verdict;
        (0..runs).filter(|_| one(&mut rng) == Decision::Reject).count()
    };
    assert!(rejected(0.0, 1.0) <= 2);
    assert!(rejected(0.08, 1.0) >= 38);
    assert!(rejected(0.0, 2.5) >= 38);
}
