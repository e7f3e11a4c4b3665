//! Health checks: `GET path` of each endpoint that can serve an exchange, one task per endpoint, a bounded number at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::{CONNECTION, HOST, USER_AGENT};
use config::{Config, HealthCheck};
use hyper::Request;
use tokio::sync::Semaphore;

use super::{Site, Task, jittered};
use crate::address::Address;
use crate::errand::{self, Manner};
use crate::metrics::CheckCounters;
use crate::tls::Calling;
use crate::upstream::health::{Health, HealthBoard};

/// Checks under way at once: each has a connection.
pub const CHECKS_MAX: usize = 64;

/// From one warning of an endpoint to its next.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// User-Agent of checks, as a server's log shows it.
const AGENT: &str = concat!("umbra-health-check/", env!("CARGO_PKG_VERSION"));

/// The checks that run.
#[derive(Debug)]
pub(super) struct Checks {
    running: HashMap<Key, Running>,
    turns: Arc<Semaphore>,
}

/// Upstream and address: upstreams may ask one server for different paths.
type Key = (String, Address);

#[derive(Debug)]
struct Running {
    check: HealthCheck,
    host: String,
    manner: Manner,
    health: Arc<Health>,
    _task: Task,
}

impl Default for Checks {
    fn default() -> Self {
        Self { running: HashMap::new(), turns: Arc::new(Semaphore::new(CHECKS_MAX)) }
    }
}

impl Checks {
    /// Checks these endpoints from now on and no others. One that was checked before stays as healthy as it is.
    pub(super) fn watch(
        &mut self,
        config: &Config,
        sites: &[Vec<Site<'_>>],
        counters: &[Arc<CheckCounters>],
        callings: &[Option<Arc<Calling>>],
    ) -> HealthBoard {
        let mut before = std::mem::take(&mut self.running);
        let mut board = HealthBoard::with_capacity(sites.len());
        let primaries: HashSet<usize> = config.routes.iter().flat_map(config::Route::upstreams).collect();
        for (id, (upstream, sites)) in config.upstreams.iter().zip(sites).enumerate() {
            // A mirror's lane finds out by itself.
            let Some(check) = upstream.health.as_ref().filter(|_| primaries.contains(&id)) else {
                board.push(Vec::new());
                continue;
            };
            let counters = counters.get(id).cloned().unwrap_or_default();
            let calling = callings.get(id).and_then(Option::as_ref);
            let mut marks = Vec::with_capacity(sites.len());
            for site in sites {
                let key = (upstream.name.clone(), site.address);
                let host = check.host.clone().unwrap_or_else(|| site.endpoint.authority());
                let old = before.remove(&key);
                let health = old.as_ref().map(|old| Arc::clone(&old.health)).unwrap_or_default();
                marks.push(Arc::clone(&health));
                let name = |calling: &Arc<Calling>| calling.name(Some(&site.endpoint.host), site.address);
                let secured = calling.map(|calling| (Arc::clone(calling), name(calling)));
                let manner = Manner { protocol: upstream.protocol, secured };
                let running = match old {
                    Some(old) if old.check == *check && old.host == host && old.manner == manner => old,
                    Some(_) | None => self.start(&key, check, (host, manner), health, &counters),
                };
                self.running.insert(key, running);
            }
            board.push(marks);
        }
        board
    }

    fn start(
        &self,
        (upstream, address): &Key,
        check: &HealthCheck,
        (host, manner): (String, Manner),
        health: Arc<Health>,
        counters: &Arc<CheckCounters>,
    ) -> Running {
        let checker = Checker {
            upstream: upstream.clone(),
            address: *address,
            check: check.clone(),
            host: host.clone(),
            manner: manner.clone(),
            turns: Arc::clone(&self.turns),
            mark: Mark::new(&health, counters),
        };
        Running { check: check.clone(), host, manner, health, _task: Task::spawn(checker.run()) }
    }
}

/// The state of an endpoint, shown on the board and in the gauge; it leaves the gauge with its task.
struct Mark {
    health: Arc<Health>,
    counters: Arc<CheckCounters>,
}

impl Mark {
    fn new(health: &Arc<Health>, counters: &Arc<CheckCounters>) -> Self {
        counters.unhealthy.add(i64::from(!health.is_healthy()));
        Self { health: Arc::clone(health), counters: Arc::clone(counters) }
    }

    fn set(&self, is_healthy: bool) {
        self.health.set(is_healthy);
        self.counters.unhealthy.add(if is_healthy { -1 } else { 1 });
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.counters.unhealthy.add(-i64::from(!self.health.is_healthy()));
    }
}

struct Checker {
    upstream: String,
    address: Address,
    check: HealthCheck,
    host: String,
    manner: Manner,
    turns: Arc<Semaphore>,
    mark: Mark,
}

impl Checker {
    async fn run(self) {
        let Self { check, upstream, address, .. } = &self;
        let mut tally = Tally { is_healthy: self.mark.health.is_healthy(), against: 0 };
        let mut news = News { is_told: !tally.is_healthy, told_at: None };
        loop {
            let result = self.ask().await;
            let counters = &self.mark.counters;
            if result.is_ok() {
                counters.passed.inc()
            } else {
                counters.failed.inc()
            }
            if tally.turns(result.is_ok(), check) {
                self.mark.set(tally.is_healthy);
            }
            if news.is_news(tally.is_healthy, Instant::now()) {
                match result {
                    Ok(()) => tracing::info!("{upstream}: {address} is healthy again"),
                    Err(why) => tracing::warn!("{upstream}: {address} is unhealthy: {why}"),
                }
            }
            tokio::time::sleep(jittered(check.interval)).await;
        }
    }

    /// Makes a check; why it was not passed.
    async fn ask(&self) -> Result<(), String> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let status = tokio::time::timeout(self.check.timeout, self.status()).await;
        match status {
            Ok(Ok(200..=399)) => Ok(()),
            Ok(Ok(status)) => Err(format!("it answered {status}")),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("no answer within {} ms", self.check.timeout.as_millis())),
        }
    }

    async fn status(&self) -> Result<u16, String> {
        let request = Request::get(&self.check.path)
            .header(HOST, &self.host)
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, "close")
            .body(String::new())
            .map_err(|e| e.to_string())?;
        let answered = errand::ask(self.address, &self.manner, request).await?;
        Ok(answered.response.status().as_u16())
    }
}

/// Results of one endpoint.
#[derive(Debug, Clone, Copy)]
struct Tally {
    is_healthy: bool,
    /// Results in a row that speak against it.
    against: u32,
}

impl Tally {
    /// Counts one result; says whether it turns the endpoint into its opposite.
    fn turns(&mut self, passed: bool, check: &HealthCheck) -> bool {
        if passed == self.is_healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        if self.against < if self.is_healthy { check.unhealthy_after } else { check.healthy_after } {
            return false;
        }
        *self = Self { is_healthy: passed, against: 0 };
        true
    }
}

/// The log's knowledge of an endpoint, which may change its state more often than is worth reading.
struct News {
    /// That it is unhealthy.
    is_told: bool,
    told_at: Option<Instant>,
}

impl News {
    /// Whether it is to be told now how it is.
    fn is_news(&mut self, is_healthy: bool, now: Instant) -> bool {
        if is_healthy {
            return std::mem::take(&mut self.is_told);
        }
        let is_early = self.told_at.is_some_and(|told| now.saturating_duration_since(told) < WARN_EVERY);
        if self.is_told || is_early {
            return false;
        }
        *self = Self { is_told: true, told_at: Some(now) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::Answers;
    use super::*;

    #[test]
    fn an_endpoint_that_flaps_is_told_of_once_a_minute_and_one_that_stays_away_is_told_of() {
        let mut news = News { is_told: false, told_at: None };
        let start = Instant::now();
        let told: Vec<u64> = (0..300)
            .filter(|second| news.is_news(second % 2 == 1, start + Duration::from_secs(*second)))
            .collect();
        assert_eq!(told, [0, 1, 60, 61, 120, 121, 180, 181, 240, 241]);
        let mut is_news = |is_healthy, second| news.is_news(is_healthy, start + Duration::from_secs(second));
        assert!(!is_news(false, 299), "a minute is not over");
        assert!(is_news(false, 300));
        assert!(!is_news(false, 999), "it is known");
        assert!(is_news(true, 1000) && !is_news(true, 1001));
    }

    fn check(healthy_after: u32, unhealthy_after: u32) -> HealthCheck {
        HealthCheck {
            path: "/healthz".to_owned(),
            host: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after,
            unhealthy_after,
        }
    }

    #[test]
    fn so_many_results_in_a_row_turn_an_endpoint_and_no_fewer() {
        let mut tally = Tally { is_healthy: true, against: 0 };
        let results = [false, false, true, false, false, false, true, false, true, true, false];
        let states: Vec<bool> = results
            .iter()
            .map(|passed| {
                tally.turns(*passed, &check(2, 3));
                tally.is_healthy
            })
            .collect();
        let (yes, no) = (true, false);
        assert_eq!(states, [yes, yes, yes, yes, yes, no, no, no, no, yes, yes]);
    }

    fn config(keys: &str) -> Config {
        let text = format!(
            "[upstream.v1]\nendpoints = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n{keys}\n\
             [upstream.v2]\nendpoints = [\"127.0.0.1:3\"]\nhealth = {{ path = \"/\" }}\n\
             [[route]]\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\" }}]\n"
        );
        config::parse("test", &text).expect("the test's own text is sound").config
    }

    #[tokio::test]
    async fn primaries_are_checked_alone_and_keep_their_mark_through_changes() {
        let counters: Vec<Arc<CheckCounters>> = vec![Arc::default(), Arc::default()];
        let mut checks = Checks::default();
        let mut watch = |keys: &str| {
            let config = config(keys);
            let board = checks.watch(&config, &super::super::sites(&config, &Answers::new()), &counters, &[]);
            (board, checks.running.len())
        };
        let (none, running) = watch("");
        assert_eq!((none.iter().map(Vec::len).collect::<Vec<_>>(), running), (vec![0, 0], 0));
        let (first, running) = watch("health = { path = \"/a\" }");
        assert_eq!((first.iter().map(Vec::len).collect::<Vec<_>>(), running), (vec![2, 0], 2));
        first[0][1].set(false);
        let (second, _) = watch("health = { path = \"/b\" }");
        assert!(second[0][0].is_healthy() && !second[0][1].is_healthy());
        assert_eq!(watch("").1, 0);
    }
}
