//! The command line: spellings and defaults only. Starts and measures nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::variant::Variant;

#[derive(Parser)]
#[command(
    name = "bench",
    version,
    about = "Every claim about speed, measured beside the peers",
    max_term_width = 110
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// CPU per request beside nginx, HAProxy and Envoy, for each kind of request
    Peers(RoundsArgs),
    /// CPU per request while something grows: connections, routes, workers, mirrors, percent
    Growth(RoundsArgs),
    /// Latency of clients and memory of the gateway, with the mirror healthy and in every fault
    Isolation(IsolationArgs),
    /// Memory of an idle keep-alive connection
    Idle(IdleArgs),
    /// Peers that break and come back for an hour: memory, descriptors, the ledger, and whose bytes reach whom
    Soak(SoakArgs),
    /// Latency of ordinary clients beside slow ones: slowhttptest's modes
    Slow(SlowArgs),
    /// Latency of clients with kept TLS connections in a flood of full handshakes
    Flood(FloodArgs),
}

#[derive(Args)]
pub struct CommonArgs {
    /// This gateway instead of building one
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// This load generator instead of building one
    #[arg(long, value_name = "PATH")]
    pub loadgen: Option<PathBuf>,
    /// Only these variants
    #[arg(long, value_delimiter = ',')]
    pub variants: Vec<Variant>,
    /// Leave nothing in bench/runs
    #[arg(long)]
    pub no_keep: bool,
    /// Name of the kept run after its date (default: the command's name)
    #[arg(long)]
    pub topic: Option<String>,
}

#[derive(Args)]
pub struct RoundsArgs {
    /// Only these scenarios, by their file's name
    pub scenarios: Vec<String>,
    /// Every variant is measured once in each round [default: 5 for peers, 3 for growth]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Load on one variant in one round; a scenario may ask for more
    #[arg(long, default_value_t = 2)]
    pub seconds: u64,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args)]
pub struct IsolationArgs {
    /// Every state of the mirror is measured once in each round
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Load on one state of the mirror in one round
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Requests per second, open loop
    #[arg(long, default_value_t = 2000)]
    pub rate: u64,
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// POST so many bytes instead of GET
    #[arg(long, default_value_t = 0)]
    pub request_bytes: usize,
    /// Only these states of the mirror (default: all)
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<String>,
    /// The mirror in a network namespace of its own, behind a pair of veth devices (takes root)
    #[arg(long)]
    pub netns: bool,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args)]
pub struct IdleArgs {
    /// Numbers of connections to hold, in rising order
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,9000")]
    pub connections: Vec<usize>,
    /// Connections whose one request is under way at the same time
    #[arg(long, default_value_t = 32)]
    pub together: usize,
    /// Over TLS
    #[arg(long)]
    pub tls: bool,
    /// Every variant is measured once in each round, in processes of its own
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args)]
pub struct SlowArgs {
    /// Every kind is measured once in each round
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Ordinary load, without slow clients and with them
    #[arg(long, default_value_t = 6)]
    pub seconds: u64,
    /// Ordinary requests per second, open loop
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
    /// Seconds between two bytes of a slow head or content (slowhttptest's own default is 10)
    #[arg(long, default_value_t = 10)]
    pub interval: u64,
    /// Slow clients at once
    #[arg(long, default_value_t = 1000)]
    pub slow: usize,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args)]
pub struct FloodArgs {
    /// Every variant is measured once in each round
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Load in quiet, and in the flood
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Requests per second on kept connections, open loop
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
    /// New connections per second, each with a full handshake
    #[arg(long, default_value_t = 1000)]
    pub handshakes: u64,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Args)]
pub struct SoakArgs {
    /// Only these classes of faults (default: all)
    pub classes: Vec<String>,
    /// Of each class: one half with the mirror in trouble, one with the primary as well
    #[arg(long, default_value_t = 10.0)]
    pub minutes: f64,
    /// Requests per second at most
    #[arg(long, default_value_t = 2000)]
    pub rate: u64,
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Decides every fault and every request
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// `uring` or `epoll`
    #[arg(long, default_value = "auto")]
    pub driver: String,
    /// Wires of clients and upstreams
    #[arg(long, value_enum, default_value = "all")]
    pub wires: SoakWires,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SoakWires {
    /// HTTP/1.1 and HTTP/2, in the clear and over TLS, gRPC and WebSockets
    All,
    /// HTTP/1.1 in the clear alone
    Plain,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
