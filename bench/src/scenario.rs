//! A question about speed as a file: variants, load and expected answer. Reads and checks; measures nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::variant::{Program, Variant};
use crate::wires::Wires;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without its end.
    #[serde(skip)]
    pub name: String,
    pub title: String,
    pub command: Topic,
    /// Remark for readers of the figures.
    #[serde(default)]
    pub note: String,
    #[serde(default = "get")]
    pub method: String,
    #[serde(default)]
    pub request_bytes: usize,
    #[serde(default = "small")]
    pub response_bytes: usize,
    #[serde(default = "few")]
    pub connections: usize,
    #[serde(default = "yes")]
    pub keep_alive: bool,
    /// Where less load than this says nothing.
    #[serde(default)]
    pub seconds_min: u64,
    #[serde(default)]
    pub window: Window,
    #[serde(default)]
    pub origin: OriginKind,
    #[serde(default)]
    pub wires: Wires,
    /// Ours only; otherwise the default of the product.
    pub ring_bytes_max: Option<String>,
    pub variants: Vec<Variant>,
    pub axis: Option<Axis>,
    #[serde(default, rename = "goal")]
    pub goals: Vec<Goal>,
    /// Why a variant's figure does not compare with ours.
    #[serde(default)]
    pub unfair: BTreeMap<Variant, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    Peers,
    Growth,
}

/// The part of a run that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// All of it, over the load generator's count.
    #[default]
    Whole,
    /// Without the first half, in which the connections are made, over the primary's count.
    Steady,
}

/// The origin that responds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginKind {
    /// The fastest there is; answers as soon as it has a request's head.
    #[default]
    Nginx,
    /// `loadgen serve`: answers when it has the whole content.
    Loadgen,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    pub of: Dimension,
    /// In rising order; for workers, 0 stands for all cores and is the last.
    pub values: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// All of them busy.
    Connections,
    /// Open, of which as many are busy as the scenario says; the others have made one request and rest.
    Held,
    Routes,
    Workers,
    Mirrors,
    Percent,
    /// Index into [`Watched::ALL`]; ours only.
    Watched,
}

/// Observers of every exchange of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watched {
    /// Counters, distributions and pairs alone, which are always on.
    #[default]
    Nobody,
    /// A line of JSON for each exchange, to a file.
    Logged,
    /// A trace for each exchange, told on every wire.
    Traced,
    /// Every answer of the mirror beside the primary's.
    Compared,
    All,
}

impl Watched {
    pub const ALL: [Self; 5] = [Self::Nobody, Self::Logged, Self::Traced, Self::Compared, Self::All];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Logged => "logged",
            Self::Traced => "traced",
            Self::Compared => "compared",
            Self::All => "all",
        }
    }

    pub fn includes(self, other: Self) -> bool {
        self == other || self == Self::All
    }
}

/// `variant` costs at most `ratio_max` times the cheapest of `against`; or, along an axis, at most that many times its own
/// cost at the axis' first value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    pub variant: Variant,
    #[serde(default)]
    pub against: Vec<Variant>,
    pub ratio_max: f64,
}

/// How a gateway is set up for one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Of clients, all that are open.
    pub connections: usize,
    /// Connections that carry load.
    pub busy: usize,
    pub routes: usize,
    pub workers: usize,
    pub mirrors: usize,
    pub percent: usize,
    pub watched: Watched,
    pub ring_bytes_max: Option<String>,
    pub wires: Wires,
}

impl Setup {
    /// A route on one worker, without mirrors.
    pub fn plain(connections: usize, busy: usize) -> Self {
        Self {
            connections,
            busy,
            routes: 1,
            workers: 1,
            mirrors: 0,
            percent: 100,
            watched: Watched::Nobody,
            ring_bytes_max: None,
            wires: Wires::default(),
        }
    }
}

fn get() -> String {
    "GET".to_string()
}

fn small() -> usize {
    64
}

fn few() -> usize {
    32
}

fn yes() -> bool {
    true
}

impl Dimension {
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Held => "held",
            Self::Routes => "routes",
            Self::Workers => "workers",
            Self::Mirrors => "mirrors",
            Self::Percent => "percent",
            Self::Watched => "watched",
        }
    }
}

impl Scenario {
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        scenario.name = name.to_string();
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.variants.is_empty(), "variants: name at least one");
        ensure!((1..=20_000).contains(&self.connections), "connections: 1 to 20000");
        ensure!(
            self.request_bytes == 0 || self.method != "GET" || self.wires.websocket,
            "request_bytes: a GET has no body here, write method = \"POST\""
        );
        let wires = &self.wires;
        ensure!(
            !wires.http2_upstream || self.origin == OriginKind::Loadgen,
            "wires.http2_upstream: nginx is no origin in HTTP/2, write origin = \"loadgen\""
        );
        ensure!(
            wires.grpc_messages.is_none() || wires.http2_upstream && wires.streams.is_some(),
            "wires.grpc_messages: gRPC is HTTP/2 on both sides, write streams and http2_upstream"
        );
        ensure!(
            !wires.websocket || self.origin == OriginKind::Loadgen && wires.streams.is_none(),
            "wires.websocket: nginx is no origin of WebSockets, write origin = \"loadgen\"; on HTTP/1.1"
        );
        ensure!(self.keep_alive || wires.streams.is_none(), "keep_alive: HTTP/2 keeps its connections");
        let is_able = |variant: &Variant| {
            // Nginx speaks HTTP/2 to origins in gRPC alone.
            variant.program() != Program::Nginx || !wires.http2_upstream || wires.grpc_messages.is_some()
        };
        if let Some(variant) = self.variants.iter().find(|variant| !is_able(variant)) {
            bail!("{} cannot speak HTTP/2 to an origin", variant.name());
        }
        if let Some(axis) = &self.axis {
            ensure!(!axis.values.is_empty(), "axis.values: name at least one");
            ensure!(
                axis.of != Dimension::Held || axis.values.iter().all(|held| *held >= self.connections),
                "axis.values: the busy connections are among those held"
            );
            for variant in &self.variants {
                let able = match (axis.of, variant.program()) {
                    (Dimension::Percent, Program::Nginx) => !variant.mirrors(),
                    (Dimension::Routes, Program::Haproxy) => false,
                    (Dimension::Watched, program) => program == Program::Ours,
                    _ => true,
                };
                ensure!(able, "{} has no configuration for {}", variant.name(), axis.of.name());
            }
            let ceiling = match axis.of {
                Dimension::Percent => 100,
                Dimension::Watched => Watched::ALL.len() - 1,
                Dimension::Connections
                | Dimension::Held
                | Dimension::Routes
                | Dimension::Workers
                | Dimension::Mirrors => 20_000,
            };
            ensure!(axis.values.iter().all(|v| *v <= ceiling), "axis.values: at most {ceiling}");
        }
        for goal in &self.goals {
            let known = |v: &Variant| self.variants.contains(v);
            ensure!(
                known(&goal.variant) && goal.against.iter().all(known),
                "goal: a variant that does not run"
            );
            ensure!(!goal.against.is_empty() || self.axis.is_some(), "goal: against whom?");
        }
        Ok(())
    }

    /// The values along the axis, or the only case, each with its name in the tables.
    pub fn setups(&self, cores: usize) -> Vec<(String, Setup)> {
        let base = Setup {
            mirrors: 1,
            ring_bytes_max: self.ring_bytes_max.clone(),
            wires: self.wires,
            ..Setup::plain(self.connections, self.connections)
        };
        let Some(axis) = &self.axis else {
            return vec![(String::new(), base)];
        };
        let with = |value: usize| {
            let value = if axis.of == Dimension::Workers && value == 0 { cores } else { value };
            let mut setup = base.clone();
            if axis.of == Dimension::Connections {
                setup.busy = value;
            }
            *match axis.of {
                Dimension::Watched => {
                    setup.watched = Watched::ALL.get(value).copied().unwrap_or_default();
                    return (format!("{}={}", axis.of.name(), setup.watched.name()), setup);
                }
                Dimension::Connections | Dimension::Held => &mut setup.connections,
                Dimension::Routes => &mut setup.routes,
                Dimension::Workers => &mut setup.workers,
                Dimension::Mirrors => &mut setup.mirrors,
                Dimension::Percent => &mut setup.percent,
            } = value;
            (format!("{}={value}", axis.of.name()), setup)
        };
        axis.values.iter().map(|value| with(*value)).collect()
    }
}

/// The scenarios of one command, or those named, from a directory of `NAME.toml`.
pub fn load(dir: &Path, topic: Topic, names: &[String]) -> Result<Vec<Scenario>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(dir).with_context(|| "cannot read bench/scenarios: run this inside the repository")?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_string();
        if path.extension().is_some_and(|end| end == "toml") {
            let text = fs::read_to_string(&path)?;
            found
                .push(Scenario::parse(&name, &text).with_context(|| format!("bench/scenarios/{name}.toml"))?);
        }
    }
    found.retain(|s| s.command == topic);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(unknown) = names.iter().find(|n| found.iter().all(|s| s.name != **n)) {
        let known: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
        bail!("no scenario `{unknown}` for this command; there are {}", known.join(", "));
    }
    found.retain(|s| names.is_empty() || names.contains(&s.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_repository_reads() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        assert!(load(&dir, Topic::Peers, &[]).expect("they read").len() >= 17);
        assert!(load(&dir, Topic::Growth, &[]).expect("they read").len() >= 5);
        assert!(load(&dir, Topic::Growth, &["get_small".to_string()]).is_err());
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let check = |extra: &str, error: &str| {
            let text = format!("title = \"t\"\ncommand = \"peers\"\nvariants = [\"nginx_mirror\"]\n{extra}");
            let got = Scenario::parse("t", &text).expect_err(error);
            assert!(format!("{got:#}").contains(error), "{got:#}");
        };
        check("sise = 3", "sise");
        check("wires = { http2_upstream = true }", "loadgen");
        check("origin = \"loadgen\"\nwires = { http2_upstream = true }", "cannot speak HTTP/2");
        check("wires = { grpc_messages = 1 }", "gRPC");
        check("wires = { websocket = true }", "no origin of WebSockets");
        check("keep_alive = false\nwires = { streams = 2 }", "keep_alive");
        check("request_bytes = 3", "POST");
        check("axis = { of = \"percent\", values = [1] }", "percent");
        check("[[goal]]\nvariant = \"ours_plain\"\nratio_max = 1.0", "does not run");
    }

    #[test]
    fn zero_workers_are_all_of_them() {
        let text = "title = \"t\"\ncommand = \"growth\"\nvariants = [\"ours_plain\"]\n\
            axis = { of = \"workers\", values = [1, 0] }";
        let setups = Scenario::parse("t", text).expect("it reads").setups(8);
        assert_eq!(setups[1].0, "workers=8");
        assert_eq!(setups[1].1.workers, 8);
    }
}
