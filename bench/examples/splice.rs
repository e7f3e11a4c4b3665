//! CPU of a relay that sends large bodies to one peer, or to two: read and written, or as pages that go from socket to socket
//! through pipes and are not copied. The relay does nothing else, so a form's saving is the most that it can be.
//!
//!     cargo run --release -p bench --example splice

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;

use anyhow::{Context, Result, ensure};
use bench::chart::{self, Bar, Group};
use bench::cli::CommonArgs;
use bench::keep::{self, Run};
use bench::machine;
use bench::stats::Spread;
use bench::table::Table;
use bench::tools::Tools;
use clap::Parser;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice, tee};

#[derive(Parser)]
struct Cli {
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Bytes that each form relays in a round, in MiB
    #[arg(long, default_value_t = 256)]
    mebibytes: usize,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Reads of this many bytes at most, each written as it is.
    Copied(usize),
    /// Pages move from socket to pipe to socket; the mirror's are those of the primary.
    Spliced,
}

const FORMS: [(Form, &str); 4] = [
    (Form::Copied(16 << 10), "reads of 16 KiB"),
    (Form::Copied(64 << 10), "reads of 64 KiB"),
    (Form::Copied(256 << 10), "reads of 256 KiB"),
    (Form::Spliced, "splice and tee"),
];
const BODIES: [usize; 2] = [64 << 10, 1 << 20];
/// Room of a pipe.
const PIPE_BYTES: usize = 256 << 10;

/// Both ends of a connection over loopback.
fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    Ok((one, other))
}

/// Microseconds that the calling thread has had a core.
fn thread_us() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().context("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e3)
}

/// The CPU of `work` on a thread of its own.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = thread_us()?;
    work()?;
    Ok(thread_us()? - before)
}

/// Takes bodies whole and answers each with a byte.
fn origin(mut from: TcpStream, body: usize, count: usize) -> Result<()> {
    let mut buffer = vec![0; PIPE_BYTES];
    for _ in 0..count {
        let mut left = body;
        while left > 0 {
            let most = left.min(buffer.len());
            let n = from.read(&mut buffer[..most])?;
            ensure!(n > 0, "a body ended early");
            left -= n;
        }
        from.write_all(b"k")?;
    }
    Ok(())
}

fn client(mut to: TcpStream, body: usize, count: usize) -> Result<()> {
    let content = vec![b'x'; body];
    for _ in 0..count {
        to.write_all(&content)?;
        to.read_exact(&mut [0])?;
    }
    Ok(())
}

struct Relay {
    client: TcpStream,
    primary: TcpStream,
    mirror: Option<TcpStream>,
}

impl Relay {
    fn run(mut self, form: Form, body: usize, count: usize) -> Result<()> {
        let pipes = [sized_pipe()?, sized_pipe()?];
        let mut buffer = vec![0; if let Form::Copied(bytes) = form { bytes } else { 0 }];
        for _ in 0..count {
            let mut left = body;
            while left > 0 {
                left -= match form {
                    Form::Copied(bytes) => self.copy(&mut buffer[..bytes.min(left)])?,
                    Form::Spliced => self.splice(&pipes, left)?,
                };
            }
            self.primary.read_exact(&mut [0])?;
            self.client.write_all(b"k")?;
            if let Some(mirror) = &mut self.mirror {
                mirror.read_exact(&mut [0])?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = self.client.read(buffer)?;
        ensure!(n > 0, "the client left");
        self.primary.write_all(&buffer[..n])?;
        if let Some(mirror) = &mut self.mirror {
            mirror.write_all(&buffer[..n])?;
        }
        Ok(n)
    }

    fn splice(&self, [own, other]: &[(OwnedFd, OwnedFd); 2], left: usize) -> Result<usize> {
        let n = splice(&self.client, None, &own.1, None, left.min(PIPE_BYTES), SpliceFlags::MOVE)?;
        ensure!(n > 0, "the client left");
        let more = if left > n { SpliceFlags::MORE } else { SpliceFlags::empty() };
        if self.mirror.is_some() {
            // The other pipe is empty and has as much room.
            ensure!(
                tee(&own.0, &other.1, n, SpliceFlags::empty())? == n,
                "a pipe took less than it has room"
            );
        }
        drain(&own.0, &self.primary, n, more)?;
        if let Some(mirror) = &self.mirror {
            drain(&other.0, mirror, n, more)?;
        }
        Ok(n)
    }
}

fn sized_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let ends = pipe()?;
    fcntl_setpipe_size(&ends.1, PIPE_BYTES)?;
    Ok(ends)
}

fn drain(from: &OwnedFd, to: &TcpStream, mut left: usize, more: SpliceFlags) -> Result<()> {
    while left > 0 {
        left -= splice(from, None, to, None, left, SpliceFlags::MOVE | more)?;
    }
    Ok(())
}

/// CPU in microseconds for each body: the relay's, and everybody's.
fn measure(form: Form, body: usize, is_mirrored: bool, count: usize) -> Result<(f64, f64)> {
    let ((asks, from), (to, takes)) = (connection()?, connection()?);
    let (mirror, takes_copies) = if is_mirrored { Some(connection()?) } else { None }.unzip();
    let relay = Relay { client: from, primary: to, mirror };
    let (own, others) = thread::scope(|scope| -> Result<_> {
        let mut others = vec![
            scope.spawn(move || timed(|| client(asks, body, count))),
            scope.spawn(move || timed(|| origin(takes, body, count))),
        ];
        others.extend(takes_copies.map(|takes| scope.spawn(move || timed(|| origin(takes, body, count)))));
        let own = timed(|| relay.run(form, body, count))?;
        let mut sum = 0.0;
        for other in others {
            sum += other.join().ok().context("a thread panicked")??;
        }
        Ok((own, sum))
    })?;
    Ok((own / count as f64, (own + others) / count as f64))
}

struct Row {
    body: usize,
    is_mirrored: bool,
    name: &'static str,
    form: Form,
    own: Vec<f64>,
    all: Vec<f64>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(cli.rounds >= 1 && cli.mebibytes >= 1, "--rounds and --mebibytes: at least 1");
    let before = machine::load_average();
    let mut rows: Vec<Row> = Vec::new();
    for body in BODIES {
        for is_mirrored in [false, true] {
            let row = |(form, name)| Row { body, is_mirrored, name, form, own: vec![], all: vec![] };
            rows.extend(FORMS.map(row));
        }
    }
    for round in 0..cli.rounds {
        for row in &mut rows {
            let count = (cli.mebibytes << 20) / row.body;
            let (own, all) = measure(row.form, row.body, row.is_mirrored, count)?;
            row.own.push(own);
            row.all.push(all);
        }
        eprintln!("  {}/{}", round + 1, cli.rounds);
    }
    let table = table(&rows);
    println!("{table}");
    if !cli.common.no_keep {
        println!("kept in {}", kept(&cli, &rows, table, before)?.display());
    }
    Ok(())
}

fn title(row: &Row) -> String {
    format!("{} KiB{}", row.body >> 10, if row.is_mirrored { ", mirrored" } else { "" })
}

/// The same bodies, read 64 KiB at a time.
fn base<'r>(rows: &'r [Row], of: &Row) -> &'r Row {
    let is_it = |row: &&Row| {
        row.body == of.body && row.is_mirrored == of.is_mirrored && row.form == Form::Copied(64 << 10)
    };
    rows.iter().find(is_it).unwrap_or(&rows[0])
}

fn table(rows: &[Row]) -> String {
    let mut table =
        Table::new(&["body", "form", "relay, CPU µs", "÷ 64 KiB", "everybody, CPU µs", "÷ with 64 KiB"]);
    let show = |spread: Option<Spread>, decimals| spread.map_or_else(String::new, |s| s.show(decimals));
    for row in rows {
        let base = base(rows, row);
        table.row([
            title(row),
            row.name.to_string(),
            show(Spread::of(row.own.iter().copied()), 1),
            show(Spread::of_ratios(&row.own, &base.own), 2),
            show(Spread::of(row.all.iter().copied()), 1),
            show(Spread::of_ratios(&row.all, &base.all), 2),
        ]);
    }
    table.text()
}

fn kept(cli: &Cli, rows: &[Row], table: String, load: f64) -> Result<std::path::PathBuf> {
    let tools = Tools::find(&cli.common)?;
    let groups: Vec<Group> = rows
        .chunks(FORMS.len())
        .map(|rows| Group {
            title: title(&rows[0]),
            bars: rows
                .iter()
                .map(|row| Bar {
                    label: row.name.to_string(),
                    // The gateway's blocks grow once one is full.
                    ours: row.form == Form::Copied(if row.body > 64 << 10 { 256 << 10 } else { 64 << 10 }),
                    spread: Spread::of(row.own.iter().copied()),
                })
                .collect(),
        })
        .collect();
    let mut csv = String::from("body,mirrored,form,round,relay_us,everybody_us\n");
    for row in rows {
        for (round, (own, all)) in row.own.iter().zip(&row.all).enumerate() {
            writeln!(csv, "{},{},{},{round},{own:.2},{all:.2}", row.body, row.is_mirrored, row.name)?;
        }
    }
    let run = Run {
        topic: cli.common.topic.as_deref().unwrap_or("splice"),
        asked: vec![
            "What would pages that are not copied (splice, tee) or larger reads save of a large body's CPU?"
                .to_string(),
        ],
        remarks: vec![format!(
            "One thread relays over blocking sockets on loopback and looks at no byte; client, v1 and v2 are a thread each; nobody is \
             pinned. {} rounds in turn of {} MiB each; load average {load:.1} at the start.",
            cli.rounds, cli.mebibytes
        )],
        svg: chart::svg("splice", "CPU µs of the relay per body", &groups, None),
        table,
        csv,
        versions: Vec::new(),
    };
    keep::keep(&run, &tools.root)
}
