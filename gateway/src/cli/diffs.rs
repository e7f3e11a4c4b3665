//! `gateway diffs`: differences of a mirror's answers from the primary's, as a running gateway has found them.

mod schema;

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use similar::TextDiff;

use super::told::encoded;
use super::{complain, print};
use crate::ask::Admin;
use crate::limits::AGAIN_MS_MAX;
use crate::visible::visible;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Diffs {
    #[command(flatten)]
    admin: Admin,

    /// A group's number: its samples, side by side
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// This route alone
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    /// This mirror alone
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,

    /// Also what the primary does to itself
    #[arg(long)]
    noise: bool,

    /// Print every sample as a line of JSON
    #[arg(long)]
    jsonl: bool,

    /// Which fields the answers of either side have, of which types, how often null or left out
    #[arg(long, conflicts_with_all = ["id", "noise", "jsonl"])]
    schema: bool,

    /// Also each sample's request as commands to paste into a shell, for v1 and for the mirror
    #[arg(long, requires = "id")]
    curl: bool,

    /// Ask v1 and the mirror once more for the first sample's request, GET or HEAD, and compare
    #[arg(long, requires = "id")]
    again: bool,
}

/// From the question to both answers, with something for the way.
const AGAIN_MAX: Duration = Duration::from_millis(AGAIN_MS_MAX + 2_000);

impl Diffs {
    /// 0 no differences, 1 some, 2 cannot be told: no contents were compared.
    pub(super) fn run(&self) -> i32 {
        match self.ask() {
            Ok((text, code)) => {
                print(&text);
                code
            }
            Err(why) => {
                complain([why]);
                2
            }
        }
    }

    fn ask(&self) -> Result<(String, i32), String> {
        if let Some(id) = &self.id {
            let path = format!("/diffs/{}", encoded(id));
            if self.again {
                let told = parsed(&self.admin.post_json(&format!("{path}/again"), "{}", AGAIN_MAX)?)?;
                return Ok(again(&told));
            }
            return Ok((one(&parsed(&self.admin.get(&path)?)?, self.curl), 1));
        }
        let named = |key: &str, name: &Option<String>| {
            name.as_ref().map(|name| format!("&{key}={}", encoded(name))).unwrap_or_default()
        };
        let chosen = named("route", &self.route) + &named("mirror", &self.mirror);
        if self.schema {
            let chosen = chosen.strip_prefix('&').map(|chosen| format!("?{chosen}")).unwrap_or_default();
            return Ok(schema::text(&parsed(&self.admin.get(&format!("/schema{chosen}"))?)?));
        }
        let told = parsed(&self.admin.get(&format!("/diffs?format=json{chosen}"))?)?;
        let (text, code) = all(&told, self.noise);
        if self.jsonl {
            return Ok((self.admin.get(&format!("/diffs?format=jsonl{chosen}"))?, code));
        }
        Ok((text, code))
    }
}

fn parsed(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not what /diffs tells: {error}"))
}

/// A value within its line.
fn text(value: &Value) -> String {
    visible(&raw(value)).into_owned()
}

fn raw(value: &Value) -> String {
    match value {
        Value::Null => "absent".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Every group in a line, and how many pairs there were.
fn all(told: &Value, with_noise: bool) -> (String, i32) {
    let mut out = String::new();
    let list = |key: &str| told[key].as_array().cloned().unwrap_or_default();
    let sum = |key: &str| -> u64 { list("compared").iter().filter_map(|tally| tally[key].as_u64()).sum() };
    let (compared, contents) = (sum("compared"), sum("contents"));
    if compared == 0 {
        out.push_str("nothing compared: no mirror with `compare` has answered yet, or none is like this\n");
    }
    // Writing to a string does not fail.
    for tally in list("compared") {
        let _ = writeln!(
            out,
            "{} on {} ({}): {} compared, {} differ",
            text(&tally["mirror"]),
            text(&tally["route"]),
            text(&tally["role"]),
            tally["compared"],
            tally["differing"]
        );
        for (why, n) in tally["skipped"].as_object().into_iter().flatten() {
            let _ = writeln!(out, "    not compared, {why}: {n}");
        }
    }
    let (noise, real): (Vec<Value>, Vec<Value>) =
        list("groups").into_iter().partition(|group| group["is_noise"] == true);
    let shown = if with_noise { &real.iter().chain(&noise).cloned().collect::<Vec<_>>() } else { &real };
    for group in shown {
        let _ = writeln!(
            out,
            "{:>6}  {:>7} of {:<7} {} {} {}: {} → {}{}",
            text(&group["id"]),
            group["count"].to_string(),
            group["compared"].to_string(),
            text(&group["route"]),
            text(&group["kind"]),
            text(&group["field"]),
            text(&group["example"]["primary"]),
            text(&group["example"]["mirror"]),
            if group["is_noise"] == true { "  (v1 does so itself)" } else { "" },
        );
    }
    if !with_noise && !noise.is_empty() {
        let _ = writeln!(out, "{} more that v1 does to itself: --noise shows them", noise.len());
    }
    let code = match real.as_slice() {
        [_, ..] => 1,
        [] if contents == 0 => 2,
        [] => 0,
    };
    if code == 0 {
        let _ = writeln!(out, "no differences; contents compared: {contents} of {compared}");
    }
    (out, code)
}

/// A group and its samples, a line of v1's above the line of v2's where they differ.
fn one(group: &Value, with_curl: bool) -> String {
    let mut out = format!(
        "{} {} on {}, mirror {}: {} of {}\n",
        text(&group["kind"]),
        text(&group["field"]),
        text(&group["route"]),
        text(&group["mirror"]),
        group["count"],
        group["compared"]
    );
    for sample in group["samples"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "\n{} {} {}  id={}",
            text(&sample["at"]),
            text(&sample["method"]),
            text(&sample["target"]),
            text(&sample["request_id"])
        );
        let (primary, mirror) = (lines(&sample["primary"]), lines(&sample["mirror"]));
        for change in TextDiff::from_lines(&primary, &mirror).iter_all_changes() {
            let _ = write!(out, "  {} {change}", change.tag());
        }
        if with_curl {
            out.push_str(&commands(&sample["request"]));
        }
    }
    out
}

/// A sample's request as commands, and a list of their missing parts.
fn commands(request: &Value) -> String {
    if request.is_null() {
        return "\nthe request was not kept\n".to_owned();
    }
    let left_out: Vec<String> = request["left_out"].as_array().into_iter().flatten().map(text).collect();
    let mut out = String::new();
    for (side, key) in [("v1", "curl_primary"), ("the mirror", "curl_mirror")] {
        // A line of ours ends in a backslash; a client's text stays within its line.
        let lines = raw(&request[key]);
        let lines: Vec<_> = lines.split('\n').map(visible).collect();
        let _ = writeln!(out, "\n# {side}\n{}", lines.join("\n"));
    }
    if !left_out.is_empty() {
        let _ = writeln!(out, "# left out, because it is redacted or not kept: {}", left_out.join(", "));
    }
    out
}

/// Both fresh answers; 0 nothing differs, 1 something does, 2 cannot be told.
fn again(told: &Value) -> (String, i32) {
    let side = |of: &Value| match of["status"].as_u64() {
        Some(status) => format!("{status} in {:.1} ms", of["seconds"].as_f64().unwrap_or_default() * 1e3),
        None => text(&of["error"]),
    };
    let mut out = format!("v1: {}\nmirror: {}\n", side(&told["primary"]), side(&told["mirror"]));
    let differences = told["differences"].as_array();
    for of in differences.into_iter().flatten() {
        let _ = writeln!(
            out,
            "{} {}: {} → {}",
            text(&of["kind"]),
            text(&of["field"]),
            text(&of["primary"]),
            text(&of["mirror"])
        );
    }
    let left_out: Vec<String> = told["left_out"].as_array().into_iter().flatten().map(text).collect();
    if !left_out.is_empty() {
        let _ = writeln!(out, "asked without {}: redacted or not kept", left_out.join(", "));
    }
    let code = match differences.map(Vec::len) {
        Some(0) => {
            out.push_str("nothing differs now\n");
            0
        }
        Some(_) => 1,
        None => 2,
    };
    (out, code)
}

/// Status, fields and content in lines; JSON is laid out, so that a field is a line.
fn lines(answer: &Value) -> String {
    let mut all = vec![format!("status: {}", answer["status"])];
    for field in answer["fields"].as_array().into_iter().flatten() {
        all.push(format!("{}: {}", text(&field[0]), text(&field[1])));
    }
    let content = raw(&answer["content"]);
    let laid_out =
        serde_json::from_str::<Value>(&content).and_then(|json| serde_json::to_string_pretty(&json));
    all.extend(laid_out.unwrap_or(content).lines().map(str::to_owned));
    all.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_come_in_lines_and_noise_only_where_asked_for() {
        let group = |id: &str, field: &str, is_noise: bool| {
            json!({ "id": id, "count": 4, "compared": 9, "route": "r", "kind": "changed", "field": field,
                "example": { "primary": "1", "mirror": null }, "is_noise": is_noise })
        };
        let told = json!({
            "compared": [{ "route": "r", "mirror": "v2", "role": "candidate", "compared": 9, "differing": 5,
                "skipped": { "coded": 2 } }],
            "groups": [group("7", "$.a", false), group("8", "date", true)],
        });
        let (shown, code) = all(&told, false);
        let expect = "v2 on r (candidate): 9 compared, 5 differ\n    not compared, coded: 2\n     \
                      7        4 of 9       r changed $.a: 1 → absent\n1 more that v1 does to itself: --noise shows them\n";
        assert_eq!((shown.as_str(), code), (expect, 1));
        assert!(all(&told, true).0.contains("date: 1 → absent  (v1 does so itself)\n"));
        let (nothing, code) = all(&json!({ "compared": [], "groups": [] }), false);
        assert!(code == 2 && nothing.starts_with("nothing compared: "), "{nothing}");
        let alike = |contents: u64| {
            let tally = json!({ "route": "r", "mirror": "v2", "role": "candidate", "compared": 9, "contents": contents,
                "differing": 0, "skipped": {} });
            all(&json!({ "compared": [tally], "groups": [group("8", "date", true)] }), false)
        };
        assert!(alike(7).0.ends_with("no differences; contents compared: 7 of 9\n"), "{}", alike(7).0);
        assert_eq!((alike(7).1, alike(0).1), (0, 2), "of contents that nobody compared nothing is known");
    }

    #[test]
    fn a_sample_shows_both_sides_line_by_line() {
        let side = |plan: &str| json!({ "status": 200, "fields": [["A", "b"]], "content": format!("{{\"plan\":\"{plan}\",\"n\":1}}") });
        let told = json!({ "kind": "changed", "field": "$.plan", "route": "r", "mirror": "v2", "count": 1, "compared": 2,
            "samples": [{ "request": { "curl_primary": "curl -i \\\n  'http://a/\u{1b}'", "curl_mirror": "curl b", "left_out": ["cookie"] }, "at": "T", "method": "GET", "target": "/x", "request_id": "i",
                "primary": side("pro"), "mirror": side("free") }] });
        let shown = one(&told, true);
        let lines = ["    status: 200", "    A: b", "  -   \"plan\": \"pro\"", "  +   \"plan\": \"free\""];
        for line in lines {
            assert!(shown.lines().any(|l| l.trim_end_matches(',') == line), "{line}\n{shown}");
        }
        assert!(
            shown.contains("\n# v1\ncurl -i \\\n  'http://a/\\u001b'\n\n# the mirror\ncurl b\n"),
            "{shown}"
        );
        assert!(shown.ends_with("redacted or not kept: cookie\n"), "{shown}");
        assert_eq!(commands(&Value::Null), "\nthe request was not kept\n");
    }

    #[test]
    fn what_both_say_again_is_told_with_what_differs() {
        let difference = json!({ "kind": "changed", "field": "$.a", "primary": "1", "mirror": null });
        let told = |differences: Value| {
            again(&json!({ "primary": { "status": 200, "seconds": 0.0031 }, "mirror": { "error": "refused" },
                "differences": differences, "left_out": ["cookie"] }))
        };
        let without = "asked without cookie: redacted or not kept\n";
        let sides = "v1: 200 in 3.1 ms\nmirror: refused\n";
        assert_eq!(told(json!([difference])), (format!("{sides}changed $.a: 1 → absent\n{without}"), 1));
        assert_eq!(told(json!([])), (format!("{sides}{without}nothing differs now\n"), 0));
        assert_eq!(told(Value::Null).1, 2);
    }
}
