//! The changes of single filters of the Gateway API: fields of a head, and paths. A filter that says half of a change is refused:
//! it would change nothing.

use super::gateway_api::{HeaderModifier, HeaderValue, PathModifier};
use super::header_edits;
use crate::file;
use crate::problem::Report;
use crate::reader::{At, Key, List, Named};

/// `requestHeaderModifier` or `responseHeaderModifier`.
pub(super) fn edits(key: &Key<HeaderModifier>, report: &mut Report) -> Key<file::HeaderEdits> {
    let Some(given) = key.given() else { return Key::Absent };
    let mut named = |list: &Key<List<HeaderValue>>| -> Key<Named<String>> {
        let Some(list) = list.given() else { return Key::Absent };
        let mut one = |field: &At<HeaderValue>| {
            let HeaderValue { name, value } = &field.value;
            for (part, is_absent) in [("name", name.is_absent()), ("value", value.is_absent())] {
                if is_absent {
                    report.error(&field.at.child(part), "is missing");
                }
            }
            Some((name.given()?.clone(), value.clone()))
        };
        Key::at(list.value.iter().filter_map(Key::given).filter_map(&mut one).collect(), &list.at)
    };
    let written = &given.value;
    let (set, add) = (named(&written.set), named(&written.add));
    header_edits(&set, &add, &written.remove, &given.at)
}

/// The replacement of the whole path, and that of the matched part.
pub(super) fn path(key: &Key<PathModifier>, report: &mut Report) -> (Key<String>, Key<String>) {
    let Some(path) = key.given() else { return (Key::Absent, Key::Absent) };
    let PathModifier { r#type, replace_full_path: whole, replace_prefix_match: prefix } = &path.value;
    let (own, other, name) = match r#type.given().map(|kind| (kind.value.as_str(), &kind.at)) {
        Some(("ReplaceFullPath", _)) => (whole, prefix, "replaceFullPath"),
        Some(("ReplacePrefixMatch", _)) => (prefix, whole, "replacePrefixMatch"),
        Some((other, at)) => {
            let message = format!("{other:?} is not known; must be ReplaceFullPath or ReplacePrefixMatch");
            report.error(at, message);
            return (Key::Refused, Key::Refused);
        }
        None => {
            report.error(&path.at.child("type"), "is missing");
            return (Key::Refused, Key::Refused);
        }
    };
    if own.is_absent() {
        report.error(&path.at.child(name), "is missing: type says that it is given");
    }
    if let Some(at) = other.place() {
        report.error(at, "belongs to another type of path");
    }
    if name == "replaceFullPath" { (own.clone(), Key::Absent) } else { (Key::Absent, own.clone()) }
}
