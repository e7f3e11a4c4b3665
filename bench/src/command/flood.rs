//! `flood`: latency of clients with kept TLS connections while others open new ones with full handshakes all the time.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::Bench;
use crate::chart::{self, Bar, Group};
use crate::cli::FloodArgs;
use crate::keep::Run;
use crate::load::{Request, Seen};
use crate::open_loop::OpenLoop;
use crate::origin::{Origin, readable};
use crate::peer::{Gateway, Targets};
use crate::scenario::Setup;
use crate::stats::Spread;
use crate::table::{Table, figure, micros};
use crate::variant::Variant;
use crate::wires::{Sessions, Wires};
use crate::{machine, os, procfs, tools};

const VARIANTS: [Variant; 4] =
    [Variant::OursPlain, Variant::NginxPlain, Variant::HaproxyPlain, Variant::EnvoyPlain];
/// Of the clients that keep theirs.
const CONNECTIONS: usize = 32;
/// Of the flood at once.
const FLOODING: usize = 256;
/// The flood lasts so much longer on both sides.
const MARGIN: Duration = Duration::from_secs(1);
const RESPONSE_BYTES: usize = 64;
/// Largest ratio of their p99 to that in quiet.
const GOAL: f64 = 2.0;

/// A round of one gateway.
struct Pair {
    variant: Variant,
    quiet: Seen,
    flooded: Seen,
    /// Seen by the clients of the flood.
    flood: Seen,
    /// The gateway's CPU time for each request of the flood, beyond the others' cost in quiet.
    cpu_us: f64,
}

pub(super) fn run(args: &FloodArgs) -> Result<()> {
    ensure!(args.rounds >= 1 && args.seconds >= 1, "--rounds and --seconds: at least 1");
    let bench = Bench::open(&args.common)?;
    let variants = bench.tools.runnable(&tools::only(&VARIANTS, &args.common.variants)?);
    let mut pairs = Vec::new();
    for round in 0..args.rounds {
        for variant in &variants {
            match measure(&bench, args, *variant, round) {
                Ok(pair) => {
                    eprintln!(
                        "  {}/{} {}: p99 {} quiet, {} with {:.0} handshakes/s",
                        round + 1,
                        args.rounds,
                        variant.name(),
                        micros(pair.quiet.p99),
                        micros(pair.flooded.p99),
                        pair.flood.rate()
                    );
                    pairs.push(pair);
                }
                Err(error) if os::interrupted() => return Err(error),
                Err(error) => eprintln!("\n  !!! NO FIGURE for {}: {error:#}\n", variant.name()),
            }
        }
    }
    let text = text(&pairs, &variants);
    println!("{text}");
    let mut remarks = bench.remarks.clone();
    remarks.push(format!(
        "{} requests/s (open loop) on {CONNECTIONS} kept TLS connections for {} s, in quiet and while {} new connections a \
         second come with a full handshake and one request each, from one address; one worker, no mirror; ECDSA P-256, \
         TLS_AES_128_GCM_SHA256, X25519. Medians of {} rounds.",
        args.rate, args.seconds, args.handshakes, args.rounds
    ));
    let bars = |value: fn(&Pair) -> f64| -> Vec<Bar> {
        let bar = |variant: &Variant| Bar {
            label: variant.name().to_string(),
            ours: variant.is_ours(),
            spread: Spread::of(of(&pairs, *variant).iter().map(|pair| value(pair))),
        };
        variants.iter().map(bar).collect()
    };
    let groups = [
        Group { title: "in quiet".to_string(), bars: bars(|pair| pair.quiet.p99) },
        Group { title: "in the flood".to_string(), bars: bars(|pair| pair.flooded.p99) },
    ];
    bench.keep(
        &args.common,
        &Run {
            topic: args.common.topic.as_deref().unwrap_or("handshake_flood"),
            asked: vec![
                "What do clients with kept TLS connections feel of a flood of handshakes?".to_string(),
            ],
            remarks,
            csv: csv(&pairs),
            svg: chart::svg(
                "Handshake flood",
                "p99 of clients that keep their connections, µs",
                &groups,
                None,
            ),
            table: text,
            versions: bench.tools.versions(&variants),
        },
    )
}

fn measure(bench: &Bench, args: &FloodArgs, variant: Variant, round: usize) -> Result<Pair> {
    let dir = bench.dir.path().join(format!("flood-{}-{round}", variant.name()));
    fs::create_dir_all(&dir)?;
    readable(&dir)?;
    let primary = Origin::start(&bench.tools, "v1", RESPONSE_BYTES, CONNECTIONS + FLOODING, false, &dir)?;
    let setup = Setup {
        wires: Wires { tls: Sessions::Full, ..Wires::default() },
        ..Setup::plain(CONNECTIONS + FLOODING, CONNECTIONS + FLOODING)
    };
    let targets = Targets { primary: primary.addr, mirrors: Vec::new() };
    let mut gateway = Gateway::start(variant, &setup, &targets, &bench.tools, &dir, "gateway")?;
    let time = Duration::from_secs(args.seconds);
    let loads = Loads { bench, args, addr: gateway.addr };
    let before = procfs::cpu(gateway.pid());
    let quiet = loads.kept(time, &dir)?;
    let middle = procfs::cpu(gateway.pid());
    let (flood, flooded) = thread::scope(|scope| {
        let flooding = scope.spawn(|| loads.flood(time + 2 * MARGIN, &dir));
        thread::sleep(MARGIN);
        let flooded = loads.kept(time, &dir);
        let flood = flooding.join().map_err(|_| anyhow!("the flood panicked"))?;
        anyhow::Ok((flood?, flooded?))
    })?;
    let after = procfs::cpu(gateway.pid());
    gateway.check_alive()?;
    let (quiet_cpu, flood_cpu) = (middle.since(before), after.since(middle));
    let beyond = flood_cpu.user_s + flood_cpu.sys_s - quiet_cpu.user_s - quiet_cpu.sys_s;
    Ok(Pair { variant, quiet, flooded, flood, cpu_us: beyond * 1e6 / flood.requests.max(1) as f64 })
}

struct Loads<'a> {
    bench: &'a Bench,
    args: &'a FloodArgs,
    addr: SocketAddr,
}

impl Loads<'_> {
    fn kept(&self, time: Duration, dir: &Path) -> Result<Seen> {
        self.run(self.args.rate, CONNECTIONS, true, time, &dir.join("kept"))
    }

    fn flood(&self, time: Duration, dir: &Path) -> Result<Seen> {
        self.run(self.args.handshakes, FLOODING, false, time, &dir.join("flood"))
    }

    fn run(
        &self,
        rate: u64,
        connections: usize,
        keep_alive: bool,
        time: Duration,
        dir: &Path,
    ) -> Result<Seen> {
        fs::create_dir_all(dir)?;
        let wires = Wires { tls: Sessions::Full, ..Wires::default() };
        let request = Request { method: "GET".into(), body_bytes: 0, keep_alive, path: "/".to_string() };
        let loadgen = &self.bench.tools.loadgen;
        let load = OpenLoop { loadgen, wires, rate, connections, core: machine::load_core() };
        load.run(self.addr, &request, time, dir).map(|(seen, _)| seen)
    }
}

fn of(pairs: &[Pair], variant: Variant) -> Vec<&Pair> {
    pairs.iter().filter(|pair| pair.variant == variant).collect()
}

fn text(pairs: &[Pair], variants: &[Variant]) -> String {
    let mut table = Table::new(&[
        "gateway",
        "p50 quiet",
        "p99 quiet",
        "p50",
        "p99",
        "× quiet",
        "handshakes/s",
        "CPU µs/handshake",
        "errors",
        "",
    ]);
    for variant in variants {
        let of = of(pairs, *variant);
        let median = |value: &dyn Fn(&Pair) -> f64| {
            Spread::of(of.iter().map(|pair| value(pair))).map_or(f64::NAN, |spread| spread.median)
        };
        let times = Spread::of(of.iter().map(|pair| pair.flooded.p99 / pair.quiet.p99));
        let judged = match times {
            Some(times) if variant.is_ours() && times.median <= GOAL => "goal ≤ 2 met",
            Some(_) if variant.is_ours() => "goal ≤ 2 NOT met",
            Some(_) | None => "",
        };
        table.row([
            variant.name().to_string(),
            micros(median(&|pair| pair.quiet.p50)),
            micros(median(&|pair| pair.quiet.p99)),
            micros(median(&|pair| pair.flooded.p50)),
            micros(median(&|pair| pair.flooded.p99)),
            times.map_or(String::new(), |times| times.show(2)),
            format!("{:.0}", median(&|pair| pair.flood.rate())),
            figure(Some(median(&|pair| pair.cpu_us)), 1),
            of.iter().map(|pair| pair.flooded.errors + pair.flood.errors).sum::<u64>().to_string(),
            judged.to_string(),
        ]);
    }
    format!("\nhandshake_flood — p99 of clients that keep their connections\n\n{}", table.text())
}

fn csv(pairs: &[Pair]) -> String {
    let mut out = String::from(
        "gateway,p50_us_quiet,p99_us_quiet,p50_us,p99_us,errors,handshakes_per_s,flood_errors,cpu_us_per_handshake\n",
    );
    for p in pairs {
        out.push_str(&format!(
            "{},{},{},{},{},{},{},{},{}\n",
            p.variant.name(),
            p.quiet.p50,
            p.quiet.p99,
            p.flooded.p50,
            p.flooded.p99,
            p.flooded.errors,
            p.flood.rate(),
            p.flood.errors,
            p.cpu_us
        ));
    }
    out
}
