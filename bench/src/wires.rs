//! How clients and origins are spoken to: TLS, HTTP/2, gRPC. Values only, and the keys that TLS needs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use loadgen::tls::authority::{Authority, Flaw};
use serde::Deserialize;

/// Default: HTTP/1.1 in the clear on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wires {
    /// Of clients.
    pub tls: Sessions,
    /// HTTP/2 with so many streams on each client's connection.
    pub streams: Option<usize>,
    /// Primary and mirrors over TLS.
    pub tls_upstream: bool,
    /// Primary and mirrors in HTTP/2.
    pub http2_upstream: bool,
    /// gRPC calls with so many messages each way.
    pub grpc_messages: Option<u64>,
    /// Each connection is a WebSocket, and a request a message that the origin sends back.
    pub websocket: bool,
}

/// How clients' TLS sessions begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sessions {
    /// Not at all.
    #[default]
    None,
    /// Each with a full handshake.
    Full,
    /// With the ticket of an earlier one, if there is one.
    Resumed,
}

impl Wires {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub fn is_tls(&self) -> bool {
        self.tls != Sessions::None
    }

    /// Requests at once on a client's connection.
    pub fn at_once(&self) -> usize {
        self.streams.unwrap_or(1)
    }

    /// The arguments of `loadgen run` for these wires. TLS is narrowed to one version, cipher and key exchange that everyone has.
    pub fn arguments(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| all.extend(words.iter().map(ToString::to_string));
        if let Some(streams) = self.streams {
            add(&["--http2", "--streams", &streams.to_string()]);
        }
        if let Some(messages) = self.grpc_messages {
            add(&["--grpc", "--messages", &messages.to_string()]);
        }
        if self.websocket {
            add(&["--websocket"]);
        }
        if self.is_tls() {
            add(&["--insecure", "--sni", "localhost", "--header", "Host: localhost"]);
            add(&["--tls-version", "1.3", "--tls-cipher", "TLS_AES_128_GCM_SHA256"]);
            add(&["--tls-key-exchange", "x25519"]);
        }
        if self.tls == Sessions::Full {
            add(&["--no-resumption"]);
        }
        all
    }

    pub fn scheme(&self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }
}

/// A certificate of an ECDSA P-256 key for `localhost` as `server.pem` and `server.key`; both in one file for HAProxy.
pub fn make_keys(dir: &Path) -> Result<()> {
    let authority = Authority::new()?;
    let server = authority.server(Flaw::None)?;
    authority.write(dir, &server)?;
    let read = |name: &str| fs::read_to_string(dir.join(name)).with_context(|| name.to_string());
    fs::write(dir.join("both.pem"), read("server.pem")? + &read("server.key")?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_generator_takes_every_argument_it_is_given() {
        use clap::Parser;
        for tls in [Sessions::None, Sessions::Full, Sessions::Resumed] {
            let wires = Wires { tls, streams: Some(4), grpc_messages: Some(2), ..Wires::default() };
            let url = format!("{}://127.0.0.1:1/", wires.scheme());
            let words = [&["loadgen", "run", "--closed", &url].map(String::from)[..], &wires.arguments()];
            assert!(loadgen::cli::Cli::try_parse_from(words.concat()).is_ok(), "{tls:?}");
        }
        let wires = Wires { websocket: true, ..Wires::default() };
        let words = [
            &["loadgen", "run", "--closed", "http://127.0.0.1:1/"].map(String::from)[..],
            &wires.arguments(),
        ];
        assert!(loadgen::cli::Cli::try_parse_from(words.concat()).is_ok());
    }
}
