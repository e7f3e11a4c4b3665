//! The questions. Each command finds the tools, measures, prints as it goes, and keeps the results.

mod rounds;
mod rounds_report;
mod rounds_figures;
mod isolation;
mod isolation_report;
mod isolation_figures;
mod idle;
mod slow;
mod flood;
mod soak;
mod soak_report;
mod soak_figures;

use anyhow::{Context, Result};

use crate::cli::{Cli, Command, CommonArgs};
use crate::keep::{self, Run};
use crate::origin::readable;
use crate::scenario::Topic;
use crate::tools::Tools;
use crate::{machine, os};

/// Descriptors that ten thousand clients, as many connections to the origin, and some to spare need in one process.
const OPEN_FILES: u64 = 65_536;

pub fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Peers(args) => rounds::run(args, Topic::Peers),
        Command::Growth(args) => rounds::run(args, Topic::Growth),
        Command::Isolation(args) => isolation::run(args),
        Command::Idle(args) => idle::run(args),
        Command::Slow(args) => slow::run(args),
        Command::Flood(args) => flood::run(args),
        Command::Soak(args) => soak::run(args),
    }
}

/// Prerequisites of every command: the programs, a directory that vanishes, room for descriptors, and remarks on the start.
struct Bench {
    tools: Tools,
    dir: tempfile::TempDir,
    open_files: u64,
    remarks: Vec<String>,
}

impl Bench {
    fn open(args: &CommonArgs) -> Result<Self> {
        os::catch_interrupts();
        let open_files = os::raise_open_files(OPEN_FILES);
        let tools = Tools::find(args)?;
        let dir = tempfile::Builder::new().prefix("umbra-bench-").tempdir();
        let dir = dir.context("cannot make a temporary directory")?;
        readable(dir.path())?;
        let mut remarks = Vec::new();
        let load = machine::load_average();
        if load > 0.25 * machine::cores() as f64 {
            remarks.push(format!(
                "The machine was not quiet: load average {load:.1} on {} cores at the start. Compare ratios only.",
                machine::cores()
            ));
        }
        if machine::load_core().is_none() {
            remarks.push("One core only: load generator, gateway and origins took turns on it.".to_string());
        }
        remarks.iter().for_each(|remark| eprintln!("  ! {remark}"));
        Ok(Self { tools, dir, open_files, remarks })
    }

    /// Keeps the run unless told not to, and says where.
    fn keep(&self, args: &CommonArgs, run: &Run<'_>) -> Result<()> {
        if args.no_keep {
            return Ok(());
        }
        let dir = keep::keep(run, &self.tools.root)?;
        println!("\nkept in {}", dir.display());
        Ok(())
    }
}
