//! How unevenly kept connections load workers, and the effect of a greatest age of connections: a model of it, and the
//! gateway's own workers beside. Every connection asks at one rate; the kernel gives each to a worker, or a load balancer to a
//! replica, by chance.
//!
//!     cargo run --release -p bench --example imbalance

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::chart::{self, Bar, Group};
use bench::cli::CommonArgs;
use bench::keep::{self, Run};
use bench::load::Request;
use bench::open_loop::OpenLoop;
use bench::origin::{Origin, readable};
use bench::peer::Gateway;
use bench::stats::Spread;
use bench::table::Table;
use bench::tools::Tools;
use bench::variant::Variant;
use bench::wires::Wires;
use bench::{http, machine, os};
use clap::Parser;

const RUNS: usize = 2_000;
/// Connections end in the last tenth of their age, as the gateway ends them.
const JITTER: f64 = 0.1;

/// Splitmix64: any numbers will do, and always the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The fullest place's load over the mean one.
fn peak(loads: &[f64]) -> f64 {
    loads.iter().copied().fold(0.0, f64::max) * loads.len() as f64 / loads.iter().sum::<f64>()
}

fn loads(connections: &[usize], places: usize) -> Vec<f64> {
    let mut loads = vec![0.0; places];
    connections.iter().for_each(|place| loads[*place] += 1.0);
    loads
}

/// Median and worst of a hundred.
fn quantiles(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() * 99 / 100])
}

fn given(random: &mut Random, connections: usize, places: usize) -> Vec<usize> {
    (0..connections).map(|_| random.below(places)).collect()
}

/// The load of the busiest worker at one moment.
fn at_once(random: &mut Random, connections: usize, workers: usize) -> (f64, f64) {
    quantiles((0..RUNS).map(|_| peak(&loads(&given(random, connections, workers), workers))).collect())
}

/// The same, averaged over so many ages: connections that end are given anew.
fn over_ages(random: &mut Random, connections: usize, workers: usize, ages: usize) -> (f64, f64) {
    let one = |random: &mut Random| {
        let mut sum = vec![0.0; workers];
        for _ in 0..ages {
            let loads = loads(&given(random, connections, workers), workers);
            sum.iter_mut().zip(loads).for_each(|(sum, load)| *sum += load);
        }
        peak(&sum)
    };
    quantiles((0..RUNS).map(|_| one(random)).collect())
}

/// Balancing by load: in each step the fullest worker ends one connection, which is given anew, for as long as it has more than
/// the mean and one. The steps that it takes, and the load of the busiest worker afterwards.
fn by_load(random: &mut Random, connections: usize, workers: usize) -> (f64, f64) {
    let bound = connections as f64 / workers as f64 + 1.0;
    let one = |random: &mut Random| {
        let mut loads = loads(&given(random, connections, workers), workers);
        let mut steps = 0;
        while let Some(full) = (0..workers).find(|at| loads[*at] > bound) {
            loads[full] -= 1.0;
            loads[random.below(workers)] += 1.0;
            steps += 1;
        }
        (f64::from(steps), peak(&loads))
    };
    let (steps, peaks) = (0..RUNS).map(|_| one(random)).unzip();
    (quantiles(steps).0, quantiles(peaks).0)
}

/// The part of its fair share that a new replica beside `old` ones has, so many tenths of an age after it came.
fn new_replica(random: &mut Random, connections: usize, old: usize, tenths: usize) -> f64 {
    let (mut came, fair) = (0_usize, (RUNS * connections) as f64 / (old + 1) as f64);
    for _ in 0..RUNS * connections {
        // How far a connection that was there is from its end, in ages.
        let age = 1.0 - JITTER * random.part();
        let left = age * random.part();
        let has_moved = left <= tenths as f64 / 10.0;
        came += usize::from(has_moved && random.below(old + 1) == old);
    }
    came as f64 / fair
}

fn model() -> String {
    let random = &mut Random(2026);
    let mut table = Table::new(&[
        "connections",
        "workers",
        "busiest ÷ mean",
        "over 6 ages",
        "over 24 ages",
        "by load: ends",
        "by load: busiest",
        "",
    ]);
    let cases = [(4, 2), (16, 2), (64, 2), (8, 8), (32, 8), (128, 8), (512, 8), (64, 64), (1024, 64)];
    for (connections, workers) in cases {
        let show = |(median, worst): (f64, f64)| format!("{median:.2} ({worst:.2})");
        let (steps, peak) = by_load(random, connections, workers);
        table.row([
            connections.to_string(),
            workers.to_string(),
            show(at_once(random, connections, workers)),
            show(over_ages(random, connections, workers, 6)),
            show(over_ages(random, connections, workers, 24)),
            format!("{steps:.0}"),
            format!("{peak:.2}"),
            String::new(),
        ]);
    }
    let mut replicas = Table::new(&["replicas before", "at once", "0.2", "0.5", "0.8", "1", "no age", ""]);
    for old in [1, 3, 9] {
        let part = |tenths| format!("{:.2}", new_replica(random, 200, old, tenths));
        let cells = [0, 2, 5, 8, 10].map(part);
        let ends = ["0.00".to_string(), String::new()];
        replicas.row(std::iter::once(old.to_string()).chain(cells).chain(ends));
    }
    format!(
        "\nmodel: busiest worker ÷ mean of all, median (worst of a hundred) of {RUNS} runs\n\n{}\n\
         model: a new replica's load ÷ its fair share, so many ages after it came\n\n{}",
        table.text(),
        replicas.text()
    )
}

#[derive(Parser)]
struct Cli {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    #[arg(long, default_value_t = 8)]
    workers: usize,
    #[arg(long, value_delimiter = ',', default_values_t = [8, 32])]
    connections: Vec<usize>,
    /// Requests per second of each connection
    #[arg(long, default_value_t = 40)]
    rate: u64,
    #[command(flatten)]
    common: CommonArgs,
}

/// A run of the gateway under connections that stay, or that end at an age.
struct Seen {
    connections: usize,
    age: &'static str,
    /// CPU of the busiest worker ÷ mean of all.
    busiest: f64,
    errors: u64,
    goaways: u64,
}

const AGES: [&str; 2] = ["none", "1s"];

fn main() -> Result<()> {
    let args = Cli::parse();
    os::catch_interrupts();
    os::raise_open_files(4096);
    let tools = Tools::find(&args.common)?;
    let dir = tempfile::Builder::new().prefix("umbra-bench-").tempdir()?;
    readable(dir.path())?;
    let load = machine::load_average();
    let model = model();
    println!("{model}");
    let mut all = Vec::new();
    for round in 0..args.rounds {
        for connections in &args.connections {
            for age in AGES {
                let dir = dir.path().join(format!("{round}-{connections}-{age}"));
                fs::create_dir_all(&dir)?;
                readable(&dir)?;
                let seen = measure(&args, &tools, *connections, age, &dir)?;
                eprintln!("  {connections} connections, age {age}: {:.2}", seen.busiest);
                all.push(seen);
            }
        }
    }
    let table = format!("{model}\n{}", measured(&args, &all));
    println!("{}", measured(&args, &all));
    if !args.common.no_keep {
        keep_run(&args, &tools, &all, table, load)?;
    }
    Ok(())
}

fn measure(args: &Cli, tools: &Tools, connections: usize, age: &'static str, dir: &Path) -> Result<Seen> {
    let origin = Origin::start(tools, "v1", 64, 512, false, dir)?;
    let limit = if age == "none" { String::new() } else { format!("connection_age_max = \"{age}\"\n") };
    let file = dir.join("gateway.toml");
    fs::write(
        &file,
        format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\nprotocols = [\"h2\", \"http1\"]\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [workers]\ncount = {}\npin = false\n[limits]\nconnections_max = 1024\n{limit}\
             [upstream.v1]\nendpoints = [\"{}\"]\n[[route]]\npath_prefix = \"/\"\nprimary = \"v1\"\n",
            args.workers, origin.addr
        ),
    )?;
    let gateway = Gateway::ours(&file, tools, dir)?;
    let admin = gateway.admin.context("no admin listener")?;
    let before = sums(&http::get(admin, "/metrics")?, "umbra_worker_cpu_seconds");
    let request = Request { method: "GET".into(), body_bytes: 0, keep_alive: true, path: "/".into() };
    let wires = Wires { streams: Some(4), ..Wires::default() };
    let rate = args.rate * connections as u64;
    let load = OpenLoop { loadgen: &tools.loadgen, wires, rate, connections, core: machine::load_core() };
    let (seen, _) = load.run(gateway.addr, &request, Duration::from_secs(args.seconds), dir)?;
    let text = http::get(admin, "/metrics")?;
    let after = sums(&text, "umbra_worker_cpu_seconds");
    let spent: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    let goaways = sums(&text, "umbra_http2_goaways_total{reason=\"age\"}").iter().sum::<f64>() as u64;
    Ok(Seen { connections, age, busiest: peak(&spent), errors: seen.errors, goaways })
}

/// The values of all series that begin so.
fn sums(metrics: &str, begin: &str) -> Vec<f64> {
    let lines = metrics.lines().filter(|line| line.starts_with(begin));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

fn of<'a>(all: &'a [Seen], connections: usize, age: &str) -> Vec<&'a Seen> {
    all.iter().filter(|seen| seen.connections == connections && seen.age == age).collect()
}

fn measured(args: &Cli, all: &[Seen]) -> String {
    let mut table = Table::new(&["connections", "age", "busiest ÷ mean", "ended by age", "errors", ""]);
    for connections in &args.connections {
        for age in AGES {
            let of = of(all, *connections, age);
            let busiest = Spread::of(of.iter().map(|seen| seen.busiest));
            table.row([
                connections.to_string(),
                age.to_string(),
                busiest.map_or(String::new(), |busiest| busiest.show(2)),
                of.iter().map(|seen| seen.goaways).sum::<u64>().to_string(),
                of.iter().map(|seen| seen.errors).sum::<u64>().to_string(),
                String::new(),
            ]);
        }
    }
    format!(
        "measured: CPU of the busiest of {} workers ÷ mean, over {} s of HTTP/2, {} requests/s on each connection\n\n{}",
        args.workers,
        args.seconds,
        args.rate,
        table.text()
    )
}

fn keep_run(args: &Cli, tools: &Tools, all: &[Seen], table: String, load: f64) -> Result<()> {
    let mut csv = String::from("connections,age,busiest_over_mean,ended_by_age,errors\n");
    for Seen { connections, age, busiest, errors, goaways } in all {
        writeln!(csv, "{connections},{age},{busiest:.3},{goaways},{errors}")?;
    }
    let group = |connections: &usize| Group {
        title: format!("{connections} connections"),
        bars: AGES
            .iter()
            .map(|age| Bar {
                label: format!("age {age}"),
                ours: true,
                spread: Spread::of(of(all, *connections, age).iter().map(|seen| seen.busiest)),
            })
            .collect(),
    };
    let groups: Vec<Group> = args.connections.iter().map(group).collect();
    let run = Run {
        topic: args.common.topic.as_deref().unwrap_or("imbalance"),
        asked: vec![
            "How unevenly do HTTP/2 connections load workers, and what does an age of connections change?"
                .to_string(),
        ],
        remarks: vec![format!(
            "The model gives equal connections to places by chance. `by load`: what it would take to end connections of the fullest worker,              one by one, until none has more than the mean and one. Measured with workers that share the machine's cores, so the shares              of CPU are theirs and the rates are not. Load average {load:.1} at the start."
        )],
        svg: chart::svg("imbalance", "busiest worker ÷ mean", &groups, None),
        table,
        csv,
        versions: tools.versions(&[Variant::OursPlain]),
    };
    println!("kept in {}", keep::keep(&run, &tools.root)?.display());
    Ok(())
}
