//! Faults of a v2, each on a route of its own, beside noise that v1 has too: each is named by its route and field, and nothing
//! beside it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tests::origin::write;
use tests::{Gateway, Origin};

/// Pairs of each route and mirror that are compared, and requests of each at most.
const EACH: u64 = 50;
const ROUNDS_MAX: usize = 1_000;

/// A fault of v2: heads behind `HTTP/1.1 ` and contents. `NOISE` is 32 hex digits that are new in each response, `SECONDS` a
/// time that goes on.
struct Fault {
    name: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
    /// The fault shows in one of so many requests.
    every: usize,
    /// Field and kind.
    named: &'static [(&'static str, &'static str)],
}

const JSON: &str = "200 OK\r\nContent-Type: application/json\r\nETag: \"NOISE\"\r\n";

/// Of one JSON member, beside members that are noise.
const fn member(
    name: &'static str,
    v1: &'static str,
    v2: &'static str,
    named: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { name, v1: (JSON, v1), v2: (JSON, v2), every: 1, named }
}

const fn head(
    name: &'static str,
    v1: &'static str,
    v2: &'static str,
    named: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { name, v1: (v1, PLAIN), v2: (v2, PLAIN), every: 1, named }
}

const fn content(
    name: &'static str,
    head: &'static str,
    v1: &'static str,
    v2: &'static str,
    named: &'static [(&'static str, &'static str)],
) -> Fault {
    Fault { name, v1: (head, v1), v2: (head, v2), every: 1, named }
}

const PLAIN: &str = "{\"id\":\"NOISE\",\"a\":1}";

const fn seldom(every: usize, fault: Fault) -> Fault {
    Fault { every, ..fault }
}

const FAULTS: [Fault; 44] = [
    member(
        "price",
        r#"{"id":"NOISE","price":19.99}"#,
        r#"{"id":"NOISE","price":19.98}"#,
        &[("$.price", "changed")],
    ),
    member(
        "big",
        r#"{"id":"NOISE","n":9007199254740993}"#,
        r#"{"id":"NOISE","n":9007199254740992}"#,
        &[("$.n", "changed")],
    ),
    member("flag", r#"{"id":"NOISE","on":true}"#, r#"{"id":"NOISE","on":"true"}"#, &[("$.on", "type")]),
    member("quoted", r#"{"id":"NOISE","n":42}"#, r#"{"id":"NOISE","n":"42"}"#, &[("$.n", "type")]),
    member("none", r#"{"id":"NOISE","tags":[]}"#, r#"{"id":"NOISE","tags":null}"#, &[("$.tags", "type")]),
    member(
        "null",
        r#"{"id":"NOISE","to":{"line":null}}"#,
        r#"{"id":"NOISE","to":{}}"#,
        &[("$.to.line", "missing")],
    ),
    member("debug", r#"{"id":"NOISE"}"#, r#"{"id":"NOISE","debug":{"sql":"x"}}"#, &[("$.debug", "added")]),
    member(
        "order",
        r#"{"id":"NOISE","sizes":["s","m","l"]}"#,
        r#"{"id":"NOISE","sizes":["s","l","m"]}"#,
        &[("$.sizes[*]", "changed")],
    ),
    member(
        "twice",
        r#"{"id":"NOISE","items":["a","b"]}"#,
        r#"{"id":"NOISE","items":["a","b","b"]}"#,
        &[("$.items", "length")],
    ),
    member(
        "zone",
        r#"{"id":"NOISE","due":"2026-11-30T10:00:00Z"}"#,
        r#"{"id":"NOISE","due":"2026-11-30T10:00:00"}"#,
        &[("$.due", "changed")],
    ),
    member(
        "decomposed",
        r#"{"id":"NOISE","who":"Zoë"}"#,
        "{\"id\":\"NOISE\",\"who\":\"Zoe\u{308}\"}",
        &[("$.who", "changed")],
    ),
    member(
        "escaped",
        r#"{"id":"NOISE","who":"Tom & Jerry"}"#,
        r#"{"id":"NOISE","who":"Tom &amp; Jerry"}"#,
        &[("$.who", "changed")],
    ),
    member(
        "decoded",
        r#"{"id":"NOISE","who":"Zoë"}"#,
        r#"{"id":"NOISE","who":"ZoÃ«"}"#,
        &[("$.who", "changed")],
    ),
    member(
        "trimmed",
        r#"{"id":"NOISE","note":" x "}"#,
        r#"{"id":"NOISE","note":"x"}"#,
        &[("$.note", "changed")],
    ),
    member(
        "state",
        r#"{"id":"NOISE","state":"ACTIVE"}"#,
        r#"{"id":"NOISE","state":"active"}"#,
        &[("$.state", "changed")],
    ),
    member(
        "total",
        r#"{"id":"NOISE","total":41}"#,
        r#"{"id":"NOISE","total":40}"#,
        &[("$.total", "changed")],
    ),
    member(
        "sign",
        r#"{"id":"NOISE","balance":-5}"#,
        r#"{"id":"NOISE","balance":5}"#,
        &[("$.balance", "changed")],
    ),
    seldom(
        5,
        member(
            "quantity",
            r#"{"id":"NOISE","items":[{"sku":"a","n":1},{"sku":"b","n":2}]}"#,
            r#"{"id":"NOISE","items":[{"sku":"a","n":1},{"sku":"b"}]}"#,
            &[("$.items[*].n", "missing")],
        ),
    ),
    seldom(
        5,
        member(
            "leak",
            r#"{"id":"NOISE","user":"ada"}"#,
            r#"{"id":"NOISE","user":"grace"}"#,
            &[("$.user", "changed")],
        ),
    ),
    // Noise may be wrong too.
    member(
        "milliseconds",
        r#"{"id":"NOISE","at":SECONDS}"#,
        r#"{"id":"NOISE","at":SECONDS000}"#,
        &[("$.at", "type")],
    ),
    member("shorter", r#"{"token":"NOISENOISE"}"#, r#"{"token":"NOISE"}"#, &[("$.token", "type")]),
    member("prefix", r#"{"token":"tok_NOISE"}"#, r#"{"token":"NOISE"}"#, &[("$.token", "type")]),
    seldom(5, member("no_id", r#"{"id":"NOISE"}"#, r#"{"id":null}"#, &[("$.id", "type")])),
    head(
        "charset",
        "200 OK\r\nContent-Type: application/json; charset=utf-8\r\n",
        "200 OK\r\nContent-Type: application/json\r\n",
        &[("content-type", "header")],
    ),
    head(
        "cached",
        "200 OK\r\nContent-Type: application/json\r\nCache-Control: private, no-store\r\n",
        "200 OK\r\nContent-Type: application/json\r\nCache-Control: private\r\n",
        &[("cache-control", "header")],
    ),
    head(
        "varied",
        "200 OK\r\nContent-Type: application/json\r\nVary: Accept-Language\r\n",
        "200 OK\r\nContent-Type: application/json\r\n",
        &[("vary", "header")],
    ),
    head(
        "transport",
        "200 OK\r\nContent-Type: application/json\r\nStrict-Transport-Security: max-age=63072000\r\n",
        "200 OK\r\nContent-Type: application/json\r\n",
        &[("strict-transport-security", "header")],
    ),
    head(
        "http_only",
        "200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=NOISE; Path=/; HttpOnly; Secure\r\n",
        "200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=NOISE; Path=/; Secure\r\n",
        &[("set-cookie.sid.httponly", "header")],
    ),
    head(
        "cookie_path",
        "200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=NOISE; Path=/shop\r\n",
        "200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=NOISE; Path=/\r\n",
        &[("set-cookie.sid.path", "header")],
    ),
    head(
        "same_site",
        "200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=NOISE; SameSite=Lax\r\n",
        "200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=NOISE; SameSite=None\r\n",
        &[("set-cookie.sid.samesite", "header")],
    ),
    head(
        "location",
        "302 Found\r\nLocation: https://shop.example/a\r\n",
        "302 Found\r\nLocation: http://shop.example/a\r\n",
        &[("location", "header")],
    ),
    head(
        "linked",
        "200 OK\r\nContent-Type: application/json\r\nLink: </a?page=2>; rel=\"next\"\r\n",
        "200 OK\r\nContent-Type: application/json\r\n",
        &[("link", "header")],
    ),
    head(
        "tag",
        "200 OK\r\nContent-Type: application/json\r\nETag: \"v7\"\r\n",
        "200 OK\r\nContent-Type: application/json\r\nETag: \"v8\"\r\n",
        &[("etag", "header")],
    ),
    head(
        "origin",
        "200 OK\r\nContent-Type: application/json\r\nAccess-Control-Allow-Origin: https://shop.example\r\n",
        "200 OK\r\nContent-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\n",
        &[("access-control-allow-origin", "header")],
    ),
    head(
        "file",
        "200 OK\r\nContent-Type: application/json\r\nContent-Disposition: attachment; filename=\"a.json\"\r\n",
        "200 OK\r\nContent-Type: application/json\r\nContent-Disposition: attachment\r\n",
        &[("content-disposition", "header")],
    ),
    head(
        "created",
        "201 Created\r\nContent-Type: application/json\r\n",
        "200 OK\r\nContent-Type: application/json\r\n",
        &[("status", "status")],
    ),
    seldom(
        4,
        head("found", "404 Not Found\r\nContent-Type: application/json\r\n", JSON, &[("status", "status")]),
    ),
    head(
        "throttled",
        "429 Too Many Requests\r\nContent-Type: application/json\r\n",
        "503 Service Unavailable\r\nContent-Type: application/json\r\n",
        &[("status", "status")],
    ),
    content(
        "csv",
        "200 OK\r\nContent-Type: text/csv\r\n",
        "a,b\r\n1,2\r\n",
        "a;b\r\n1;2\r\n",
        &[("body", "body")],
    ),
    content(
        "xml",
        "200 OK\r\nContent-Type: application/xml\r\n",
        "<a id=\"1\"><b/></a>",
        "<a id=\"2\"><b/></a>",
        &[("body", "body")],
    ),
    content(
        "lines",
        "200 OK\r\nContent-Type: application/x-ndjson\r\n",
        "{\"a\":1}\n{\"a\":2}\n",
        "{\"a\":1}\n",
        &[("$", "length")],
    ),
    content(
        "newline",
        "200 OK\r\nContent-Type: text/plain\r\n",
        "one\ntwo\n",
        "one\ntwo",
        &[("body", "body")],
    ),
    content(
        "title",
        "200 OK\r\nContent-Type: text/html\r\n",
        "<html><head><title>Shop</title></head><p>a</p></html>",
        "<html><head><title>Stop</title></head><p>a</p></html>",
        &[("body", "body")],
    ),
    content(
        "form",
        "200 OK\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "a=1&b=x+y",
        "a=1&b=x%2By",
        &[("body", "body")],
    ),
];

/// Services where v2 differs from v1 only as v1 differs from itself.
const SOUND: [(&str, &str, &str); 3] = [
    ("sound_json", JSON, r#"{"id":"NOISE","at":SECONDS,"a":[1,{"token":"tok_NOISE"}]}"#),
    (
        "sound_cookie",
        "200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=NOISE; Path=/; Secure\r\nX-Trace: NOISE\r\n",
        PLAIN,
    ),
    ("sound_html", "200 OK\r\nContent-Type: text/html\r\n", "<p>a</p><!-- NOISE -->"),
];

fn service(is_v2: bool, noise: Arc<AtomicU64>) -> Origin {
    Origin::new(move |request, stream| {
        let (route, n) = request.target[1..].split_once("?n=").expect("a route and a number");
        let n: usize = n.parse().expect("a number");
        let (head, content) = match FAULTS.iter().find(|fault| fault.name == route) {
            Some(fault) if is_v2 && n.is_multiple_of(fault.every) => fault.v2,
            Some(fault) => fault.v1,
            None => SOUND.iter().find(|of| of.0 == route).map(|of| (of.1, of.2)).expect("a route"),
        };
        let drawn = noise.fetch_add(1, Ordering::Relaxed);
        let mixed =
            |word: u64| (drawn + word).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let mixed = |word: u64| mixed(word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hex = format!("{:016x}{:016x}", mixed(0), mixed(1 << 32));
        let seconds = (1_764_500_000 + drawn).to_string();
        let with = |text: &str| text.replace("NOISE", &hex).replace("SECONDS", &seconds);
        let content = with(content);
        write(stream, format!("HTTP/1.1 {}Content-Length: {}\r\n\r\n{content}", with(head), content.len()))
    })
}

fn names() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|fault| fault.name).chain(SOUND.iter().map(|of| of.0))
}

fn toml(v1: &Origin, v2: &Origin) -> String {
    let mut text = format!(
        "[workers]\ncount = 1\npin = false\n[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [upstream.v1]\nendpoints = [\"{0}\"]\n[upstream.again]\nendpoints = [\"{0}\"]\n[upstream.v2]\nendpoints = [\"{1}\"]\n",
        v1.address, v2.address
    );
    for name in names() {
        text.push_str(&format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nprimary = \"v1\"\nmirrors = [\n\
             {{ upstream = \"v2\", compare = {{}} }},\n\
             {{ upstream = \"again\", role = \"baseline\" }},\n]\n"
        ));
    }
    text
}

fn told(gateway: &Gateway, method: &str, target: &str, body: &str) -> Value {
    let response = gateway.admin(method, target, body);
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).expect("JSON")
}

#[test]
fn forty_four_faults_are_each_named_by_route_and_field_and_nothing_beside_them() {
    let noise: Arc<AtomicU64> = Arc::default();
    let (v1, v2) = (service(false, Arc::clone(&noise)), service(true, noise));
    let gateway = Gateway::start(&toml(&v1, &v2), &[]);
    // Pairs without time are not compared, so that requests go on until enough were.
    let least = || {
        let told = told(&gateway, "GET", "/diffs", "");
        let all = told["compared"].as_array().expect("a list").iter();
        let counts: Vec<u64> = all.filter_map(|of| of["compared"].as_u64()).collect();
        if counts.len() == 2 * names().count() { counts.into_iter().min().unwrap_or_default() } else { 0 }
    };
    let mut client = gateway.client();
    for n in 0..ROUNDS_MAX {
        for name in names() {
            client.ask(format!("GET /{name}?n={n} HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
        if n % 10 == 9 && least() >= EACH {
            break;
        }
    }
    for mirror in ["v2", "again"] {
        let _all_ended = gateway.settled(mirror);
    }
    assert!(least() >= EACH, "{} of {EACH}", least());

    let diffs = told(&gateway, "GET", "/diffs", "");
    let mut named: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for group in diffs["groups"].as_array().expect("a list").iter().filter(|group| group["is_noise"] == false)
    {
        let of = |key: &str| group[key].as_str().expect("text");
        named.entry(of("route")).or_default().insert((of("field"), of("kind")));
    }
    let mut wrong = Vec::new();
    for name in names() {
        let expect =
            FAULTS.iter().find(|fault| fault.name == name).map(|fault| fault.named).unwrap_or_default();
        let found = named.remove(name).unwrap_or_default();
        if found != expect.iter().copied().collect() {
            wrong.push(format!("{name}: {found:?} instead of {expect:?}"));
        }
    }
    println!("{}", wrong.join("\n"));

    let policy =
        "samples_min = 30\nmismatch_percent_max = 1\nignore_rules = [\"p50_ratio\", \"p99_ratio\"]\n";
    let verdict = told(&gateway, "POST", "/verdict?mirror=v2", policy);
    let rules = verdict["mirrors"][0]["rules"].as_array().expect("a list").iter();
    let failed: BTreeSet<&str> =
        rules.filter(|rule| rule["result"] == "fail").filter_map(|rule| rule["route"].as_str()).collect();
    for name in names() {
        // A fault in one of five requests takes more of them to reject.
        let (must, may) = match FAULTS.iter().find(|fault| fault.name == name) {
            Some(fault) => (fault.every == 1, true),
            None => (false, false),
        };
        if must && !failed.contains(name) || failed.contains(name) && !may {
            wrong.push(format!("{name}: {}", if may { "not rejected" } else { "rejected for nothing" }));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
