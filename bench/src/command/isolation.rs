//! `isolation`: the effect of a broken mirror on clients and on the gateway's memory, beside the same gateway with mirroring
//! off, in pairs. Measures; `isolation_report` shows.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use super::isolation_figures::{Measured, Pair, Program, Row};
use super::isolation_report;
use crate::cli::IsolationArgs;
use crate::faults::{self, Mirror, State};
use crate::keep::Run;
use crate::ledger::Ledger;
use crate::load::{self, Request, Seen};
use crate::netns::Namespace;
use crate::open_loop::{self, OpenLoop};
use crate::origin::Origin;
use crate::peer::{Gateway, Targets};
use crate::scenario::Setup;
use crate::table::micros;
use crate::variant::Variant;
use crate::{chart, machine, os, tools};

/// Variants that mirror; each is measured beside its own plain form.
const VARIANTS: [Variant; 3] = [Variant::OursMirror, Variant::EnvoyMirror, Variant::NginxMirror];
/// Load with a healthy mirror before it breaks: connections to it are open then, as they would be.
const WARM_UP: Duration = Duration::from_secs(1);
/// From breaking the mirror to measuring.
const BREAK: Duration = Duration::from_millis(100);
const RESPONSE_BYTES: usize = 64;
/// The chart's bars end at so many times the latency with mirroring off: beyond that it is an outage.
const CHART_MAX: f64 = 10.0;

/// So many states of the mirror share their neighbour with mirroring off.
const STATES_PER_OFF: usize = 3;

pub(super) fn run(args: &IsolationArgs) -> Result<()> {
    ensure!(args.rounds >= 1 && args.seconds >= 1, "--rounds and --seconds: at least 1");
    let states = faults::choose(&args.faults)?;
    let bench = Bench::open(&args.common)?;
    let is_open = open_loop::is_offered(&bench.tools.loadgen);
    if !is_open {
        eprintln!(
            "  ! this loadgen has no open loop: wrk instead, which waits for slow answers and hides stalls"
        );
        bench.tools.wrk()?;
    }
    let variants = bench.tools.runnable(&tools::only(&VARIANTS, &args.common.variants)?);
    let mut programs: Vec<Program> = variants
        .iter()
        .map(|variant| Program {
            variant: *variant,
            rows: states.iter().map(|state| Row { state: *state, pairs: Vec::new() }).collect(),
            off: Vec::new(),
        })
        .collect();

    let runs = programs.len() * (states.len() + states.len().div_ceil(STATES_PER_OFF)) * args.rounds;
    let planned = runs as f64 * (args.seconds as f64 + WARM_UP.as_secs_f64() + 0.5);
    eprintln!("  {runs} runs: about {:.0} min", (planned / 60.0).ceil());
    let place = Place::new(&bench, args, is_open)?;
    for round in 0..args.rounds {
        for program in &mut programs {
            let Program { variant, rows, off } = program;
            for neighbours in rows.chunks_mut(STATES_PER_OFF) {
                match place.neighbours(*variant, neighbours, round) {
                    Ok(measured) => off.push(measured),
                    Err(error) if os::interrupted() => return Err(error),
                    Err(error) => eprintln!("\n  !!! NO FIGURE for {}: {error:#}\n", variant.name()),
                }
            }
        }
    }

    let load = if is_open {
        format!("open loop from `loadgen run`, {} requests/s", args.rate)
    } else {
        "closed loop from wrk, which hides stalls".to_string()
    };
    let text = isolation_report::text(&programs, args, &load);
    println!("{text}");
    let mut remarks = bench.remarks.clone();
    remarks.push(format!(
        "Rounds: {}, of {} s each; {load}, {} connections. Before or after each {STATES_PER_OFF} states the same program \
         is measured with mirroring off; ratios are between such neighbours. A gateway is started anew for each figure \
         and serves {} s with a healthy mirror first.",
        args.rounds,
        args.seconds,
        args.connections,
        WARM_UP.as_secs()
    ));
    remarks.push(
        "The mirror stands for another machine: it runs on the same cores, but only where one is idle (SCHED_IDLE). What the \
         kernel does for its sockets is done at nobody's priority."
            .to_string(),
    );
    if args.netns {
        remarks.push(
            "The mirror has a network namespace of its own behind a pair of veth devices: frames of 1,500 bytes, as of another machine."
                .to_string(),
        );
    }
    let plain = variants.iter().map(|v| v.with_mirroring_off());
    let measured: Vec<Variant> = variants.iter().copied().chain(plain).collect();
    bench.keep(
        &args.common,
        &Run {
            topic: args.common.topic.as_deref().unwrap_or("isolation"),
            asked: vec![
                "What does a mirror, healthy or broken, do to clients and to the gateway's memory?"
                    .to_string(),
            ],
            remarks,
            csv: isolation_report::csv(&programs),
            svg: chart::svg(
                "Isolation",
                "p99 of clients with the mirror in this state, in multiples of p99 with mirroring off",
                &isolation_report::groups(&programs),
                Some(CHART_MAX),
            ),
            table: text,
            versions: bench.tools.versions(&measured),
        },
    )
}

/// A healthy primary and a mirror that breaks when told.
struct Place<'a> {
    bench: &'a Bench,
    args: &'a IsolationArgs,
    is_open: bool,
    primary: Origin,
    mirror: Mirror,
    request: Request,
}

impl<'a> Place<'a> {
    fn new(bench: &'a Bench, args: &'a IsolationArgs, is_open: bool) -> Result<Self> {
        let dir = bench.dir.path();
        let primary = Origin::start(&bench.tools, "v1", RESPONSE_BYTES, args.connections, false, dir)?;
        let namespace = args.netns.then(Namespace::new).transpose()?;
        let mirror = Mirror::start(&bench.tools.loadgen, dir, namespace)?;
        let method = if args.request_bytes > 0 { "POST" } else { "GET" };
        let request = Request {
            method: method.to_string(),
            body_bytes: args.request_bytes,
            keep_alive: true,
            path: "/".to_string(),
        };
        Ok(Self { bench, args, is_open, primary, mirror, request })
    }

    /// Some states of the mirror, and mirroring off before them, or after them in every other round.
    fn neighbours(&self, variant: Variant, rows: &mut [Row], round: usize) -> Result<Measured> {
        let off = || {
            let measured = self.measure(variant.with_mirroring_off(), faults::STATES[0], "off", round)?;
            self.say(round, variant.with_mirroring_off(), "mirroring off", &measured);
            anyhow::Ok(measured)
        };
        let before = if round.is_multiple_of(2) { Some(off()?) } else { None };
        let mut on = Vec::new();
        for row in rows.iter() {
            let measured = self.measure(variant, row.state, row.state.name, round);
            match &measured {
                Ok(measured) => self.say(round, variant, row.state.name, measured),
                Err(_) if os::interrupted() => return measured,
                Err(error) => {
                    eprintln!("\n  !!! NO FIGURE for {} {}: {error:#}\n", variant.name(), row.state.name);
                }
            }
            on.push(measured.ok());
        }
        let off = match before {
            Some(measured) => measured,
            None => off()?,
        };
        for (row, on) in rows.iter_mut().zip(on) {
            row.pairs.extend(on.map(|on| Pair { off: off.clone(), on }));
        }
        Ok(off)
    }

    fn say(&self, round: usize, variant: Variant, state: &str, measured: &Measured) {
        eprintln!(
            "  isolation {}/{}: {} {state}: {:.0} requests/s, p50 {}, p99 {}",
            round + 1,
            self.args.rounds,
            variant.name(),
            measured.seen.rate(),
            micros(measured.seen.p50),
            micros(measured.seen.p99),
        );
    }

    fn measure(&self, variant: Variant, state: State, what: &str, round: usize) -> Result<Measured> {
        let name = format!("{}-{what}-{round}", variant.name());
        let dir = self.bench.dir.path();
        let setup = Setup { mirrors: 1, ..Setup::plain(self.args.connections, self.args.connections) };
        let targets = Targets { primary: self.primary.addr, mirrors: vec![self.mirror.addr] };
        self.mirror.heal()?;
        let mut gateway = Gateway::start(variant, &setup, &targets, &self.bench.tools, dir, &name)?;
        self.load(&gateway, WARM_UP, dir)?;
        if variant.mirrors() {
            self.mirror.set(state)?;
            thread::sleep(BREAK);
        }
        let before = gateway.scheduled();
        let result = self.load(&gateway, Duration::from_secs(self.args.seconds), dir);
        let (scheduled, memory) = (gateway.scheduled().since(before), gateway.memory());
        let admin = gateway.admin.filter(|_| variant.mirrors());
        let ledger = admin.map(Ledger::read).transpose();
        let alive = gateway.check_alive();
        drop(gateway);
        if variant.mirrors() {
            self.mirror.heal()?;
        }
        alive?;
        let (seen, is_valid) = result?;
        Ok(Measured { seen, memory, scheduled, is_valid, ledger: ledger? })
    }

    fn load(&self, gateway: &Gateway, time: Duration, dir: &Path) -> Result<(Seen, bool)> {
        let core = machine::load_core();
        if self.is_open {
            let loadgen = &self.bench.tools.loadgen;
            OpenLoop {
                loadgen,
                wires: crate::wires::Wires::default(),
                rate: self.args.rate,
                connections: self.args.connections,
                core,
            }
            .run(gateway.addr, &self.request, time, dir)
        } else {
            let (tools, connections) = (&self.bench.tools, self.args.connections);
            load::run(tools, gateway.addr, &self.request, connections, time, core, dir)
                .map(|seen| (seen, true))
        }
    }
}
