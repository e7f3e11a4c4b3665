//! Another configuration while serving: checked whole, then handed to every worker; or refused whole, and the old one
//! serves on.
//!
//! It knows what cannot change without a restart. What a worker keeps from one configuration to the next is the
//! worker's business.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::check::{self, Checked, Problem};
use config::{Action, Config, Percent, Shown};
use tokio::sync::{mpsc, oneshot};

use super::{Source, resolve};
use crate::admin::{Book, Page};
use crate::cli;
use crate::discovery::{Discovery, Found, Located};
use crate::generation::Blueprint;
use crate::worker::{Command, Update, Updates};

/// A worker that has not taken a configuration after this long is stuck, which its watchdog tells.
const APPLIED_MAX: Duration = Duration::from_secs(5);

/// What somebody wants changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The source, read again.
    Source,
    /// A whole configuration in its written form.
    Text(String),
    /// The share of every mirror of that name, or of the one on a route.
    Percent { mirror: String, route: Option<String>, percent: f64 },
    /// The weights of a route's primaries, by the names of their upstreams.
    Weights { route: String, weights: Vec<(String, u32)> },
}

/// A change, and who waits for what became of it.
#[derive(Debug)]
pub struct Ask {
    pub change: Change,
    pub answer: oneshot::Sender<Result<Applied, Refused>>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub workers: usize,
    pub took: Duration,
    pub warnings: Vec<Problem>,
}

/// A change that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It names something that is not there.
    Unknown(String),
    /// Everything that is wrong with it.
    Wrong(Vec<Problem>),
}

/// One worker, as far as a change concerns it.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) control: UnixStream,
    pub(super) updates: Arc<Updates>,
}

/// Makes changes.
pub(super) struct Reloader {
    pub(super) source: Source,
    pub(super) book: Arc<Book>,
    pub(super) discovery: Discovery,
    /// What the workers know.
    pub(super) located: Located,
}

impl Reloader {
    /// Makes one change on all workers.
    pub(super) async fn make(
        &mut self,
        change: Change,
        workers: impl Iterator<Item = &Channel>,
    ) -> Result<Applied, Refused> {
        let made = self.prepare(change).await;
        match made {
            Ok(next) => Ok(self.apply(next, workers).await),
            Err(refused) => {
                self.book.refuse();
                Err(refused)
            }
        }
    }

    async fn prepare(&mut self, change: Change) -> Result<Next, Refused> {
        let started = Instant::now();
        let config = Arc::clone(&self.book.open().config);
        let (config, written, mut warnings) = match change {
            Change::Source => {
                let Checked { config, written, warnings } = self.source.read().map_err(Refused::Wrong)?;
                (config, Written::Whole(written), warnings)
            }
            Change::Text(text) => {
                let Checked { config, written, warnings } =
                    check::parse("request", &text).map_err(Refused::Wrong)?;
                (config, Written::Whole(written), warnings)
            }
            Change::Percent { mirror, route, percent } => {
                let changed = with_percent(&config, &mirror, route.as_deref(), percent)?;
                let on = route.map(|route| format!(" on route {route}")).unwrap_or_default();
                (
                    changed,
                    Written::Part(format!("mirror {mirror}{on} percent"), percent.to_string()),
                    Vec::new(),
                )
            }
            Change::Weights { route, weights } => {
                let changed = with_weights(&config, &route, &weights)?;
                let to: Vec<String> =
                    weights.iter().map(|(name, weight)| format!("{name}:{weight}")).collect();
                (changed, Written::Part(format!("route {route} weights"), to.join(" ")), Vec::new())
            }
        };
        let fixed = fixed(&self.book.open().config, &config, &self.source.name());
        if !fixed.is_empty() {
            return Err(Refused::Wrong(fixed));
        }
        // Signals wait for it, scrapes and workers do not.
        let found = self.discovery.find(&config).await;
        warnings.extend(resolve::judge(&config, &found, &self.source).map_err(Refused::Wrong)?);
        Ok(Next { config: Arc::new(config), written, found, warnings, started })
    }

    async fn apply(&mut self, next: Next, workers: impl Iterator<Item = &Channel>) -> Applied {
        let page = self.book.turn(Arc::clone(&next.config));
        match next.written {
            Written::Whole(shown) => self.book.write(shown),
            Written::Part(what, to) => self.book.patch(what, to),
        }
        self.located = self.discovery.settle(&page.config, next.found, &page.checks);
        let workers = self.hand_out(&page, workers).await;
        Applied { workers, took: next.started.elapsed(), warnings: next.warnings }
    }

    /// Waits until an upstream has other addresses.
    pub(super) async fn moved(&mut self) {
        self.discovery.changed().await;
    }

    /// Tells the workers where the upstreams are now.
    pub(super) async fn relocate(&mut self, workers: impl Iterator<Item = &Channel>) {
        let page = self.book.open();
        let located = self.discovery.locate(&page.config, &page.checks);
        if located.addresses == self.located.addresses {
            return;
        }
        self.located = located;
        let _told = self.hand_out(&page, workers).await;
    }

    /// Hands what is in force to every worker; how many serve by it.
    async fn hand_out(&self, page: &Page, workers: impl Iterator<Item = &Channel>) -> usize {
        let (told, mut heard) = mpsc::channel(page.counters.len().max(1));
        for (worker, counters) in workers.zip(&page.counters) {
            worker.updates.leave(Update {
                blueprint: Blueprint {
                    config: Arc::clone(&page.config),
                    located: self.located.clone(),
                    counters: Arc::clone(counters),
                },
                applied: told.clone(),
            });
            // One byte into an all but empty socket buffer: it never waits. It fails only where the worker is gone, which
            // its last words tell.
            let _ = (&worker.control).write_all(&[Command::Reload as u8]);
        }
        drop(told);
        let mut workers = 0;
        let all = async {
            while heard.recv().await.is_some() {
                workers += 1;
            }
        };
        let _late = tokio::time::timeout(APPLIED_MAX, all).await;
        workers
    }
}

/// How an operator would say it.
enum Written {
    Whole(Shown),
    /// What was changed, and to what.
    Part(String, String),
}

/// A configuration that may be applied.
struct Next {
    config: Arc<Config>,
    written: Written,
    found: Found,
    warnings: Vec<Problem>,
    started: Instant,
}

/// Says in the log what became of a change.
pub(super) fn log(result: &Result<Applied, Refused>) {
    match result {
        Ok(Applied { workers, took, warnings }) => {
            cli::complain(warnings.iter().map(|w| format!("warning: {w}")));
            tracing::info!("configuration applied on {workers} workers in {} ms", took.as_millis());
        }
        Err(Refused::Unknown(what)) => tracing::error!("configuration unchanged: {what}"),
        Err(Refused::Wrong(problems)) => {
            problems.iter().for_each(|problem| tracing::error!("configuration unchanged: {problem}"));
        }
    }
}

/// What differs and cannot change while serving.
fn fixed(now: &Config, next: &Config, source: &str) -> Vec<Problem> {
    let differs = [
        ("listener", now.listeners != next.listeners),
        ("admin", now.admin != next.admin),
        ("workers", now.workers != next.workers),
    ];
    let problem = |key: &str| Problem {
        file: source.to_owned(),
        line: None,
        key: Some(key.to_owned()),
        message: "cannot change while serving; restart the gateway for it".to_owned(),
    };
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| problem(key)).collect()
}

fn wrong(key: String, message: String) -> Refused {
    Refused::Wrong(vec![Problem { file: "request".to_owned(), line: None, key: Some(key), message }])
}

fn with_percent(config: &Config, mirror: &str, route: Option<&str>, percent: f64) -> Result<Config, Refused> {
    let Some(percent) = Percent::from_percent_amplified(percent) else {
        let message = format!("{percent} is out of range: must be a number from 0 to 10000");
        return Err(wrong("percent".to_owned(), message));
    };
    let mut next = config.clone();
    let mut found = false;
    for of in next.routes.iter_mut().filter(|r| route.is_none_or(|name| r.name == name)) {
        for one in of.mirrors.iter_mut().filter(|m| m.name == mirror) {
            one.percent = percent;
            found = true;
        }
    }
    let place = route.map_or_else(|| "no route".to_owned(), |name| format!("no route {name:?}"));
    if found { Ok(next) } else { Err(Refused::Unknown(format!("{place} has a mirror {mirror:?}"))) }
}

fn with_weights(config: &Config, route: &str, weights: &[(String, u32)]) -> Result<Config, Refused> {
    let mut next = config.clone();
    let names: Vec<String> = next.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let Some(of) = next.routes.iter_mut().find(|r| r.name == route) else {
        return Err(Refused::Unknown(format!("there is no route {route:?}")));
    };
    let Action::Forward(forward) = &mut of.action else {
        return Err(wrong("weights".to_owned(), format!("route {route:?} forwards nothing")));
    };
    for (name, weight) in weights {
        let mut ours = forward.primaries.iter_mut();
        let primary = ours.find(|p| p.upstream.is_some_and(|id| names.get(id) == Some(name)));
        let Some(primary) = primary else {
            return Err(Refused::Unknown(format!("{name:?} is not a primary of route {route:?}")));
        };
        primary.weight = *weight;
    }
    if forward.primaries.iter().all(|primary| primary.weight == 0) {
        let message = "all weights would be 0, so nobody would get a request";
        return Err(wrong("weights".to_owned(), message.to_owned()));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout() -> Config {
        let text = r#"
            [upstream.v1]
            endpoints = ["127.0.0.1:1"]
            [upstream.v2]
            endpoints = ["127.0.0.1:2"]
            [[route]]
            name = "main"
            primaries = [{ upstream = "v1", weight = 100 }, { upstream = "v2", weight = 0 }]
            mirrors = [{ upstream = "v2", percent = 5 }]
            [[route]]
            name = "rest"
            primary = "v1"
            mirrors = [{ upstream = "v2" }]
        "#;
        check::parse("test", text).unwrap().config
    }

    #[test]
    fn a_share_changes_where_it_is_asked_for_and_nowhere_else() {
        let shares = |config: &Config| -> Vec<u32> {
            config.routes.iter().map(|route| route.mirrors[0].percent.per_million).collect()
        };
        let config = rollout();
        assert_eq!(shares(&with_percent(&config, "v2", None, 50.0).unwrap()), [500_000, 500_000]);
        assert_eq!(shares(&with_percent(&config, "v2", Some("rest"), 0.0).unwrap()), [50_000, 0]);
        assert!(matches!(with_percent(&config, "v3", None, 1.0), Err(Refused::Unknown(_))));
        assert!(matches!(with_percent(&config, "v2", Some("none"), 1.0), Err(Refused::Unknown(_))));
        assert!(matches!(with_percent(&config, "v2", None, -1.0), Err(Refused::Wrong(_))));
    }

    #[test]
    fn weights_change_by_name_and_never_to_nobody() {
        let config = rollout();
        let weights = |pairs: &[(&str, u32)]| -> Vec<(String, u32)> {
            pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
        };
        let next = with_weights(&config, "main", &weights(&[("v1", 0), ("v2", 100)])).unwrap();
        let Action::Forward(forward) = &next.routes[0].action else { panic!("forwards") };
        assert_eq!(forward.primaries.iter().map(|p| p.weight).collect::<Vec<_>>(), [0, 100]);
        assert!(matches!(with_weights(&config, "main", &weights(&[("v1", 0)])), Err(Refused::Wrong(_))));
        assert!(matches!(with_weights(&config, "main", &weights(&[("v3", 1)])), Err(Refused::Unknown(_))));
        assert!(matches!(with_weights(&config, "none", &[]), Err(Refused::Unknown(_))));
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let (now, mut next) = (rollout(), rollout());
        assert_eq!(fixed(&now, &next, "f"), []);
        next.workers.count += 1;
        next.listeners.clear();
        let told: Vec<String> = fixed(&now, &next, "f").iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1], "f: workers: cannot change while serving; restart the gateway for it");
    }
}
