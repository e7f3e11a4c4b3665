//! `peers` and `growth`: CPU per request of every variant in interleaved rounds, so that each ratio is between
//! neighbours in time. Measures; `rounds_report` shows.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::rounds_figures::{Arrived, Case, Sample};
use super::rounds_report::{self, Report};
use crate::cli::RoundsArgs;
use crate::clients::Clients;
use crate::keep::Run;
use crate::ledger::Ledger;
use crate::load::{self, Request, Seen};
use crate::open_loop::ClosedLoop;
use crate::origin::{Origin, RequestCount, readable};
use crate::peer::{self, Gateway, Targets};
use crate::procfs::{self, Cpu};
use crate::scenario::{self, OriginKind, Scenario, Setup, Topic, Window};
use crate::table::figure;
use crate::tools::{self, Tools};
use crate::variant::Variant;
use crate::{chart, machine, os};

/// Unmeasured load on each gateway before the first round: connections to origins, buffers, caches.
const WARM_UP: Duration = Duration::from_secs(1);
/// Behind the load, until CPU is read: copies and answers under way are part of the cost.
const SETTLE: Duration = Duration::from_millis(200);
/// Our own copies may wait longer than that, and their cost counts too.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Of the connections that rest during the load, so many make their one request at a time.
const RESTING_TOGETHER: usize = 32;
/// The steady window ends so long before the load does.
const TAIL: Duration = Duration::from_millis(300);
/// A cost per request of fewer than these is the clock's grain.
const REQUESTS_MIN: f64 = 100.0;

/// How long everything is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    seconds: u64,
}

pub(super) fn run(args: &RoundsArgs, topic: Topic) -> Result<()> {
    // A scenario of `growth` is many cases.
    let rounds = args.rounds.unwrap_or(if topic == Topic::Peers { 5 } else { 3 });
    let effort = Effort { rounds, seconds: args.seconds };
    ensure!(rounds >= 1 && args.seconds >= 1, "--rounds and --seconds: at least 1");
    let bench = Bench::open(&args.common)?;
    bench.tools.wrk()?;
    let scenarios = scenario::load(&bench.tools.root.join("bench/scenarios"), topic, &args.scenarios)?;
    let mut wanted: Vec<Variant> = scenarios.iter().flat_map(|s| s.variants.iter().copied()).collect();
    wanted.sort();
    wanted.dedup();
    let runnable = bench.tools.runnable(&tools::only(&wanted, &args.common.variants)?);
    ensure!(!runnable.is_empty(), "nothing left to measure");

    let planned = scenarios.iter().map(|scenario| planned_seconds(scenario, &runnable, effort)).sum::<f64>();
    eprintln!("  {} scenarios, {} rounds: about {:.0} min", scenarios.len(), rounds, (planned / 60.0).ceil());
    let mut report = Report::default();
    let mut asked = Vec::new();
    for scenario in &scenarios {
        let variants: Vec<Variant> =
            scenario.variants.iter().copied().filter(|v| runnable.contains(v)).collect();
        if variants.is_empty() {
            continue;
        }
        let cases = measure(&bench, scenario, &variants, effort)
            .with_context(|| format!("bench/scenarios/{}.toml", scenario.name))?;
        let table = rounds_report::add(&mut report, scenario, &cases);
        println!("{table}");
        asked.push(scenario.title.clone());
    }
    let name = if topic == Topic::Peers { "peers" } else { "growth" };
    let mut remarks = bench.remarks.clone();
    remarks.push(format!(
        "Rounds: {}, of at least {} s for each variant in turn, wrk with one thread (closed loop){}, or loadgen where TLS or HTTP/2 is spoken; CPU of the whole \
         process tree from /proc.",
        rounds,
        args.seconds,
        machine::load_core().map_or_else(String::new, |core| format!(" on core {core}"))
    ));
    let svg = chart::svg(name, "CPU µs per request", &report.groups, None);
    bench.keep(
        &args.common,
        &Run {
            topic: args.common.topic.as_deref().unwrap_or(name),
            asked,
            remarks,
            table: report.text,
            csv: report.csv,
            svg,
            versions: bench.tools.versions(&runnable),
        },
    )
}

fn measure(bench: &Bench, scenario: &Scenario, variants: &[Variant], effort: Effort) -> Result<Vec<Case>> {
    let dir = bench.dir.path().join(&scenario.name);
    std::fs::create_dir_all(&dir)?;
    readable(&dir)?;
    let setups = scenario.setups(machine::cores());
    let connections = setups.iter().map(|(_, s)| s.connections).max().unwrap_or(scenario.connections);
    let mirrors = setups.iter().map(|(_, s)| s.mirrors).max().unwrap_or(1);
    let origin = |name: &str| match scenario.origin {
        OriginKind::Nginx => {
            let (bytes, wires) = (scenario.response_bytes, &scenario.wires);
            Origin::start(&bench.tools, name, bytes, connections * wires.at_once(), wires.tls_upstream, &dir)
        }
        OriginKind::Loadgen => {
            Origin::start_reading(&bench.tools, name, scenario.response_bytes, &scenario.wires, &dir)
        }
    };
    let primary = origin("v1")?;
    let copies: Vec<Origin> =
        (0..mirrors).map(|index| origin(&format!("v{}", index + 2))).collect::<Result<_>>()?;
    let targets = Targets { primary: primary.addr, mirrors: copies.iter().map(|o| o.addr).collect() };

    let load = Load {
        tools: &bench.tools,
        dir: &dir,
        scenario,
        targets: &targets,
        primary: &primary.count,
        mirrors: copies.iter().map(|origin| &origin.count).collect(),
        time: time(scenario, effort),
    };
    let mut running: Vec<(Case, Option<Gateway>)> = Vec::new();
    for variant in variants {
        for (place, setup) in &setups {
            let needed = descriptors(*variant, setup);
            if needed > bench.open_files {
                eprintln!(
                    "\n  !!! SKIPPED: {} {place} needs {needed} descriptors, {} are allowed: raise `ulimit -Hn`\n",
                    variant.name(),
                    bench.open_files
                );
                continue;
            }
            let case = Case::new(*variant, place, setup);
            match load.start(&case, scenario.window, 0) {
                Ok(gateway) => running.push((case, gateway)),
                Err(error) if os::interrupted() => return Err(error),
                Err(error) => eprintln!("\n  !!! SKIPPED: {error:#}\n"),
            }
        }
    }
    for round in 0..effort.rounds {
        for turn in 0..running.len() {
            // Each variant is first once and last once: none always follows the same neighbour's leftovers.
            let at = (turn + round) % running.len();
            let (case, gateway) = &mut running[at];
            let sample = match load.sample(case, gateway.as_mut(), round) {
                Ok(sample) => sample,
                Err(error) if os::interrupted() => return Err(error),
                Err(error) => {
                    eprintln!("\n  !!! NO FIGURE for {} {}: {error:#}\n", case.variant.name(), case.place);
                    Sample::missing()
                }
            };
            eprintln!(
                "  {} {}/{}: {} {} µs/request",
                scenario.name,
                round + 1,
                effort.rounds,
                case.label(),
                figure(Some(sample.cpu_us()), 1)
            );
            if let (Some(all), Some(one)) = (&mut case.ledger, &sample.ledger) {
                all.add(one);
            }
            case.samples.push(sample);
        }
    }
    Ok(running.into_iter().map(|(case, _)| case).collect())
}

fn time(scenario: &Scenario, effort: Effort) -> Duration {
    Duration::from_secs(effort.seconds.max(scenario.seconds_min))
}

fn planned_seconds(scenario: &Scenario, runnable: &[Variant], effort: Effort) -> f64 {
    let variants = scenario.variants.iter().filter(|v| runnable.contains(v)).count();
    let cases = (variants * scenario.setups(machine::cores()).len()) as f64;
    cases * (1.2 + effort.rounds as f64 * (time(scenario, effort).as_secs_f64() + 0.5))
}

/// Descriptors of the process that needs most of them: a connection to the origin for each busy client and, where copies
/// have no connections of their own kind, another for each copy.
fn descriptors(variant: Variant, setup: &Setup) -> u64 {
    let copies = if variant.mirrors() && !variant.is_ours() { setup.mirrors } else { 0 };
    (setup.connections + setup.busy * setup.wires.at_once() * (1 + copies) + 400) as u64
}

struct Load<'a> {
    tools: &'a Tools,
    dir: &'a Path,
    scenario: &'a Scenario,
    targets: &'a Targets,
    primary: &'a RequestCount,
    mirrors: Vec<&'a RequestCount>,
    time: Duration,
}

impl Load<'_> {
    /// The gateway of a case, warm, for all rounds. None where each round starts its own: the remains of thousands of
    /// connections in one gateway's pool, and in the origin, would be the next one's burden.
    fn start(&self, case: &Case, window: Window, round: usize) -> Result<Option<Gateway>> {
        if window == Window::Steady {
            return Ok(None);
        }
        let gateway = self.gateway(case, round)?;
        self.load(&gateway, &case.setup, WARM_UP)?;
        Ok(Some(gateway))
    }

    fn gateway(&self, case: &Case, round: usize) -> Result<Gateway> {
        let name = format!("{}-{}-{round}", case.variant.name(), case.place);
        Gateway::start(case.variant, &case.setup, self.targets, self.tools, self.dir, &name)
    }

    fn load(&self, gateway: &Gateway, setup: &Setup, time: Duration) -> Result<Seen> {
        let request = Request {
            method: self.scenario.method.clone(),
            body_bytes: self.scenario.request_bytes,
            keep_alive: self.scenario.keep_alive,
            path: peer::path(setup),
        };
        let core = machine::load_core();
        if setup.wires.is_default() {
            return load::run(self.tools, gateway.addr, &request, setup.busy, time, core, self.dir);
        }
        let (loadgen, wires) = (&self.tools.loadgen, setup.wires);
        ClosedLoop { loadgen, wires, connections: setup.busy, core }.run(
            gateway.addr,
            &request,
            time,
            self.dir,
        )
    }

    fn sample(&self, case: &Case, running: Option<&mut Gateway>, round: usize) -> Result<Sample> {
        let mut own;
        let gateway = match running {
            Some(gateway) => gateway,
            None => {
                own = self.gateway(case, round)?;
                &mut own
            }
        };
        gateway.check_alive()?;
        let mut resting = Clients::new(gateway.addr, self.scenario.response_bytes, RESTING_TOGETHER);
        resting.open(case.setup.connections - case.setup.busy)?;
        let admin = gateway.admin.filter(|_| case.ledger.is_some());
        let before = admin.map(Ledger::read).transpose()?;
        let arrived = self.arrived()?;
        let (seen, cpu, requests) = match self.scenario.window {
            Window::Whole => self.whole(case, gateway)?,
            Window::Steady => self.steady(case, gateway)?,
        };
        gateway.check_alive()?;
        let arrived = self.arrived_since(arrived)?;
        resting.probe()?;
        let ledger = match (admin, before) {
            (Some(admin), Some(before)) => Some(Ledger::read(admin)?.since(&before)),
            _ => None,
        };
        let messages = self.scenario.wires.grpc_messages.unwrap_or(1).max(1) as f64;
        ensure!(
            requests * messages >= REQUESTS_MIN,
            "only {requests} requests were answered while it was measured"
        );
        Ok(Sample {
            user_us: cpu.user_s * 1e6 / requests,
            sys_us: cpu.sys_s * 1e6 / requests,
            seen,
            resident: gateway.memory().resident,
            arrived,
            ledger,
        })
    }

    fn whole(&self, case: &Case, gateway: &Gateway) -> Result<(Seen, Cpu, f64)> {
        let before = procfs::cpu(gateway.pid());
        let seen = self.load(gateway, &case.setup, self.time)?;
        settle(case, gateway);
        let cpu = procfs::cpu(gateway.pid()).since(before);
        Ok((seen, cpu, seen.requests as f64))
    }

    /// Two readings while the load runs: the cost of making the connections is in neither.
    fn steady(&self, case: &Case, gateway: &Gateway) -> Result<(Seen, Cpu, f64)> {
        let (pid, count) = (gateway.pid(), self.primary);
        let reading = move || -> Result<(Cpu, u64)> {
            // The count takes a moment under load, so it belongs to the middle of it.
            let before = procfs::cpu(pid);
            let requests = count.read()?;
            Ok((before.between(procfs::cpu(pid)), requests))
        };
        let (first, second) = (self.time / 2, (self.time / 2).saturating_sub(TAIL));
        let (seen, cpu, requests) = thread::scope(|scope| {
            let sampler = scope.spawn(move || -> Result<_> {
                thread::sleep(first);
                let from = reading()?;
                thread::sleep(second);
                Ok((from, reading()?))
            });
            let seen = self.load(gateway, &case.setup, self.time);
            let readings = sampler.join().map_err(|_| anyhow::anyhow!("the sampler panicked"))?;
            let ((from, had), (to, has)) = readings?;
            anyhow::Ok((seen?, to.since(from), has.saturating_sub(had + count.own()) as f64))
        })?;
        settle(case, gateway);
        Ok((seen, cpu, requests))
    }

    fn arrived(&self) -> Result<Arrived> {
        let mut mirrors = 0;
        for mirror in &self.mirrors {
            mirrors += mirror.read()?;
        }
        Ok(Arrived { primary: self.primary.read()?, mirrors })
    }

    fn arrived_since(&self, before: Arrived) -> Result<Arrived> {
        let now = self.arrived()?;
        // The steady window reads the primary's count twice in between.
        let asked = if self.scenario.window == Window::Steady { 3 } else { 1 };
        let own: u64 = self.mirrors.iter().map(|mirror| mirror.own()).sum();
        Ok(Arrived {
            primary: now.primary.saturating_sub(before.primary + asked * self.primary.own()),
            mirrors: now.mirrors.saturating_sub(before.mirrors + own),
        })
    }
}

/// Waits until the requests under way at the load's end are done.
fn settle(case: &Case, gateway: &Gateway) {
    let deadline = Instant::now() + SETTLE_MAX;
    loop {
        thread::sleep(SETTLE);
        let waits = case.ledger.is_some()
            && gateway.admin.is_some_and(|a| Ledger::read(a).is_ok_and(|l| l.unfinished > 0));
        if !waits || os::interrupted() || Instant::now() > deadline {
            return;
        }
    }
}
