//! Everything that follows from one configuration on one worker: built whole, never changed, shared by the exchanges that
//! began under it. A new configuration is a new generation; the old one ends with its last exchange.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use config::Config;

use crate::io::Sweeper;
use crate::metrics::{Counters, MirrorCounters};
use crate::mirror::lane::Lane;
use crate::mirror::policy::Policy;
use crate::plan::Plan;
use crate::route::Router;
use crate::upstream::health::HealthBoard;
use crate::upstream::pool::Upstreams;

/// What the control plane hands a worker, at the start and whenever the configuration changes.
#[derive(Debug, Clone)]
pub struct Blueprint {
    pub config: Arc<Config>,
    /// Resolved addresses of each upstream, by `UpstreamId`; never empty.
    pub addresses: Arc<Vec<Vec<SocketAddr>>>,
    pub health: Arc<HealthBoard>,
    /// The worker's own.
    pub counters: Arc<Counters>,
}

/// See the room's own words above.
#[derive(Debug)]
pub struct Generation {
    pub config: Arc<Config>,
    /// This worker's counters of the configuration's routes, lanes and upstreams, index for index.
    pub counters: Arc<Counters>,
    pub router: Router,
    /// By route.
    pub plans: Vec<Plan>,
    /// By route: its mirrors.
    pub policies: Vec<Vec<Policy>>,
    pub upstreams: Rc<Upstreams>,
    /// By [`config::LaneId`].
    pub lanes: Vec<Rc<Lane>>,
}

impl Generation {
    /// What goes on from `before` keeps what it has: pools their connections, lanes their rings and shippers.
    pub fn new(blueprint: &Blueprint, sweeper: &Rc<Sweeper>, before: Option<&Self>) -> Rc<Self> {
        let Blueprint { config, addresses, health, counters } = blueprint;
        let lanes: Vec<Rc<Lane>> = config
            .lanes
            .iter()
            .zip(&counters.lanes)
            .map(|(lane, counters)| {
                let addresses = &addresses[lane.upstream];
                // The same counters are the same lane, as long as its copies go to the same addresses.
                let same = |old: &&Rc<Lane>| {
                    Arc::ptr_eq(&old.counters, counters)
                        && old.endpoints.iter().map(|e| &e.address).eq(addresses.iter())
                };
                let old = before.and_then(|before| before.lanes.iter().find(same));
                old.map_or_else(|| Rc::new(Lane::new(lane, addresses, counters)), Rc::clone)
            })
            .collect();
        let pools = before.map(|before| before.upstreams.as_ref());
        Rc::new(Self {
            config: Arc::clone(config),
            counters: Arc::clone(counters),
            router: Router::new(&config.routes),
            plans: config.routes.iter().map(Plan::new).collect(),
            policies: policies(config, counters, &lanes),
            upstreams: Upstreams::new(config, addresses, &counters.upstreams, health, sweeper, pools),
            lanes,
        })
    }

    pub fn has_lane(&self, lane: &Rc<Lane>) -> bool {
        self.lanes.iter().any(|own| Rc::ptr_eq(own, lane))
    }
}

fn policies(config: &Config, counters: &Counters, lanes: &[Rc<Lane>]) -> Vec<Vec<Policy>> {
    let mut all = Vec::with_capacity(config.routes.len());
    for (route, counters) in config.routes.iter().zip(&counters.mirrors) {
        let with_counters = route.mirrors.iter().zip(counters);
        let policy = |(mirror, counters): (&config::Mirror, &Arc<MirrorCounters>)| {
            Policy::new(mirror, counters, &lanes[mirror.lane], config.workers.count)
        };
        all.push(with_counters.map(policy).collect());
    }
    all
}
