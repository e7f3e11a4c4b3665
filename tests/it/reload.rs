//! Another configuration while serving: whole or not at all, and clients do not notice.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tests::load::{account, becomes, get};
use tests::{Client, Gateway, Origin, Setup, eventually};

/// Clients that ask and ask on kept connections until told to stop; panics unless every answer is 200.
fn while_clients_ask<R>(gateway: &Gateway, clients: usize, during: impl FnOnce() -> R) -> (R, usize) {
    let stop = AtomicBool::new(false);
    let ask = |number: usize| {
        let mut client = Client::connect(gateway.address);
        let mut asked = 0;
        while !stop.load(Relaxed) {
            let answer = client.ask(get(number * 1_000_000 + asked));
            assert_eq!((answer.status, answer.field("connection")), (200, None));
            asked += 1;
        }
        asked
    };
    let ask = &ask;
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients).map(|number| scope.spawn(move || ask(number))).collect();
        let result = during();
        stop.store(true, Relaxed);
        (result, running.into_iter().map(|r| r.join().expect("a client was hurt")).sum())
    })
}

fn reloads(gateway: &Gateway, result: &str) -> i64 {
    gateway.metrics().sum("umbra_reloads_total", &[&format!("result=\"{result}\"")])
}

#[test]
fn sighup_moves_traffic_and_mirrors_and_no_client_notices() {
    let [old, new, v2, v3] = ["old", "new", "v2", "v3"].map(Origin::named);
    let before = Setup::new(&old).mirror("v2", v2.address, "").workers(2);
    let gateway = before.start();
    let ((), asked) = while_clients_ask(&gateway, 8, || {
        v2.wait_for(50);
        gateway.write(&Setup::new(&new).mirror("v3", v3.address, "").workers(2).toml());
        gateway.signal("HUP");
        new.wait_for(50);
        v3.wait_for(50);
    });
    let (old, new) = (old.count(), new.count());
    assert_eq!(old + new, asked, "each request reached exactly one primary");
    becomes(&gateway, "v3", &[("eligible", new as i64), ("sent", new as i64), ("completed 2xx", new as i64)]);
    eventually("every copy of the first configuration is shipped", || v2.count() == old);
    assert_eq!(v3.count(), new);
    assert_eq!(reloads(&gateway, "applied"), 1);
    eventually("it is told", || gateway.stderr().contains("configuration applied on 2 workers"));
}

#[test]
fn a_bad_file_leaves_the_old_one_serving_and_says_why() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let gateway = setup.start();
    let bad = setup.toml().replace("primary = \"primary\"", "primary = \"primry\"");
    let line = 1 + bad.lines().position(|line| line.contains("primry")).unwrap();
    for (text, told) in [
        (bad, format!("gateway.toml:{line}: route[0].primary: unknown upstream \"primry\"; did you mean")),
        (String::from("[["), "gateway.toml:1: ".to_owned()),
        (setup.clone().workers(2).toml(), "workers.count: cannot change while serving".to_owned()),
        (
            setup
                .clone()
                .with(
                    "[upstream.x]\nendpoints = [\"x.invalid:1\"]\n[[route]]\npath = \"/x\"\nprimary = \"x\"",
                )
                .toml(),
            "cannot resolve".to_owned(),
        ),
    ] {
        let refused = reloads(&gateway, "refused");
        gateway.write(&text);
        gateway.signal("HUP");
        eventually("the file is refused", || reloads(&gateway, "refused") == refused + 1);
        eventually(&told, || gateway.stderr().contains(&told));
        assert_eq!(gateway.client().ask(get(0)).text(), "v1");
    }
    assert_eq!(reloads(&gateway, "applied"), 0);
    v2.wait_for(4);
}

#[test]
fn workers_that_the_machine_decided_on_are_no_reason_to_refuse_a_file() {
    let may_use = std::thread::available_parallelism().expect("cores").get();
    if may_use < 2 {
        println!("skipped: with one core there is none to take away");
        return;
    }
    let v1 = Origin::named("v1");
    let toml = Setup::new(&v1).toml();
    let without: Vec<&str> = toml.lines().filter(|line| !line.starts_with("count = ")).collect();
    let gateway = Gateway::start(&without.join("\n"), &[]);
    let fewer = std::process::Command::new("taskset")
        .args(["--pid", "--cpu-list", "0", &gateway.pid().to_string()])
        .output()
        .expect("taskset");
    assert!(fewer.status.success(), "{fewer:?}");
    gateway.signal("HUP");
    eventually("it is applied", || reloads(&gateway, "applied") == 1);
    gateway.write(&Setup::new(&v1).workers(may_use + 1).toml());
    gateway.signal("HUP");
    eventually("other workers are still refused", || reloads(&gateway, "refused") == 1);
}

#[test]
fn what_was_read_from_standard_input_is_not_read_again() {
    let v1 = Origin::named("v1");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let settings = folder.path().join("gateway.toml");
    std::fs::write(&settings, "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n")
        .expect("the settings are written");
    let manifest = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: all}\n\
                    spec: {hosts: ['*'], http: [{route: [{destination: {host: v1}}]}]}\n";
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut writer, manifest.as_bytes()).expect("the manifest");
    let mut command = std::process::Command::new("sh");
    let become_it = "exec \"$0\" --manifest - --config \"$1\" --endpoint v1=$2 <\"$3\"";
    let input = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&reader));
    command.args(["-c", become_it]).arg(tests::gateway::binary()).arg(&settings);
    command.arg(v1.address.to_string()).arg(input);
    let mut gateway = tests::Process::spawn(&mut command);
    eventually("it waits for more", || gateway.child.try_wait().expect("wait").is_none());
    drop(writer);
    let address = gateway.lines("listening on ", 1).remove(0).parse().expect("an address");
    let hangup = std::process::Command::new("kill").args(["-HUP", &gateway.child.id().to_string()]).status();
    assert!(hangup.expect("kill").success());
    eventually("it is refused", || gateway.stderr().contains("standard input was read at the start"));
    assert_eq!(Client::connect(address).ask(get(0)).text(), "v1");
}

#[test]
fn counters_of_what_keeps_its_name_go_on() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let gateway = setup.start();
    let mut client = gateway.client();
    client.ask(get(0));
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("completed 2xx", 1)]);
    let connects = gateway.metrics().sum("umbra_upstream_connects_total", &[]);
    gateway.write(&setup.clone().with("[limits]\nfields_max = 50").toml());
    gateway.signal("HUP");
    eventually("it is applied", || reloads(&gateway, "applied") == 1);
    client.ask(get(1));
    let metrics = becomes(&gateway, "v2", &[("eligible", 2), ("sent", 2), ("completed 2xx", 2)]);
    let served = || gateway.metrics().sum("umbra_requests_total", &["route=\"all\"", "code=\"200\""]);
    eventually("both are counted", || served() == 2);
    assert_eq!(metrics.sum("umbra_upstream_connects_total", &[]), connects, "the pool's connection is kept");
    assert_eq!((v1.connections(), v2.connections()), (1, 1));
}

#[test]
fn a_share_is_changed_from_none_to_all_and_back_while_clients_ask() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "percent = 0").workers(2).start();
    let set = |percent: &str| {
        let answer = gateway.admin("PATCH", "/mirrors/v2", &format!("{{\"percent\": {percent}}}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("\"workers\":2"), "{}", answer.text());
    };
    let ((), asked) = while_clients_ask(&gateway, 4, || {
        v1.wait_for(100);
        assert_eq!(v2.count(), 0);
        set("100");
        v2.wait_for(100);
        set("0");
        let so_far = v1.count();
        v1.wait_for(so_far + 100);
    });
    let metrics = gateway.settled("v2");
    let sent = metrics.mirror("v2", "sent_total");
    assert_eq!(metrics.mirror("v2", "eligible_total"), asked as i64);
    assert_eq!(
        metrics.mirror("v2", "sampled_out_total") + sent,
        asked as i64,
        "{:?}",
        account(&metrics, "v2")
    );
    assert!((100..asked as i64 - 100).contains(&sent), "{sent} of {asked}");
    assert!(gateway.admin("GET", "/mirrors", "").text().contains("\"percent\":0.0"));
}

#[test]
fn a_rollout_goes_from_none_to_all_while_clients_ask() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let toml = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 2\n\
         [upstream.v1]\nendpoints = [\"{}\"]\n[upstream.v2]\nendpoints = [\"{}\"]\n[[route]]\nname = \"all\"\n\
         primaries = [{{ upstream = \"v1\", weight = 100 }}, {{ upstream = \"v2\", weight = 0 }}]\n",
        v1.address, v2.address
    );
    let gateway = Gateway::start(&toml, &[]);
    let (shares, asked) = while_clients_ask(&gateway, 8, || {
        let mut shares = Vec::new();
        for share in [0, 10, 50, 90, 100] {
            let body = format!("{{\"weights\": {{\"v1\": {}, \"v2\": {share}}}}}", 100 - share);
            let answer = gateway.admin("PATCH", "/routes/all", &body);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let (from1, from2) = (v1.count(), v2.count());
            eventually("a thousand requests", || v1.count() + v2.count() > from1 + from2 + 1_000);
            let (to1, to2) = (v1.count() - from1, v2.count() - from2);
            shares.push((share, to2 as f64 / (to1 + to2) as f64));
        }
        shares
    });
    assert_eq!(v1.count() + v2.count(), asked);
    for (share, got) in shares {
        // Five sigma of a thousand draws, and the few that were under way when it changed.
        let wanted = f64::from(share) / 100.0;
        let slack = 5.0 * (wanted * (1.0 - wanted) / 1_000.0).sqrt() + 0.02;
        assert!((got - wanted).abs() <= slack, "{share} %: {got}");
    }
}

#[test]
fn a_hundred_reloads_under_load_hurt_nobody_and_leave_nothing_behind() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = |n: usize| {
        // Each time another lane and other limits.
        let keys = format!("ring_entries_max = {}", 1_000 + n);
        let more = format!("[limits]\nfields_max = {}", 50 + n % 50);
        Setup::new(&v1).mirror("v2", v2.address, &keys).with(&more).workers(2)
    };
    let gateway = setup(0).start();
    let reload = |n: usize| {
        let answer = gateway.admin("PUT", "/config", &setup(n).toml());
        assert_eq!(answer.status, 200, "{n}: {}", answer.text());
        // Each lane has its turn; a mirror that has a hundred connects a second to take may lose some.
        let copies = v2.count();
        eventually("copies travel on the new lane", || v2.count() >= copies + 20);
    };
    let ((warm, rss), asked) = while_clients_ask(&gateway, 8, || {
        (1..=20).for_each(reload);
        let before = (gateway.descriptors(), gateway.rss_bytes());
        (21..=120).for_each(reload);
        before
    });
    assert_eq!(reloads(&gateway, "applied"), 120);
    let metrics = gateway.settled("v2");
    let sent = metrics.mirror("v2", "sent_total");
    assert_eq!(metrics.mirror("v2", "eligible_total"), asked as i64);
    assert_eq!((sent, v2.count() as i64), (asked as i64, asked as i64), "{:?}", account(&metrics, "v2"));
    // Each configuration's lane has eight connections per worker at most, and only the last one's stay.
    eventually("descriptors come back", || gateway.descriptors() <= warm + 16);
    let grown = gateway.rss_bytes().saturating_sub(rss);
    assert!(grown < 16 << 20, "a hundred reloads left {grown} bytes");
}

#[test]
fn a_mirror_that_is_taken_out_ships_what_waits_and_its_connections_close() {
    let gate = tests::load::Gate::closed();
    let held = gate.clone();
    let v1 = Origin::named("v1");
    let v2 = Origin::new(move |_, stream| {
        held.wait();
        tests::origin::write(stream, tests::load::OK)
    });
    let setup = Setup::new(&v1).with("[timeouts]\ndrain = \"8s\"");
    let gateway = setup.clone().mirror("v2", v2.address, "timeout = \"20s\"").start();
    let idle = gateway.descriptors();
    let mut client = gateway.client();
    (0..100).for_each(|id| assert_eq!(client.ask(get(id)).status, 200));
    gateway.write(&setup.toml());
    gateway.signal("HUP");
    eventually("it is applied", || reloads(&gateway, "applied") == 1);
    assert_eq!(client.ask(get(100)).status, 200);
    gate.open();
    eventually("what waited is shipped", || v2.count() == 100);
    eventually("its connections are closed", || gateway.descriptors() <= idle + 2);
}

#[test]
fn a_mirrors_rate_holds_however_often_something_else_changes() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = |n: usize| {
        let other = format!("[[route]]\nname = \"other-{n}\"\npath = \"/other-{n}\"\nprimary = \"primary\"");
        Setup::new(&v1).mirror("v2", v2.address, "rate_max = 10").with(&other)
    };
    let gateway = setup(0).start();
    let began = std::time::Instant::now();
    let ((), asked) = while_clients_ask(&gateway, 2, || {
        for n in 1..=60 {
            let answer = gateway.admin("PUT", "/config", &setup(n).toml());
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    });
    let metrics = gateway.settled("v2");
    let sent = metrics.mirror("v2", "sent_total");
    assert_eq!(metrics.mirror("v2", "eligible_total"), asked as i64);
    // The tokens in the bucket at first, and those that the time has brought; a bucket for each change would be 120 and more.
    let most = 3 + 10 * (began.elapsed().as_secs() as i64 + 1);
    assert!(sent <= most, "{sent} copies in {:?}", began.elapsed());
}

#[test]
fn a_governed_mirror_stays_governed_when_another_one_changes() {
    let v1 = Origin::named("v1");
    let v2 = Origin::fixed("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", tests::origin::After::Keep);
    let v3 = Origin::named("v3");
    let gateway = Setup::new(&v1)
        .mirror("v2", v2.address, "governor = {}")
        .mirror("v3", v3.address, "percent = 50")
        .start();
    let share = |metrics: &tests::Metrics| metrics.mirror("v2", "effective_percent");
    let ((), _) = while_clients_ask(&gateway, 2, || {
        eventually("v2 is governed", || share(&gateway.metrics()) <= 13);
        for percent in [51, 52, 53] {
            let body = format!("{{\"percent\": {percent}}}");
            assert_eq!(gateway.admin("PATCH", "/mirrors/v3", &body).status, 200);
            let now = share(&gateway.metrics());
            assert!(now <= 25, "{now} %");
        }
        // Half of the percent is half of the governed share.
        assert_eq!(gateway.admin("PATCH", "/mirrors/v2", "{\"percent\": 50}").status, 200);
        let now = share(&gateway.metrics());
        assert!(now <= 13, "{now} %");
    });
}

#[test]
fn changes_are_refused_to_strangers_and_to_pages_of_others() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let gateway = setup.start();
    let patch = |gateway: &Gateway, lines: &str| {
        gateway.admin_with("PATCH", "/mirrors/v2", lines, "{\"percent\": 1}").status
    };
    assert_eq!(patch(&gateway, "Host: evil.example\r\n"), 403);
    assert_eq!(patch(&gateway, "Origin: http://evil.example\r\n"), 403);
    assert_eq!(patch(&gateway, ""), 200);
    assert_eq!(gateway.admin("PATCH", "/mirrors/nobody", "{\"percent\": 1}").status, 404);
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", "{\"percent\": -1}").status, 422);
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", "{\"percentage\": 1}").status, 422);
    let answer = gateway.admin("PUT", "/config", "[[route]]\nprimary = 1\n");
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("\"line\":2,\"message\":\"must be a string, not 1\""),
        "{}",
        answer.text()
    );

    let toml = setup.toml().replace("[admin]\n", "[admin]\ntoken = \"open-sesame\"\n");
    let guarded = Gateway::start(&toml, &[]);
    assert_eq!(patch(&guarded, ""), 401);
    assert_eq!(patch(&guarded, "Authorization: Bearer open-sesamx\r\n"), 401);
    assert_eq!(patch(&guarded, "Authorization: Bearer open-sesame\r\n"), 200);
    assert_eq!(guarded.admin("GET", "/mirrors", "").status, 200);
    assert!(!guarded.stdout().contains("sesame") && !guarded.stderr().contains("sesame"));
}

#[test]
fn a_watched_file_is_served_when_it_changes() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, Setup::new(&old).toml()).expect("the configuration is written");
    let mut command = std::process::Command::new(tests::gateway::binary());
    let mut gateway = tests::Process::spawn(command.args(["--watch", "--config"]).arg(&file));
    let address = gateway.lines("listening on ", 1).remove(0).parse().expect("an address");
    let mut client = Client::connect(address);
    assert_eq!(client.ask(get(0)).text(), "old");
    std::fs::write(&file, Setup::new(&new).toml()).expect("the configuration is written");
    eventually("the new file is served", || client.ask(get(1)).text() == "new");
    std::fs::write(&file, "[[").expect("a broken one is written");
    eventually("it is refused", || gateway.stderr().contains("configuration unchanged"));
    assert_eq!(client.ask(get(2)).text(), "new");
}

#[test]
fn what_is_in_force_can_be_read_and_put_back_and_never_tells_the_token() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "percent = 50");
    let gateway = setup.start();
    let read = || gateway.admin("GET", "/config", "").text();
    let as_written = read();
    assert!(
        as_written.contains(&v2.address.to_string()) && as_written.contains("percent = 50"),
        "{as_written}"
    );
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", r#"{"percent": 5}"#).status, 200);
    assert_eq!(read(), format!("# since: mirror v2 percent = 5\n{as_written}"));
    let put = gateway.admin("PUT", "/config", &as_written);
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(read(), as_written, "a whole configuration replaces what was changed since the last");

    let guarded = setup.toml().replace("[admin]\n", "[admin]\ntoken = \"very-secret\"\n");
    let guarded = Gateway::start(&guarded, &[]);
    let told = guarded.admin("GET", "/config", "").text();
    assert!(told.contains(&v1.address.to_string()) && !told.contains("very-secret"), "{told}");
}

#[test]
fn how_long_a_mirrors_heads_may_be_changes_with_the_configuration() {
    let v1 = Origin::named("v1");
    let v2 = Origin::new(|_, stream| {
        let long = "x".repeat(100_000);
        tests::origin::write(
            stream,
            format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 0\r\n\r\n"),
        )
    });
    let of = |bytes: &str| {
        let limits = format!("[limits]\nresponse_head_bytes_max = \"{bytes}\"");
        Setup::new(&v1).mirror("v2", v2.address, "").with(&limits)
    };
    let gateway = of("16KiB").start();
    gateway.client().ask(get(0));
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("failed protocol", 1)]);
    assert_eq!(gateway.admin("PUT", "/config", &of("256KiB").toml()).status, 200);
    gateway.client().ask(get(1));
    becomes(&gateway, "v2", &[("eligible", 2), ("sent", 2), ("failed protocol", 1), ("completed 2xx", 1)]);
}
