//! `gateway routes`, `mirrors` and `changes`: settings in force in a running gateway, and past changes with their authors, in
//! lines.

use serde_json::Value;

use super::told::{all, ask, by, columns, moment, text, what};
use super::{complain, print};
use crate::ask::Admin;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct List {
    /// Print what the gateway answers, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    admin: Admin,
}

impl List {
    pub(super) fn routes(&self) -> i32 {
        self.show("/routes", routes)
    }

    pub(super) fn mirrors(&self) -> i32 {
        self.show("/mirrors", mirrors)
    }

    pub(super) fn changes(&self) -> i32 {
        self.show("/changes", changes)
    }

    /// 0 told, 2 cannot be told.
    fn show(&self, path: &str, lines: fn(&Value) -> String) -> i32 {
        match ask(&self.admin, path) {
            Ok(told) => {
                print(&if self.json { format!("{told}\n") } else { lines(&told) });
                0
            }
            Err(why) => {
                complain([why]);
                2
            }
        }
    }
}

fn titles(titles: &[&str]) -> Vec<String> {
    titles.iter().map(|title| (*title).to_owned()).collect()
}

fn routes(told: &Value) -> String {
    let mut rows = vec![titles(&["ROUTE", "MATCHES", "ANSWERED BY", "COPIED TO"])];
    for route in all(told, "routes") {
        let matches: Vec<String> = all(route, "matches").map(text).collect();
        let primaries: Vec<String> = all(route, "primaries").map(primary).collect();
        let answered = match (primaries.as_slice(), &route["redirect"], &route["reply"]) {
            ([], Value::Null, reply) => format!("the gateway, {}", text(&reply["status"])),
            ([], redirect, _) => format!("a redirect, {}", text(&redirect["status"])),
            ([lone], ..) => lone.split(' ').next().unwrap_or_default().to_owned(),
            (several, ..) => several.join(", "),
        };
        let mirrors: Vec<String> = all(route, "mirrors").map(text).collect();
        let mirrors = if mirrors.is_empty() { "-".to_owned() } else { mirrors.join(", ") };
        rows.push(vec![text(&route["name"]), matches.join(" or "), answered, mirrors]);
    }
    columns(&rows)
}

fn primary(of: &Value) -> String {
    format!("{} {}", text(&of["upstream"]), text(&of["weight"]))
}

fn mirrors(told: &Value) -> String {
    let mut rows = vec![titles(&["MIRROR", "ROUTE", "TO", "PERCENT", "AS CONFIGURED", "ROLE"])];
    for mirror in all(told, "mirrors") {
        let percent = match mirror["percent"].as_f64() {
            Some(0.0) => "paused".to_owned(),
            Some(percent) => format!("{percent} %"),
            None => "-".to_owned(),
        };
        let configured = mirror["configured_percent"].as_f64().unwrap_or_default();
        rows.push(vec![
            text(&mirror["name"]),
            text(&mirror["route"]),
            text(&mirror["upstream"]),
            percent,
            format!("{configured} %"),
            text(&mirror["role"]),
        ]);
    }
    columns(&rows)
}

fn changes(told: &Value) -> String {
    if told["count"] == 0 {
        return "nothing was changed since the start\n".to_owned();
    }
    let row = |change: &Value| {
        vec![text(&change["number"]), moment(&change["at"]), by(&change["by"]), what(change)]
    };
    columns(&all(told, "changes").map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_stand_in_columns() {
        let told = json!({ "mirrors": [
            { "name": "v2", "route": "all", "upstream": "v2", "percent": 0.0, "configured_percent": 12.5, "role": "candidate" },
            { "name": "canary", "route": "a", "upstream": null, "percent": 250.0, "configured_percent": 250.0, "role": "baseline" },
        ]});
        let expect = "MIRROR  ROUTE  TO  PERCENT  AS CONFIGURED  ROLE\n\
                      v2      all    v2  paused   12.5 %         candidate\n\
                      canary  a      -   250 %    250 %          baseline\n";
        assert_eq!(mirrors(&told), expect);
    }

    #[test]
    fn a_change_is_who_and_what_in_a_line() {
        let told = json!({ "count": 3, "changes": [
            { "number": 1, "at": "2026-01-02T03:04:05.678901Z", "by": { "kind": "api", "address": "127.0.0.1:5", "token": true },
              "what": [{ "key": "a.b", "from": "1", "to": "2" }, { "key": "c", "from": null, "to": "\u{1b}[2J" }], "more": 3, "refused": null },
            { "number": 2, "at": "x", "by": { "kind": "signal", "signal": "SIGHUP" }, "what": [], "more": 0, "refused": "no" },
            { "number": 3, "at": "x", "by": { "kind": "kubernetes" }, "what": [{ "key": "a", "from": null, "to": "b" }], "more": 0, "refused": null },
        ]});
        let expect = "1  2026-01-02T03:04:05Z  127.0.0.1:5 with the token  a.b: 1 → 2; c: \\u001b[2J; and 3 more\n\
                      2  x                     SIGHUP                      refused: no\n\
                      3  x                     kubernetes                  a: b\n";
        assert_eq!(changes(&told), expect);
    }
}
