//! `soak`: one gateway, an hour of peers that break and come back, clients that know their own bytes. Measures and keeps
//! what is seen; `soak_report` judges and shows.

use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::soak_figures::{Account, Outcome, Rest, Sample, Soak};
use super::{Bench, soak_report};
use crate::cli::SoakArgs;
use crate::keep::Run;
use crate::ledger::Ledger;
use crate::peer::Gateway;
use crate::soak::clients::{Load, Seen};
use crate::soak::trouble::{self, Class, Peers, Who};
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
         SIGHUP every {} s. v1 and v2 break and come back, v3 is a second mirror that never does. One request in 50 is \
         left by its client in the middle.",
        args.driver,
        args.seed,
        args.connections,
        args.rate,
        RELOAD.as_secs()
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

/// The gateway, its peers, and their shared state.
struct Place<'a> {
    args: &'a SoakArgs,
    peers: Peers,
    gateway: Gateway,
    admin: SocketAddr,
    begin: Instant,
    seen: Seen,
    samples: Mutex<Vec<Sample>>,
    class: Mutex<Option<usize>>,
}

impl<'a> Place<'a> {
    fn start(bench: &'a Bench, args: &'a SoakArgs) -> Result<Self> {
        let dir = bench.dir.path();
        let peers = Peers::start(&bench.tools.loadgen, dir)?;
        let file = dir.join("soak.toml");
        fs::write(&file, configuration(&peers, &args.driver))?;
        let gateway = Gateway::ours(&file, &bench.tools, dir)?;
        let admin = gateway.admin.context("ours has an admin listener")?;
        Ok(Self {
            args,
            peers,
            gateway,
            admin,
            begin: Instant::now(),
            seen: Seen::default(),
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
        Ok(Soak {
            base,
            outcomes,
            accounts: ["v2", "v3"].into_iter().map(|mirror| self.account(mirror)).collect::<Result<_>>()?,
            wrong: self.seen.wrong(),
            panics: count(&http::get(self.admin, "/metrics")?, "umbra_exchange_panics_total", ""),
            whole: self.seen.whole.load(Relaxed),
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
            outcomes.push(outcome?);
        }
        Ok((base, outcomes))
    }

    fn one(&self, class: Class, nth: u64) -> Result<Outcome> {
        let half = Duration::from_secs_f64(self.args.minutes * 30.0);
        let seed = self.args.seed.wrapping_mul(1000).wrapping_add(10 * nth);
        let (whole, left) = (self.seen.whole.load(Relaxed), self.seen.left.load(Relaxed));
        let before = self.seen.others();
        let (faults, mirror_errors, errors_after) = self.under_load(|stop| {
            let of_mirror = self.peers.trouble(class, Who::Mirror, seed, Instant::now() + half, stop)?;
            let mirror_errors = self.seen.errors() - before.values().sum::<u64>();
            let of_both = self.peers.trouble(class, Who::Both, seed + 5, Instant::now() + half, stop)?;
            thread::sleep(RECOVER);
            let recovered = self.seen.errors();
            thread::sleep(RETURN);
            Ok((of_mirror + of_both, mirror_errors, self.seen.errors() - recovered))
        })?;
        let less = |(what, count): (String, u64)| {
            let more = count - before.get(&what).copied().unwrap_or(0);
            (more > 0).then_some((what, more))
        };
        Ok(Outcome {
            class,
            faults,
            whole: self.seen.whole.load(Relaxed) - whole,
            left: self.seen.left.load(Relaxed) - left,
            mirror_errors,
            errors: self.seen.others().into_iter().filter_map(less).collect(),
            errors_after,
            rest: self.rest()?,
        })
    }

    /// Clients ask for as long as `work` takes.
    fn under_load<T>(&self, work: impl FnOnce(&AtomicBool) -> Result<T>) -> Result<T> {
        let stop = AtomicBool::new(false);
        let load = Load {
            addr: self.gateway.addr,
            connections: self.args.connections,
            rate: self.args.rate,
            // Ids of one part are not those of another.
            seed: self.args.seed.wrapping_add(self.begin.elapsed().as_micros() as u64),
        };
        thread::scope(|scope| {
            scope.spawn(|| load.run(&self.seen, &stop));
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
                whole: self.seen.whole.load(Relaxed),
                errors: self.seen.errors(),
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

    fn account(&self, mirror: &'static str) -> Result<Account> {
        let metrics = http::get(self.admin, "/metrics")?;
        Ok(Account {
            mirror,
            ledger: Ledger::of_mirror(&metrics, mirror),
            resent: count(&metrics, "umbra_mirror_resent_total", &format!("mirror=\"{mirror}\"")),
            arrived: self.peers.requests(mirror)?,
        })
    }
}

/// The sum of a family's series that have `label`.
fn count(metrics: &str, family: &str, label: &str) -> u64 {
    let of_family =
        metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(family) && line.contains(label));
    of_family.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

/// Patience is short, so that an hour holds many ends of it.
fn configuration(peers: &Peers, driver: &str) -> String {
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [workers]\ncount = 2\npin = false\ndriver = \"{driver}\"\n\
         [timeouts]\nconnect = \"500ms\"\nresponse_head = \"1s\"\nresponse_body = \"1s\"\nwrite = \"1s\"\n\
         upstream_idle = \"2s\"\nclient_idle = \"5s\"\n\
         [upstream.v1]\nendpoints = [\"{}\"]\n[upstream.v2]\nendpoints = [\"{}\"]\n[upstream.v3]\nendpoints = [\"{}\"]\n\
         [[route]]\nname = \"soak\"\npath_prefix = \"/\"\nprimary = \"v1\"\n\
         mirrors = [{{ upstream = \"v2\", timeout = \"1s\", compare = {{}} }}, {{ upstream = \"v3\" }}]\n",
        peers.v1, peers.v2, peers.v3
    )
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
