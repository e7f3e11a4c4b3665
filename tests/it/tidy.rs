//! House rules of the source tree, each with the sentence why; clippy.toml holds those that clippy can check.

use std::fs;
use std::path::{Path, PathBuf};

mod circles;
mod documents;

/// A source file: as written, and with comments, the text of literals and test modules blanked out.
struct Source {
    /// From the workspace's root, with slashes.
    path: String,
    text: String,
    /// As long as `text` and with the same lines.
    code: String,
}

impl Source {
    fn lines(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        (1..).zip(self.text.lines()).zip(self.code.lines()).map(|((n, text), code)| (n, text, code))
    }

    fn is_below(&self, place: &str) -> bool {
        self.path == format!("{place}.rs")
            || self.path == place
            || self.path.starts_with(&format!("{place}/"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file of the workspace, or of one folder of it.
fn sources(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                let code = without_tests(&without_prose(&text));
                let path = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push(Source { path, text, code });
            }
        }
    }
    assert!(!found.is_empty(), "no source below {below:?}: the rules would hold for nothing");
    let of_tests: Vec<String> = found.iter().flat_map(test_modules).collect();
    let is_of_tests =
        |source: &Source| of_tests.iter().any(|module| source.is_below(module.trim_end_matches(".rs")));
    for source in found.iter_mut().filter(|source| is_of_tests(source)) {
        source.code = source.code.chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Files that a source declares as modules of tests alone.
fn test_modules(source: &Source) -> Vec<String> {
    let folder = match source.path.strip_suffix(".rs") {
        Some(path) if path.ends_with("/mod") || path.ends_with("/lib") => path[..path.len() - 4].to_owned(),
        Some(path) => path.to_owned(),
        None => return Vec::new(),
    };
    let lines: Vec<&str> = source.text.lines().collect();
    let declared = lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].trim().strip_suffix(';')?.rsplit_once("mod ")?.1;
        Some(format!("{folder}/{name}.rs"))
    });
    declared.collect()
}

/// Blanks comments and the text of string and character literals; lines stay where they are.
fn without_prose(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let starts_a_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let len = if rest.starts_with(b"//") {
            rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            rest.windows(2).position(|w| w == b"*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest).filter(|_| starts_a_word) {
            let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let open = hashes + 2;
            let body = rest.get(open..).unwrap_or_default();
            body.windows(end.len()).position(|w| w == end).map_or(rest.len(), |n| open + n + end.len())
        } else if rest[0] == b'"' || is_character(rest) {
            quoted(rest)
        } else {
            code.push(char::from(rest[0]));
            at += 1;
            continue;
        };
        code.extend(rest[..len].iter().map(|b| if *b == b'\n' { '\n' } else { ' ' }));
        at += len;
    }
    code
}

/// The number of hashes if a raw string starts here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.strip_prefix(b"r")?.iter().take_while(|b| **b == b'#').count();
    (rest.get(hashes + 1) == Some(&b'"')).then_some(hashes)
}

/// Whether a character literal starts here, and not a lifetime.
fn is_character(rest: &[u8]) -> bool {
    rest.starts_with(b"'\\") || (rest.len() > 2 && rest[0] == b'\'' && rest[2] == b'\'')
}

/// The length of the literal that starts and ends with its first byte.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != rest[0] {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Blanks the items behind `#[cfg(test)]`: up to the brace that closes each, or the semicolon.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let mut depth = 0;
        let end = out[start..].char_indices().find_map(|(at, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            ((c == '}' || c == ';') && depth == 0).then_some(start + at + 1)
        });
        let end = end.unwrap_or(out.len());
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Whether `word` stands in `code` as a whole; a word that ends with `::` or another sign ends there.
fn names(code: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(is_word);
        let after = word.ends_with(is_word) && code[at + word.len()..].chars().next().is_some_and(is_word);
        !before && !after
    })
}

/// Fails with every breach and the reason of the rule.
#[track_caller]
fn check(why: &str, breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{why}\n  {}", breaches.join("\n  "));
}

fn breach(source: &Source, line: usize, text: &str) -> String {
    format!("{}:{line}: {}", source.path, text.trim())
}

/// Files or folders, the words they must not name, and why.
type Rule = (&'static [&'static str], &'static [&'static str], &'static str);

const PURE: &[&str] = &[
    "gateway/src/tls/session",
    "gateway/src/tls/fault",
    "gateway/src/tls/names",
    "gateway/src/tls/resolver",
    "gateway/src/tls/client_cert",
    "gateway/src/http1",
    "gateway/src/http2",
    "gateway/src/asked",
    "gateway/src/matcher",
    "gateway/src/route",
    "gateway/src/prepared",
    "gateway/src/plan",
    "gateway/src/format",
    "gateway/src/time",
    "gateway/src/exchange/pace",
    "gateway/src/exchange/judge",
    "gateway/src/mirror/sample",
    "gateway/src/rate",
    "gateway/src/mirror/governor",
    "gateway/src/mirror/redact",
    "gateway/src/mirror/policy",
    "gateway/src/mirror/copy",
    "gateway/src/mirror/pending",
    "gateway/src/mirror/source",
    "gateway/src/mirror/ring",
    "gateway/src/mirror/endpoint",
    "gateway/src/mirror/lane",
    "gateway/src/mirror/tee",
    "gateway/src/mirror/ledger",
    "gateway/src/upstream/balance",
    "gateway/src/upstream/eject",
    "gateway/src/upstream/gate",
    "gateway/src/mix",
    "gateway/src/strata",
    "gateway/src/visible",
    "gateway/src/admission",
    "gateway/src/admin/live/look",
    "gateway/src/admin/live/series",
    "gateway/src/observe/pairing",
    "gateway/src/observe/keep",
    "gateway/src/observe/trace",
    "gateway/src/observe/access_log/line",
    "gateway/src/observe/spans/otlp",
    "gateway/src/compare/json",
    "gateway/src/compare/messages",
    "gateway/src/compare/protobuf",
    "gateway/src/compare/descriptors",
    "gateway/src/grpc",
    "gateway/src/field_lines",
    "gateway/src/compare/rules",
    "gateway/src/compare/differ",
    "gateway/src/verdict",
];

const WHO_MAY_NAME_WHOM: &[Rule] = &[
    (
        PURE,
        &["monoio", "tokio", "TcpStream", "TcpListener", "UnixStream", "socket2", "RawFd", "crate::io"],
        "what decides owns no socket: it is tested with bytes, and serves HTTP/2 and TLS unchanged",
    ),
    (
        PURE,
        &["Instant", "SystemTime"],
        "what decides reads no clock: the time is an argument, so a test can choose it",
    ),
    (
        &["gateway/src/exchange"],
        &[
            "http1::scan",
            "http1::framing",
            "http1::chunked",
            "http1::body",
            "message::http1",
            "ReadHalf",
            "WriteHalf",
            "Stream",
            "crate::downstream",
            "crate::worker",
        ],
        "an exchange stands above messages: a further wire is an arm of `message`, never a branch in here",
    ),
    (
        &["gateway/src/message"],
        &[
            "crate::context",
            "crate::downstream",
            "crate::exchange",
            "crate::generation",
            "crate::mirror",
            "crate::plan",
            "crate::route",
            "crate::upstream",
            "crate::worker",
        ],
        "a wire knows how a message is framed, and nothing of what it is for",
    ),
    (
        &["gateway/src/upstream"],
        &["crate::downstream", "crate::exchange", "crate::mirror", "crate::worker"],
        "a pool serves primaries and could serve mirrors: it must not know what for",
    ),
    (
        &["gateway/src/discovery"],
        &[
            "crate::downstream",
            "crate::exchange",
            "crate::io",
            "crate::mirror",
            "crate::worker",
            "crate::upstream::pool",
        ],
        "discovery waits for name servers and endpoints: it must not stand where a request could wait for it",
    ),
    (
        &["gateway/src/mirror/shipper"],
        &["crate::downstream", "crate::exchange", "crate::route", "crate::upstream"],
        "a shipper that knows a client or a primary could make one wait",
    ),
    (
        &["gateway/src/mirror/tee", "gateway/src/mirror/pending"],
        &["async", "await"],
        "no await on the way to the primary depends on a mirror",
    ),
    (
        &["gateway/src/observe"],
        &[
            "crate::downstream",
            "crate::exchange",
            "crate::io",
            "crate::mirror::copy",
            "crate::mirror::lane",
            "crate::mirror::ledger",
            "crate::mirror::pending",
            "crate::mirror::policy",
            "crate::mirror::ring",
            "crate::mirror::shipper",
            "crate::mirror::tee",
            "crate::upstream",
            "crate::worker",
            "async",
            "await",
        ],
        "whoever watches an exchange must not be able to change it or to make it wait",
    ),
    (
        &["gateway/src/admin"],
        &[
            "crate::buffer",
            "crate::context",
            "crate::downstream",
            "crate::exchange",
            "crate::http1",
            "crate::http2",
            "crate::io",
            "crate::mirror",
            "crate::route",
            "crate::runtime",
            "crate::server",
            "crate::upstream",
            "crate::worker",
        ],
        "the control plane reads counters and configuration; anything else would cross into a worker",
    ),
    (
        &["gateway/src/control"],
        &[
            "crate::admin",
            "crate::context",
            "crate::downstream",
            "crate::exchange",
            "crate::server",
            "crate::worker",
        ],
        "what the control plane's rooms share stands below all of them, or they would know each other by it",
    ),
];

#[test]
fn rooms_name_only_the_rooms_they_may_know() {
    let sources = sources("gateway/src");
    for (places, words, why) in WHO_MAY_NAME_WHOM {
        for place in *places {
            assert!(
                sources.iter().any(|s| s.is_below(place)),
                "{place} is gone: the rule needs its new name"
            );
        }
        let mut breaches = Vec::new();
        for source in sources.iter().filter(|s| places.iter().any(|place| s.is_below(place))) {
            for (n, text, code) in source.lines() {
                if words.iter().any(|word| names(code, word)) {
                    breaches.push(breach(source, n, text));
                }
            }
        }
        check(why, breaches);
    }
}

/// Whether a file's header calls it pure.
fn says_it_is_pure(source: &Source) -> bool {
    let header = source.text.lines().take_while(|line| line.starts_with("//!"));
    header
        .flat_map(|line| line.split(|c: char| !c.is_alphanumeric()))
        .any(|word| word == "Pure" || word == "pure")
}

#[test]
fn a_file_that_says_it_is_pure_is_held_to_it() {
    let mut breaches = Vec::new();
    let pure: Vec<Source> = sources("gateway/src").into_iter().filter(says_it_is_pure).collect();
    assert!(pure.len() > 30, "the word has changed: {} files say it", pure.len());
    for source in &pure {
        for (n, text, code) in source.lines() {
            let rules = WHO_MAY_NAME_WHOM.iter().filter(|(places, _, _)| *places == PURE);
            if rules.flat_map(|(_, words, _)| *words).any(|word| names(code, word)) {
                breaches.push(breach(source, n, text));
            }
        }
    }
    check(
        "a file whose first lines say that it is pure waits for nothing, reads no clock and owns no socket",
        breaches,
    );
}

/// The rooms that a request passes.
const PATH: &[&str] = &[
    "gateway/src/exchange",
    "gateway/src/downstream",
    "gateway/src/http1",
    "gateway/src/http2",
    "gateway/src/asked",
    "gateway/src/matcher",
    "gateway/src/route",
    "gateway/src/plan",
    "gateway/src/generation",
    "gateway/src/upstream",
    "gateway/src/mirror",
    "gateway/src/buffer",
    "gateway/src/context",
    "gateway/src/rate",
    "gateway/src/observe/pairing",
    "gateway/src/observe/tap",
];

#[test]
fn the_path_of_a_request_takes_no_lock() {
    let sources = sources("gateway/src");
    let mut breaches = Vec::new();
    for place in PATH {
        assert!(sources.iter().any(|s| s.is_below(place)), "{place} is gone: the rule needs its new name");
    }
    for source in sources.iter().filter(|s| PATH.iter().any(|place| s.is_below(place))) {
        for (n, text, code) in source.lines() {
            if ["Mutex", "RwLock", "Condvar", "mpsc"].iter().any(|word| names(code, word)) {
                breaches.push(breach(source, n, text));
            }
        }
    }
    check("one worker's request waits for no other thread: a worker owns everything it touches", breaches);
}

/// Every line of product code outside `allowed` that names one of `words`.
fn named_elsewhere(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in sources("gateway/src").iter().filter(|s| !allowed.contains(&s.path.as_str())) {
        let named = source.lines().filter(|(_, _, code)| words.iter().any(|word| names(code, word)));
        breaches.extend(named.map(|(n, text, _)| breach(source, n, text)));
    }
    breaches
}

#[test]
fn only_the_configuration_knows_toml() {
    check("one room reads what operators write, so that manifests can join it", {
        named_elsewhere(&["toml", "serde_ignored"], &[])
    });
    let manifest = fs::read_to_string(root().join("gateway/Cargo.toml")).expect("the gateway's manifest");
    let written: Vec<&str> = manifest.lines().filter(|line| line.starts_with("toml")).collect();
    assert!(written.is_empty(), "the gateway does not depend on toml, {written:?}");
}

#[test]
fn only_who_compares_compiles_patterns_again() {
    check("a pattern is compiled where the configuration is checked, never on a worker's time", {
        named_elsewhere(&["Regex::new", "RegexBuilder"], &["gateway/src/compare/rules.rs"])
    });
}

#[test]
fn few_files_name_the_runtime() {
    let allowed = [
        "gateway/src/io.rs",
        "gateway/src/io/cover.rs",
        "gateway/src/io/gather.rs",
        "gateway/src/io/listener.rs",
        "gateway/src/io/tcp.rs",
        "gateway/src/io/turn.rs",
        "gateway/src/io/wire.rs",
        "gateway/src/runtime.rs",
        "gateway/src/worker.rs",
    ];
    check("monoio is frozen and has defects: what works around them stands in one place", {
        named_elsewhere(&["monoio", "io_uring"], &allowed)
    });
}

#[test]
fn only_main_ends_the_process() {
    check("an exit elsewhere skips the drain and the log's last lines", {
        named_elsewhere(&["process::exit", "process::abort"], &["gateway/src/main.rs"])
    });
}

#[test]
fn nothing_panics_without_naming_the_invariant() {
    let calls = [".unwrap()", ".expect(", "panic!", "unreachable!", "todo!", "unimplemented!", "dbg!"];
    let mut breaches = Vec::new();
    for source in sources("gateway/src") {
        let lines: Vec<_> = source.lines().collect();
        for (index, (n, text, code)) in lines.iter().enumerate() {
            let excused = || {
                lines[index.saturating_sub(2)..=index].iter().any(|(_, text, _)| {
                    text.split_once("//").is_some_and(|(_, comment)| comment.contains("invariant:"))
                })
            };
            if calls.iter().any(|call| code.contains(call)) && !excused() {
                breaches.push(breach(&source, *n, text));
            }
        }
    }
    check(
        "bytes from a peer must never end an exchange by panic: say `// invariant:` why it cannot happen, or return \
         an error",
        breaches,
    );
}

#[test]
fn unsafe_stands_in_leaf_files_with_its_reason() {
    let leaves = [
        "gateway/src/http1/line_feeds.rs",
        "gateway/src/io/gather.rs",
        "gateway/src/io/tcp.rs",
        "gateway/src/memory.rs",
        "gateway/src/os.rs",
        "loadgen/src/os.rs",
        "bench/src/os.rs",
        "bench/examples/multishot/ring.rs",
    ];
    let mut breaches = Vec::new();
    for source in sources("") {
        let lines: Vec<_> = source.lines().collect();
        for (index, (n, text, code)) in lines.iter().enumerate() {
            if !names(code, "unsafe") {
                continue;
            }
            let reason =
                lines[index.saturating_sub(6)..=index].iter().any(|(_, text, _)| text.contains("// SAFETY:"));
            if !reason || !leaves.contains(&source.path.as_str()) {
                breaches.push(breach(&source, *n, text));
            }
        }
    }
    check(
        "unsafe code has a safe face in a file that does nothing else, and says `// SAFETY:` why it is sound",
        breaches,
    );
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let silent = |s: &Source| {
        let first = s.text.lines().next().and_then(|line| line.strip_prefix("//! "));
        first.is_none_or(|sentence| sentence.len() < 10)
    };
    let silent: Vec<String> = sources("").into_iter().filter(silent).map(|s| s.path).collect();
    check("a reader decides by the first line whether to go on: `//!` and a sentence", silent);
}

/// Files that may have more code than others: how much, and why.
const LONG: &[(&str, usize, &str)] = &[
    ("config/src/manifest.rs", 480, "how documents are read, and which kinds there are"),
    (
        "config/src/manifest/http_route.rs",
        600,
        "one kind of manifest, field by field, and another that becomes it",
    ),
    ("config/src/manifest/services.rs", 560, "one table of services, filled from four kinds of manifest"),
    ("config/src/manifest/virtual_service.rs", 620, "one kind of manifest, field by field"),
    ("gateway/src/compare/differ.rs", 490, "one recursion over two values"),
    ("gateway/src/mirror/shipper.rs", 430, "one connection's loop"),
    ("gateway/src/server.rs", 570, "start, control loop and threads; to be parted"),
    ("loadgen/src/serve/connection.rs", 430, "an origin's connection with every fault it can have"),
];

#[test]
fn no_file_is_longer_than_one_sitting() {
    const CODE_LINES_MAX: usize = 400;
    const TEST_LINES_MAX: usize = 700;
    let mut long = Vec::new();
    for source in sources("") {
        let folders = ["tests/", "gateway/tests/", "loadgen/tests/"];
        let is_test = folders.iter().any(|folder| source.path.starts_with(folder));
        // Comments and tests are not counted: fewer of them must not give more room for code.
        let code = source.code.lines().filter(|line| !line.trim().is_empty()).count();
        let excused = LONG.iter().find(|(path, _, _)| *path == source.path).map(|(_, most, _)| *most);
        let (is, most) = if is_test || code == 0 {
            (source.text.lines().count(), TEST_LINES_MAX)
        } else {
            (code, excused.unwrap_or(CODE_LINES_MAX))
        };
        if is > most {
            long.push(format!("{}: {is} lines, at most {most}", source.path));
        }
    }
    check("a longer file is two rooms", long);
}

#[test]
fn what_corrupts_or_loses_bytes_is_not_used() {
    let mut breaches = Vec::new();
    for source in sources("") {
        for (n, text, code) in source.lines() {
            if ["write_vectored_all", "read_vectored_exact", "VecBuf", "monoio::select"]
                .iter()
                .any(|word| names(code, word))
            {
                breaches.push(breach(&source, n, text));
            }
        }
    }
    check(
        "monoio 0.2.4: the vectored helpers send old bytes again after a partial write and read past their list, VecBuf \
         clones pointers, and a branch that `select!` drops takes the bytes of its read with it",
        breaches,
    );
}

#[test]
fn the_rules_see_code_and_only_code() {
    let source = "//! monoio\nlet a = \"monoio \\\" // x\"; // monoio\nlet b = r#\"a \" monoio\"#; '\"'; let c: &'a str = x.unwrap();\n\
                  /* monoio\n*/ monoio::spawn();\n#[cfg(test)]\nmod t {\n  fn f() { y.unwrap() }\n}\nfn g() {}\n";
    let code = without_tests(&without_prose(source));
    let lines: Vec<&str> = code.lines().collect();
    assert_eq!(code.lines().count(), source.lines().count());
    let naming: Vec<usize> = (0..lines.len()).filter(|n| names(lines[*n], "monoio")).collect();
    assert_eq!(naming, [4], "{code}");
    assert_eq!(code.matches(".unwrap()").count(), 1, "{code}");
    assert!(code.contains("fn g() {}") && !code.contains("fn f()"), "{code}");
    assert!(names("a monoio::b", "monoio") && !names("amonoio monoios", "monoio"));
}
