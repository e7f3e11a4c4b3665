//! The command line: its commands, each with its arguments.

use clap::{Parser, Subcommand};

use crate::args::{RunArgs, ServeArgs};

#[derive(Parser)]
#[command(name = "loadgen", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Send load and measure it, from the moment each request was meant to leave
    Run(Box<RunArgs>),
    /// Put runs side by side, whole histograms
    Compare(crate::compare::CompareArgs),
    /// Find the highest rate that keeps a promise
    FindMax(Box<crate::find_max::FindMaxArgs>),
    /// Run phases of load with faults and promises from a file
    Scenario(crate::scenario::ScenarioArgs),
    /// Prove what a mirroring gateway delivered: every copy exact, missing, duplicated, altered or truncated
    Verify(Box<crate::verify::VerifyArgs>),
    /// Be the origin and the mirrors: many ports, healthy or broken on demand
    Serve(ServeArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
