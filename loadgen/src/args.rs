//! The arguments of commands: spellings only. Decides nothing about load or faults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::replay::Pace;
use crate::report::assertion::Assertion;
use crate::run::request::Url;
use crate::run::schedule::{Arrivals, RateSpec};
use crate::run::written::VARIANTS;
use crate::tls::{Narrow, Version, server};
use crate::{serve, units};

#[derive(clap::Args)]
pub struct ServeArgs {
    /// `NAME[=ADDR][,key=value…]`: a port. ADDR is IP:PORT or a port number of 127.0.0.1 (default 0: any free one).
    /// Keys: echo, size=4k or size=1k..64k, delay=5ms|uniform:a:b|exp:mean|lognormal:median:sigma|per_in_flight:d,
    /// status=200:99+503:1, framing=length|chunked|close, interim=N, early, requests_per_connection_max=N, fault=…;
    /// tls or tls=http1|h2 (what ALPN offers; in the clear HTTP/2 is told by its preface);
    /// of gRPC grpc_status=0:98+13:2, messages=N
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
    /// Certificate of ports with `tls` (default: one made at the start)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Clients must show a certificate of this authority
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Write ca.pem, server.pem, server.key, client.pem and client.key there, all made at the start
    #[arg(long, value_name = "DIR", conflicts_with = "tls_cert")]
    pub tls_dir: Option<PathBuf>,
    #[command(flatten)]
    pub narrow: NarrowArgs,
}

impl ServeArgs {
    pub fn tls(&self) -> server::Settings {
        server::Settings {
            cert: self.tls_cert.clone().zip(self.tls_key.clone()),
            client_ca: self.tls_client_ca.clone(),
            dir: self.tls_dir.clone(),
            narrow: self.narrow.narrow(),
        }
    }
}

/// Shape of the requests and of their connections; shared by all commands that send load.
#[derive(clap::Args, Clone)]
pub struct LoadArgs {
    /// http://host:port/target or https://…, one or more of equal weight
    #[arg(value_name = "URL")]
    pub urls: Vec<Url>,
    #[arg(short, long, default_value_t = 64)]
    pub connections: usize,
    /// Open loop: where all connections are in use, make more, so many in all
    #[arg(long, value_name = "COUNT", conflicts_with = "websocket")]
    pub connections_max: Option<usize>,
    /// Sending threads (default: one per core)
    #[arg(short, long)]
    pub threads: Option<usize>,
    /// Pin each sending thread to a core
    #[arg(long)]
    pub pin: bool,
    /// Request method (default: GET, or POST with a body)
    #[arg(short = 'X', long)]
    pub method: Option<String>,
    /// `Name: value`, repeatable; a value may have variables, as a body may
    #[arg(short = 'H', long = "header", value_parser = parse_header)]
    pub headers: Vec<(String, String)>,
    /// Request body as it stands here. It may have variables, as the URL and fields may: {{1..100}}, {{a|b}}, {{hex:8}},
    /// {{uuid}}, {{n}}; {{id=1..100}} is what {{id}} says again behind it
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["body_file", "body_hex", "body_size"])]
    pub body: Option<String>,
    /// Different requests that are made of one with variables, before the start
    #[arg(long, value_name = "COUNT", default_value_t = VARIANTS, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub variants: u64,
    /// Request body from a file
    #[arg(long, value_name = "FILE", conflicts_with = "body_size")]
    pub body_file: Option<PathBuf>,
    /// Request body in hexadecimal digits
    #[arg(long, value_name = "DIGITS", value_parser = units::hex, conflicts_with_all = ["body_file", "body_size"])]
    pub body_hex: Option<Bytes>,
    /// Request body of so many bytes
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub body_size: Option<u64>,
    /// Send bodies chunked
    #[arg(long)]
    pub chunked: bool,
    /// File with lines of `[WEIGHT] [METHOD] URL [@BODYFILE|size=4k|body=TEXT]`
    #[arg(long = "urls", value_name = "FILE")]
    pub urls_file: Option<PathBuf>,
    /// Arrivals of the schedule
    #[arg(long, value_enum, default_value = "constant")]
    pub arrivals: Arrivals,
    /// Send so many requests at once, at the same average rate
    #[arg(long, default_value_t = 1)]
    pub burst: u64,
    /// A connection per request
    #[arg(long)]
    pub no_keepalive: bool,
    /// From acting on a request to its last byte
    #[arg(long, default_value = "10s", value_parser = units::duration)]
    pub timeout: Duration,
    #[arg(long, default_value = "5s", value_parser = units::duration)]
    pub connect_timeout: Duration,
    /// How long to wait behind the end for what is still due or running (default: the timeout)
    #[arg(long, value_parser = units::duration)]
    pub drain: Option<Duration>,
    /// Any other status is an error (default: 400 and above are)
    #[arg(long, value_name = "STATUS")]
    pub expect_status: Option<u16>,
    /// Decides all that is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Send up to so much later, to send more at once: cheaper, and honest, as it counts as dispatch delay
    #[arg(long, default_value = "0", value_parser = units::duration)]
    pub pace_slack: Duration,
    /// SATURATED if the generator itself is later than this at its p99, or BUSY if other programs had its cores
    #[arg(long, default_value = "5ms", value_parser = units::duration)]
    pub max_lag: Duration,
    /// No progress on standard error
    #[arg(short, long)]
    pub quiet: bool,
    /// Open a WebSocket at the URL on each connection, or with --http2 on each stream: the body (64 bytes unless said
    /// otherwise) is a message, sent as it is due and measured to its echo
    #[arg(long, conflicts_with_all = ["no_keepalive", "method", "chunked", "grpc"])]
    pub websocket: bool,
    #[command(flatten)]
    pub http2: Http2Args,
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// HTTP/2 and gRPC.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "HTTP/2")]
pub struct Http2Args {
    /// Speak HTTP/2: by prior knowledge to http://, by ALPN to https://
    #[arg(long)]
    pub http2: bool,
    /// Requests at once on each connection
    #[arg(long, default_value_t = 1, requires = "http2", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub streams: u64,
    /// The body is a gRPC message and the URL's path its method; calls are counted by grpc-status
    #[arg(long, requires = "http2")]
    pub grpc: bool,
    /// Send the message so many times in each call, each in a frame of its own
    #[arg(long, default_value_t = 1, requires = "http2", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub messages: u64,
    /// Call a method of these descriptors (protoc -o, buf build), as --grpc does
    #[arg(long, value_name = "FILE", requires_all = ["http2", "grpc_method"])]
    pub grpc_descriptors: Option<PathBuf>,
    /// Which one: package.Service/Method; it stands in the place of the URL's path
    #[arg(long, value_name = "METHOD", requires = "grpc_descriptors", conflicts_with_all = ["body_file", "body_hex", "body_size"])]
    pub grpc_method: Option<String>,
    /// A message for it, JSON; repeatable where it takes a stream (default: a message of defaults)
    #[arg(long, value_name = "JSON", requires = "grpc_method")]
    pub grpc_data: Vec<String>,
}

impl Http2Args {
    /// Calls are made, however they are said.
    pub fn calls(&self) -> bool {
        self.grpc || self.grpc_method.is_some()
    }
}

/// TLS of https:// targets.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Trust this authority instead of those of the system
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub cacert: Option<PathBuf>,
    /// Certificate to show to the server
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Believe anybody
    #[arg(long)]
    pub insecure: bool,
    /// Name to ask for and to expect in the certificate, instead of the URL's host
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// Begin every session anew, with a full handshake
    #[arg(long)]
    pub no_resumption: bool,
    #[command(flatten)]
    pub narrow: NarrowArgs,
}

#[derive(clap::Args, Clone)]
pub struct NarrowArgs {
    /// Only this version
    #[arg(long, value_enum)]
    pub tls_version: Option<Version>,
    /// Only this cipher, such as TLS_AES_128_GCM_SHA256
    #[arg(long, value_name = "NAME")]
    pub tls_cipher: Option<String>,
    /// Only this key exchange, such as x25519
    #[arg(long, value_name = "NAME")]
    pub tls_key_exchange: Option<String>,
}

impl NarrowArgs {
    pub fn narrow(&self) -> Narrow {
        Narrow {
            version: self.tls_version,
            cipher: self.tls_cipher.clone(),
            key_exchange: self.tls_key_exchange.clone(),
        }
    }
}

#[derive(clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    /// Open loop: `20k`, the ramp `100:10k`, or steps `1k@5s,1k:20k@10s,20k@5s` per second
    #[arg(short, long, value_name = "RATE", required_unless_present_any = ["closed", "replay"])]
    pub rate: Option<RateSpec>,
    /// Closed loop: every connection sends as soon as it has its answer. Hides the target's stalls
    #[arg(long, conflicts_with_all = ["rate", "replay", "connections_max"])]
    pub closed: bool,
    /// How long requests are scheduled (default: 10s, or what the rate's steps or the replay say)
    #[arg(short, long, value_parser = units::duration)]
    pub duration: Option<Duration>,
    /// Requests of the beginning that are sent and not measured
    #[arg(long, default_value = "0", value_parser = units::duration)]
    pub warm_up: Duration,
    /// At most so many requests
    #[arg(short = 'n', long, value_parser = units::count)]
    pub requests: Option<u64>,
    /// Send recorded requests again, to the URL's host: captures of the gateway, its access log, combined logs, HAR; a file
    /// or a folder of such, repeatable
    #[arg(long, value_name = "PATH", conflicts_with_all = ["rate", "urls_file"])]
    pub replay: Vec<PathBuf>,
    /// `1x` as recorded, `2x` twice as fast, or a flat rate such as `500`
    #[arg(long, default_value = "1x", requires = "replay")]
    pub pace: Pace,
    /// Such as `p99<5ms`, `service.p99.9<20ms`, `errors<0.1%`, `rate>19k`; exit code 3 if one fails
    #[arg(long = "assert", value_name = "ASSERTION")]
    pub assertions: Vec<Assertion>,
    /// Length of the intervals in the CSV, the histogram log and the charts
    #[arg(long, default_value = "1s", value_parser = units::duration)]
    pub interval: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(clap::Args)]
pub struct OutputArgs {
    /// The whole run with configuration and histograms, for programs and `loadgen compare`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Percentiles of the response time for HdrHistogram plotters
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// HdrHistogram interval log V2, tags response, service, dispatch
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// One line per interval
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// One self-contained page with charts
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("`{text}`: Name: value"))?;
    let (name, value) = (name.trim(), value.trim());
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let is_value = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b) || b >= 0x80;
    if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_value) {
        return Err(format!("`{text}` is no header field"));
    }
    Ok((name.to_string(), value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_cannot_smuggle_lines() {
        assert_eq!(parse_header("A: b c"), Ok(("A".into(), "b c".into())));
        for bad in ["A", ": b", "A b: c", "A: b\r\nC: d"] {
            assert!(parse_header(bad).is_err(), "{bad:?}");
        }
    }
}
