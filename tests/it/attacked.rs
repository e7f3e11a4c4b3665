//! Attacks that were tried, and their required outcomes, where no other promise's file has them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::gateway::built;
use tests::http2::{DATA, END, HEADERS, Raw, WINDOW_UPDATE, frame, headers, request};
use tests::load::{Gate, Peer, becomes};
use tests::{Gateway, Origin, Process, Setup, eventually};

use crate::http2::{PLAIN, listening};

const CALL: (&str, &str) = ("content-type", "application/grpc");

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success());
}

#[test]
fn a_file_of_tls_that_never_begins_or_never_ends_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fifo = folder.path().join("fifo");
    pipe(&fifo);
    for odd in [fifo.as_path(), Path::new("/dev/zero")] {
        let listener = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ cert = {odd:?}, key = {odd:?} }}] }}\n"
        );
        let upstream = format!("[upstream.other]\nendpoints = [\"127.0.0.1:1\"]\ntls = {{ ca = {odd:?} }}\n");
        let setup = Setup::to(&[Origin::refusing()]);
        for more in [listener, upstream] {
            let output = Gateway::check(&setup.clone().with(&more).toml());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains("not a regular file"), "{odd:?} {said}");
        }
    }
}

#[test]
fn a_history_that_is_no_file_stops_neither_the_dashboard_nor_the_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fifo = folder.path().join("history");
    pipe(&fifo);
    let v1 = Origin::named("v1");
    let text = Setup::new(&v1).toml().replacen("[admin]\n", &format!("[admin]\nhistory = {fifo:?}\n"), 1);
    let mut gateway = Gateway::start(&text, &[]);
    eventually("the dashboard's seconds go on", || {
        let told: Value = serde_json::from_str(&gateway.admin("GET", "/live", "").text()).expect("JSON");
        told["seq"].as_u64() > Some(0)
    });
    assert!(gateway.stderr().contains("not a regular file"), "{}", gateway.stderr());
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
}

#[test]
fn evidence_takes_the_place_of_no_pipe_and_no_device() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fifo = folder.path().join("evidence");
    pipe(&fifo);
    let v1 = Origin::named("v1");
    let mut setup = Setup::new(&v1).mirror("v2", v1.address, "").toml();
    setup = setup.replacen("[workers]\n", &format!("[verdict]\nevidence = {fifo:?}\n[workers]\n"), 1);
    let mut gateway = Gateway::start(&setup, &[]);
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
    assert!(gateway.stderr().contains("evidence is not kept"), "{}", gateway.stderr());
    let facts = std::fs::symlink_metadata(&fifo).expect("it is there");
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&facts.file_type()));
}

/// Serves calls in order, by the answer that `answer` sends for a stream, its path and its time.
fn server(
    settings: &'static [(u16, u32)],
    answer: impl Fn(&mut Raw, u32, &str, &str) + Send + Sync + 'static,
) -> Peer {
    Peer::new(move |tcp| {
        if !tcp.peek(&mut [0]).is_ok_and(|n| n > 0) {
            return;
        }
        let mut raw = Raw::serve(tcp, settings);
        while let Some(heard) = raw.frame() {
            if heard.flags & END == 0 || ![HEADERS, DATA].contains(&heard.kind) {
                continue;
            }
            let asked = raw.streams.get(&heard.stream).cloned().unwrap_or_default();
            let field = |name: &str| {
                asked.trailers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
            };
            answer(&mut raw, heard.stream, field(":path"), field("grpc-timeout"));
        }
    })
}

fn ends(raw: &mut Raw, stream: u32, content: &[u8], status: &str) {
    raw.send(&headers(stream, 0, &[(":status", "200"), CALL]));
    raw.send(&frame(DATA, 0, stream, content));
    raw.send(&headers(stream, END, &[("grpc-status", status)]));
}

fn sound() -> Peer {
    server(&[], |raw, stream, _, _| ends(raw, stream, b"\0\0\0\0\x02\x08\x01", "0"))
}

fn start(v1: SocketAddr, v2: SocketAddr, keys: &str) -> Gateway {
    let mut text = listening(&Setup::to(&[v1]).mirror("v2", v2, keys), PLAIN);
    for name in ["primary", "v2"] {
        let table = format!("[upstream.{name}]\n");
        text = text.replacen(&table, &format!("{table}protocol = \"h2\"\n"), 1);
    }
    Gateway::start(&text, &[])
}

fn call(raw: &mut Raw, n: u32, more: &[(&str, &str)]) {
    let stream = 2 * n + 1;
    let fields = [&[CALL, ("te", "trailers")], more].concat();
    raw.send(&headers(stream, 0, &request("POST", "/shop.Carts/Find", &fields)));
    raw.send(&frame(DATA, END, stream, b"\0\0\0\0\x02\x08\x01"));
    let heard = raw.response(stream);
    let ended = heard.trailers.iter().find(|(name, _)| name == "grpc-status");
    assert_eq!(ended.map(|(_, status)| status.as_str()), Some("0"), "{heard:?}");
}

fn left_out(gateway: &Gateway, reason: &str) -> i64 {
    gateway.metrics().sum("umbra_mirror_pairs_left_out_total", &[&format!("reason=\"{reason}\"")])
}

#[test]
fn a_copy_that_was_left_less_time_than_its_original_speaks_against_no_version() {
    let (gate, told) = (Gate::closed(), Arc::new(AtomicU64::new(0)));
    let (held, heard) = (Arc::clone(&gate), Arc::clone(&told));
    // One call at a time. The second waits for the first, and then has the rest of its time, which this server takes.
    let v2 = server(&[(3, 1)], move |raw, stream, _, timeout| {
        if timeout.is_empty() {
            held.wait();
            return ends(raw, stream, b"\0\0\0\0\x02\x08\x01", "0");
        }
        let ms = timeout.strip_suffix('m').and_then(|digits| digits.parse().ok()).unwrap_or_default();
        heard.store(ms, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(ms));
        raw.send(&headers(stream, END, &[(":status", "200"), CALL, ("grpc-status", "4")]));
    });
    let v1 = sound();
    let gateway = start(v1.address, v2.address, "connections_max = 1, ttl = \"1h\", compare = {}");
    let mut raw = Raw::connect(gateway.address);
    call(&mut raw, 0, &[]);
    eventually("the first copy is under way", || gateway.metrics().sum("umbra_mirror_in_flight", &[]) == 1);
    call(&mut raw, 1, &[("grpc-timeout", "1S")]);
    eventually("the second copy waits", || gateway.metrics().sum("umbra_mirror_waiting", &[]) == 1);
    gate.open();
    becomes(&gateway, "v2", &[("eligible", 2), ("sent", 2), ("completed 2xx", 1), ("completed 5xx", 1)]);
    assert!((1..1000).contains(&told.load(Ordering::SeqCst)), "{told:?}");
    assert_eq!(left_out(&gateway, "less_time"), 1, "{}", gateway.metrics().text());
    let outcomes = gateway.admin("GET", "/outcomes", "").text();
    assert!(outcomes.contains("\"200\"") && !outcomes.contains("deadline"), "{outcomes}");
    let diffs = gateway.admin("GET", "/diffs", "").text();
    assert!(!diffs.contains("DEADLINE"), "{diffs}");
}

/// The verdict where few pairs are enough, and its sentences.
fn verdict(gateway: &Gateway) -> (String, String) {
    let policy = "samples_min = 5\nerror_percent_max = 50\nmismatch_percent_max = 50\ncontents = \"optional\"\n\
                  ignore_rules = [\"p50_ratio\", \"p99_ratio\"]\n";
    let text = gateway.admin("POST", "/verdict", policy).text();
    let told: Value = serde_json::from_str(&text).expect("JSON");
    (told["verdict"].as_str().unwrap_or(&text).to_owned(), told["mirrors"][0]["said"].to_string())
}

#[test]
fn a_mirror_of_whose_calls_many_ended_unread_is_held_and_it_is_said_what_to_do() {
    const EACH: u32 = 24;
    let v2 = server(&[], |raw, stream, _, _| {
        // Of the later ones the end stands behind more than is read of a response.
        let content: &[u8] = if stream < 2 * EACH { b"\0\0\0\0\x02\x08\x01" } else { &[0; 2048] };
        ends(raw, stream, content, "0");
    });
    let v1 = sound();
    let gateway = start(v1.address, v2.address, "connections_max = 1, response_bytes_max = \"1KiB\"");
    let mut raw = Raw::connect(gateway.address);
    (0..EACH).for_each(|n| call(&mut raw, n, &[]));
    eventually("all were answered alike", || verdict(&gateway).0 == "promote");
    (EACH..2 * EACH).for_each(|n| call(&mut raw, n, &[]));
    eventually("none of these is a pair", || left_out(&gateway, "end_unread") == i64::from(EACH));
    let (decision, said) = verdict(&gateway);
    assert_eq!(decision, "hold", "{said}");
    assert!(
        said.contains("held by pairs_left_out on") && said.contains("raise response_bytes_max"),
        "{said}"
    );
    let evidence = gateway.admin("GET", "/evidence", "").text();
    assert!(evidence.contains(&format!("\"end_unread\":{EACH}")), "{evidence}");
    assert_eq!(gateway.admin("POST", "/verdict/begin", "").status, 200);
    let (_, said) = verdict(&gateway);
    assert!(!said.contains("pairs_left_out"), "{said}");
}

#[test]
fn a_call_whose_end_was_not_read_is_no_success() {
    // The end stands behind more than is read of a response.
    let v2 = server(&[], |raw, stream, _, _| ends(raw, stream, &[0; 8192], "13"));
    let v1 = sound();
    let gateway = start(v1.address, v2.address, "response_bytes_max = \"1KiB\"");
    let mut raw = Raw::connect(gateway.address);
    call(&mut raw, 0, &[]);
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("completed 2xx", 1)]);
    assert_eq!(left_out(&gateway, "end_unread"), 1, "{}", gateway.metrics().text());
    let pairs = gateway.metrics().sum("umbra_pairs_total", &[]);
    assert_eq!(pairs, 0, "{}", gateway.metrics().text());
}

#[test]
fn no_look_up_of_a_name_keeps_the_process_from_its_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let aliases = folder.path().join("aliases");
    pipe(&aliases);
    let v1 = Origin::named("v1");
    let text = Setup::new(&v1).toml().replacen("[admin]\n", "[admin]\ntoken = \"a-token-of-the-fleet\"\n", 1);
    let text = text.replacen("[workers]\n", "[verdict]\npeers = [\"peer:9901\"]\n[workers]\n", 1);
    // The system's resolver reads it before it asks anybody, and waits there for ever.
    let environment = [("HOSTALIASES".to_owned(), aliases.display().to_string())];
    let mut gateway = Gateway::start(&text, &environment);
    let fields = "Authorization: Bearer a-token-of-the-fleet\r\n";
    let told = gateway.admin_with("GET", "/verdict", fields, "").text();
    assert!(told.contains("had no address after"), "{told}");
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
}

fn rss_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Opens the tunnel that a client asks for, and sends so many bytes of pings there as fast as it takes them, but lets it send none
/// back. Returns how many were sent.
fn pings(raw: &mut Raw, bytes: usize) -> usize {
    let ping: Vec<u8> = [&[0x89, 125][..], &[b'p'; 125]].concat();
    let pings = frame(DATA, 0, 0, &ping.repeat(120));
    let payload = pings.len() - 9;
    let (mut stream, mut room, mut sent) = (0, 4 << 20, 0);
    while sent < bytes {
        if stream > 0 && room >= payload {
            let mut pings = pings.clone();
            pings[5..9].copy_from_slice(&u32::to_be_bytes(stream));
            raw.send(&pings);
            (room, sent) = (room - payload, sent + payload);
            continue;
        }
        let Some(heard) = raw.frame() else { break };
        if heard.kind == HEADERS {
            stream = heard.stream;
            raw.send(&headers(stream, 0, &[(":status", "200")]));
        } else if heard.kind == WINDOW_UPDATE && heard.stream == stream && stream > 0 {
            room += heard.code() as usize;
        }
    }
    sent
}

#[test]
fn a_server_that_pings_and_takes_no_answer_does_not_fill_the_load_generators_memory() {
    const BYTES: usize = 24 << 20;
    let (sent, over) = (Arc::new(AtomicU64::new(0)), Gate::closed());
    let (told, held) = (Arc::clone(&sent), Arc::clone(&over));
    let server = Peer::new(move |tcp| {
        // Windows of nothing, and tunnels.
        let mut raw = Raw::serve(tcp, &[(4, 0), (8, 1)]);
        told.fetch_add(pings(&mut raw, BYTES) as u64, Ordering::SeqCst);
        held.wait();
    });
    let url = format!("http://{}/", server.address);
    let load = [
        "run",
        "-q",
        "--threads",
        "1",
        "-c",
        "1",
        "--http2",
        "--websocket",
        "--rate",
        "1",
        "--duration",
        "60s",
    ];
    let mut command = Command::new(built("loadgen"));
    let loadgen = Process::spawn(command.args(load).args(["--timeout", "60s", &url]));
    eventually("the tunnel's pings were taken", || sent.load(Ordering::SeqCst) as usize >= BYTES);
    let held = rss_bytes(loadgen.child.id());
    // Of answers that wait alone it would be more.
    assert!(held < 64 << 20, "{held} bytes");
    over.open();
}

/// Answers each request with a status that tells whose it is; on the first connection once with one too many, behind which its
/// kernel holds bytes back until that is acknowledged.
fn holding_back(tcp: TcpStream, is_first: bool) {
    let mut lines = BufReader::new(tcp.try_clone().expect("a second descriptor")).lines();
    let mut out = tcp;
    let mut answered = 0;
    while let Some(Ok(target)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        answered += 1;
        if is_first
            && answered == 40
            && out.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").is_err()
        {
            return;
        }
        let id: usize =
            target.split_once("id=").and_then(|(_, id)| id.split(' ').next()?.parse().ok()).expect("an id");
        if out.write_all(status_of(id).as_bytes()).is_err() {
            return;
        }
    }
}

fn status_of(id: usize) -> String {
    format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", ["200 OK", "404 Not Found"][id % 2])
}

#[test]
fn a_mirror_whose_kernel_holds_responses_back_finds_back_into_step_under_light_load_too() {
    const REQUESTS: usize = 300;
    let v1 = Origin::new(|request, stream| {
        let id = request.target.split_once("id=").and_then(|(_, id)| id.parse().ok()).expect("an id");
        tests::origin::write(stream, status_of(id))
    });
    let connections = AtomicU64::new(0);
    let v2 = Peer::new(move |tcp| holding_back(tcp, connections.fetch_add(1, Ordering::SeqCst) == 0));
    let policy = "connections_max = 1, pipeline_max = 1, timeout = \"60s\"";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, policy).start();
    let told = |what: &str| gateway.metrics().mirror("v2", what);
    let mut client = gateway.client();
    for id in 0..REQUESTS {
        client.ask(tests::load::get(id));
        // Each copy is sent when nothing else is under way.
        eventually("the copy is answered", || told("completed_total") + told("failed_total") > id as i64);
    }
    assert_eq!(told("out_of_step_total"), 1);
    let beside = |primary: &str, mirror: &str| {
        let ends = [&*format!("primary_end=\"{primary}\""), &*format!("mirror_end=\"{mirror}\"")];
        gateway.metrics().sum("umbra_pairs_total", &ends)
    };
    let (wrong, suspect) = (beside("200", "404") + beside("404", "200"), told("suspect_pairs_total"));
    assert!(
        wrong <= suspect && suspect <= 130,
        "{wrong} responses beside another request, {suspect} said to be"
    );
}
