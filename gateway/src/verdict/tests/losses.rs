//! Copies that the gateway gave up.

use super::*;

#[test]
fn copies_that_a_mirror_is_too_slow_for_speak_against_it_where_the_baseline_lost_none_and_by_the_same_settings_alone()
 {
    let of = |lost: u64, again: Option<u64>, is_alike: bool| {
        let mut of = evidence("a", &[("200", "200", 4_000)]);
        of.seen.lost = lost;
        of.is_baseline_sent_alike = is_alike;
        of.baseline = again.map(|lost| Seen { lost, ..cells(&[("200", "200", 4_000)]) });
        judge(&Policy::default(), &[of])
    };
    // lost, lost by the baseline, same settings → decision
    let rows = [
        (0, Some(0), true, Decision::Promote),
        (2_000, Some(0), true, Decision::Reject),
        (2_000, Some(40), true, Decision::Reject),
        (2_000, Some(0), false, Decision::Hold),
        (2_000, None, true, Decision::Hold),
        // The gateway itself was too busy.
        (2_000, Some(2_000), true, Decision::Hold),
        (2_000, Some(1_200), true, Decision::Hold),
        // A single burst of drops.
        (220, Some(0), true, Decision::Hold),
    ];
    for (lost, again, is_alike, expect) in rows {
        let verdict = of(lost, again, is_alike);
        assert_eq!(verdict.verdict, expect, "{lost} {again:?} {is_alike}");
    }
    let verdict = of(2_000, Some(0), true);
    assert_eq!(failed(&verdict), ["copies_lost a"]);
    let said = said::sentences(&verdict.mirrors[0], None);
    assert!(
        said[0].starts_with(
            "v2 is too slow for 33 % of its copies, which v1 once more is not, on a: 6,000 samples"
        ),
        "{said:#?}"
    );
    assert!(
        said[0].contains("2000 of 6000 copies were dropped, of those to v1 once more 0 of 4000"),
        "{said:#?}"
    );
}

#[test]
fn a_mirror_whose_calls_mostly_ended_unread_is_held_by_a_sentence_that_says_what_to_do() {
    let of = |less_time: u64, end_unread: u64| {
        let mut of = evidence("a", &[("200", "200", 4_000)]);
        (of.seen.less_time, of.seen.end_unread) = (less_time, end_unread);
        of
    };
    let decided = |of: Evidence| judge(&Policy::default(), &[of]).verdict;
    // Pairs whose time was up, unread pairs → decision: 1 % may be left out.
    let rows = [
        (0, 0, Decision::Promote),
        (20, 20, Decision::Promote),
        (0, 90, Decision::Hold),
        (90, 0, Decision::Hold),
        (0, 36_000, Decision::Hold),
    ];
    for (less_time, end_unread, expect) in rows {
        assert_eq!(decided(of(less_time, end_unread)), expect, "{less_time} {end_unread}");
    }
    let patient = Policy { lost_max: Percent { per_million: 950_000 }, ..Policy::default() };
    assert_eq!(judge(&patient, &[of(0, 36_000)]).verdict, Decision::Promote);

    let verdict = judge(&Policy::default(), &[of(7, 36_000)]);
    let rule = verdict.mirrors[0].rules.iter().find(|rule| rule.rule == "pairs_left_out").unwrap();
    assert_eq!((rule.result, rule.samples), (Outcome::Hold, 40_007));
    let shown = [
        "7 of 40007 pairs: their time was up, which waiting had lowered",
        "36000 of 40007 pairs: they were not read to their end",
    ];
    assert_eq!(rule.evidence, shown);
    let said = said::sentences(&verdict.mirrors[0], None);
    assert_eq!(
        said,
        [
            "held by pairs_left_out on a: what these calls came to on v2 is not known: raise connections_max or lower percent, \
             and raise response_bytes_max of its mirror, then gateway verdict --begin"
        ]
    );
    // The pairs that were read reject all the same.
    let mut worse = of(0, 36_000);
    worse.seen.matrix = vec![("200".to_owned(), "500".to_owned(), 4_000)];
    assert_eq!(decided(worse), Decision::Reject);
    // A rare route holds no mirror up; a route that matters does, though it has no pair left.
    let big = || evidence("big", &[("200", "200", 100_000)]);
    let rare = || Evidence { route: "rare".to_owned(), ..of(0, 400) };
    let mut unread = evidence("unread", &[]);
    (unread.seen.sent, unread.seen.end_unread) = (20_000, 20_000);
    assert_eq!(judge(&Policy::default(), &[big(), rare()]).verdict, Decision::Promote);
    let verdict = judge(&Policy::default(), &[big(), unread]);
    assert_eq!(verdict.verdict, Decision::Hold);
    let said = said::sentences(&verdict.mirrors[0], None);
    assert!(said.iter().any(|said| said.starts_with("held by pairs_left_out on unread:")), "{said:#?}");
}
