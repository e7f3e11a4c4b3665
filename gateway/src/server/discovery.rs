//! What changes by itself while serving: where names point, and which endpoints are healthy.
//!
//! Runs on the control plane beside everything else; workers only ever see addresses and flags. It knows no worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use config::{Config, HealthCheck};
use hyper::Request;
use hyper::header::{HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Addresses;
use crate::upstream::health::HealthBoard;

/// Every upstream that is asked after its health, with its checks under way; dropped with the configuration it is of.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) board: Arc<HealthBoard>,
    _running: JoinSet<()>,
}

impl Checks {
    /// Begins to ask every endpoint that wants to be asked; what `before` found stands until the first answer.
    pub(super) fn start(config: &Config, addresses: &Addresses, before: &HealthBoard) -> Self {
        let asked = || {
            let with_addresses = config.upstreams.iter().zip(addresses.iter());
            with_addresses
                .filter_map(|(upstream, addresses)| Some((upstream, upstream.health.as_ref()?, addresses)))
        };
        let endpoints = asked().flat_map(|(upstream, _, addresses)| {
            addresses.iter().map(|address| (upstream.name.clone(), *address))
        });
        let board = Arc::new(HealthBoard::after(before, endpoints));
        let mut running = JoinSet::new();
        for (upstream, check, addresses) in asked() {
            for address in addresses {
                let Some(healthy) = board.of(&upstream.name, *address) else { continue };
                let (check, address, name) = (check.clone(), *address, upstream.name.clone());
                running.spawn(async move {
                    let mut judge = Judge::new(healthy.load(Relaxed));
                    loop {
                        let is_well =
                            tokio::time::timeout(check.timeout, ask(&check, address)).await.unwrap_or(false);
                        if judge.hear(is_well, &check) {
                            healthy.store(judge.healthy, Relaxed);
                            let state = if judge.healthy { "healthy again" } else { "unhealthy" };
                            tracing::warn!("{name}: {address} is {state}");
                        }
                        tokio::time::sleep(jittered(check.interval)).await;
                    }
                });
            }
        }
        Self { board, _running: running }
    }
}

/// Nine to eleven tenths, so that a thousand endpoints are not asked in one moment.
fn jittered(interval: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0) % 200;
    interval * (900 + random as u32) / 1000
}

/// How many answers in a row change the verdict.
struct Judge {
    healthy: bool,
    against: u32,
}

impl Judge {
    fn new(healthy: bool) -> Self {
        Self { healthy, against: 0 }
    }

    /// Says whether the verdict changed.
    fn hear(&mut self, is_well: bool, check: &HealthCheck) -> bool {
        if is_well == self.healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if self.healthy { check.unhealthy_after } else { check.healthy_after };
        if self.against < needed {
            return false;
        }
        (self.healthy, self.against) = (is_well, 0);
        true
    }
}

/// One question; 2xx and 3xx are well.
async fn ask(check: &HealthCheck, address: SocketAddr) -> bool {
    let asked = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let host = check.host.clone().unwrap_or_else(|| address.to_string());
        let request = Request::get(&check.path)
            .header(HOST, host)
            .header(USER_AGENT, "umbra-health")
            .body(String::new())
            .ok()?;
        // The connection is driven only as long as the answer's head is awaited: its content interests nobody.
        tokio::select! {
            answer = sender.send_request(request) => Some(answer.ok()?.status()),
            _ = connection => None,
        }
    };
    asked.await.is_some_and(|status| status.is_success() || status.is_redirection())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_changes_after_so_many_answers_in_a_row() {
        let check = HealthCheck {
            path: "/".into(),
            host: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        };
        let mut judge = Judge::new(true);
        let told: Vec<bool> =
            [false, false, true, false, false, false].map(|well| judge.hear(well, &check)).to_vec();
        assert_eq!(told, [false, false, false, false, false, true]);
        assert!(!judge.hear(true, &check) && judge.hear(true, &check) && judge.healthy);
    }
}
