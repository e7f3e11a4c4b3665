//! The workers' counters as OpenMetrics text: summed when asked, so there is no second copy to go stale.
//!
//! The room knows every metric's name, its help and the counters that make it up. It knows no HTTP and never writes a counter.
//! Reads are relaxed and workers go on counting meanwhile: a scrape is exact once the workers rest, and off by the few
//! steps under way while they do not.

mod families;
mod ledger;
mod lanes;
mod upstreams;
mod captures;
mod observer;
mod rollout;
mod tls;
mod cluster;
mod http2;
mod tunnels;
pub(super) mod times;
pub(super) mod classic;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};

use super::process;
use super::standing::Standing;
use crate::control::{ConfigStore, Snapshot};
use crate::metrics::{Code, Codes, Label, RejectReason, RouteCounters, Shard, Shed, UpstreamCounters};
use families::Families;
use times::ChosenSeries;

/// Media type of `/metrics`; Prometheus asks for it by this name.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label of answers given before a route was known.
const NO_ROUTE: &str = "";

/// Everything `/metrics` shows.
#[derive(Debug)]
pub(super) struct Exposition(Registry);

impl Exposition {
    /// `shards`: one for each worker, by its number.
    pub(super) fn new(
        store: Arc<ConfigStore>,
        shards: Vec<Arc<Shard>>,
        started: SystemTime,
        standing: Arc<Standing>,
    ) -> Self {
        let mut registry = Registry::default();
        let chosen = Mutex::default();
        registry.register_collector(Box::new(Workers { store, shards, started, standing, chosen }));
        Self(registry)
    }

    /// The text as it stands now.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.0)?;
        Ok(out)
    }
}

#[derive(Debug)]
struct Workers {
    store: Arc<ConfigStore>,
    shards: Vec<Arc<Shard>>,
    started: SystemTime,
    standing: Arc<Standing>,
    chosen: Mutex<ChosenSeries>,
}

impl Collector for Workers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(encoder);
        let snapshot = self.store.open();
        let shards =
            Shards { snapshot: &snapshot, shards: &self.shards, started: self.started, chosen: &self.chosen };
        shards.requests(&mut out)?;
        shards.times(&mut out)?;
        shards.ledger(&mut out)?;
        shards.lanes(&mut out)?;
        shards.upstreams(&mut out)?;
        shards.discovery(&mut out)?;
        shards.connections(&mut out)?;
        shards.tls(&mut out)?;
        shards.http2(&mut out)?;
        shards.tunnels(&mut out)?;
        shards.workers(&mut out)?;
        shards.observer(&mut out)?;
        observer::answers_cut(&mut out, &self.store)?;
        captures::captures(&mut out, &self.store)?;
        observer::kept(&mut out, &self.store)?;
        shards.configuration(&mut out)?;
        shards.cluster(&mut out)?;
        shards.rollout(&mut out, &self.store)?;
        shards.trials(&mut out)?;
        rollout::verdicts(&mut out, &self.standing)?;
        rollout::changes(&mut out, &self.store, self.started)?;
        shards.process(&mut out)
    }
}

/// The counters that one scrape reads.
#[derive(Debug)]
struct Shards<'a> {
    snapshot: &'a Snapshot,
    shards: &'a [Arc<Shard>],
    started: SystemTime,
    chosen: &'a Mutex<ChosenSeries>,
}

impl Shards<'_> {
    /// Attempts to change the configuration, by their results.
    fn configuration(&self, out: &mut Families<'_>) -> fmt::Result {
        let snapshot = self.snapshot;
        out.counters(
            "umbra_reloads",
            "Attempts to change the configuration while serving, by what became of them",
            [("applied", snapshot.applied), ("refused", snapshot.refused)]
                .map(|(result, n)| ([("result", result)], n)),
        )
    }

    fn requests(&self, out: &mut Families<'_>) -> fmt::Result {
        let routes = self.routes();
        let mut rows = by_code(NO_ROUTE, self.shards.iter().map(|s| &s.unrouted));
        for (route, counters) in &routes {
            rows.extend(by_code(route, counters.iter().map(|c| &c.requests)));
        }
        out.counters(
            "umbra_requests",
            "Answers by the status code the client got; no route where none was known",
            rows,
        )?;
        out.counters(
            "umbra_exchanges_aborted",
            "Exchanges whose client got no complete answer",
            routes.iter().map(|(route, of)| ([("route", *route)], total(of, |r| r.aborted.get()))),
        )?;
        out.counters(
            "umbra_rejected",
            "Requests the gateway answered by itself, or connections it hung up on, by reason",
            RejectReason::ALL
                .iter()
                .map(|why| ([("reason", why.text())], self.total(|s| s.rejected.get(*why)))),
        )
    }

    fn connections(&self, out: &mut Families<'_>) -> fmt::Result {
        let mut counter = |name, help, read: fn(&Shard) -> u64| out.counter(name, help, self.total(read));
        counter("umbra_connections_accepted", "Client connections accepted", |s| {
            s.connections_accepted.get()
        })?;
        counter("umbra_accept_errors", "Accepts that failed", |s| s.accept_errors.get())?;
        counter("umbra_exchange_panics", "Panics caught; each ended one connection", |s| {
            s.exchange_panics.get()
        })?;
        out.counters(
            "umbra_connections_shed",
            "Client connections closed at accept: too many altogether, or of one address",
            Shed::ALL.iter().map(|l| ([("reason", l.text())], self.total(|s| s.connections_shed.get(*l)))),
        )?;
        let active = level(self.shards, |s| s.exchanges_active.get());
        out.gauge("umbra_exchanges_active", "Requests under way", None, active)?;
        let active = level(self.shards, |s| s.connections_active.get());
        out.gauge("umbra_connections_active", "Open client connections", None, active)
    }

    fn workers(&self, out: &mut Families<'_>) -> fmt::Result {
        let workers =
            || self.shards.iter().enumerate().map(|(id, shard)| ([("worker", id.to_string())], shard));
        out.counters(
            "umbra_worker_ticks",
            "Turns of the worker's clock; a stuck worker stops counting",
            workers().map(|(labels, shard)| (labels, shard.ticks.get())),
        )?;
        out.counters(
            "umbra_worker_busy_ticks",
            "Turns that came late while the worker used its core",
            workers().map(|(labels, shard)| (labels, shard.busy_ticks.get())),
        )?;
        out.counters_in(
            "umbra_worker_cpu",
            "CPU time of the worker's thread",
            Some(Unit::Seconds),
            workers().map(|(labels, shard)| (labels, seconds(shard.cpu_us.get()))),
        )
    }

    fn process(&self, out: &mut Families<'_>) -> fmt::Result {
        out.info("umbra_build", "The running version", &[("version", env!("CARGO_PKG_VERSION"))])?;
        if let Some(open) = process::open_descriptors() {
            out.gauge("process_open_fds", "Open file descriptors", None, open)?;
        }
        if let Some(bytes) = process::resident_bytes() {
            out.gauge("process_resident_memory", "Resident memory", Some(Unit::Bytes), bytes)?;
        }
        let since_epoch = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        out.gauge(
            "process_start_time",
            "Start of the process since the Unix epoch",
            Some(Unit::Seconds),
            since_epoch,
        )
    }

    fn total(&self, read: impl Fn(&Shard) -> u64) -> u64 {
        total(self.shards, read)
    }

    fn routes(&self) -> Vec<(&str, Vec<&RouteCounters>)> {
        let all = &self.snapshot.counters;
        let of = |id: usize| all.iter().filter_map(|c| c.routes.get(id)).map(AsRef::as_ref).collect();
        self.snapshot
            .config
            .routes
            .iter()
            .enumerate()
            .map(|(id, route)| (route.name.as_str(), of(id)))
            .collect()
    }

    fn upstreams_by_name(&self) -> Vec<(&str, Vec<&UpstreamCounters>)> {
        let of = |id: usize| {
            self.snapshot.counters.iter().filter_map(|c| c.upstreams.get(id)).map(AsRef::as_ref).collect()
        };
        self.snapshot
            .config
            .upstreams
            .iter()
            .enumerate()
            .map(|(id, upstream)| (upstream.name.as_str(), of(id)))
            .collect()
    }
}

fn by_code<'a>(
    route: &'a str,
    workers: impl Iterator<Item = &'a Codes>,
) -> Vec<([(&'static str, Cow<'a>); 2], u64)> {
    let mut codes: BTreeMap<Code, u64> = BTreeMap::new();
    for (code, n) in workers.flat_map(Codes::seen) {
        *codes.entry(code).or_default() += n;
    }
    codes.into_iter().map(|(code, n)| ([("route", Cow::Borrowed(route)), ("code", code.text())], n)).collect()
}

type Cow<'a> = std::borrow::Cow<'a, str>;

fn total<T, R: std::ops::Deref<Target = T>>(workers: &[R], read: impl Fn(&T) -> u64) -> u64 {
    workers.iter().map(|counters| read(counters)).fold(0, u64::wrapping_add)
}

fn level<T, R: std::ops::Deref<Target = T>>(workers: &[R], read: impl Fn(&T) -> i64) -> i64 {
    workers.iter().map(|counters| read(counters)).fold(0, i64::wrapping_add)
}

fn seconds(microseconds: i64) -> f64 {
    std::time::Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use ::config::Config;

    use super::*;
    use crate::control::budget::tests::config;
    use crate::metrics::{
        Class, CutReason, DropReason, FailReason, LowerReason, SkipReason, UpstreamFailure,
    };

    /// Two workers whose counters a test may turn.
    fn workers(config: Config) -> (Arc<ConfigStore>, Vec<Arc<Shard>>) {
        (ConfigStore::new(&Arc::new(config)), vec![Arc::default(), Arc::default()])
    }

    fn text((store, shards): (Arc<ConfigStore>, Vec<Arc<Shard>>)) -> String {
        let started = UNIX_EPOCH + std::time::Duration::from_millis(1_500);
        Exposition::new(store, shards, started, Arc::default()).text().unwrap()
    }

    #[track_caller]
    fn assert_has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
    }

    #[test]
    fn every_family_is_there_before_anything_happened() {
        let config = config();
        let text = text(workers(config));
        let families = [
            "umbra_requests counter",
            "umbra_exchanges_aborted counter",
            "umbra_rejected counter",
            "umbra_request_duration_seconds histogram",
            "umbra_request_size_bytes histogram",
            "umbra_response_size_bytes histogram",
            "umbra_primary_latency_seconds histogram",
            "umbra_mirror_latency_seconds histogram",
            "umbra_mirror_lag_seconds histogram",
            "umbra_mirror_slower_seconds histogram",
            "umbra_mirror_faster_seconds histogram",
            "umbra_pairs counter",
            "umbra_mirror_eligible counter",
            "umbra_mirror_sampled_out counter",
            "umbra_mirror_skipped counter",
            "umbra_mirror_dropped counter",
            "umbra_mirror_sent counter",
            "umbra_mirror_completed counter",
            "umbra_mirror_failed counter",
            "umbra_mirror_pending gauge",
            "umbra_mirror_waiting gauge",
            "umbra_mirror_in_flight gauge",
            "umbra_mirror_effective_percent gauge",
            "umbra_mirror_lowered counter",
            "umbra_mirror_response_seconds counter",
            "umbra_mirror_ring_entries gauge",
            "umbra_mirror_ring_bytes gauge",
            "umbra_mirror_connections gauge",
            "umbra_mirror_connects counter",
            "umbra_mirror_connect_failures counter",
            "umbra_mirror_batches counter",
            "umbra_mirror_resent counter",
            "umbra_mirror_out_of_step counter",
            "umbra_mirror_suspect_pairs counter",
            "umbra_mirror_pairs_left_out counter",
            "umbra_mirror_responses_cut counter",
            "umbra_mirror_response_bytes counter",
            "umbra_upstream_attempts counter",
            "umbra_upstream_connects counter",
            "umbra_upstream_overflows counter",
            "umbra_upstream_reuses counter",
            "umbra_upstream_retries counter",
            "umbra_upstream_failures counter",
            "umbra_upstream_idle_connections gauge",
            "umbra_upstream_pending gauge",
            "umbra_upstream_ejected gauge",
            "umbra_upstream_ejections counter",
            "umbra_upstream_last_resorts counter",
            "umbra_upstream_unhealthy gauge",
            "umbra_upstream_health_checks counter",
            "umbra_name_lookups counter",
            "umbra_connections_accepted counter",
            "umbra_connections_shed counter",
            "umbra_exchanges_active gauge",
            "umbra_connections_active gauge",
            "umbra_tls_handshakes counter",
            "umbra_tls_handshake_failures counter",
            "umbra_tls_handshakes_pending gauge",
            "umbra_tls_certificate_expires_seconds gauge",
            "umbra_http2_connections counter",
            "umbra_http2_streams counter",
            "umbra_http2_streams_refused counter",
            "umbra_http2_streams_reset counter",
            "umbra_http2_goaways counter",
            "umbra_tunnels_active gauge",
            "umbra_tunnels_opened counter",
            "umbra_tunnels_ended counter",
            "umbra_tunnel_bytes counter",
            "umbra_upgrades_ignored counter",
            "umbra_upstream_tls_handshakes counter",
            "umbra_upstream_tls_handshake_failures counter",
            "umbra_mirror_tls_handshakes counter",
            "umbra_mirror_tls_handshake_failures counter",
            "umbra_accept_errors counter",
            "umbra_exchange_panics counter",
            "umbra_worker_ticks counter",
            "umbra_reloads counter",
            "umbra_changes counter",
            "umbra_config_last_reload_successful gauge",
            "umbra_config_last_reload_success_timestamp_seconds gauge",
            "umbra_mirror_percent gauge",
            "umbra_mirror_configured_percent gauge",
            "umbra_mirror_compared counter",
            "umbra_mirror_differing counter",
            "umbra_control_requests counter",
            "umbra_control_response_seconds counter",
            "umbra_verdict gauge",
            "umbra_kubernetes_objects gauge",
            "umbra_kubernetes_watch_errors counter",
            "umbra_kubernetes_kept_objects gauge",
            "umbra_kubernetes_kept_bytes gauge",
            "umbra_kubernetes_surplus_objects gauge",
            "umbra_kubernetes_watch_age_seconds gauge",
            "umbra_kubernetes_synced gauge",
            "umbra_kubernetes_leader gauge",
            "umbra_kubernetes_status_writes counter",
            "umbra_worker_busy_ticks counter",
            "umbra_admin_responses_cut counter",
            "umbra_evidence_saves counter",
            "umbra_evidence_left_out counter",
            "umbra_records counter",
            "umbra_access_log_lines counter",
            "umbra_access_log_errors counter",
            "umbra_capture_taken counter",
            "umbra_capture_requests counter",
            "umbra_capture_waiting gauge",
            "umbra_capture_bytes counter",
            "umbra_capture_files counter",
            "umbra_capture_files_removed counter",
            "umbra_spans counter",
            "umbra_span_errors counter",
            "umbra_observer_panics counter",
            "umbra_worker_cpu_seconds counter",
            "umbra_build info",
            "process_open_fds gauge",
            "process_resident_memory_bytes gauge",
            "process_start_time_seconds gauge",
        ];
        for family in families {
            assert_has(&text, &format!("# TYPE {family}"));
        }
        assert_eq!(text.matches("# TYPE ").count(), families.len(), "{text}");
        assert!(text.ends_with("# EOF\n"));
        assert_has(&text, &format!("umbra_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
        assert_has(&text, "process_start_time_seconds 1.5");
        assert_has(&text, "umbra_connections_accepted_total 0");
    }

    #[test]
    fn the_ledger_is_complete_at_zero() {
        let config = config();
        let text = text(workers(config));
        let labels = "route=\"default\",mirror=\"v2\"";
        for plain in ["eligible_total", "sampled_out_total", "sent_total", "pending", "waiting", "in_flight"]
        {
            assert_has(&text, &format!("umbra_mirror_{plain}{{{labels}}} 0"));
        }
        fn check<L: Label>(text: &str, labels: &str, family: &str, key: &str) {
            for label in L::ALL {
                assert_has(
                    text,
                    &format!("umbra_mirror_{family}_total{{{labels},{key}=\"{}\"}} 0", label.text()),
                );
            }
        }
        check::<SkipReason>(&text, labels, "skipped", "reason");
        check::<DropReason>(&text, labels, "dropped", "reason");
        check::<Class>(&text, labels, "completed", "class");
        check::<FailReason>(&text, labels, "failed", "reason");
        check::<LowerReason>(&text, labels, "lowered", "reason");
        for why in CutReason::ALL {
            let series =
                format!("umbra_mirror_responses_cut_total{{mirror=\"v2\",reason=\"{}\"}} 0", why.text());
            assert_has(&text, &series);
        }
        for why in RejectReason::ALL {
            assert_has(&text, &format!("umbra_rejected_total{{reason=\"{}\"}} 0", why.text()));
        }
        for why in UpstreamFailure::ALL {
            assert_has(
                &text,
                &format!("umbra_upstream_failures_total{{upstream=\"v1\",reason=\"{}\"}} 0", why.text()),
            );
        }
    }

    #[test]
    fn workers_are_summed_and_told_apart_where_that_matters() {
        let config = config();
        let workers = workers(config);
        for ((n, shard), counters) in (1..).zip(&workers.1).zip(&workers.0.open().counters) {
            shard.unrouted.inc(400);
            counters.routes[0].requests.inc(200);
            counters.routes[0].requests.inc(299);
            counters.mirrors[0][0].sent.add(n);
            counters.mirrors[0][0].dropped.inc(DropReason::RingBytes);
            counters.mirrors[0][0].in_flight.add(3);
            counters.mirrors[0][0].share.set(n as i64 * 500_000);
            counters.mirrors[0][0].latency.record(250_000);
            counters.lanes[0].ring_bytes.set(100);
            counters.upstreams[0].idle.set(5);
            shard.connections_active.set(7);
            shard.ticks.add(n);
            shard.cpu_us.set(1_500_000);
        }
        let text = text(workers);
        for line in [
            "umbra_requests_total{route=\"\",code=\"400\"} 2",
            "umbra_requests_total{route=\"default\",code=\"200\"} 2",
            "umbra_requests_total{route=\"default\",code=\"other\"} 2",
            "umbra_mirror_sent_total{route=\"default\",mirror=\"v2\"} 3",
            "umbra_mirror_dropped_total{route=\"default\",mirror=\"v2\",reason=\"ring_bytes\"} 2",
            "umbra_mirror_in_flight{route=\"default\",mirror=\"v2\"} 6",
            "umbra_mirror_effective_percent{route=\"default\",mirror=\"v2\"} 75.0",
            "umbra_mirror_response_seconds_total{route=\"default\",mirror=\"v2\"} 0.5",
            "umbra_mirror_ring_bytes{mirror=\"v2\"} 200",
            "umbra_upstream_idle_connections{upstream=\"v1\"} 10",
            "umbra_connections_active 14",
            "umbra_worker_ticks_total{worker=\"0\"} 1",
            "umbra_worker_ticks_total{worker=\"1\"} 2",
            "umbra_worker_cpu_seconds_total{worker=\"1\"} 1.5",
        ] {
            assert_has(&text, line);
        }
    }

    #[test]
    fn lanes_of_one_name_are_one_series() {
        let mut config = config();
        let mut twin = config.lanes[0].clone();
        twin.pipeline_max = 1;
        config.lanes.push(twin);
        let workers = workers(config);
        let counters = workers.0.open().counters;
        counters[0].lanes[0].ring_entries.set(2);
        counters[1].lanes[1].ring_entries.set(3);
        let text = text(workers);
        assert_has(&text, "umbra_mirror_ring_entries{mirror=\"v2\"} 5");
        assert_eq!(text.matches("umbra_mirror_ring_entries{").count(), 1);
    }

    #[test]
    fn label_values_are_escaped() {
        let mut config = config();
        config.routes[0].name = "a\"b\\c\nd".to_owned();
        let text = text(workers(config));
        assert_has(&text, "umbra_exchanges_aborted_total{route=\"a\\\"b\\\\c\\nd\"} 0");
    }

    #[test]
    fn no_family_and_no_series_appears_twice() {
        let config = config();
        let text = text(workers(config));
        let mut series: Vec<&str> = text
            .lines()
            .map(|l| if l.starts_with('#') { l } else { l.rsplit_once(' ').unwrap().0 })
            .collect();
        let all = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), all);
    }
}
