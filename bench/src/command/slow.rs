//! `slow`: latency of ordinary clients while a thousand others are slow on purpose, by slowhttptest: at their own gateway
//! (with), or at another one on the same machine (without).

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use crate::chart::{self, Bar, Group};
use crate::cli::SlowArgs;
use crate::keep::Run;
use crate::load::{Request, Seen};
use crate::open_loop::OpenLoop;
use crate::origin::served_port;
use crate::peer::{Gateway, Targets};
use crate::process::Process;
use crate::scenario::Setup;
use crate::stats::Spread;
use crate::table::{Table, micros, wrap};
use crate::variant::Variant;
use crate::{machine, os, procfs, tools};

/// A kind of slowness, and how slowhttptest is asked for it.
struct Kind {
    name: &'static str,
    arguments: &'static [&'static str],
    path: &'static str,
}

const KINDS: [Kind; 3] = [
    // A field at every interval, never the last.
    Kind { name: "slow heads (-H)", arguments: &["-H", "-t", "GET", "-x", "24"], path: "/" },
    Kind { name: "slow content (-B)", arguments: &["-B", "-s", "8192", "-x", "10"], path: "/" },
    // A megabyte, 32 bytes every second, through a window of a few hundred.
    Kind {
        name: "slow reading (-X)",
        arguments: &["-X", "-n", "1", "-w", "256", "-y", "512", "-z", "32"],
        path: "/?size=1M",
    },
];

/// Slow clients that arrive in a second; each then speaks at its own moment.
const ARRIVE_PER_SECOND: usize = 200;
/// From the last slow client to the first measured request.
const RISE: Duration = Duration::from_secs(3);
/// Largest ratio of ordinary clients' p99 to that without slow ones.
const GOAL: f64 = 2.0;

const VARIANTS: [Variant; 3] = [Variant::OursPlain, Variant::NginxPlain, Variant::HaproxyPlain];

/// A kind of slow client, a gateway, a round.
struct Pair {
    kind: usize,
    variant: Variant,
    without: Seen,
    with: Seen,
    /// Connections the gateway held in the middle.
    held: usize,
}

pub(super) fn run(args: &SlowArgs) -> Result<()> {
    ensure!(args.rounds >= 1 && args.seconds >= 1, "--rounds and --seconds: at least 1");
    let help = Command::new("slowhttptest").arg("-h").output();
    ensure!(help.is_ok(), "slowhttptest is missing: apt-get install slowhttptest");
    let bench = Bench::open(&args.common)?;
    let variants = bench.tools.runnable(&tools::only(&VARIANTS, &args.common.variants)?);
    let mut pairs = Vec::new();
    for round in 0..args.rounds {
        for (kind, name) in KINDS.iter().map(|kind| kind.name).enumerate() {
            for variant in &variants {
                let pair = measure(&bench, args, kind, *variant, round)?;
                eprintln!(
                    "  {}/{} {} {}: p99 {} without, {} with {} held",
                    round + 1,
                    args.rounds,
                    name,
                    variant.name(),
                    micros(pair.without.p99),
                    micros(pair.with.p99),
                    pair.held
                );
                pairs.push(pair);
            }
        }
    }
    let text = text(&pairs, &variants);
    println!("{text}");
    let mut remarks = bench.remarks.clone();
    remarks.push(format!(
        "{} slow clients, {ARRIVE_PER_SECOND} more each second, that speak every {} s (heads, content); without: they trouble another gateway of the same kind; {} ordinary requests/s (open loop) on 32 connections for {} s; \
         one worker, no mirror, default limits; a gateway of its own for each pair. Medians of {} rounds.",
        args.slow, args.interval, args.rate, args.seconds, args.rounds
    ));
    bench.keep(
        &args.common,
        &Run {
            topic: args.common.topic.as_deref().unwrap_or("slow"),
            asked: vec!["What do ordinary clients feel of a thousand slow ones?".to_string()],
            remarks,
            csv: csv(&pairs),
            svg: chart::svg("Slow clients", "p99 of ordinary clients, µs", &groups(&pairs, &variants), None),
            table: text,
            versions: bench.tools.versions(&variants),
        },
    )
}

fn measure(bench: &Bench, args: &SlowArgs, kind: usize, variant: Variant, round: usize) -> Result<Pair> {
    let dir = bench.dir.path().join(format!("slow-{kind}-{}-{round}", variant.name()));
    fs::create_dir_all(&dir)?;
    let mut command = Command::new(&bench.tools.loadgen);
    command.args(["serve", "--threads", "1", "--port", "v1=0,size=64"]);
    let mut origin = Process::start("v1", command, &dir, true)?;
    let primary: SocketAddr = origin.wait_line(|line| served_port(line, "v1"))?;
    let setup = Setup::plain(args.slow + 64, 32);
    let targets = Targets { primary, mirrors: Vec::new() };
    let start = |name: &str| Gateway::start(variant, &setup, &targets, &bench.tools, &dir, name);
    let (mut gateway, mut aside) = (start("gateway")?, start("aside")?);
    let arrival = Duration::from_secs(args.slow.div_ceil(ARRIVE_PER_SECOND) as u64);
    let time = Duration::from_secs(args.seconds);
    // The slow clients' own work is felt on two cores whomever they trouble: slowhttptest spins once it is turned away.
    let beside = |troubled: SocketAddr| -> Result<(Seen, usize)> {
        let mut command = Command::new("slowhttptest");
        command.args(KINDS[kind].arguments);
        command.args(["-i", &args.interval.to_string()]);
        command.args(["-c", &args.slow.to_string(), "-r", &ARRIVE_PER_SECOND.to_string()]);
        command.args(["-l", &((arrival + RISE + time).as_secs() + 5).to_string(), "-v", "0"]);
        command.arg("-u").arg(format!("http://{troubled}{}", KINDS[kind].path));
        let slow = Process::start("slowhttptest", command, &dir, false)?;
        thread::sleep(arrival + RISE);
        ensure!(!os::interrupted(), "interrupted");
        let held = procfs::accepted(troubled)?;
        let request =
            Request { method: "GET".into(), body_bytes: 0, keep_alive: true, path: "/".to_string() };
        let loadgen = &bench.tools.loadgen;
        let ordinary = OpenLoop {
            loadgen,
            wires: crate::wires::Wires::default(),
            rate: args.rate,
            connections: 32,
            core: machine::load_core(),
        };
        let (seen, _) = ordinary.run(gateway.addr, &request, time, &dir)?;
        drop(slow);
        Ok((seen, held))
    };
    let (without, _) = beside(aside.addr)?;
    let (with, held) = beside(gateway.addr)?;
    gateway.check_alive()?;
    aside.check_alive()?;
    Ok(Pair { kind, variant, without, with, held })
}

/// Pairs of one kind and one gateway.
fn of(pairs: &[Pair], kind: usize, variant: Variant) -> Vec<&Pair> {
    pairs.iter().filter(|pair| pair.kind == kind && pair.variant == variant).collect()
}

fn text(pairs: &[Pair], variants: &[Variant]) -> String {
    let mut table = Table::new(&[
        "slow clients",
        "gateway",
        "held",
        "p50",
        "p50 without",
        "p99",
        "p99 without",
        "× without",
        "errors",
        "",
    ]);
    let mut held = true;
    for (kind, name) in KINDS.iter().map(|kind| kind.name).enumerate() {
        for variant in variants {
            let of = of(pairs, kind, *variant);
            let median = |value: &dyn Fn(&Pair) -> f64| {
                Spread::of(of.iter().map(|pair| value(pair))).map_or(f64::NAN, |s| s.median)
            };
            let times = Spread::of(of.iter().map(|p| p.with.p99 / p.without.p99));
            let judged = match times {
                Some(times) if variant.is_ours() => {
                    let is_met = times.median <= GOAL;
                    held &= is_met;
                    if is_met { "goal ≤ 2 met" } else { "goal ≤ 2 NOT met" }
                }
                _ => "",
            };
            table.row([
                name.to_string(),
                variant.name().to_string(),
                format!("{:.0}", median(&|p| p.held as f64)),
                micros(median(&|p| p.with.p50)),
                micros(median(&|p| p.without.p50)),
                micros(median(&|p| p.with.p99)),
                micros(median(&|p| p.without.p99)),
                times.map_or(String::new(), |times| times.show(2)),
                of.iter().map(|p| p.with.errors).sum::<u64>().to_string(),
                judged.to_string(),
            ]);
        }
    }
    let what =
        if held { "Our ordinary clients feel nothing of them." } else { "Our ordinary clients feel them." };
    format!("{}\n{}", table.text(), wrap(what))
}

fn csv(pairs: &[Pair]) -> String {
    let mut out =
        String::from("kind,gateway,held,p50_us,p99_us,errors,p50_us_without,p99_us_without,errors_without\n");
    for p in pairs {
        out.push_str(&format!(
            "{},{},{},{},{},{},{},{},{}\n",
            KINDS[p.kind].name,
            p.variant.name(),
            p.held,
            p.with.p50,
            p.with.p99,
            p.with.errors,
            p.without.p50,
            p.without.p99,
            p.without.errors
        ));
    }
    out
}

fn groups(pairs: &[Pair], variants: &[Variant]) -> Vec<Group> {
    let mut groups = Vec::new();
    for (kind, name) in KINDS.iter().map(|kind| kind.name).enumerate() {
        let mut bars = Vec::new();
        for variant in variants {
            let mut bar = |what: &str, value: &dyn Fn(&Pair) -> f64| {
                let of = of(pairs, kind, *variant);
                bars.push(Bar {
                    label: format!("{} {what}", variant.name()),
                    ours: variant.is_ours(),
                    spread: Spread::of(of.iter().map(|pair| value(pair))),
                });
            };
            bar("without", &|p| p.without.p99);
            bar("with", &|p| p.with.p99);
        }
        groups.push(Group { title: name.to_string(), bars });
    }
    groups
}
