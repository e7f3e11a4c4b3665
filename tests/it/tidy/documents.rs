//! The documents' statements on the repository: files, tests and versions that they name are there.

use std::fs;

use super::{Source, check, root, sources};

/// Every document with its text. Kept runs are left out: they are about their own time.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let is_hidden = name.starts_with('.') || ["target", "node_modules", "runs"].contains(&name);
            if path.is_dir() && !is_hidden {
                open.push(path);
            } else if name.ends_with(".md") {
                let text = fs::read_to_string(&path).expect("a document is UTF-8");
                found.push((path.strip_prefix(root()).expect("below the root").display().to_string(), text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the documents have moved: {}", found.len());
    found
}

#[test]
fn files_that_the_documents_name_exist() {
    let mut breaches = Vec::new();
    for (document, text) in documents() {
        let folder = root().join(&document).parent().expect("a folder").to_owned();
        let mut is_code = false;
        for (n, line) in (1..).zip(text.lines()) {
            is_code ^= line.trim_start().starts_with("```");
            for path in paths(line).into_iter().filter(|_| !is_code) {
                if !root().join(path).exists() && !folder.join(path).exists() {
                    breaches.push(format!("{document}:{n}: {path}"));
                }
            }
        }
    }
    check("a document that names what is not there is worse than none", breaches);
}

/// A heading as renderers name it in links.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn headings_that_the_documents_name_exist() {
    let all = documents();
    let mut breaches = Vec::new();
    for (document, text) in &all {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            let Some((path, wanted)) = link.split_once('#').filter(|_| !link.contains("://")) else {
                continue;
            };
            let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
            let target = if path.is_empty() { document.clone() } else { format!("{folder}/{path}") };
            let found = all.iter().find(|(name, _)| *name == target.trim_start_matches('/'));
            let headings = found.map(|(_, text)| text.lines().filter_map(|line| line.strip_prefix('#')));
            let is_there = headings.is_some_and(|mut all| {
                all.any(|line| anchor(line.trim_start_matches('#').trim()).starts_with(wanted))
            });
            if !is_there {
                breaches.push(format!("{document}: {link}"));
            }
        }
    }
    check("a link that leads to the top of a page leads nowhere", breaches);
}

/// The cells of a table's row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.trim().strip_prefix('|')?;
    Some(row.trim_end_matches('|').split('|').map(str::trim).collect())
}

/// Names of tests in a document: code in a column of tests, and everywhere else `file::test` of `tests/it` and
/// `module::tests::test`.
fn tests_named<'t>(text: &'t str, files: &[String]) -> Vec<(usize, &'t str)> {
    let mut named = Vec::new();
    let (mut column, mut in_table) = (None, false);
    for (n, line) in (1..).zip(text.lines()) {
        let row = cells(line);
        if row.is_none() {
            (column, in_table) = (None, false);
        } else if !in_table {
            in_table = true;
            let is_of_tests =
                |cell: &&str| ["test", "tests", "guarded by"].iter().any(|word| cell.starts_with(word));
            column = row.iter().flatten().position(is_of_tests);
        }
        let codes = |text: &'t str| text.split('`').skip(1).step_by(2);
        for code in codes(line) {
            let Some((place, name)) = code.rsplit_once("::") else { continue };
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let is_sentence = name.contains('_') && name.chars().all(is_word);
            if is_sentence && (place.ends_with("::tests") || files.iter().any(|file| file == place)) {
                named.push((n, code));
            }
        }
        if let (Some(column), Some(row)) = (column, &row) {
            let cell = row.get(column).copied().unwrap_or_default();
            named.extend(codes(cell).filter(|code| !code.contains(['/', ' ', '.'])).map(|code| (n, code)));
        }
    }
    named.sort_unstable();
    named.dedup();
    named
}

#[test]
fn tests_that_the_documents_name_exist() {
    let sources = sources("");
    let files: Vec<String> = sources
        .iter()
        .filter_map(|s| Some(s.path.strip_prefix("tests/it/")?.strip_suffix(".rs")?.to_owned()))
        .collect();
    let has_test = |source: &Source, name: &str| source.text.contains(&format!("fn {name}()"));
    let exists = |name: &str| {
        if files.iter().any(|file| file == name) {
            return true;
        }
        let module = |name: &str| match name.strip_prefix("config::") {
            Some(of_config) => format!("config/src/{}", of_config.replace("::", "/")),
            None => format!("gateway/src/{}", name.replace("::", "/")),
        };
        // A whole module: its own tests.
        if sources.iter().any(|s| s.is_below(&module(name)) && s.text.contains("#[test]")) {
            return true;
        }
        let Some((place, test)) = name.rsplit_once("::") else { return false };
        let place = place.strip_suffix("::tests").unwrap_or(place);
        sources.iter().any(|source| {
            let is_there = source.path == format!("tests/it/{place}.rs") || source.is_below(&module(place));
            is_there && has_test(source, test)
        })
    };
    let mut breaches = Vec::new();
    let mut seen = 0;
    for (document, text) in documents() {
        for (n, name) in tests_named(&text, &files) {
            seen += 1;
            if !exists(name) {
                breaches.push(format!("{document}:{n}: {name}"));
            }
        }
    }
    assert!(seen > 60, "the documents name tests otherwise: {seen}");
    check("a promise whose test does not exist is not kept by anybody", breaches);
}

#[test]
fn the_oldest_toolchain_is_the_same_wherever_it_is_named() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let version = version.expect("it says rust-version").trim_matches('"');
    for file in ["README.md", "docs/src/install.md", "CONTRIBUTING.md", "gateway/deploy/Containerfile"] {
        let text = fs::read_to_string(root().join(file)).expect("the document");
        assert!(text.contains(version), "{file} does not say {version}");
    }
}

/// Files of the repository that a line of Markdown names: targets of links, and code with a slash and an ending.
fn paths(line: &str) -> Vec<&str> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
    let links = links.filter(|target| !target.is_empty() && !target.contains(":"));
    let endings = [".rs", ".md", ".toml", ".sh", ".json", ".py", ".svg", ".png"];
    let words = line.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let words = words.filter(move |word| word.contains('/') && endings.iter().any(|e| word.ends_with(e)));
    let words = words.filter(|word| !word.contains(['*', '{', '<', '$', '~']) && !word.starts_with('/'));
    links.chain(words.filter(|word| !word.starts_with("target/"))).collect()
}

#[test]
fn names_are_found_in_documents() {
    assert_eq!(
        paths("[a](b/c.md#d) `x/y.rs` [u](https://h/p.md) `target/a.rs` `cargo run`"),
        ["b/c.md", "x/y.rs"]
    );
    let text = "`limits::a_b` `limits::Rules` `cargo::x_y`\n\n| runs | test |\n|---|---|\n| `no` | `mirror`, `x::y_…` |\n\n| a | b |\n|---|---|\n| c | `d` |\n";
    let named = tests_named(text, &["limits".to_owned()]);
    assert_eq!(named, [(1, "limits::a_b"), (5, "mirror"), (5, "x::y_…")]);
}
