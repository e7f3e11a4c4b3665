//! `slow`: what ordinary clients feel while a thousand others are slow on purpose, by slowhttptest, each kind beside the
//! same gateway without them.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Bench;
use crate::chart::{self, Bar, Group};
use crate::cli::SlowArgs;
use crate::keep::Run;
use crate::load::{Request, Seen};
use crate::open_loop::OpenLoop;
use crate::origin::served_port;
use crate::peer::Gateway;
use crate::process::Process;
use crate::stats::Spread;
use crate::table::{Table, micros, wrap};
use crate::variant::Variant;
use crate::{http, machine, os};

/// A kind of slowness, and how slowhttptest is asked for it.
struct Kind {
    name: &'static str,
    arguments: &'static [&'static str],
    path: &'static str,
}

const KINDS: [Kind; 3] = [
    // A field every second, never the last.
    Kind { name: "slow heads (-H)", arguments: &["-H", "-i", "1", "-t", "GET", "-x", "24"], path: "/" },
    Kind { name: "slow content (-B)", arguments: &["-B", "-i", "1", "-s", "8192", "-x", "10"], path: "/" },
    // A megabyte, 32 bytes every second, through a window of a few hundred.
    Kind {
        name: "slow reading (-X)",
        arguments: &["-X", "-n", "1", "-w", "256", "-y", "512", "-z", "32"],
        path: "/?size=1M",
    },
];

/// From the first slow client to the first measured request.
const RISE: Duration = Duration::from_secs(3);
/// Ordinary clients' p99 may be so many times what it is without slow ones.
const GOAL: f64 = 2.0;

/// One kind in one round.
struct Pair {
    without: Seen,
    with: Seen,
    /// Connections the gateway held in the middle.
    held: u64,
}

pub(super) fn run(args: &SlowArgs) -> Result<()> {
    ensure!(args.rounds >= 1 && args.seconds >= 1, "--rounds and --seconds: at least 1");
    let help = Command::new("slowhttptest").arg("-h").output();
    ensure!(help.is_ok(), "slowhttptest is missing: apt-get install slowhttptest");
    let bench = Bench::open(&args.common)?;
    let mut pairs: Vec<Vec<Pair>> = KINDS.iter().map(|_| Vec::new()).collect();
    for round in 0..args.rounds {
        for (kind, of) in KINDS.iter().zip(&mut pairs) {
            let pair = measure(&bench, args, kind, round)?;
            eprintln!(
                "  {}/{} {}: p99 {} without, {} with {} held",
                round + 1,
                args.rounds,
                kind.name,
                micros(pair.without.p99),
                micros(pair.with.p99),
                pair.held
            );
            of.push(pair);
        }
    }
    let text = text(&pairs);
    println!("{text}");
    let mut remarks = bench.remarks.clone();
    remarks.push(format!(
        "{} slow clients, {} ordinary requests/s (open loop) on 32 connections for {} s, one worker, no mirror; a gateway \
         for each pair, default limits. Medians of {} rounds.",
        args.slow, args.rate, args.seconds, args.rounds
    ));
    bench.keep(
        &args.common,
        &Run {
            topic: args.common.topic.as_deref().unwrap_or("slow"),
            asked: vec!["What do ordinary clients feel of a thousand slow ones?".to_string()],
            remarks,
            csv: csv(&pairs),
            svg: chart::svg("Slow clients", "p99 of ordinary clients, µs", &groups(&pairs), None),
            table: text,
            versions: bench.tools.versions(&[Variant::OursPlain]),
        },
    )
}

fn measure(bench: &Bench, args: &SlowArgs, kind: &Kind, round: usize) -> Result<Pair> {
    let dir = bench.dir.path().join(format!("slow-{}-{round}", kind.name.len()));
    fs::create_dir_all(&dir)?;
    let mut command = Command::new(&bench.tools.loadgen);
    command.args(["serve", "--threads", "1", "--port", "v1=0,size=64"]);
    let mut origin = Process::start("v1", command, &dir, true)?;
    let v1: SocketAddr = origin.wait_line(|line| served_port(line, "v1"))?;
    let file = dir.join("slow.toml");
    let toml = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 1\npin = false\n\
         [upstream.v1]\nendpoints = [\"{v1}\"]\n[[route]]\npath_prefix = \"/\"\nprimary = \"v1\"\n"
    );
    fs::write(&file, toml)?;
    let mut gateway = Gateway::ours(&file, &bench.tools, &dir)?;
    let time = Duration::from_secs(args.seconds);
    let ordinary = || -> Result<Seen> {
        let request =
            Request { method: "GET".into(), body_bytes: 0, keep_alive: true, path: "/".to_string() };
        let loadgen = &bench.tools.loadgen;
        OpenLoop { loadgen, rate: args.rate, connections: 32, core: machine::load_core() }
            .run(gateway.addr, &request, time, &dir)
            .map(|(seen, _)| seen)
    };
    let without = ordinary()?;
    let mut command = Command::new("slowhttptest");
    let length = (RISE + time).as_secs() + 5;
    command.args(kind.arguments).args(["-c", &args.slow.to_string(), "-r", &args.slow.to_string()]);
    command
        .args(["-l", &length.to_string(), "-v", "0", "-u"])
        .arg(format!("http://{}{}", gateway.addr, kind.path));
    let slow = Process::start("slowhttptest", command, &dir, false)?;
    thread::sleep(RISE);
    ensure!(!os::interrupted(), "interrupted");
    let held = connections(gateway.admin.context("ours has an admin listener")?)?;
    let with = ordinary()?;
    drop(slow);
    gateway.check_alive()?;
    Ok(Pair { without, with, held })
}

/// Client connections that are open.
fn connections(admin: SocketAddr) -> Result<u64> {
    let metrics = http::get(admin, "/metrics")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("umbra_connections_active "));
    line.and_then(|n| n.parse::<f64>().ok()).map(|n| n as u64).context("no gauge of open connections")
}

fn text(pairs: &[Vec<Pair>]) -> String {
    let mut table = Table::new(&[
        "slow clients",
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
    for (kind, of) in KINDS.iter().zip(pairs) {
        let median =
            |value: &dyn Fn(&Pair) -> f64| Spread::of(of.iter().map(value)).map_or(f64::NAN, |s| s.median);
        let times = Spread::of(of.iter().map(|p| p.with.p99 / p.without.p99));
        let is_met = times.is_some_and(|times| times.median <= GOAL);
        held &= is_met;
        table.row([
            kind.name.to_string(),
            format!("{:.0}", median(&|p| p.held as f64)),
            micros(median(&|p| p.with.p50)),
            micros(median(&|p| p.without.p50)),
            micros(median(&|p| p.with.p99)),
            micros(median(&|p| p.without.p99)),
            times.map_or(String::new(), |times| times.show(2)),
            of.iter().map(|p| p.with.errors).sum::<u64>().to_string(),
            if is_met { "goal ≤ 2 met" } else { "goal ≤ 2 NOT met" }.to_string(),
        ]);
    }
    let what = if held { "An ordinary client feels nothing of them." } else { "Ordinary clients feel them." };
    format!("{}\n{}", table.text(), wrap(what))
}

fn csv(pairs: &[Vec<Pair>]) -> String {
    let mut out =
        String::from("kind,round,held,p50_us,p99_us,errors,p50_us_without,p99_us_without,errors_without\n");
    for (kind, of) in KINDS.iter().zip(pairs) {
        for (round, p) in of.iter().enumerate() {
            out.push_str(&format!(
                "{},{},{},{},{},{},{},{},{}\n",
                kind.name,
                round + 1,
                p.held,
                p.with.p50,
                p.with.p99,
                p.with.errors,
                p.without.p50,
                p.without.p99,
                p.without.errors
            ));
        }
    }
    out
}

fn groups(pairs: &[Vec<Pair>]) -> Vec<Group> {
    let bar = |label: &str, values: Vec<f64>| Bar {
        label: label.to_string(),
        ours: true,
        spread: Spread::of(values),
    };
    KINDS
        .iter()
        .zip(pairs)
        .map(|(kind, of)| Group {
            title: kind.name.to_string(),
            bars: vec![
                bar("without", of.iter().map(|p| p.without.p99).collect()),
                bar("with", of.iter().map(|p| p.with.p99).collect()),
            ],
        })
        .collect()
}
