//! `soak`: one gateway, an hour of peers that break and come back, clients that know their own bytes. Measures and keeps
//! what is seen; `soak_report` judges and shows.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::soak_figures::{Account, Outcome, Rest, Sample, Soak, Tally};
use super::{Bench, soak_report};
use crate::cli::{SoakArgs, SoakWires};
use crate::keep::Run;
use crate::ledger::Ledger;
use crate::peer::Gateway;
use crate::soak::clients::Load;
use crate::soak::configuration::configuration;
use crate::soak::seen::Seen;
use crate::soak::trouble::{self, Class, Peers, SERVERS, Who};
use crate::soak::wire::{Upstream, Wire};
use crate::variant::Variant;
use crate::{http, os};

/// Load on healthy peers before the first reading at rest, so that what is made once is in it.
const WARM_UP: Duration = Duration::from_secs(10);
/// From health to the first request that must be answered: the gateway's patience, and one retry of an endpoint.
const RECOVER: Duration = Duration::from_secs(4);
/// And for so long every one must be.
const RETURN: Duration = Duration::from_secs(6);
/// Until a gateway without clients has closed what it kept: mirrors' connections are the last, after 30 s.
const REST: Duration = Duration::from_secs(35);
const SAMPLE: Duration = Duration::from_secs(1);
/// A new configuration takes over so often.
const RELOAD: Duration = Duration::from_secs(7);

pub(super) fn run(args: &SoakArgs) -> Result<()> {
    let classes = trouble::choose(&args.classes)?;
    ensure!(args.minutes > 0.0 && args.rate > 0 && args.connections > 0, "there must be something to do");
    let bench = Bench::open(&args.common)?;
    let minutes = classes.len() as f64 * (args.minutes + 0.8);
    eprintln!("  {} classes: about {minutes:.0} min", classes.len());
    let soak = Place::start(&bench, args)?.soak(&classes)?;

    let text = soak_report::text(&soak);
    println!("{text}");
    let mut remarks = bench.remarks.clone();
    remarks.push(format!(
        "One gateway process ({} driver, 2 workers) through all classes, seed {}, {} connections, at most {} requests/s; \
         SIGHUP every {} s. Clients speak {}; a route each leads to servers reached by {}. v1 and v2 break and come back, \
         v3 is a second mirror that never does. One request in 50 is left by its client in the middle.",
        args.driver,
        args.seed,
        args.connections,
        args.rate,
        RELOAD.as_secs(),
        wires(args).iter().map(|wire| wire.name()).collect::<Vec<_>>().join(", "),
        upstreams(args).iter().map(|to| to.name()).collect::<Vec<_>>().join(", "),
    ));
    let judged = soak_report::failures(&soak);
    bench.keep(
        &args.common,
        &Run {
            topic: args.common.topic.as_deref().unwrap_or("soak"),
            asked: vec![
                "Do memory, descriptors and the ledger stay whole while peers break and come back?"
                    .to_string(),
                "Does any client ever see another's bytes?".to_string(),
                "Does a client notice a mirror in trouble?".to_string(),
            ],
            remarks,
            csv: soak_report::csv(&soak),
            svg: soak_report::svg(&soak),
            table: text,
            versions: bench.tools.versions(&[Variant::OursMirror]),
        },
    )?;
    ensure!(judged.is_empty(), "{} promises did not hold", judged.len());
    Ok(())
}

fn wires(args: &SoakArgs) -> Vec<Wire> {
    match args.wires {
        SoakWires::All => Wire::ALL.to_vec(),
        SoakWires::Plain => vec![Wire::Http1],
    }
}

fn upstreams(args: &SoakArgs) -> Vec<Upstream> {
    match args.wires {
        SoakWires::All => Upstream::ALL.to_vec(),
        SoakWires::Plain => vec![Upstream::Plain],
    }
}

/// The gateway, its peers, and their shared state.
struct Place<'a> {
    args: &'a SoakArgs,
    /// The folder of certificates and their authority.
    keys: &'a Path,
    peers: Peers,
    gateway: Gateway,
    admin: SocketAddr,
    begin: Instant,
    seen: Arc<Seen>,
    samples: Mutex<Vec<Sample>>,
    class: Mutex<Option<usize>>,
}

impl<'a> Place<'a> {
    fn start(bench: &'a Bench, args: &'a SoakArgs) -> Result<Self> {
        let dir = bench.dir.path();
        let peers = Peers::start(&bench.tools.loadgen, dir, &upstreams(args))?;
        let file = dir.join("soak.toml");
        let is_covered = wires(args).iter().any(|wire| wire.is_covered());
        fs::write(&file, configuration(&peers, &args.driver, is_covered, dir)?)?;
        let gateway = Gateway::ours(&file, &bench.tools, dir)?;
        let admin = gateway.admin.context("ours has an admin listener")?;
        Ok(Self {
            args,
            keys: dir,
            peers,
            gateway,
            admin,
            begin: Instant::now(),
            seen: Arc::default(),
            samples: Mutex::default(),
            class: Mutex::default(),
        })
    }

    fn soak(mut self, classes: &[Class]) -> Result<Soak> {
        let over = AtomicBool::new(false);
        let done: Result<_> = thread::scope(|scope| {
            let place = &self;
            scope.spawn(|| place.watch(&over));
            let reloads = scope.spawn(|| place.reload(&over));
            let done = place.all(classes);
            over.store(true, Relaxed);
            Ok((done?, reloads.join().unwrap_or_default()))
        });
        let ((base, outcomes), reloads) = done?;
        self.gateway.check_alive()?;
        let metrics = http::get(self.admin, "/metrics")?;
        let mirrors =
            upstreams(self.args).into_iter().flat_map(|to| SERVERS[1..].iter().map(move |v| (*v, to)));
        Ok(Soak {
            wires: wires(self.args),
            base,
            outcomes,
            accounts: mirrors
                .map(|(server, to)| self.account(&metrics, server, to))
                .collect::<Result<_>>()?,
            counts: self.seen.counts(),
            wrong: self.seen.wrong(),
            suspects: self.seen.suspects(),
            panics: count(&metrics, "umbra_exchange_panics_total", ""),
            reloads,
            samples: self.samples.into_inner().unwrap_or_else(PoisonError::into_inner),
        })
    }

    fn all(&self, classes: &[Class]) -> Result<(Rest, Vec<Outcome>)> {
        self.under_load(|_| {
            thread::sleep(WARM_UP);
            Ok(())
        })?;
        let base = self.rest()?;
        let mut outcomes = Vec::new();
        for (nth, class) in classes.iter().enumerate() {
            eprintln!("  {}: {:.1} min", class.name, self.args.minutes);
            self.set_class(Some(nth));
            let outcome = self.one(*class, nth as u64);
            self.set_class(None);
            let outcome = outcome?;
            eprintln!("  {}", soak_report::line(&outcome));
            outcomes.push(outcome);
        }
        Ok((base, outcomes))
    }

    fn one(&self, class: Class, nth: u64) -> Result<Outcome> {
        let half = Duration::from_secs_f64(self.args.minutes * 30.0);
        let seed = self.args.seed.wrapping_mul(1000).wrapping_add(10 * nth);
        let before = self.seen.counts();
        let (faults, mirror, after) = self.under_load(|stop| {
            self.seen.set_strict(true);
            let of_mirrors = self.peers.trouble(class, Who::Mirrors, seed, Instant::now() + half, stop)?;
            let mirror = self.seen.counts().since(&before);
            self.seen.set_strict(false);
            let of_all = self.peers.trouble(class, Who::All, seed + 100, Instant::now() + half, stop)?;
            thread::sleep(RECOVER);
            let recovered = self.seen.counts();
            self.seen.set_strict(true);
            thread::sleep(RETURN);
            self.seen.set_strict(false);
            Ok((of_mirrors + of_all, mirror, self.seen.counts().since(&recovered)))
        })?;
        let all = self.seen.counts().since(&before);
        Ok(Outcome { class, faults, tally: Tally { all, mirror, after }, rest: self.rest()? })
    }

    /// Clients ask for as long as `work` takes.
    fn under_load<T>(&self, work: impl FnOnce(&AtomicBool) -> Result<T>) -> Result<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let load = Load {
            addr: self.gateway.addr,
            covered: self.gateway.others.first().copied(),
            authority: self.keys.join("ca.pem"),
            wires: wires(self.args),
            upstreams: upstreams(self.args),
            connections: self.args.connections,
            rate: self.args.rate,
            // Ids of one part are not those of another.
            seed: self.args.seed.wrapping_add(self.begin.elapsed().as_micros() as u64),
        };
        thread::scope(|scope| {
            let clients = scope.spawn(|| load.run(&self.seen, &stop));
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    if os::interrupted() {
                        stop.store(true, Relaxed);
                    }
                    thread::sleep(SAMPLE / 10);
                }
            });
            let result = work(&stop);
            stop.store(true, Relaxed);
            ensure!(!os::interrupted(), "interrupted");
            clients.join().unwrap_or_else(|_| bail!("the clients ended badly"))?;
            result
        })
    }

    /// How it is a while after the last client.
    fn rest(&self) -> Result<Rest> {
        let until = Instant::now() + REST;
        while Instant::now() < until {
            ensure!(!os::interrupted(), "interrupted");
            thread::sleep(SAMPLE / 4);
        }
        Ok(self.look())
    }

    fn look(&self) -> Rest {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.gateway.pid())).map_or(0, Iterator::count);
        Rest { private_bytes: self.gateway.memory().private, descriptors: descriptors as u64 }
    }

    fn set_class(&self, class: Option<usize>) {
        *self.class.lock().unwrap_or_else(PoisonError::into_inner) = class;
    }

    fn watch(&self, over: &AtomicBool) {
        while !over.load(Relaxed) {
            let look = self.look();
            let sample = Sample {
                seconds: self.begin.elapsed().as_secs_f64(),
                class: *self.class.lock().unwrap_or_else(PoisonError::into_inner),
                private_bytes: look.private_bytes,
                descriptors: look.descriptors,
                counts: self.seen.counts(),
            };
            self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
            thread::sleep(SAMPLE);
        }
    }

    fn reload(&self, over: &AtomicBool) -> u64 {
        let (mut last, mut count) = (Instant::now(), 0);
        while !over.load(Relaxed) {
            if last.elapsed() >= RELOAD {
                os::send_signal(self.gateway.pid(), libc::SIGHUP);
                (last, count) = (Instant::now(), count + 1);
            }
            thread::sleep(SAMPLE / 4);
        }
        count
    }

    fn account(&self, metrics: &str, server: &str, upstream: Upstream) -> Result<Account> {
        let mirror = trouble::name(server, upstream);
        Ok(Account {
            is_healthy: server == "v3",
            ledger: Ledger::of_mirror(metrics, &mirror),
            resent: count(metrics, "umbra_mirror_resent_total", &format!("mirror=\"{mirror}\"")),
            arrived: self.peers.requests(&mirror)?,
            mirror,
        })
    }
}

/// The sum of a family's series that have `label`.
fn count(metrics: &str, family: &str, label: &str) -> u64 {
    let of_family =
        metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(family) && line.contains(label));
    of_family.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_summed_and_no_other() {
        let text =
            "a_total{mirror=\"v2\"} 3\na_total{mirror=\"v3\"} 4\na_total_more{mirror=\"v2\"} 9\nb_total 5\n";
        assert_eq!(count(text, "a_total", "mirror=\"v2\""), 3);
        assert_eq!((count(text, "a_total", ""), count(text, "b_total", "")), (7, 5));
    }
}
