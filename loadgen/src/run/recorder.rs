//! Measurements of one thread in one interval, and sums of those. Knows no socket and decides no verdict.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::outcome::{End, Outcome};

/// Times are kept in nanoseconds up to an hour, to three figures.
const NS_MAX: u64 = 3_600_000_000_000;
const FIGURES: u8 = 3;
/// Of each kind of requests, of which there may be many.
const FIGURES_OF_KIND: u8 = 2;

pub type Times = Histogram<u64>;

pub fn times() -> Times {
    // Bounds are constants that the crate accepts; the fallback only keeps this free of panics.
    Histogram::new_with_bounds(1, NS_MAX, FIGURES)
        .unwrap_or_else(|_| unreachable!("constant bounds are valid"))
}

/// A request, measured. `response = dispatch + service`.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub intended_ns: u64,
    pub started_ns: u64,
    pub ended_ns: u64,
    /// The kind of the request, where there are several.
    pub kind: Option<u32>,
    pub end: End,
}

/// The record of one of several kinds of requests.
#[derive(Clone)]
pub struct OfKind {
    pub response: Times,
    pub errors: u64,
}

impl Default for OfKind {
    fn default() -> Self {
        let coarse = Histogram::new_with_bounds(1, NS_MAX, FIGURES_OF_KIND);
        let response = coarse.unwrap_or_else(|_| unreachable!("constant bounds are valid"));
        Self { response, errors: 0 }
    }
}

/// Every request is in `response`, `service` and `dispatch`, whatever its end: nothing falls out of the tail.
/// Failed ones are also in the histogram of their class.
#[derive(Clone)]
pub struct Record {
    pub response: Times,
    pub service: Times,
    pub dispatch: Times,
    pub by_class: BTreeMap<Outcome, Times>,
    /// Where there are several.
    pub by_kind: BTreeMap<u32, OfKind>,
    pub statuses: BTreeMap<u16, u64>,
    /// How late the generator itself was, on requests that did not have to wait for a connection.
    pub lag: Times,
    /// Up to the accepted connection, without TLS.
    pub connect: Times,
    /// TLS, from the connection to the end of the handshake, where a session began anew.
    pub handshake_full: Times,
    /// The same, where an earlier session was resumed.
    pub handshake_resumed: Times,
    pub handshake_failures: u64,
    pub grpc_statuses: BTreeMap<u16, u64>,
    /// gRPC messages that came.
    pub messages_in: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub connects: u64,
    pub connect_failures: u64,
    /// Requests that found all connections in use.
    pub cap_hits: u64,
    /// Scheduled moments that passed.
    pub due: u64,
    /// Answers that came within the measured time, whenever their requests were due: the throughput.
    pub answers: u64,
    /// Requests of the warm-up, which are in no histogram.
    pub warm_up: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            response: times(),
            service: times(),
            dispatch: times(),
            by_class: BTreeMap::new(),
            by_kind: BTreeMap::new(),
            statuses: BTreeMap::new(),
            lag: times(),
            connect: times(),
            handshake_full: times(),
            handshake_resumed: times(),
            handshake_failures: 0,
            grpc_statuses: BTreeMap::new(),
            messages_in: 0,
            bytes_in: 0,
            bytes_out: 0,
            connects: 0,
            connect_failures: 0,
            cap_hits: 0,
            due: 0,
            answers: 0,
            warm_up: 0,
        }
    }
}

impl Record {
    pub fn add(&mut self, sample: Sample) {
        let started_ns = sample.started_ns.max(sample.intended_ns);
        let response_ns = sample.ended_ns.saturating_sub(sample.intended_ns);
        self.response.saturating_record(response_ns);
        self.service.saturating_record(sample.ended_ns.saturating_sub(started_ns));
        self.dispatch.saturating_record(started_ns - sample.intended_ns);
        if sample.end.outcome != Outcome::Ok {
            self.by_class.entry(sample.end.outcome).or_insert_with(times).saturating_record(response_ns);
        }
        if let Some(kind) = sample.kind {
            let of = self.by_kind.entry(kind).or_default();
            of.response.saturating_record(response_ns);
            of.errors += u64::from(sample.end.outcome != Outcome::Ok);
        }
        if sample.end.status != 0 {
            *self.statuses.entry(sample.end.status).or_default() += 1;
        }
        if let Some(status) = sample.end.grpc {
            *self.grpc_statuses.entry(status).or_default() += 1;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        // All have the same bounds, for which adding cannot fail.
        let _ = self.response.add(&other.response);
        let _ = self.service.add(&other.service);
        let _ = self.dispatch.add(&other.dispatch);
        let _ = self.lag.add(&other.lag);
        let _ = self.connect.add(&other.connect);
        let _ = self.handshake_full.add(&other.handshake_full);
        let _ = self.handshake_resumed.add(&other.handshake_resumed);
        for (class, times_of) in &other.by_class {
            let _ = self.by_class.entry(*class).or_insert_with(times).add(times_of);
        }
        for (kind, more) in &other.by_kind {
            let of = self.by_kind.entry(*kind).or_default();
            let _ = of.response.add(&more.response);
            of.errors += more.errors;
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (status, count) in &other.grpc_statuses {
            *self.grpc_statuses.entry(*status).or_default() += count;
        }
        self.handshake_failures += other.handshake_failures;
        self.messages_in += other.messages_in;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connects += other.connects;
        self.connect_failures += other.connect_failures;
        self.cap_hits += other.cap_hits;
        self.due += other.due;
        self.answers += other.answers;
        self.warm_up += other.warm_up;
    }

    pub fn count(&self) -> u64 {
        self.response.len()
    }

    pub fn count_of(&self, class: Outcome) -> u64 {
        match class {
            Outcome::Ok => self.count() - self.errors(),
            other => self.by_class.get(&other).map_or(0, Histogram::len),
        }
    }

    pub fn errors(&self) -> u64 {
        self.by_class.values().map(Histogram::len).sum()
    }

    /// Response times of the requests that went well.
    pub fn ok(&self) -> Times {
        let mut ok = self.response.clone();
        for times_of in self.by_class.values() {
            let _ = ok.subtract(times_of);
        }
        ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_stays_in_the_tail_and_dispatch_and_service_add_up() {
        let mut record = Record::default();
        for i in 0..99 {
            let at = i * 1_000_000;
            let sample = Sample {
                intended_ns: at,
                started_ns: at + 1_000,
                ended_ns: at + 101_000,
                kind: None,
                end: End::new(Outcome::Ok, 200),
            };
            record.add(sample);
        }
        record.add(Sample {
            intended_ns: 0,
            started_ns: 0,
            ended_ns: 2_000_000_000,
            kind: None,
            end: End::new(Outcome::Timeout, 0),
        });
        assert!(record.response.max() >= 1_990_000_000);
        assert!(record.ok().max() < 102_000);
        assert_eq!((record.errors(), record.count_of(Outcome::Ok)), (1, 99));
        let near = |a: u64, b: u64| a.abs_diff(b) * 500 <= b;
        assert!(near(record.response.value_at_quantile(0.5), 101_000));
        assert!(near(record.service.value_at_quantile(0.5), 100_000));
        assert!(near(record.dispatch.value_at_quantile(0.5), 1_000));
    }

    #[test]
    fn merged_threads_are_one_histogram_not_an_average() {
        let (mut slow, mut fast) = (Record::default(), Record::default());
        let end = End::new(Outcome::Ok, 200);
        let sample = |ns| Sample { intended_ns: 0, started_ns: 0, ended_ns: ns, kind: None, end };
        (0..10).for_each(|_| slow.add(sample(1_000_000_000)));
        (0..90).for_each(|_| fast.add(sample(1_000)));
        fast.merge(&slow);
        assert!(fast.response.value_at_quantile(0.90) < 1_010);
        assert!(fast.response.value_at_quantile(0.91) > 990_000_000);
    }
}
