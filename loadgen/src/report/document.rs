//! The document of one run: `--json` writes it and `compare` reads it. One schema, versioned; numbers only, no layout.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::by_url::{OfUrl, by_url};
use super::percentiles::Percentiles;
use crate::run::outcome::Outcome;
use crate::run::recorder::Times;
use crate::run::request::{Mix, Template};
use crate::run::verdict::{Evidence, Verdict, judge};
use crate::run::{self, Options, Row};

pub const SCHEMA: &str = "loadgen.run/1";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    pub schema: String,
    pub verdict: Verdict,
    /// Why the verdict is not VALID.
    pub reasons: Vec<String>,
    pub notes: Vec<String>,
    /// Interrupted: figures up to that moment, assertions not evaluated.
    pub partial: bool,
    pub config: Config,
    pub environment: Environment,
    pub measured_s: f64,
    pub wall_s: f64,
    /// Requests per second the schedule asked for; absent in a closed loop.
    pub target_rate: Option<f64>,
    /// Answers per second within the measured time. Late answers of a target that could not keep up are not in it.
    pub achieved_rate: f64,
    pub requests: Requests,
    /// Share of requests that did not end well.
    pub error_rate: f64,
    /// From the intended moment to the last byte: dispatch + service. Every request, however it ended.
    pub response_us: Percentiles,
    /// From the moment the generator acted to the last byte.
    pub service_us: Percentiles,
    /// From the intended moment to the moment the generator acted: its own lag and waiting for a connection.
    pub dispatch_us: Percentiles,
    /// Response times of the requests that ended well.
    pub ok_us: Percentiles,
    /// Response times of the others, by class.
    pub errors: BTreeMap<String, Percentiles>,
    /// How late the generator itself was.
    pub lag_us: Percentiles,
    pub connect_us: Percentiles,
    #[serde(default)]
    pub handshakes: Handshakes,
    /// gRPC calls by `grpc-status`.
    #[serde(default)]
    pub grpc_statuses: BTreeMap<u16, u64>,
    /// gRPC messages received.
    #[serde(default)]
    pub messages_in: u64,
    pub statuses: BTreeMap<u16, u64>,
    /// Of each URL, where there are several.
    #[serde(default)]
    pub by_url: Vec<OfUrl>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub cpu: Cpu,
    pub intervals: Vec<Row>,
    /// HdrHistogram V2, compressed, base64; values in nanoseconds.
    pub histograms: BTreeMap<String, String>,
}

impl Document {
    /// Requests whose answer was complete, whatever its status.
    pub fn whole_answers(&self) -> u64 {
        let of = |outcome: Outcome| self.errors.get(outcome.label()).map_or(0, |times| times.count);
        let others: u64 = [Outcome::Status4xx, Outcome::Status5xx, Outcome::Unexpected, Outcome::GrpcStatus]
            .map(of)
            .iter()
            .sum();
        self.requests.ok + others
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Requests {
    pub due: u64,
    pub total: u64,
    pub ok: u64,
    pub errors: u64,
    pub unsent: u64,
    pub warm_up: u64,
    pub cap_hits: u64,
    pub connects: u64,
    pub connect_failures: u64,
}

/// TLS, from the accepted connection to the end of the handshake. Those of the warm-up and before the clock are in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Handshakes {
    pub full: u64,
    pub resumed: u64,
    pub failed: u64,
    pub full_us: Percentiles,
    pub resumed_us: Percentiles,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    pub seconds: f64,
    pub us_per_request: f64,
    /// Of the busiest sending thread's core.
    pub share_max: f64,
    /// Of its time, how long a thread was ready to run and had no core.
    #[serde(default)]
    pub waited_share_max: f64,
}

/// The whole configuration, as it was meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Config {
    pub loop_kind: String,
    pub urls: Vec<String>,
    pub rate: Option<String>,
    pub arrivals: String,
    pub burst: u64,
    pub duration_s: f64,
    pub warm_up_s: f64,
    pub connections: usize,
    #[serde(default)]
    pub connections_max: usize,
    pub threads: usize,
    pub timeout_s: f64,
    pub connect_timeout_s: f64,
    pub keep_alive: bool,
    /// Of each connection, in HTTP/2.
    #[serde(default)]
    pub streams: Option<usize>,
    #[serde(default)]
    pub grpc: bool,
    pub requests_max: Option<u64>,
    pub seed: u64,
    pub templates: usize,
    pub request_bytes_mean: f64,
    pub replayed_requests: Option<usize>,
    pub pace_slack_us: f64,
    pub interval_s: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Environment {
    pub version: String,
    pub kernel: String,
    pub cores: usize,
    pub debug_build: bool,
    pub started_unix_ms: u64,
    pub command: Vec<String>,
}

impl Environment {
    pub fn here(started_unix_ms: u64) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            kernel: kernel.trim().to_string(),
            cores: crate::threads_default(),
            debug_build: crate::os::is_debug_build(),
            started_unix_ms,
            command: std::env::args().skip(1).collect(),
        }
    }
}

impl Document {
    pub fn new(options: &Options, urls: &[String], mix: &Mix, result: &run::Result) -> Self {
        let total = &result.total;
        let open = options.rate.is_some() || mix.recorded.is_some();
        let judgement = judge(&Evidence {
            total,
            open,
            cpu_share_max: result.cpu_share_max,
            waited_share_max: result.waited_share_max,
            // The slack is lateness that was asked for.
            lag_max: options.lag_max + options.pace_slack,
            places: options.connections_most() * options.streams(),
            streams: options.streams(),
        });
        let measured_s = result.measured.as_secs_f64().max(1e-9);
        // Also those of the warm-up cost something, and those that were never sent nothing.
        let acted_on = total.count() + total.warm_up - total.count_of(Outcome::Unsent);
        let ok = total.ok();
        let mut histograms = BTreeMap::new();
        for (name, times) in [
            ("response_ns", &total.response),
            ("service_ns", &total.service),
            ("dispatch_ns", &total.dispatch),
            ("ok_ns", &ok),
        ] {
            histograms.insert(name.to_string(), encode(times));
        }
        let errors = total.by_class.iter().filter(|(_, times)| !times.is_empty());
        Self {
            schema: SCHEMA.to_string(),
            verdict: judgement.verdict,
            reasons: judgement.reasons,
            notes: judgement.notes,
            partial: result.partial,
            config: Config::new(options, urls, mix, open),
            environment: Environment::here(result.started_unix_ms),
            measured_s,
            wall_s: result.wall.as_secs_f64(),
            target_rate: open.then(|| total.due as f64 / measured_s),
            achieved_rate: total.answers as f64 / measured_s,
            requests: Requests {
                due: total.due,
                total: total.count(),
                ok: total.count_of(Outcome::Ok),
                errors: total.errors(),
                unsent: total.count_of(Outcome::Unsent),
                warm_up: total.warm_up,
                cap_hits: total.cap_hits,
                connects: total.connects,
                connect_failures: total.connect_failures,
            },
            error_rate: total.errors() as f64 / total.count().max(1) as f64,
            response_us: Percentiles::of(&total.response),
            service_us: Percentiles::of(&total.service),
            dispatch_us: Percentiles::of(&total.dispatch),
            ok_us: Percentiles::of(&ok),
            errors: errors
                .map(|(class, times)| (class.label().to_string(), Percentiles::of(times)))
                .collect(),
            lag_us: Percentiles::of(&total.lag),
            connect_us: Percentiles::of(&total.connect),
            handshakes: Handshakes {
                full: total.handshake_full.len(),
                resumed: total.handshake_resumed.len(),
                failed: total.handshake_failures,
                full_us: Percentiles::of(&total.handshake_full),
                resumed_us: Percentiles::of(&total.handshake_resumed),
            },
            grpc_statuses: total.grpc_statuses.clone(),
            messages_in: total.messages_in,
            statuses: total.statuses.clone(),
            by_url: by_url(mix, total),
            bytes_in: total.bytes_in,
            bytes_out: total.bytes_out,
            cpu: Cpu {
                seconds: result.cpu.as_secs_f64(),
                us_per_request: result.cpu.as_secs_f64() * 1e6 / acted_on.max(1) as f64,
                share_max: result.cpu_share_max,
                waited_share_max: result.waited_share_max,
            },
            intervals: result.rows.clone(),
            histograms,
        }
    }

    pub fn read(path: &std::path::Path) -> anyhow::Result<Self> {
        use anyhow::Context;
        let text = crate::file::read_text(path).with_context(|| format!("cannot read {}", path.display()))?;
        let document: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is no {SCHEMA} document", path.display()))?;
        anyhow::ensure!(document.schema == SCHEMA, "{}: schema {}", path.display(), document.schema);
        Ok(document)
    }

    pub fn histogram(&self, name: &str) -> Option<Times> {
        decode(self.histograms.get(name)?)
    }

    /// A number by the name people use in assertions: `p99`, `service.p99.9`, `errors`, `rate`, …
    pub fn metric(&self, name: &str) -> Option<Metric> {
        let total = self.requests.total.max(1) as f64;
        let share = |count: f64| Some(Metric::Share(count / total));
        match name {
            "errors" | "error_rate" => return share(self.requests.errors as f64),
            "timeouts" => return share(self.errors.get("timeout").map_or(0, |p| p.count) as f64),
            "unsent" => return share(self.requests.unsent as f64),
            "rate" | "achieved" => return Some(Metric::Plain(self.achieved_rate)),
            "requests" => return Some(Metric::Plain(self.requests.total as f64)),
            "cpu" | "cpu_us" => return Some(Metric::Us(self.cpu.us_per_request)),
            _ => {}
        }
        if let Some(class) = name.strip_prefix("errors.") {
            Outcome::ALL.iter().find(|outcome| outcome.label() == class)?;
            return share(self.errors.get(class).map_or(0, |p| p.count) as f64);
        }
        let (series, percentile) = match name.split_once('.') {
            Some((
                series @ ("response" | "service" | "dispatch" | "ok" | "lag" | "connect" | "handshake_full"
                | "handshake_resumed"),
                rest,
            )) => (series, rest),
            _ => ("response", name),
        };
        let percentiles = match series {
            "service" => &self.service_us,
            "dispatch" => &self.dispatch_us,
            "ok" => &self.ok_us,
            "lag" => &self.lag_us,
            "connect" => &self.connect_us,
            "handshake_full" => &self.handshakes.full_us,
            "handshake_resumed" => &self.handshakes.resumed_us,
            _ => &self.response_us,
        };
        let value = percentiles.named(percentile)?;
        Some(if percentile == "count" { Metric::Plain(value) } else { Metric::Us(value) })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    Us(f64),
    Share(f64),
    Plain(f64),
}

impl Config {
    fn new(options: &Options, urls: &[String], mix: &Mix, open: bool) -> Self {
        let bytes: usize = mix.templates.iter().map(Template::size).sum();
        let seconds = |d: Duration| d.as_secs_f64();
        Self {
            loop_kind: if open { "open" } else { "closed" }.to_string(),
            urls: urls.to_vec(),
            rate: options.rate.as_ref().map(ToString::to_string),
            arrivals: format!("{:?}", options.arrivals).to_lowercase(),
            burst: options.burst,
            duration_s: seconds(options.duration),
            warm_up_s: seconds(options.warm_up),
            connections: options.connections,
            connections_max: options.connections_most(),
            threads: options.threads,
            timeout_s: seconds(options.timeout),
            connect_timeout_s: seconds(options.connect_timeout),
            keep_alive: options.keep_alive,
            streams: options.http2,
            grpc: options.grpc,
            requests_max: (options.requests_max != u64::MAX).then_some(options.requests_max),
            seed: options.seed,
            templates: mix.templates.len(),
            request_bytes_mean: bytes as f64 / mix.templates.len().max(1) as f64,
            replayed_requests: mix.recorded.as_ref().map(|recorded| recorded.len()),
            pace_slack_us: seconds(options.pace_slack) * 1e6,
            interval_s: seconds(options.interval),
        }
    }
}

pub fn encode(times: &Times) -> String {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail; an empty text decodes to nothing.
    let _ = V2DeflateSerializer::new().serialize(times, &mut bytes);
    BASE64.encode(bytes)
}

pub fn decode(text: &str) -> Option<Times> {
    let bytes = BASE64.decode(text).ok()?;
    Deserializer::new().deserialize(&mut &bytes[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_survive_the_document() {
        let mut times = run::recorder::times();
        (1..10_000u64).for_each(|n| times.saturating_record(n * n));
        let back = decode(&encode(&times));
        assert!(back.as_ref() == Some(&times));
    }
}
