//! Another configuration while serving: checked whole, then handed to every worker; or refused whole, and the old one
//! serves on.
//!
//! It knows what cannot change without a restart. What a worker keeps from one configuration to the next is the
//! worker's business.

use std::future::{self, Future};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::check::{self, Checked, Problem};
use config::{Action, Config, Percent, Shown};
use tokio::sync::{mpsc, oneshot};

use super::budget::{self, Descriptors};
use super::{Source, resolve};
use crate::admin::{Book, Page};
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

/// A change under way, of which there is one at a time. What takes time is waited for here, beside all else that the
/// control plane has to do.
pub(super) struct Underway {
    step: Step,
    asker: Option<oneshot::Sender<Result<Applied, Refused>>>,
}

enum Step {
    /// The names of its upstreams are looked up.
    Looking(Pin<Box<dyn Future<Output = Result<Next, Refused>>>>),
    /// The workers take it.
    Applying(Pin<Box<dyn Future<Output = Applied>>>),
}

/// How far a change has come.
pub(super) enum Stepped {
    Looked(Result<Next, Refused>),
    Applied(Applied),
}

impl Underway {
    pub(super) fn is_applying(&self) -> bool {
        match self.step {
            Step::Looking(_) => false,
            Step::Applying(_) => true,
        }
    }

    /// Waits for the end of the step that `this` is in; for ever, where there is none. May be dropped and called again.
    pub(super) async fn step(this: &mut Option<Self>) -> Stepped {
        match this.as_mut().map(|underway| &mut underway.step) {
            None => future::pending().await,
            Some(Step::Looking(next)) => Stepped::Looked(next.await),
            Some(Step::Applying(applied)) => Stepped::Applied(applied.await),
        }
    }

    /// Nobody waits for an answer: it is the files that were read again.
    pub(super) fn is_reload(&self) -> bool {
        self.asker.is_none()
    }

    /// Tells whoever asked, who may be gone; the change is made all the same.
    pub(super) fn tell(self, result: Result<Applied, Refused>) {
        log(&result);
        if let Some(asker) = self.asker {
            let _ = asker.send(result);
        }
    }
}

/// Makes changes.
pub(super) struct Reloader {
    pub(super) source: Source,
    pub(super) book: Arc<Book>,
    pub(super) discovery: Discovery,
    /// What the workers know.
    pub(super) located: Located,
    /// Descriptors that this process may have.
    pub(super) descriptor_limit: u64,
}

impl Reloader {
    /// Begins to make a change: checks it, and looks up the names that are new.
    pub(super) fn begin(
        &self,
        change: Change,
        asker: Option<oneshot::Sender<Result<Applied, Refused>>>,
    ) -> Underway {
        let started = Instant::now();
        let source = self.source.clone();
        let checked = self.check(change).map(|(config, written, warnings)| {
            let found = self.discovery.find(&config);
            (config, written, warnings, found)
        });
        let next = async move {
            let (config, written, mut warnings, found) = checked?;
            let found = found.await;
            warnings.extend(resolve::judge(&config, &found, &source).map_err(Refused::Wrong)?);
            Ok(Next { config: Arc::new(config), written, found, warnings, started })
        };
        Underway { step: Step::Looking(Box::pin(next)), asker }
    }

    fn check(&self, change: Change) -> Result<(Config, Written, Vec<Problem>), Refused> {
        let config = Arc::clone(&self.book.open().config);
        let (config, written, warnings) = match change {
            Change::Source => {
                let Checked { config, written, warnings } =
                    self.source.read_again().map_err(Refused::Wrong)?;
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
        Ok((config, written, warnings))
    }

    /// Puts a change into force, and goes on in `underway` until every worker has it.
    pub(super) fn apply<'w>(
        &mut self,
        next: Next,
        underway: &mut Underway,
        workers: impl Iterator<Item = &'w Channel>,
    ) {
        let page = self.book.turn(Arc::clone(&next.config));
        match next.written {
            Written::Whole(shown) => self.book.write(shown),
            Written::Part(what, to) => self.book.patch(what, to),
        }
        self.located = self.discovery.settle(&page.config, next.found, &page.checks);
        let mut heard = self.hand_out(&page, workers);
        let all = page.counters.len();
        underway.step = Step::Applying(Box::pin(async move {
            let deadline = tokio::time::Instant::now() + APPLIED_MAX;
            let mut taken = Vec::new();
            while let Ok(Some(worker)) = tokio::time::timeout_at(deadline, heard.recv()).await {
                taken.push(worker);
            }
            let late: Vec<usize> = (0..all).filter(|id| !taken.contains(id)).collect();
            if !late.is_empty() {
                let seconds = APPLIED_MAX.as_secs();
                tracing::warn!("workers {late:?} have not taken the configuration after {seconds} s");
            }
            Applied { workers: taken.len(), took: next.started.elapsed(), warnings: next.warnings }
        }));
    }

    /// Waits until an upstream has other addresses.
    pub(super) async fn moved(&mut self) {
        self.discovery.changed().await;
    }

    /// Tells the workers where the upstreams are now.
    pub(super) fn relocate<'w>(&mut self, workers: impl Iterator<Item = &'w Channel>) {
        let page = self.book.open();
        let located = self.discovery.locate(&page.config, &page.checks);
        if located.addresses == self.located.addresses {
            return;
        }
        self.located = located;
        // Nobody asked, so nobody waits.
        drop(self.hand_out(&page, workers));
    }

    /// Hands what is in force to every worker; each says there when it serves by it.
    fn hand_out<'w>(&self, page: &Page, workers: impl Iterator<Item = &'w Channel>) -> mpsc::Receiver<usize> {
        let (told, heard) = mpsc::channel(page.counters.len().max(1));
        let descriptors =
            Descriptors::of(&page.config, &self.located.addresses, matches!(self.source, Source::Embedded));
        let clients_max = budget::clients_max(&page.config, &descriptors, self.descriptor_limit);
        for (worker, counters) in workers.zip(&page.counters) {
            worker.updates.leave(Update {
                blueprint: Blueprint {
                    config: Arc::clone(&page.config),
                    located: self.located.clone(),
                    counters: Arc::clone(counters),
                    clients_max,
                },
                applied: told.clone(),
            });
            // One byte into an all but empty socket buffer: it never waits. It fails only where the worker is gone, which
            // its last words tell.
            let _ = (&worker.control).write_all(&[Command::Reload as u8]);
        }
        heard
    }
}

/// How an operator would say it.
enum Written {
    Whole(Shown),
    /// What was changed, and to what.
    Part(String, String),
}

/// A configuration that may be applied.
pub(super) struct Next {
    config: Arc<Config>,
    written: Written,
    found: Found,
    warnings: Vec<Problem>,
    started: Instant,
}

/// Says in the log what became of a change. In the log, whose lines wait for nobody: an unread standard error must not
/// hold up who listens to signals.
fn log(result: &Result<Applied, Refused>) {
    match result {
        Ok(Applied { workers, took, warnings }) => {
            warnings.iter().for_each(|warning| tracing::warn!("warning: {warning}"));
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
        key: Some(key.to_owned()),
        message: "cannot change while serving; restart the gateway for it".to_owned(),
        ..Problem::default()
    };
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| problem(key)).collect()
}

fn wrong(key: String, message: String) -> Refused {
    let file = "request".to_owned();
    Refused::Wrong(vec![Problem { file, key: Some(key), message, ..Problem::default() }])
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
