//! The modules of the gateway as files, and the modules that each needs. Reads source as text; it compiles nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every module below `gateway/src`, by its path (`mirror::ring`).
pub(crate) struct Tree {
    modules: BTreeMap<String, Module>,
}

struct Module {
    /// From `gateway/src`.
    file: String,
    text: String,
}

/// A part of the gateway that compiles by itself: file names and their text.
pub(crate) type Part = BTreeMap<String, String>;

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let mut tree = Self { modules: BTreeMap::new() };
        tree.add(&root.join("gateway/src"), "")?;
        Ok(tree)
    }

    fn add(&mut self, folder: &Path, below: &str) -> Result<(), String> {
        let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                self.add(&path, &format!("{below}{name}/"))?;
            } else if let Some(stem) = name.strip_suffix(".rs") {
                let module = match stem {
                    "mod" => below.trim_end_matches('/').replace('/', "::"),
                    _ => format!("{below}{stem}").replace('/', "::"),
                };
                let text =
                    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                self.modules.insert(module, Module { file: format!("{below}{name}"), text });
            }
        }
        Ok(())
    }

    pub(crate) fn has(&self, module: &str) -> bool {
        self.modules.contains_key(module)
    }

    /// The files of `rooms` with all below them, and of the modules that these name, with a crate root that declares them.
    pub(crate) fn part(&self, rooms: &[&str]) -> Result<Part, String> {
        let mut needed = BTreeSet::new();
        for room in rooms {
            let below = format!("{room}::");
            let found = self.modules.keys().filter(|name| *name == room || name.starts_with(&below));
            let found: Vec<&String> = found.collect();
            if found.is_empty() {
                return Err(format!("{room} is no module below gateway/src"));
            }
            found.into_iter().for_each(|name| self.require(name, &mut needed));
        }
        if needed.contains("io") {
            return Err("a pure room names crate::io: it cannot be compiled without the runtime".to_owned());
        }
        let mut part = Part::new();
        for name in &needed {
            let Some(module) = self.modules.get(name) else { continue };
            part.insert(module.file.clone(), without_modules(&module.text, name, &needed));
        }
        let top = needed.iter().filter(|name| !name.contains("::"));
        let lines: String = top.map(|name| format!("pub mod {name};\n")).collect();
        let root = format!(
            "//! A part of the gateway.\n#![allow(dead_code, unused_imports, unreachable_pub)]\n{lines}"
        );
        part.insert("lib.rs".to_owned(), root);
        Ok(part)
    }

    /// Adds `name`, the modules above it, and those that its text names.
    fn require(&self, name: &str, needed: &mut BTreeSet<String>) {
        if !needed.insert(name.to_owned()) {
            return;
        }
        let Some(module) = self.modules.get(name) else { return };
        if let Some((above, _)) = name.rsplit_once("::") {
            self.require(above, needed);
        }
        let code = without_comments(&module.text);
        for child in declared(&code) {
            let is_used = code.contains(&format!("{child}::"));
            if is_used || child == "tests" {
                self.require(&join(name, child), needed);
            }
        }
        let above = name.rsplit_once("::").map_or("", |(above, _)| above);
        for (prefix, from) in [("crate::", ""), ("super::", above)] {
            for (at, _) in code.match_indices(prefix) {
                for path in paths(&code[at + prefix.len()..]) {
                    if let Some(found) = self.longest(from, &path) {
                        self.require(&found, needed);
                    }
                }
            }
        }
    }

    /// The module that the longest beginning of `path` names.
    fn longest(&self, from: &str, path: &str) -> Option<String> {
        let mut path = path;
        loop {
            let module = join(from, path);
            if self.has(&module) {
                return Some(module);
            }
            path = path.rsplit_once("::")?.0;
        }
    }
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}::{name}") }
}

/// `a::b` of `a::b.c`; of `a::{b, c::d}` each one.
fn paths(text: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !is_path(c)).unwrap_or(text.len());
    let (start, rest) = text.split_at(end);
    let start = start.trim_end_matches(':');
    let Some(list) = rest.strip_prefix('{') else { return vec![start.to_owned()] };
    let list = list.split('}').next().unwrap_or_default();
    let each = list.split(',').filter_map(|item| item.split_whitespace().next());
    each.map(|item| join(start, item)).collect()
}

/// The name in `pub mod name;`.
fn declaration(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix(';')?;
    let (before, name) = line.rsplit_once("mod ")?;
    let before = before.trim();
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

fn declared(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(declaration)
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// `text` of the module `name` without the declarations of modules that are not `needed`, and the attributes on them.
fn without_modules(text: &str, name: &str, needed: &BTreeSet<String>) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let is_left_out = declaration(line).is_some_and(|child| !needed.contains(&join(name, child)));
        if !is_left_out {
            lines.push(line);
            continue;
        }
        while lines.last().is_some_and(|line| line.starts_with("#[") || line.starts_with("///")) {
            lines.pop();
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let module = |(file, text): &(&str, &str)| {
            let name = file.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
            (name, Module { file: (*file).to_owned(), text: (*text).to_owned() })
        };
        Tree { modules: files.iter().map(module).collect() }
    }

    #[test]
    fn a_part_has_what_its_rooms_name_and_nothing_else() {
        let tree = tree(&[
            ("mirror/mod.rs", "//! x\npub mod ring;\n#[allow(x)]\npub mod shipper;\n"),
            ("mirror/ring.rs", "use crate::limits::{A, deep::B};\n// crate::io\nuse super::super::x;\n"),
            ("mirror/shipper.rs", "use crate::io;\n"),
            ("limits.rs", "mod deep;\npub mod other;\nuse deep::B;\n"),
            ("limits/deep.rs", "fn f() { crate::mix::mix(1) }\n"),
            ("limits/other.rs", ""),
            ("mix.rs", ""),
            ("io.rs", "use monoio;\n"),
        ]);
        let part = tree.part(&["mirror::ring"]).unwrap();
        let files: Vec<&str> = part.keys().map(String::as_str).collect();
        assert_eq!(
            files,
            ["lib.rs", "limits.rs", "limits/deep.rs", "mirror/mod.rs", "mirror/ring.rs", "mix.rs"]
        );
        assert_eq!(part["mirror/mod.rs"], "//! x\npub mod ring;\n");
        assert!(part["lib.rs"].ends_with("pub mod limits;\npub mod mirror;\npub mod mix;\n"));
        assert!(tree.part(&["mirror::shipper"]).is_err_and(|why| why.contains("crate::io")));
        assert!(tree.part(&["nothing"]).is_err());
    }
}
