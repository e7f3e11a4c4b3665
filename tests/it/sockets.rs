//! Unix domain sockets as endpoints: of primaries and of mirrors, in the configuration and in manifests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use tests::load::{becomes, get, pattern, post};
use tests::{Client, Gateway, Origin, Process, eventually};

/// A Unix socket at `path` whose connections go to the server at `to`.
fn socket(path: &Path, to: SocketAddr) {
    let listener = UnixListener::bind(path).expect("a socket");
    thread::spawn(move || {
        for unix in listener.incoming().map_while(Result::ok) {
            let Ok(tcp) = TcpStream::connect(to) else { continue };
            let (from, into) = (unix.try_clone().expect("a handle"), tcp.try_clone().expect("a handle"));
            thread::spawn(move || pass(from, into, |tcp| tcp.shutdown(Shutdown::Write)));
            thread::spawn(move || pass(tcp, unix, |unix| unix.shutdown(Shutdown::Write)));
        }
    });
}

fn pass<W: Write>(mut from: impl Read, mut into: W, end: impl Fn(&W) -> std::io::Result<()>) {
    let _ = std::io::copy(&mut from, &mut into);
    let _ = end(&into);
}

fn toml(v1: &Path, v2: &Path, keys: &str) -> String {
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 1\npin = false\n\
         [upstream.v1]\nendpoints = [\"unix:{}\"]\n{keys}\n[upstream.v2]\nendpoints = [\"unix:{}\"]\n\
         [[route]]\nname = \"all\"\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\" }}]\n",
        v1.display(),
        v2.display()
    )
}

#[test]
fn a_primary_and_a_mirror_may_be_sockets_of_this_machine() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [one, two] = ["v1.sock", "v2.sock"].map(|name| directory.path().join(name));
    socket(&one, v1.address);
    socket(&two, v2.address);
    for driver in ["auto", "epoll"] {
        let (before, copied) = (v1.count(), v2.count());
        let text = toml(&one, &two, "health = { path = \"/health\", interval = \"100ms\" }")
            .replace("pin = false", &format!("pin = false\ndriver = \"{driver}\""));
        let gateway = Gateway::start(&text, &[]);
        let mut client = gateway.client();
        for id in 0..50 {
            assert_eq!(client.ask(get(id)).text(), "v1");
        }
        let content = pattern(0, 200_000);
        assert_eq!(client.ask(post("/upload", &content)).text(), "v1");
        let metrics = becomes(&gateway, "v2", &[("eligible", 51), ("sent", 51), ("completed 2xx", 51)]);
        metrics.ledger("v2").expect("it balances");
        assert_eq!(v2.count() - copied, 51);
        for origin in [&v1, &v2] {
            let upload = origin.requests().into_iter().rfind(|request| request.target == "/upload");
            assert_eq!(upload.expect("it came").body, content);
        }
        eventually("it is asked for its health", || {
            v1.requests()
                .iter()
                .skip(before)
                .any(|request| request.target == "/health" && request.field("host") == Some("localhost"))
        });
    }
}

#[test]
fn a_socket_that_is_not_there_is_a_primary_that_is_away_and_its_return_is_found() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [one, two] = ["v1.sock", "v2.sock"].map(|name| directory.path().join(name));
    let gateway = Gateway::start(&toml(&one, &two, ""), &[]);
    assert_eq!(gateway.client().ask(get(1)).status, 503);
    socket(&one, v1.address);
    socket(&two, v2.address);
    eventually("it is found", || gateway.client().ask(get(2)).status == 200);
    eventually("so is the mirror", || {
        gateway.client().ask(get(3));
        v2.count() > 0
    });
    let told = gateway.admin("GET", "/config", "").text();
    assert!(told.contains(&format!("unix:{}", one.display())), "{told}");
}

#[test]
fn a_service_entry_and_an_endpoint_of_the_command_line_may_name_sockets() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [one, two] = ["v1.sock", "v2.sock"].map(|name| directory.path().join(name));
    socket(&one, v1.address);
    socket(&two, v2.address);
    let manifest = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec:\n  hosts: [app.example]\n  \
         ports: [{{number: 80, name: http, protocol: HTTP}}]\n  resolution: STATIC\n  endpoints: [{{address: 'unix://{}'}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s}}\nspec:\n  hosts: [s.example]\n  http:\n  \
         - {{route: [{{destination: {{host: app.example}}}}], mirror: {{host: v2}}}}\n",
        one.display()
    );
    let path = directory.path().join("m.yaml");
    std::fs::write(&path, manifest).expect("it is written");
    let settings = directory.path().join("settings.toml");
    std::fs::write(&settings, "[admin]\nbind = \"127.0.0.1:0\"\n").expect("it is written");
    let mut command = Command::new(tests::gateway::binary());
    command.arg("--manifest").arg(&path).arg("--endpoint").arg(format!("v2=unix:{}", two.display()));
    let mut process = Process::spawn(command.args(["--listen", "127.0.0.1:0", "--config"]).arg(&settings));
    let address: SocketAddr = process.lines("listening on ", 1).remove(0).parse().expect("an address");
    assert_eq!(Client::connect(address).ask("GET / HTTP/1.1\r\nHost: s.example\r\n\r\n").text(), "v1");
    v2.wait_for(1);
}

#[test]
fn the_socket_of_a_peer_that_closes_is_not_used_again() {
    let v1 = Origin::new(|_, stream| {
        tests::origin::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1");
        tests::origin::After::Close
    });
    let v2 = Origin::named("v2");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [one, two] = ["v1.sock", "v2.sock"].map(|name| directory.path().join(name));
    socket(&one, v1.address);
    socket(&two, v2.address);
    let gateway = Gateway::start(&toml(&one, &two, ""), &[]);
    let mut client = gateway.client();
    for id in 0..20 {
        assert_eq!(client.ask(get(id)).status, 200);
    }
    assert!(UnixStream::connect(&one).is_ok());
}
