//! The peers' faults, by a seed: `loadgen serve` with three ports, of which two break and come back.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http;
use crate::origin::served_port;
use crate::process::Process;

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub name: &'static str,
    /// Drawn one at a time; `{}` is a number of bytes that falls anywhere in an answer. Spelled as `loadgen serve` does.
    faults: &'static [&'static str],
    /// Also these, where only a mirror is in trouble: their answers are whole ones that the client could not tell.
    mirrors_only: &'static [&'static str],
    /// Milliseconds of a fault, and of health between two.
    lasts: (u64, u64),
    rests: (u64, u64),
    /// After each fault the port is slow at first.
    starts_slowly: bool,
}

const QUICK: (u64, u64) = (20, 300);
const REST: (u64, u64) = (100, 1000);

pub const CLASSES: [Class; 6] = [
    Class {
        name: "reset",
        faults: &["reset_on_accept", "reset_at={}", "close_at={}", "half_close"],
        mirrors_only: &[],
        lasts: QUICK,
        rests: REST,
        starts_slowly: false,
    },
    Class {
        name: "stall",
        faults: &[
            "never_answer",
            "hold",
            "accept_never_read",
            "never_accept",
            "blackhole",
            "slow_read=2000",
            "slow_write=500",
        ],
        mirrors_only: &[],
        lasts: (200, 1500),
        rests: REST,
        starts_slowly: false,
    },
    Class {
        name: "garbage",
        faults: &[
            "garbage",
            "extra_bytes=40",
            "duplicate",
            "bad_framing=cl_te",
            "bad_framing=bad_cl",
            "bad_framing=two_cl",
            "bad_framing=bad_chunk",
            "oversize_head=200000",
            "endless_interim",
        ],
        mirrors_only: &["endless_chunked", "bad_framing=long_cl"],
        lasts: QUICK,
        rests: REST,
        starts_slowly: false,
    },
    Class {
        name: "flapping",
        faults: &["flap=20ms", "flap=100ms", "flap=400ms"],
        mirrors_only: &[],
        lasts: (1000, 5000),
        rests: REST,
        starts_slowly: false,
    },
    Class {
        name: "slow_start",
        faults: &["refuse"],
        mirrors_only: &[],
        lasts: QUICK,
        rests: (1000, 3000),
        starts_slowly: true,
    },
    Class {
        name: "death",
        faults: &["refuse", "blackhole"],
        mirrors_only: &[],
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
    /// v2: no client may see anything of it.
    Mirror,
    /// v1 and v2, each for itself.
    Both,
}

pub fn choose(names: &[String]) -> Result<Vec<Class>> {
    if let Some(unknown) = names.iter().find(|n| CLASSES.iter().all(|c| c.name != **n)) {
        let known: Vec<&str> = CLASSES.iter().map(|c| c.name).collect();
        bail!("no class of faults `{unknown}`; there are {}", known.join(", "));
    }
    Ok(CLASSES.into_iter().filter(|c| names.is_empty() || names.iter().any(|n| n == c.name)).collect())
}

/// v1, v2 that breaks, and v3 that never does. All answer with the content they were sent.
pub struct Peers {
    pub v1: SocketAddr,
    pub v2: SocketAddr,
    pub v3: SocketAddr,
    control: SocketAddr,
    _process: Process,
}

impl Peers {
    pub fn start(loadgen: &Path, dir: &Path) -> Result<Self> {
        let mut command = Command::new(loadgen);
        command.args(["serve", "--threads", "1"]);
        for name in ["v1", "v2", "v3"] {
            command.args(["--port", &format!("{name}=0,echo")]);
        }
        let mut process = Process::start("peers", command, dir, true)?;
        let v1 = process.wait_line(|line| served_port(line, "v1"))?;
        let v2 = process.wait_line(|line| served_port(line, "v2"))?;
        let v3 = process.wait_line(|line| served_port(line, "v3"))?;
        let control = process.wait_line(|line| served_port(line, "control"))?;
        Ok(Self { v1, v2, v3, control, _process: process })
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
        let ports: &[&str] = if who == Who::Both { &["v1", "v2"] } else { &["v2"] };
        let each = |(nth, port): (usize, &&str)| {
            let random = fastrand::Rng::with_seed(seed.wrapping_add(nth as u64));
            let faults: Vec<&str> = match *port {
                "v2" => [class.faults, class.mirrors_only].concat(),
                _ => class.faults.to_vec(),
            };
            Port { control: self.control, name: (*port).to_string(), random }
                .suffer(class, &faults, until, stop)
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = ports.iter().enumerate().map(|one| scope.spawn(move || each(one))).collect();
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
        for class in CLASSES {
            for fault in class.faults.iter().chain(class.mirrors_only) {
                let fault = fault.replace("{}", "7");
                assert!(fault.parse::<loadgen::serve::fault::Fault>().is_ok(), "{}: {fault}", class.name);
            }
        }
        assert_eq!(choose(&["death".into()]).expect("one").len(), 1);
        assert!(choose(&["boredom".into()]).is_err());
    }
}
