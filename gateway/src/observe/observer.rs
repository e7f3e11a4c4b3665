//! The thread beside the workers that reads their records: access log, spans, comparison.
//!
//! It is nobody's wait: workers drop what it does not take in time, and count that. It looks for records rather than
//! being woken, so that a worker never pays for waking it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use config::Config;

use super::record::Record;
use super::tap::Spout;
use crate::os;

/// Between two looks that found nothing.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The same while no record can come, because nobody wants any.
const IDLE_EVERY: Duration = Duration::from_millis(200);

/// Records of one worker taken before another worker's.
const TURN_RECORDS: usize = 64;

/// What reads records.
pub struct Readers {}

impl Readers {
    pub fn new(config: &Config) -> Self {
        let _ = config;
        Self {}
    }

    fn take(&mut self, record: &Record) {
        let _ = record;
    }

    /// Another configuration is in force.
    fn turn(&mut self, config: &Config) {
        let _ = config;
    }

    /// To be called often: whatever is to be done from time to time.
    fn tick(&mut self) {}

    /// Nothing comes any more.
    fn end(&mut self) {}
}

/// The running thread, as the control plane has it.
#[derive(Debug)]
pub struct Observer {
    turns: Sender<Arc<Config>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Observer {
    /// Reads what comes out of `spouts` until it is joined.
    pub fn start(config: &Arc<Config>, spouts: Vec<Spout>, readers: Readers) -> io::Result<Self> {
        let (turns, turned) = channel();
        spouts.iter().for_each(|spout| spout.budget.set_max(budget_of(config, spouts.len())));
        let wants = wants_records(config);
        let body = move || run(spouts, readers, &turned, wants);
        let thread =
            os::without_signals(|| thread::Builder::new().name("umbra-observer".into()).spawn(body))?;
        Ok(Self { turns, thread: Some(thread) })
    }

    /// Another configuration is in force.
    pub fn turn(&self, config: &Arc<Config>) {
        // A thread that is gone logs nothing more anyway.
        let _ = self.turns.send(Arc::clone(config));
    }

    /// Waits until all that the workers said is read; they are gone.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            drop(self.turns);
            let _ = thread.join();
        }
    }
}

fn wants_records(config: &Config) -> bool {
    let exported = config.tracing.as_ref().is_some_and(|tracing| tracing.collector.is_some());
    config.access_log.is_some() || exported
}

fn budget_of(config: &Config, workers: usize) -> usize {
    let _ = (config, workers);
    0
}

fn run(mut spouts: Vec<Spout>, mut readers: Readers, turned: &Receiver<Arc<Config>>, mut wants: bool) {
    let workers = spouts.len();
    loop {
        let is_last = match turned.try_recv() {
            Ok(config) => {
                spouts.iter().for_each(|spout| spout.budget.set_max(budget_of(&config, workers)));
                wants = wants_records(&config);
                readers.turn(&config);
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
