//! Preparation of a change, which takes time: reading, checking, compiling patterns, counters in its shape. Done on a thread of
//! its own, within a deadline, so that the control loop goes on hearing signals and probes.
//!
//! A thread that is late is left behind and its result dropped; until it has ended no other change is read. Its memory is
//! bounded by `config`: files by their bytes, patterns by their compiled size.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use config::check::{self, Checked, Problem};
use config::{Config, Shown};
use tokio::sync::oneshot;

use super::differ::differences;
use super::drift;
use super::files::{Also, Served};
use super::patch::{with_percent, with_weights};
use super::source::{Source, SourceText, broken};
use super::{certificates, descriptors};
use crate::compare::Schemas;
use crate::control::{self, Change, Refused, Snapshot};
use crate::os;
use crate::prepared::{Difference, Prepared};
use crate::tls::Tls;

/// A configuration that is not read and checked after this long is refused.
const PREPARE_MAX: Duration = Duration::from_secs(30);

/// Problems that are told of one configuration: beyond, a person has seen enough.
const PROBLEMS_MAX: usize = 1000;

/// The input of a change's preparation.
pub(super) struct Job {
    pub(super) change: Change,
    /// A configuration that is in force already is not applied again: most events in a cluster change no route.
    pub(super) skips_same: bool,
    pub(super) source: Source,
    /// The files as they were served, for the watch over them.
    pub(super) served: Served,
    /// The configuration in force.
    pub(super) snapshot: Snapshot,
    /// The source as it was read last, where shares that were set since go on.
    pub(super) read: Option<Arc<Config>>,
    /// By worker.
    pub(super) prepared: Vec<Arc<Prepared>>,
    pub(super) tls: Arc<Tls>,
    pub(super) schemas: Arc<Schemas>,
}

/// A configuration that is sound by itself.
pub(super) struct Ready {
    pub(super) snapshot: Snapshot,
    /// The source as it was read, where shares that were set are kept beside it; and these shares.
    pub(super) read: Option<Arc<Config>>,
    pub(super) kept: Vec<(String, String)>,
    /// By worker.
    pub(super) prepared: Vec<Arc<Prepared>>,
    pub(super) tls: Arc<Tls>,
    pub(super) schemas: Arc<Schemas>,
    pub(super) written: Written,
    pub(super) warnings: Vec<Problem>,
    /// Where problems that show later point.
    pub(super) text: SourceText,
    pub(super) started: Instant,
    /// The watch over the files that it names; kept when it is in force.
    pub(super) also: Option<Also>,
    /// Differences from the configuration in force, and the number of further ones.
    pub(super) differences: (Vec<control::Difference>, usize),
}

/// How an operator would say it.
pub(super) enum Written {
    Whole(Shown),
    /// The part that was changed, and its new value.
    Part(String, String),
}

/// Starts the threads, one at a time.
#[derive(Debug, Default)]
pub(super) struct Preparer {
    /// Held by the thread that runs.
    running: Weak<()>,
}

impl Preparer {
    /// Begins at once; the returned future waits for the end, and may be dropped.
    pub(super) fn begin(&mut self, job: Job) -> impl Future<Output = Result<Ready, Refused>> + use<> {
        let started = Instant::now();
        let receiver = self.spawn(job, started);
        async move {
            let lost = |why: String| Refused::Wrong(broken(why));
            match tokio::time::timeout(PREPARE_MAX, receiver?).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(lost("the configuration could not be checked: see the log".to_owned())),
                Err(_) => {
                    let seconds = PREPARE_MAX.as_secs();
                    Err(lost(format!("the configuration was not read and checked after {seconds} s")))
                }
            }
        }
    }

    fn spawn(
        &mut self,
        job: Job,
        started: Instant,
    ) -> Result<oneshot::Receiver<Result<Ready, Refused>>, Refused> {
        if self.running.strong_count() > 0 {
            return Err(Refused::Busy("an earlier configuration is still being read"));
        }
        let runs = Arc::new(());
        self.running = Arc::downgrade(&runs);
        let (told, heard) = oneshot::channel();
        let body = move || {
            os::lower_priority();
            let result = panic::catch_unwind(AssertUnwindSafe(|| job.run(started)));
            drop(runs);
            if let Ok(result) = result {
                let _ = told.send(result);
            }
        };
        let spawned = os::without_signals(|| thread::Builder::new().name("umbra-config".into()).spawn(body));
        // The handle is dropped: the thread may hang in a file, and is not waited for.
        spawned.map(|_| heard).map_err(|e| Refused::Wrong(broken(format!("cannot start a thread: {e}"))))
    }
}

impl Job {
    fn run(self, started: Instant) -> Result<Ready, Refused> {
        let Self { change, skips_same, source, served, snapshot, read, prepared, tls, schemas } = self;
        let is_source = matches!(change, Change::Source);
        let (mut config, written, mut warnings, text) = changed(change, &source, &served, &snapshot.config)?;
        let kept = read.map(|read| drift::kept(&read, &snapshot.config, &config)).unwrap_or_default();
        let as_read = (!kept.is_empty()).then(|| Arc::new(config.clone()));
        let (told, kept) = drift::keep(&kept, &mut config);
        warnings.extend(told);
        let fixed = fixed(&snapshot.config, &config, &text);
        if !fixed.is_empty() {
            return Err(Refused::Wrong(fixed));
        }
        let mut also = None;
        let (tls, schemas) = match &written {
            // Shares and weights name no files.
            Written::Part(..) => (tls, schemas),
            Written::Whole(_) => {
                // Looked at before they are read, so that a change in between is seen.
                let watched = served.also(&certificates::files(&config));
                if is_source {
                    // Refused or not: a fault of the source may be mended in a file that it names.
                    watched.keep();
                } else {
                    also = Some(watched);
                }
                let loaded = certificates::load(&config, Some((&snapshot.config, &tls)), (&text, &source));
                let (tls, odd) = loaded.map_err(bounded)?;
                warnings.extend(odd);
                let (schemas, odd) = descriptors::load(&config, (&text, &source)).map_err(bounded)?;
                warnings.extend(odd);
                (tls, schemas)
            }
        };
        if skips_same && config == *snapshot.config {
            return Err(Refused::Same);
        }
        let differences = differences(&snapshot.config, &config);
        let config = Arc::new(config);
        let difference = Difference::between(&snapshot.config, &config);
        let prepared = prepared.iter().map(|old| Arc::new(old.after(&difference, &config))).collect();
        let snapshot = Snapshot {
            certificates: Arc::clone(&tls.expiries),
            callings: Arc::clone(tls.upstreams()),
            ..snapshot.after(config)
        };
        Ok(Ready {
            snapshot,
            read: as_read,
            kept,
            prepared,
            tls,
            schemas,
            written,
            warnings,
            text,
            started,
            also,
            differences,
        })
    }
}

type Changed = (Config, Written, Vec<Problem>, SourceText);

fn changed(change: Change, source: &Source, served: &Served, now: &Config) -> Result<Changed, Refused> {
    let part = |config, what: String, to: String| {
        (config, Written::Part(what, to), Vec::new(), SourceText::named("request"))
    };
    match change {
        Change::Source => {
            let (checked, text) = source.read_again(served).map_err(bounded)?;
            let Checked { config, written, warnings } = checked;
            Ok((config, Written::Whole(written), warnings, text))
        }
        Change::Text(text) => {
            let Checked { config, written, warnings } = check::parse("request", &text).map_err(bounded)?;
            Ok((config, Written::Whole(written), warnings, SourceText::new("request", text)))
        }
        Change::Percent { mirror, route, percent } => {
            let config = with_percent(now, &mirror, route.as_deref(), percent)?;
            let on = route.map(|route| format!(" on route {route}")).unwrap_or_default();
            Ok(part(config, format!("mirror {mirror}{on} percent"), percent.to_string()))
        }
        Change::Weights { route, weights } => {
            let config = with_weights(now, &route, &weights)?;
            let to: Vec<String> = weights.iter().map(|(name, weight)| format!("{name}:{weight}")).collect();
            Ok(part(config, format!("route {route} weights"), to.join(" ")))
        }
    }
}

fn bounded(mut problems: Vec<Problem>) -> Refused {
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    if more > 0 {
        problems.truncate(PROBLEMS_MAX);
        problems.extend(broken(format!("and {more} problems more")));
    }
    Refused::Wrong(problems)
}

/// Differences that cannot be made while serving: a worker's thread, its core and its driver are as old as the process.
fn fixed(now: &Config, next: &Config, text: &SourceText) -> Vec<Problem> {
    let (now, next) = (&now.workers, &next.workers);
    let differs = [
        ("workers.count", now.count != next.count),
        ("workers.pin", now.pin != next.pin),
        ("workers.driver", now.driver != next.driver),
        ("workers.uring_entries", now.uring_entries != next.uring_entries),
    ];
    let message =
        "cannot change while serving; restart the gateway for it, or hand over to a successor (SIGUSR2)";
    let problem = |key: &str| text.problem_of(key, message);
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| problem(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let now = control::budget::tests::config();
        let mut next = now.clone();
        next.listeners.clear();
        next.admin.bind = None;
        let text = SourceText::named("f");
        assert_eq!(fixed(&now, &next, &text), []);
        next.workers.count += 1;
        next.workers.pin = !next.workers.pin;
        let told: Vec<String> = fixed(&now, &next, &text).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("f: workers.count: cannot change while serving"), "{told:?}");
    }

    #[test]
    fn so_many_problems_are_told_and_how_many_more_there_are() {
        let problems = (0..2 * PROBLEMS_MAX).flat_map(|n| broken(n.to_string())).collect();
        let Refused::Wrong(told) = bounded(problems) else { panic!("they are wrong") };
        assert_eq!(told.len(), PROBLEMS_MAX + 1);
        assert_eq!(told[PROBLEMS_MAX].to_string(), "and 1000 problems more");
    }
}
