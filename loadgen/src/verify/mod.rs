//! `loadgen verify`: the mirror proof. Sends identified requests through a gateway, asks the sinks for the received ones, and
//! accounts for every copy.

pub mod ledger;
pub mod reconcile;
pub mod sender;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::json;

use crate::client;
use crate::report::percentiles::Percentiles;
use crate::run::request::Url;
use crate::serve::port::Arrival;
use crate::{Exit, load, units};
use ledger::Ledgers;
use reconcile::{Account, Allowed, Finding, lag, reconcile};
use sender::{Job, SentAll};

/// Findings printed per kind; the JSON has all.
const SHOWN: usize = 5;
const POLL: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub struct VerifyArgs {
    /// The gateway
    pub url: Url,
    /// Control URL of the port that is the primary, such as http://127.0.0.1:9000/ports/v1
    #[arg(long, value_name = "URL")]
    pub primary: Option<Url>,
    /// Control URL of a port that is a mirror; repeatable
    #[arg(long = "mirror", value_name = "URL")]
    pub mirrors: Vec<Url>,
    #[arg(short = 'n', long, default_value = "1000", value_parser = units::count)]
    pub requests: u64,
    #[arg(short, long, default_value_t = 8)]
    pub connections: usize,
    /// Requests per second (default: as fast as the answers come)
    #[arg(short, long, value_parser = units::rate)]
    pub rate: Option<f64>,
    /// Body sizes, `0` for none
    #[arg(long, default_value = "0..16k", value_parser = parse_range)]
    pub body: (u64, u64),
    /// Share of the bodies that are sent chunked
    #[arg(long, default_value = "0.3", value_parser = units::share)]
    pub chunked_share: f64,
    /// Share of the requests without a body
    #[arg(long, default_value = "0.5", value_parser = units::share)]
    pub bodiless_share: f64,
    /// Header a gateway may add, change or remove; `x-*` for many
    #[arg(long = "allow-header", value_name = "NAME")]
    pub allowed: Vec<String>,
    /// Missing copies that are no failure, if the gateway's ledger accounts for them: `10` or `5%` of the requests
    #[arg(long, default_value = "0")]
    pub max_missing: String,
    /// The gateway's admin address, whose /metrics is checked against what was seen
    #[arg(long, value_name = "URL")]
    pub gateway_admin: Option<Url>,
    /// The sinks are complete when nothing new came for this long
    #[arg(long, default_value = "500ms", value_parser = units::duration)]
    pub settle: Duration,
    /// Give up waiting for the sinks after this long
    #[arg(long, default_value = "30s", value_parser = units::duration)]
    pub deadline: Duration,
    #[arg(long, default_value = "10s", value_parser = units::duration)]
    pub timeout: Duration,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (units::size(low)?, units::size(high)?);
    if low <= high { Ok((low, high)) } else { Err(format!("`{text}`: low..high")) }
}

fn missing_max(text: &str, requests: u64) -> anyhow::Result<u64> {
    if text.contains('%') {
        let share = units::share(text).map_err(anyhow::Error::msg)?;
        return Ok((share * requests as f64) as u64);
    }
    text.parse().with_context(|| format!("`{text}`: a count or a share"))
}

/// A sink: its role and the requests it received.
struct Sink {
    name: String,
    control: Url,
    arrivals: Vec<Arrival>,
}

impl Sink {
    fn new(name: String, control: &Url) -> Self {
        Self { name, control: control.clone(), arrivals: Vec::new() }
    }

    /// Fetches the arrivals since the last time; true if there were any.
    fn fetch(&mut self, from: usize) -> anyhow::Result<bool> {
        let at = from + self.arrivals.len();
        let text = client::errand("GET", &client::below(&self.control, &format!("/log?from={at}")), "")?;
        let new: Vec<Arrival> = serde_json::from_str(&text).context("the control URL answered no log")?;
        let came = !new.is_empty();
        self.arrivals.extend(new);
        Ok(came)
    }

    fn log_len(&self) -> anyhow::Result<usize> {
        let text = client::errand("GET", &self.control, "")?;
        let port: serde_json::Value = serde_json::from_str(&text)?;
        port["log_entries"].as_u64().map(|n| n as usize).context("the control URL shows no log")
    }
}

pub fn run(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let interrupted = load::interruptible()?;
    let mut sinks: Vec<Sink> = args.primary.iter().map(|url| Sink::new("primary".into(), url)).collect();
    let primaries = sinks.len();
    for (index, url) in args.mirrors.iter().enumerate() {
        sinks.push(Sink::new(format!("mirror {}", index + 1), url));
    }
    anyhow::ensure!(!sinks.is_empty(), "name at least one sink: --primary URL or --mirror URL");
    let bases = sinks.iter().map(Sink::log_len).collect::<anyhow::Result<Vec<_>>>()?;
    let ledger_before = args.gateway_admin.as_ref().map(ledger::fetch).transpose()?;

    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let job = Job {
        url: args.url.clone(),
        prefix: format!("{:x}-", unix ^ u64::from(std::process::id())),
        requests: args.requests,
        connections: args.connections,
        rate: args.rate,
        body_bytes: args.body,
        chunked_share: args.chunked_share,
        bodiless_share: args.bodiless_share,
        timeout: args.timeout,
        seed: args.seed,
    };
    let sent = sender::send(&job, &interrupted)?;
    let ledgers = settle(args, &mut sinks, &bases, &sent, ledger_before, &interrupted)?;

    let mut allowed = Allowed::default();
    allowed.0.extend(args.allowed.iter().map(|name| name.to_ascii_lowercase()));
    let accounts: Vec<Account> =
        sinks.iter().map(|sink| reconcile(&sent.sent, &sink.arrivals, &job.prefix, &allowed)).collect();
    let of_mirrors: Vec<&Account> = accounts.iter().skip(primaries).collect();
    let disagreements =
        ledgers.as_ref().map(|ledgers| ledger::check(ledgers, &of_mirrors)).unwrap_or_default();
    let missing_max = missing_max(&args.max_missing, args.requests)?;

    print_sent(&sent);
    let mut lags = Vec::new();
    for (index, (sink, account)) in sinks.iter().zip(&accounts).enumerate() {
        print_account(&sink.name, account, args.connections);
        if index >= primaries && primaries > 0 {
            let (times, earlier) = lag(&sinks[0].arrivals, &sink.arrivals, &job.prefix);
            let lag = Percentiles::of(&times);
            let us = |us: f64| units::show_ns(us * 1e3);
            println!(
                "  lag behind the primary: p50 {}, p99 {}, max {}; {earlier} came before it",
                us(lag.p50),
                us(lag.p99),
                us(lag.max)
            );
            lags.push(json!({"sink": sink.name, "lag_us": lag, "earlier": earlier}));
        }
    }
    if let Some(ledgers) = &ledgers {
        print_ledger(ledgers, &disagreements);
    }
    let tolerable = |index: usize, account: &Account| {
        let misses = account.missing.len() as u64;
        account.only_misses() && misses <= if index < primaries { 0 } else { missing_max }
    };
    let good = sent.failures.is_empty()
        && disagreements.is_empty()
        && accounts.iter().enumerate().all(|(index, account)| tolerable(index, account));
    if let Some(path) = &args.json {
        let sinks: Vec<_> =
            sinks.iter().zip(&accounts).map(|(s, a)| json!({"name": s.name, "account": a})).collect();
        let document = json!({
            "schema": "loadgen.verify/1",
            "proved": good,
            "sent": sent.sent.len(),
            "failures": sent.failures,
            "sinks": sinks,
            "lag": lags,
            "ledger": ledgers,
            "disagreements": disagreements,
        });
        std::fs::write(path, serde_json::to_string_pretty(&document)?)
            .with_context(|| path.display().to_string())?;
    }
    if interrupted.load(Relaxed) {
        println!("interrupted: no verdict");
        return Ok(Exit::Interrupted);
    }
    println!("verdict    {}", if good { "PROVED" } else { "NOT PROVED" });
    Ok(if good { Exit::Ok } else { Exit::Assertion })
}

/// Waits until the sinks have all there is, and the gateway has nothing under way.
fn settle(
    args: &VerifyArgs,
    sinks: &mut [Sink],
    bases: &[usize],
    sent: &SentAll,
    before: Option<Ledgers>,
    interrupted: &Arc<AtomicBool>,
) -> anyhow::Result<Option<Ledgers>> {
    let begin = Instant::now();
    let mut last_news = begin;
    loop {
        let mut news = false;
        for (sink, base) in sinks.iter_mut().zip(bases) {
            news |= sink.fetch(*base)?;
        }
        let now = Instant::now();
        if news {
            last_news = now;
        }
        let full = sinks.iter().all(|sink| sink.arrivals.len() >= sent.sent.len());
        let quiet_for = now.duration_since(last_news);
        // Even when all came, a duplicate may still be on its way.
        let patience = if full { args.settle / 5 } else { args.settle };
        let growth = match (&args.gateway_admin, &before) {
            (Some(admin), Some(before)) => Some(ledger::growth(before, &ledger::fetch(admin)?)),
            _ => None,
        };
        let settled = growth.as_ref().is_none_or(|all| all.values().all(ledger::Ledger::is_quiet));
        if (quiet_for >= patience && settled)
            || now.duration_since(begin) >= args.deadline
            || interrupted.load(Relaxed)
        {
            return Ok(growth);
        }
        std::thread::sleep(POLL);
    }
}

fn print_sent(sent: &SentAll) {
    let answered = sent.sent.iter().filter(|sent| sent.answered).count();
    println!("sent       {} requests, {answered} answered, {} failed", sent.sent.len(), sent.failures.len());
    sent.failures.iter().take(SHOWN).for_each(|failure| println!("           {failure}"));
}

fn print_account(name: &str, a: &Account, connections: usize) {
    // On several connections at once there is no order to keep.
    let order = if connections == 1 { format!(", {} out of order", a.reordered) } else { String::new() };
    println!(
        "{name:<10} {} arrived: {} exact, {} missing, {} duplicated, {} altered, {} truncated, {} unknown{order}",
        a.arrived,
        a.exact,
        a.missing.len(),
        a.duplicated.len(),
        a.altered.len(),
        a.truncated.len(),
        a.unknown.len(),
    );
    let kinds: [(&str, &[Finding]); 5] = [
        ("missing", &a.missing),
        ("duplicated", &a.duplicated),
        ("altered", &a.altered),
        ("truncated", &a.truncated),
        ("unknown", &a.unknown),
    ];
    for (kind, findings) in kinds {
        findings.iter().take(SHOWN).for_each(|f| println!("  {kind:<11}{}: {}", f.id, f.what));
        if findings.len() > SHOWN {
            println!("  {kind:<11}… and {} more", findings.len() - SHOWN);
        }
    }
}

fn print_ledger(ledgers: &Ledgers, disagreements: &[String]) {
    for (name, l) in ledgers {
        println!(
            "ledger     {name}: eligible {}, sampled out {}, skipped {}, dropped {}, sent {}, completed {}, failed {}, \
             in flight {}",
            l.eligible, l.sampled_out, l.skipped, l.dropped, l.sent, l.completed, l.failed, l.in_flight
        );
    }
    if disagreements.is_empty() {
        println!("           balances and agrees with what was seen");
    }
    disagreements.iter().for_each(|text| println!("  WRONG    {text}"));
}
