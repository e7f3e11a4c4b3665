//! `gateway health`: whether a running gateway is well, as an exit code for probes that run a command.

use super::{complain, print};
use crate::ask::Admin;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Health {
    /// Ask whether it is alive alone: it may be starting, or draining
    #[arg(long)]
    alive: bool,

    #[command(flatten)]
    admin: Admin,
}

impl Health {
    /// 0 it is, 1 it is not or does not answer: Docker gives 2 another meaning.
    pub(super) fn run(&self) -> i32 {
        match self.admin.get(if self.alive { "/healthz" } else { "/readyz" }) {
            Ok(content) => {
                print(&format!("{}\n", content.trim_end()));
                0
            }
            Err(why) => {
                complain([why]);
                1
            }
        }
    }
}
