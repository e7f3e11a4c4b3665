//! Bad files: all errors at once, each with its key and line, before anything serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::{Client, Gateway, Origin, Process};

/// The end of a sound file; the rows put their faults before it.
const SOUND: &str = "[upstream.v1]\nendpoints = [\"127.0.0.1:9001\"]\n[[route]]\nprimary = \"v1\"\n";

/// Writes `text` to a file called gateway.toml and runs the gateway on it.
fn run(arguments: &[&str], text: &[u8]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    fs::write(&file, text).expect("the configuration is written");
    on_file(arguments, &file)
}

fn on_file(arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(tests::gateway::binary());
    let mut process = Process::spawn(command.args(arguments).arg("--config").arg(file));
    let status = process.wait_exit();
    Output { status, stdout: process.stdout().into_bytes(), stderr: process.stderr().into_bytes() }
}

/// Standard error's lines without the folder of the file.
fn said(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .map(|line| line.split_once("/gateway.toml").map_or(line, |(_, rest)| rest).to_owned())
        .collect()
}

/// Both ways to load this text are refused with these beginnings of lines, `:LINE: KEY: ` and some words, in order.
#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let check = run(&["check"], text.as_bytes());
    let serve = run(&[], text.as_bytes());
    for (how, output) in [("check", &check), ("serve", &serve)] {
        assert_eq!(output.status.code(), Some(1), "{how}\n{text}\n{:?}", said(output));
        assert!(
            output.stdout.is_empty(),
            "{how} said {:?} of\n{text}",
            String::from_utf8_lossy(&output.stdout)
        );
        let said = said(output);
        let alike = said.len() == expected.len()
            && said.iter().zip(expected).all(|(line, start)| line.starts_with(start));
        assert!(alike, "{how}\n{text}\n  said      {said:#?}\n  expected  {expected:#?}");
    }
}

#[test]
fn each_fault_is_named_with_its_line_and_key() {
    let before = |faults: &str| format!("{faults}\n{SOUND}");
    let rows: Vec<(String, &[&str])> = vec![
        (before("[limit]\nconnections_max = 1"), &[":1: limit: unknown key"]),
        (before("[limits]\n\nconections_max = 1"), &[":3: limits.conections_max: unknown key"]),
        (before("[limits]\nconnections_max = \"many\""), &[":2: limits.connections_max: "]),
        (before("[limits]\nconnections_max = 0"), &[":2: limits.connections_max: "]),
        (before("[limits]\nrequest_head_bytes_max = \"16KB?\""), &[":2: limits.request_head_bytes_max: "]),
        (before("[timeouts]\nconnect = \"0s\""), &[":2: timeouts.connect: "]),
        (before("[timeouts]\nconnect = 2"), &[":2: timeouts.connect: "]),
        (before("[workers]\ncount = 0"), &[":2: workers.count: "]),
        (before("[workers]\ndriver = \"kqueue\""), &[":2: workers.driver: "]),
        (before("[workers]\nuring_entries = 1000"), &[":2: workers.uring_entries: "]),
        (before("[headers]\nforwarded = \"drop\""), &[":2: headers.forwarded: "]),
        (before("[[listener]]\nbind = \"localhost\""), &[":2: listener[0].bind: "]),
        (before("[[listener]]\n"), &[":1: listener[0].bind: "]),
        (before("[admin]\nbind = \"9901\""), &[":2: admin.bind: "]),
        (
            before("[[listener]]\nbind = \"127.0.0.1:1\"\n[admin]\nbind = \"127.0.0.1:1\""),
            &[":4: admin.bind: 127.0.0.1:1 is already taken by a listener"],
        ),
        (format!("{SOUND}[upstream.none]\nendpoints = []\n"), &[":6: upstream.none.endpoints: "]),
        (format!("{SOUND}[upstream.odd]\nendpoints = [\"a:b\"]\n"), &[":6: upstream.odd.endpoints[0]: "]),
        (format!("{SOUND}mirrors = [{{ upstream = \"v3\" }}]\n"), &[":5: route[0].mirrors[0].upstream: "]),
        (
            format!("{SOUND}mirrors = [{{ upstream = \"v1\", percent = 10001 }}]\n"),
            &[":5: route[0].mirrors[0].percent: "],
        ),
        (
            format!("{SOUND}mirrors = [{{ upstream = \"v1\", percent = -1 }}]\n"),
            &[":5: route[0].mirrors[0].percent: "],
        ),
        (
            format!("{SOUND}mirrors = [{{ upstream = \"v1\", ring_bytes_max = \"1KiB\" }}]\n"),
            &[":5: route[0].mirrors[0]"],
        ),
        (format!("{SOUND}path = \"/a\"\npath_prefix = \"/b\"\n"), &[":6: route[0].path_prefix: "]),
        (
            "[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\n[[route]]\nprimary = \"v2\"\n".into(),
            &[":4: route[0].primary: "],
        ),
        ("[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\n[[route]]\n".into(), &[":3: route[0].primary: "]),
        ("[[route]\n".into(), &[":1: "]),
        ("a = 1\na = 2\n".into(), &[":2: "]),
    ];
    for (text, expected) in rows {
        refused(&text, expected);
    }
}

#[test]
fn all_faults_come_at_once_in_the_order_of_their_lines() {
    let text = "[workers]\ncount = 0\n[timeouts]\nconnect = \"soon\"\nconect = \"1s\"\n[upstream.v1]\nendpoints = []\n\
                [[route]]\nprimary = \"v9\"\nmirrors = [{ upstream = \"v8\", percent = 20000 }]\n";
    let expected = [
        ":2: workers.count: ",
        ":4: timeouts.connect: ",
        ":5: timeouts.conect: ",
        ":7: upstream.v1.endpoints: ",
        ":9: route[0].primary: ",
        ":10: route[0].mirrors[0].upstream: ",
        ":10: route[0].mirrors[0].percent: ",
    ];
    let check = run(&["check"], text.as_bytes());
    let said = said(&check);
    for start in expected {
        assert!(said.iter().any(|line| line.starts_with(start)), "{start} is missing:\n{said:#?}");
    }
    let line =
        |said: &String| said.split(':').nth(1).and_then(|n| n.parse::<u32>().ok()).expect("a line number");
    assert!(said.iter().map(line).is_sorted(), "{said:#?}");
    assert_eq!(check.status.code(), Some(1));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (missing, directory) = (folder.path().join("gateway.toml"), folder.path().join("folder"));
    fs::create_dir(&directory).expect("a folder");
    for file in [&missing, &directory] {
        for arguments in [&["check"][..], &[]] {
            let output = on_file(arguments, file);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains(&format!("{}: cannot be read: ", file.display())), "{text}");
        }
    }
    let latin = run(&["check"], b"# caf\xe9\n");
    assert_eq!((latin.status.code(), said(&latin).len()), (Some(1), 1), "{:?}", said(&latin));
    assert!(said(&latin)[0].starts_with(":1: "), "{:?}", said(&latin));
}

#[test]
fn a_name_that_does_not_resolve_is_an_error_before_anything_listens() {
    let origin = Origin::named("v1");
    let setup = tests::Setup::new(&origin).with("[upstream.v3]\nendpoints = [\"no-such-host.invalid:80\"]");
    let text = setup.toml().replace("primary = \"primary\"", "primary = \"v3\"");
    let output = run(&[], text.as_bytes());
    let line =
        (1..).zip(text.lines()).find(|(_, l)| l.contains("no-such-host")).expect("it is in the file").0;
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said:?}");
    let start = format!(":{line}: upstream.v3.endpoints[0]: ");
    assert!(said.iter().any(|l| l.starts_with(&start)), "{start}\n{said:#?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("listening on"));
}

/// The reference file and every example.
fn files() -> Vec<PathBuf> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("config");
    let examples = fs::read_dir(config.join("examples")).expect("the examples");
    let all = examples.map(|entry| entry.expect("an entry").path());
    // Manifests stand in folders of their own.
    let mut files: Vec<PathBuf> = all.filter(|path| path.is_file()).collect();
    files.push(config.join("gateway.toml"));
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    files
}

#[test]
fn the_reference_file_and_every_example_pass_the_check() {
    for file in files() {
        let output = on_file(&["check"], &file);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{}\n{err}", file.display());
        assert!(out.starts_with(&format!("{}: ok: ", file.display())), "{out}");
        assert!(err.is_empty(), "an example should not need a warning: {err}");
    }
    let sound = Gateway::check(SOUND);
    assert_eq!(sound.status.code(), Some(0), "{:?}", said(&sound));
}

/// The file with ports of the system's choice to listen on, and our origins in place of its servers.
fn on_free_ports(text: &str, v1: &Origin, others: &Origin) -> String {
    let mut moved = String::new();
    for line in text.lines() {
        let code = line.split('#').next().unwrap_or_default().trim();
        let is = |key: &str| code.starts_with(&format!("{key} = "));
        if is("bind") && code.contains("127.0.0.1:") {
            moved.push_str("bind = \"127.0.0.1:0\"");
        } else if is("endpoints") {
            let origin = if code.contains(":9001") { v1 } else { others };
            moved.push_str(&format!("endpoints = [\"{}\"]", origin.address));
        } else {
            moved.push_str(line);
        }
        moved.push('\n');
    }
    for table in ["[[listener]]", "[admin]"] {
        if !moved.lines().any(|line| line.trim() == table) {
            moved.push_str(&format!("{table}\nbind = \"127.0.0.1:0\"\n"));
        }
    }
    moved
}

#[test]
fn the_reference_file_and_every_example_serve() {
    for file in files() {
        let (v1, others) = (Origin::named("v1"), Origin::named("other"));
        let text = on_free_ports(&fs::read_to_string(&file).expect("it is text"), &v1, &others);
        let folder = tempfile::tempdir().expect("a temporary directory");
        let moved = folder.path().join("gateway.toml");
        fs::write(&moved, &text).expect("the configuration is written");
        let mut process = Process::gateway(&moved);
        let listeners = text.lines().filter(|line| line.trim() == "[[listener]]").count();
        for address in process.lines("listening on ", listeners) {
            let mut client = Client::connect(address.parse().expect("an address"));
            let answer = client.ask("GET / HTTP/1.1\r\nHost: shop.example.org\r\n\r\n");
            assert_eq!((answer.status, answer.text().as_str()), (200, "v1"), "{}\n{text}", file.display());
        }
    }
}
