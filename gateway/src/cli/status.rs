//! `gateway status`: one screen of a running gateway: its listeners, the clients' figures, the fates of copies and their
//! reasons, the verdict, and the open troubles.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::told::{ask, by, columns, moment, what, workers};
use super::{complain, print};
use crate::ask::Admin;
use crate::visible::visible;

/// Between two screens.
const AGAIN_EVERY: Duration = Duration::from_secs(2);

/// Seconds that rates and times are told of.
const RECENT: usize = 10;

/// Rows of a list; a longer one has a verb of its own.
const ROWS_MAX: usize = 12;

/// Troubles that are over and still worth a line.
const OVER_MAX: usize = 3;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Status {
    /// Show it again every two seconds, until interrupted
    #[arg(long)]
    watch: bool,

    /// Print what the gateway answers, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    admin: Admin,
}

/// The gateway's answers.
struct Responses {
    status: Value,
    live: Value,
    outcomes: Value,
    mirrors: Value,
    verdict: Value,
}

impl Status {
    /// 0 nothing is wrong, 1 something is, 2 cannot be told.
    pub(super) fn run(&self) -> i32 {
        loop {
            let asked = Responses::ask(&self.admin);
            if self.watch && io::stdout().is_terminal() {
                // Home, and nothing below: of our own, so it is not to be escaped.
                let _ = io::Write::write_all(&mut io::stdout(), b"\x1b[H\x1b[2J");
            }
            let code = match asked {
                Ok(told) => {
                    print(&if self.json {
                        format!("{}\n", told.json())
                    } else {
                        told.screen(&self.admin.base())
                    });
                    i32::from(told.open().next().is_some())
                }
                Err(why) => {
                    complain([why]);
                    2
                }
            };
            if !self.watch {
                return code;
            }
            thread::sleep(AGAIN_EVERY);
        }
    }
}

impl Responses {
    fn ask(admin: &Admin) -> Result<Self, String> {
        Ok(Self {
            status: ask(admin, "/status")?,
            live: ask(admin, "/live")?,
            outcomes: ask(admin, "/outcomes")?,
            mirrors: ask(admin, "/mirrors")?,
            // A gateway that judges others just now says so; the rest is told all the same.
            verdict: ask(admin, "/verdict").unwrap_or(Value::Null),
        })
    }

    fn json(&self) -> Value {
        let mut all = self.status.clone();
        if let Some(all) = all.as_object_mut() {
            all.insert("clients".to_owned(), clients(&self.live));
            all.insert("mirrors".to_owned(), self.mirrors["mirrors"].clone());
            let ledgers = list(&self.outcomes, "outcomes")
                .map(|of| json!({ "mirror": of["mirror"], "route": of["route"], "ledger": of["ledger"] }));
            all.insert("ledgers".to_owned(), ledgers.collect());
            let verdicts = list(&self.verdict, "mirrors");
            let verdicts = verdicts
                .map(|of| json!({ "mirror": of["mirror"], "verdict": of["verdict"], "said": of["said"] }));
            all.insert("verdicts".to_owned(), verdicts.collect());
        }
        all
    }

    /// The troubles that are not over.
    fn open(&self) -> impl Iterator<Item = &Value> {
        list(&self.status, "troubles").filter(|trouble| trouble["until"].is_null())
    }

    fn screen(&self, admin: &str) -> String {
        let status = &self.status;
        let uptime = status["uptime_seconds"].as_f64().unwrap_or_default() as u64;
        let mut rows: Vec<Vec<String>> = vec![vec![
            "umbra".to_owned(),
            format!(
                "{}, {} for {}, {}, admin on {admin}",
                text(&status["version"]),
                text(&status["phase"]),
                span(uptime),
                workers(&status["workers"])
            ),
        ]];
        let mut row = |title: &str, lines: Vec<String>| {
            let first = std::iter::once(title.to_owned()).chain(std::iter::repeat(String::new()));
            rows.extend(first.zip(lines).map(|(title, line)| vec![title, line]));
        };
        row("listeners", list(status, "listeners").map(text).collect());
        row("clients", vec![sentence(&clients(&self.live))]);
        row("routes", bounded(routes(status), "gateway routes"));
        row("mirrors", bounded(self.mirrors(), "gateway mirrors"));
        row("verdict", list(&self.verdict, "mirrors").map(verdict).collect());
        let trials = list(&self.verdict, "mirrors").flat_map(|of| list(of, "mirroring"));
        let trials: Vec<String> = trials.map(control).collect();
        if !trials.is_empty() {
            row("control", bounded(trials, "gateway verdict --json"));
        }
        let last = &status["configuration"]["last_change"];
        if !last.is_null() {
            let who = format!("{} by {}: {}", moment(&last["at"]), by(&last["by"]), what(last));
            row("last change", vec![who]);
        }
        let open: Vec<String> = self.open().map(|trouble| text(&trouble["text"])).collect();
        row("wrong now", if open.is_empty() { vec!["nothing".to_owned()] } else { open });
        let over = list(status, "troubles").filter(|trouble| !trouble["until"].is_null()).take(OVER_MAX);
        row("lately", over.map(|of| format!("{}: {}", moment(&of["until"]), text(&of["text"]))).collect());
        columns(&rows)
    }

    /// Each mirror on each route: its share, and the fates of its copies.
    fn mirrors(&self) -> Vec<String> {
        let one = |mirror: &Value| {
            let ledger = list(&self.outcomes, "outcomes")
                .find(|of| of["mirror"] == mirror["name"] && of["route"] == mirror["route"])
                .map_or(&Value::Null, |of| &of["ledger"]);
            let share = match mirror["percent"].as_f64() {
                Some(0.0) => "paused".to_owned(),
                percent => format!("{} %", percent.unwrap_or_default()),
            };
            format!("{} on {}, {share}: {}", text(&mirror["name"]), text(&mirror["route"]), account(ledger))
        };
        list(&self.mirrors, "mirrors").map(one).collect()
    }
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

/// A value within its line.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => visible(text).into_owned(),
        other => other.to_string(),
    }
}

fn bounded(mut lines: Vec<String>, verb: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(ROWS_MAX);
    if more > 0 {
        lines.truncate(ROWS_MAX);
        lines.push(format!("and {more} more: {verb}"));
    }
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}

/// The clients' figures of the last seconds.
fn clients(live: &Value) -> Value {
    let last = |column: &Value| -> Vec<f64> {
        let all = column.as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().rev().take(RECENT).map(|value| value.as_f64().unwrap_or_default()).collect()
    };
    let sum = |column: &Value| last(column).iter().fold(0.0, |all, one| all + one);
    let seconds = sum(&live["seconds"]);
    let rate = |column: &Value| {
        if seconds > 0.0 { sum(column) / seconds } else { 0.0 }
    };
    let classes: Map<String, Value> = live["requests"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(class, column)| (class.clone(), json!(rate(column))))
        .filter(|(_, rate)| rate.as_f64() > Some(0.0))
        .collect();
    let all = classes.values().filter_map(Value::as_f64).fold(0.0, |all, one| all + one);
    let slowest = |column: &Value| last(column).into_iter().fold(0.0, f64::max);
    json!({
        "seconds": seconds,
        "requests_per_second": all,
        "classes_per_second": classes,
        "rejected_per_second": rate(&live["rejected"]),
        "aborted_per_second": rate(&live["aborted"]),
        "connections": last(&live["connections"]).first().copied().unwrap_or_default(),
        "p50_seconds_max": slowest(&live["primary"]["p50_seconds"]),
        "p99_seconds_max": slowest(&live["primary"]["p99_seconds"]),
    })
}

fn sentence(clients: &Value) -> String {
    let figure = |key: &str| clients[key].as_f64().unwrap_or_default();
    if figure("seconds") == 0.0 {
        return "the first second is not over".to_owned();
    }
    let mut said = format!("{:.1} requests/s", figure("requests_per_second"));
    let classes = clients["classes_per_second"].as_object().into_iter().flatten();
    let classes: Vec<String> =
        classes.map(|(class, rate)| format!("{class} {:.1}", rate.as_f64().unwrap_or_default())).collect();
    if classes.len() > 1 {
        let _ = write!(said, " ({})", classes.join(", "));
    }
    let _ = write!(said, ", {} connections", figure("connections"));
    if figure("rejected_per_second") > 0.0 {
        let _ = write!(said, ", {:.1}/s answered by the gateway itself", figure("rejected_per_second"));
    }
    if figure("p99_seconds_max") > 0.0 {
        let ms = |key: &str| figure(key) * 1e3;
        let _ = write!(
            said,
            ", v1's p50 {:.1} ms and p99 {:.1} ms",
            ms("p50_seconds_max"),
            ms("p99_seconds_max")
        );
    }
    format!("{said}, in the last {:.0} s", figure("seconds"))
}

/// The busiest first.
fn routes(status: &Value) -> Vec<String> {
    let sum = |route: &Value| -> u64 {
        route["requests"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum()
    };
    let mut all: Vec<&Value> = list(status, "routes").collect();
    all.sort_by_key(|route| std::cmp::Reverse(sum(route)));
    let line = |route: &&Value| {
        let classes = route["requests"].as_object().into_iter().flatten();
        let classes: Vec<String> = classes.map(|(class, n)| format!("{class} {n}")).collect();
        let by = if classes.is_empty() { String::new() } else { format!(" ({})", classes.join(", ")) };
        let aborted = route["aborted"].as_u64().unwrap_or_default();
        let aborted = if aborted > 0 { format!(", {aborted} cut short") } else { String::new() };
        format!("{}: {} requests{by}{aborted}", text(&route["name"]), sum(route))
    };
    all.iter().map(line).collect()
}

/// The fates of copies: sent and answered, and lost with the reasons.
fn account(ledger: &Value) -> String {
    let figure = |key: &str| ledger[key].as_u64().unwrap_or_default();
    let reasons = |keys: &[&str]| -> (u64, Vec<String>) {
        let all = keys.iter().flat_map(|key| ledger[*key].as_object().into_iter().flatten());
        let all = all.filter_map(|(why, n)| Some((why, n.as_u64().filter(|n| *n > 0)?)));
        let all: Vec<(&String, u64)> = all.collect();
        (all.iter().map(|(_, n)| n).sum(), all.iter().map(|(why, n)| format!("{why} {n}")).collect())
    };
    let (completed, classes) = reasons(&["completed"]);
    let (lost, whys) = reasons(&["dropped", "failed"]);
    let (skipped, why_not) = reasons(&["skipped"]);
    let out = figure("sampled_out");
    let within = |parts: Vec<String>| {
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    };
    let wanted = figure("eligible").saturating_sub(out + skipped);
    let mut said = format!("{completed} of {wanted} copies answered{}", within(classes));
    let _ = write!(said, ", {lost} lost{}", within(whys));
    // Read while it is counted, they may come to more than there are.
    let under_way = wanted.saturating_sub(completed + lost);
    if under_way > 0 {
        let _ = write!(said, ", {under_way} under way");
    }
    if out > 0 {
        let _ = write!(said, ", {out} not drawn");
    }
    if skipped > 0 {
        let _ = write!(said, "; {skipped} requests had none{}", within(why_not));
    }
    said
}

fn verdict(mirror: &Value) -> String {
    let said: Vec<String> = list(mirror, "said").take(2).map(text).collect();
    format!("{}: {}: {}", text(&mirror["mirror"]), text(&mirror["verdict"]), said.join("; "))
}

/// Whether clients get something else where their request is copied.
fn control(of: &Value) -> String {
    let requests = |arm: &str| of[arm]["requests"].as_u64().unwrap_or_default();
    let found = if of["said"].is_null() {
        "clients get the same, as far as chance lets it be seen".to_owned()
    } else {
        text(&of["said"])
    };
    let (copied, others) = (requests("copied"), requests("uncopied"));
    format!("{}, {copied} requests copied and {others} not: {found}", text(&of["route"]))
}

/// In the two largest units.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn responses() -> Responses {
        let trouble = |until: Value| json!({ "until": until, "text": "mirror v2 gets no copies\u{1b}" });
        Responses {
            status: json!({
                "version": "1", "phase": "ready", "uptime_seconds": 3700.5, "workers": 2, "listeners": ["a:1", "b:2"],
                "configuration": { "last_change": null },
                "routes": [{ "name": "x", "requests": {}, "aborted": 0 }, { "name": "all", "requests": { "2xx": 7 }, "aborted": 1 }],
                "troubles": [trouble(Value::Null), trouble("2026-01-01T00:00:00.000000Z".into())],
            }),
            live: json!({ "seconds": [1.0, 1.0], "requests": { "2xx": [3, 5], "5xx": [0, 1] }, "connections": [4, 6],
                "rejected": [0, 0], "aborted": [0, 0], "primary": { "p50_seconds": [null, 0.001], "p99_seconds": [null, 0.25] } }),
            outcomes: json!({ "outcomes": [{ "mirror": "v2", "route": "all", "ledger": { "eligible": 20, "sampled_out": 4,
                "skipped": { "primary_failed": 5, "response": 0 }, "dropped": { "unreachable": 2, "rate": 0 }, "failed": { "closed": 1 }, "completed": { "2xx": 6 } } }] }),
            mirrors: json!({ "mirrors": [{ "name": "v2", "route": "all", "percent": 12.5 }] }),
            verdict: json!({ "mirrors": [{ "mirror": "v2", "verdict": "hold", "said": ["it waits"] }] }),
        }
    }

    #[test]
    fn one_screen_says_it_all() {
        let expect = "\
umbra      1, ready for 1 h 1 min, 2 workers, admin on http://h
listeners  a:1
           b:2
clients    4.5 requests/s (2xx 4.0, 5xx 0.5), 6 connections, v1's p50 1.0 ms and p99 250.0 ms, in the last 2 s
routes     all: 7 requests (2xx 7), 1 cut short
           x: 0 requests
mirrors    v2 on all, 12.5 %: 6 of 11 copies answered (2xx 6), 3 lost (unreachable 2, closed 1), 2 under way, 4 not drawn; 5 requests had none (primary_failed 5)
verdict    v2: hold: it waits
wrong now  mirror v2 gets no copies\\u001b
lately     2026-01-01T00:00:00Z: mirror v2 gets no copies\\u001b
";
        assert_eq!(responses().screen("http://h"), expect);
        assert_eq!(responses().open().count(), 1);
        assert_eq!(responses().json()["clients"]["requests_per_second"], 4.5);
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let lines = bounded((0..300).map(|n| n.to_string()).collect(), "gateway routes");
        assert_eq!((lines.len(), lines[ROWS_MAX].as_str()), (ROWS_MAX + 1, "and 288 more: gateway routes"));
        assert_eq!(bounded(Vec::new(), ""), ["none"]);
    }
}
