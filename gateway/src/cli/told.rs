//! Requests to the admin listener, and its answers in words: the same for every verb.

use serde_json::Value;

use crate::ask::Admin;
use crate::visible::visible;

pub(super) fn ask(admin: &Admin, path: &str) -> Result<Value, String> {
    parsed(&admin.get(path)?)
}

pub(super) fn parsed(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not what a gateway tells: {error}"))
}

/// A value within its line.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text).into_owned(),
        other => other.to_string(),
    }
}

pub(super) fn all<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

/// Words in columns, each as wide as its widest.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|at| wide(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, wide)| format!("{cell:wide$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

pub(super) fn workers(count: &Value) -> String {
    format!("{count} worker{}", if *count == 1 { "" } else { "s" })
}

/// To the second.
pub(super) fn moment(at: &Value) -> String {
    let at = text(at);
    at.split_once('.').map_or_else(|| at.clone(), |(seconds, _)| format!("{seconds}Z"))
}

pub(super) fn by(by: &Value) -> String {
    let named = ["address", "signal", "file"].iter().find_map(|key| by[*key].as_str());
    let unnamed = || by["kind"].as_str().filter(|kind| *kind != "api").unwrap_or("the admin listener");
    let named = visible(named.unwrap_or_else(unnamed)).into_owned();
    if by["token"] == true { format!("{named} with the token") } else { named }
}

/// The changes that a change made, or why it was refused.
pub(super) fn what(change: &Value) -> String {
    if let Some(why) = change["refused"].as_str() {
        return format!("refused: {}", visible(why));
    }
    let one = |of: &Value| match (&of["from"], &of["to"]) {
        (Value::Null, to) => format!("{}: {}", text(&of["key"]), text(to)),
        (from, Value::Null) => format!("{}: {} → none", text(&of["key"]), text(from)),
        (from, to) => format!("{}: {} → {}", text(&of["key"]), text(from), text(to)),
    };
    let mut parts: Vec<String> = all(change, "what").map(one).collect();
    if let Some(more @ 1..) = change["more"].as_u64() {
        parts.push(format!("and {more} more"));
    }
    if parts.is_empty() { "nothing is otherwise than before".to_owned() } else { parts.join("; ") }
}

/// As a value in a query.
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
