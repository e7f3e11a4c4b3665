//! Policies of routes, upstreams and mirrors, and the problems of those that make no sense.

use super::*;

#[test]
fn keys_that_exclude_or_need_each_other_say_so() {
    let route = |keys: &str| routing(keys);
    let rows: &[(String, &[Said<'_>])] = &[
        (
            route("matches = [{ path = \"/a\" }]\npath = \"/b\""),
            &[(6, "route[0].path", "itself or in its matches")],
        ),
        (route("host = \"a\"\nhosts = [\"b\"]"), &[(6, "route[0].hosts", "host or hosts, not both")]),
        (route("path_regex = \"(\""), &[(5, "route[0].path_regex", "not a regular expression")]),
        (route("path_regex = \"/a\"\nignore_case = true"), &[(6, "route[0].ignore_case", "(?i)")]),
        (route("when = [{ exact = \"a\" }]"), &[(5, "route[0].when[0]", "exactly one thing")]),
        (
            route("when = [{ header = \"a\", exact = \"b\", regex = \"c\" }]"),
            &[(5, "route[0].when[0]", "at most one of")],
        ),
        (route("when = [{ of = \"body\" }]"), &[(5, "route[0].when[0].of", "must be \"method\"")]),
        (route("port = 0"), &[(5, "route[0].port", "from 1 to 65535")]),
        (
            route("reply = { status = 404 }"),
            &[(5, "route[0].reply", "one of primary, primaries, redirect and reply")],
        ),
        (route("primaries = [{ upstream = \"v1\" }]"), &[(5, "route[0].primaries", "it has primary")]),
        (route("rewrite = { path_regex = \"a\" }"), &[(5, "route[0].rewrite.path_regex", "needs path_with")]),
        (route("rewrite = { path = \"a\" }"), &[(5, "route[0].rewrite.path", "does not start with")]),
        (
            route("rewrite = { path_prefix = \"/a b\" }"),
            &[(5, "route[0].rewrite.path_prefix", "percent-encode it")],
        ),
        (route("retries = { attempts = 11 }"), &[(5, "route[0].retries.attempts", "from 0 to 10")]),
        (route("retries = { statuses = [99] }"), &[(5, "route[0].retries.statuses[0]", "from 200 to 599")]),
        (
            route("request_headers = { set = { content-length = \"1\" } }"),
            &[(5, "route[0].request_headers.set.content-length", "cannot be changed")],
        ),
        (
            route("response_headers = { remove = [\"via\"] }"),
            &[(5, "route[0].response_headers.remove[0]", "cannot be changed")],
        ),
        (
            route("request_headers = { set = { via = \"x\" } }"),
            &[(5, "route[0].request_headers.set.via", "cannot be changed")],
        ),
        (
            route("request_headers = { set_format = { x = \"%NO%\" } }"),
            &[(5, "route[0].request_headers.set_format.x", "is an operator that is not offered")],
        ),
        (
            route("request_headers = { add_format = { host = \"%HOSTNAME%\" } }"),
            &[(5, "route[0].request_headers.add_format.host", "Host is set without operators")],
        ),
        (
            route("response_headers = { set_format = { x = \"%PROTOCOL%\" } }"),
            &[(5, "route[0].response_headers.set_format.x", "for requests to a primary only")],
        ),
        (
            route("mirrors = [{ upstream = \"v2\", request_headers = { add_format = { x = \"a\" } } }]"),
            &[(5, "route[0].mirrors[0].request_headers.add_format.x", "for requests to a primary only")],
        ),
        (
            route("request_headers = { remove = [\"host\"] }"),
            &[(5, "route[0].request_headers", "exactly one Host")],
        ),
        (
            route("response_headers = { set = { a = \"b\\nc\" } }"),
            &[(5, "route[0].response_headers.set.a", "no field may have")],
        ),
        (
            route("request_headers = { set = { host = \"a b/c\" } }"),
            &[(5, "route[0].request_headers.set.host", "no host name has")],
        ),
        (
            route("request_headers = { set = { host = \"a\" } }\nrewrite = { host = \"b\" }"),
            &[(5, "route[0].request_headers", "write it once")],
        ),
        (
            route("rewrite = { path_prefix = \"a\" }"),
            &[(5, "route[0].rewrite.path_prefix", "does not start with")],
        ),
        (route("fault = { delay_percent = 5 }"), &[(5, "route[0].fault.delay_percent", "share of nothing")]),
        (route("fault = { abort = 600 }"), &[(5, "route[0].fault.abort", "from 200 to 599")]),
    ];
    for (text, said) in rows {
        check(text, said);
    }
}

#[test]
fn what_is_not_forwarded_has_nothing_to_copy_or_retry() {
    let text = starting("").replace(
        "primary = \"v1\"",
        "redirect = { status = 309 }\ntimeout = \"1s\"\nmirrors = [{ upstream = \"v1\" }]",
    );
    check(
        &text,
        &[
            (5, "route[0].redirect.status", "must be 301, 302, 303, 307 or 308"),
            (6, "route[0].timeout", "nothing is forwarded here"),
            (7, "route[0].mirrors", "nothing is forwarded here"),
        ],
    );
}

#[test]
fn shares_of_primaries_must_leave_somebody() {
    let with =
        |primaries: &str| starting("").replace("primary = \"v1\"", &format!("primaries = {primaries}"));
    check(&with("[]"), &[(5, "route[0].primaries", "nobody could answer")]);
    let none = "[{ upstream = \"v1\", weight = 0 }, { upstream = \"!\", weight = 0 }]";
    check(&with(none), &[(5, "route[0].primaries", "all weights are 0")]);
    let config = accepted(&with("[{ upstream = \"v1\", weight = 0 }, { upstream = \"!\" }]")).config;
    let Action::Forward(forward) = &config.routes[0].action else { panic!("forwards") };
    assert_eq!(
        forward.primaries.iter().map(|p| (p.upstream, p.weight)).collect::<Vec<_>>(),
        [(Some(0), 0), (None, 1)]
    );
}

#[test]
fn an_upstreams_policy_is_checked() {
    let rows: &[(&str, Said<'_>)] = &[
        ("balance = \"hash\"", (7, "upstream.v3.balance", "needs hash_by")),
        ("hash_by = \"address\"", (7, "upstream.v3.hash_by", "only used with balance")),
        ("balance = \"hash\"\nhash_by = \"header\"", (8, "upstream.v3.hash_by", "no part of a request")),
        ("balance = \"hash\"\nhash_by = \"cookie:\"", (8, "upstream.v3.hash_by", "names nothing")),
        ("connections_max = 0", (7, "upstream.v3.connections_max", "from 1 to")),
        ("health = { }", (7, "upstream.v3.health.path", "is missing")),
        (
            "health = { path = \"/h\", interval = \"1s\", timeout = \"2s\" }",
            (7, "upstream.v3.health.timeout", "longer than the interval"),
        ),
        ("ejection = { percent_max = 101 }", (7, "upstream.v3.ejection.percent_max", "from 0 to 100")),
    ];
    for (keys, said) in rows {
        let text = routing(&format!("[upstream.v3]\nendpoints = [\"a:1\"]\n{keys}"));
        check(&text, std::slice::from_ref(said));
    }
}

#[test]
fn a_key_that_has_another_name_now_is_read_by_its_former_one_and_said() {
    let text = |key: &str| {
        format!(
            "[upstream.v1]\nendpoints = [\"a:1\"]\n[[route]]\nprimary = \"v1\"\n\
             mirrors = [{{ upstream = \"v1\", {key} = {{ statuses = [\"5xx\"] }} }}]\n"
        )
    };
    let (now, before) = (accepted(&text("response")), accepted(&text("answer")));
    assert_eq!(now.config, before.config);
    let said: Vec<_> = before.warnings.iter().filter(|warning| !now.warnings.contains(warning)).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].key.as_deref(), Some("route[0].mirrors[0].answer"));
    assert_eq!(said[0].message, "is called response now");
}

#[test]
fn a_mirrors_policy_is_checked() {
    let rows: &[(&str, Said<'_>)] = &[
        ("sample_by = \"user\"", (7, "route[0].mirrors[0].sample_by", "no part of a request")),
        ("idempotency_key = \"a b\"", (7, "route[0].mirrors[0].idempotency_key", "not the name of a field")),
        ("idempotency_key = \"via\"", (7, "route[0].mirrors[0].idempotency_key", "cannot be changed")),
        (
            "idempotency_key = \"idempotency-key\"\nredact = { headers = [\"cookie\", \"Idempotency-Key\"] }",
            (8, "route[0].mirrors[0].redact.headers[1]", "all writes have one key"),
        ),
        ("rate_max = 0", (7, "route[0].mirrors[0].rate_max", "from 1 to")),
        ("response = { }", (7, "route[0].mirrors[0].response", "asks nothing of the response")),
        (
            "response = { statuses = [\"6xx\"] }",
            (7, "route[0].mirrors[0].response.statuses[0]", "is no status"),
        ),
        ("rewrite = { host = \"a\" }", (7, "route[0].mirrors[0].rewrite.host", "a host of its own")),
        ("only_primary = \"v2\"", (7, "route[0].mirrors[0].only_primary", "not a primary of this route")),
        ("response = { statuses = [] }", (7, "route[0].mirrors[0].response", "asks nothing of the response")),
        (
            "redact = { headers = [\"Host\"] }",
            (7, "route[0].mirrors[0].redact.headers[0]", "a host of its own"),
        ),
        ("redact = { json = [\"user\"] }", (7, "route[0].mirrors[0].redact.json[0]", "not a JSON pointer")),
        ("compare = { tolerance = 2 }", (7, "route[0].mirrors[0].compare.tolerance", "from 0 to 1")),
        ("compare = { ignore_text = [\"(\"] }", (7, "route[0].mirrors[0].compare.ignore_text[0]", "regular")),
        (
            "compare = { ignore_headers = [\"a b\"] }",
            (7, "route[0].mirrors[0].compare.ignore_headers[0]", "not the name of a field"),
        ),
        (
            "compare = { content_types = [\"text/html; charset=utf-8\"] }",
            (7, "route[0].mirrors[0].compare.content_types[0]", "not a media type"),
        ),
        ("compare = { unordered = [\"a\"] }", (7, "route[0].mirrors[0].compare.unordered[0]", "pointer")),
        ("sample = \"rare\"", (7, "route[0].mirrors[0].sample", "must be \"even\" or \"rare_first\"")),
        (
            "sample = \"rare_first\"\nsample_by = \"cookie:a\"",
            (7, "route[0].mirrors[0].sample", "leave out one of the two"),
        ),
        (
            "sample = \"rare_first\"\npercent = 250",
            (7, "route[0].mirrors[0].sample", "a percent of at most 100"),
        ),
        ("baseline_for = [\"v2\"]", (7, "route[0].mirrors[0].baseline_for", "role = \"baseline\"")),
        (
            "role = \"baseline\"\nbaseline_for = []",
            (8, "route[0].mirrors[0].baseline_for", "names no mirror: leave it out"),
        ),
        (
            "role = \"baseline\"\nbaseline_for = [\"v2\"]",
            (
                8,
                "route[0].mirrors[0].baseline_for[0]",
                "\"v2\" is no candidate of this route; must be nothing",
            ),
        ),
        ("role = \"shadow\"", (7, "route[0].mirrors[0].role", "candidate")),
        ("governor = { least = 200 }", (7, "route[0].mirrors[0].governor.least", "from 0 to 100")),
    ];
    for (keys, said) in rows {
        check(&mirroring(keys), std::slice::from_ref(said));
    }
}

#[test]
fn a_host_that_is_set_is_a_rewrite_and_ten_thousand_routes_are_checked_in_a_moment() {
    let config =
        accepted(&routing("request_headers = { set = { Host = \"b.example\", X-A = \"1\" } }")).config;
    let Action::Forward(forward) = &config.routes[0].action else { panic!("forwards") };
    assert_eq!(forward.rewrite.host.as_deref(), Some("b.example"));
    assert_eq!(config.routes[0].request_headers.set, [("x-a".to_owned(), "1".to_owned())]);
    let mut text = String::from("[upstream.v1]\nendpoints = [\"a:1\"]\n");
    for n in 0..10_000 {
        text.push_str(&format!("[[route]]\npath_prefix = \"/service-{n}/\"\nprimary = \"v1\"\n"));
    }
    assert_eq!(accepted(&text).config.routes.len(), 10_000);
}

#[test]
fn a_baseline_compares_and_redacts_like_its_candidate_unless_it_says_otherwise() {
    let with = |again: &str| {
        let text = format!(
            "[upstream.v1]\nendpoints = [\"a:1\"]\n[upstream.v2]\nendpoints = [\"a:2\"]\n[upstream.again]\nendpoints = [\"a:3\"]\n\
             [[route]]\nprimary = \"v1\"\nmirrors = [\n{{ upstream = \"again\", role = \"baseline\"{again} }},\n\
             {{ upstream = \"v2\", compare = {{ percent = 50, ignore_headers = [\"etag\"] }}, redact = {{ cookies = [\"sid\"] }} }},\n]\n"
        );
        let route = accepted(&text).config.routes.swap_remove(0);
        (route.mirrors[0].clone(), route.mirrors[1].clone())
    };
    let (baseline, candidate) = with("");
    assert_eq!((baseline.compare, baseline.redact), (candidate.compare, candidate.redact));
    let (baseline, candidate) = with(", compare = {}, redact = { query = [\"token\"] }");
    assert_ne!(baseline.compare, candidate.compare);
    assert_eq!(baseline.redact.query, ["token"]);
    let alone = "[upstream.v1]\nendpoints = [\"a:1\"]\n[[route]]\nprimary = \"v1\"\nmirrors = [{ upstream = \"v1\", role = \"baseline\" }]\n";
    assert_eq!(accepted(alone).config.routes[0].mirrors[0].compare, None, "nobody compares");
    // Chosen by v1's answer too, unless its candidates are chosen in different ways.
    let chosen = |third: &str| {
        let text = format!(
            "[upstream.v1]\nendpoints = [\"a:1\"]\n[upstream.v2]\nendpoints = [\"a:2\"]\n[upstream.v3]\nendpoints = [\"a:3\"]\n\
             [[route]]\nprimary = \"v1\"\nmirrors = [\n{{ upstream = \"v3\", name = \"again\", role = \"baseline\" }},\n\
             {{ upstream = \"v2\", response = {{ statuses = [\"5xx\"] }} }},\n{third}]\n"
        );
        let route = accepted(&text).config.routes.swap_remove(0);
        (route.mirrors[0].response.clone(), route.mirrors[1].response.clone())
    };
    let (baseline, candidate) = chosen("");
    assert!(baseline.is_some() && baseline == candidate);
    assert_eq!(chosen("{ upstream = \"v3\" },\n").0, None);
}

#[test]
fn a_baseline_is_one_of_the_candidates_that_it_names_and_takes_after_these() {
    let of = |again: &str| {
        let text = format!(
            "[upstream.v1]\nendpoints = [\"a:1\"]\n[upstream.v2]\nendpoints = [\"a:2\"]\n[upstream.again]\nendpoints = [\"a:3\"]\n\
             [[route]]\nprimary = \"v1\"\nmirrors = [\n\
             {{ upstream = \"v2\", compare = {{ percent = 10 }}, only = {{ methods = [\"GET\"] }} }},\n\
             {{ upstream = \"v2\", name = \"v3\", compare = {{ percent = 20 }} }},\n\
             {{ upstream = \"again\", role = \"baseline\"{again} }},\n]\n"
        );
        accepted(&text).config.routes.swap_remove(0).mirrors
    };
    // Its keys → the candidates it is of, the percent it compares, whether the first candidate is asked alike.
    let rows = [
        ("", ["v2", "v3"].as_slice(), Some(10), false),
        (", baseline_for = [\"v2\"]", &["v2"], Some(10), true),
        (", baseline_for = [\"v3\"]", &["v3"], Some(20), false),
        (", baseline_for = [\"v3\", \"v2\"]", &["v2", "v3"], Some(10), false),
        (", baseline_for = [\"v2\"], only = {}", &["v2"], Some(10), false),
    ];
    for (says, whose, percent, is_like_first) in rows {
        let mirrors = of(says);
        let again = &mirrors[2];
        let own: Vec<&str> =
            mirrors.iter().filter(|of| again.is_baseline_of(of)).map(|of| of.name.as_str()).collect();
        assert_eq!(own, whose, "{says}");
        let compares = again.compare.as_ref().map(|of| of.percent.per_million / 10_000);
        assert_eq!(compares, percent, "{says}");
        assert_eq!(again.is_asked_like(&mirrors[0]), is_like_first, "{says}");
    }
    assert!(!of("")[0].is_baseline_of(&of("")[1]), "a candidate is none");
}

#[test]
fn credentials_for_pages_that_no_operator_named_are_a_warning() {
    let rows = [
        ("origins = [\"*\"]", "", None),
        ("origins = [\"*\"]", "true", Some("origins[0]")),
        ("origins = [\"*\"]", "false", None),
        ("origins = [\"https://a.example\", \"*\"]", "true", Some("origins[1]")),
        ("origins = [\"https://a.example\", \"https://*.a.example\"]", "true", None),
        ("origins = [\"https://*\"]", "true", Some("origins[0]")),
        ("origins = [\"null\"]", "true", Some("origins[0]")),
        ("origin_prefixes = [\"https://a.\"]", "true", None),
        ("origin_prefixes = [\"http\"]", "true", Some("origin_prefixes[0]")),
        ("origin_regexes = [\"https://[ab]\\\\.example\"]", "true", None),
        ("origin_regexes = [\"https?://.+\"]", "true", Some("origin_regexes[0]")),
    ];
    for (origins, credentials, said) in rows {
        let credentials =
            if credentials.is_empty() { String::new() } else { format!(", credentials = {credentials}") };
        let cors = format!("cors = {{ {origins}{credentials} }}\nprimary =");
        let text = starting("").replace("primary =", &cors);
        let key = said.map(|key| format!("route[0].cors.{key}"));
        let said: Vec<Said<'_>> =
            key.iter().map(|key| (5, key.as_str(), "with its visitor's credentials")).collect();
        warns(&text, &said);
    }
}
