//! The distributions of times: a snapshot of the store in, each with its name and counts out. Pure.

use serde::Deserialize;

use crate::control::Snapshot;
use crate::metrics::{Counters, Histogram, MirrorCounters, Slots};

/// Told in one answer, and kept of one interval.
const SERIES_MAX: usize = 1000;

/// The name of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    /// From a request's head to the last byte of its answer written.
    Route,
    /// From a request forwarded to the last byte of its answer read.
    Primary,
    /// The same, of the requests that the mirror answered too.
    Paired,
    /// From a copy sent to the last byte of its answer read.
    Mirror,
    /// For the same request: by how much the mirror took longer.
    Slower,
    /// For the same request: by how much the mirror took less.
    Faster,
    /// From a request forwarded to its copy sent.
    Lag,
}

type Read = fn(&MirrorCounters) -> &Histogram;

impl Name {
    /// The histograms of a mirror.
    const OF_MIRRORS: [(Self, Read); 5] = [
        (Self::Paired, |c| &c.pairs.primary),
        (Self::Mirror, |c| &c.latency),
        (Self::Slower, |c| &c.pairs.slower),
        (Self::Faster, |c| &c.pairs.faster),
        (Self::Lag, |c| &c.lag),
    ];

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Primary => "primary",
            Self::Paired => "paired",
            Self::Mirror => "mirror",
            Self::Slower => "slower",
            Self::Faster => "faster",
            Self::Lag => "lag",
        }
    }
}

/// The identity of a distribution across configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: Name,
    pub(super) route: String,
    /// Of the primary.
    pub(super) upstream: Option<String>,
    pub(super) mirror: Option<String>,
}

impl Key {
    /// Route, and whose times they are where that is not the route.
    pub(super) fn owner(&self) -> String {
        let whose = self.upstream.iter().chain(&self.mirror);
        whose.fold(self.route.clone(), |text, name| text + " " + name)
    }
}

/// The distributions that are asked for; a part that is left out stands for all.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) route: Option<String>,
    pub(super) mirror: Option<String>,
    pub(super) name: Option<Name>,
}

impl Wanted {
    fn takes(&self, key: &Key) -> bool {
        self.name.is_none_or(|name| name == key.name)
            && self.route.as_ref().is_none_or(|route| *route == key.route)
            && (self.mirror.is_none() || self.mirror == key.mirror)
    }
}

/// The wanted distributions that have any value, since the start.
pub(super) fn all(snapshot: &Snapshot, wanted: &Wanted) -> Vec<(Key, Slots)> {
    let mut out = Vec::new();
    for (index, route) in snapshot.config.routes.iter().enumerate() {
        let mut push = |name, upstream, mirror, read: &dyn Fn(&Counters) -> Option<&Histogram>| {
            let key = Key { name, route: route.name.clone(), upstream, mirror };
            if out.len() < SERIES_MAX && wanted.takes(&key) {
                let slots = Slots::of(snapshot.counters.iter().filter_map(|counters| read(counters)));
                if !slots.is_empty() {
                    out.push((key, slots));
                }
            }
        };
        push(Name::Route, None, None, &|c| Some(&c.routes.get(index)?.duration));
        for (at, primary) in route.primaries().iter().enumerate() {
            let upstream = primary.upstream.and_then(|id| snapshot.config.upstreams.get(id));
            let name = upstream.map(|upstream| upstream.name.clone());
            push(Name::Primary, name, None, &|c| Some(&c.primaries.get(index)?.get(at)?.latency));
        }
        for (at, mirror) in route.mirrors.iter().enumerate() {
            for (name, read) in Name::OF_MIRRORS {
                let whose = Some(mirror.name.clone());
                push(name, None, whose, &|c| Some(read(c.mirrors.get(index)?.get(at)?)));
            }
        }
    }
    out
}
