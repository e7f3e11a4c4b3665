//! The access log: a line for each exchange that is to be logged. It runs on the observer's thread.
//!
//! The way of records to here, and their other readers, are not known.

mod line;
mod sink;

use std::sync::Arc;
use std::time::Instant;

use config::{Config, LogFormat, Notable};

use super::disclosure::Discretion;
use super::record::Record;
use crate::metrics::ObserverCounters;
use crate::recent::recent;
use sink::Sink;

/// The log of the configuration in force.
#[derive(Debug)]
pub struct AccessLog {
    settings: Option<config::AccessLog>,
    sink: Option<Sink>,
    discretion: Discretion,
    line: Vec<u8>,
    counters: Arc<ObserverCounters>,
}

impl AccessLog {
    pub fn new(config: &Config, counters: Arc<ObserverCounters>) -> Self {
        let mut log = Self {
            settings: None,
            sink: None,
            discretion: Discretion::default(),
            line: Vec::new(),
            counters,
        };
        log.turn(config);
        log
    }

    /// Takes over another configuration. A log whose target stays is not opened anew.
    pub fn turn(&mut self, config: &Config) {
        let settings = config.access_log.clone();
        let target = settings.as_ref().map(|settings| &settings.to);
        if self.sink.as_ref().map(Sink::target) != target {
            self.end();
            self.sink =
                target.map(|target| Sink::new(target.clone(), Arc::clone(&self.counters), Instant::now()));
        }
        self.settings = settings;
    }

    /// Tells of an exchange, where it is to be told.
    pub fn take(&mut self, record: &Record) {
        let (Some(settings), Some(sink)) = (&self.settings, &mut self.sink) else { return };
        if !record.is_logged || !settings.only.as_ref().is_none_or(|only| is_notable(record, only)) {
            return;
        }
        self.line.clear();
        line::write(&mut self.line, record, settings.format, &mut self.discretion);
        sink.push(&self.line, Instant::now());
        if settings.format != LogFormat::Json {
            self.line.clear();
            line::write(&mut self.line, record, LogFormat::Json, &mut self.discretion);
        }
        let route = record.route().map(|route| route.name.as_str());
        recent().accessed(route, &String::from_utf8_lossy(&self.line));
    }

    /// To be called often.
    pub fn tick(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.tick(Instant::now());
        }
    }

    /// The file may have been moved away: lines from now on go into a new one.
    pub fn reopen(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.reopen(Instant::now());
        }
    }

    /// Ends the log: waiting lines are written, for as long as that may take.
    pub fn end(&mut self) {
        if let Some(mut sink) = self.sink.take() {
            sink.end();
        }
    }
}

fn is_notable(record: &Record, only: &Notable) -> bool {
    let has_status = || {
        record.status.is_some_and(|status| only.statuses.iter().any(|statuses| statuses.contains(&status)))
    };
    let is_slow = || only.slower_than.is_some_and(|limit| u128::from(record.duration_us) > limit.as_micros());
    let is_mismatched = || {
        let primary = record.primary.as_ref().and_then(|leg| leg.status);
        let differs = |status: u16| primary.is_some_and(|primary| primary != status);
        only.mismatched && record.copies.iter().filter_map(|copy| copy.end.status()).any(differs)
    };
    has_status() || is_slow() || is_mismatched()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::disclosure::tests::record;
    use crate::observe::record::CopyEnd;

    #[test]
    fn only_what_is_notable_is_told_and_one_reason_is_enough() {
        let rows = [
            ("statuses = [\"2xx\"]", true),
            ("statuses = [\"404\", \"5xx\"]", false),
            ("slower_than = \"2ms\"", true),
            ("slower_than = \"3ms\"", false),
            ("mismatched = true", true),
            ("statuses = [\"404\"], slower_than = \"2ms\"", true),
        ];
        for (only, expect) in rows {
            let record = record(&format!("[access_log]\nto = \"stdout\"\nonly = {{ {only} }}"));
            let only_this = record.config.access_log.as_ref().unwrap().only.as_ref().unwrap();
            assert_eq!(is_notable(&record, only_this), expect, "{only}");
        }
        let mut alike = record("[access_log]\nto = \"stdout\"\nonly = { mismatched = true }");
        alike.copies[0].end = CopyEnd::Completed(200);
        let only = alike.config.access_log.as_ref().unwrap().only.clone().unwrap();
        assert!(!is_notable(&alike, &only), "a copy that failed has no status to differ by");
    }

    #[test]
    fn a_log_follows_the_configuration_and_tells_each_exchange_once() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| {
            let path = folder.path().join(name);
            record(&format!("[access_log]\nto = \"{}\"", path.display()))
        };
        let counters = Arc::<ObserverCounters>::default();
        let (a, b) = (of("a"), of("b"));
        let mut log = AccessLog::new(&a.config, Arc::clone(&counters));
        log.take(&a);
        log.take(&Record { is_logged: false, ..of("a") });
        log.turn(&a.config);
        log.take(&a);
        log.turn(&b.config);
        log.take(&b);
        log.turn(&record("").config);
        log.take(&b);
        log.end();
        let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
        assert_eq!((lines("a"), lines("b"), counters.log_lines.get()), (2, 1, 3));
    }
}
