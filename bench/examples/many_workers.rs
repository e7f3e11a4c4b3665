//! The cost of one worker more, on any machine: memory, CPU while nothing happens, a scrape, a change. Says nothing of the use of
//! more cores.
//!
//!     cargo run --release -p bench --example many_workers

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bench::chart::{self, Bar, Group};
use bench::cli::CommonArgs;
use bench::keep::{self, Run};
use bench::load::{self, Request};
use bench::origin::{Origin, readable};
use bench::peer::Gateway;
use bench::stats::Spread;
use bench::table::Table;
use bench::tools::Tools;
use bench::variant::Variant;
use bench::{http, machine, os, procfs};
use clap::{Args, Parser};

/// Until memory and CPU are those of rest.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(5);
/// Connections, so that every worker has some.
const CONNECTIONS_EACH: usize = 4;
const SCRAPES: usize = 7;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ManyArgs,
}

#[derive(Args)]
struct ManyArgs {
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
    workers: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1000])]
    routes: Vec<usize>,
    #[command(flatten)]
    common: CommonArgs,
}

struct Seen {
    workers: usize,
    routes: usize,
    /// Bytes of private memory, behind a second of load on one route.
    memory: u64,
    /// Microseconds of CPU in a second in which nothing happens.
    idle_us: f64,
    /// Milliseconds until a scrape's last byte, and its bytes.
    scrape_ms: Spread,
    scrape_bytes: usize,
    /// Milliseconds of CPU for a change of one percentage, all that it brings along.
    change_ms: f64,
}

fn main() -> Result<()> {
    let Cli { args } = Cli::parse();
    os::catch_interrupts();
    os::raise_open_files(65_536);
    let tools = Tools::find(&args.common)?;
    let dir = tempfile::Builder::new().prefix("umbra-bench-").tempdir()?;
    readable(dir.path())?;
    let load = machine::load_average();
    let mut all = Vec::new();
    for routes in &args.routes {
        for workers in &args.workers {
            ensure!(!os::interrupted(), "interrupted");
            let seen = measure(&tools, *workers, *routes, dir.path())?;
            eprintln!("  {workers} workers, {routes} routes: {:.1} MiB", seen.memory as f64 / 1048576.0);
            all.push(seen);
        }
    }
    let table = table(&all);
    println!("{table}");
    if !args.common.no_keep {
        println!("kept in {}", keep_run(&args, &tools, &all, table, load)?.display());
    }
    Ok(())
}

fn configuration(origin: &Origin, workers: usize, routes: usize, percent: u32) -> Result<String> {
    let mut text = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = {workers}\npin = false\n\
         [limits]\nconnections_max = 1024\n[upstream.v1]\nendpoints = [\"{0}\"]\n[upstream.v2]\nendpoints = [\"{0}\"]\n",
        origin.addr
    );
    for route in 0..routes {
        let percent = if route == 0 { percent } else { 100 };
        write!(
            text,
            "[[route]]\nname = \"r{route}\"\npath_prefix = \"/r/{route}/\"\nprimary = \"v1\"\n\
             mirrors = [{{ upstream = \"v2\", percent = {percent} }}]\n"
        )?;
    }
    Ok(text)
}

fn measure(tools: &Tools, workers: usize, routes: usize, dir: &Path) -> Result<Seen> {
    let dir = dir.join(format!("{workers}-{routes}"));
    fs::create_dir_all(&dir)?;
    readable(&dir)?;
    let connections = CONNECTIONS_EACH * workers;
    let origin = Origin::start(tools, "v1", 64, 2 * connections, false, &dir)?;
    let file = dir.join("gateway.toml");
    fs::write(&file, configuration(&origin, workers, routes, 100)?)?;
    let gateway = Gateway::ours(&file, tools, &dir)?;
    let admin = gateway.admin.ok_or_else(|| anyhow::anyhow!("no admin listener"))?;
    let request = Request { method: "GET".into(), body_bytes: 0, keep_alive: true, path: "/r/0/".into() };
    let second = Duration::from_secs(1);
    load::run(tools, gateway.addr, &request, connections, second, machine::load_core(), &dir)?;
    thread::sleep(SETTLE);
    let memory = gateway.memory().private;
    let cpu = || {
        let cpu = procfs::cpu(gateway.pid());
        cpu.user_s + cpu.sys_s
    };
    let before = cpu();
    thread::sleep(IDLE);
    let idle_us = (cpu() - before) * 1e6 / IDLE.as_secs_f64();
    let mut scrapes = Vec::new();
    let mut scrape_bytes = 0;
    for _ in 0..SCRAPES {
        let began = Instant::now();
        scrape_bytes = http::get(admin, "/metrics")?.len();
        scrapes.push(began.elapsed().as_secs_f64() * 1e3);
    }
    fs::write(&file, configuration(&origin, workers, routes, 50)?)?;
    let before = cpu();
    os::send_signal(gateway.pid(), libc::SIGHUP);
    thread::sleep(SETTLE);
    let change_ms = (cpu() - before) * 1e3 - idle_us * SETTLE.as_secs_f64() / 1e3;
    let metrics = http::get(admin, "/metrics")?;
    let applied = metrics.lines().any(|line| line.starts_with("umbra_reloads_total{result=\"applied\"} 1"));
    ensure!(applied, "the change was not applied within {SETTLE:?}");
    let scrape_ms = Spread::of(scrapes).ok_or_else(|| anyhow::anyhow!("no scrape"))?;
    Ok(Seen { workers, routes, memory, idle_us, scrape_ms, scrape_bytes, change_ms })
}

fn table(all: &[Seen]) -> String {
    let mut table = Table::new(&[
        "routes",
        "workers",
        "memory MiB",
        "idle CPU µs/s",
        "scrape ms",
        "scrape KiB",
        "a change, CPU ms",
        "",
    ]);
    for seen in all {
        table.row([
            seen.routes.to_string(),
            seen.workers.to_string(),
            format!("{:.1}", seen.memory as f64 / 1048576.0),
            format!("{:.0}", seen.idle_us),
            seen.scrape_ms.show(1),
            (seen.scrape_bytes / 1024).to_string(),
            format!("{:.0}", seen.change_ms),
            String::new(),
        ]);
    }
    table.text()
}

fn keep_run(args: &ManyArgs, tools: &Tools, all: &[Seen], table: String, load: f64) -> Result<PathBuf> {
    let mut csv =
        String::from("routes,workers,memory_bytes,idle_us_per_s,scrape_ms,scrape_bytes,change_cpu_ms\n");
    for s in all {
        let Seen { workers, routes, memory, idle_us, scrape_ms, scrape_bytes, change_ms } = s;
        writeln!(
            csv,
            "{routes},{workers},{memory},{idle_us:.0},{:.2},{scrape_bytes},{change_ms:.1}",
            scrape_ms.median
        )?;
    }
    let bar = |seen: &Seen| Bar {
        label: format!("{} workers", seen.workers),
        ours: true,
        spread: Some(seen.scrape_ms),
    };
    let groups = args.routes.iter().map(|routes| Group {
        title: format!("{routes} routes"),
        bars: all.iter().filter(|seen| seen.routes == *routes).map(bar).collect(),
    });
    let groups: Vec<Group> = groups.collect();
    let run = Run {
        topic: args.common.topic.as_deref().unwrap_or("many-workers"),
        asked: vec![
            "What does a worker more cost the process in memory, rest, scrapes and changes?".to_string(),
        ],
        remarks: vec![format!(
            "One mirror on each route; {CONNECTIONS_EACH} kept connections for each worker, a second of load on one route before. Memory \
             is resident and private. Idle CPU is that of {} s without a request. A change is one percentage of one route by SIGHUP: \
             CPU of all that follows within {} s. Load average {load:.1} at the start; more workers than cores, so nothing here is a \
             rate of requests.",
            IDLE.as_secs(),
            SETTLE.as_secs()
        )],
        svg: chart::svg("many workers", "milliseconds of a scrape", &groups, None),
        table,
        csv,
        versions: tools.versions(&[Variant::OursPlain]),
    };
    keep::keep(&run, &tools.root)
}
