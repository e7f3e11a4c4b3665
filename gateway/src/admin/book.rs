//! The configuration in force and where its things are counted: written by whoever changes it, read by the pages.
//!
//! Only the control plane knows it, so a lock is nobody's wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::{Config, Shown, Upstream};

use super::epoch::Epochs;
use crate::compare::Findings;
use crate::metrics::{CheckCounters, Counters, NameCounters, ObserverCounters};

/// Where the page in force lies, and the text it came from.
#[derive(Debug)]
pub struct Book {
    page: Mutex<Page>,
    written: Mutex<Written>,
    /// What comparing answers has found, whatever configuration is in force.
    pub findings: Arc<Findings>,
    /// Since when each mirror's evidence counts.
    pub epochs: Epochs,
}

/// The last configuration that came whole, and what was changed since by itself.
#[derive(Debug)]
struct Written {
    config: Arc<Config>,
    shown: Shown,
    /// What was changed → to what, the last change alone.
    patches: BTreeMap<String, String>,
}

/// One configuration, and every worker's counters in its shape.
#[derive(Debug, Clone)]
pub struct Page {
    pub config: Arc<Config>,
    /// By worker.
    pub counters: Vec<Arc<Counters>>,
    /// The control plane's own: of health checks, by upstream.
    pub checks: Vec<Arc<CheckCounters>>,
    pub names: Arc<NameCounters>,
    /// Of who reads the workers' records.
    pub observer: Arc<ObserverCounters>,
    /// Changes made since the start.
    pub applied: u64,
    /// Changes asked for that were not made.
    pub refused: u64,
}

impl Book {
    pub fn new(config: &Arc<Config>) -> Arc<Self> {
        let counters = (0..config.workers.count).map(|_| Arc::new(Counters::new(config))).collect();
        let checks = config.upstreams.iter().map(|_| Arc::default()).collect();
        let names = Arc::default();
        let written =
            Written { config: Arc::clone(config), shown: Shown::default(), patches: BTreeMap::new() };
        let (config, observer) = (Arc::clone(config), Arc::default());
        let page = Page { config, counters, checks, names, observer, applied: 0, refused: 0 };
        Arc::new(Self {
            page: Mutex::new(page),
            written: Mutex::new(written),
            findings: Arc::default(),
            epochs: Epochs::default(),
        })
    }

    /// The page in force.
    pub fn open(&self) -> Page {
        lock(&self.page).clone()
    }

    /// Another configuration is in force; its counters go on from those before. Returns the new page.
    pub fn turn(&self, config: Arc<Config>) -> Page {
        let mut page = lock(&self.page);
        let after = |counters: &Arc<Counters>| Arc::new(Counters::after(&config, &page.config, counters));
        let counters = page.counters.iter().map(after).collect();
        let check = |upstream: &Upstream| {
            let at = page.config.upstreams.iter().position(|other| other.name == upstream.name);
            at.and_then(|at| page.checks.get(at)).cloned().unwrap_or_default()
        };
        let checks = config.upstreams.iter().map(check).collect();
        let (names, observer) = (Arc::clone(&page.names), Arc::clone(&page.observer));
        let (applied, refused) = (page.applied + 1, page.refused);
        *page = Page { config, counters, checks, names, observer, applied, refused };
        page.clone()
    }

    pub fn refuse(&self) {
        lock(&self.page).refused += 1;
    }

    /// The whole configuration in force was read from this.
    pub fn write(&self, shown: Shown) {
        let config = self.open().config;
        *lock(&self.written) = Written { config, shown, patches: BTreeMap::new() };
    }

    /// The last configuration that came whole: what a restart or a reload would bring back.
    pub fn whole(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.written).config)
    }

    /// One thing in it was changed since.
    pub fn patch(&self, what: String, to: String) {
        lock(&self.written).patches.insert(what, to);
    }

    /// The configuration in force as TOML, as far as `choose` shows it; what was changed since it was read stands before it in
    /// comments.
    pub fn written(&self, choose: fn(&Shown) -> &str) -> String {
        let written = lock(&self.written);
        let patches: String =
            written.patches.iter().map(|(what, to)| format!("# since: {what} = {to}\n")).collect();
        format!("{patches}{}", choose(&written.shown))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
