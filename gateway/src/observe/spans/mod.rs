//! Spans of sampled exchanges, on their way to a collector. The room runs on the observer's thread, and hands batches to a
//! thread that posts them.
//!
//! Other readers of records are not known here. A span that finds no room is lost, and counted.
//!
//! The JSON of OTLP is written by hand here, with serde: the crates of OpenTelemetry bring a few dozen others, queues and
//! threads of their own, and no count of what they drop.

mod otlp;
mod exporter;

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Collector, Config, Tracing};

use super::disclosure::Discretion;
use super::record::Record;
use crate::metrics::ObserverCounters;
use crate::tls::load::Roots;
use exporter::{Batch, Exporter};

/// Spans in one request to the collector.
const BATCH_SPANS_MAX: usize = 512;

/// Bytes of one request to the collector, and a record more: a collector takes 4 MiB or more.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A batch that is not full is sent after this.
const BATCH_EVERY: Duration = Duration::from_secs(1);

/// The settings of the configuration in force.
#[derive(Debug)]
pub struct Spans {
    way: Option<Way>,
    discretion: Discretion,
    /// Spans of the record under way.
    written: Vec<u8>,
    counters: Arc<ObserverCounters>,
}

/// To one collector.
#[derive(Debug)]
struct Way {
    settings: Tracing,
    collector: Collector,
    /// The authorities that vouch for it.
    roots: Option<Roots>,
    exporter: Exporter,
    /// The batch in the making: its beginning, and how many spans are in it.
    body: Vec<u8>,
    spans: usize,
    since: Instant,
}

impl Spans {
    pub fn new(config: &Config, roots: Option<&Roots>, counters: Arc<ObserverCounters>) -> Self {
        let mut spans = Self { way: None, discretion: Discretion::default(), written: Vec::new(), counters };
        spans.turn(config, roots);
        spans
    }

    /// Takes over another configuration.
    pub fn turn(&mut self, config: &Config, roots: Option<&Roots>) {
        // How many are sampled is decided elsewhere: it is no reason to begin anew.
        let wanted = config.tracing.as_ref().and_then(|tracing| Some((tracing, tracing.collector.clone()?)));
        let is_same = match (&self.way, &wanted) {
            (None, None) => true,
            (Some(way), Some((tracing, collector))) => way.serves(tracing, collector, roots),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_same {
            return;
        }
        if let Some(mut way) = self.way.take() {
            // The thread posts its batches and ends by itself: the reader of records need not wait for that.
            way.send(&self.counters);
        }
        let Some((settings, collector)) = wanted else { return };
        match Exporter::start(&collector, roots, settings.timeout, Arc::clone(&self.counters)) {
            Ok(exporter) => {
                let (settings, body, since) = (settings.clone(), Vec::new(), Instant::now());
                let roots = roots.cloned();
                self.way = Some(Way { settings, collector, roots, exporter, body, spans: 0, since });
            }
            Err(error) => tracing::error!("spans: cannot start the thread that posts them: {error}"),
        }
    }

    /// Tells of an exchange whose trace is sampled.
    pub fn take(&mut self, record: &Record) {
        let Some(way) = &mut self.way else { return };
        if !record.trace.is_sampled {
            return;
        }
        let spans = otlp::count(record);
        self.written.clear();
        otlp::write_spans(&mut self.written, record, &mut self.discretion);
        let bytes = way.exporter.waiting_bytes() + way.body.len() + self.written.len();
        if way.exporter.waiting() + way.spans + spans > way.settings.spans_max
            || bytes > way.settings.spans_bytes_max
        {
            self.counters.spans_lost.add(spans as u64);
            return;
        }
        if way.spans == 0 {
            let (begin, _) = otlp::envelope(&way.settings.service_name);
            way.body = begin;
            way.since = Instant::now();
        } else {
            way.body.push(b',');
        }
        way.body.extend_from_slice(&self.written);
        way.spans += spans;
        if way.spans >= BATCH_SPANS_MAX || way.body.len() >= BATCH_BYTES_MAX {
            way.send(&self.counters);
        }
    }

    /// To be called often.
    pub fn tick(&mut self) {
        if let Some(way) = &mut self.way
            && way.since.elapsed() >= BATCH_EVERY
        {
            way.send(&self.counters);
        }
    }

    /// Ends the spans: waiting ones are sent, for as long as that may take.
    pub fn end(&mut self) {
        if let Some(mut way) = self.way.take() {
            way.send(&self.counters);
            way.exporter.end();
        }
    }
}

impl Way {
    fn serves(&self, settings: &Tracing, collector: &Collector, roots: Option<&Roots>) -> bool {
        let Tracing {
            percent: _,
            parent: _,
            collector: _,
            service_name,
            spans_max,
            spans_bytes_max,
            timeout,
        } = settings;
        self.collector == *collector
            && self.roots.as_ref() == roots
            && self.settings.service_name == *service_name
            && self.settings.spans_max == *spans_max
            && self.settings.spans_bytes_max == *spans_bytes_max
            && self.settings.timeout == *timeout
    }

    fn send(&mut self, counters: &ObserverCounters) {
        if self.spans == 0 {
            return;
        }
        let (_, end) = otlp::envelope("");
        self.body.extend_from_slice(end);
        let batch = Batch { spans: self.spans, body: std::mem::take(&mut self.body) };
        self.spans = 0;
        if let Err(batch) = self.exporter.hand_over(batch) {
            counters.spans_lost.add(batch.spans as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

    use super::*;
    use crate::observe::disclosure::Saying;
    use crate::observe::disclosure::tests::{SAYING, record};

    /// A collector that answers each post in turn with one of `answers`, and hands out the posts that it got.
    fn collector(answers: Vec<&'static str>) -> (String, Receiver<serde_json::Value>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, got) = channel();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let line = line.trim_end().to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let answer = format!("HTTP/1.1 {answer}");
                stream.write_all(answer.as_bytes()).unwrap();
                told.send(serde_json::from_slice(&body).unwrap()).unwrap();
            }
        });
        (url, got)
    }

    const TAKEN: &str = "200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";

    fn counted(of: &ObserverCounters) -> [u64; 4] {
        [of.spans_exported.get(), of.spans_lost.get(), of.spans_refused.get(), of.span_errors.get()]
    }

    fn spans_in(sent: &serde_json::Value) -> usize {
        sent["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len()
    }

    #[test]
    fn what_is_sampled_is_sent_whole_at_the_latest_at_the_end() {
        let (url, got) = collector(vec![TAKEN]);
        let record = record(&format!("[tracing]\nto = \"{url}\"\nservice_name = \"edge\""));
        let counters = Arc::<ObserverCounters>::default();
        let mut spans = Spans::new(&record.config, None, Arc::clone(&counters));
        spans.take(&record);
        spans.take(&record);
        let mut other = record;
        other.trace.is_sampled = false;
        spans.take(&other);
        spans.end();
        assert_eq!(spans_in(&got.recv().unwrap()), 8);
        assert_eq!(counted(&counters), [8, 0, 0, 0]);
    }

    #[test]
    fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
        let busy = "503 Busy\r\nConnection: close\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
        let some = "200 OK\r\nConnection: close\r\nContent-Length: 41\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"1\"}} ";
        let never = "400 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        for (answers, expect) in
            [(vec![busy, busy, TAKEN], [4, 0, 0, 2]), (vec![some], [3, 0, 1, 0]), (vec![never], [0, 0, 4, 1])]
        {
            let tries = answers.len();
            let (url, got) = collector(answers);
            let record = record(&format!("[tracing]\nto = \"{url}\""));
            let counters = Arc::<ObserverCounters>::default();
            let mut spans = Spans::new(&record.config, None, Arc::clone(&counters));
            spans.take(&record);
            spans.way.as_mut().unwrap().send(&counters);
            for _ in 0..tries {
                got.recv().unwrap();
            }
            spans.end();
            assert_eq!(counted(&counters), expect);
        }
    }

    #[test]
    fn a_collector_that_is_away_costs_a_bounded_queue_and_is_counted() {
        // No listener is at this address: the system chose the port, and it was given back.
        let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let record = record(&format!("[tracing]\nto = \"http://{away}\"\nspans_max = 10"));
        let counters = Arc::<ObserverCounters>::default();
        let mut spans = Spans::new(&record.config, None, Arc::clone(&counters));
        for _ in 0..5 {
            spans.take(&record);
        }
        assert_eq!(counters.spans_lost.get(), 12, "two exchanges of four spans find room, and three do not");
        spans.end();
        let [exported, lost, refused, errors] = counted(&counters);
        assert_eq!((exported, lost, refused), (0, 12, 8));
        assert!(errors >= 1);
    }

    #[test]
    fn spans_that_wait_are_weighed_whatever_a_client_writes_into_them() {
        let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut record = record(&format!("[tracing]\nto = \"http://{away}\"\nspans_bytes_max = \"64KiB\""));
        let long = "a".repeat(15_000);
        record.said = Saying { target: &format!("/{long}?{long}"), user_agent: &long, ..SAYING }.into();
        let counters = Arc::<ObserverCounters>::default();
        let mut spans = Spans::new(&record.config, None, Arc::clone(&counters));
        for _ in 0..100 {
            spans.take(&record);
        }
        let way = spans.way.as_ref().unwrap();
        let bytes = way.exporter.waiting_bytes() + way.body.len();
        assert!(bytes <= 64 << 10, "{bytes}");
        assert!(bytes > 32 << 10 && way.spans >= 8, "what is long is cut, not lost: {bytes} {}", way.spans);
        let [_, lost, ..] = counted(&counters);
        assert_eq!(lost + way.spans as u64, 400, "each is counted");
        spans.end();
    }

    #[test]
    fn a_change_of_what_is_sampled_is_no_reason_to_begin_anew() {
        let (url, got) = collector(vec![TAKEN]);
        let with = |keys: &str| record(&format!("[tracing]\nto = \"{url}\"\n{keys}"));
        let counters = Arc::<ObserverCounters>::default();
        let record = with("");
        let mut spans = Spans::new(&record.config, None, Arc::clone(&counters));
        spans.take(&record);
        spans.turn(&with("percent = 50").config, None);
        assert_eq!(spans.way.as_ref().unwrap().spans, 4, "the batch in the making goes on");
        spans.turn(&with("service_name = \"b\"").config, None);
        assert_eq!(spans_in(&got.recv().unwrap()), 4);
        assert_eq!(spans.way.as_ref().unwrap().spans, 0);
        spans.turn(&self::record("").config, None);
        assert!(spans.way.is_none());
    }
}
