//! loadgen: open-loop HTTP load with a verdict on itself, an origin that can be broken on demand, and proof of the copies that
//! a mirroring gateway delivered.

pub mod cli;
pub mod args;
pub mod client;
pub mod compare;
pub mod file;
pub mod find_max;
pub mod grpc;
pub mod call;
pub mod websocket;
pub mod http1;
pub mod io;
pub mod link;
pub mod load;
pub mod os;
pub mod pipe;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod serve;
pub mod tls;
pub mod units;
pub mod verify;

use clap::Parser;

use cli::{Cli, Command};

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// The run could not be done, or not one request was answered whole.
    Failed = 1,
    Usage = 2,
    /// An assertion, a comparison or a proof did not hold.
    Assertion = 3,
    /// The generator, not the target, was the limit.
    Saturated = 4,
    Interrupted = 130,
}

/// Threads to use when nothing is said: one per core this process may run on.
pub fn threads_default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The whole program; returns its exit code.
pub fn main() -> i32 {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => load::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::FindMax(args) => find_max::run(&args),
        Command::Scenario(args) => scenario::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Serve(args) => serve::run(serve::Options {
            tls: args.tls(),
            ports: args.ports,
            control: args.control,
            threads: args.threads.unwrap_or_else(threads_default).max(1),
            timeline: args.timeline,
        })
        .map(|()| Exit::Ok),
    };
    match result {
        Ok(exit) => exit as i32,
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            Exit::Failed as i32
        }
    }
}
