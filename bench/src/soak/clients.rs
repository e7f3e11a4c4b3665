//! Clients whose every request carries content of its own, which its response must be. Some go away in the middle. They know
//! nothing of what happens to the servers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

use super::door::Door;
use super::http2::Session;
use super::request::{End, Failure, Request};
use super::seen::Seen;
use super::wire::{Upstream, Wire};
use super::{http1, websocket};

/// One in so many requests is left by its client in the middle.
const LEAVES: u64 = 50;

pub struct Load {
    pub addr: SocketAddr,
    /// The gateway's listener with TLS, and the authority of its certificate.
    pub covered: Option<SocketAddr>,
    pub authority: PathBuf,
    pub wires: Vec<Wire>,
    pub upstreams: Vec<Upstream>,
    /// Of all wires, each of which has as many.
    pub connections: usize,
    /// Requests per second at most, all clients together.
    pub rate: u64,
    pub seed: u64,
}

impl Load {
    /// Asks until `stop`.
    pub fn run(&self, seen: &Arc<Seen>, stop: &Arc<AtomicBool>) -> Result<()> {
        let door = Rc::new(Door::new(self.addr, self.covered, &self.authority)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("a runtime for the clients")?;
        LocalSet::new().block_on(&runtime, async {
            let lanes = self.wires.iter().flat_map(|wire| self.lanes(*wire, &door, seen, stop));
            let running: Vec<_> = lanes.map(|lane| spawn_local(lane.run())).collect();
            for lane in running {
                lane.await?;
            }
            Ok(())
        })
    }

    fn lanes(&self, wire: Wire, door: &Rc<Door>, seen: &Arc<Seen>, stop: &Arc<AtomicBool>) -> Vec<Lane> {
        let connections = (self.connections / self.wires.len()).max(1);
        let rate = self.rate as f64 / self.wires.len() as f64;
        let each = Duration::from_secs_f64((connections * wire.at_once()) as f64 / rate);
        let mut lanes = Vec::new();
        for connection in 0..connections {
            let session = Rc::new(Session::new(door.clone(), wire));
            let offset = each.mul_f64(connection as f64 / connections as f64);
            for nth in 0..wire.at_once() {
                let client = match wire {
                    Wire::Http1 | Wire::Http1Tls => Client::Http1(http1::Client::new(door.clone(), wire)),
                    Wire::Http2Clear | Wire::Http2 | Wire::Grpc => Client::Http2(session.clone()),
                    Wire::WebSocket | Wire::WebSocketTls => {
                        Client::WebSocket(websocket::Client::upgrading(door.clone(), wire))
                    }
                    Wire::WebSocketHttp2 => Client::WebSocket(websocket::Client::connecting(session.clone())),
                };
                let name = format!("{:x}.{}.{connection}.{nth}", self.seed, wire.name());
                lanes.push(Lane {
                    wire,
                    upstreams: self.upstreams.iter().copied().filter(|to| wire.can_reach(*to)).collect(),
                    client,
                    random: random(self.seed, &name),
                    name,
                    pace: Pace { first: Instant::now() + offset, each },
                    seen: seen.clone(),
                    stop: stop.clone(),
                });
            }
        }
        lanes
    }
}

/// Each lane's own, by the seed and its name.
fn random(seed: u64, name: &str) -> fastrand::Rng {
    let fold = |so_far: u64, byte: u8| so_far.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
    fastrand::Rng::with_seed(name.bytes().fold(seed, fold))
}

/// Moments to send at. Those who share a connection share them too, so that its streams are used at once.
struct Pace {
    first: Instant,
    each: Duration,
}

impl Pace {
    /// The next from `now` on: a late client resumes its own pace, rather than sending all at once.
    fn next(&self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.first);
        let steps = (passed.as_secs_f64() / self.each.as_secs_f64()).ceil();
        self.first + self.each.mul_f64(steps)
    }
}

enum Client {
    Http1(http1::Client),
    Http2(Rc<Session>),
    WebSocket(websocket::Client),
}

impl Client {
    async fn exchange(&mut self, request: &Request, random: &mut fastrand::Rng) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Http1(client) => client.exchange(request).await,
            Self::Http2(session) => session.exchange(request).await,
            Self::WebSocket(client) => client.exchange(request, random).await,
        }
    }

    async fn leave(&mut self, request: &Request, random: &mut fastrand::Rng) {
        match self {
            Self::Http1(client) => client.leave(request, random).await,
            Self::Http2(session) => session.leave(request, random).await,
            Self::WebSocket(client) => client.leave(request, random).await,
        }
    }
}

/// One request after the other.
struct Lane {
    wire: Wire,
    upstreams: Vec<Upstream>,
    client: Client,
    random: fastrand::Rng,
    name: String,
    pace: Pace,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
}

impl Lane {
    async fn run(mut self) {
        for number in 0_u64.. {
            tokio::time::sleep_until(self.pace.next(Instant::now())).await;
            if self.stop.load(Relaxed) {
                return;
            }
            let upstream = self.upstreams[self.random.usize(..self.upstreams.len())];
            let id = format!("{}.{number};", self.name);
            let request = Request::draw(self.wire, upstream, id, &mut self.random);
            if self.random.u64(..LEAVES) == 0 {
                self.client.leave(&request, &mut self.random).await;
                self.seen.left(self.wire);
                continue;
            }
            match request.judge(self.client.exchange(&request, &mut self.random).await) {
                End::Whole => self.seen.whole(self.wire),
                End::Wrong(what) => self.seen.is_wrong(self.wire, what),
                End::Failed(what, which) => self.seen.failed(self.wire, what, which),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_were_missed_are_not_made_up_for() {
        let each = Duration::from_secs(1);
        let pace = Pace { first: Instant::now() + each, each };
        assert_eq!(pace.next(pace.first - each / 2), pace.first);
        assert_eq!(pace.next(pace.first + each.mul_f64(7.5)), pace.first + each * 8);
    }
}
