//! The peers' faults, by a seed: `loadgen serve` with three ports for each way to reach them, of which two break and come
//! back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::wire::Upstream;
use crate::http;
use crate::origin::served_port;
use crate::process::Process;

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub name: &'static str,
    /// Drawn one at a time; `{}` is a number of bytes that falls anywhere in an answer. Spelled as `loadgen serve` does.
    faults: Faults,
    /// Also these, where only a mirror is in trouble: their answers are whole ones that the client could not tell.
    mirrors_only: Faults,
    /// Milliseconds of a fault, and of health between two.
    lasts: (u64, u64),
    rests: (u64, u64),
    /// After each fault the port is slow at first.
    starts_slowly: bool,
}

/// Faults by the wires that have a word for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Faults {
    all: &'static [&'static str],
    http1: &'static [&'static str],
    http2: &'static [&'static str],
    tls: &'static [&'static str],
}

impl Faults {
    const NONE: Self = Self { all: &[], http1: &[], http2: &[], tls: &[] };

    fn of(self, upstream: Upstream) -> Vec<&'static str> {
        let protocol = if upstream.is_http2() { self.http2 } else { self.http1 };
        [self.all, protocol, if upstream.is_covered() { self.tls } else { &[] }].concat()
    }
}

const QUICK: (u64, u64) = (20, 300);
const REST: (u64, u64) = (100, 1000);

pub const CLASSES: [Class; 6] = [
    Class {
        name: "reset",
        faults: Faults {
            all: &["reset_on_accept", "reset_at={}", "close_at={}"],
            http1: &["half_close"],
            http2: &["goaway_at={}"],
            tls: &["truncate_at={}"],
        },
        mirrors_only: Faults::NONE,
        lasts: QUICK,
        rests: REST,
        starts_slowly: false,
    },
    Class {
        name: "stall",
        faults: Faults {
            all: &[
                "never_answer",
                "hold",
                "accept_never_read",
                "never_accept",
                "blackhole",
                "slow_read=2000",
                "slow_write=500",
            ],
            http2: &["zero_window"],
            tls: &["handshake_stall={}"],
            ..Faults::NONE
        },
        mirrors_only: Faults::NONE,
        lasts: (200, 1500),
        rests: REST,
        starts_slowly: false,
    },
    Class {
        name: "garbage",
        faults: Faults {
            all: &["garbage", "bad_framing=bad_cl", "oversize_head=200000", "endless_interim"],
            http1: &[
                "extra_bytes=40",
                "duplicate",
                "bad_framing=cl_te",
                "bad_framing=two_cl",
                "bad_framing=bad_chunk",
            ],
            http2: &["no_trailers"],
            tls: &[
                "handshake_garbage",
                "bad_certificate=expired",
                "bad_certificate=name",
                "bad_certificate=untrusted",
            ],
        },
        mirrors_only: Faults { all: &["endless_chunked"], http1: &["bad_framing=long_cl"], ..Faults::NONE },
        lasts: QUICK,
        rests: REST,
        starts_slowly: false,
    },
    Class {
        name: "flapping",
        faults: Faults { all: &["flap=20ms", "flap=100ms", "flap=400ms"], ..Faults::NONE },
        mirrors_only: Faults::NONE,
        lasts: (1000, 5000),
        rests: REST,
        starts_slowly: false,
    },
    Class {
        name: "slow_start",
        faults: Faults { all: &["refuse"], ..Faults::NONE },
        mirrors_only: Faults::NONE,
        lasts: QUICK,
        rests: (1000, 3000),
        starts_slowly: true,
    },
    Class {
        name: "death",
        faults: Faults { all: &["refuse", "blackhole"], ..Faults::NONE },
        mirrors_only: Faults::NONE,
        lasts: (1000, 6000),
        rests: (2000, 6000),
        starts_slowly: false,
    },
];

/// How slow a port is after its fault: this much for each request it works on, first and then.
const SLOW_START: [&str; 4] = ["8ms", "2ms", "500us", "100us"];

/// The peers in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Each v2: no client may see anything of it.
    Mirrors,
    /// Each v1 and v2, for itself.
    All,
}

pub fn choose(names: &[String]) -> Result<Vec<Class>> {
    if let Some(unknown) = names.iter().find(|n| CLASSES.iter().all(|c| c.name != **n)) {
        let known: Vec<&str> = CLASSES.iter().map(|c| c.name).collect();
        bail!("no class of faults `{unknown}`; there are {}", known.join(", "));
    }
    Ok(CLASSES.into_iter().filter(|c| names.is_empty() || names.iter().any(|n| n == c.name)).collect())
}

/// For each upstream v1, v2 that breaks, and v3 that never does. All answer with the content they were sent.
pub struct Peers {
    pub upstreams: Vec<Upstream>,
    addresses: BTreeMap<String, SocketAddr>,
    control: SocketAddr,
    _process: Process,
}

/// The servers of each upstream: primary, mirror in trouble, healthy mirror.
pub const SERVERS: [&str; 3] = ["v1", "v2", "v3"];

/// The name of a server, and of its port and the gateway's upstream.
pub fn name(server: &str, upstream: Upstream) -> String {
    format!("{server}-{}", upstream.name())
}

impl Peers {
    /// Certificates of the servers and their authority are written to `dir`.
    pub fn start(loadgen: &Path, dir: &Path, upstreams: &[Upstream]) -> Result<Self> {
        let mut command = Command::new(loadgen);
        command.args(["serve", "--threads", "1", "--tls-dir"]).arg(dir);
        let mut names = Vec::new();
        for upstream in upstreams {
            let tls = match upstream {
                Upstream::Plain | Upstream::Http2Clear => "",
                Upstream::Tls => ",tls=http1",
                Upstream::Http2 => ",tls=h2",
            };
            for server in SERVERS {
                let name = name(server, *upstream);
                command.args(["--port", &format!("{name}=0,echo{tls}")]);
                names.push(name);
            }
        }
        let mut process = Process::start("peers", command, dir, true)?;
        let mut addresses = BTreeMap::new();
        for name in names {
            let addr = process.wait_line(|line| served_port(line, &name))?;
            addresses.insert(name, addr);
        }
        let control = process.wait_line(|line| served_port(line, "control"))?;
        Ok(Self { upstreams: upstreams.to_vec(), addresses, control, _process: process })
    }

    pub fn addr(&self, name: &str) -> Result<SocketAddr> {
        self.addresses.get(name).copied().with_context(|| format!("no peer {name}"))
    }

    /// Requests a port has read whole.
    pub fn requests(&self, port: &str) -> Result<u64> {
        let text = http::get(self.control, &format!("/ports/{port}/counters"))?;
        let counters: serde_json::Value = serde_json::from_str(&text)?;
        counters["requests"].as_u64().with_context(|| format!("no count of requests in {text}"))
    }

    /// Until `until`, or until `stop`: trouble of this class by this seed, and health at the end.
    pub fn trouble(
        &self,
        class: Class,
        who: Who,
        seed: u64,
        until: Instant,
        stop: &AtomicBool,
    ) -> Result<u64> {
        let servers: &[&str] = if who == Who::All { &["v1", "v2"] } else { &["v2"] };
        let each = |nth: usize, server: &str, upstream: Upstream| {
            let faults = match server {
                "v2" => [class.faults.of(upstream), class.mirrors_only.of(upstream)].concat(),
                _ => class.faults.of(upstream),
            };
            let random = fastrand::Rng::with_seed(seed.wrapping_add(nth as u64));
            Port { control: self.control, name: name(server, upstream), random }
                .suffer(class, &faults, until, stop)
        };
        std::thread::scope(|scope| {
            let ports = self.upstreams.iter().flat_map(|to| servers.iter().map(|server| (*server, *to)));
            let all: Vec<_> =
                ports.enumerate().map(|(nth, (who, to))| scope.spawn(move || each(nth, who, to))).collect();
            all.into_iter()
                .map(|port| port.join().unwrap_or_else(|_| bail!("a port's trouble ended badly")))
                .sum()
        })
    }
}

struct Port {
    control: SocketAddr,
    name: String,
    random: fastrand::Rng,
}

impl Port {
    /// Returns how many faults there were.
    fn suffer(&mut self, class: Class, faults: &[&str], until: Instant, stop: &AtomicBool) -> Result<u64> {
        let mut count = 0;
        while Instant::now() < until && !stop.load(Relaxed) {
            let framing = ["length", "chunked"][self.random.usize(..2)];
            self.put("behavior", &format!("framing={framing}"))?;
            let fault =
                faults[self.random.usize(..faults.len())].replace("{}", &self.random.u64(..900).to_string());
            self.put("fault", &fault)?;
            count += 1;
            self.pause(class.lasts, until);
            for slow in SLOW_START.iter().filter(|_| class.starts_slowly) {
                self.put("behavior", &format!("delay=per_in_flight:{slow}"))?;
                self.put("fault", "none")?;
                self.pause((100, 300), until);
            }
            self.put("behavior", "delay=0s")?;
            self.put("fault", "none")?;
            self.pause(class.rests, until);
        }
        Ok(count)
    }

    fn put(&self, what: &str, value: &str) -> Result<()> {
        http::put(self.control, &format!("/ports/{}/{what}", self.name), value)?;
        Ok(())
    }

    fn pause(&mut self, (least, most): (u64, u64), until: Instant) {
        let drawn = Duration::from_millis(self.random.u64(least..=most));
        std::thread::sleep(drawn.min(until.saturating_duration_since(Instant::now())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_one_that_the_server_knows() {
        for (class, upstream) in CLASSES.iter().flat_map(|class| Upstream::ALL.map(|to| (class, to))) {
            let faults = [class.faults.of(upstream), class.mirrors_only.of(upstream)].concat();
            assert!(!faults.is_empty(), "{} {upstream:?}", class.name);
            for fault in faults {
                let fault = fault.replace("{}", "7");
                assert!(fault.parse::<loadgen::serve::fault::Fault>().is_ok(), "{}: {fault}", class.name);
            }
        }
        assert_eq!(choose(&["death".into()]).expect("one").len(), 1);
        assert!(choose(&["boredom".into()]).is_err());
    }
}
