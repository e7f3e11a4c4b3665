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
    // lost, of the baseline, settings → what it comes to
    let rows = [
        (0, Some(0), true, Decision::Promote),
        (2_000, Some(0), true, Decision::Reject),
        (2_000, Some(40), true, Decision::Reject),
        (2_000, Some(0), false, Decision::Hold),
        (2_000, None, true, Decision::Hold),
        // The gateway itself was too busy.
        (2_000, Some(2_000), true, Decision::Hold),
        (2_000, Some(1_200), true, Decision::Hold),
        // One heap.
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
