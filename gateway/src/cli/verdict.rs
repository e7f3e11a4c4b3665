//! `gateway verdict`: asks a running gateway whether mirrors are ready.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use config::Policy;

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

    /// While the verdict is hold, ask again for at most so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

impl Verdict {
    /// 0 promote, 1 reject, 2 cannot be told, 3 hold.
    pub(super) fn run(&self) -> i32 {
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
        let told = self.admin.post(&format!("/verdict?format={format}{mirror}"), &policy)?;
        let code = code(&told, self.json).ok_or_else(|| format!("not a verdict: {told}"))?;
        Ok((if self.json { format!("{told}\n") } else { told }, code))
    }
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

/// As a value in a query.
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
