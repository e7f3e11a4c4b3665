//! A look at the counters, and the signs in the difference to the look before. Pure: the room knows no clock and keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::{Config, Upstream};

use super::{Kind, Sign, Subject, Whys};
use crate::control::Snapshot;
use crate::metrics::{
    DropReason as Dropped, FailReason, Label, LowerReason, MirrorCounters, RejectReason, Shard,
    UpstreamFailure,
};

/// Copies that the mirror did not take or did not answer.
const LOST: [FailReason; 4] =
    [FailReason::Timeout, FailReason::Reset, FailReason::Closed, FailReason::Protocol];
const RING: [Dropped; 3] = [Dropped::RingEntries, Dropped::RingBytes, Dropped::Oldest];
const NO_TIME: [Dropped; 2] = [Dropped::WorkerBusy, Dropped::Exchanges];

/// Whether a try that ended so is a loss; a connection that had gone stale is made anew, without harm.
fn is_loss(why: UpstreamFailure) -> bool {
    match why {
        UpstreamFailure::Connect
        | UpstreamFailure::ConnectTimeout
        | UpstreamFailure::Tls
        | UpstreamFailure::Reset
        | UpstreamFailure::Closed
        | UpstreamFailure::Refused
        | UpstreamFailure::Protocol
        | UpstreamFailure::Timeout
        | UpstreamFailure::Overflow => true,
        UpstreamFailure::Stale => false,
    }
}

/// Rejects for want of a primary.
const UNAVAILABLE: [RejectReason; 7] = [
    RejectReason::PrimaryConnect,
    RejectReason::PrimaryConnectTimeout,
    RejectReason::PrimaryTls,
    RejectReason::PrimaryTimeout,
    RejectReason::PrimaryProtocol,
    RejectReason::PrimaryClosed,
    RejectReason::PrimaryOverflow,
];
const TURNED_AWAY: [RejectReason; 3] =
    [RejectReason::Exchanges, RejectReason::RequestRate, RejectReason::AddressRate];

/// Endpoints that are named of an upstream; a person knows the rest.
const NAMED_MAX: usize = 3;

/// Facts from outside of the counters.
#[derive(Debug, Clone, Default)]
pub struct Aside {
    /// Workers that have stopped turning.
    pub stuck: Vec<usize>,
    /// Certificates that end soon, and how soon.
    pub certificates: Vec<(String, String)>,
}

/// Everything that was counted until a moment, by subject.
#[derive(Debug, Clone, Default)]
pub struct Look {
    counted: BTreeMap<Subject, Counted>,
    /// Clients that were told so for want of any primary.
    unavailable: u64,
}

#[derive(Debug, Clone, Default)]
struct Counted {
    losses: Whys,
    good: u64,
    /// An operator lets some of its copies through.
    is_wanted: bool,
    /// Of a level: the words, where it is one of trouble.
    level: Option<String>,
    is_level: bool,
    place: String,
}

impl Look {
    pub fn at(snapshot: &Snapshot, shards: &[Arc<Shard>], aside: &Aside) -> Self {
        let mut look = Self {
            unavailable: shards.iter().map(|s| s.rejected.sum_where(|why| UNAVAILABLE.contains(&why))).sum(),
            ..Self::default()
        };
        for (kind, [_, _, surplus]) in snapshot.cluster.by_kind().kept.iter() {
            let words =
                || format!("{surplus} objects are not taken: there is no room for more of their kind");
            look.level(Kind::ClusterSurplus, (*kind).to_owned()).level = (*surplus > 0).then(words);
        }
        look.shards(shards);
        look.mirrors(snapshot);
        look.primaries(snapshot);
        for worker in &aside.stuck {
            look.level(Kind::WorkerStuck, worker.to_string()).level = Some("does not turn".to_owned());
        }
        for (name, left) in &aside.certificates {
            look.level(Kind::CertificateEnds, name.clone()).level = Some(left.clone());
        }
        look
    }

    fn of(&mut self, kind: Kind, name: &str) -> &mut Counted {
        self.counted.entry((kind, name.to_owned())).or_default()
    }

    fn level(&mut self, kind: Kind, name: String) -> &mut Counted {
        let counted = self.counted.entry((kind, name)).or_default();
        counted.is_level = true;
        counted
    }

    fn shards(&mut self, shards: &[Arc<Shard>]) {
        let of = self.of(Kind::ClientsTurnedAway, "all");
        for shard in shards {
            of.add(TURNED_AWAY.iter().map(|why| (why.text(), shard.rejected.get(*why))));
            of.add([("connections", shard.connections_shed.sum())]);
        }
    }

    fn mirrors(&mut self, snapshot: &Snapshot) {
        for (index, route) in snapshot.config.routes.iter().enumerate() {
            for (id, mirror) in route.mirrors.iter().enumerate() {
                let place = snapshot.config.lanes.get(mirror.lane).map(|lane| lane.upstream);
                let place = place.and_then(|upstream| snapshot.config.upstreams.get(upstream)).map(place_of);
                let place = place.unwrap_or_default();
                let workers = || snapshot.counters.iter().filter_map(|c| c.mirrors.get(index)?.get(id));
                for kind in [Kind::MirrorUnreachable, Kind::RingFull, Kind::CopiesGivenUp] {
                    let of = self.of(kind, &mirror.name);
                    // A share on one of its routes is enough.
                    of.is_wanted |= mirror.percent.per_million > 0;
                    of.place.clone_from(&place);
                    workers().for_each(|counters| of.mirror(kind, counters));
                }
                if mirror.governor.is_some() {
                    let shares = workers().map(|counters| share(counters, mirror.percent.per_million));
                    let least = shares.min().unwrap_or(mirror.percent.per_million);
                    let whys = workers().fold(Whys::new(), |mut whys, counters| {
                        let lowered =
                            LowerReason::ALL.iter().map(|why| (why.text(), counters.lowered.get(*why)));
                        lowered.for_each(|why| super::add(&mut whys, &vec![why]));
                        whys
                    });
                    let name = format!("{} on route {}", mirror.name, route.name);
                    let of = self.level(Kind::ShareLowered, name);
                    of.level = (least < mirror.percent.per_million).then(|| {
                        let why: Vec<&str> = whys.iter().map(|(why, _)| *why).collect();
                        format!(
                            "gets {} % instead of {} %, lowered by its governor for {}",
                            f64::from(least) / 1e4,
                            f64::from(mirror.percent.per_million) / 1e4,
                            why.join(", ")
                        )
                    });
                }
            }
        }
    }

    fn primaries(&mut self, snapshot: &Snapshot) {
        let config: &Config = &snapshot.config;
        let primaries: BTreeSet<usize> = config.routes.iter().flat_map(config::Route::upstreams).collect();
        for (id, upstream) in primaries.iter().filter_map(|id| Some((*id, config.upstreams.get(*id)?))) {
            let workers = || snapshot.counters.iter().filter_map(|counters| counters.upstreams.get(id));
            let place = place_of(upstream);
            let of = self.of(Kind::PrimaryUnavailable, &upstream.name);
            of.place.clone_from(&place);
            for counters in workers() {
                let losses = UpstreamFailure::ALL.iter().filter(|why| is_loss(**why));
                of.add(losses.map(|why| (why.text(), counters.failures.get(*why))));
                of.good = of.good.wrapping_add(counters.attempts.get());
            }
            if upstream.ejection.is_some() {
                let ejected = workers().map(|counters| counters.ejected.get()).max().unwrap_or(0);
                let by = workers().filter(|counters| counters.ejected.get() > 0).count();
                let of = self.level(Kind::EndpointsEjected, upstream.name.clone());
                of.place.clone_from(&place);
                of.level = (ejected > 0).then(|| {
                    let (of_all, workers) = (of_all(upstream), snapshot.counters.len());
                    format!(
                        "{ejected}{of_all} endpoints ejected for failing exchanges, by {by} of {workers} workers"
                    )
                });
            }
            if let Some(checks) = snapshot.checks.get(id).filter(|_| upstream.health.is_some()) {
                let unhealthy = checks.unhealthy.get();
                let of = self.level(Kind::EndpointsUnhealthy, upstream.name.clone());
                of.place = place;
                of.level = (unhealthy > 0).then(|| {
                    format!("{unhealthy}{} endpoints do not pass their health checks", of_all(upstream))
                });
            }
        }
    }

    /// The signs since the look `before`.
    pub fn since(&self, before: &Self) -> BTreeMap<Subject, Sign> {
        let clients_noticed = self.unavailable > before.unavailable;
        let one = |(subject, now): (&Subject, &Counted)| {
            let then = before.counted.get(subject);
            let of = |why: &str| {
                then.and_then(|then| then.losses.iter().find(|(known, _)| *known == why))
                    .map_or(0, |(_, n)| *n)
            };
            let mut losses: Whys =
                now.losses.iter().map(|(why, n)| (*why, n.saturating_sub(of(why)))).collect();
            losses.retain(|(_, n)| *n > 0);
            let mut good = now.good.saturating_sub(then.map_or(0, |then| then.good));
            let has = |why: &str| losses.iter().any(|(known, _)| *known == why);
            let is_certain = match subject.0 {
                Kind::MirrorUnreachable => has(Dropped::Unreachable.text()),
                Kind::PrimaryUnavailable => {
                    [UpstreamFailure::Connect, UpstreamFailure::ConnectTimeout, UpstreamFailure::Tls]
                        .iter()
                        .any(|why| has(why.text()))
                }
                Kind::ClientsTurnedAway | Kind::RingFull | Kind::CopiesGivenUp => true,
                Kind::WorkerStuck
                | Kind::EndpointsUnhealthy
                | Kind::EndpointsEjected
                | Kind::CertificateEnds
                | Kind::ClusterSurplus
                | Kind::ShareLowered => false,
            };
            if subject.0 == Kind::PrimaryUnavailable {
                // Tries were counted, those that failed among them.
                good = good.saturating_sub(losses.iter().map(|(_, n)| n).sum());
                if !clients_noticed {
                    losses.clear();
                }
            }
            let Counted { is_wanted, level, is_level, place, .. } = now.clone();
            let is_paused = subject.0 >= Kind::MirrorUnreachable && !is_level && !is_wanted;
            (subject.clone(), Sign { place, losses, good, is_certain, level, is_level, is_paused })
        };
        self.counted.iter().map(one).collect()
    }
}

impl Counted {
    fn add(&mut self, whys: impl IntoIterator<Item = (&'static str, u64)>) {
        super::add(&mut self.losses, &whys.into_iter().collect());
    }

    fn mirror(&mut self, kind: Kind, of: &MirrorCounters) {
        let dropped = |why: &Dropped| (why.text(), of.dropped.get(*why));
        match kind {
            Kind::MirrorUnreachable => {
                self.add([dropped(&Dropped::Unreachable)]);
                self.add(LOST.iter().map(|why| (why.text(), of.failed.get(*why))));
                self.good = self.good.wrapping_add(of.completed.sum());
            }
            Kind::RingFull => self.add(RING.iter().map(dropped)),
            Kind::CopiesGivenUp => self.add(NO_TIME.iter().map(dropped)),
            Kind::WorkerStuck
            | Kind::PrimaryUnavailable
            | Kind::ClientsTurnedAway
            | Kind::EndpointsUnhealthy
            | Kind::EndpointsEjected
            | Kind::CertificateEnds
            | Kind::ClusterSurplus
            | Kind::ShareLowered => {}
        }
    }
}

/// The share that one worker's governor lets through; one that never lowered it has not said so.
fn share(counters: &MirrorCounters, configured: u32) -> u32 {
    if counters.lowered.sum() == 0 {
        return configured;
    }
    u32::try_from(counters.governed.get()).unwrap_or(configured)
}

/// Of how many endpoints some are; of those of a cluster's service only `discovery` knows.
fn of_all(upstream: &Upstream) -> String {
    match &upstream.destination {
        Some(_) => String::new(),
        None => format!(" of {}", upstream.endpoints.len()),
    }
}

/// Its endpoints as they were written, or the service that they belong to.
fn place_of(upstream: &Upstream) -> String {
    if let Some(destination) = &upstream.destination {
        return destination.to_string();
    }
    let mut named: Vec<String> = upstream.endpoints.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if upstream.endpoints.len() > NAMED_MAX {
        named.push(format!("{} more", upstream.endpoints.len() - NAMED_MAX));
    }
    named.join(", ")
}
