//! Settings of a mirror: more copies or fewer, of which requests, after which answers, and without which secrets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tests::load::{self, Gate, OK, ask_all, get, hammer, ids, post};
use tests::origin::{After, write};
use tests::{Gateway, Metrics, Origin, PATIENCE, Request, Setup, Stage, eventually};

#[track_caller]
fn becomes(gateway: &Gateway, account: &[(&str, i64)]) -> Metrics {
    load::becomes(gateway, "v2", account)
}

fn v1_and_v2() -> [Origin; 2] {
    [Origin::named("v1"), Origin::named("v2")]
}

// === How many ===

#[test]
fn two_hundred_percent_are_two_copies_of_each_request_and_say_so() {
    const N: usize = 200;
    let [v1, v2] = v1_and_v2();
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "percent = 200").start();
    let large = load::pattern(0, 200_000);
    for id in 0..N {
        let asked = if id % 10 == 0 { post(&format!("/r?id={id}"), &large) } else { get(id) };
        assert_eq!(gateway.client().ask(asked).status, 200);
    }
    let n = N as i64;
    becomes(&gateway, &[("eligible", 2 * n), ("sent", 2 * n), ("completed 2xx", 2 * n)]);
    let mut copies: HashMap<usize, Vec<Request>> = HashMap::new();
    for copy in v2.requests() {
        copies.entry(ids(std::slice::from_ref(&copy))[0]).or_default().push(copy);
    }
    for id in 0..N {
        let numbers: HashSet<_> =
            copies[&id].iter().map(|c| c.field("x-umbra-copy").map(str::to_owned)).collect();
        assert_eq!(numbers, HashSet::from([None, Some("2".to_owned())]), "{id}");
        assert!(copies[&id].iter().all(|c| c.field("x-umbra-mirror") == Some("v2")));
        assert!(id % 10 > 0 || copies[&id].iter().all(|c| c.body == large));
    }
}

#[test]
fn two_hundred_and_fifty_percent_are_two_copies_and_a_third_of_every_second() {
    const N: usize = 4000;
    let (v1, v2) = (Origin::fixed(OK, After::Keep), Origin::fixed(OK, After::Keep));
    let keys = "percent = 250, ring_entries_max = 16384";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, keys).start();
    hammer(gateway.address, 4, N / 4, get, |id, answer| assert_eq!(answer.status, 200, "{id}"));
    let metrics = gateway.settled("v2");
    let n = |what| metrics.mirror("v2", what);
    assert_eq!((n("eligible_total"), n("dropped_total")), (3 * N as i64, 0));
    let mut copies: HashMap<usize, usize> = HashMap::new();
    ids(&v2.requests()).into_iter().for_each(|id| *copies.entry(id).or_default() += 1);
    assert!((0..N).all(|id| matches!(copies[&id], 2 | 3)), "each has its two");
    let thirds = copies.values().filter(|n| **n == 3).count();
    assert_eq!(n("sampled_out_total"), (N - thirds) as i64);
    // Five sigma of a fair coin.
    let sigma = (N as f64 / 4.0).sqrt();
    assert!((thirds as f64 - N as f64 / 2.0).abs() <= 5.0 * sigma, "{thirds} of {N}");
}

#[test]
fn a_rate_is_kept_whatever_is_asked() {
    let (v1, v2) = (Origin::fixed(OK, After::Keep), Origin::fixed(OK, After::Keep));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "rate_max = 20").workers(2).start();
    let started = Instant::now();
    let mut asked = 0;
    while started.elapsed() < Duration::from_millis(1500) {
        hammer(gateway.address, 4, 50, get, |_, answer| assert_eq!(answer.status, 200));
        asked += 200;
    }
    let took = started.elapsed().as_secs_f64();
    let metrics = gateway.settled("v2");
    let (sent, over) =
        (metrics.mirror("v2", "sent_total"), metrics.mirror_by("v2", "dropped_total", "reason", "rate"));
    assert_eq!(sent + over, asked, "{}", metrics.text());
    // Each of two workers holds two ticks' worth and sees time in ticks, which may be late.
    let most = 20.0 * (took + 1.0);
    assert!(sent as f64 <= most, "{sent} of at most {most}");
    assert!(sent >= 10 && over > 0, "{sent} sent, {over} over");
}

#[test]
fn a_governor_lowers_the_share_of_a_mirror_that_fails_and_gives_it_back() {
    let v1 = Origin::fixed(OK, After::Keep);
    let ill = Arc::new(AtomicBool::new(true));
    let is_ill = Arc::clone(&ill);
    let v2 = Origin::new(move |_, stream| match is_ill.load(SeqCst) {
        true => write(stream, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        false => write(stream, OK),
    });
    let keys = "percent = 80, governor = { failures_max = 20, least = 40 }";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, keys).workers(2).start();
    assert_eq!(gateway.metrics().mirror("v2", "effective_percent"), 80);
    let until = |what: &str, holds: &dyn Fn(&Metrics) -> bool| {
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            hammer(gateway.address, 4, 50, get, |_, answer| assert_eq!(answer.status, 200));
            let metrics = gateway.metrics();
            if holds(&metrics) {
                return metrics;
            }
            assert!(Instant::now() < deadline, "{what}:\n{}", metrics.text());
        }
    };
    let low = until("it never fell to its least", &|m| m.mirror("v2", "effective_percent") == 32);
    assert!(low.mirror_by("v2", "lowered_total", "reason", "failures") >= 2);
    ill.store(false, SeqCst);
    until("it never came back", &|m| m.mirror("v2", "effective_percent") == 80);
    let metrics = gateway.settled("v2");
    assert!(metrics.mirror("v2", "sampled_out_total") > metrics.mirror("v2", "eligible_total") / 5);
}

// === Which ===

#[test]
fn all_requests_of_a_session_are_copied_or_none_by_every_worker_and_every_gateway() {
    const SESSIONS: usize = 300;
    let v1 = Origin::fixed(OK, After::Keep);
    let [tenth, half] = [(); 2].map(|()| Origin::fixed(OK, After::Keep));
    let setup = Setup::new(&v1)
        .mirror("tenth", tenth.address, "percent = 10, sample_by = \"cookie:sid\"")
        .mirror("half", half.address, "percent = 50, sample_by = \"cookie:sid\"")
        .workers(2);
    let gateways = [setup.start(), setup.start()];
    let ask = |id: usize| {
        format!("GET /r?id={0} HTTP/1.1\r\nHost: a\r\nCookie: x=y; sid=session-{0}\r\n\r\n", id % SESSIONS)
            .into()
    };
    for gateway in &gateways {
        // Many short connections, so that both workers see every session.
        hammer(gateway.address, 12, SESSIONS / 2, ask, |_, answer| assert_eq!(answer.status, 200));
        gateway.settled("tenth");
        gateway.settled("half");
    }
    let sessions = |origin: &Origin, share: f64| {
        let mut seen: HashMap<usize, usize> = HashMap::new();
        ids(&origin.requests()).into_iter().for_each(|id| *seen.entry(id).or_default() += 1);
        // Each session was asked for six times at each gateway.
        assert!(seen.values().all(|n| *n == 12), "{seen:?}");
        let (mean, sigma) = (SESSIONS as f64 * share, (SESSIONS as f64 * share * (1.0 - share)).sqrt());
        assert!((seen.len() as f64 - mean).abs() <= 4.0 * sigma, "{} of {SESSIONS}", seen.len());
        seen.into_keys().collect::<HashSet<_>>()
    };
    assert!(sessions(&tenth, 0.1).is_subset(&sessions(&half, 0.5)));
}

#[test]
fn only_requests_that_a_mirror_is_for_are_eligible() {
    let [v1, v2] = v1_and_v2();
    let keys = "only = { path_prefix = \"/api\", methods = [\"GET\"], when = [{ header = \"x-beta\", present = true }] }";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, keys).start();
    for request in [
        "GET /api/1 HTTP/1.1\r\nHost: a\r\nX-Beta: 1\r\n\r\n",
        "GET /api/2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /other HTTP/1.1\r\nHost: a\r\nX-Beta: 1\r\n\r\n",
        "DELETE /api/3 HTTP/1.1\r\nHost: a\r\nX-Beta: 1\r\n\r\n",
    ] {
        assert_eq!(gateway.client().ask(request).text(), "v1");
    }
    becomes(&gateway, &[("eligible", 1), ("sent", 1), ("completed 2xx", 1)]);
    assert_eq!(v2.requests()[0].target, "/api/1");
}

#[test]
fn a_mirror_for_one_primary_gets_only_what_went_there() {
    const N: usize = 400;
    let [a, b, v2] = ["a", "b", "v2"].map(Origin::named);
    let toml = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 1\n\
         [upstream.a]\nendpoints = [\"{}\"]\n[upstream.b]\nendpoints = [\"{}\"]\n[upstream.v2]\nendpoints = [\"{}\"]\n\
         [[route]]\nname = \"all\"\nprimaries = [{{ upstream = \"a\" }}, {{ upstream = \"b\" }}]\n\
         mirrors = [{{ upstream = \"v2\", only_primary = \"b\" }}]\n",
        a.address, b.address, v2.address
    );
    let gateway = Gateway::start(&toml, &[]);
    ask_all(&gateway, 0..N);
    let went_to_b = b.count() as i64;
    assert!(a.count() > N / 4 && b.count() > N / 4, "{} and {}", a.count(), b.count());
    becomes(&gateway, &[("eligible", went_to_b), ("sent", went_to_b), ("completed 2xx", went_to_b)]);
    let set = |origin: &Origin| ids(&origin.requests()).into_iter().collect::<HashSet<_>>();
    assert_eq!(set(&v2), set(&b));
}

// === When ===

#[test]
fn a_copy_that_waited_too_long_is_not_sent_late() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let [v1, v2] = [
        Origin::named("v1"),
        Origin::new(move |_, stream| {
            held.wait();
            write(stream, OK)
        }),
    ];
    let keys = "ttl = \"2s\", connections_max = 1, pipeline_max = 1, timeout = \"30s\"";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, keys).start();
    ask_all(&gateway, 0..1);
    v2.wait_for(1);
    ask_all(&gateway, 1..21);
    assert_eq!(gateway.metrics().mirror("v2", "waiting"), 20);
    // Later copies push out stale ones, two by two; the mirror gets none.
    let mut id = 21;
    eventually("copies become stale", || {
        ask_all(&gateway, id..id + 1);
        id += 1;
        gateway.metrics().mirror_by("v2", "dropped_total", "reason", "stale") >= 20
    });
    let asked = id as i64;
    gate.open();
    let metrics = gateway.settled("v2");
    let n = |what| metrics.mirror("v2", what);
    let stale = metrics.mirror_by("v2", "dropped_total", "reason", "stale");
    assert_eq!((n("eligible_total"), n("dropped_total")), (asked, stale));
    assert!(stale >= 20, "{stale}");
    assert!(ids(&v2.requests()).iter().all(|id| *id == 0 || *id > 20), "{:?}", ids(&v2.requests()));
    assert_eq!(n("completed_total"), asked - stale);
    // A mirror that keeps up loses nothing by it.
    ask_all(&gateway, id..id + 10);
    eventually("fresh copies come", || {
        gateway.metrics().mirror("v2", "completed_total") == asked - stale + 10
    });
}

#[test]
fn copies_that_want_a_failed_answer_wait_for_it_and_tell_how_the_primary_did() {
    let asked = AtomicUsize::new(0);
    let v1 = Origin::new(move |_, stream| match asked.fetch_add(1, SeqCst) % 3 {
        0 => write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        1 => {
            // The primary's slowness, which the copy must tell.
            std::thread::sleep(Duration::from_millis(20));
            write(stream, "HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n")
        }
        _ => write(stream, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
    });
    let [v2, all] = ["v2", "all"].map(Origin::named);
    let gateway = Setup::new(&v1)
        .mirror("v2", v2.address, "response = { statuses = [\"5xx\"] }")
        .mirror("all", all.address, "")
        .start();
    let mut client = gateway.client();
    let large = load::pattern(0, 300_000);
    for id in 0..9 {
        let asked = match id {
            // The client's own claim must not pass for ours.
            1 => "GET /r?id=1 HTTP/1.1\r\nHost: a\r\nX-Umbra-Primary-Status: 200\r\n\r\n".into(),
            4 => post("/r?id=4", b"small"),
            7 => post("/r?id=7", &large),
            id => get(id),
        };
        client.ask(asked);
    }
    becomes(&gateway, &[("eligible", 9), ("skipped response", 6), ("sent", 3), ("completed 2xx", 3)]);
    load::becomes(&gateway, "all", &[("eligible", 9), ("sent", 9), ("completed 2xx", 9)]);
    let mut copies = v2.requests();
    copies.sort_by_key(|copy| ids(std::slice::from_ref(copy)));
    assert_eq!(ids(&copies), [1, 4, 7]);
    for copy in &copies {
        assert_eq!(copy.values("x-umbra-primary-status"), ["503"]);
        let ms: f64 = copy.field("x-umbra-primary-duration").expect("a duration").parse().expect("a number");
        assert!((20.0..5_000.0).contains(&ms), "{ms}");
    }
    assert_eq!((copies[1].body.as_slice(), &copies[2].body), (&b"small"[..], &large));
    assert!(!all.saw("X-Umbra-Primary-Duration"));
}

#[test]
fn a_copy_that_is_to_come_after_the_response_never_overtakes_the_primary() {
    let gate = tests::Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        write(stream, OK)
    });
    let v2 = Origin::named("v2");
    let early = Origin::named("early");
    let gateway = Setup::new(&v1)
        .mirror("early", early.address, "")
        .mirror("v2", v2.address, "after = \"response\"")
        .start();
    let mut client = gateway.client();
    client.send(post("/w?id=1", b"content"));
    early.wait_for(1);
    v1.wait_for(1);
    assert_eq!(v2.requests().len(), 0, "v1 has not answered");
    assert_eq!(gateway.metrics().mirror("v2", "pending"), 1);
    gate.open();
    assert_eq!(client.response().status, 200);
    let copy = v2.wait_for(1).remove(0);
    assert_eq!((copy.target.as_str(), &*copy.body), ("/w?id=1", &b"content"[..]));
    assert_eq!(copy.field("x-umbra-primary-status"), Some("200"));
    becomes(&gateway, &[("eligible", 1), ("sent", 1), ("completed 2xx", 1)]);
}

#[test]
fn a_copy_that_waits_for_an_answer_that_never_comes_is_skipped() {
    let v1 = Origin::new(|request, _| match request.target.as_str() {
        "/close" => After::Close,
        _ => After::Hang,
    });
    let v2 = Origin::named("v2");
    let setup = Setup::new(&v1).with("[timeouts]\nresponse_head = \"2s\"");
    let gateway = setup.mirror("v2", v2.address, "response = { slower_than = \"1ms\" }").start();
    for (target, status) in [("/close", 502), ("/hang", 504)] {
        let asked = post(target, b"content");
        assert_eq!(gateway.client().ask(asked).status, status, "{target}");
    }
    becomes(&gateway, &[("eligible", 2), ("skipped primary_unavailable", 2)]);
    // The client goes while its primary still thinks.
    let client = {
        let mut client = gateway.client();
        client.send(get(0));
        v1.wait_for(3);
        client
    };
    assert_eq!(gateway.metrics().mirror("v2", "pending"), 1);
    drop(client);
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror("v2", "skipped_total"), 3);
    assert_eq!(v2.connections(), 0);
}

/// A share that is spread is read as a figure of its route.
fn share_of(gateway: &Gateway, route: &str) -> i64 {
    gateway.metrics().sum("umbra_mirror_effective_percent", &[&format!("route=\"{route}\"")])
}

#[test]
fn copies_are_spread_over_routes_so_that_a_rare_one_has_all_it_can_and_the_whole_no_more_than_its_share() {
    let [v1, v2] = v1_and_v2();
    let table = |name: &str, percent: u32| {
        format!(
            "[[route]]\nname = \"{name}\"\npath_prefix = \"/{name}\"\nprimary = \"primary\"\n\
             mirrors = [{{ upstream = \"v2\", percent = {percent}, sample = \"rare_first\" }}]\n"
        )
    };
    let text = |percent: u32| {
        let listed = format!("[upstream.v2]\nendpoints = [\"{}\"]\n", v2.address);
        Setup::new(&v1).with(&[listed, table("busy", percent), table("rare", percent)].concat()).toml()
    };
    let gateway = Gateway::start(&text(20), &[]);
    let mut client = gateway.client();
    let mut ask = |route: &str| {
        let asked = format!("GET /{route} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.ask(asked).status, 200);
    };
    // One of twenty requests is rare.
    let mut round = || {
        (0..19).for_each(|_| ask("busy"));
        ask("rare");
    };
    eventually("the rare one has all", || {
        round();
        share_of(&gateway, "rare") == 100 && (1..20).contains(&share_of(&gateway, "busy"))
    });
    let (before, of_rare) = (v2.count(), || v2.requests().iter().filter(|of| of.target == "/rare").count());
    let rare_before = of_rare();
    (0..5).for_each(|_| round());
    let _all_ended = gateway.settled("v2");
    assert!(v2.count() > before && of_rare() == rare_before + 5);
    // A share of 0 copies nothing, at once.
    gateway.write(&text(0));
    assert_eq!(gateway.admin("POST", "/reload", "").status, 200);
    let before = v2.count();
    (0..5).for_each(|_| round());
    let _all_ended = gateway.settled("v2");
    assert_eq!(v2.count(), before);
}

// === What ===

#[test]
fn copies_of_writes_bear_a_key_by_which_they_are_known_again_and_reads_bear_none() {
    let ([v1, v2], again) = (v1_and_v2(), Origin::named("again"));
    let keys = "idempotency_key = \"Idempotency-Key\"";
    let setup = Setup::new(&v1).mirror("v2", v2.address, keys).mirror("again", again.address, keys);
    let gateway = setup.start();
    let own = "DELETE /r?id=2 HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"own\"\r\n\r\n";
    for asked in [get(0), post("/r?id=1", b"content"), own.into()] {
        assert_eq!(gateway.client().ask(asked).status, 200);
    }
    for mirror in ["v2", "again"] {
        load::becomes(&gateway, mirror, &[("eligible", 3), ("sent", 3), ("completed 2xx", 3)]);
    }
    let key = |origin: &Origin, id: usize| {
        let of = |request: &&Request| ids(std::slice::from_ref(request)) == [id];
        let requests = origin.requests();
        let request = requests.iter().find(of).expect("it came");
        (
            request.field("idempotency-key").map(str::to_owned),
            request.field("x-request-id").map(str::to_owned),
        )
    };
    let quoted = key(&v1, 1).1.map(|id| format!("{id:?}"));
    assert!(quoted.is_some());
    for mirror in [&v2, &again] {
        assert_eq!([0, 1, 2].map(|id| key(mirror, id).0), [None, quoted.clone(), Some("\"own\"".to_owned())]);
    }
    assert_eq!(key(&v1, 1).0, None, "what the primary gets is the client's");
}

#[test]
fn a_copy_is_edited_and_the_primarys_request_is_not() {
    let keys = "request_headers = { remove = [\"authorization\"], set = { x-env = \"shadow\" } }, \
                rewrite = { path_prefix = \"/v2/\" }, host = \"v2.example\"";
    let stage = Stage::of(Origin::named("v1"), Origin::named("v2"), keys, |setup| setup);
    let asked =
        "GET /a/b?c=d HTTP/1.1\r\nHost: a\r\nAuthorization: Basic x\r\nX-Env: live\r\nX-Other: 1\r\n\r\n";
    assert_eq!(stage.client().ask(asked).text(), "v1");
    stage.settled();
    let (original, copy) = (&stage.primary.requests()[0], &stage.mirror.requests()[0]);
    assert_eq!((original.target.as_str(), copy.target.as_str()), ("/a/b?c=d", "/v2/a/b?c=d"));
    assert_eq!((original.field("host"), copy.field("host")), (Some("a"), Some("v2.example")));
    assert_eq!((original.field("authorization"), copy.field("authorization")), (Some("Basic x"), None));
    assert_eq!((original.values("x-env"), copy.values("x-env")), (vec!["live"], vec!["shadow"]));
    assert_eq!(copy.field("x-other"), Some("1"));
}

#[test]
fn secrets_never_reach_a_mirrors_wire() {
    let keys = "redact = { headers = [\"Authorization\", \"x-key\"], cookies = [\"sid\"], query = [\"token\"], \
                json = [\"/user/password\", \"/cards/*/number\"] }";
    let stage = Stage::of(Origin::named("v1"), Origin::named("v2"), keys, |setup| setup);
    let head = |more: &str| {
        format!(
            "POST /p?a=1&tok%65n=S3CRET&b=2 HTTP/1.1\r\nHost: a\r\nauthorization: Bearer S3CRET\r\nX-Key: S3CRET\r\n\
             x-key: S3CRET\r\nCookie: theme=dark; sid=S3CRET; z=1\r\nReferer: http://a/?token=S3CRET\r\n{more}\r\n"
        )
    };
    let json = |padding: usize| {
        let padding = "p".repeat(padding);
        format!(
            r#"{{"user":{{"name":"ada","password":"S3CRET"}},"pad":"{padding}","cards":[{{"number":"S3CRET"}},{{"number":53,"ok":1.50}}]}}"#
        )
    };
    let whole = |content: &[u8], more: &str| {
        let lines = format!("Content-Type: application/json\r\nContent-Length: {}\r\n{more}", content.len());
        [head(&lines).as_bytes(), content].concat()
    };
    let coded = |content: &[u8], trailers: &str| {
        let coded = load::chunked(&content.chunks(7).collect::<Vec<_>>(), trailers);
        [head("Transfer-Encoding: chunked\r\n").as_bytes(), &coded].concat()
    };
    let (small, large) = (json(10), json(900_000));
    let sent = [
        head("").into_bytes(),
        whole(small.as_bytes(), ""),
        whole(large.as_bytes(), ""),
        coded(small.as_bytes(), ""),
        coded(small.as_bytes(), "X-Key: S3CRET\r\nX-T: 1\r\n"),
    ];
    let wide: Vec<u8> = small.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let refused = [
        whole(b"user=ada&password=S3CRET", ""),
        whole(&small.as_bytes()[..small.len() - 1], ""),
        whole(small.as_bytes(), "Content-Encoding: gzip\r\n"),
        whole(&wide, ""),
        coded([small.as_bytes(), small.as_bytes()].concat().as_slice(), ""),
    ];
    let mut client = stage.client();
    for request in sent.iter().chain(&refused) {
        assert_eq!(client.ask(request).text(), "v1");
    }
    let (s, r) = (sent.len() as i64, refused.len() as i64);
    becomes(
        &stage.gateway,
        &[("eligible", s + r), ("sent", s), ("completed 2xx", s), ("dropped redaction", r)],
    );
    for secret in ["S3CRET", "53,"] {
        assert!(stage.primary.saw(secret), "{secret}");
        assert!(!stage.mirror.saw(secret), "{secret}: {:?}", stage.mirror.wires());
    }
    let copies = stage.mirror.requests();
    for copy in &copies {
        assert_eq!(copy.target, "/p?a=1&tok%65n=%5Bredacted%5D&b=2");
        assert_eq!(copy.field("cookie"), Some("theme=dark; sid=[redacted]; z=1"));
        assert_eq!(copy.values("x-key"), ["[redacted]"; 2]);
    }
    let expect = |text: &str| text.replace("\"S3CRET\"", "\"[redacted]\"").replace(":53", ":\"[redacted]\"");
    let contents: Vec<String> =
        copies.iter().map(|copy| String::from_utf8(copy.body.clone()).expect("UTF-8")).collect();
    for (text, times) in [(String::new(), 1), (expect(&small), 3), (expect(&large), 1)] {
        assert_eq!(contents.iter().filter(|content| **content == text).count(), times);
    }
    assert!(stage.mirror.invalid().is_empty() && stage.mirror.saw("X-T: 1"));
}
