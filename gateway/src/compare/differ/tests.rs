//! Differences and none, row by row.

use std::sync::Arc;

use config::{Compare, Percent, Redact};

use super::*;
use crate::mirror::redact::Secrets;

fn plain() -> Compare {
    Compare {
        percent: Percent::ALL,
        body_bytes_max: 64 * 1024,
        content_types: Vec::new(),
        ignore_headers: Vec::new(),
        ignore_json: Vec::new(),
        ignore_text: Vec::new(),
        unordered: Vec::new(),
        tolerance: 0.0,
        descriptors: None,
        version_header: None,
    }
}

fn answer(status: u16, fields: &str, content: &str) -> Answer {
    let fields = fields.replace('\n', "\r\n");
    Answer {
        status,
        fields: fields.as_bytes().into(),
        content: content.as_bytes().into(),
        is_cut: false,
        trailers: Box::default(),
    }
}

fn json(content: &str) -> Answer {
    answer(200, "Content-Type: application/json\n", content)
}

/// Each difference as `kind field primary → mirror`.
fn told(compare: &Compare, redact: &Redact, primary: &Answer, mirror: &Answer) -> Vec<String> {
    let secrets = Secrets::new(redact).map(Arc::new);
    let rules = Rules::new(compare, secrets.as_ref(), None);
    let compared = super::compare(&rules, &Context::default(), primary, mirror);
    let side = |of: &Option<String>| of.clone().unwrap_or_else(|| "nothing".to_owned());
    let one =
        |d: &Difference| format!("{} {} {} → {}", d.kind.text(), d.field, side(&d.primary), side(&d.mirror));
    compared.differences.iter().map(one).chain(compared.content_skipped.map(str::to_owned)).collect()
}

#[test]
fn each_kind_of_difference_is_found_and_named() {
    let rows: &[(Answer, Answer, &[&str])] = &[
        (answer(200, "", ""), answer(500, "", ""), &["status status 200 → 500"]),
        (
            answer(200, "ETag: a\nDate: x\nVary: b\nX: 1\nX: 2\n", ""),
            answer(200, "etag: b\nDate: y\nX: 1\nx: 2\nServer: s\n", ""),
            &["header etag a → b", "header vary b → nothing", "header server nothing → s"],
        ),
        (json(r#"{"a":1,"b":{"c":"x"}}"#), json(r#"{ "b" : { "c" : "x" }, "a" : 1.0 }"#), &[]),
        (
            json(r#"{"user":{"plan":"pro","id":1,"old":null}}"#),
            json(r#"{"user":{"plan":"free","id":"1","new":[1]}}"#),
            &[
                "type $.user.id 1 → \"1\"",
                "missing $.user.old null → nothing",
                "changed $.user.plan \"pro\" → \"free\"",
                "added $.user.new nothing → [1 items]",
            ],
        ),
        (
            json(r#"{"items":[{"id":1},{"id":2},{"id":3}]}"#),
            json(r#"{"items":[{"id":2},{"id":3}]}"#),
            &["length $.items 3 items → 2 items"],
        ),
        (
            json(r#"{"items":[{"id":1},{"id":2},{"id":3}]}"#),
            json(r#"{"items":[{"id":2},{"id":4}]}"#),
            &["length $.items 3 items → 2 items", "changed $.items[*].id 1 → 2"],
        ),
        (
            answer(200, "Content-Type: application/x-ndjson\n", "{\"a\":1}\n{\"a\":2}\n"),
            answer(200, "Content-Type: application/x-ndjson\n", "{ \"a\" : 1 }\n{\"a\":3}"),
            &["changed $[*].a 2 → 3"],
        ),
        (
            answer(200, "Content-Type: application/json; charset=utf-8\n", "{}"),
            answer(200, "content-type: application/json;charset=UTF-8\n", "{}"),
            &[],
        ),
        (
            answer(200, "Set-Cookie: sid=r4nd0m; Path=/; Secure\nSet-Cookie: b=1\n", ""),
            answer(200, "Set-Cookie: b=1\nSet-Cookie: sid=0th3r; path=/\n", ""),
            &["header set-cookie.sid r4nd0m → 0th3r", "header set-cookie.sid.secure secure → nothing"],
        ),
        (
            answer(200, "Content-Type: application/json\nETag: a\n", r#"{"a":1,"b":2}"#),
            answer(503, "Content-Type: text/html\nServer: x\n", "<h1>Sorry</h1>"),
            &["status status 200 → 503"],
        ),
        (json("[true]"), json("[false]"), &["changed $[*] true → false"]),
        (json(r#"{"a b":1}"#), json(r#"{"a b":2}"#), &["changed $[\"a b\"] 1 → 2"]),
        (json("12345678901234567890123"), json("12345678901234567890123"), &[]),
        (
            json("123456789012345678901"),
            json("123456789012345678999"),
            &["changed $ 123456789012345678901 → 123456789012345678999"],
        ),
        (json("[-0, 1e2, 0.10]"), json("[0, 100, 0.1]"), &[]),
        (json(r#"{"a":1,"a":2}"#), json(r#"{"a":1}"#), &["length $.a 2 times → 1 times"]),
        (json(r#"{"a":1,"a":2}"#), json(r#"{"a":1,"a":3}"#), &["changed $.a 2 → 3"]),
        (json("{"), json("{}"), &["body body { → {}"]),
        (answer(200, "", "a\nb\nc"), answer(200, "", "a\nB\nc"), &["body body b → B"]),
        (answer(200, "", "a"), answer(200, "", "a\nmore"), &["body body nothing → more"]),
        (answer(200, "Content-Encoding: br\n", "a"), answer(200, "Content-Encoding: br\n", "b"), &["coded"]),
    ];
    for (primary, mirror, expect) in rows {
        let mut found = told(&plain(), &Redact::default(), primary, mirror);
        let mut expect = expect.to_vec();
        found.sort();
        expect.sort_unstable();
        assert_eq!(found, expect);
    }
}

#[test]
fn only_a_value_that_is_another_looks_like_one_that_is_drawn_anew() {
    let compared = |a: &Answer, b: &Answer| {
        compare(&Rules::new(&plain(), None, None), &Context::default(), a, b).differences
    };
    // The second id stands in the same place, which is known to differ.
    let ids = |side: &str| format!(r#""items":[{{"id":"{side}1"}},{{"id":"{side}2"}}]"#);
    let others = [
        (r#""z":1"#, "", Kind::Missing),
        ("", r#""z":1"#, Kind::Added),
        (r#""z":1"#, r#""z":"1""#, Kind::Type),
        (r#""z":[1]"#, r#""z":[]"#, Kind::Length),
        (r#""z":true"#, r#""z":false"#, Kind::Changed),
    ];
    for (ours, theirs, kind) in others {
        let side = |side: &str, other: &str| {
            let comma = if other.is_empty() { "" } else { "," };
            json(&format!("{{{}{comma}{other}}}", ids(side)))
        };
        let found = compared(&side("1", ours), &side("2", theirs));
        let of = |field: &str| found.iter().find(|of| of.field == field).unwrap();
        assert!(of("$.items[*].id").alike.is_some(), "{found:?}");
        assert_eq!((of("$.z").kind, of("$.z").alike), (kind, None), "{found:?}");
    }
    // Nor where there was no room for those before it.
    let wide = |side: &str| (0..=DIFFERENCES_MAX).map(|n| format!("X-{n}: {side}{n}\n")).collect::<String>();
    let status = |side| answer(200, &wide(side), "");
    let found = compared(&status("1"), &status("2"));
    assert!(found.len() == DIFFERENCES_MAX && found.iter().all(|of| of.alike.is_some()), "{found:?}");
}

#[test]
fn each_cookie_that_a_client_keeps_apart_is_compared_by_itself() {
    let rows: &[(&str, &str, &[&str])] = &[
        // The one at the old path is no longer taken back.
        (
            "Set-Cookie: sid=; Path=/old; Max-Age=0\nSet-Cookie: sid=x; Path=/\n",
            "Set-Cookie: sid=x; Path=/\n",
            &["header set-cookie.sid  → nothing"],
        ),
        (
            "Set-Cookie: a=1; Path=/\nSet-Cookie: a=2; Path=/x\n",
            "Set-Cookie: a=2; Path=/x\nSet-Cookie: a=1; Path=/\n",
            &[],
        ),
        // The client keeps the last of two.
        (
            "Set-Cookie: a=1\nSet-Cookie: a=2\n",
            "Set-Cookie: a=2\nSet-Cookie: a=1\n",
            &["header set-cookie.a 1 → 2"],
        ),
        ("Set-Cookie: a=1\nSet-Cookie: a=1\n", "Set-Cookie: a=1\n", &["header set-cookie.a 1 → nothing"]),
        // A cookie that moved is the same one, elsewhere.
        ("Set-Cookie: a=1; Path=/\n", "Set-Cookie: a=1; Path=/x\n", &["header set-cookie.a.path / → /x"]),
        (
            "Set-Cookie: =1\nSet-Cookie: b=1\n",
            "Set-Cookie: =2\nSet-Cookie: b=1\n",
            &["header set-cookie 1 → 2"],
        ),
        ("Set-Cookie: =1\nSet-Cookie: b=1\n", "Set-Cookie: b=1\n", &["header set-cookie 1 → nothing"]),
        ("Set-Cookie: JSESSIONID=1; Secure\n", "Set-Cookie: JSESSIONID=2\n", &[]),
        // Attributes in any order and in each way of writing them.
        (
            "Set-Cookie: a=1; Path=/; Domain=.Shop.Example; SameSite=Lax; Expires=Thu, 01-Jan-1970 00:00:00 GMT\n",
            "Set-Cookie: a=1;expires=Thu, 01 Jan 1970 00:00:00 GMT;samesite=lax;domain=shop.example;path=/\n",
            &[],
        ),
        // Cookies of other names in any order, one of which is another.
        (
            "Set-Cookie: a=1\nSet-Cookie: b=1\nSet-Cookie: c=1\n",
            "Set-Cookie: c=1\nSet-Cookie: a=1\nSet-Cookie: b=2\n",
            &["header set-cookie.b 1 → 2"],
        ),
    ];
    let rules = Compare { ignore_headers: vec!["set-cookie.jsessionid*".into()], ..plain() };
    for (a, b, expect) in rows {
        let found = told(&rules, &Redact::default(), &answer(200, a, ""), &answer(200, b, ""));
        assert_eq!(&found, expect, "{a}{b}");
    }
}

#[test]
fn what_is_secret_of_a_cookies_line_is_compared_and_not_told_wherever_in_it_it_stands() {
    let redact = Redact { cookies: vec!["sid".into()], query: vec!["token".into()], ..Redact::default() };
    let lines = [
        "sid=S3CRET",
        "sid=S3CRET; Path=/",
        "a=b; sid=S3CRET",
        "a=b; SID = S3CRET; Path=/",
        "a=b; Path=/, sid=S3CRET",
        "a=b; Path=/, sid=\"S3CRET; S3CRET; HttpOnly=S3CRET\"; Path=/",
        "sid=\"x;S3CRET\"",
        "sid=\"x;S3CRET=1\"; Secure",
        "sid=x, b=S3CRET; Secure",
        "a=\"x; sid=S3CRET\"",
        "s%69d=S3CRET",
        "last=/x?token=S3CRET; Path=/",
        "a=b; Path=/x?token=S3CRET",
        "=b; sid=S3CRET",
    ];
    for line in lines {
        let side =
            |secret: &str| answer(200, &format!("Set-Cookie: {}\n", line.replace("S3CRET", secret)), "");
        let found = told(&plain(), &redact, &side("S1a"), &side("S2b"));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        let shown = found.concat().to_ascii_lowercase();
        assert!(
            shown.contains("redacted") && !shown.contains("s1a") && !shown.contains("s2b"),
            "{line}: {shown}"
        );
        let alone = told(&plain(), &redact, &side("S1a"), &answer(200, "Set-Cookie: other=1\n", ""));
        assert!(!alone.concat().to_ascii_lowercase().contains("s1a"), "{line}: {alone:?}");
        assert_eq!(told(&plain(), &redact, &side("S1a"), &side("S1a")), Vec::<String>::new());
    }
    // The rest of the same line is shown.
    let (a, b) = ("Set-Cookie: sid=S1; Path=/; Secure\n", "Set-Cookie: sid=S1; Path=/\n");
    let found = told(&plain(), &redact, &answer(200, a, ""), &answer(200, b, ""));
    assert_eq!(found, ["header set-cookie.sid.secure secure → nothing"]);
}

#[test]
fn compressed_content_is_compared_by_what_it_says() {
    let coded = |content: &str, level| Answer {
        content: crate::compare::coding::tests::gzip(content.as_bytes(), level).into(),
        ..answer(200, "Content-Type: application/json\nContent-Encoding: gzip\n", "")
    };
    let none = Redact::default();
    let a = coded(r#"{"plan":"pro","n":1}"#, 6);
    assert_eq!(told(&plain(), &none, &a, &coded(r#"{"n":1,"plan":"pro"}"#, 0)), Vec::<String>::new());
    let other = coded(r#"{"plan":"free","n":1}"#, 9);
    assert_eq!(told(&plain(), &none, &a, &other), ["changed $.plan \"pro\" → \"free\""]);
    let uncoded = json(r#"{"plan":"pro","n":1}"#);
    assert_eq!(told(&plain(), &none, &a, &uncoded), ["header content-encoding gzip → nothing"]);
    let broken = || Answer { content: a.content.get(..20).unwrap_or_default().into(), ..coded("", 0) };
    assert_eq!(told(&plain(), &none, &a, &broken()), ["body body content → content whose coding is broken"]);
    let other = Answer { content: a.content.get(..19).unwrap_or_default().into(), ..coded("", 0) };
    assert_eq!(told(&plain(), &none, &broken(), &other), ["broken"], "neither side can be read");
}

#[test]
fn what_the_rules_leave_out_is_no_difference() {
    let pattern = |text: &str| config::Pattern::anywhere(text).unwrap();
    let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let rules = Compare {
        ignore_headers: list(&["etag", "x-trace-*"]),
        ignore_json: list(&["/at", "/items/*/id"]),
        ignore_text: vec![pattern("[0-9]{4}-[0-9]{2}")],
        unordered: list(&["/tags"]),
        tolerance: 0.01,
        ..plain()
    };
    let a = answer(
        200,
        "Content-Type: application/vnd.x+json; charset=utf-8\nETag: 1\nX-Trace-Id: 1\n",
        r#"{"at":1,"items":[{"id":1,"on":"2026-01"}],"tags":["a","b"],"n":1000}"#,
    );
    let b = answer(
        200,
        "Content-Type: application/vnd.x+json; charset=utf-8\nETag: 2\nX-Trace-Other: 1\n",
        r#"{"at":2,"items":[{"id":2,"on":"2026-02"}],"tags":["b","a"],"n":1009}"#,
    );
    assert_eq!(told(&rules, &Redact::default(), &a, &b), Vec::<String>::new());
    assert_eq!(told(&plain(), &Redact::default(), &a, &b).len(), 8);
}

#[test]
fn whatever_calls_itself_json_is_compared_by_its_values() {
    let kinds = [
        "application/json",
        "text/json",
        "application/problem+json; charset=utf-8",
        "Application/JSON",
        "text/json;charset=UTF-8",
        "image/svg+JSON",
    ];
    for kind in kinds {
        let of = |content: &str| answer(200, &format!("Content-Type: {kind}\n"), content);
        let (a, b) = (of(r#"{"n":1,"m":[]}"#), of(r#"{ "m": [], "n": 1 }"#));
        assert_eq!(told(&plain(), &Redact::default(), &a, &b), Vec::<String>::new(), "{kind}");
        assert_eq!(told(&plain(), &Redact::default(), &a, &of(r#"{"n":2,"m":[]}"#)).len(), 1, "{kind}");
    }
    // A byte order mark is no JSON, and other types are none though they hold some: both are texts.
    let of = |kind: &str, content: &str| answer(200, &format!("Content-Type: {kind}\n"), content);
    for (kind, mark) in [("application/json", "\u{feff}"), ("application/jsonp", ""), ("text/plain", "")] {
        let (a, b) = (of(kind, &format!(r#"{mark}{{"n":1}}"#)), of(kind, r#"{ "n": 1 }"#));
        let found = told(&plain(), &Redact::default(), &a, &b);
        assert!(found.len() == 1 && found[0].starts_with("body body "), "{kind}: {found:?}");
    }
}

#[test]
fn a_difference_at_or_below_a_secret_is_one_difference_of_the_secret() {
    let redact = Redact {
        headers: vec!["x-key".into()],
        query: vec!["token".into()],
        json: vec!["/sessions".into(), "/users/*/mail".into(), "/keys/*".into()],
        ..Redact::default()
    };
    let r = "[redacted] → [redacted]";
    let rows: &[(&str, &str, &[String])] = &[
        // Names, kinds, lengths and repeated names below it.
        (
            r#"{"sessions":{"S1":1,"x":2}}"#,
            r#"{"sessions":{"S2":1,"x":"2"}}"#,
            &[format!("changed $.sessions {r}")],
        ),
        (r#"{"sessions":["S1"]}"#, r#"{"sessions":["S1","S2"]}"#, &[format!("changed $.sessions {r}")]),
        (r#"{"sessions":["S1"]}"#, r#"{"sessions":null}"#, &[format!("changed $.sessions {r}")]),
        (r#"{"sessions":{"S":1,"S":1}}"#, r#"{"sessions":{"S":1}}"#, &[format!("changed $.sessions {r}")]),
        (r#"{"sessions":1,"sessions":1}"#, r#"{"sessions":1}"#, &[format!("changed $.sessions {r}")]),
        (r#"{"SESSIONS":{"S1":1}}"#, r#"{}"#, &["missing $.SESSIONS [redacted] → nothing".to_owned()]),
        (r#"{"sessions":{"S1":{"S2":[3]}}}"#, r#"{"sessions":{"S1":{"S2":[3]}}}"#, &[]),
        // A star in a path.
        (
            r#"{"users":{"S1":{"mail":1},"S2":{"mail":2}}}"#,
            r#"{"users":{"S1":{"mail":3},"S2":{"mail":4}}}"#,
            &[format!(r#"changed $.users["*"].mail {r}"#)],
        ),
        (
            r#"{"keys":{"S1":1}}"#,
            r#"{"keys":{"S2":1}}"#,
            &[
                r#"added $.keys["*"] nothing → [redacted]"#.to_owned(),
                r#"missing $.keys["*"] [redacted] → nothing"#.to_owned(),
            ],
        ),
        // A batch.
        (r#"[{"sessions":"S1"}]"#, r#"[{"sessions":"S2"}]"#, &[format!("changed $[*].sessions {r}")]),
        // Parameters in names and values.
        (
            r#"{"next":"/x?a=1&token=S1","/y?token=S2":1}"#,
            r#"{"next":"/x?a=2&token=S3"}"#,
            &[
                r#"missing $["/y?token=%5Bredacted%5D"] 1 → nothing"#.to_owned(),
                r#"changed $.next "/x?a=1&token=%5Bredacted%5D" → "/x?a=2&token=%5Bredacted%5D""#.to_owned(),
            ],
        ),
    ];
    for (a, b, expect) in rows {
        let mut found = told(&plain(), &redact, &json(a), &json(b));
        found.sort_by_key(|line| !line.starts_with("added"));
        assert_eq!(&found, expect, "{a} {b}");
    }
    // How many lines a field has, and how long content is that cannot be searched.
    let (a, b) = (answer(200, "X-Key: S1\n", ""), answer(200, "X-Key: S1\nX-Key: S2\n", ""));
    assert_eq!(told(&plain(), &redact, &a, &b), [format!("header x-key {r}")]);
    let (a, b) =
        (answer(200, "", "long content"), Answer { is_cut: true, ..answer(200, "", "longer content yet") });
    assert_eq!(told(&plain(), &redact, &a, &b), [format!("body body {r}")]);
}

#[test]
fn secrets_are_compared_and_not_told() {
    let redact = Redact {
        headers: vec!["x-key".into()],
        json: vec!["/card".into(), "/people/*/name".into()],
        ..Redact::default()
    };
    let a = answer(
        200,
        "Content-Type: application/json\nX-Key: S1\n",
        r#"{"card":{"no":"S2"},"people":[{"name":"S3"}]}"#,
    );
    let b = answer(
        200,
        "Content-Type: application/json\nX-Key: S4\n",
        r#"{"card":{"no":"S5"},"people":[{"name":"S6"}]}"#,
    );
    let all = told(&plain(), &redact, &a, &b);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.iter().all(|line| line.ends_with("[redacted] → [redacted]")), "{all:?}");
    let text = told(&plain(), &redact, &json("S1"), &json("S2"));
    assert_eq!(text, ["body body [redacted] → [redacted]"]);
    // The case of a member's name does not matter, as on the wire.
    let cased = told(&plain(), &redact, &json("{\"card\":\"S1\"}"), &json("{\"Card\":\"S2\"}"));
    assert_eq!(cased, ["added $.Card nothing → [redacted]", "missing $.card [redacted] → nothing"]);
    // And in each line of a field by itself.
    let query = Redact { query: vec!["token".into()], ..Redact::default() };
    let a = answer(302, "Location: /a?x=1\nLocation: /b?token=S1\n", "");
    let b = answer(302, "Location: /a?x=1\nLocation: /b?token=S2\n", "");
    let lines = told(&plain(), &query, &a, &b);
    assert!(lines.len() == 1 && !lines[0].contains("S1") && !lines[0].contains("S2"), "{lines:?}");
    assert!(lines[0].contains("/a?x=1"), "{lines:?}");
}

#[test]
fn an_answer_never_differs_from_itself_and_nothing_it_holds_is_too_much() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let wide = format!("[{}1]", "{\"a\":1},".repeat(2000));
    for content in ["", "{}", "nan", "1e999", "\u{feff}{}", &deep, &wide, "{\"a\":1,\"a\":2}"] {
        assert_eq!(told(&plain(), &Redact::default(), &json(content), &json(content)), Vec::<String>::new());
        let other = content.replace('1', "2") + " ";
        assert!(told(&plain(), &Redact::default(), &json(content), &json(&other)).len() <= DIFFERENCES_MAX);
    }
    let cut = Answer { is_cut: true, ..json("[1") };
    assert_eq!(told(&plain(), &Redact::default(), &cut, &json("[1")), ["too_long"]);
    assert_eq!(told(&plain(), &Redact::default(), &cut, &cut), ["too_long"], "what follows may differ");
}

#[test]
fn a_side_that_is_shorter_than_what_was_kept_of_the_other_differs() {
    let none = Redact::default();
    let long = |content: &str| Answer { is_cut: true, ..json(content) };
    let rows = [
        (long("[1,2"), json(""), "body body more than 4 bytes → 0 bytes"),
        (json("[1"), long("[1,2"), "body body 2 bytes → more than 4 bytes"),
        // The same may be said in fewer bytes.
        (long("[1, 2"), json("[1]"), "too_long"),
        (long("[1"), json("[1,2]"), "too_long"),
    ];
    for (primary, mirror, expect) in rows {
        assert_eq!(told(&plain(), &none, &primary, &mirror), [expect]);
    }
}

#[test]
fn what_is_no_text_is_compared_by_its_bytes() {
    let bytes = |content: &[u8]| Answer { content: content.into(), ..answer(200, "", "") };
    let none = Redact::default();
    assert_eq!(told(&plain(), &none, &bytes(b"A\xff"), &bytes(b"A\xff")), Vec::<String>::new());
    let found = told(&plain(), &none, &bytes(b"A\xff"), &bytes(b"A\xfe"));
    assert!(found[0].starts_with("body body 2 bytes, hash "), "{found:?}");
    let found = told(&plain(), &none, &bytes(b"A\xff"), &bytes(b"A\xef\xbf\xbd"));
    assert_eq!(found.len(), 1, "{found:?}");
    // Nor do fields lose bytes that are no text (RFC 9110 §5.5).
    let field = |line: &[u8]| Answer { fields: [line, b"\r\n"].concat().into(), ..answer(200, "", "") };
    for (one, other, differ) in [
        (&b"X: caf\xe9"[..], &b"X: caf\xe9"[..], false),
        (b"X: caf\xe9", b"x:  caf\xe9 ", false),
        (b"X: caf\xe9", b"X: caf\xe8", true),
        (b"X: caf\xe9", b"X: caf\xef\xbf\xbd", true),
        (b"X: caf\xe9", b"X: caf\xc3\xa9", true),
        (b"X: caf\xe9", br"X: caf\xe9", true),
        (b"Set-Cookie: a=\xe9", b"Set-Cookie: a=\xe8", true),
        (b"Set-Cookie: a=\xe9", br"Set-Cookie: a=\xe9", true),
        (b"Vary: \xe9", b"Vary: \xe8", true),
    ] {
        let found = told(&plain(), &none, &field(one), &field(other));
        assert_eq!(!found.is_empty(), differ, "{} {}: {found:?}", one.escape_ascii(), other.escape_ascii());
    }
    let found = told(&plain(), &none, &field(b"X: caf\xe9"), &field(b"X: caf\xe8"));
    assert_eq!(found, [r"header x caf\xe9 → caf\xe8"]);
    let found = told(&plain(), &none, &field(b"Set-Cookie: \xe9=a"), &field(b"Set-Cookie: \xe9=b"));
    assert_eq!(found, [r"header set-cookie.\xe9 a → b"]);
    let found = told(&plain(), &none, &field(b"Set-Cookie: a=1; \xe9=2"), &field(b"Set-Cookie: a=1; \xe9=3"));
    assert_eq!(found, [r"header set-cookie.a.\xe9 2 → 3"]);
}

#[test]
fn items_without_order_are_matched_by_what_is_compared_of_them() {
    let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let rules = Compare { ignore_json: list(&["/*/id"]), unordered: list(&["", "/*/tags"]), ..plain() };
    let a = json(r#"[{"id":1,"name":"x","n":1},{"id":2,"name":"y","tags":["a","b"]}]"#);
    let b = json(r#"[{"id":8,"name":"y","tags":["b","a"]},{"id":9,"name":"x","n":1.0}]"#);
    assert_eq!(told(&rules, &Redact::default(), &a, &b), Vec::<String>::new());
}

#[test]
fn items_without_order_are_matched_though_their_numbers_differ_a_little() {
    let rules = Compare { tolerance: 0.01, unordered: vec!["/items".into()], ..plain() };
    let none = Redact::default();
    let rows = [
        (
            r#"{"items":[{"p":9.999,"s":"a"},{"p":50,"s":"b"}]}"#,
            r#"{"items":[{"p":50,"s":"b"},{"p":10.001,"s":"a"}]}"#,
        ),
        (r#"{"items":[9.999,50,-3]}"#, r#"{"items":[10.001,-3.01,50]}"#),
        (
            r#"{"items":[{"a":[1,2],"b":7},{"a":[1,3],"b":6}]}"#,
            r#"{"items":[{"a":[1,3],"b":6},{"a":[1,2],"b":7}]}"#,
        ),
    ];
    for (a, b) in rows {
        assert_eq!(told(&rules, &none, &json(a), &json(b)), Vec::<String>::new(), "{a}");
    }
    let found = told(&rules, &none, &json(r#"{"items":[1,2]}"#), &json(r#"{"items":[2,3]}"#));
    assert_eq!(found, ["changed $.items[*] 1 → 2"]);
}

#[test]
fn names_are_kept_to_their_bound_and_stay_apart() {
    let of = |name: &str| json(&format!("{{\"{name}\":1}}"));
    let fields = |name: &str| {
        compare(&Rules::new(&plain(), None, None), &Context::default(), &of(name), &json("{}")).differences
    };
    let long = "n".repeat(1 << 19);
    let (one, other) = (fields(&format!("{long}1")), fields(&format!("{long}2")));
    assert!(one[0].field.len() <= FIELD_BYTES_MAX && one[0].field != other[0].field, "{one:?}");
    let mut deep = "1".to_owned();
    (0..100).for_each(|_| deep = format!("{{\"a-name-of-some-length\":{deep}}}"));
    let found = told(&plain(), &Redact::default(), &json(&deep), &json(&deep.replace('1', "2")));
    assert!(found[0].len() < FIELD_BYTES_MAX + 100, "{found:?}");
    let header = |value: &str| answer(200, &format!("{}: {value}\n", "h".repeat(5000)), "");
    let found = told(&plain(), &Redact::default(), &header("a"), &header("b"));
    assert!(found[0].len() < FIELD_BYTES_MAX + 100, "{found:?}");
}

#[test]
fn contents_of_other_types_than_asked_for_are_not_compared() {
    let rules = |types: &[&str]| {
        let content_types = types.iter().map(|t| (*t).to_owned()).collect();
        Compare { content_types, ..plain() }
    };
    let of = |kind: &str, content: &str| answer(200, &format!("Content-Type: {kind}\n"), content);
    let rows: &[(&[&str], &str, bool)] = &[
        (&[], "image/png", true),
        (&["text/*"], "Text/HTML; charset=utf-8", true),
        (&["text/*"], "image/png", false),
        (&["application/json", "text/html"], "text/htmlx", false),
        (&["application/*+json"], "application/vnd.x+json", true),
        (&["application/*+json"], "application/json", false),
    ];
    for (types, kind, differs) in rows {
        let found = told(&rules(types), &Redact::default(), &of(kind, "1"), &of(kind, "2"));
        assert_eq!(found.len(), 1, "{types:?} {kind}: {found:?}");
        assert_eq!(found[0] != "content_type", *differs, "{types:?} {kind}: {found:?}");
    }
    // A page of errors in place of JSON is worth showing.
    let found = told(&rules(&["application/json"]), &Redact::default(), &json("1"), &of("text/html", "2"));
    assert_eq!(found, ["header content-type application/json → text/html", "body body 1 → 2"]);
    let found = told(&rules(&["text/*"]), &Redact::default(), &answer(200, "", "1"), &answer(200, "", "2"));
    assert_eq!(found, ["content_type"], "nobody says what it is");
}

#[test]
fn what_the_gateway_wrote_on_a_copy_is_left_out_wherever_an_answer_echoes_it() {
    let ours = "00-0af7651916cd43dd8448eb211c80319c-0101010101010101-01";
    let theirs = ours.replace("0101010101010101", "abababababababab");
    let context = Context { added: Added::new([0xab; 8], [1; 8]), ..Context::default() };
    let text = |content: &str| answer(200, "Content-Type: text/plain\n", content);
    let rows = [
        (
            json(&format!(r#"{{"headers":{{"Host":"a","Traceparent":"{ours}"}}}}"#)),
            json(&format!(
                r#"{{"headers":{{"Host":"a","Traceparent":"{theirs}","X-Umbra-Mirror":"v2","X-Umbra-Primary-Status":"200"}}}}"#
            )),
        ),
        (
            json(r#"{"environ":{}}"#),
            json(r#"{"environ":{"HTTP_X_UMBRA_MIRROR":"v2","HTTP_X_UMBRA_COPY":"2"}}"#),
        ),
        (
            json(r#"{"headers":[["host","a"],["accept","*/*"]]}"#),
            json(r#"{"headers":[["host","a"],["x-umbra-mirror","v2"],["accept","*/*"]]}"#),
        ),
        (
            json(r#"[{"name":"host","value":"a"}]"#),
            json(r#"[{"name":"X-Umbra-Mirror","value":"v2"},{"name":"host","value":"a"}]"#),
        ),
        (json(&format!("{{\"trace\":\"{ours}\"}}")), json(&format!("{{\"trace\":\"{theirs}\"}}"))),
        (text("Host: a\nAccept: b\n"), text("Host: a\nX-Umbra-Mirror: v2\nAccept: b\n")),
        (
            answer(200, &format!("X-Trace: {ours}\n"), ""),
            answer(200, &format!("X-Umbra-Mirror: v2\nX-Trace: {theirs}\n"), ""),
        ),
    ];
    let rules = Rules::new(&plain(), None, None);
    for (primary, mirror) in rows {
        assert_eq!(compare(&rules, &context, &primary, &mirror).differences, []);
        assert_ne!(
            compare(&rules, &context, &primary, &json(r#"{"other":1}"#)).differences,
            [],
            "nor is all else"
        );
    }
}

#[test]
fn a_name_that_is_folded_is_written_so_that_its_end_is_known() {
    let mut folds = Folds::default();
    let mut last = |name: fn(usize) -> String| {
        let all =
            (0..50).map(|n| text_of(None, &vec![Some("of"), Some(&name(n)), Some("seen")], Some(&mut folds)));
        all.collect::<Vec<_>>().pop()
    };
    assert_eq!(last(|n| format!("u{n}")).as_deref(), Some("$.of.u*.seen"));
    assert_eq!(last(|n| format!("10.0.0.{n}")).as_deref(), Some(r#"$.of["*.*.*.*"].seen"#));
    assert_eq!(last(|n| format!("a[{n}]")).as_deref(), Some(r#"$.of["a[*]"].seen"#));
}

#[test]
fn what_v1_changes_each_time_is_another_where_its_shape_is_and_elsewhere_a_change_is_one_difference() {
    let rows = [
        (r#""3f29c0b1a7d84e56""#, r#""9b1e22c47fa03d58""#, false),
        (r#""3f29c0b1a7d84e56""#, r#""9b1e22c4""#, true),
        (r#""3f29c0b1a7d84e56""#, r#""tok_9b1e22c47fa03d58""#, true),
        (r#""2026-11-30T10:00:00Z""#, r#""2026-11-30T10:00:07Z""#, false),
        (r#""2026-11-30T10:00:00Z""#, r#""2026-11-30 10:00:07""#, true),
        ("1764500000", "1764500007", false),
        ("99", "100", false),
        ("1764500000", "1764500007000", true),
    ];
    let compare = Rules::new(&plain(), None, None);
    for (ours, theirs, is_other) in rows {
        let sides = [ours, theirs].map(|value| json(&format!(r#"{{"a":{value}}}"#)));
        let known: HashSet<_> = [("$.a".to_owned(), Kind::Changed)].into();
        for (known, expect) in [(Some(&known), is_other), (None, false)] {
            let context = Context { known, ..Context::default() };
            let found = super::compare(&compare, &context, &sides[0], &sides[1]);
            let kinds: Vec<Kind> = found.differences.iter().map(|of| of.kind).collect();
            let expect = if expect { vec![Kind::Changed, Kind::Type] } else { vec![Kind::Changed] };
            assert_eq!(kinds, expect, "{ours} {theirs}");
        }
    }
}
