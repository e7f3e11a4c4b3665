//! The command line: spellings only. Decides nothing about load or faults.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

use crate::serve;

#[derive(Parser)]
#[command(name = "loadgen", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Be the origin and the mirrors: many ports, healthy or broken on demand
    Serve(ServeArgs),
}

#[derive(clap::Args)]
pub struct ServeArgs {
    /// NAME[=ADDR][,key=value…]: a port. ADDR is IP:PORT or a port number of 127.0.0.1 (default 0: any free one).
    /// Keys: echo, size=4k or size=1k..64k, delay=5ms|uniform:a:b|exp:mean|lognormal:median:sigma|per_in_flight:d,
    /// status=200:99+503:1, framing=length|chunked|close, interim=N, early, requests_per_connection_max=N, fault=…
    #[arg(long = "port", value_name = "SPEC", required = true, num_args = 1)]
    pub ports: Vec<serve::PortSpec>,
    /// Where the control URL listens (PUT /ports/NAME/fault, GET /ports/NAME/counters, GET /ports/NAME/log)
    #[arg(long, default_value = "127.0.0.1:0")]
    pub control: SocketAddr,
    /// Worker threads (default: one per core)
    #[arg(long)]
    pub threads: Option<usize>,
    /// `TIME PORT FAULT`: switch a fault at a time after the start, such as `5s v2 blackhole`
    #[arg(long = "at", value_name = "EVENT")]
    pub timeline: Vec<serve::TimedFault>,
}
