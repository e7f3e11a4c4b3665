//! `gateway logs`: lines of a running gateway's log, and of its access log where it has one.

use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;

use super::told::{all, ask, encoded, text};
use super::{complain, print};
use crate::ask::Admin;

/// Between two requests for new lines.
const AGAIN_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Logs {
    /// Go on with what is new, until interrupted
    #[arg(long, short)]
    follow: bool,

    /// The last so many lines
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100)]
    lines: u64,

    /// The gateway's own lines that are at least as grave: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    level: Option<tracing::Level>,

    /// Requests of this route alone
    #[arg(long, value_name = "NAME", conflicts_with = "level")]
    route: Option<String>,

    /// One of both logs alone
    #[arg(long, value_name = "LOG", value_enum)]
    only: Option<Only>,

    /// Print each line as the gateway has it, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Only {
    /// What the gateway says of itself
    Gateway,
    /// Requests
    Access,
}

impl Logs {
    /// 0 told, 2 cannot be told.
    pub(super) fn run(&self) -> i32 {
        let mut told = match self.told(None) {
            Ok(told) => told,
            Err(why) => {
                complain([why]);
                return 2;
            }
        };
        let wants_requests = self.route.is_some() || matches!(self.only, Some(Only::Access));
        if wants_requests && told["access_log"] == false {
            complain(["there is no access log; write [access_log] with to = \"stdout\" or a path"]);
        }
        loop {
            let lines: Vec<String> = all(&told, "lines").map(|line| self.shown(line)).collect();
            print(&lines.concat());
            if !self.follow {
                return 0;
            }
            thread::sleep(AGAIN_EVERY);
            // A gateway that starts anew counts anew, and may be away for a moment.
            let next = told["next"].as_u64();
            if let Ok(more) = self.told(next) {
                told = more;
                if told["complete"] == false {
                    complain([
                        "some lines were lost: they came faster than they were asked for, or the gateway started anew",
                    ]);
                }
                if told["next"].as_u64() < next {
                    told = self.told(Some(0)).unwrap_or(told);
                }
            } else {
                told["lines"] = Value::Array(Vec::new());
            }
        }
    }

    fn told(&self, after: Option<u64>) -> Result<Value, String> {
        let mut query = match after {
            Some(after) => format!("?after={after}"),
            None => format!("?lines={}", self.lines),
        };
        let only = self.only.map(|only| match only {
            Only::Gateway => "gateway",
            Only::Access => "access",
        });
        let level = self.level.map(|level| level.to_string().to_lowercase());
        for (key, value) in [("source", only), ("level", level.as_deref()), ("route", self.route.as_deref())]
        {
            if let Some(value) = value {
                query.push_str(&format!("&{key}={}", encoded(value)));
            }
        }
        ask(&self.admin, &format!("/logs{query}"))
    }

    fn shown(&self, told: &Value) -> String {
        let line = &told["line"];
        if self.json {
            return format!("{line}\n");
        }
        if told["source"] == "access" { request(line) } else { own(line) }
    }
}

/// As standard error has it.
fn own(line: &Value) -> String {
    let mut shown =
        format!("{} {:>5} {}", text(&line["timestamp"]), text(&line["level"]), text(&line["message"]));
    let known = ["timestamp", "level", "message", "threadName"];
    for (name, value) in
        line.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str()))
    {
        shown.push_str(&format!(" {name}={}", text(value)));
    }
    shown.push('\n');
    shown
}

/// A line of the access log: client, request, status, duration, and the outcome of each copy.
fn request(line: &Value) -> String {
    let query = line["query"].as_str().map(|_| format!("?{}", text(&line["query"]))).unwrap_or_default();
    let status = match (&line["status"], line["aborted"] == true) {
        (Value::Null, _) => "cut".to_owned(),
        (status, true) => format!("{status} cut"),
        (status, false) => status.to_string(),
    };
    let mut shown = format!(
        "{} {} {} {} {}{query} {status} {} ms {}",
        text(&line["time"]),
        text(&line["client"]),
        text(&line["method"]),
        text(&line["authority"]),
        text(&line["path"]),
        text(&line["duration_ms"]),
        text(&line["route"]),
    );
    for copy in all(line, "copies") {
        let end = [&copy["reason"], &copy["status"]].into_iter().find(|of| !of.is_null()).map(text);
        shown.push_str(&format!("; {} {}", text(&copy["mirror"]), text(&copy["outcome"])));
        if let Some(end) = end {
            shown.push_str(&format!(" {end}"));
        }
    }
    shown.push('\n');
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_of_both_logs_are_read_by_people() {
        let line = json!({ "timestamp": "2026-01-02T03:04:05Z", "level": "WARN", "message": "v2 \u{1b}[2J", "threadName": "main", "n": 3 });
        assert_eq!(own(&line), "2026-01-02T03:04:05Z  WARN v2 \\u001b[2J n=3\n");
        let line = json!({
            "time": "t", "client": "192.0.2.7", "method": "GET", "authority": "a.example", "path": "/x", "query": "y=1",
            "status": 200, "aborted": false, "duration_ms": 2.5, "route": "shop",
            "copies": [
                { "mirror": "v2", "outcome": "completed", "status": 500, "reason": null },
                { "mirror": "v3", "outcome": "dropped", "status": null, "reason": "ring_bytes" },
                { "mirror": "v4", "outcome": "sampled_out", "status": null, "reason": null },
            ],
        });
        assert_eq!(
            request(&line),
            "t 192.0.2.7 GET a.example /x?y=1 200 2.5 ms shop; v2 completed 500; v3 dropped ring_bytes; v4 sampled_out\n"
        );
        let cut = json!({ "status": null, "aborted": true });
        assert!(request(&cut).contains(" cut "));
    }
}
