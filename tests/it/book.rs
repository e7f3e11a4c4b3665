//! The book's reference: its pages are made from the gateway's own texts, and compared with them in every run. `cargo xtask
//! reference` (`UMBRA_BOOK=write`) writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::load::ask_all;
use tests::{Origin, Setup};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn page(name: &str) -> PathBuf {
    root().join("docs/src/reference").join(name)
}

fn writes() -> bool {
    std::env::var_os("UMBRA_BOOK").is_some_and(|how| how == "write")
}

/// Compares a page with its wanted text, or writes it.
#[track_caller]
fn check(name: &str, text: &str) {
    if writes() {
        return fs::write(page(name), text).expect("the page is written");
    }
    let is = fs::read_to_string(page(name)).unwrap_or_default();
    let missing: Vec<&str> = text.lines().filter(|line| !is.lines().any(|other| other == *line)).collect();
    let gone: Vec<&str> = is.lines().filter(|line| !text.lines().any(|other| other == *line)).collect();
    assert!(
        is == text,
        "docs/src/reference/{name} is not what the gateway says; `cargo xtask reference` writes it anew\n\
         missing: {missing:#?}\nno longer so: {gone:#?}"
    );
}

/// Within a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_command_line_is_as_the_program_says() {
    let help = |verb: &[&str]| {
        let output = Command::new(tests::gateway::binary())
            .args(verb)
            .arg("--help")
            .env_remove("UMBRA_LOG")
            .env_remove("UMBRA_LOG_FORMAT")
            .output()
            .expect("the gateway");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("help is text");
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>()
    };
    let main = help(&[]);
    let verbs = main.split("Commands:\n").nth(1).expect("it has commands");
    let verbs = verbs.lines().take_while(|line| !line.is_empty());
    // `help` is the parser's own and has no options.
    let verbs: Vec<&str> =
        verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect();
    let mut text = "# Command line\n\nWhat `--help` says; a test compares it.\n".to_owned();
    let mut add = |title: &str, said: &str| {
        let _ = write!(text, "\n## {title}\n\n```text\n{}\n```\n", said.trim_end());
    };
    add("gateway", &main);
    for verb in verbs {
        add(&format!("gateway {verb}"), &help(&[verb]));
    }
    check("cli.md", &text);
}

#[test]
fn the_admin_api_is_as_its_description_says() {
    let text = fs::read_to_string(root().join("gateway/src/admin/openapi.json")).expect("the description");
    let description: Value = serde_json::from_str(&text).expect("JSON");
    let about = description["info"]["description"].as_str().unwrap_or_default();
    let mut text = format!(
        "# Admin API\n\nMade from `/openapi.json`, which has parameters, schemas and examples; tests compare it with the router \
         and with a running gateway.\n\n{about}\n\n| | path | does | query | responses |\n|---|---|---|---|---|\n"
    );
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, page) in methods.as_object().expect("methods") {
            let Some(summary) = page["summary"].as_str() else { continue };
            let parameters = page["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
            let query: Vec<String> = parameters
                .iter()
                .filter(|parameter| parameter["in"] != "path")
                .filter_map(|parameter| Some(format!("`{}`", parameter["name"].as_str()?)))
                .collect();
            let responses = page["responses"].as_object().expect("responses");
            let codes: BTreeSet<&str> = responses.keys().map(String::as_str).collect();
            let codes: Vec<&str> = codes.into_iter().collect();
            let _ = writeln!(
                text,
                "| {} | `{path}` | {} | {} | {} |",
                method.to_uppercase(),
                cell(summary),
                query.join(", "),
                codes.join(", ")
            );
        }
    }
    check("admin-api.md", &text);
}

#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

#[test]
fn the_metrics_are_as_the_gateway_exposes_them() {
    let [v1, v2] = [Origin::named("v1"), Origin::named("v2")];
    // Everything that has labels has one of each here.
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "compare = {}").start();
    ask_all(&gateway, 0..20);
    let _settled = gateway.settled("v2");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let text = gateway.metrics();
    let word = |line: &str, n: usize| line.splitn(n + 1, ' ').nth(n).unwrap_or_default().to_owned();
    for line in text.text().lines() {
        if line.starts_with("# TYPE ") {
            families
                .entry(word(line, 2).split(' ').next().unwrap_or_default().to_owned())
                .or_default()
                .kind = word(line, 3);
        } else if line.starts_with("# HELP ") {
            let rest = word(line, 2);
            let (name, help) = rest.split_once(' ').expect("a name and its help");
            families.entry(name.to_owned()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((name, rest)) = line.split_once('{') {
            let family = families.iter_mut().filter(|(known, _)| name.starts_with(known.as_str()));
            let Some((_, family)) = family.max_by_key(|(known, _)| known.len()) else { continue };
            let labels = rest.split("\"}").next().unwrap_or_default().split("\",");
            let names = labels.filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()));
            family.labels.extend(names.filter(|label| label != "le"));
        }
    }
    let mut text = "# Metrics\n\n`GET /metrics`: OpenMetrics, or Prometheus' text format for clients that ask for it. Counters end \
                    with `_total`, histograms have `_bucket`, `_sum` and `_count`. Made from a running gateway, and compared \
                    with one by a test.\n\n| metric | type | labels | is |\n|---|---|---|---|\n"
        .to_owned();
    for (name, Family { kind, help, labels }) in &families {
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(text, "| `{name}{suffix}` | {kind} | {} | {} |", labels.join(", "), cell(help));
    }
    check("metrics.md", &text);
}

/// Every `umbra_…` in a text.
fn metrics_named(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let all = text.match_indices("umbra_").map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        (rest[..end].to_owned(), rest[end..].starts_with(['*', '…', '(']))
    });
    all.filter(|(name, is_open)| !is_open && !name.ends_with('_')).map(|(name, _)| name).collect()
}

#[test]
fn metrics_that_the_documents_name_exist() {
    if writes() {
        return;
    }
    let known = fs::read_to_string(page("metrics.md")).expect("the page of metrics");
    let known = metrics_named(&known);
    let folder = root().join("docs/src");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).expect("the book").flatten().map(|entry| entry.path()).collect();
    files.extend(["README.md", "SECURITY.md", "gateway/DECISIONS.md"].map(|name| root().join(name)));
    let mut unknown = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(file).expect("a document");
        for name in metrics_named(&text) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            if !known.contains(&name) && !base.is_some_and(|base| known.contains(base)) {
                unknown.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "metrics that no gateway exposes:\n{}", unknown.join("\n"));
}
