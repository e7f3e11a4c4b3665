//! Captures: whole requests in files, from which they can be sent again; trouble with the disk is felt by the capture alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tests::gateway::built;
use tests::load::{OK, hammer};
use tests::origin::After;
use tests::{Gateway, Origin, PATIENCE, Request, Setup, eventually, eventually_within, pattern};

/// A gateway that captures all it forwards to `primary` in `folder`.
fn capturing(primary: &Origin, folder: &Path, keys: &str, mirror_keys: &str) -> String {
    let table = format!("[capture.tape]\nto = {:?}\n{keys}", folder.display().to_string());
    let text = Setup::new(primary).workers(2).with(&table).toml();
    let comma = if mirror_keys.is_empty() { "" } else { ", " };
    text.replace("mirrors = []", &format!("mirrors = [{{ capture = \"tape\"{comma}{mirror_keys} }}]"))
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// All of the files as text.
fn text(folder: &Path) -> String {
    let mut all = String::new();
    for path in files(folder) {
        let bytes = fs::read(&path).expect("a file");
        if path.extension().is_some_and(|end| end == "gz") {
            // Without its end it is still being written.
            let _ = MultiGzDecoder::new(&bytes[..]).read_to_string(&mut all);
        } else {
            all.push_str(&String::from_utf8(bytes).expect("text"));
        }
    }
    all
}

#[track_caller]
fn lines(folder: &Path, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines"), || text(folder).matches('\n').count() >= count);
    let text = text(folder);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// A request that is like no other: its content is text, bytes or none.
fn numbered(id: usize) -> Vec<u8> {
    let body = body(id);
    let mut wire = format!(
        "POST /items/{id}?n={id} HTTP/1.1\r\nHost: shop.example\r\nX-Request-Id: r-{id}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    wire.extend_from_slice(&body);
    wire
}

fn body(id: usize) -> Vec<u8> {
    match id % 3 {
        0 => format!("item \"{id}\" \u{e9}\n").into_bytes(),
        1 => [&pattern(id * 7 % 5000)[..], &id.to_le_bytes()].concat(),
        _ => Vec::new(),
    }
}

fn by_id(requests: Vec<Request>) -> BTreeMap<String, Request> {
    let id = |request: &Request| {
        let field = request.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
        field.map(|(_, value)| value.clone()).expect("an id")
    };
    requests.into_iter().map(|request| (id(&request), request)).collect()
}

fn loadgen() -> Command {
    static BINARY: OnceLock<std::path::PathBuf> = OnceLock::new();
    Command::new(BINARY.get_or_init(|| built("loadgen")))
}

/// The capture's copies with this outcome.
fn counted(gateway: &Gateway, outcome: &str) -> i64 {
    gateway.metrics().sum("umbra_capture_requests_total", &[&format!("outcome=\"{outcome}\"")])
}

fn taken(gateway: &Gateway) -> i64 {
    gateway.metrics().sum("umbra_capture_taken_total", &[])
}

#[test]
fn a_thousand_requests_are_captured_and_sent_again_byte_by_byte() {
    const CLIENTS: usize = 4;
    const EACH: usize = 250;
    for keys in ["", "compression = \"gzip\"\nfile_bytes_max = \"64KiB\""] {
        let folder = tempfile::tempdir().expect("a folder");
        let v1 = Origin::fixed(OK, After::Keep);
        let gateway = Gateway::start(&capturing(&v1, folder.path(), keys, "after = \"response\""), &[]);
        hammer(gateway.address, CLIENTS, EACH, numbered, |_, answer| assert_eq!(answer.status, 200));
        gateway.settled("tape");
        let all = lines(folder.path(), CLIENTS * EACH);
        assert_eq!(all.len(), CLIENTS * EACH);
        for line in &all {
            let (route, mirror, status) = (&line["route"], &line["mirror"], &line["primary_status"]);
            assert_eq!((route, mirror, status), (&"all".into(), &"tape".into(), &200.into()), "{line}");
            assert!(!line["head"].as_str().expect("a head").contains("X-Umbra-"), "{line}");
        }
        eventually("all are counted", || counted(&gateway, "written") == (CLIENTS * EACH) as i64);
        assert_eq!(taken(&gateway), (CLIENTS * EACH) as i64);
        for path in files(folder.path()) {
            assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        }
        if !keys.is_empty() {
            assert!(files(folder.path()).len() > 1, "it rotates");
        }

        let v2 = Origin::fixed(OK, After::Keep);
        let replayed = loadgen()
            .args(["run", "-q", "--threads", "1", "-c", "8", "--max-lag", "10s", "--timeout", "60s"])
            .args(["--pace", "2000", "--replay"])
            .arg(folder.path())
            .arg(format!("http://{}/", v2.address))
            .output()
            .expect("loadgen runs");
        assert!(replayed.status.success(), "{replayed:?}");
        let (sent, again) = (by_id(v1.requests()), by_id(v2.requests()));
        assert_eq!((sent.len(), again.len(), v2.count()), (CLIENTS * EACH, CLIENTS * EACH, CLIENTS * EACH));
        for id in 0..CLIENTS * EACH {
            let name = format!("r-{id}");
            let (first, second) = (&sent[&name], &again[&name]);
            assert_eq!(second.body, body(id), "{name}");
            assert_eq!((&first.method, &first.target), (&second.method, &second.target));
            let host = |request: &Request| {
                request.fields.iter().find(|(name, _)| name == "Host").map(|(_, value)| value.clone())
            };
            assert_eq!((host(first), host(second)), (Some("shop.example".into()), host(first)));
        }
    }
}

#[test]
fn what_a_mirror_redacts_reaches_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let v1 = Origin::fixed(OK, After::Keep);
    let redact = "redact = { headers = [\"authorization\"], cookies = [\"sid\"], query = [\"token\"], json = [\"/card\"] }";
    let gateway = Gateway::start(&capturing(&v1, folder.path(), "", redact), &[]);
    let json = r#"{"user":"ada","card":"S3CRET-json"}"#;
    let ask = format!(
        "POST /pay?token=S3CRET-query&a=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer S3CRET-header\r\n\
         Cookie: sid=S3CRET-cookie; theme=dark\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    );
    for _ in 0..5 {
        assert_eq!(gateway.client().ask(&ask).status, 200);
    }
    assert_eq!(lines(folder.path(), 5).len(), 5);
    let text = text(folder.path());
    assert!(!text.contains("S3CRET"), "{text}");
    assert!(text.contains("theme=dark") && text.contains("a=1") && text.contains("ada"), "{text}");
    assert!(v1.saw("S3CRET-json"), "the primary gets all of it");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told_by_check_and_stops_no_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let v1 = Origin::fixed(OK, After::Keep);
    let away = folder.path().join("away");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/tmp", &link).expect("a link");
    for (place, why) in [
        (away.as_path(), "cannot be used"),
        (Path::new("/proc"), "cannot be written to"),
        (&link, "symbolic link"),
    ] {
        let checked = Gateway::check(&capturing(&v1, place, "", ""));
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(
            !checked.status.success() && said.contains("capture.tape.to") && said.contains(why),
            "{said}"
        );
    }
    let gateway = Gateway::start(&capturing(&v1, &away, "", ""), &[]);
    for id in 0..20 {
        assert_eq!(gateway.client().ask(numbered(id)).status, 200);
    }
    eventually("its requests are dropped", || counted(&gateway, "unwritable") == 20);
    fs::create_dir(&away).expect("now it is there");
    let mut id = 20;
    eventually_within(2 * PATIENCE, "it writes again", || {
        assert_eq!(gateway.client().ask(numbered(id)).status, 200);
        id += 1;
        counted(&gateway, "written") > 0
    });
    gateway.settled("tape");
    eventually("each has one end", || {
        counted(&gateway, "written") + counted(&gateway, "unwritable") == i64::try_from(id).expect("few")
    });
    eventually("both changes are told", || gateway.stderr().contains("capture tape writes again"));
    let told = gateway.stderr();
    assert_eq!(told.matches("capture tape writes nothing to").count(), 1, "{told}");
    assert_eq!(told.matches("capture tape writes again").count(), 1, "{told}");
}

#[test]
fn a_capture_that_is_full_drops_and_counts_and_its_clients_notice_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let v1 = Origin::fixed(OK, After::Keep);
    let keys = "file_bytes_max = \"4KiB\"\nbytes_max = \"16KiB\"\ndrop = \"newest\"";
    let gateway = Gateway::start(&capturing(&v1, folder.path(), keys, ""), &[]);
    hammer(gateway.address, 4, 100, numbered, |_, answer| assert_eq!(answer.status, 200));
    gateway.settled("tape");
    eventually("each has one end", || {
        ["written", "full", "too_large"].map(|outcome| counted(&gateway, outcome)).iter().sum::<i64>() == 400
    });
    assert!(counted(&gateway, "full") > 100 && counted(&gateway, "written") > 10);
    let held: u64 = files(folder.path()).iter().map(|path| path.metadata().expect("a file").len()).sum();
    assert!(held <= 16 * 1024, "{held}");
    let told = || gateway.stderr().matches("capture tape writes nothing to").count();
    eventually("it is told", || told() > 0);
    assert_eq!(told(), 1);
}

#[test]
fn a_reload_goes_on_in_a_new_file_and_a_stop_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let v1 = Origin::fixed(OK, After::Keep);
    let before = capturing(&v1, folder.path(), "", "");
    let mut gateway = Gateway::start(&before, &[]);
    hammer(gateway.address, 2, 50, numbered, |_, answer| assert_eq!(answer.status, 200));
    assert_eq!(lines(folder.path(), 100).len(), 100);
    gateway.write(&capturing(&v1, folder.path(), "compression = \"gzip\"", ""));
    gateway.signal("HUP");
    eventually("it is applied", || gateway.stderr().contains("configuration applied"));
    hammer(gateway.address, 2, 50, numbered, |_, answer| assert_eq!(answer.status, 200));
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
    assert_eq!(lines(folder.path(), 200).len(), 200);
    let ends: Vec<_> =
        files(folder.path()).iter().map(|path| path.extension() == Some("gz".as_ref())).collect();
    assert_eq!(ends, [false, true]);
}

#[test]
fn what_makes_no_sense_of_a_capture_is_told_with_its_key() {
    let v1 = Origin::fixed(OK, After::Keep);
    let text = capturing(
        &v1,
        Path::new("/tmp"),
        "file_bytes_max = \"2MiB\"\nbytes_max = \"1MiB\"",
        "timeout = \"1s\"",
    );
    let checked =
        Gateway::check(&text.replace("[{ capture", "[{ capture = \"tap\" }, { name = \"b\", capture"));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    for part in ["bytes_max is 1MiB", "did you mean \"tape\"?", "timeout: has no meaning for a capture"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
