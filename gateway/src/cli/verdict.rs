//! `gateway verdict`: asks a running gateway whether mirrors are ready.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use config::Policy;

use super::told::encoded;
use super::{complain, print};
use crate::ask::Admin;

/// Between two questions while the verdict is hold.
const ASK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Verdict {
    #[command(flatten)]
    admin: Admin,

    /// Policy to judge by (config/verdict.toml has every key); without it the defaults
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

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

    /// 0 begun, 2 not.
    fn begin(&self) -> i32 {
        let mirror =
            self.mirror.as_ref().map(|name| format!("?mirror={}", encoded(name))).unwrap_or_default();
        let told = self.admin.post(&format!("/verdict/begin{mirror}"), "");
        let since = told.and_then(|told| {
            let said: serde_json::Value =
                serde_json::from_str(&told).map_err(|_| format!("not an answer: {told}"))?;
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

    /// The answer to be printed, and the exit code.
    fn ask(&self) -> Result<(String, i32), String> {
        let policy = match &self.policy {
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
        // Asked once, so that what is printed and what is answered are one verdict.
        let format = if self.json { "json" } else { "text" };
        let since = self.since.map(|seconds| format!("&since={seconds}")).unwrap_or_default();
        let all = if self.all { "&all=true" } else { "" };
        let told = self.admin.post(&format!("/verdict?format={format}{mirror}{since}{all}"), &policy)?;
        let code = code(&told, self.json).ok_or_else(|| format!("not a verdict: {told}"))?;
        Ok((if self.json { format!("{told}\n") } else { told }, code))
    }
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
        serde_json::from_str::<serde_json::Value>(told).ok()?["verdict"].as_str()?.to_owned()
    } else {
        told.lines().next()?.to_owned()
    };
    match word.as_str() {
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
    fn the_exit_code_is_that_of_the_verdict_that_is_printed() {
        for (word, expect) in [("promote", Some(0)), ("reject", Some(1)), ("hold", Some(3)), ("maybe", None)]
        {
            assert_eq!(code(&format!("{word}\n\nv2: promote\n"), false), expect, "{word}");
            assert_eq!(code(&format!(r#"{{"verdict":"{word}","mirrors":[]}}"#), true), expect, "{word}");
        }
        assert_eq!((code("", false), code("{}", true), code("promote", true)), (None, None, None));
    }
}
