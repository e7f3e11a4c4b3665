//! The thread beside the workers that reads their records: access log, spans, comparison.
//!
//! No worker waits for it: workers drop a record that it does not take in time, and count that. It looks for records rather than
//! being woken, so that a worker never pays for waking it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use config::Config;

use super::access_log::AccessLog;
use super::record::Record;
use super::spans::Spans;
use super::tap::Spout;
use crate::compare::{Budgets, Comparator, Findings, Schemas};
use crate::limits::KEPT_ANSWERS_BYTES_MAX;
use crate::metrics::ObserverCounters;
use crate::os;
use crate::tls::load::Roots;

/// Between two looks that found nothing.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The same while no record can come, because nothing reads any.
const IDLE_EVERY: Duration = Duration::from_millis(200);

/// Records of one worker taken before another worker's.
const TURN_RECORDS: usize = 64;

/// The readers of records.
#[derive(Debug)]
pub struct Readers {
    access_log: AccessLog,
    spans: Spans,
    comparator: Comparator,
    counters: Arc<ObserverCounters>,
}

impl Readers {
    /// `roots`: the authorities that vouch for the collector of spans, where it is posted to over TLS. `schemas`: the files of
    /// descriptors that comparing goes by.
    pub fn new(
        config: &Config,
        roots: Option<&Roots>,
        schemas: &Schemas,
        counters: &Arc<ObserverCounters>,
        findings: &Arc<Findings>,
    ) -> Self {
        Self {
            comparator: Comparator::new(config, schemas, findings, Budgets::default()),
            access_log: AccessLog::new(config, Arc::clone(counters)),
            spans: Spans::new(config, roots, Arc::clone(counters)),
            counters: Arc::clone(counters),
        }
    }

    /// Hands a record to each reader. Its content is a client's: a reader that panics must not take the others along.
    fn take(&mut self, record: &Record) {
        let Self { access_log, spans, comparator, counters } = self;
        counters.survive(|| access_log.take(record));
        counters.survive(|| spans.take(record));
        counters.survive(|| comparator.take(record));
    }

    /// Takes over another configuration.
    fn turn(&mut self, config: &Config, roots: Option<&Roots>, schemas: &Schemas) {
        self.access_log.turn(config);
        self.spans.turn(config, roots);
        self.comparator.turn(config, schemas);
    }

    /// Files may have been moved away.
    fn reopen(&mut self) {
        self.access_log.reopen();
    }

    /// To be called often: the duties of passing time.
    fn tick(&mut self) {
        let Self { access_log, spans, counters, .. } = self;
        counters.survive(|| access_log.tick());
        counters.survive(|| spans.tick());
    }

    /// Ends the readers' work.
    fn end(&mut self) {
        self.access_log.end();
        self.spans.end();
    }
}

/// Questions of the control plane to the thread.
#[derive(Debug)]
enum Command {
    /// Another configuration is in force; with the roots that verify the collector of spans, and the descriptors that it names.
    Turn(Arc<Config>, Option<Roots>, Arc<Schemas>),
    Reopen,
}

/// The running thread, as the control plane has it.
#[derive(Debug)]
pub struct Observer {
    commands: Sender<Command>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Observer {
    /// Starts the thread, which reads the records of `spouts` until it is joined.
    pub fn start(config: &Arc<Config>, spouts: Vec<Spout>, readers: Readers) -> io::Result<Self> {
        let (commands, heard) = channel();
        spouts.iter().for_each(|spout| spout.budget.set_max(budget_of(config, spouts.len())));
        let wants = wants_records(config);
        let body = move || run(spouts, readers, &heard, wants);
        let thread =
            os::without_signals(|| thread::Builder::new().name("umbra-observer".into()).spawn(body))?;
        Ok(Self { commands, thread: Some(thread) })
    }

    /// Tells the thread another configuration; `roots` and `schemas` as [`Readers::new`] has them.
    pub fn turn(&self, config: &Arc<Config>, roots: Option<&Roots>, schemas: &Arc<Schemas>) {
        // A thread that is gone logs nothing more anyway.
        let _ = self.commands.send(Command::Turn(Arc::clone(config), roots.cloned(), Arc::clone(schemas)));
    }

    /// The files that are written may have been moved away: lines from now on go into new ones.
    pub fn reopen(&self) {
        let _ = self.commands.send(Command::Reopen);
    }

    /// Waits until all that the workers said is read; they are gone.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            drop(self.commands);
            let _ = thread.join();
        }
    }
}

fn wants_records(config: &Config) -> bool {
    let exported = config.tracing.as_ref().is_some_and(|tracing| tracing.collector.is_some());
    config.access_log.is_some() || exported || compares(config)
}

fn compares(config: &Config) -> bool {
    config.routes.iter().flat_map(|route| &route.mirrors).any(|mirror| mirror.compare.is_some())
}

/// Bytes of answers that each worker may keep.
fn budget_of(config: &Config, workers: usize) -> usize {
    if compares(config) { KEPT_ANSWERS_BYTES_MAX / workers.max(1) } else { 0 }
}

fn run(mut spouts: Vec<Spout>, mut readers: Readers, heard: &Receiver<Command>, mut wants: bool) {
    let workers = spouts.len();
    loop {
        let is_last = match heard.try_recv() {
            Ok(Command::Turn(config, roots, schemas)) => {
                spouts.iter().for_each(|spout| spout.budget.set_max(budget_of(&config, workers)));
                wants = wants_records(&config);
                readers.turn(&config, roots.as_ref(), &schemas);
                false
            }
            Ok(Command::Reopen) => {
                readers.reopen();
                false
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => true,
        };
        let mut taken = 0;
        for spout in &mut spouts {
            for _ in 0..TURN_RECORDS {
                let Some(sealed) = spout.pop() else { break };
                readers.take(&sealed.record);
                taken += 1;
            }
        }
        readers.tick();
        if taken == 0 {
            if is_last {
                return readers.end();
            }
            thread::sleep(if wants { LOOK_EVERY } else { IDLE_EVERY });
        }
    }
}
