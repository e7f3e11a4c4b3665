//! The configuration in force and where its things are counted: written by whoever changes it, read by the pages.
//!
//! Only the control plane knows it, so a lock is nobody's wait.

use std::sync::{Arc, Mutex, PoisonError};

use config::Config;

use crate::metrics::Counters;

/// Where the page in force lies.
#[derive(Debug)]
pub struct Book(Mutex<Page>);

/// One configuration, and every worker's counters in its shape.
#[derive(Debug, Clone)]
pub struct Page {
    pub config: Arc<Config>,
    /// By worker.
    pub counters: Vec<Arc<Counters>>,
    /// Changes made since the start.
    pub applied: u64,
    /// Changes asked for that were not made.
    pub refused: u64,
}

impl Book {
    pub fn new(config: &Arc<Config>) -> Arc<Self> {
        let counters = (0..config.workers.count).map(|_| Arc::new(Counters::new(config))).collect();
        let page = Page { config: Arc::clone(config), counters, applied: 0, refused: 0 };
        Arc::new(Self(Mutex::new(page)))
    }

    /// The page in force.
    pub fn open(&self) -> Page {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another configuration is in force; its counters go on from those before. Returns the new page.
    pub fn turn(&self, config: Arc<Config>) -> Page {
        let mut page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = |counters: &Arc<Counters>| Arc::new(Counters::after(&config, &page.config, counters));
        let counters = page.counters.iter().map(after).collect();
        *page = Page { config, counters, applied: page.applied + 1, refused: page.refused };
        page.clone()
    }

    pub fn refuse(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused += 1;
    }
}
