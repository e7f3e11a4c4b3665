//! CPU per request of the plainest HTTP/1.1 relay in four ways of using io_uring, monoio's among them, and of the gateway beside
//! them. Measures; the relays are in the rooms below.
//!
//!     cargo run --release -p bench --example multishot -- --rounds 9

mod head;
mod on_monoio;
mod relay;
mod ring;

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::chart::{self, Bar, Group};
use bench::cli::CommonArgs;
use bench::keep::{self, Run};
use bench::load::{self, Request, Seen};
use bench::origin::{Origin, readable};
use bench::peer::{Gateway, Targets};
use bench::process::Process;
use bench::procfs::{self, Cpu};
use bench::scenario::Setup;
use bench::stats::Spread;
use bench::table::Table;
use bench::tools::Tools;
use bench::variant::Variant;
use bench::{machine, os};
use clap::{Args, Parser, Subcommand, ValueEnum};

use ring::Way;

const RESPONSE_BYTES: usize = 64;
/// Unmeasured load before the first round.
const WARM_UP: Duration = Duration::from_secs(1);
/// Behind the load, until CPU is read.
const SETTLE: Duration = Duration::from_millis(200);

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    relay: Option<Task>,
    #[command(flatten)]
    measure: MeasureArgs,
}

#[derive(Subcommand)]
enum Task {
    /// One relay, until it is ended
    Relay { form: Form, origin: SocketAddr, counts: PathBuf },
}

#[derive(Args)]
struct MeasureArgs {
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Gateway,
    Monoio,
    OneShot,
    Multishot,
    Registered,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway, no mirror",
            Self::Monoio => "relay on monoio",
            Self::OneShot => "relay, one-shot",
            Self::Multishot => "relay, multishot",
            Self::Registered => "relay, registered",
        }
    }

    fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
    }

    fn serve(self, listener: TcpListener, origin: SocketAddr, counts: &Path) -> Result<()> {
        match self {
            Self::Gateway => anyhow::bail!("the gateway is a program of its own"),
            Self::Monoio => on_monoio::serve(listener, origin)?,
            Self::OneShot => relay::serve(Way::OneShot, listener, origin, counts)?,
            Self::Multishot => relay::serve(Way::Multishot, listener, origin, counts)?,
            Self::Registered => relay::serve(Way::Registered, listener, origin, counts)?,
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.relay {
        Some(Task::Relay { form, origin, counts }) => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            println!("listening on {}", listener.local_addr()?);
            form.serve(listener, origin, &counts)
        }
        None => measure(&cli.measure),
    }
}

/// A form under measurement.
struct Measured {
    form: Form,
    addr: SocketAddr,
    /// The file into which a relay of ours writes its counts.
    counts: PathBuf,
    program: Program,
    samples: Vec<Sample>,
}

enum Program {
    Relay(Process),
    Gateway(Gateway),
}

impl Program {
    fn pid(&self) -> u32 {
        match self {
            Self::Relay(process) => process.pid(),
            Self::Gateway(gateway) => gateway.pid(),
        }
    }
}

struct Sample {
    seen: Seen,
    cpu: Cpu,
    /// Requests, calls into the kernel, entries submitted and completions.
    counts: [u64; 4],
}

impl Sample {
    /// Microseconds per request.
    fn cost(&self) -> f64 {
        (self.cpu.user_s + self.cpu.sys_s) * 1e6 / self.seen.requests.max(1) as f64
    }

    fn user(&self) -> f64 {
        self.cpu.user_s * 1e6 / self.seen.requests.max(1) as f64
    }

    /// Of so many per request; nothing where it is not known.
    fn each(&self, at: usize) -> f64 {
        self.counts[at] as f64 / self.counts[0] as f64
    }
}

fn measure(args: &MeasureArgs) -> Result<()> {
    ensure!(args.rounds >= 1 && args.seconds >= 1, "--rounds and --seconds: at least 1");
    os::catch_interrupts();
    os::raise_open_files(4096);
    let tools = Tools::find(&args.common)?;
    let dir = tempfile::Builder::new().prefix("umbra-bench-").tempdir()?;
    let dir = dir.path();
    readable(dir)?;
    let before = machine::load_average();
    let origin = Origin::start(&tools, "v1", RESPONSE_BYTES, args.connections, false, dir)?;
    let mut all: Vec<Measured> = Form::value_variants()
        .iter()
        .map(|form| start(*form, args, &tools, &origin, dir).with_context(|| form.name()))
        .collect::<Result<_>>()?;
    for measured in &mut all {
        run(measured, args, &tools, WARM_UP, dir)?;
    }
    for round in 0..args.rounds {
        for turn in 0..all.len() {
            let at = (round + turn) % all.len();
            let measured = &mut all[at];
            let sample = run(measured, args, &tools, Duration::from_secs(args.seconds), dir)?;
            eprintln!("  {}/{} {}: {:.2} µs", round + 1, args.rounds, measured.form.name(), sample.cost());
            measured.samples.push(sample);
        }
    }
    let table = table(&all);
    println!("{table}");
    if !args.common.no_keep {
        println!("kept in {}", keep_run(args, &tools, &all, table, before)?.display());
    }
    Ok(())
}

fn start(form: Form, args: &MeasureArgs, tools: &Tools, origin: &Origin, dir: &Path) -> Result<Measured> {
    let counts = dir.join(format!("{}.counts", form.word()));
    let (addr, program) = match form {
        Form::Gateway => {
            let setup = Setup::plain(args.connections, args.connections);
            let targets = Targets { primary: origin.addr, mirrors: Vec::new() };
            let gateway = Gateway::start(Variant::OursPlain, &setup, &targets, tools, dir, "gateway")?;
            (gateway.addr, Program::Gateway(gateway))
        }
        Form::Monoio | Form::OneShot | Form::Multishot | Form::Registered => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("relay").arg(form.word()).arg(origin.addr.to_string()).arg(&counts);
            let mut process = Process::start(&form.word(), command, dir, true)?;
            let addr = process.wait_line(|line| line.strip_prefix("listening on ")?.parse().ok())?;
            (addr, Program::Relay(process))
        }
    };
    Ok(Measured { form, addr, counts, program, samples: Vec::new() })
}

fn run(
    measured: &mut Measured,
    args: &MeasureArgs,
    tools: &Tools,
    time: Duration,
    dir: &Path,
) -> Result<Sample> {
    let request = Request { method: "GET".into(), body_bytes: 0, keep_alive: true, path: "/".into() };
    let pid = measured.program.pid();
    let (cpu, counts) = (procfs::cpu(pid), read_counts(&measured.counts));
    let seen = load::run(tools, measured.addr, &request, args.connections, time, machine::load_core(), dir)?;
    thread::sleep(SETTLE);
    ensure!(seen.errors == 0, "{}: {} errors", measured.form.name(), seen.errors);
    let after = read_counts(&measured.counts);
    let counts = std::array::from_fn(|at| after[at].saturating_sub(counts[at]));
    Ok(Sample { seen, cpu: procfs::cpu(pid).since(cpu), counts })
}

/// Zeroes where nothing was counted.
fn read_counts(path: &Path) -> [u64; 4] {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

fn costs(measured: &Measured) -> Vec<f64> {
    measured.samples.iter().map(Sample::cost).collect()
}

fn table(all: &[Measured]) -> String {
    let of = |form| all.iter().find(|measured| measured.form == form).map(costs).unwrap_or_default();
    let (gateway, monoio) = (of(Form::Gateway), of(Form::Monoio));
    let mut table = Table::new(&[
        "form",
        "CPU µs/request",
        "user",
        "÷ gateway",
        "÷ on monoio",
        "saved, of the gateway's",
        "enters/request",
        "entries",
        "completions",
        "requests/s",
        "p99 µs",
    ]);
    for measured in all {
        let spread = |value: &dyn Fn(&Sample) -> f64, decimals| {
            Spread::of(measured.samples.iter().map(value))
                .map_or_else(|| "—".to_string(), |s| s.show(decimals))
        };
        let median = |value: &dyn Fn(&Sample) -> f64, decimals: usize| {
            let spread = Spread::of(measured.samples.iter().map(value));
            spread.map_or_else(|| "—".to_string(), |s| format!("{:.decimals$}", s.median))
        };
        let own = costs(measured);
        let ratio = |to: &[f64]| Spread::of_ratios(&own, to).map_or_else(|| "—".to_string(), |s| s.show(2));
        // The saving that this way of use would bring the gateway, taken as that of the relay beside the one on monoio.
        let saved: Vec<f64> =
            monoio.iter().zip(&own).zip(&gateway).map(|((m, o), g)| 100.0 * (m - o) / g).collect();
        let saved = match measured.form {
            Form::Gateway | Form::Monoio => "—".to_string(),
            _ => Spread::of(saved).map_or_else(|| "—".to_string(), |s| format!("{} %", s.show(1))),
        };
        table.row([
            measured.form.name().to_string(),
            spread(&Sample::cost, 2),
            median(&Sample::user, 2),
            ratio(&gateway),
            ratio(&monoio),
            saved,
            median(&|sample| sample.each(1), 2),
            median(&|sample| sample.each(2), 2),
            median(&|sample| sample.each(3), 2),
            median(&|sample| sample.seen.rate(), 0),
            median(&|sample| sample.seen.p99, 0),
        ]);
    }
    table.text()
}

fn keep_run(
    args: &MeasureArgs,
    tools: &Tools,
    all: &[Measured],
    table: String,
    load: f64,
) -> Result<PathBuf> {
    let bars = |measured: &Measured| Bar {
        label: measured.form.name().to_string(),
        ours: measured.form == Form::Gateway,
        spread: Spread::of(costs(measured)),
    };
    let groups = [Group { title: "GET, 64-byte answer".to_string(), bars: all.iter().map(bars).collect() }];
    let mut csv = String::from("form,round,requests,user_s,sys_s,p50_us,p99_us,enters,entries,completions\n");
    for measured in all {
        for (round, s) in measured.samples.iter().enumerate() {
            let [_, enters, entries, completions] = s.counts;
            let (word, seen) = (measured.form.word(), &s.seen);
            writeln!(
                csv,
                "{word},{round},{},{:.3},{:.3},{},{},{enters},{entries},{completions}",
                seen.requests, s.cpu.user_s, s.cpu.sys_s, seen.p50, seen.p99
            )?;
        }
    }
    let run = Run {
        topic: args.common.topic.as_deref().unwrap_or("multishot"),
        asked: vec![
            "What would multishot receives, provided buffers and registered descriptors save of a request's CPU?".to_string(),
        ],
        remarks: vec![
            format!(
                "{} kept connections, one worker each, nobody pinned but wrk (core 1); {} rounds of {} s in turn; load average {load:.1} at \
                 the start. `saved`: what a form costs less than the relay on monoio, in hundredths of what the gateway costs in the same \
                 round.",
                args.connections, args.rounds, args.seconds
            ),
            "All forms ask for SINGLE_ISSUER, COOP_TASKRUN and DEFER_TASKRUN, as the gateway does through monoio. `one-shot` does on the \
             bare ring what monoio does; `multishot` asks once for all that a connection receives, into blocks of a ring of them; \
             `registered` names connections and ring by registered tables. The relays look for a head's end and its Content-Length, and \
             for nothing else."
                .to_string(),
        ],
        svg: chart::svg("multishot", "CPU µs per request", &groups, None),
        table,
        csv,
        versions: tools.versions(&[Variant::OursPlain]),
    };
    keep::keep(&run, &tools.root)
}
