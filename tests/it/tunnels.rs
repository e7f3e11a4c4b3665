//! WebSockets through the gateway, seen from outside: bytes pass both ways unread whatever wires the ends are on, nothing else
//! becomes a tunnel, and no byte reaches a mirror.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tests::certificates::{Authority, Pair};
use tests::origin::write;
use tests::{Client, Conn, Gateway, Metrics, Origin, PATIENCE, Setup, eventually, pattern};

use crate::http2::listening;
use crate::listeners::free;
use crate::logs::{logging_to, wait_for_lines};

pub(crate) const ASKED: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

pub(crate) const OPEN: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";

/// The text of `setup` with a route that takes WebSockets, and with these keys in its listener.
pub(crate) fn taking(setup: &Setup, listener: &str) -> String {
    let route = "primary = \"primary\"\n";
    let text = listening(setup, listener);
    assert!(text.contains(route));
    text.replacen(route, &format!("{route}upgrade = [\"websocket\"]\n"), 1)
}

fn start(setup: &Setup) -> Gateway {
    Gateway::start(&taking(setup, ""), &[])
}

pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// A server's answer to this key.
pub(crate) fn accept(key: &str) -> String {
    let guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{guid}").as_bytes()))
}

/// Opens the tunnel that is asked for, with `first` behind the head in the same write.
fn open(conn: &mut Conn, first: &[u8]) -> Option<String> {
    let head = conn.head()?;
    let accept = accept(field(&head, "sec-websocket-key")?);
    let opened = format!("{OPEN}Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n");
    conn.stream.write_all(&[opened.as_bytes(), first].concat()).ok()?;
    Some(head)
}

/// Echoes all bytes, and sends `bye` at their end.
pub(crate) fn echo() -> Origin {
    Origin::scripted(|conn| {
        if open(conn, b"hello:").is_none() {
            return;
        }
        loop {
            let came = std::mem::take(&mut conn.inbox);
            if conn.stream.write_all(&came).is_err() || !conn.read() {
                break;
            }
        }
        let _ = conn.stream.write_all(b"bye");
    })
}

/// Reads until `n` bytes stand in the inbox, and takes them.
#[track_caller]
pub(crate) fn take(client: &mut Client, n: usize) -> Vec<u8> {
    let mut block = vec![0; 64 * 1024];
    client.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    while client.inbox.len() < n {
        let got = client.stream.read(&mut block).expect("more bytes");
        assert!(got > 0, "ended behind {} of {n} bytes", client.inbox.len());
        client.inbox.extend_from_slice(&block[..got]);
    }
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    client.inbox.drain(..n).collect()
}

/// Reads the head that opens the tunnel.
#[track_caller]
pub(crate) fn opened(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(take(client, 1));
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    head
}

fn ended(metrics: &Metrics, reason: &str) -> i64 {
    metrics.sum("umbra_tunnels_ended_total", &[&format!("reason=\"{reason}\"")])
}

#[track_caller]
pub(crate) fn ends(gateway: &Gateway, reason: &str) -> Metrics {
    eventually(&format!("a tunnel that ends {reason}"), || ended(&gateway.metrics(), reason) == 1);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("umbra_tunnels_active", &[]), 0, "{}", metrics.text());
    assert_eq!(metrics.sum("umbra_tunnels_ended_total", &[]), metrics.sum("umbra_tunnels_opened_total", &[]));
    metrics
}

fn bytes(metrics: &Metrics, direction: &str) -> i64 {
    metrics.sum("umbra_tunnel_bytes_total", &[&format!("direction=\"{direction}\"")])
}

#[test]
fn bytes_pass_both_ways_from_the_first_behind_the_heads_to_the_last_behind_the_others_end() {
    let v1 = echo();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("access.log");
    let gateway = start(&logging_to(&Setup::new(&v1), &log, ""));
    let mut client = gateway.client();
    // Bytes that a client sends before it has its answer wait for it.
    client.send(format!("{ASKED}early"));
    let head = opened(&mut client);
    assert_eq!(field(&head, "upgrade"), Some("websocket"));
    assert_eq!(field(&head, "connection"), Some("Upgrade"));
    assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat"));
    assert_eq!(take(&mut client, 11), b"hello:early");
    // More than any buffer, both ways at once.
    let content = pattern(8 << 20);
    let mut sending = client.stream.try_clone().expect("a second descriptor");
    let sent = content.clone();
    let sender = std::thread::spawn(move || {
        sending.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        for piece in sent.chunks(100_000) {
            sending.write_all(piece).expect("it takes more");
        }
        sending.shutdown(Shutdown::Write).expect("an end");
    });
    assert!(take(&mut client, content.len()) == content, "bytes were lost, doubled or moved");
    sender.join().expect("all was sent");
    // The other end speaks behind ours.
    assert_eq!(take(&mut client, 3), b"bye");
    assert!(client.is_closed());
    let metrics = ends(&gateway, "closed");
    let up = 5 + content.len() as i64;
    assert_eq!((bytes(&metrics, "to_primary"), bytes(&metrics, "to_client")), (up, 6 + up + 3));
    let line = &wait_for_lines(&log, 1)[0];
    assert_eq!(line["status"], 101, "{line}");
    assert_eq!(
        (line["request_bytes"].as_i64(), line["response_bytes"].as_i64()),
        (Some(up), Some(6 + up + 3))
    );
    let wire = v1.wires().concat();
    assert_eq!(field(&wire, "connection"), Some("Upgrade"), "{wire}");
    assert_eq!(field(&wire, "upgrade"), Some("websocket"));
    assert_eq!(field(&wire, "sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[test]
fn what_passes_in_a_tunnel_is_never_copied_and_the_ledger_says_why() {
    let (v1, v2) = (echo(), Origin::named("v2"));
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let mut client = gateway.client();
    client.send(format!("{ASKED}GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"));
    opened(&mut client);
    take(&mut client, 6 + "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n".len());
    client.finish();
    assert!(client.is_ended());
    ends(&gateway, "closed");
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror("v2", "eligible_total"), 1);
    assert_eq!(metrics.mirror_by("v2", "skipped_total", "reason", "upgrade"), 1);
    assert_eq!(metrics.mirror("v2", "sent_total"), 0);
    assert_eq!((v2.connections(), v2.wires()), (0, vec![]));
}

#[test]
fn a_server_that_does_not_switch_is_heard_and_what_came_behind_the_request_is_no_request() {
    for status in ["200 OK", "426 Upgrade Required", "401 Unauthorized"] {
        let v1 = Origin::new(move |_, stream| {
            let head = format!("HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n");
            write(stream, format!("{head}Content-Length: 2\r\n\r\nno"))
        });
        let v2 = Origin::named("v2");
        let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
        let mut client = gateway.client();
        client.send(format!("{ASKED}GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.response();
        assert_eq!((answer.status.to_string(), answer.text()), (status[..3].to_owned(), "no".to_owned()));
        assert_eq!((answer.field("upgrade"), answer.field("connection")), (None, Some("close")));
        assert!(client.is_closed());
        // Nor has anybody else the connection on which it was asked for.
        assert_eq!(gateway.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "no");
        assert_eq!((v1.connections(), v1.count()), (2, 2), "{:?}", v1.wires());
        assert!(!v1.saw("/evil") && !v2.saw("/evil"));
        let metrics = gateway.settled("v2");
        assert_eq!(metrics.mirror_by("v2", "skipped_total", "reason", "upgrade"), 1);
        assert_eq!(metrics.sum("umbra_tunnels_opened_total", &[]), 0);
    }
}

#[test]
fn only_a_101_that_agrees_to_what_was_asked_for_opens_a_tunnel() {
    let plain = "GET /chat HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases = [
        ("nobody asked", plain, format!("{OPEN}\r\n")),
        ("another protocol", ASKED, OPEN.replace("websocket", "h2c") + "\r\n"),
        ("two protocols", ASKED, format!("{OPEN}Upgrade: h2c\r\n\r\n")),
        ("not of this connection", ASKED, OPEN.replace("Connection: Upgrade\r\n", "") + "\r\n"),
        ("no protocol", ASKED, "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\n\r\n".to_owned()),
    ];
    for (what, asked, said) in cases {
        let v1 = Origin::scripted(move |conn| {
            if conn.head().is_some() {
                let _ = conn.stream.write_all(said.as_bytes());
                conn.read();
            }
        });
        let gateway = start(&Setup::new(&v1));
        let mut client = gateway.client();
        client.send(format!("{asked}GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.response();
        assert_eq!(answer.status, 502, "{what}: {}", answer.text());
        assert!(asked == plain || client.is_closed(), "{what}");
        assert!(asked == plain || !v1.saw("/evil"), "{what}");
        assert_eq!(gateway.metrics().sum("umbra_tunnels_opened_total", &[]), 0, "{what}");
    }
}

#[test]
fn an_upgrade_that_its_route_does_not_take_is_passed_over_and_the_request_is_as_any_other() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").start();
    let mut client = gateway.client();
    let tls = "GET /b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n";
    for asked in [ASKED, tls] {
        assert_eq!(client.ask(asked).text(), "v1");
    }
    for sent in v1.wait_for(2).iter().chain(&v2.wait_for(2)) {
        assert_eq!((sent.field("upgrade"), sent.field("connection")), (None, None), "{sent:?}");
    }
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror("v2", "completed_total"), 2);
    assert_eq!(metrics.sum("umbra_upgrades_ignored_total", &[]), 2);
    let refused = client.ask("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!(refused.status, 405, "an open proxy is never a default");
}

#[test]
fn a_tunnel_on_which_nothing_moves_is_ended_and_one_on_which_one_end_speaks_is_not() {
    let v1 = echo();
    let gateway = start(&Setup::new(&v1).with("[timeouts]\ntunnel_idle = \"3s\""));
    let (mut silent, mut busy) = (gateway.client(), gateway.client());
    for client in [&mut silent, &mut busy] {
        client.send(ASKED);
        opened(client);
        take(client, 6);
    }
    while !silent.hears_within(Duration::from_millis(1)) && !silent.has_ended() {
        busy.send("x");
        take(&mut busy, 1);
    }
    assert!(silent.is_closed());
    let metrics = gateway.metrics();
    assert_eq!((ended(&metrics, "idle"), metrics.sum("umbra_tunnels_active", &[])), (1, 1));
    busy.send("y");
    assert_eq!(take(&mut busy, 1), b"y");
}

#[test]
fn an_end_that_dies_takes_the_other_with_it() {
    let v1 = Origin::scripted(|conn| {
        if open(conn, b"").is_some() {
            while !conn.inbox.ends_with(b"die") && conn.read() {}
            if conn.inbox.ends_with(b"die") {
                conn.reset();
            }
        }
    });
    let gateway = start(&Setup::new(&v1));
    let mut client = gateway.client();
    client.send(ASKED);
    opened(&mut client);
    client.send("die");
    assert!(client.is_closed() && client.was_reset(), "a cut is no end");
    ends(&gateway, "primary");

    let (told, tells) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let v1 = Origin::scripted(move |conn| {
        if open(conn, b"").is_some() {
            while conn.read() {}
            let _ = told.lock().expect("no panic").send(());
        }
    });
    let gateway = start(&Setup::new(&v1));
    let mut client = gateway.client();
    client.send(ASKED);
    opened(&mut client);
    client.reset();
    assert!(tells.recv_timeout(PATIENCE).is_ok(), "the primary is not told");
    ends(&gateway, "client");
}

#[test]
fn more_tunnels_than_may_be_are_503_and_they_take_no_exchanges_place_nor_an_upstreams() {
    let v1 = Origin::scripted(|conn| {
        while let Some(head) = conn.head() {
            if head.contains("Upgrade") {
                let accept = accept(field(&head, "sec-websocket-key").unwrap_or_default());
                let _ = write!(conn.stream, "{OPEN}Sec-WebSocket-Accept: {accept}\r\n\r\n");
                while conn.read() {}
                return;
            }
            let _ = conn.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let limits = "[limits]\ntunnels_max = 2\nexchanges_max = 1";
    let text = taking(&Setup::new(&v1).with(limits), "");
    let upstream = "[upstream.primary]\n";
    let text = text.replacen(upstream, &format!("{upstream}connections_max = 1\npending_max = 0\n"), 1);
    let gateway = Gateway::start(&text, &[]);
    let mut held: Vec<Client> = Vec::new();
    for _ in 0..2 {
        let mut client = gateway.client();
        client.send(ASKED);
        opened(&mut client);
        held.push(client);
    }
    let refused = gateway.client().ask(ASKED);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(gateway.metrics().sum("umbra_rejected_total", &["reason=\"tunnels\""]), 1);
    assert_eq!(gateway.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
    assert_eq!(gateway.metrics().sum("umbra_tunnels_active", &[]), 2);
    drop(held.pop());
    eventually("there is a place again", || {
        let mut client = gateway.client();
        client.send(ASKED);
        client.hears_within(PATIENCE) && client.inbox.starts_with(b"HTTP/1.1 101")
    });
}

#[test]
fn a_gateway_that_ends_lets_tunnels_go_on_for_its_grace_and_closes_them_then() {
    let v1 = echo();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("access.log");
    let setup = logging_to(&Setup::new(&v1), &log, "").with("[timeouts]\ndrain = \"2s\"");
    let mut gateway = start(&setup);
    let mut client = gateway.client();
    client.send(ASKED);
    opened(&mut client);
    take(&mut client, 6);
    gateway.signal("TERM");
    eventually("nobody is let in", || std::net::TcpStream::connect(gateway.address).is_err());
    client.send("still");
    assert_eq!(take(&mut client, 5), b"still");
    assert!(client.is_closed());
    assert!(gateway.wait_exit().success(), "{}", gateway.stderr());
    let line = &wait_for_lines(&log, 1)[0];
    assert_eq!((&line["status"], line["request_bytes"].as_i64()), (&101.into(), Some(5)), "{line}");
}

#[test]
fn a_listener_that_goes_gives_its_tunnels_their_grace_and_ends_no_others() {
    let v1 = echo();
    let setup = Setup::new(&v1).with("[timeouts]\ndrain = \"1s\"");
    let added = free(21);
    let both = format!("[[listener]]\nbind = \"{added}\"\n{}", taking(&setup, ""));
    let gateway = Gateway::start(&taking(&setup, ""), &[]);
    assert_eq!(gateway.admin("PUT", "/config", &both).status, 200);
    let (mut leaving, mut staying) = (Client::connect(added), gateway.client());
    for client in [&mut leaving, &mut staying] {
        client.send(ASKED);
        opened(client);
        take(client, 6);
    }
    assert_eq!(gateway.admin("PUT", "/config", &taking(&setup, "")).status, 200);
    leaving.send("still");
    assert_eq!(take(&mut leaving, 5), b"still");
    assert!(leaving.is_closed());
    staying.send("on");
    assert_eq!(take(&mut staying, 2), b"on");
    let metrics = gateway.metrics();
    assert_eq!((ended(&metrics, "drain"), metrics.sum("umbra_tunnels_active", &[])), (1, 1));
}

/// A server by the library `websockets`; ends when dropped.
struct Library {
    python: std::path::PathBuf,
    server: std::process::Child,
    address: std::net::SocketAddr,
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/support/websocket_peers.py");

impl Library {
    fn serve(pair: Option<&Pair>) -> Self {
        Self::serve_as("serve", pair)
    }

    fn serve_as(mode: &str, pair: Option<&Pair>) -> Self {
        let python = tests::python::environment("websockets", &["websockets==17.4"]).join("bin/python");
        let mut command = Command::new(&python);
        command.args([SCRIPT, mode]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.args(pair.iter().flat_map(|pair| [&pair.cert, &pair.key]));
        let mut server = command.spawn().expect("python");
        let mut port = String::new();
        let said = server.stdout.take().expect("it is piped");
        std::io::BufReader::new(said).read_line(&mut port).expect("a port");
        let port = port.trim().parse().expect("a port");
        Self { python, server, address: std::net::SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// The report of a client of the same library on a talk with the server at `url`.
    fn talk(&self, url: &str, ca: Option<&std::path::Path>) -> String {
        let told = Command::new(&self.python).args([SCRIPT, "talk", url]).args(ca).output().expect("python");
        assert!(told.status.success(), "{url}: {}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8_lossy(&told.stdout).into_owned()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_websocket_library_talks_through_the_gateway_as_it_talks_directly_with_and_without_tls_on_either_side() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("shop", &["shop.example", "127.0.0.1"]);
    let (plain, covered) = (Library::serve(None), Library::serve(Some(&pair)));
    let directly = plain.talk(&format!("ws://{}/chat", plain.address), None);
    assert_eq!(directly, "4001 as you wish ['permessage-deflate']\n");
    for (server, upstream) in
        [(&plain, String::new()), (&covered, format!("tls = {{ ca = {:?} }}\n", authority.ca))]
    {
        for (scheme, listener) in
            [("ws", String::new()), ("wss", format!("tls = {{ certificates = [{}] }}", pair.toml()))]
        {
            let text = taking(&Setup::to(&[server.address]), &listener);
            let table = "[upstream.primary]\n";
            let gateway = Gateway::start(&text.replacen(table, &format!("{table}{upstream}"), 1), &[]);
            let ca = (scheme == "wss").then_some(authority.ca.as_path());
            let told = server.talk(&format!("{scheme}://{}/chat", gateway.address), ca);
            assert_eq!(told, directly, "{scheme}, {upstream}");
            // How is the library's business: over TLS it does not always say so.
            eventually("the tunnel is over", || {
                let metrics = gateway.metrics();
                let n = |what: &str| metrics.sum(&format!("umbra_tunnels_{what}"), &[]);
                (n("opened_total"), n("ended_total"), n("active")) == (1, 1, 0)
            });
        }
    }
}

/// How each case of Autobahn's suite ends at this server. `NON-STRICT` is `OK`: which of the two it is, is a race within the server.
fn cases_at(address: std::net::SocketAddr) -> std::collections::BTreeMap<String, String> {
    let suite = tests::python::environment("kosoku", &["kosoku==0.1.0"]).join("bin/kosoku");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(suite);
    // Without the cases that measure (9) and those of every size with compression (12, 13).
    command.args(["-x", "9.*", "-x", "12.*", "-x", "13.*", "-p", "4", "-o"]).arg(folder.path());
    let output = command.arg(address.to_string()).output().expect("the suite runs");
    let index = std::fs::read_to_string(folder.path().join("index.json"));
    let index = index.unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    let of_server = index.as_object().and_then(|all| all.values().next()).and_then(|of| of.as_object());
    let ended = |of: &serde_json::Value| {
        let word = |key: &str| of[key].as_str().unwrap_or_default().replace("NON-STRICT", "OK");
        format!("{}, {}", word("behavior"), word("behaviorClose"))
    };
    of_server.expect("a server").iter().map(|(case, of)| (case.clone(), ended(of))).collect()
}

#[test]
fn the_cases_of_autobahns_suite_end_through_the_gateway_as_they_do_directly() {
    let server = Library::serve_as("serve-any", None);
    let directly = cases_at(server.address);
    assert!(directly.len() > 240, "{} cases", directly.len());
    let well = directly.values().filter(|ended| *ended == "OK, OK").count();
    assert!(well > 230, "the server itself is no good: {directly:?}");
    let gateway = Gateway::start(&taking(&Setup::to(&[server.address]), ""), &[]);
    let through = cases_at(gateway.address);
    let otherwise: Vec<_> =
        directly.iter().filter(|(case, ended)| through.get(*case) != Some(ended)).collect();
    assert!(otherwise.is_empty(), "{otherwise:?}\n{through:?}");
    assert_eq!(through.len(), directly.len());
}
