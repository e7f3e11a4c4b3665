//! Calls of every kind by grpcio on three sides: a client talks through the gateway as it talks directly, and a mirror hears it.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::certificates::{Authority, Pair};
use tests::{Gateway, Setup, eventually, python};

use crate::http2::{PLAIN, listening};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/support/grpc_peers.py");

/// A server by grpcio; ends when dropped.
struct Library {
    python: PathBuf,
    server: Child,
    address: SocketAddr,
}

impl Library {
    fn serve(pair: Option<&Pair>) -> Self {
        let python = python::environment("grpcio", &["grpcio==1.76.0"]).join("bin/python");
        let mut command = Command::new(&python);
        command.args([SCRIPT, "serve"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.args(pair.iter().flat_map(|pair| [&pair.cert, &pair.key]));
        let mut server = command.spawn().expect("python");
        let mut port = String::new();
        let said = server.stdout.take().expect("it is piped");
        std::io::BufReader::new(said).read_line(&mut port).expect("a port");
        let port = port.trim().parse().expect("a port");
        Self { python, server, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// The report of a client of the same library on its calls to `address`.
    fn talk(&self, address: SocketAddr, ca: Option<&Path>) -> String {
        let address = address.to_string();
        let told =
            Command::new(&self.python).args([SCRIPT, "talk", &address]).args(ca).output().expect("python");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
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
fn a_client_talks_through_the_gateway_as_it_talks_directly_and_a_mirror_hears_it() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("shop", &["shop.example"]);
    let (plain, covered) = (Library::serve(None), Library::serve(Some(&pair)));
    let directly = plain.talk(plain.address, None);
    let expected = "unary b'olleh' [('x-first', '1')] [('x-last-bin', b'\\x00\\xff')]\n\
                    fails FAILED_PRECONDITION as you wish, ä [('x-why', 'asked')]\n\
                    gathered b'a,b,c'\nspread 499500\nconversed []\nlate DEADLINE_EXCEEDED\ngiven up CANCELLED\n\
                    unknown UNIMPLEMENTED\n";
    assert_eq!(directly, expected);
    let tls = format!("tls = {{ ca = {:?}, server_name = \"shop.example\" }}\n", authority.ca);
    for (v1, keys) in [(&plain, ""), (&covered, tls.as_str())] {
        for secured in [false, true] {
            let listener = match secured {
                false => PLAIN.to_owned(),
                true => format!("tls = {{ certificates = [{}] }}", pair.toml()),
            };
            let setup = Setup::to(&[v1.address]).mirror("v2", plain.address, "compare = {}");
            let mut text = listening(&setup, &listener);
            for (name, keys) in [("primary", keys), ("v2", "")] {
                let table = format!("[upstream.{name}]\n");
                text = text.replacen(&table, &format!("{table}protocol = \"h2\"\n{keys}"), 1);
            }
            let gateway = Gateway::start(&text, &[]);
            let told = v1.talk(gateway.address, secured.then_some(authority.ca.as_path()));
            assert_eq!(told, expected, "{keys:?}, TLS with clients: {secured}");
            let metrics = gateway.settled("v2");
            // One call of each kind and four more; calls that were late or given up may have gone no further.
            let eligible = metrics.mirror("v2", "eligible_total");
            assert!(eligible >= 11, "{eligible}");
            assert!(metrics.mirror("v2", "completed_total") >= 8, "{}", gateway.stderr());
            eventually("they are compared", || {
                let told: Value =
                    serde_json::from_str(&gateway.admin("GET", "/diffs", "").text()).expect("JSON");
                let compared = told["compared"][0]["compared"].as_u64().unwrap_or_default();
                let groups = told["groups"].as_array().cloned().unwrap_or_default();
                let differs = |of: &Value| !of["field"].as_str().unwrap_or_default().contains("/Slow");
                assert!(!groups.iter().any(differs), "both are the same program: {groups:#?}");
                compared >= 8
            });
        }
    }
}
