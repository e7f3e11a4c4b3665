//! Files that name each other in a circle are one file in several places: none can be read, tested or moved alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, check, sources};

/// The module that a file is, below the source folder of its crate.
fn module(source: &Source, root: &str) -> Option<String> {
    let path = source.path.strip_prefix(root)?.strip_prefix('/')?.strip_suffix(".rs")?;
    let name = path.replace('/', "::");
    Some(name.strip_suffix("::mod").map_or_else(|| name.clone(), str::to_owned))
}

fn above(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(above, _)| above)
}

fn joined(above: &str, path: &str) -> String {
    [above, path].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::")
}

/// The paths that `text` begins with: one, or each of a list in braces.
fn paths(text: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !is_path(c)).unwrap_or(text.len());
    let (start, rest) = text.split_at(end);
    let start = start.trim_end_matches(':');
    let Some(list) = rest.strip_prefix('{') else { return vec![start.to_owned()] };
    let (mut depth, mut from, mut all) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        if depth == 0 && (c == ',' || c == '}') {
            all.extend(paths(list[from..at].trim()).iter().map(|path| joined(start, path)));
            from = at + 1;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    all
}

/// The modules that each module names, its own parents and children left out: those are one module in Rust's eyes.
fn named(root: &str) -> BTreeMap<String, BTreeSet<String>> {
    let sources = sources(root);
    let modules: BTreeMap<String, &Source> =
        sources.iter().filter_map(|source| Some((module(source, root)?, source))).collect();
    let is_of_one =
        |a: &str, b: &str| a == b || a.starts_with(&format!("{b}::")) || b.starts_with(&format!("{a}::"));
    let longest = |path: &str| {
        let mut path = path;
        while !path.is_empty() && !modules.contains_key(path) {
            path = above(path);
        }
        (!path.is_empty()).then(|| path.to_owned())
    };
    let named_by = |name: &str, source: &Source| {
        let mut found = BTreeSet::new();
        for (word, from) in [("crate::", ""), ("super::", above(name)), ("self::", name)] {
            for (at, _) in source.code.match_indices(word) {
                let before = source.code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let (mut rest, mut from) = (&source.code[at + word.len()..], from);
                while let Some(further) = rest.strip_prefix("super::") {
                    (rest, from) = (further, above(from));
                }
                found.extend(paths(rest).iter().filter_map(|path| longest(&joined(from, path))));
            }
        }
        found.retain(|other| !is_of_one(name, other));
        found
    };
    modules.iter().map(|(name, source)| (name.clone(), named_by(name, source))).collect()
}

/// Everything that can be reached from `start`.
fn reached(named: &BTreeMap<String, BTreeSet<String>>, start: &str) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![start.to_owned()]);
    while let Some(at) = open.pop() {
        for next in named.get(&at).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    found
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    let mut circles = BTreeSet::new();
    for root in ["gateway/src", "config/src", "loadgen/src", "bench/src"] {
        let named = named(root);
        let reaches: BTreeMap<_, _> = named.keys().map(|name| (name, reached(&named, name))).collect();
        for (name, all) in &reaches {
            let circle: Vec<&str> =
                all.iter().filter(|other| reaches[*other].contains(*name)).map(String::as_str).collect();
            if circle.len() > 1 {
                circles.insert(format!("{root}: {}", circle.join(", ")));
            }
        }
    }
    check("what two files need stands in a file below both", circles.into_iter().collect());
}

#[test]
fn paths_are_read_as_rust_reads_them() {
    assert_eq!(paths("a::b;"), ["a::b"]);
    assert_eq!(paths("a::{b, c::{d, e}}, f"), ["a::b", "a::c::d", "a::c::e"]);
    assert_eq!(paths("{self, x}"), ["self", "x"]);
}
