//! From arguments to a run and its report: the commands that send load share this. Measures nothing itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;

use crate::args::{LoadArgs, OutputArgs, RunArgs};
use crate::call::Call;
use crate::replay::{self, Recording};
use crate::report::assertion::Judged;
use crate::report::document::Document;
use crate::report::interval::{All, Csv, HistogramLog, hgrm};
use crate::report::progress::Progress;
use crate::report::{html, text};
use crate::run::request::{Mix, Shape, sized_body};
use crate::run::{self, Observer, Options};
use crate::tls;
use crate::{Exit, file};

/// A message of a WebSocket of which nothing is said.
const ECHO_BYTES: u64 = 64;

/// Set by SIGINT or SIGTERM; a second one ends the process at once.
pub fn interruptible() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

pub fn shape(args: &LoadArgs) -> anyhow::Result<Shape> {
    let text = args.body.clone();
    let body = match (&args.body_file, &args.body_hex, args.body_size) {
        (Some(path), _, _) => Bytes::from(read(path)?),
        (None, Some(bytes), _) => bytes.clone(),
        (None, None, Some(size)) => sized_body(size),
        (None, None, None) if args.websocket => sized_body(ECHO_BYTES),
        (None, None, None) => Bytes::new(),
    };
    ensure!(
        args.http2.messages == 1 || args.http2.calls(),
        "--messages is for calls: --grpc or --grpc-method"
    );
    Ok(Shape {
        method: args.method.clone(),
        headers: args.headers.clone(),
        body,
        text,
        variants: args.variants,
        seed: args.seed,
        chunked: args.chunked,
        keep_alive: !args.no_keepalive,
        http2: args.http2.http2,
        grpc_messages: args.http2.calls().then_some(args.http2.messages),
        call: call(args)?,
        websocket: args.websocket,
    })
}

fn call(args: &LoadArgs) -> anyhow::Result<Option<Call>> {
    let of = &args.http2;
    let (Some(descriptors), Some(method)) = (&of.grpc_descriptors, &of.grpc_method) else { return Ok(None) };
    Call::new(descriptors, method, &of.grpc_data).map(Some)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    file::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The requests that the arguments name, without replays.
pub fn mix(args: &LoadArgs) -> anyhow::Result<Mix> {
    let (mut mix, shape) = (Mix::default(), shape(args)?);
    for url in &args.urls {
        mix.add_url(&shape, url)?;
    }
    if let Some(path) = &args.urls_file {
        mix.add_file(&shape, path)?;
    }
    Ok(mix)
}

/// A run by the shared arguments; rate and duration are left to the caller.
pub fn options(args: &LoadArgs) -> Options {
    Options {
        arrivals: args.arrivals,
        burst: args.burst,
        connections: args.connections.max(1),
        connections_max: args.connections_max.unwrap_or(0),
        threads: args.threads.unwrap_or_else(crate::threads_default).max(1),
        pin: args.pin,
        timeout: args.timeout,
        connect_timeout: args.connect_timeout,
        drain: args.drain.unwrap_or(args.timeout),
        keep_alive: !args.no_keepalive,
        tls: tls(args),
        http2: args.http2.http2.then_some(args.http2.streams as usize),
        grpc: args.http2.calls(),
        websocket: args.websocket,
        expect_status: args.expect_status,
        seed: args.seed,
        pace_slack: args.pace_slack,
        lag_max: args.max_lag,
        ..Options::default()
    }
}

fn tls(args: &LoadArgs) -> tls::client::Settings {
    let of = &args.tls;
    tls::client::Settings {
        ca: of.cacert.clone(),
        cert: of.cert.clone().zip(of.key.clone()),
        insecure: of.insecure,
        sni: of.sni.clone(),
        never_resume: of.no_resumption,
        http2: args.http2.http2,
        narrow: of.narrow.narrow(),
    }
}

pub fn urls(args: &LoadArgs) -> Vec<String> {
    args.urls.iter().map(ToString::to_string).collect()
}

/// The mix of a recording; tells on standard error how much of it there is.
fn replayed(args: &RunArgs) -> anyhow::Result<Mix> {
    let base = args.load.urls.first().context("a replay needs the URL of the host it is sent to")?;
    let recording = replay::read(&args.replay)?;
    if !args.load.quiet {
        let Recording { requests, skipped, files } = &recording;
        eprintln!("replay     {} requests of {files} files; {skipped} lines are none", requests.len());
    }
    let mut mix = Mix::default();
    mix.add_recorded(&shape(&args.load)?, base, &recording.requests, args.pace)?;
    Ok(mix)
}

/// `loadgen run`.
pub fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let mut mix = if args.replay.is_empty() { mix(&args.load)? } else { replayed(args)? };
    ensure!(!mix.templates.is_empty(), "name at least one URL, or --urls FILE");
    let requests_max = args.requests.unwrap_or(u64::MAX);
    let recorded = mix.recorded.as_ref().and_then(|recorded| recorded.last().copied());
    let recorded = recorded.map(|(at_ns, _)| Duration::from_nanos(at_ns + 1));
    let written = args.rate.as_ref().and_then(|rate| rate.length());
    let unlimited = (args.requests.is_some() && args.closed).then_some(Duration::from_secs(86_400));
    let duration = args.duration.or(recorded).or(written).or(unlimited).unwrap_or(Duration::from_secs(10));
    if let (Some(recorded), Some(limit)) = (&mut mix.recorded, args.duration) {
        let kept = recorded.iter().copied().filter(|(at_ns, _)| u128::from(*at_ns) < limit.as_nanos());
        *recorded = Arc::new(kept.collect());
    }
    let options = Options {
        rate: args.rate.clone(),
        duration,
        warm_up: args.warm_up,
        interval: args.interval.max(Duration::from_millis(10)),
        requests_max,
        ..options(&args.load)
    };
    let mut observers: Vec<Box<dyn Observer>> = Vec::new();
    if let Some(path) = &args.output.hlog {
        observers.push(Box::new(HistogramLog::create(path).with_context(|| path.display().to_string())?));
    }
    if let Some(path) = &args.output.csv {
        observers.push(Box::new(Csv::create(path).with_context(|| path.display().to_string())?));
    }
    if !args.load.quiet {
        observers.push(Box::new(Progress::new(duration)));
    }
    let interrupted = interruptible()?;
    let result = run::execute(&options, &Arc::new(mix.clone()), &mut All(observers), &interrupted)?;
    let document = Document::new(&options, &urls(&args.load), &mix, &result);
    print!("{}", text::render(&document));
    if let Some(path) = &args.output.hgrm {
        std::fs::write(path, hgrm(&result.total.response)).with_context(|| path.display().to_string())?;
    }
    write(&args.output, &document)?;
    if interrupted.load(Relaxed) {
        println!("interrupted: this is a part of the run; assertions are not evaluated");
        return Ok(Exit::Interrupted);
    }
    let judged: Vec<Judged> = args.assertions.iter().map(|assertion| assertion.judge(&document)).collect();
    judged.iter().for_each(|judged| println!("assert     {}", judged.text));
    Ok(exit(&document, &judged))
}

fn write(output: &OutputArgs, document: &Document) -> anyhow::Result<()> {
    if let Some(path) = &output.json {
        let text = serde_json::to_string_pretty(document)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &output.html {
        let page = html::render("loadgen run", &[(String::new(), document.clone())]);
        std::fs::write(path, page).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The exit code. A run without one whole answer failed: an answer that is cut, malformed or followed by stray bytes is not
/// whole. Figures of a saturated generator prove nothing, not even a failed assertion.
pub fn exit(document: &Document, judged: &[Judged]) -> Exit {
    if document.whole_answers() == 0 {
        Exit::Failed
    } else if !document.verdict.is_valid() {
        Exit::Saturated
    } else if judged.iter().any(|judged| !judged.holds) {
        Exit::Assertion
    } else {
        Exit::Ok
    }
}
