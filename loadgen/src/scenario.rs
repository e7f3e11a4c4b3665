//! `loadgen scenario FILE`: phases of load, faults on a timeline, promises per phase, one report. Only knits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;

use crate::compare::{MaxRegress, compare};
use crate::report::assertion::Assertion;
use crate::report::document::Document;
use crate::report::interval::All;
use crate::report::progress::Progress;
use crate::report::{html, text};
use crate::run::recorder::Times;
use crate::run::request::{Mix, Shape, Url, sized_body};
use crate::run::schedule::RateSpec;
use crate::run::written::VARIANTS;
use crate::run::{self, Options};
use crate::{Exit, client, file, load, tls, units};

#[derive(clap::Args)]
pub struct ScenarioArgs {
    /// TOML: `[target]`, `[[phase]]`, `[[fault]]`
    pub file: PathBuf,
    /// Replaces `url` of the file, for ports that are only known when the servers run
    #[arg(long)]
    pub url: Option<Url>,
    /// Replaces `control` of the file
    #[arg(long)]
    pub control: Option<Url>,
    /// The documents of all phases
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// All phases in one page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct File {
    target: Target,
    #[serde(default)]
    phase: Vec<Phase>,
    #[serde(default)]
    fault: Vec<Fault>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Target {
    url: Option<String>,
    /// Base of the control URL of `loadgen serve`, such as http://127.0.0.1:9000
    control: Option<String>,
    #[serde(default = "connections_default")]
    connections: usize,
    threads: Option<usize>,
    method: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body_size: Option<String>,
    timeout: Option<String>,
    max_lag: Option<String>,
    #[serde(default = "yes")]
    keep_alive: bool,
    seed: Option<u64>,
    /// HTTP/2 with so many streams on each connection.
    http2_streams: Option<usize>,
    /// The authority that an https:// target's certificate is of.
    cacert: Option<PathBuf>,
    #[serde(default)]
    insecure: bool,
}

fn connections_default() -> usize {
    64
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Phase {
    name: String,
    /// Open loop; without it the phase is a closed loop.
    rate: Option<String>,
    duration: String,
    warm_up: Option<String>,
    connections: Option<usize>,
    #[serde(default)]
    assert: Vec<String>,
    /// An earlier phase that `max_regress` compares with.
    versus: Option<String>,
    #[serde(default)]
    max_regress: Vec<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Fault {
    /// After the start of the scenario, or of `phase`.
    at: String,
    phase: Option<String>,
    port: String,
    fault: String,
}

/// A fault with its moment, on its way to the thread that switches it.
struct Timed {
    at: Duration,
    port: Url,
    fault: String,
}

/// A phase, ready to run.
struct Ready {
    name: String,
    options: Options,
    assertions: Vec<Assertion>,
    versus: Option<String>,
    limits: Vec<MaxRegress>,
    faults: Vec<Timed>,
}

fn words<T: std::str::FromStr<Err = String>>(texts: &[String]) -> anyhow::Result<Vec<T>> {
    texts.iter().map(|text| text.parse().map_err(anyhow::Error::msg)).collect()
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    units::duration(text).map_err(anyhow::Error::msg)
}

impl File {
    fn mix(&self, url: Option<&Url>) -> anyhow::Result<(Url, Mix)> {
        let target = &self.target;
        let url = match (url, &target.url) {
            (Some(url), _) => url.clone(),
            (None, Some(text)) => text.parse().map_err(anyhow::Error::msg)?,
            (None, None) => bail!("[target] needs a url, or give --url"),
        };
        let body = match &target.body_size {
            Some(size) => sized_body(units::size(size).map_err(anyhow::Error::msg)?),
            None => bytes::Bytes::new(),
        };
        let shape = Shape {
            method: target.method.clone(),
            headers: target.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            body,
            keep_alive: target.keep_alive,
            http2: target.http2_streams.is_some(),
            variants: VARIANTS,
            ..Shape::default()
        };
        let mut mix = Mix::default();
        mix.add_url(&shape, &url)?;
        Ok((url, mix))
    }

    /// Checks everything before anything runs.
    fn ready(&self, control: Option<&Url>) -> anyhow::Result<Vec<Ready>> {
        ensure!(!self.phase.is_empty(), "a scenario has at least one [[phase]]");
        let control = match (control, &self.target.control) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(text)) => Some(text.parse::<Url>().map_err(anyhow::Error::msg)?),
            (None, None) => None,
        };
        let mut phases = Vec::<Ready>::new();
        let mut begins = Vec::new();
        let mut elapsed = Duration::ZERO;
        for phase in &self.phase {
            let context = || format!("phase `{}`", phase.name);
            ensure!(phases.iter().all(|p| p.name != phase.name), "two phases are named `{}`", phase.name);
            if let Some(versus) = &phase.versus {
                ensure!(
                    phases.iter().any(|p| p.name == *versus),
                    "{}: no earlier phase `{versus}`",
                    context()
                );
            }
            ensure!(
                phase.max_regress.is_empty() || phase.versus.is_some(),
                "{}: max_regress needs versus",
                context()
            );
            let length = duration(&phase.duration).with_context(context)?;
            let target = &self.target;
            let timeout = target.timeout.as_deref().map_or(Ok(Duration::from_secs(10)), duration)?;
            let options = Options {
                rate: phase
                    .rate
                    .as_deref()
                    .map(str::parse::<RateSpec>)
                    .transpose()
                    .map_err(anyhow::Error::msg)?,
                duration: length,
                warm_up: phase.warm_up.as_deref().map_or(Ok(Duration::ZERO), duration)?,
                connections: phase.connections.unwrap_or(target.connections),
                threads: target.threads.unwrap_or_else(crate::threads_default),
                timeout,
                // The next phase begins on time: the rest is then `unsent` or `unfinished`, and counted.
                drain: timeout.min(Duration::from_secs(2)),
                keep_alive: target.keep_alive,
                http2: target.http2_streams,
                tls: tls::client::Settings {
                    ca: target.cacert.clone(),
                    insecure: target.insecure,
                    http2: target.http2_streams.is_some(),
                    ..Default::default()
                },
                seed: target.seed.unwrap_or(1),
                lag_max: target.max_lag.as_deref().map_or(Ok(Options::default().lag_max), duration)?,
                ..Options::default()
            };
            begins.push((elapsed, phase.name.clone()));
            elapsed += length;
            phases.push(Ready {
                name: phase.name.clone(),
                options,
                assertions: words(&phase.assert).with_context(context)?,
                versus: phase.versus.clone(),
                limits: words(&phase.max_regress).with_context(context)?,
                faults: Vec::new(),
            });
        }
        for fault in &self.fault {
            let at = duration(&fault.at)?;
            // A fault without a phase belongs to the one that its moment falls into.
            let index = match &fault.phase {
                Some(name) => begins.iter().position(|(_, known)| known == name),
                None => begins.iter().rposition(|(begin, _)| *begin <= at),
            };
            let index = index.with_context(|| format!("fault at {}: no such phase", fault.at))?;
            let at = if fault.phase.is_some() { at } else { at - begins[index].0 };
            ensure!(
                at < phases[index].options.duration,
                "fault at {}: phase `{}` is over by then",
                fault.at,
                phases[index].name
            );
            let base = control.as_ref().context("faults need [target] control, or --control")?;
            fault.fault.parse::<crate::serve::fault::Fault>().map_err(anyhow::Error::msg)?;
            let port = client::below(base, &format!("/ports/{}", fault.port));
            phases[index].faults.push(Timed { at, port, fault: fault.fault.clone() });
        }
        phases.iter_mut().for_each(|phase| phase.faults.sort_by_key(|fault| fault.at));
        Ok(phases)
    }
}

pub fn run(args: &ScenarioArgs) -> anyhow::Result<Exit> {
    let name = args.file.display().to_string();
    let content = file::read_text(&args.file).with_context(|| format!("cannot read {name}"))?;
    let file: File = toml::from_str(&content).with_context(|| name.clone())?;
    let (url, mix) = file.mix(args.url.as_ref())?;
    let phases = file.ready(args.control.as_ref()).with_context(|| name.clone())?;
    let (mix, interrupted) = (Arc::new(mix), load::interruptible()?);
    let urls = vec![url.to_string()];

    let mut done: Vec<(String, Document)> = Vec::new();
    let (mut failed, mut saturated) = (false, false);
    for phase in phases {
        println!("== {}", phase.name);
        let result = run_phase(&phase, &mix, args.quiet, &interrupted)?;
        let document = Document::new(&phase.options, &urls, &mix, &result);
        print!("{}", text::render(&document));
        if interrupted.load(Relaxed) {
            done.push((phase.name, document));
            break;
        }
        for assertion in &phase.assertions {
            let judged = assertion.judge(&document);
            println!("assert     {}", judged.text);
            failed |= !judged.holds;
        }
        if let Some(versus) = &phase.versus {
            failed |= regressed(&done, versus, &document, &phase.limits)?;
        }
        saturated |= !document.verdict.is_valid();
        println!();
        done.push((phase.name, document));
    }
    if let Some(path) = &args.json {
        let all: Vec<_> = done.iter().map(|(name, d)| serde_json::json!({"phase": name, "run": d})).collect();
        let text = serde_json::to_string_pretty(
            &serde_json::json!({"schema": "loadgen.scenario/1", "phases": all}),
        )?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, html::render(&name, &done)).with_context(|| path.display().to_string())?;
    }
    Ok(match (interrupted.load(Relaxed), saturated, failed) {
        (true, _, _) => Exit::Interrupted,
        (_, true, _) => Exit::Saturated,
        (_, _, true) => Exit::Assertion,
        _ => Exit::Ok,
    })
}

fn run_phase(
    phase: &Ready,
    mix: &Arc<Mix>,
    quiet: bool,
    interrupted: &Arc<std::sync::atomic::AtomicBool>,
) -> anyhow::Result<run::Result> {
    // A setting that holds from the phase's first moment is switched before its first request.
    let (first, later): (Vec<&Timed>, Vec<&Timed>) =
        phase.faults.iter().partition(|fault| fault.at.is_zero());
    for fault in first {
        client::set_fault(&fault.port, &fault.fault)?;
        eprintln!("   0.0 s  {} {}", fault.port.target, fault.fault);
    }
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let switching = scope.spawn(|| -> anyhow::Result<()> {
            for fault in later {
                while begin.elapsed() < fault.at && !interrupted.load(Relaxed) {
                    let left = fault.at.saturating_sub(begin.elapsed());
                    std::thread::sleep(left.min(Duration::from_millis(50)));
                }
                let at_s = begin.elapsed().as_secs_f64();
                client::set_fault(&fault.port, &fault.fault)?;
                eprintln!("{at_s:>6.1} s  {} {}", fault.port.target, fault.fault);
            }
            Ok(())
        });
        let mut observers: Vec<Box<dyn run::Observer>> = Vec::new();
        if !quiet {
            observers.push(Box::new(Progress::new(phase.options.duration)));
        }
        let result = run::execute(&phase.options, mix, &mut All(observers), interrupted);
        // A phase without its fault proves nothing.
        switching.join().map_err(|_| anyhow!("the thread that switches faults died"))??;
        result
    })
}

fn regressed(
    done: &[(String, Document)],
    versus: &str,
    document: &Document,
    limits: &[MaxRegress],
) -> anyhow::Result<bool> {
    let times = |document: &Document| -> anyhow::Result<Times> {
        document.histogram("response_ns").context("a document lost its histogram")
    };
    let before = done.iter().find(|(name, _)| name == versus).context("the earlier phase did not run")?;
    println!("versus {versus} (A)");
    let comparison = compare(&times(&before.1)?, &times(document)?, limits);
    print!("{}", comparison.text);
    Ok(comparison.regressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [target]
        url = "http://127.0.0.1:1/"
        control = "http://127.0.0.1:2"
        connections = 8
        [[phase]]
        name = "calm"
        rate = "100"
        duration = "2s"
        assert = ["p99<5ms"]
        [[phase]]
        name = "storm"
        rate = "100:200"
        duration = "3s"
        versus = "calm"
        max_regress = ["p99=5%"]
        [[fault]]
        at = "3s"
        port = "v2"
        fault = "blackhole"
        [[fault]]
        phase = "storm"
        at = "500ms"
        port = "v2"
        fault = "none"
    "#;

    #[test]
    fn faults_fall_into_their_phase_at_their_moment() {
        let file: File = toml::from_str(FILE).unwrap_or_else(|e| panic!("{e}"));
        let phases = file.ready(None).unwrap_or_else(|e| panic!("{e:#}"));
        let of = |index: usize| -> Vec<(u128, &str)> {
            phases[index].faults.iter().map(|f| (f.at.as_millis(), f.fault.as_str())).collect()
        };
        assert_eq!(of(0), []);
        assert_eq!(of(1), [(500, "none"), (1000, "blackhole")]);
        assert_eq!(phases[1].faults[0].port.target, "/ports/v2");
    }

    #[test]
    fn mistakes_are_found_before_anything_runs() {
        for (from, to) in [
            ("connections = 8", "conections = 8"),
            ("versus = \"calm\"", "versus = \"later\""),
            ("p99<5ms", "p98<5ms"),
            ("\"blackhole\"", "\"backhole\""),
            ("phase = \"storm\"", "phase = \"rain\""),
            ("name = \"storm\"", "name = \"calm\""),
            ("at = \"500ms\"", "at = \"3s\""),
        ] {
            let text = FILE.replacen(from, to, 1);
            let checked =
                toml::from_str::<File>(&text).map_err(|e| anyhow!("{e}")).and_then(|f| f.ready(None));
            assert!(checked.is_err(), "{to}");
        }
    }
}
