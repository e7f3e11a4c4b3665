//! An upstream: its next endpoint, its ejected ones, the wait for a connection, and the check of kept connections.

use std::time::Duration;

use config::{Balance, UpstreamProtocol};

use super::{Endpoint, Group, Idle};
use crate::error::Failure;
use crate::io;
use crate::time::Millis;
use crate::upstream::balance::{self, By, Load, Standing};
use crate::upstream::eject::{self, Report};
use crate::upstream::gate::{self, Permit};

impl Group {
    /// Puts the group into force: it bounds the exchanges at once. The next exchange measures for how many the shared connections
    /// have places.
    pub(super) fn begin(&self) {
        self.generation.set(self.extent.next_generation());
        if self.protocol == UpstreamProtocol::Http1 {
            self.gate.change(self.connections_max, self.pending_max);
        }
    }

    /// How long a connect may take, if all has to be over by `deadline_ms`.
    pub(super) fn patience(&self, deadline_ms: u64) -> Duration {
        let whole = Millis::from(self.connect_timeout);
        let within = whole.until(deadline_ms, self.sweeper.now_ms());
        if within == whole { self.connect_timeout } else { Duration::from_millis(within.0) }
    }

    pub(super) async fn wait(&self, within: Duration) -> Result<Permit, Failure> {
        let permit = match self.gate.queue() {
            Ok(wait) => io::within(within, wait).await,
            Err(gate::Full) => None,
        };
        permit.ok_or_else(|| self.overflow())
    }

    pub(super) fn overflow(&self) -> Failure {
        self.counters.overflows.inc();
        self.counters.failures.inc(Failure::Overflow.on_primary());
        Failure::Overflow
    }

    pub(super) fn pick(&self, key: Option<u64>, tried: &[usize], avoid: &[usize]) -> Option<usize> {
        let now = self.sweeper.now_ms();
        let turn = self.turn.get();
        let by = match (self.balance, key) {
            (Balance::RoundRobin, _) => By::Turn,
            (Balance::LeastInFlight, _) => By::LeastInFlight,
            (Balance::Random, _) | (Balance::Hash, None) => By::Random,
            (Balance::Hash, Some(key)) => By::Key(key, &self.places),
        };
        let index = balance::pick(by, turn, self.endpoints.len(), |index| Load {
            in_flight: self.endpoints[index].in_flight.get(),
            standing: self.standing(index, tried, avoid, now),
        })?;
        self.turn.set(match by {
            // From the one that was taken: an endpoint behind one that was passed over must not have its turns too.
            By::Turn => index as u64 + 1,
            By::LeastInFlight | By::Random | By::Key(..) => turn.wrapping_add(1),
        });
        if self.is_out(index) {
            self.counters.last_resorts.inc();
        }
        Some(index)
    }

    pub(super) fn standing(&self, index: usize, tried: &[usize], avoid: &[usize], now_ms: u64) -> Standing {
        if tried.contains(&index) {
            Standing::Tried
        } else if self.is_out(index) {
            Standing::Out
        } else if self.endpoints[index].failed.lasts(now_ms) {
            Standing::Failed
        } else if avoid.contains(&index) {
            Standing::Avoided
        } else {
            Standing::Ready
        }
    }

    pub(super) fn is_out(&self, index: usize) -> bool {
        self.ejection.is_some() && self.endpoints[index].record.is_ejected()
            || self.health.get(index).is_some_and(|health| !health.is_healthy())
    }

    /// Notes an exchange's report, and ejects the endpoint where that was too much.
    pub(super) fn saw(&self, index: usize, seen: Report) {
        let Some(rules) = &self.ejection else { return };
        let record = &self.endpoints[index].record;
        if record.note(rules, seen) && eject::may_eject(rules, self.ejected(), self.endpoints.len()) {
            record.eject(rules, self.sweeper.now_ms());
            self.counters.ejections.inc();
            self.counters.ejected.add(1);
        }
    }

    pub(super) fn ejected(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.record.is_ejected()).count()
    }

    /// Lets endpoints come back whose time is over; all of them where ejection is no longer configured.
    pub(super) fn look(&self) {
        let now = self.sweeper.now_ms();
        let Some(rules) = &self.ejection else {
            if self.counters.ejected.get() > 0 {
                let back = self.endpoints.iter().filter(|endpoint| endpoint.record.come_back()).count();
                self.counters.ejected.add(-(back as i64));
            }
            return;
        };
        if self.look_at_ms.get() <= now {
            self.look_at_ms.set(now.saturating_add(Millis::from(rules.interval).0));
            let back = self.endpoints.iter().filter(|endpoint| endpoint.record.look(now)).count();
            self.counters.ejected.add(-(back as i64));
        }
    }

    pub(super) fn take_idle(&self, endpoint: &Endpoint) -> Option<Idle> {
        loop {
            let now_ms = self.sweeper.now_ms();
            let mut all = endpoint.idle.borrow_mut();
            // The last one, hardly ever another.
            let at = all.iter().rposition(|idle| idle.from_ms <= now_ms)?;
            let idle = all.remove(at);
            drop(all);
            self.counters.idle.add(-1);
            if self.may_use(&idle) {
                return Some(idle);
            }
        }
    }

    pub(super) fn reap(&self) {
        for endpoint in &self.endpoints {
            let mut idle = endpoint.idle.borrow_mut();
            let before = idle.len();
            idle.retain(|idle| self.may_use(idle));
            self.counters.idle.add(idle.len() as i64 - before as i64);
        }
    }

    /// Neither too old nor gone. The bound on exchanges may have been lowered since.
    pub(super) fn may_use(&self, idle: &Idle) -> bool {
        self.sweeper.now_ms().saturating_sub(idle.since_ms) <= self.idle_ms.0
            && idle.served < self.requests_per_connection_max
            && idle.line.is_quiet()
    }
}
