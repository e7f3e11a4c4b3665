//! Promises of configuration files to operators: tables of texts and the problems reported. Knows nothing of how they are
//! read, but for the lists of keys.

use std::time::Duration;

use crate::*;

mod reference;
mod routes;
mod policy;
mod observe;
mod http2;
mod hostile;
mod addresses;

use reference::{AS_DESCRIBED, EXAMPLES, GATEWAY};

/// Line (0: none), key and a part of the message.
type Said<'a> = (usize, &'a str, &'a str);

/// Exactly these problems, in this order.
#[track_caller]
fn check(text: &str, expected: &[Said<'_>]) {
    match parse("t.toml", text) {
        Ok(_) => assert!(expected.is_empty(), "accepted, expected {expected:?}:\n{text}"),
        Err(problems) => same(text, &problems, expected),
    }
}

/// Accepted with exactly these warnings.
#[track_caller]
fn warns(text: &str, expected: &[Said<'_>]) {
    same(text, &accepted(text).warnings, expected);
}

#[track_caller]
fn same(text: &str, problems: &[Problem], expected: &[Said<'_>]) {
    let said = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(problems.len(), expected.len(), "{text}\nexpected {expected:?}, said:\n{said}");
    for (problem, (line, key, message)) in problems.iter().zip(expected) {
        let place = (problem.line.unwrap_or(0), problem.key.as_deref().unwrap_or(""));
        assert_eq!(place, (*line, *key), "{text}\nsaid:\n{said}");
        assert!(problem.message.contains(message), "{text}\nexpected {message:?}, said:\n{said}");
        assert_eq!(problem.file, "t.toml");
    }
}

#[track_caller]
fn accepted(text: &str) -> Checked {
    parse("t.toml", text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// A sound file that starts with `head`; its own lines come after.
fn starting(head: &str) -> String {
    format!("{head}\n[upstream.v1]\nendpoints = [\"10.0.0.1:80\"]\n[[route]]\nprimary = \"v1\"\n")
}

/// A sound file whose only route ends with `tail`, from line 5 on; v1 is its primary, v2 is another upstream.
fn routing(tail: &str) -> String {
    format!(
        "upstream.v1.endpoints = [\"10.0.0.1:80\"]\nupstream.v2.endpoints = [\"10.0.0.2:80\"]\n\
         [[route]]\nprimary = \"v1\"\n{tail}\n"
    )
}

/// The same with a mirror to v2; `tail` starts in line 7.
fn mirroring(tail: &str) -> String {
    routing(&format!("[[route.mirrors]]\nupstream = \"v2\"\n{tail}"))
}

#[test]
fn a_problem_shows_what_it_knows() {
    let rows = [
        (("f", Some(3), Some("a.b")), "f:3: a.b: m"),
        (("f", Some(3), None), "f:3: m"),
        (("f", None, Some("a.b")), "f: a.b: m"),
        (("f", None, None), "f: m"),
        (("", Some(3), Some("a.b")), "3: a.b: m"),
        (("", None, None), "m"),
    ];
    for ((file, line, key), shown) in rows {
        let problem = Problem {
            file: file.into(),
            line,
            key: key.map(Into::into),
            message: "m".into(),
            resource: None,
        };
        assert_eq!(problem.to_string(), shown);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_that_names_it() {
    let problems = load("no/such/file.toml").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().starts_with("no/such/file.toml: cannot be read: "), "{problems:?}");

    let folder = load(env!("CARGO_MANIFEST_DIR")).unwrap_err();
    assert!(folder[0].message.starts_with("cannot be read: "), "{folder:?}");

    let path = std::env::temp_dir().join(format!("umbra-config-{}-not-utf8.toml", std::process::id()));
    std::fs::write(&path, b"[admin]\nbind = \"off\"\n# caf\xe9\n").unwrap();
    let problems = load(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].line, problems[0].file.as_str()), (Some(3), path.to_str().unwrap()));

    let sound = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.toml");
    assert_eq!(load(sound).unwrap().config, accepted(GATEWAY).config);
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    let rows: &[(&str, &[Said<'_>])] = &[
        ("[admin\nbind = \"off\"", &[(1, "", "not TOML")]),
        ("[admin]\nbind = \"off", &[(2, "", "not TOML")]),
        ("[admin]\nbind = off\n", &[(2, "", "not TOML")]),
        ("[admin]\nbind = \"off\"\nbind = \"off\"\n", &[(3, "", "duplicate key at `bind`")]),
        ("[admin]\n[workers]\n[admin]\n", &[(3, "", "duplicate key")]),
        ("[limits]\nfields_max = 0100\n", &[(2, "", "not TOML")]),
        ("=", &[(1, "", "not TOML")]),
    ];
    for (text, said) in rows {
        check(text, said);
    }
}

#[test]
fn a_value_without_its_quotes_is_not_repeated() {
    let problems = parse("umbra.toml", "[admin]\ntoken = s3cr3t\n").unwrap_err();
    let said = format!("{problems:?}");
    assert!(said.contains("not TOML") && !said.contains("s3cr3t"), "{said}");
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    let rows: &[(String, &[Said<'_>])] = &[
        (starting("[admn]\nbind = \"off\""), &[(1, "admn", "did you mean \"admin\"?")]),
        (starting("[admin]\nbnid = \"off\""), &[(2, "admin.bnid", "did you mean \"bind\"?")]),
        (
            starting("[workers]\nthreads = 2"),
            &[(2, "workers.threads", "known here are count, pin, driver, uring_entries")],
        ),
        (starting("limits.fields = 2"), &[(1, "limits.fields", "did you mean \"fields_max\"?")]),
        (starting("[tls]\ncert = \"a\""), &[(1, "tls", "unknown key")]),
        (
            starting("[[listener]]\nbind = \"0.0.0.0:80\"\n\"no port\" = 1"),
            &[(3, "listener[0].\"no port\"", "unknown key")],
        ),
        (routing("mirror = []"), &[(5, "route[0].mirror", "did you mean \"mirrors\"?")]),
        (
            routing(
                "mirrors = [{ upstream = \"v2\", percentage = 1 },\n{ upstream = \"v2\", name = \"b\", percnt = 1 }]",
            ),
            &[
                (5, "route[0].mirrors[0].percentage", "did you mean \"percent\"?"),
                (6, "route[0].mirrors[1].percnt", "did you mean \"percent\"?"),
            ],
        ),
        (mirroring("dorp = \"oldest\""), &[(7, "route[0].mirrors[0].dorp", "did you mean \"drop\"?")]),
        (
            "[upstream.\"a b\"]\nendpoints = [\"h:1\"]\nweight = 1\n[[route]]\nprimary = \"a b\"".into(),
            &[(1, "upstream.\"a b\"", "cannot be a name"), (3, "upstream.\"a b\".weight", "unknown key")],
        ),
    ];
    for (text, said) in rows {
        check(text, said);
    }
}

#[test]
fn every_wrong_type_is_told_at_once() {
    check(
        &starting(
            "[admin]\nbind = 9901\n[workers]\ncount = \"two\"\npin = 1\ndriver = 3\nuring_entries = 1.5\n\
             [limits]\nfields_max = -1\ndrain_bytes_max = \"256KB\"\nrequest_body_bytes_max = \"none\"\n\
             [timeouts]\ndrain = 10\nwrite = \"1.5s\"\nconnect = 1979-05-27",
        ),
        &[
            (2, "admin.bind", "must be a string, not 9901"),
            (4, "workers.count", "must be a whole number that is not negative, not \"two\""),
            (5, "workers.pin", "must be true or false, not 1"),
            (6, "workers.driver", "must be \"auto\", \"uring\" or \"epoll\", not an integer"),
            (7, "workers.uring_entries", "not 1.5"),
            (9, "limits.fields_max", "not -1"),
            (10, "limits.drain_bytes_max", "must be a size such as \"64KiB\""),
            (11, "limits.request_body_bytes_max", "must be \"unlimited\", a size"),
            (13, "timeouts.drain", "must be a duration such as \"500ms\""),
            (14, "timeouts.write", "not \"1.5s\""),
            (15, "timeouts.connect", "not 1979-05-27"),
        ],
    );
    let rows: &[(String, &[Said<'_>])] = &[
        (starting("admin = 1"), &[(1, "admin", "must be a table, not an integer")]),
        (starting("[[admin]]\nbind = \"off\""), &[(1, "admin", "must be one table: write [admin] once")]),
        (
            starting("[listener]\nbind = \"1.1.1.1:1\""),
            &[(1, "listener", "write [[listener]] for each entry")],
        ),
        (starting("listener = [3]"), &[(1, "listener[0]", "must be a table, not an integer")]),
        (starting("limits = [1]"), &[(1, "limits", "must be one table")]),
        (routing("mirrors = \"v2\""), &[(5, "route[0].mirrors", "must be an array, not \"v2\"")]),
        (routing("mirrors = [\n\"v2\",\n]"), &[(6, "route[0].mirrors[0]", "must be a table, not a string")]),
        (
            routing("[route.mirrors]\nupstream = \"v2\""),
            &[(5, "route[0].mirrors", "must be an array of tables")],
        ),
        (routing("methods = \"GET\""), &[(5, "route[0].methods", "must be an array, not \"GET\"")]),
        (routing("methods = [\"GET\",\n 1]"), &[(6, "route[0].methods[1]", "must be a string, not 1")]),
        (routing("host = true"), &[(5, "route[0].host", "must be a string, not true")]),
        (mirroring("percent = \"1\""), &[(7, "route[0].mirrors[0].percent", "must be a number, not \"1\"")]),
        (mirroring("percent = { a = 1 }"), &[(7, "route[0].mirrors[0].percent", "not a table")]),
        (
            "upstream = 1\n[[route]]\nprimary = \"v1\"".into(),
            &[
                (1, "upstream", "must be a table of named entries, not 1"),
                (3, "route[0].primary", "none is defined"),
            ],
        ),
        // An upstream that is wrong in itself is still known by its name.
        (
            "upstream.v1 = 1\n[[route]]\nprimary = \"v1\"".into(),
            &[(1, "upstream.v1", "must be a table, not an integer")],
        ),
        (
            starting("route = 1").replace("[[route]]\nprimary = \"v1\"\n", ""),
            &[(1, "route", "must be an array, not 1")],
        ),
        (
            starting("workers.count = 99999999999999999999"),
            &[(1, "workers.count", "must be a whole number that is not negative, not 99999999999999999999")],
        ),
    ];
    for (text, said) in rows {
        check(text, said);
    }
}

#[test]
fn what_is_missing_is_named_with_its_table() {
    let rows: &[(&str, &[Said<'_>])] = &[
        ("", &[(0, "route", "there is no route")]),
        ("route = []", &[(1, "route", "there is no route")]),
        (
            "[[listener]]\n[[route]]\nprimary = \"v1\"\nupstream.v1.endpoints = [\"a:1\"]",
            &[
                (1, "listener[0].bind", "is missing; write bind = \"127.0.0.1:8080\""),
                (3, "route[0].primary", "unknown upstream \"v1\": none is defined; write [upstream.v1]"),
                (4, "route[0].upstream", "unknown key"),
            ],
        ),
        (
            "\n[upstream.v1]\n[[route]]\n[[route.mirrors]]",
            &[
                (2, "upstream.v1.endpoints", "is missing; write endpoints = [\"127.0.0.1:9001\"]"),
                (3, "route[0].primary", "is missing; write primary = the name of an upstream"),
                (4, "route[0].mirrors[0].upstream", "is missing; write upstream = the name of an upstream"),
            ],
        ),
        (
            "[upstream.v1]\nendpoints = []\n[[route]]\nprimary = \"v1\"",
            &[(2, "upstream.v1.endpoints", "at least one endpoint")],
        ),
    ];
    for (text, said) in rows {
        check(text, said);
    }
}

#[test]
fn unknown_upstreams_are_told_with_those_that_are_known() {
    let rows: &[(String, &[Said<'_>])] = &[
        (
            routing("mirrors = [{ upstream = \"v3\" }]"),
            &[(5, "route[0].mirrors[0].upstream", "unknown upstream \"v3\" (known: v1, v2)")],
        ),
        (
            routing(
                "[upstream.main-pool]\nendpoints = [\"a:1\"]\n[[route]]\npath = \"/a\"\nprimary = \"main-pol\"",
            ),
            &[(
                9,
                "route[1].primary",
                "unknown upstream \"main-pol\"; did you mean \"main-pool\"? (known: v1, v2, main-pool)",
            )],
        ),
        (
            routing("[[route]]\npath = \"/a\"\nprimary = \"canary\""),
            &[(7, "route[1].primary", "unknown upstream \"canary\" (known: v1, v2)")],
        ),
        // The rest of a mirror is checked although its upstream is not known.
        (
            routing("mirrors = [{ upstream = \"nobody\",\n percent = 10001,\n timeout = \"0s\" }]"),
            &[
                (5, "route[0].mirrors[0].upstream", "unknown upstream \"nobody\""),
                (6, "route[0].mirrors[0].percent", "10001 is out of range"),
                (7, "route[0].mirrors[0].timeout", "0ms is out of range"),
            ],
        ),
    ];
    for (text, said) in rows {
        check(text, said);
    }
}

#[test]
fn numbers_outside_their_bounds_are_refused_with_the_bounds() {
    let server = [
        ("workers.count = 0", "workers.count", "0 is out of range: must be from 1 to 1024"),
        ("workers.count = 1025", "workers.count", "1025 is out of range"),
        ("workers.uring_entries = 63", "workers.uring_entries", "must be from 64 to 32768"),
        ("workers.uring_entries = 65536", "workers.uring_entries", "must be from 64 to 32768"),
        ("workers.uring_entries = 1000", "workers.uring_entries", "1000 is not a power of two"),
        ("limits.connections_max = 0", "limits.connections_max", "must be from 1 to 1000000"),
        (
            "limits.request_head_bytes_max = 1023",
            "limits.request_head_bytes_max",
            "1023B is out of range: must be from 1KiB to 1MiB",
        ),
        (
            "limits.request_head_bytes_max = \"2MiB\"",
            "limits.request_head_bytes_max",
            "must be from 1KiB to 1MiB",
        ),
        (
            "limits.request_line_bytes_max = \"17KiB\"",
            "limits.request_line_bytes_max",
            "17KiB is more than the head",
        ),
        ("limits.response_head_bytes_max = 0", "limits.response_head_bytes_max", "must be from 1KiB to 1MiB"),
        ("limits.fields_max = 0", "limits.fields_max", "must be from 1 to 4096"),
        ("limits.requests_per_connection_max = 0", "limits.requests_per_connection_max", "must be from 1"),
        ("limits.upstream_idle_max = 65537", "limits.upstream_idle_max", "must be from 0 to 65536"),
        ("limits.drain_bytes_max = \"2GiB\"", "limits.drain_bytes_max", "must be from 0B to 1GiB"),
        ("timeouts.drain = \"0s\"", "timeouts.drain", "0ms is out of range: must be from 1ms to 720h"),
        ("timeouts.client_idle = \"721h\"", "timeouts.client_idle", "721h is out of range"),
    ];
    for (head, key, message) in server {
        check(&starting(head), &[(1, key, message)]);
    }
    for name in file::Timeouts::KEYS {
        check(
            &starting(&format!("timeouts.{name} = \"0ms\"")),
            &[(1, &format!("timeouts.{name}"), "out of range")],
        );
    }
    let mirror = [
        ("percent = -0.1", "percent", "-0.1 is out of range: must be a number from 0 to 10000"),
        ("percent = 10000.00001", "percent", "10000.00001 is out of range"),
        ("percent = nan", "percent", "NaN is out of range"),
        ("percent = inf", "percent", "inf is out of range"),
        ("percent = -inf", "percent", "-inf is out of range"),
        ("ring_entries_max = 0", "ring_entries_max", "must be from 1 to 1048576"),
        ("ring_bytes_max = 0\nbody_bytes_max = 0", "ring_bytes_max", "must be from 1B to 1TiB"),
        ("ring_bytes_max = \"512KiB\"", "ring_bytes_max", "a ring of 512KiB can never hold a body of 1MiB"),
        ("body_bytes_max = \"33MiB\"", "body_bytes_max", "ring_bytes_max is 32MiB"),
        (
            "ring_bytes_max = 10\nbody_bytes_max = 11",
            "ring_bytes_max",
            "a ring of 10B can never hold a body of 11B",
        ),
        ("connect_timeout = \"0s\"", "connect_timeout", "must be from 1ms to 720h"),
        ("timeout = \"0s\"", "timeout", "must be from 1ms to 720h"),
        ("connections_max = 0", "connections_max", "must be from 1 to 1024"),
        ("pipeline_max = 0", "pipeline_max", "must be from 1 to 1024"),
        ("response_bytes_max = 0", "response_bytes_max", "must be from 1B to 1TiB"),
    ];
    for (tail, key, message) in mirror {
        check(&mirroring(tail), &[(7, &format!("route[0].mirrors[0].{key}"), message)]);
    }
}

#[test]
fn words_outside_their_set_are_refused_with_the_set() {
    let row = |text: &str, line, key, message| check(text, &[(line, key, message)]);
    let known = "must be \"auto\", \"uring\" or \"epoll\"";
    row(&starting("workers.driver = \"kqueue\""), 1, "workers.driver", known);
    row(&starting("workers.driver = \"io_uring\""), 1, "workers.driver", known);
    row(&starting("workers.driver = \"epol\""), 1, "workers.driver", "did you mean \"epoll\"?");
    row(
        &routing("[upstream.v3]\nendpoints = [\"a:1\"]\nbalance = \"roundrobin\""),
        7,
        "upstream.v3.balance",
        "must be \"round_robin\", \"least_in_flight\", \"random\" or \"hash\"; did you mean \"round_robin\"?",
    );
    row(
        &mirroring("drop = \"random\""),
        7,
        "route[0].mirrors[0].drop",
        "\"random\" is not known; must be \"newest\" or \"oldest\"",
    );
}

#[test]
fn percent_is_kept_to_the_nearest_millionth() {
    let rows = [
        ("0", 0, "0"),
        ("0.0", 0, "0"),
        ("-0.0", 0, "0"),
        ("0.0001", 1, "0.0001"),
        ("0.00014", 1, "0.0001"),
        ("0.00016", 2, "0.0002"),
        ("0.1", 1_000, "0.1"),
        ("1", 10_000, "1"),
        ("12.3456", 123_456, "12.3456"),
        ("33.33333", 333_333, "33.3333"),
        ("99.9999", 999_999, "99.9999"),
        ("1e2", 1_000_000, "100"),
        ("100", 1_000_000, "100"),
    ];
    for (written, per_million, shown) in rows {
        let percent =
            accepted(&mirroring(&format!("percent = {written}"))).config.routes[0].mirrors[0].percent;
        assert_eq!((percent.per_million, percent.to_string().as_str()), (per_million, shown), "{written}");
    }
}

#[test]
fn sizes_and_durations_may_be_written_in_any_unit() {
    let config = accepted(&starting(
        "[limits]\nrequest_head_bytes_max = 20_000\nrequest_line_bytes_max = 0x1F40\nrequest_body_bytes_max = 0\n\
         drain_bytes_max = \"1MiB\"\n[timeouts]\ndrain = \"2m\"\nwrite = \"250ms\"",
    ))
    .config;
    assert_eq!(config.limits.request_head_bytes_max, 20_000);
    assert_eq!(config.limits.request_line_bytes_max, 8_000);
    assert_eq!(config.limits.request_body_bytes_max, Some(0));
    assert_eq!(config.limits.drain_bytes_max, 1 << 20);
    assert_eq!(config.timeouts.drain, Duration::from_secs(120));
    assert_eq!(config.timeouts.write, Duration::from_millis(250));
    let body = |text: &str| {
        accepted(&starting(&format!("limits.request_body_bytes_max = {text}")))
            .config
            .limits
            .request_body_bytes_max
    };
    assert_eq!((body("\"unlimited\""), body("\"1GiB\"")), (None, Some(1 << 30)));
}

#[test]
fn a_small_head_brings_its_line_with_it() {
    let limits = accepted(&starting("limits.request_head_bytes_max = \"4KiB\"")).config.limits;
    assert_eq!((limits.request_head_bytes_max, limits.request_line_bytes_max), (4096, 4096));
}

#[test]
fn mirrors_that_travel_alike_share_a_lane() {
    let config = accepted(&routing(
        "mirrors = [{ upstream = \"v2\" }, { upstream = \"v2\", name = \"b\", percent = 1, body_bytes_max = 0, host = \"shadow\" },\n\
         { upstream = \"v2\", name = \"slow\", timeout = \"6s\" }]\n\
         [[route]]\nhost = \"a\"\nprimary = \"v2\"\nmirrors = [{ upstream = \"v1\" }, { upstream = \"v2\" }]",
    ))
    .config;
    let lanes: Vec<Vec<LaneId>> =
        config.routes.iter().map(|route| route.mirrors.iter().map(|mirror| mirror.lane).collect()).collect();
    assert_eq!(lanes, [vec![0, 0, 1], vec![2, 0]]);
    let names: Vec<(&str, UpstreamId)> =
        config.lanes.iter().map(|lane| (lane.name.as_str(), lane.upstream)).collect();
    assert_eq!(names, [("v2", 1), ("v2", 1), ("v1", 0)]);
    for setting in [
        "ring_entries_max = 1",
        "ring_bytes_max = \"1MiB\"",
        "drop = \"oldest\"",
        "connect_timeout = \"2s\"",
        "timeout = \"6s\"",
        "connections_max = 1",
        "pipeline_max = 1",
        "response_bytes_max = 1",
    ] {
        let mirrors =
            format!("mirrors = [{{ upstream = \"v2\" }}, {{ upstream = \"v2\", name = \"b\", {setting} }}]");
        assert_eq!(accepted(&routing(&mirrors)).config.lanes.len(), 2, "{setting}");
    }
}

#[test]
fn upstreams_keep_the_order_of_the_file() {
    let text = "[upstream.z]\nendpoints = [\"a:1\"]\n[upstream.b]\nendpoints = [\"a:1\"]\n\
                [upstream.m]\nendpoints = [\"a:1\"]\n[[route]]\nprimary = \"m\"";
    let config = accepted(text).config;
    let names: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["z", "b", "m"]);
    assert_eq!(config.routes[0].upstreams().collect::<Vec<_>>(), [2]);
}

#[test]
fn what_is_odd_but_allowed_is_a_warning() {
    let used = |tail: &str| mirroring(tail);
    let rows: &[(String, &[Said<'_>])] = &[
        (used(""), &[]),
        (routing(""), &[(2, "upstream.v2", "no route names this upstream")]),
        (
            used("[[route.mirrors]]\nupstream = \"v1\""),
            &[(8, "route[0].mirrors[1].upstream", "the mirror is the primary of its route")],
        ),
        (used("percent = 0.00004"), &[(7, "route[0].mirrors[0].percent", "0.00004 rounds to 0")]),
        (
            starting("").replace("[\"10.0.0.1:80\"]", "[\"A:80\", \"b:80\",\n\"a:80\"]"),
            &[(4, "upstream.v1.endpoints[2]", "a:80 is here twice")],
        ),
        (
            starting("").replace("10.0.0.1:80", "127.0.0.1:8080"),
            &[(3, "upstream.v1.endpoints[0]", "is a listener of this gateway: requests will loop")],
        ),
        (
            starting("").replace("10.0.0.1:80", "127.0.0.1:9901"),
            &[(3, "upstream.v1.endpoints[0]", "is this gateway's admin listener")],
        ),
        (
            starting("[[listener]]\nbind = \"0.0.0.0:80\"").replace("10.0.0.1", "127.0.0.2"),
            &[(4, "upstream.v1.endpoints[0]", "is a listener of this gateway")],
        ),
        (starting("[[listener]]\nbind = \"0.0.0.0:80\""), &[]),
        (
            starting("").replace("primary", "methods = [\"GET\", \"GET\",\n\"get\"]\nprimary"),
            &[
                (5, "route[0].methods[1]", "\"GET\" is here twice"),
                (6, "route[0].methods[2]", "\"get\" does not match \"GET\""),
            ],
        ),
    ];
    for (text, said) in rows {
        warns(text, said);
    }
}

#[test]
fn a_route_that_an_earlier_one_hides_is_a_warning() {
    // (first, second, hidden)
    let rows = [
        ("", "", true),
        ("", "path = \"/a\"", true),
        ("", "host = \"a\"", true),
        ("path = \"/a\"", "", false),
        ("path = \"/a\"", "path = \"/a\"", true),
        ("path = \"/a\"", "path_prefix = \"/a\"", false),
        ("path_prefix = \"/a\"", "path = \"/ab\"", true),
        ("path_prefix = \"/a\"", "path_prefix = \"/b\"", false),
        ("path_prefix = \"/a\"", "path_prefix = \"/\"", false),
        ("host = \"a.com\"", "host = \"A.com\"", true),
        ("host = \"a.com\"", "host = \"b.com\"", false),
        ("host = \"*.a.com\"", "host = \"b.a.com\"", true),
        ("host = \"*.a.com\"", "host = \"a.com\"", false),
        ("host = \"*.a.com\"", "host = \"*.b.a.com\"", true),
        ("host = \"b.a.com\"", "host = \"*.a.com\"", false),
        ("host = \"a.com\"", "", false),
        ("methods = [\"GET\"]", "", false),
        ("methods = [\"GET\"]", "methods = [\"GET\", \"PUT\"]", false),
        ("methods = [\"GET\", \"PUT\"]", "methods = [\"GET\"]", true),
        ("", "methods = [\"GET\"]", true),
    ];
    for (first, second, hidden) in rows {
        let text = starting(&format!("[[route]]\nprimary = \"v1\"\n{first}"))
            .replace("[\"10.0.0.1:80\"]\n[[route]]", &format!("[\"10.0.0.1:80\"]\n[[route]]\n{second}"));
        let said: Said<'_> = (6, "route[1]", "never reached: \"route-1\" comes first");
        warns(&text, if hidden { std::slice::from_ref(&said) } else { &[] });
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_lines() {
    check(
        r#"[[listener]]
bind = "localhost"
[admin]
bnd = "off"
[workers]
count = 0
[limits]
fields_max = "many"
[timeouts]
drain = "0s"
[upstream.v1]
endpoints = ["v1"]
[upstream.v2]
endpoints = []
[[route]]
path = "/a"
path_prefix = "b"
primary = "v3"
mirrors = [{ upstream = "v2", percent = 20000, drop = "all" },
  { upstream = "v4" }]
"#,
        &[
            (2, "listener[0].bind", "not an IP address"),
            (4, "admin.bnd", "unknown key"),
            (6, "workers.count", "out of range"),
            (8, "limits.fields_max", "whole number"),
            (10, "timeouts.drain", "out of range"),
            (12, "upstream.v1.endpoints[0]", "has no port"),
            (14, "upstream.v2.endpoints", "at least one"),
            (17, "route[0].path_prefix", "not both"),
            (17, "route[0].path_prefix", "does not start with"),
            (18, "route[0].primary", "unknown upstream"),
            (19, "route[0].mirrors[0].drop", "is not known"),
            (19, "route[0].mirrors[0].percent", "out of range"),
            (20, "route[0].mirrors[1].upstream", "unknown upstream"),
        ],
    );
}

#[test]
fn other_line_ends_and_a_byte_order_mark_change_nothing() {
    let windows = GATEWAY.replace('\n', "\r\n");
    assert_eq!(accepted(&windows).config, accepted(GATEWAY).config);
    assert_eq!(accepted(&format!("\u{feff}{GATEWAY}")).config, accepted(GATEWAY).config);
    check(&starting("[admin]\nbind = 1").replace('\n', "\r\n"), &[(2, "admin.bind", "must be a string")]);
}

#[test]
fn the_budget_of_rings_counts_every_worker() {
    let mut config = accepted(EXAMPLES[0].1).config;
    config.workers.count = 3;
    assert_eq!(config.ring_bytes_total_max(), 3 * 32 * 1024 * 1024);
}
