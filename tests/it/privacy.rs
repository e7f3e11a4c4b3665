//! The ways of secrets: to the primary and back to the client, and nowhere else. Every outlet there is, is searched.

use std::fs;
use std::process::Command;

use tests::gateway::binary;
use tests::message::post;
use tests::{Gateway, Origin, Setup, eventually};

/// Each stands in one place that `redact` names.
const SECRETS: [&str; 6] =
    ["S3CRET-header", "S3CRET-cookie", "S3CRET-query", "S3CRET-json", "S3CRET-set", "S3CRET-answer"];
const TOKEN: &str = "T0KEN-of-the-admin";

const REDACT: &str = "percent = 100, compare = {}, redact = { headers = [\"authorization\", \"x-answer\"], \
                      cookies = [\"sid\"], query = [\"token\"], json = [\"/card\"] }";

fn answer(version: &str) -> String {
    let json = format!(r#"{{"version":"{version}","card":"S3CRET-json-{version}"}}"#);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=S3CRET-set-{version}; Path=/\r\n\
         X-Answer: S3CRET-answer-{version}\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

fn asked() -> String {
    let json = r#"{"user":"ada","card":"S3CRET-json"}"#;
    format!(
        "POST /pay?token=S3CRET-query&a=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer S3CRET-header\r\n\
         Cookie: sid=S3CRET-cookie; theme=dark\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

/// All pages of the admin listener, and the output of the command line on them.
fn told(gateway: &Gateway) -> Vec<(String, String)> {
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let pages = [
        "/",
        "/live",
        "/metrics",
        "/config",
        "/outcomes",
        "/histograms",
        "/diffs",
        "/diffs?format=jsonl",
        "/verdict",
        "/healthz",
        "/readyz",
        "/mirrors",
        "/routes",
        "/schema",
        "/logs",
        "/logs?source=access",
        "/changes",
        "/evidence",
        "/status",
        "/live?seconds=3600",
        "/live/routes",
        "/live/distributions?route=all",
        "/nothing",
    ];
    let mut all: Vec<(String, String)> = pages
        .iter()
        .map(|page| ((*page).to_owned(), gateway.admin_with("GET", page, &bearer, "").text()))
        .collect();
    let ids = groups(gateway);
    for id in &ids {
        for (method, page) in [("GET", format!("/diffs/{id}")), ("POST", format!("/diffs/{id}/again"))] {
            let body = if method == "POST" { "{}" } else { "" };
            let answer = gateway.admin_with(method, &page, &bearer, body);
            assert!(
                matches!(answer.status, 200 | 409),
                "{method} {page}: {} {}",
                answer.status,
                answer.text()
            );
            all.push((format!("{method} {page}"), answer.text()));
        }
    }
    let admin = format!("http://{}", gateway.admin);
    let mut verbs = vec![vec!["diffs"], vec!["diffs", "--jsonl"], vec!["diffs", "--schema"], vec!["logs"]];
    verbs.extend([vec!["histogram"], vec!["status"], vec!["verdict"]]);
    verbs.extend(ids.iter().take(3).map(|id| vec!["diffs", id, "--curl"]));
    for verb in verbs {
        let mut command = Command::new(binary());
        let output = command.args(&verb).args(["--admin", &admin]).env("UMBRA_ADMIN_TOKEN", TOKEN).output();
        let output = output.expect("the program");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!told.contains("give the token"), "{verb:?}: {told}");
        all.push((verb.join(" "), told));
    }
    all
}

/// Ids of all groups of differences.
fn groups(gateway: &Gateway) -> Vec<String> {
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let told = gateway.admin_with("GET", "/diffs", &bearer, "").text();
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let ids = told["groups"].as_array().into_iter().flatten().filter_map(|group| group["id"].as_str());
    ids.map(str::to_owned).collect()
}

#[test]
fn a_secret_goes_to_the_primary_and_its_client_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (v1, v2) =
        (Origin::fixed(answer("v1"), tests::After::Keep), Origin::fixed(answer("v2"), tests::After::Keep));
    let collector = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", tests::After::Keep);
    for format in ["json", "combined"] {
        let log = folder.path().join(format);
        let toml = format!(
            "[access_log]\nto = {:?}\nformat = {format:?}\n[tracing]\nto = \"http://{}\"\npercent = 100\n",
            log.display().to_string(),
            collector.address
        );
        let toml = Setup::new(&v1).mirror("v2", v2.address, REDACT).with(&toml).toml();
        let toml = toml.replacen("[admin]\n", &format!("[admin]\ntoken = {TOKEN:?}\n"), 1);
        let gateway = Gateway::start(&toml, &[("UMBRA_LOG".to_owned(), "trace".to_owned())]);
        let before = (v2.count(), collector.count());
        for _ in 0..5 {
            let answer = gateway.client().ask(asked());
            assert!(answer.text().contains("S3CRET-json-v1"), "the client gets what v1 said");
            assert!(answer.field("set-cookie").is_some_and(|value| value.contains("S3CRET-set-v1")));
        }
        // Bad requests are told about too, and so is a configuration that is refused.
        for bad in [
            "GET /x?token=S3CRET-query HTTP/1.1\r\nHost: a\r\nAuthorization : S3CRET-header\r\n\r\n",
            "GET /x?token=S3CRET-query HTTP/1.1\r\nHost : a\r\nCookie: sid=S3CRET-cookie\r\n\r\n",
        ] {
            assert_eq!(gateway.client().ask(bad).status, 400);
        }
        v2.wait_for(before.0 + 5);
        gateway.settled("v2");
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        assert_eq!(gateway.admin("GET", "/diffs", "").status, 401, "samples are for who may change things");
        eventually("differences are found", || {
            gateway.admin_with("GET", "/diffs", &bearer, "").text().contains("version")
        });
        eventually("spans are told", || collector.count() > before.1);
        eventually("the log is written", || {
            fs::read_to_string(&log).is_ok_and(|text| text.lines().count() >= 5)
        });
        let mut outlets = told(&gateway);
        assert!(
            outlets.iter().any(|(page, text)| page.starts_with("GET /diffs/") && text.contains("[redacted]")),
            "{outlets:?}"
        );
        outlets.push(("standard error".into(), gateway.stderr()));
        outlets.push(("the banner".into(), gateway.stdout()));
        outlets.push((format!("the access log, {format}"), fs::read_to_string(&log).expect("the log")));
        for (to, origin) in [("v2's wire", &v2), ("the collector's wire", &collector)] {
            outlets.push((to.to_owned(), origin.wires().concat() + &received(origin, 0)));
        }
        for (outlet, text) in &outlets {
            for secret in SECRETS.iter().chain(&[TOKEN]) {
                let at = text.find(secret);
                let around = at.map(|at| &text[at.saturating_sub(200)..(at + 60).min(text.len())]);
                assert!(around.is_none(), "{outlet} tells {secret}: {around:?}");
            }
        }
    }
    assert!(SECRETS[..4].iter().all(|secret| v1.saw(secret)), "the primary gets everything");
}

/// A place where a secret may be, in requests or in answers: `S3CRET` is in it and nowhere else.
struct Carrier {
    name: &'static str,
    /// Behind `/`: target and head lines.
    request: String,
    /// Head lines of the answer, and JSON.
    answer: (&'static str, String),
    /// Sent to a mirror that searches forms and not JSON.
    is_form: bool,
}

fn posted(kind: &str, content: &str) -> String {
    post(&format!("Content-Type: {kind}\r\nContent-Length: {}", content.len()), content)
}

fn carriers() -> Vec<Carrier> {
    let plain = || ("", String::new());
    let row = |name, request: String, answer: (&'static str, String)| Carrier {
        name,
        request,
        answer,
        is_form: false,
    };
    let sent = |name, target: &str, lines: &str| {
        row(name, format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), plain())
    };
    let answered = |name, lines, json: &str| {
        row(name, "GET /answered HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), (lines, json.to_owned()))
    };
    let mut all = vec![
        sent("a field", "/", "Authorization: S3CRET\r\n"),
        sent("a field as an environment has it", "/", "X_Key: S3CRET\r\n"),
        sent("the request id", "/", "X-Request-Id: S3CRET\r\n"),
        sent("the user agent", "/", "User-Agent: S3CRET\r\n"),
        sent("a cookie", "/", "Cookie: a=b; sid=S3CRET\r\n"),
        sent("a quoted cookie", "/", "Cookie: \"sid\"=S3CRET\r\n"),
        sent("the query", "/?a=1&token=S3CRET", ""),
        sent("the query, coded twice", "/?%2574oken=S3CRET", ""),
        sent("the query, as an array", "/?token[]=S3CRET", ""),
        sent("the path's parameters", "/x;token=S3CRET", ""),
        sent("a query in a query", "/?next=%2Fx%3Ftoken%3DS3CRET", ""),
        sent("the referer's query", "/", "Referer: http://a/?token=S3CRET\r\n"),
        sent("the referer's fragment", "/", "Referer: http://a/#token=S3CRET\r\n"),
        sent("a target before it was rewritten", "/", "X-Original-URL: /x?token=S3CRET\r\n"),
        row("a member of JSON", posted("application/json", r#"{"card":"S3CRET"}"#), plain()),
        row("a batch of JSON", posted("application/json", r#"[{"card":"S3CRET"}]"#), plain()),
        row("names below a member", posted("application/json", r#"{"sessions":{"S3CRET":1}}"#), plain()),
        row(
            "trailers",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Key: S3CRET\r\n\r\n".to_owned(),
            plain(),
        ),
        answered("an answer's field", "X-Answer: S3CRET-vN\r\n", ""),
        answered("Set-Cookie", "Set-Cookie: sid=S3CRET-vN; Path=/\r\n", ""),
        answered("Set-Cookie behind another cookie", "Set-Cookie: a=b; sid=S3CRET-vN\r\n", ""),
        answered("Set-Cookie behind a comma", "Set-Cookie: a=b; Path=/, sid=S3CRET-vN\r\n", ""),
        answered("a Set-Cookie whose value is quoted", "Set-Cookie: sid=\"x;S3CRET-vN\"\r\n", ""),
        answered("a quoted Set-Cookie", "Set-Cookie: \"sid\"=S3CRET-vN\r\n", ""),
        answered("Location's query", "Location: /cb?token=S3CRET-vN\r\n", ""),
        answered("Location's fragment", "Location: https://app/cb#token=S3CRET-vN\r\n", ""),
        answered("Link", "Link: <https://a/?token=S3CRET-vN>; rel=\"next\"\r\n", ""),
        answered("Refresh", "Refresh: 5; url=/x?token=S3CRET-vN\r\n", ""),
        answered("X-Accel-Redirect", "X-Accel-Redirect: /in?token=S3CRET-vN\r\n", ""),
        answered("an answer's member", "", r#""card":"S3CRET-vN""#),
        answered("a number of items", "", r#""card":["vN","S3CRET"]"#),
        answered("an answer's names below a member", "", r#""sessions":{"S3CRET-vN":1}"#),
        answered("an answer's members by a star", "", r#""users":{"ada":{"S3CRET-vN":1}}"#),
        answered("a link in a member", "", r#""next":"/x?a=1&token=S3CRET-vN""#),
        answered("a link in a name", "", r#""/x?token=S3CRET-vN":1"#),
    ];
    let form = "application/x-www-form-urlencoded";
    all.push(Carrier { is_form: true, ..row("a form", posted(form, "a=1&token=S3CRET&b=2"), plain()) });
    let lines = format!("Transfer-Encoding: chunked\r\nContent-Type: {form}");
    let chunks = post(&lines, "e\r\n%74oken=S3CRET\r\n0\r\n\r\n");
    all.push(Carrier { is_form: true, ..row("a form in chunks", chunks, plain()) });
    all
}

/// Answers by the carrier that the request names, as this version.
fn answering(version: &'static str) -> Origin {
    let carriers = carriers();
    Origin::new(move |request, stream| {
        let number = request.field("x-carrier").and_then(|number| number.parse::<usize>().ok());
        let (lines, json) =
            number.and_then(|number| carriers.get(number)).map_or(("", ""), |of| (of.answer.0, &of.answer.1));
        let comma = if json.is_empty() { "" } else { "," };
        let json = format!("{{\"version\":\"{version}\"{comma}{json}}}").replace("vN", version);
        let lines = lines.replace("vN", version);
        tests::origin::write(
            stream,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{lines}Content-Length: {}\r\n\r\n{json}",
                json.len()
            ),
        )
    })
}

/// Content of all requests but the first ones.
fn received(origin: &Origin, skipped: usize) -> String {
    let requests = origin.requests();
    requests.iter().skip(skipped).map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
}

#[test]
fn whatever_carries_a_secret_no_outlet_tells_it() {
    let carriers = carriers();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let collector = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", tests::After::Keep);
    for format in ["json", "combined"] {
        let (v1, v2) = (answering("v1"), answering("v2"));
        let log = folder.path().join(format);
        let names = "headers = [\"authorization\", \"x-key\", \"x-request-id\", \"user-agent\", \"x-answer\"], \
                     cookies = [\"sid\"], query = [\"token\"]";
        let json = "json = [\"/card\", \"/sessions\", \"/users/*\"]";
        let toml = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\ntoken = {TOKEN:?}\n[workers]\ncount = 1\npin = false\n\
             [access_log]\nto = {:?}\nformat = {format:?}\n[tracing]\nto = \"http://{}\"\npercent = 100\n\
             [upstream.v1]\nendpoints = [\"{}\"]\n[upstream.v2]\nendpoints = [\"{}\"]\n\
             [[route]]\nname = \"forms\"\nwhen = [{{ header = \"x-form\", present = true }}]\nprimary = \"v1\"\n\
             mirrors = [{{ upstream = \"v2\", compare = {{}}, redact = {{ {names} }} }}]\n\
             [[route]]\nname = \"all\"\nprimary = \"v1\"\n\
             mirrors = [{{ upstream = \"v2\", compare = {{}}, redact = {{ {names}, {json} }} }}]\n",
            log.display().to_string(),
            collector.address,
            v1.address,
            v2.address,
        );
        let gateway = Gateway::start(&toml, &[("UMBRA_LOG".to_owned(), "trace".to_owned())]);
        let spans_before = collector.count();
        for (number, carrier) in carriers.iter().enumerate() {
            let form = if carrier.is_form { "X-Form: 1\r\n" } else { "" };
            let request = carrier.request.replacen("\r\n", &format!("\r\nX-Carrier: {number}\r\n{form}"), 1);
            assert_eq!(gateway.client().ask(request).status, 200, "{}", carrier.name);
        }
        v2.wait_for(carriers.len());
        gateway.settled("v2");
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        eventually("every pair is compared", || {
            let told = gateway.admin_with("GET", "/diffs", &bearer, "").text();
            let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
            let compared =
                told["compared"].as_array().into_iter().flatten().filter_map(|of| of["compared"].as_u64());
            compared.sum::<u64>() == carriers.len() as u64
        });
        eventually("the log is written", || {
            fs::read_to_string(&log).is_ok_and(|text| text.lines().count() >= carriers.len())
        });
        eventually("spans are told", || {
            received(&collector, spans_before).matches("umbra.request_id").count() >= carriers.len()
        });
        let mut outlets = told(&gateway);
        let policy = "samples_min = 5";
        let hook = r#"{"name":"v2","metadata":{"policy":"samples_min = 5"}}"#;
        for (method, page, text, statuses) in [
            ("GET", "/verdict?all=true", "", [200, 200]),
            ("GET", "/verdict?all=true&format=text", "", [200, 200]),
            ("POST", "/verdict", policy, [200, 200]),
            ("POST", "/verdict?all=true&format=text", policy, [200, 200]),
            // Whichever way it goes.
            ("POST", "/verdict/gate", hook, [200, 409]),
        ] {
            let answer = gateway.admin_with(method, page, &bearer, text);
            assert!(
                statuses.contains(&answer.status),
                "{method} {page}: {} {}",
                answer.status,
                answer.text()
            );
            outlets.push((format!("{method} {page}"), answer.text()));
        }
        outlets.push(("standard error".into(), gateway.stderr()));
        outlets.push((format!("the access log, {format}"), fs::read_to_string(&log).expect("the log")));
        outlets.push(("the collector's wire".into(), received(&collector, spans_before)));
        // Each carrier by itself, so that a failure names it; values in answers came from the mirror itself.
        for (outlet, text) in &outlets {
            let at = text.find("S3CRET");
            let around = at.map(|at| {
                let from = text.floor_char_boundary(at.saturating_sub(300));
                &text[from..text.floor_char_boundary(at + 80)]
            });
            assert!(around.is_none(), "{outlet} tells a secret: {around:?}");
        }
        for copy in v2.requests() {
            let number: usize = copy.field("x-carrier").and_then(|n| n.parse().ok()).expect("its number");
            let wire = format!("{copy:?} {}", String::from_utf8_lossy(&copy.body));
            assert!(!wire.contains("S3CRET"), "v2's wire has what {} carries: {wire}", carriers[number].name);
        }
        let sent = carriers.iter().filter(|carrier| carrier.request.contains("S3CRET")).count();
        let carries = |request: &tests::Request| {
            format!("{request:?} {}", String::from_utf8_lossy(&request.body)).contains("S3CRET")
        };
        let got = v1.requests().iter().filter(|request| carries(request)).count();
        assert_eq!(got, sent, "the primary gets everything");
    }
}

#[test]
fn a_trace_that_is_redacted_is_not_continued() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let collector = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", tests::After::Keep);
    let tracing = format!("[tracing]\nto = \"http://{}\"\npercent = 100\n", collector.address);
    let redact = "redact = { headers = [\"traceparent\"] }";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, redact).with(&tracing).start();
    let trace = "5ec2e75ec2e75ec2e75ec2e75ec2e75e";
    let lines = format!("traceparent: 00-{trace}-5ec2e75ec2e75ec2-01\r\n");
    assert_eq!(gateway.client().ask(tests::message::with(&lines)).status, 200);
    v2.wait_for(1);
    eventually("spans are told", || collector.count() > 0);
    for (to, origin) in [("v2", &v2), ("the collector", &collector)] {
        let all = origin.wires().concat() + &received(origin, 0);
        assert!(
            !all.contains(trace) && !all.contains("5ec2e75ec2e75ec2"),
            "{to} is told of the client's trace"
        );
    }
}
