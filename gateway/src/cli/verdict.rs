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
                let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
                // Told here, with the file's name.
                let checked = Policy::parse(&name, &text);
                checked.map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
                text
            }
        };
        let mirror =
            self.mirror.as_ref().map(|name| format!("&mirror={}", encoded(name))).unwrap_or_default();
        let json = self.admin.post(&format!("/verdict?format=json{mirror}"), &policy)?;
        let told: serde_json::Value =
            serde_json::from_str(&json).map_err(|error| format!("not a verdict: {error}"))?;
        let code = match told["verdict"].as_str() {
            Some("promote") => 0,
            Some("reject") => 1,
            Some("hold") => HOLD,
            Some(_) | None => return Err(format!("not a verdict: {json}")),
        };
        if self.json {
            return Ok((format!("{json}\n"), code));
        }
        Ok((self.admin.post(&format!("/verdict?format=text{mirror}"), &policy)?, code))
    }
}

const HOLD: i32 = 3;

/// As a value in a query.
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
