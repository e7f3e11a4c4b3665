//! `idle`: a gateway's memory for a keep-alive connection while it is idle, after it has made one request. Resident memory of
//! the process tree only: the kernel's memory for a socket is the same for every gateway.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Bench;
use crate::chart::{self, Bar, Group};
use crate::cli::IdleArgs;
use crate::clients::Clients;
use crate::keep::Run;
use crate::origin::{Origin, readable};
use crate::peer::{Gateway, Targets};
use crate::procfs::Memory;
use crate::scenario::Setup;
use crate::stats::Spread;
use crate::table::{Table, dash};
use crate::variant::{Program, Variant};
use crate::wires::{Sessions, Wires};
use crate::{os, tools};

const VARIANTS: [Variant; 6] = [
    Variant::OursPlain,
    Variant::OursMirror,
    Variant::NginxPlain,
    Variant::HaproxyPlain,
    Variant::EnvoyPlain,
    Variant::EnvoyMirror,
];
/// Bytes of resident memory that ours may spend on one, and on one over TLS.
const GOAL_BYTES: f64 = 1024.0;
const GOAL_BYTES_TLS: f64 = 10.0 * 1024.0;
/// Requests before the first reading, so that memory of the first requests is in it.
const WARM_UP_REQUESTS: usize = 256;
/// Time for copies, timers and allocators to finish after the last request: a connection is idle for minutes.
const SETTLE: Duration = Duration::from_secs(3);
const RESPONSE_BYTES: usize = 64;

/// A round of one variant: memory without connections, then with each number of them.
struct Reading {
    base: Memory,
    held: Vec<(usize, Memory)>,
}

pub(super) fn run(args: &IdleArgs) -> Result<()> {
    let most = args.connections.iter().copied().max().unwrap_or(0);
    ensure!(
        args.connections.is_sorted() && most > 0,
        "--connections: rising numbers, such as 1000,4000,5000"
    );
    ensure!(args.rounds >= 1 && args.together >= 1, "--rounds and --together: at least 1");
    let bench = Bench::open(&args.common)?;
    ensure!(
        (most as u64) + 512 < bench.open_files,
        "{most} connections need more than the {} descriptors allowed: raise `ulimit -Hn`",
        bench.open_files
    );
    let variants = bench.tools.runnable(&tools::only(&VARIANTS, &args.common.variants)?);
    let mut readings: Vec<(Variant, Vec<Reading>)> = variants.iter().map(|v| (*v, Vec::new())).collect();
    for round in 0..args.rounds {
        for (variant, of) in &mut readings {
            match measure(&bench, *variant, round, most, args) {
                Ok(reading) => of.push(reading),
                Err(error) if os::interrupted() => return Err(error),
                Err(error) => eprintln!("\n  !!! NO FIGURE for {}: {error:#}\n", variant.name()),
            }
        }
    }
    let text = show(&readings, args);
    println!("{text}");
    let last = args.connections.len() - 1;
    let bar = |(variant, of): &(Variant, Vec<Reading>)| Bar {
        label: variant.name().to_string(),
        ours: variant.is_ours(),
        spread: Spread::of(of.iter().map(|r| r.each(last))),
    };
    let group = Group { title: format!("{most} idle connections"), bars: readings.iter().map(bar).collect() };
    bench.keep(
        &args.common,
        &Run {
            topic: args.common.topic.as_deref().unwrap_or(if args.tls { "tls_idle" } else { "idle" }),
            asked: vec![format!(
                "How much resident memory does an idle keep-alive connection{} cost?",
                if args.tls { " over TLS" } else { "" }
            )],
            remarks: [bench.remarks.clone(), vec![HOW.to_string()]].concat(),
            table: text,
            csv: csv(&readings),
            svg: chart::svg("Idle keep-alive connections", "resident bytes per connection", &[group], None),
            versions: bench.tools.versions(&variants),
        },
    )
}

const HOW: &str = "Each connection makes one request and then rests. Figures are resident memory of the gateway's \
    processes above what they had after a warm-up without connections; kernel memory is in none. nginx makes the \
    structures of all connections it may ever have when it starts, some 420 bytes each: they are in `before` and not in its \
    figures per connection.";
const UNFAIR: &str =
    "  unfair: nginx_plain has some 420 more bytes for each in `before`, made when it starts\n";

impl Reading {
    /// Bytes per connection at one of the numbers.
    fn each(&self, at: usize) -> f64 {
        self.held.get(at).map_or(f64::NAN, |(count, memory)| {
            (memory.resident as f64 - self.base.resident as f64) / *count as f64
        })
    }

    /// Bytes per connection from the first number to the last: without the memory that any first connection brings along.
    fn each_more(&self) -> f64 {
        match (self.held.first(), self.held.last()) {
            (Some((few, less)), Some((many, more))) if many > few => {
                (more.resident as f64 - less.resident as f64) / (many - few) as f64
            }
            _ => f64::NAN,
        }
    }
}

fn measure(bench: &Bench, variant: Variant, round: usize, most: usize, args: &IdleArgs) -> Result<Reading> {
    let dir = bench.dir.path().join(format!("{}-{round}", variant.name()));
    std::fs::create_dir_all(&dir)?;
    readable(&dir)?;
    let origin = |name| Origin::start(&bench.tools, name, RESPONSE_BYTES, args.together, false, &dir);
    let (primary, mirror) = (origin("v1")?, origin("v2")?);
    let targets = Targets { primary: primary.addr, mirrors: vec![mirror.addr] };
    let setup = Setup {
        mirrors: 1,
        wires: Wires { tls: if args.tls { Sessions::Full } else { Sessions::None }, ..Wires::default() },
        ..Setup::plain(most, args.together)
    };
    let mut gateway = Gateway::start(variant, &setup, &targets, &bench.tools, &dir, "gateway")?;

    let new = || {
        let clients = Clients::new(gateway.addr, RESPONSE_BYTES, args.together);
        if args.tls { clients.over_tls() } else { Ok(clients) }
    };
    for _ in 0..WARM_UP_REQUESTS.div_ceil(args.together) {
        new()?.open(args.together)?;
    }
    thread::sleep(SETTLE);
    let base = gateway.memory();
    let mut clients = new()?;
    let mut held = Vec::new();
    for count in &args.connections {
        clients.open(*count)?;
        thread::sleep(SETTLE);
        held.push((*count, gateway.memory()));
    }
    // A gateway that had closed them would look frugal.
    clients.probe()?;
    gateway.check_alive()?;
    let reading = Reading { base, held };
    let last = reading.each(args.connections.len() - 1);
    eprintln!("  idle {}/{}: {} {most} held, {last:.0} B each", round + 1, args.rounds, variant.name());
    Ok(reading)
}

fn show(readings: &[(Variant, Vec<Reading>)], args: &IdleArgs) -> String {
    let mut head = vec!["variant".to_string(), "before, MiB".to_string()];
    head.extend(args.connections.iter().map(|count| format!("B each of {count}")));
    head.extend(["B each further".to_string(), String::new()]);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(&head);
    let mut goals = String::new();
    let goal = if args.tls { GOAL_BYTES_TLS } else { GOAL_BYTES };
    for (variant, of) in readings {
        let spread = |figure: &dyn Fn(&Reading) -> f64| Spread::of(of.iter().map(figure));
        let cell = |s: Option<Spread>| s.map_or_else(dash, |s| s.show(0));
        let before = spread(&|r| r.base.resident as f64 / f64::from(1 << 20));
        let mut row =
            vec![variant.name().to_string(), before.map_or_else(dash, |s| format!("{:.1}", s.median))];
        row.extend((0..args.connections.len()).map(|at| cell(spread(&|r| r.each(at)))));
        row.extend([cell(spread(&Reading::each_more)), String::new()]);
        table.row(row);
        if variant.is_ours() {
            let last = spread(&|r| r.each(args.connections.len() - 1));
            let verdict = match last {
                None => "NO FIGURE",
                Some(spread) if spread.median <= goal => "met",
                Some(_) => "NOT MET",
            };
            let _ = writeln!(
                goals,
                "  goal: {} ≤ {goal:.0} B per idle connection: {}  {verdict}",
                variant.name(),
                cell(last)
            );
        }
    }
    format!(
        "\nidle — resident bytes per idle keep-alive connection, kernel excluded\n\n{}{}\n{goals}",
        table.text(),
        if readings.iter().any(|(v, _)| v.program() == Program::Nginx) { UNFAIR } else { "" },
    )
}

fn csv(readings: &[(Variant, Vec<Reading>)]) -> String {
    let mut out = String::from("variant,round,connections,resident_bytes,private_bytes,bytes_each\n");
    for (variant, of) in readings {
        for (round, reading) in of.iter().enumerate() {
            let base = &reading.base;
            let _ = writeln!(out, "{},{},0,{},{},", variant.name(), round + 1, base.resident, base.private);
            for (at, (count, memory)) in reading.held.iter().enumerate() {
                let _ = writeln!(
                    out,
                    "{},{},{count},{},{},{:.1}",
                    variant.name(),
                    round + 1,
                    memory.resident,
                    memory.private,
                    reading.each(at)
                );
            }
        }
    }
    out
}
