//! Builders for the promise tests: a gateway process, scripted origins, raw clients, and what they saw.
//!
//! Nothing here knows the gateway's code: it is a process with a configuration file, sockets and a metrics page.

#[path = "support/gateway.rs"]
pub mod gateway;
#[path = "support/process.rs"]
pub mod process;
#[path = "support/origin.rs"]
pub mod origin;
#[path = "support/client.rs"]
pub mod client;
#[path = "support/message.rs"]
pub mod message;
#[path = "support/metrics.rs"]
pub mod metrics;
#[path = "support/load.rs"]
pub mod load;

pub use client::Client;
pub use gateway::{Gateway, Setup};
pub use message::{Request, Response};
pub use metrics::Metrics;
pub use origin::{After, Origin};
pub use process::Process;

use std::time::{Duration, Instant};

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds; panics with `what` if it does not within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
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
