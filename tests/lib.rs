//! Builders for the promise tests: a gateway process, scripted origins, raw clients, and the bytes that each received.
//!
//! Nothing here knows the gateway's code: it is a process with a configuration file, sockets and a metrics page.

#[path = "support/gateway.rs"]
pub mod gateway;
#[path = "support/process.rs"]
pub mod process;
#[path = "support/origin.rs"]
pub mod origin;
#[path = "support/dns.rs"]
pub mod dns;
#[path = "support/client.rs"]
pub mod client;
#[path = "support/http2.rs"]
pub mod http2;
#[path = "support/grpc.rs"]
pub mod grpc;
#[path = "support/h2_origin.rs"]
pub mod h2_origin;
#[path = "support/gate.rs"]
pub mod gate;
#[path = "support/message.rs"]
pub mod message;
#[path = "support/metrics.rs"]
pub mod metrics;
#[path = "support/load.rs"]
pub mod load;
#[path = "support/table.rs"]
pub mod table;
#[path = "support/request_rows.rs"]
pub mod request_rows;
#[path = "support/answer_rows.rs"]
pub mod answer_rows;
#[path = "support/certificates.rs"]
pub mod certificates;
#[path = "support/tls_front.rs"]
pub mod tls_front;
#[path = "support/python.rs"]
pub mod python;
#[path = "support/httpbin.rs"]
pub mod httpbin;
#[path = "support/apiserver.rs"]
pub mod apiserver;
#[path = "support/api_discovery.rs"]
mod api_discovery;
#[path = "support/cluster.rs"]
pub mod cluster;
#[path = "support/helm.rs"]
pub mod helm;
#[path = "support/stage.rs"]
pub mod stage;

pub use apiserver::{ApiServer, Mode};
pub use client::{Client, Cut};
pub use cluster::ClusterStage;
pub use dns::NameServer;
pub use gate::Gate;
pub use gateway::{Gateway, Setup};
pub use h2_origin::H2Origin;
pub use message::{Request, Response};
pub use metrics::Metrics;
pub use origin::{After, Conn, Origin};
pub use process::Process;
pub use stage::Stage;
pub use tls_front::{Front, Rules};

use std::time::{Duration, Instant};

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds; panics with `what` if it does not within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, condition);
}

/// The same for a condition that takes its time by design.
#[track_caller]
pub fn eventually_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes as a person reads them.
pub fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
    text.replace('\r', "\\r").replace('\n', "\\n\n")
}

/// `n` bytes that are the same each time and nowhere repeat soon, so that a piece lost, doubled or moved shows.
pub fn pattern(n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// `content` in chunks of `size`, with the last chunk and no trailers.
pub fn chunked(content: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in content.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
