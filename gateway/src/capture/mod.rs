//! Captures: whole requests in files, written by a thread of their own. Workers hand copies over and wait for nothing; a slow
//! or full disk costs copies, which are counted. The room knows nothing of routes, clients or how a copy was chosen.

mod folder;
mod line;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use config::Config;

pub use line::CAPTURED_ROUTE;
use writer::{Command, Writer};

use crate::metrics::CaptureCounters;
use crate::mirror::feed::{Feed, feed};
use crate::os;

/// Lines that still wait at the end of the process get so long.
const END_MAX: Duration = Duration::from_secs(2);

/// A capture, as the workers have it.
#[derive(Debug)]
pub struct Sink {
    pub name: String,
    pub counters: Arc<CaptureCounters>,
    commands: Sender<Command>,
}

impl Sink {
    /// A way to its writer, for one lane. Where the writer is gone, one that is closed.
    pub fn connect(&self) -> Feed {
        let (ours, theirs) = feed();
        let _ = self.commands.send(Command::Feed(theirs));
        ours
    }
}

/// All captures, as the control plane has them.
#[derive(Debug, Default)]
pub struct Captures {
    /// By [`config::CaptureId`].
    sinks: Arc<[Arc<Sink>]>,
    threads: Vec<(Sender<Command>, JoinHandle<()>)>,
}

impl Captures {
    /// Takes over another configuration: a capture goes on as long as its name is configured, in a new file where its settings
    /// differ.
    pub fn turn(&mut self, config: &Config) {
        self.threads.retain(|(_, thread)| !thread.is_finished());
        let next = config.captures.iter().map(|settings| {
            match self.sinks.iter().find(|sink| sink.name == settings.name) {
                Some(same) => {
                    let _ = same.commands.send(Command::Settings(settings.clone()));
                    Arc::clone(same)
                }
                None => start(settings, &mut self.threads),
            }
        });
        self.sinks = next.collect();
    }

    pub fn sinks(&self) -> &Arc<[Arc<Sink>]> {
        &self.sinks
    }

    /// The counters of each, by its name.
    pub fn counters(&self) -> Vec<(String, Arc<CaptureCounters>)> {
        self.sinks.iter().map(|sink| (sink.name.clone(), Arc::clone(&sink.counters))).collect()
    }
}

impl Drop for Captures {
    /// Waits until the copies that the workers left are written; the workers are gone. Not for ever: a disk may hang.
    fn drop(&mut self) {
        let deadline = Instant::now() + END_MAX;
        for (commands, _) in &self.threads {
            let _ = commands.send(Command::End);
        }
        for (_, thread) in &self.threads {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

fn start(settings: &config::Capture, threads: &mut Vec<(Sender<Command>, JoinHandle<()>)>) -> Arc<Sink> {
    let counters = Arc::<CaptureCounters>::default();
    let (commands, heard) = channel();
    let writer = Writer::new(settings.clone(), Arc::clone(&counters), heard);
    let body = move || writer.run();
    match os::without_signals(|| thread::Builder::new().name("umbra-capture".into()).spawn(body)) {
        Ok(thread) => threads.push((commands.clone(), thread)),
        // Its copies fail, and are counted.
        Err(error) => tracing::warn!("capture {}: cannot start its thread: {error}", settings.name),
    }
    Arc::new(Sink { name: settings.name.clone(), counters, commands })
}

/// The faults of the folders of a configuration's captures, as (key, folder, why).
pub fn wrong(config: &Config) -> impl Iterator<Item = (String, &Path, String)> {
    config.captures.iter().filter_map(|capture| {
        let why = folder::check(&capture.directory).err()?;
        Some((format!("capture.{}.to", capture.name), capture.directory.as_path(), why))
    })
}
