//! Evidence of the last minutes, and the sentences of a verdict.

use super::*;

#[test]
fn what_was_well_for_an_hour_and_broke_is_rejected_by_its_last_minute_with_when_that_was() {
    let hour = || evidence("a", &[("200", "200", 2_000_000), ("200", "500", 60)]);
    assert_eq!(decide(hour()), Decision::Promote, "it is outweighed");
    let mut of = hour();
    let window =
        |number, since: &str, evidence| Window { since: since.to_owned(), within: 20.0, number, evidence };
    let minute = || evidence("a", &[("200", "200", 2_900), ("200", "500", 60)]);
    of.windows = vec![
        window(55, "2026-11-29T12:31:00Z", minute()),
        window(56, "2026-11-29T12:32:00Z", evidence("a", &[("200", "200", 20)])),
    ];
    let mut verdict = judge(&Policy::default(), &[of]);
    assert_eq!(failed(&verdict), ["error_rate_difference a"]);
    let mirror = verdict.mirrors.remove(0);
    assert_eq!(mirror.rules[0].since.as_deref(), Some("2026-11-29T12:31:00Z"));
    let said = said::sentences(&mirror, None);
    assert!(
        said[0].starts_with("v2 fails 2.0 % of the requests that v1 answers, on a: 2,960 samples"),
        "{said:?}"
    );
    assert!(
        said[0].contains("by chance once in ")
            && said[0].contains("since 12:31 ± 20 seconds; v1 200, v2 500: 60 times"),
        "{said:?}"
    );
}

#[test]
fn a_verdict_is_said_worst_cause_first_and_then_what_it_waits_for_and_how_long() {
    let errors = evidence("errors", &[("200", "200", 1900), ("200", "500", 100)]);
    let codes = evidence("codes", &[("200", "200", 1960), ("200", "404", 40)]);
    let few = evidence("few", &[("200", "200", 600)]);
    let verdict = judge(&Policy::default(), &[errors, codes, few]);
    let said = said::sentences(&verdict.mirrors[0], Some(60.0));
    assert!(said[0].starts_with("v2 fails 5.0 % of the requests that v1 answers, on errors"), "{said:#?}");
    assert!(
        said[1].starts_with("v2 answers 2.0 % of the requests with another status, on codes"),
        "{said:#?}"
    );
    assert!(said[2].starts_with("waits for more requests on codes, errors, few: "), "{said:#?}");
    assert!(
        said[2].ends_with("has 600 samples of the 3000 that it takes, about 4 minutes at this rate"),
        "{said:#?}"
    );
    let sound = judge(&Policy::default(), &[evidence("a", &[("200", "200", 4000)])]);
    assert_eq!(said::sentences(&sound.mirrors[0], None), ["all of 8 rules pass"]);
}

#[test]
fn a_critical_route_holds_the_verdict_however_rare_and_has_thresholds_of_its_own() {
    let all = |pay: Evidence| [evidence("shop", &[("200", "200", 90_000)]), pay];
    let policy = |text: &str| Policy::parse("policy", text).unwrap();
    let few = || evidence("pay", &[("200", "200", 40)]);
    assert_eq!(judge(&Policy::default(), &all(few())).verdict, Decision::Promote, "it is rare");
    let critical = "critical = [\"pay\"]\n";
    assert_eq!(judge(&policy(critical), &all(few())).verdict, Decision::Hold);
    let lenient = "[route.pay]\nsamples_min = 30\nmismatch_percent_max = 10\nerror_percent_max = 10\np99_ratio_max = 9\n";
    let of = judge(&policy(&format!("{critical}ignore_rules = [\"p99_ratio\"]\n{lenient}")), &all(few()));
    let rule = |name: &str| of.mirrors[0].rules.iter().find(|r| r.rule == name && r.route == "pay").unwrap();
    assert_eq!((rule("error_rate_difference").threshold, rule("error_rate_difference").needed), (0.1, 30));
    let unknown = judge(&policy("critical = [\"refund\"]\n"), &all(few()));
    assert_eq!(unknown.verdict, Decision::Hold);
    let said = said::sentences(&unknown.mirrors[0], None);
    assert!(said.iter().any(|said| said.contains("the critical route refund")), "{said:?}");
}
