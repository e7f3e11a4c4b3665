//! `gateway verdict`: asks a running gateway whether mirrors are ready.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use config::Policy;
use serde_json::Value;

use super::told::encoded;
use super::{complain, print};
use crate::ask::Admin;
use crate::visible::visible;

/// Between two questions while the verdict is hold.
const ASK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Verdict {
    #[command(flatten)]
    admin: Admin,

    /// Policy to judge by (config/verdict.toml has every key); without it the defaults
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Judge by this policy too, and show what it would change
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "all", "begin", "wait"])]
    what_if: Option<PathBuf>,

    /// Judge this mirror alone
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,

    /// Print every rule with its evidence
    #[arg(long, conflicts_with = "json")]
    all: bool,

    /// Judge only what came lately: 30s, 10m, 2h
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    since: Option<u64>,

    /// Judge what this gateway alone knows, where it has peers
    #[arg(long)]
    own: bool,

    /// Let evidence begin anew, of this mirror or of all, and judge nothing
    #[arg(long, conflicts_with_all = ["policy", "json", "all", "since", "wait"])]
    begin: bool,

    /// While the verdict is hold, ask again for at most so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

impl Verdict {
    /// 0 promote, 1 reject, 2 cannot be told, 3 hold.
    pub(super) fn run(&self) -> i32 {
        if self.begin {
            return self.begin();
        }
        if let Some(other) = &self.what_if {
            return self.what_if(other);
        }
        let until = Instant::now() + Duration::from_secs(self.wait);
        loop {
            match self.ask() {
                Ok((text, code)) if code != HOLD || Instant::now() >= until => {
                    print(&text);
                    return code;
                }
                Ok(_) => thread::sleep(ASK_EVERY.min(until.saturating_duration_since(Instant::now()))),
                Err(why) => {
                    complain([why]);
                    return 2;
                }
            }
        }
    }

    /// Prints the effect of another policy on the verdict; the exit code of the verdict by that policy.
    fn what_if(&self, other: &PathBuf) -> i32 {
        let judged = |policy: Option<&PathBuf>| {
            let told = self.told(policy, "json")?;
            serde_json::from_str::<Value>(&told).map_err(|_| format!("not a verdict: {told}"))
        };
        let both = judged(self.policy.as_ref()).and_then(|now| Ok((now, judged(Some(other))?)));
        match both {
            Ok((now, then)) => {
                print(&changes(&now, &then));
                then["verdict"].as_str().and_then(of_word).unwrap_or(2)
            }
            Err(why) => {
                complain([why]);
                2
            }
        }
    }

    /// 0 begun, 2 not.
    fn begin(&self) -> i32 {
        let mirror =
            self.mirror.as_ref().map(|name| format!("&mirror={}", encoded(name))).unwrap_or_default();
        let told = self.admin.post(&format!("/verdict/begin?{}{mirror}", self.scope()), "");
        let since = told.and_then(|told| {
            let said: Value = serde_json::from_str(&told).map_err(|_| format!("not an answer: {told}"))?;
            said["since"].as_str().map(str::to_owned).ok_or(told)
        });
        match since {
            Ok(since) => {
                print(&format!("evidence counts since {since}\n"));
                0
            }
            Err(why) => {
                complain([why]);
                2
            }
        }
    }

    /// The scope of the evidence: this gateway's, or the fleet's.
    fn scope(&self) -> &'static str {
        if self.own { "scope=own" } else { "scope=fleet" }
    }

    /// The answer to be printed, and the exit code.
    fn ask(&self) -> Result<(String, i32), String> {
        // One request, so that the printed text and the exit code are of one verdict.
        let told = self.told(self.policy.as_ref(), if self.json { "json" } else { "text" })?;
        let code = code(&told, self.json).ok_or_else(|| format!("not a verdict: {told}"))?;
        Ok((if self.json { format!("{told}\n") } else { told }, code))
    }

    /// The verdict by this policy.
    fn told(&self, policy: Option<&PathBuf>, format: &str) -> Result<String, String> {
        let policy = match policy {
            None => String::new(),
            Some(path) => {
                let name = path.display().to_string();
                let bytes = config::text::read(path).map_err(|error| format!("{name}: {error}"))?;
                let text = String::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
                // Told here, with the file's name.
                let checked = Policy::parse(&name, &text);
                checked.map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
                text
            }
        };
        let mirror =
            self.mirror.as_ref().map(|name| format!("&mirror={}", encoded(name))).unwrap_or_default();
        let since = self.since.map(|seconds| format!("&since={seconds}")).unwrap_or_default();
        let all = if self.all { "&all=true" } else { "" };
        self.admin.post(&format!("/verdict?{}&format={format}{mirror}{since}{all}", self.scope()), &policy)
    }
}

/// The effect of another policy on the same evidence: each mirror's verdict, and the rules whose results change.
fn changes(now: &Value, then: &Value) -> String {
    let text = |of: &Value| of.as_str().unwrap_or("nothing").to_owned();
    let mut out = format!("{} → {}\n", text(&now["verdict"]), text(&then["verdict"]));
    let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let rules = |of: &Value| -> Vec<Value> { list(of, "rules") };
    for after in list(then, "mirrors") {
        let before = list(now, "mirrors").into_iter().find(|of| of["mirror"] == after["mirror"]);
        let before = before.unwrap_or_default();
        let name = text(&after["mirror"]);
        out.push_str(&format!(
            "\n{}: {} → {}\n",
            visible(&name),
            text(&before["verdict"]),
            text(&after["verdict"])
        ));
        let same =
            |one: &Value, other: &Value| one["rule"] == other["rule"] && one["route"] == other["route"];
        let before = rules(&before);
        for rule in rules(&after) {
            let was = before.iter().find(|of| same(of, &rule)).map_or(Value::Null, |of| of["result"].clone());
            if was != rule["result"] {
                let (rule_name, route) = (text(&rule["rule"]), text(&rule["route"]));
                out.push_str(&format!(
                    "  {rule_name} on {}: {} → {}\n",
                    visible(&route),
                    text(&was),
                    text(&rule["result"])
                ));
            }
        }
        for rule in before.iter().filter(|rule| !rules(&after).iter().any(|of| same(of, rule))) {
            let (rule_name, route) = (text(&rule["rule"]), text(&rule["route"]));
            out.push_str(&format!(
                "  {rule_name} on {}: {} → nothing\n",
                visible(&route),
                text(&rule["result"])
            ));
        }
    }
    out
}

/// `10m`, or seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("must be a number of seconds, or end with s, m or h".to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| "must be a number".to_owned())
}

/// The exit code of a verdict: as text it begins with its word.
fn code(told: &str, is_json: bool) -> Option<i32> {
    let word = if is_json {
        serde_json::from_str::<Value>(told).ok()?["verdict"].as_str()?.to_owned()
    } else {
        told.lines().next()?.to_owned()
    };
    of_word(&word)
}

fn of_word(word: &str) -> Option<i32> {
    match word {
        "promote" => Some(0),
        "reject" => Some(1),
        "hold" => Some(HOLD),
        _ => None,
    }
}

const HOLD: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_seconds_or_has_a_unit() {
        assert_eq!(["90", "30s", "10m", "2h"].map(seconds), [Ok(90), Ok(30), Ok(600), Ok(7200)]);
        assert!(["", "m", "1d", "-1", "99999999999999999999"].iter().all(|text| seconds(text).is_err()));
    }

    #[test]
    fn what_another_policy_changes_is_told_rule_by_rule() {
        let of = |verdict: &str, rules: &[(&str, &str)]| {
            let rule = |(rule, result): &(&str, &str)| serde_json::json!({ "rule": rule, "route": "a", "result": result });
            let rules: Vec<Value> = rules.iter().map(rule).collect();
            serde_json::json!({ "verdict": verdict, "mirrors": [{ "mirror": "v2", "verdict": verdict, "rules": rules }] })
        };
        let now = of("reject", &[("p50_ratio", "fail"), ("unreachable", "pass"), ("p99_ratio", "hold")]);
        let then = of("promote", &[("p50_ratio", "pass"), ("unreachable", "pass")]);
        let told = "reject → promote\n\nv2: reject → promote\n  p50_ratio on a: fail → pass\n  p99_ratio on a: hold → nothing\n";
        assert_eq!(changes(&now, &then), told);
    }

    #[test]
    fn the_exit_code_is_that_of_the_verdict_that_is_printed() {
        for (word, expect) in [("promote", Some(0)), ("reject", Some(1)), ("hold", Some(3)), ("maybe", None)]
        {
            assert_eq!(code(&format!("{word}\n\nv2: promote\n"), false), expect, "{word}");
            assert_eq!(code(&format!(r#"{{"verdict":"{word}","mirrors":[]}}"#), true), expect, "{word}");
        }
        assert_eq!((code("", false), code("{}", true), code("promote", true)), (None, None, None));
    }
}
