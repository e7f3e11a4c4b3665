//! The questions about speed, and their kept answers. A command asks a question; rooms below it start programs, load them
//! and read them.
//!
//! Reading order: the questions (`cli`, `scenario`, `variant`), the measuring (`command`), the programs (`tools`, `origin`,
//! `faults`, `peer`), the load (`load`, `open_loop`, `clients`, `soak`), the readings (`procfs`, `ledger`), the kept answers
//! (`stats`, `table`, `chart`, `machine`, `keep`).

pub mod cli;
pub mod scenario;
pub mod variant;
pub mod wires;
pub mod command;
pub mod tools;
pub mod origin;
pub mod faults;
pub mod peer;
pub mod load;
pub mod open_loop;
pub mod clients;
pub mod soak;
pub mod procfs;
pub mod ledger;
pub mod stats;
pub mod table;
pub mod chart;
pub mod machine;
pub mod keep;
pub mod process;
pub mod netns;
pub mod http;
pub mod os;

use std::process::ExitCode;

use clap::Parser;

/// The whole program.
pub fn main() -> ExitCode {
    match command::run(&cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
