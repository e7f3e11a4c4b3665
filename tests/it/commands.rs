//! Output of the commands that ask a running gateway: its figures, and strangers' words as harmless text.

use std::process::Command;

use tests::gateway::binary;
use tests::{After, Gateway, Origin, Setup, eventually};

/// Standard output, standard error and exit code of a command that asks this listener.
fn run(admin: &str, words: &[&str]) -> (String, String, i32) {
    let output = Command::new(binary())
        .args(words)
        .args(["--admin", &format!("http://{admin}")])
        .output()
        .expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr), output.status.code().expect("an exit code"))
}

fn asked(gateway: &Gateway, n: usize) {
    let mut client = gateway.client();
    for _ in 0..n {
        assert_eq!(client.ask(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let _all_ended = gateway.settled("v2");
}

#[test]
fn nothing_that_v2_says_acts_on_the_terminal() {
    let answer = |members: &str| {
        let json = format!("{{{members}}}");
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        )
    };
    let v1 = Origin::fixed(answer("\"plan\":\"pro\""), After::Keep);
    // Escaped in JSON, or as they are: red, a title, C1's own escape, a text from right to left, a line of its own.
    let lie = "\\u001b[31m\\u001b]0;owned\\u0007\u{9b}2J\u{202e}\\r\\npromote";
    let v2 = Origin::fixed(answer(&format!("\"plan\":\"{lie}\",\"{lie}\":1")), After::Keep);
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "compare = {}").start();
    asked(&gateway, 400);
    let admin = gateway.admin.to_string();
    eventually("both differences are found", || run(&admin, &["diffs"]).0.matches("of 400").count() == 2);
    let commands: [&[&str]; 7] = [
        &["diffs"],
        &["diffs", "0"],
        &["diffs", "1"],
        &["diffs", "--jsonl"],
        &["verdict"],
        &["verdict", "--json"],
        &["histogram"],
    ];
    for words in commands {
        let (told, complaint, _) = run(&admin, words);
        let acts = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
        assert_eq!(
            told.chars().chain(complaint.chars()).find(acts),
            None,
            "{words:?}: {told:?} {complaint:?}"
        );
        assert!(!told.is_empty(), "{words:?}: {complaint}");
        let first = words[0] != "verdict" || words.len() > 1;
        assert!(!told.lines().skip(usize::from(!first)).any(|line| line.starts_with("promote")), "{told}");
    }
    let (sample, _, _) = run(&admin, &["diffs", "0"]);
    assert!(
        sample.contains("u001b[31m") && sample.contains("\\u009b2J"),
        "it is shown all the same: {sample}"
    );
}

#[test]
fn what_is_printed_and_the_exit_code_are_one_verdict() {
    // A listener that never says the same twice.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let words = ["hold\n", "promote\n", "reject\n"];
    let fickle = Origin::new(move |_, stream| {
        let word = words[asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3];
        tests::origin::write(
            stream,
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len()),
        )
    });
    for (word, code) in [("hold\n", 3), ("promote\n", 0), ("reject\n", 1)] {
        let (told, complaint, exit) = run(&fickle.address.to_string(), &["verdict"]);
        assert_eq!((told.as_str(), exit), (word, code), "{complaint}");
    }
    assert_eq!(fickle.count(), 3, "each is asked for once");
}

#[test]
fn where_there_is_nothing_to_show_it_is_said_why() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).mirror("v2", Origin::refusing(), "").start();
    let admin = gateway.admin.to_string();
    let (told, _, code) = run(&admin, &["histogram"]);
    assert!(
        code == 0 && told.contains("no copy of any request has ended: no request for it has come"),
        "{told}"
    );
    asked(&gateway, 7);
    let (told, _, code) = run(&admin, &["histogram"]);
    assert!(code == 0 && told.contains("has ended: of 7, 7 dropped (unreachable)"), "{told}");
    let (told, _, code) = run(&admin, &["diffs"]);
    assert!(code == 2 && told.starts_with("nothing compared: no mirror with `compare`"), "{told}");
}
