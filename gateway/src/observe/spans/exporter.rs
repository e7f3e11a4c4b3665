//! Posts batches of spans to a collector (OTLP over HTTP or HTTPS), from a thread of its own: a collector may be slow or away.
//!
//! A batch that the collector cannot take is tried again with growing pauses, and at last given up and counted. The exporter
//! knows nothing of a span's content.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use config::Collector;
use serde::Deserialize;
use ureq::Agent;

use crate::logging::Seldom;
use crate::metrics::ObserverCounters;
use crate::mix::mix;
use crate::os;
use crate::tls::asking;
use crate::tls::load::Roots;

/// Batches that may wait. One is sent each second however small it is, so this is also a patience of minutes.
const BATCHES_MAX: usize = 256;

/// How often one batch is posted before it is given up.
const TRIES_MAX: u32 = 5;

/// Before the second try; doubled before each one after.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// However long a collector asks us to wait.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A collector's response to a batch is short.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Batches that still wait at the end get so long.
const END_MAX: Duration = Duration::from_secs(3);

/// Spans as the body of one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) spans: usize,
    pub(super) body: Vec<u8>,
}

/// The thread, in the hands of its caller. Once this is dropped it posts the batches that wait, once each, and ends.
#[derive(Debug)]
pub(super) struct Exporter {
    batches: SyncSender<Batch>,
    /// Spans handed over and not yet taken, refused or given up.
    waiting: Arc<AtomicUsize>,
    /// Bytes of them.
    waiting_bytes: Arc<AtomicUsize>,
    /// Dropped to tell the thread to hurry.
    patience: Sender<Infallible>,
    /// Ends with the thread.
    ended: Receiver<Infallible>,
}

impl Exporter {
    pub(super) fn start(
        collector: &Collector,
        roots: Option<&Roots>,
        timeout: Duration,
        counters: Arc<ObserverCounters>,
    ) -> io::Result<Self> {
        let (batches, posted) = mpsc::sync_channel(BATCHES_MAX);
        let (patience, hurry) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let (waiting, waiting_bytes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let agent = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("umbra/", env!("CARGO_PKG_VERSION")));
        let agent = match roots {
            Some(roots) => agent.tls_config(asking::config(roots)),
            None => agent,
        };
        let mut poster = Poster {
            agent: Agent::new_with_config(agent.build()),
            url: collector.url(),
            hurry,
            seldom: Seldom::default(),
            waiting: Arc::clone(&waiting),
            waiting_bytes: Arc::clone(&waiting_bytes),
            counters,
        };
        let body = move || {
            let _ends: Sender<Infallible> = ends;
            while let Ok(batch) = posted.recv() {
                let counters = Arc::clone(&poster.counters);
                if !counters.survive(|| poster.deliver(&batch)) {
                    poster.settle(&batch, batch.spans as u64);
                }
            }
        };
        os::without_signals(|| thread::Builder::new().name("umbra-spans".into()).spawn(body))?;
        Ok(Self { batches, waiting, waiting_bytes, patience, ended })
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Relaxed)
    }

    /// Gives the batch back where there is no room for it.
    pub(super) fn hand_over(&self, batch: Batch) -> Result<(), Batch> {
        let (spans, bytes) = (batch.spans, batch.body.len());
        self.waiting.fetch_add(spans, Relaxed);
        self.waiting_bytes.fetch_add(bytes, Relaxed);
        self.batches.try_send(batch).map_err(|error| {
            self.waiting.fetch_sub(spans, Relaxed);
            self.waiting_bytes.fetch_sub(bytes, Relaxed);
            match error {
                TrySendError::Full(batch) | TrySendError::Disconnected(batch) => batch,
            }
        })
    }

    /// Lets the thread post each waiting batch once, and waits for that, but not long.
    pub(super) fn end(self) {
        let Self { batches, waiting, waiting_bytes: _, patience, ended } = self;
        drop((batches, patience));
        match ended.recv_timeout(END_MAX) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(
                    "{} spans given up: the collector did not take them in time",
                    waiting.load(Relaxed)
                );
            }
        }
    }
}

/// The outcome of one post.
enum Posted {
    /// But for so many of the spans.
    Taken {
        refused: u64,
    },
    /// The export may be tried again, not before this pause if one is asked for.
    Later(Option<Duration>),
    Never,
}

struct Poster {
    agent: Agent,
    url: String,
    hurry: Receiver<Infallible>,
    seldom: Seldom,
    waiting: Arc<AtomicUsize>,
    waiting_bytes: Arc<AtomicUsize>,
    counters: Arc<ObserverCounters>,
}

impl Poster {
    fn deliver(&mut self, batch: &Batch) {
        let spans = batch.spans as u64;
        let mut pause = PAUSE_FIRST;
        for tried in 1..=TRIES_MAX {
            match self.post(batch) {
                Posted::Taken { refused } => {
                    let refused = refused.min(spans);
                    self.counters.spans_exported.add(spans - refused);
                    return self.settle(batch, refused);
                }
                Posted::Never => break,
                Posted::Later(_) if tried == TRIES_MAX => break,
                Posted::Later(asked) => {
                    if self.rest(asked.unwrap_or_else(|| jittered(pause)).min(PAUSE_MAX)).is_err() {
                        break;
                    }
                    pause *= 2;
                }
            }
        }
        self.settle(batch, spans);
    }

    fn settle(&self, batch: &Batch, refused: u64) {
        self.counters.spans_refused.add(refused);
        self.waiting.fetch_sub(batch.spans, Relaxed);
        self.waiting_bytes.fetch_sub(batch.body.len(), Relaxed);
    }

    /// An error says that there is no time for that any more.
    fn rest(&self, pause: Duration) -> Result<(), RecvTimeoutError> {
        match self.hurry.recv_timeout(pause) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(error @ RecvTimeoutError::Disconnected) => Err(error),
        }
    }

    fn post(&mut self, batch: &Batch) -> Posted {
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        let mut answer = match request.send(&batch.body[..]) {
            Ok(answer) => answer,
            Err(error) => {
                self.fail(&error.to_string());
                return Posted::Later(None);
            }
        };
        let status = answer.status().as_u16();
        // As the protocol tells: of failures only these are worth another try.
        let posted = match status {
            200..=299 => {
                let said = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
                return Posted::Taken { refused: said.map_or(0, |said| refused(&said)) };
            }
            429 | 502 | 503 | 504 => {
                let asked = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
                Posted::Later(asked.and_then(|text| text.parse().ok()).map(Duration::from_secs))
            }
            _ => Posted::Never,
        };
        self.fail(&format!("status {status}"));
        posted
    }

    fn fail(&mut self, why: &str) {
        self.counters.span_errors.inc();
        if let Some(kept_back) = self.seldom.may_say(Instant::now()) {
            tracing::warn!(
                "spans: {} does not take them: {why} ({kept_back} like this since the last message)",
                self.url
            );
        }
    }
}

/// Of an answer that says how many spans the collector refused; any other refused none.
fn refused(answer: &str) -> u64 {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        partial_success: Partial,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Partial {
        #[serde(default)]
        rejected_spans: Number,
    }
    /// Written as text, and read as either.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(u64),
        Text(String),
    }
    impl Default for Number {
        fn default() -> Self {
            Self::Number(0)
        }
    }
    match serde_json::from_str::<Answer>(answer).map(|answer| answer.partial_success.rejected_spans) {
        Ok(Number::Number(n)) => n,
        Ok(Number::Text(text)) => text.parse().unwrap_or(0),
        Err(_) => 0,
    }
}

/// Half of it to all of it, so that many gateways do not come back together.
fn jittered(pause: Duration) -> Duration {
    let lot = mix(os::monotonic_us()) >> 32;
    pause / 2 + pause.mul_f64(lot as f64 / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_says_how_many_spans_it_refused_in_either_form() {
        let rows = [
            ("", 0),
            ("{}", 0),
            (r#"{"partialSuccess":{}}"#, 0),
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedSpans":4}}"#, 4),
            (r#"{"partialSuccess":{"rejectedSpans":"-1"}}"#, 0),
            ("not json", 0),
        ];
        for (answer, expect) in rows {
            assert_eq!(refused(answer), expect, "{answer}");
        }
    }

    #[test]
    fn a_pause_is_never_longer_than_asked_nor_shorter_than_half() {
        for _ in 0..1000 {
            let pause = jittered(PAUSE_FIRST);
            assert!((PAUSE_FIRST / 2..=PAUSE_FIRST).contains(&pause), "{pause:?}");
        }
    }
}
