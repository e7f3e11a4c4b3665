//! Everything that follows from one configuration on one worker: built whole, never changed, shared by the exchanges that
//! began under it. A new configuration is a new generation; the old one ends with its last exchange.

use std::rc::Rc;
use std::sync::Arc;

use config::{Action, Config, Role};

use crate::asked::Asked;
use crate::discovery::Located;
use crate::io::Sweeper;
use crate::metrics::{Counters, LaneCounters, MirrorCounters};
use crate::mirror::lane::Lane;
use crate::mirror::policy::Policy;
use crate::mirror::sample::Draw;
use crate::observe::record::Trace;
use crate::observe::trace;
use crate::plan::Plan;
use crate::random::Random;
use crate::route::Router;
use crate::upstream::pool::Upstreams;

/// What the control plane hands a worker, at the start and whenever the configuration changes.
#[derive(Debug, Clone)]
pub struct Blueprint {
    pub config: Arc<Config>,
    /// Where its upstreams are, and which of their endpoints are healthy.
    pub located: Located,
    /// The worker's own.
    pub counters: Arc<Counters>,
    /// Client connections at once: the configuration's bound, or what descriptors allow.
    pub clients_max: usize,
}

/// See the room's own words above.
#[derive(Debug)]
pub struct Generation {
    pub config: Arc<Config>,
    /// See [`Blueprint::clients_max`].
    pub clients_max: usize,
    /// This worker's counters of the configuration's routes, lanes and upstreams, index for index.
    pub counters: Arc<Counters>,
    pub router: Rc<Router>,
    /// By route.
    pub plans: Rc<Vec<Plan>>,
    /// By route: its mirrors.
    pub policies: Rc<Vec<Vec<Policy>>>,
    pub upstreams: Rc<Upstreams>,
    /// By [`config::LaneId`].
    pub lanes: Vec<Rc<Lane>>,
}

impl Generation {
    /// What goes on from `before` keeps what it has: pools their connections, lanes their rings and shippers. Where only
    /// addresses changed, all else is the same.
    pub fn new(blueprint: &Blueprint, sweeper: &Rc<Sweeper>, before: Option<&Self>) -> Rc<Self> {
        let Blueprint { config, located, counters, clients_max } = blueprint;
        let lane = |(lane, counters): (&config::Lane, &Arc<LaneCounters>)| {
            let addresses = &located.addresses[lane.upstream];
            // The same counters are the same lane.
            let old = before.and_then(|b| b.lanes.iter().find(|old| Arc::ptr_eq(&old.counters, counters)));
            let Some(old) = old else { return Rc::new(Lane::new(lane, addresses, counters)) };
            old.relocate(addresses);
            Rc::clone(old)
        };
        let lanes: Vec<_> = config.lanes.iter().zip(&counters.lanes).map(lane).collect();
        let upstreams = Upstreams::new(
            config,
            &located.addresses,
            &located.health,
            &counters.upstreams,
            sweeper,
            before.map(|before| before.upstreams.as_ref()),
        );
        let same = before.filter(|before| Arc::ptr_eq(&before.config, config));
        let (router, plans, policies) = match same {
            Some(same) => (Rc::clone(&same.router), Rc::clone(&same.plans), Rc::clone(&same.policies)),
            None => (
                Rc::new(Router::new(&config.routes)),
                Rc::new(config.routes.iter().map(Plan::new).collect()),
                Rc::new(policies(config, counters, &lanes)),
            ),
        };
        let (config, counters) = (Arc::clone(config), Arc::clone(counters));
        Rc::new(Self {
            config,
            clients_max: *clients_max,
            counters,
            router,
            plans,
            policies,
            upstreams,
            lanes,
        })
    }

    /// What is to be seen of a request on `route`, drawn for it.
    #[inline]
    pub fn wants(&self, random: &Random, asked: &Asked<'_>, route: Option<usize>) -> Wants {
        let Config { access_log, tracing, .. } = &*self.config;
        let drawn = |percent| Draw::of(random).takes_copy(percent, 0);
        let trace = tracing.as_ref().map(|by| {
            let given = asked.header("traceparent").filter(|_| !self.hides_trace(route));
            trace::begin(given.as_deref(), by, random)
        });
        let has_collector = tracing.as_ref().is_some_and(|tracing| tracing.collector.is_some());
        Wants {
            is_logged: access_log.as_ref().is_some_and(|log| drawn(log.percent)),
            trace,
            is_exported: has_collector && trace.is_some_and(|trace| trace.is_sampled),
            compares: route.and_then(|route| self.compares(random, route)),
        }
    }

    /// Whether a mirror of the route redacts the client's trace: a trace of our own begins there then, so that neither the
    /// mirror nor a collector is told of it.
    fn hides_trace(&self, route: Option<usize>) -> bool {
        let route = route.and_then(|route| self.config.routes.get(route));
        let mut mirrors = route.iter().flat_map(|route| &route.mirrors);
        mirrors.any(|mirror| mirror.redact.headers.iter().any(|name| name == "traceparent"))
    }

    /// One draw for all mirrors of a route, where any of them compares by it.
    fn compares(&self, random: &Random, route: usize) -> Option<Draw> {
        let percents = self.policies.get(route)?.iter().filter_map(|policy| policy.compare);
        let most = percents.map(|(percent, _)| percent).max_by_key(|percent| percent.per_million)?;
        let draw = Draw::of(random);
        draw.takes_copy(most, 0).then_some(draw)
    }

    pub fn has_lane(&self, lane: &Rc<Lane>) -> bool {
        self.lanes.iter().any(|own| Rc::ptr_eq(own, lane))
    }
}

fn policies(config: &Config, counters: &Counters, lanes: &[Rc<Lane>]) -> Vec<Vec<Policy>> {
    let mut all = Vec::with_capacity(config.routes.len());
    for (route, counters) in config.routes.iter().zip(&counters.mirrors) {
        let with_counters = route.mirrors.iter().enumerate().zip(counters);
        let policy = |(numbered, counters): ((usize, &config::Mirror), &Arc<MirrorCounters>)| {
            let policy = Policy::new(numbered, counters, &lanes[numbered.1.lane], config.workers.count);
            Policy { unpaired: unpaired(config, route, numbered.1), ..policy }
        };
        all.push(with_counters.map(policy).collect());
    }
    all
}

/// Primaries of `route` that `mirror` cannot be told from, or should not be likened to: while clients are sent to v2 by
/// weight, some of its copies are of requests that v2 itself answered, and some of v1-again's.
fn unpaired(config: &Config, route: &config::Route, mirror: &config::Mirror) -> Box<[usize]> {
    let Action::Forward(forward) = &route.action else { return Box::default() };
    let upstream = |mirror: &config::Mirror| config.lanes.get(mirror.lane).map(|lane| lane.upstream);
    let candidates = route.mirrors.iter().filter(|of| match mirror.role {
        Role::Candidate => of.lane == mirror.lane,
        Role::Baseline => of.role == Role::Candidate,
    });
    let taken: Vec<_> = candidates.filter_map(upstream).collect();
    let is_taken = |primary: &config::Primary| primary.upstream.is_some_and(|id| taken.contains(&id));
    let primaries = forward.primaries.iter().enumerate();
    let unpaired: Box<[usize]> =
        primaries.filter(|(_, primary)| is_taken(primary)).map(|(index, _)| index).collect();
    // Where nothing else answers, the mirror is the primary once more on purpose: it is told, and that is the question.
    if unpaired.len() == forward.primaries.len() { Box::default() } else { unpaired }
}

/// What is to be seen of one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wants {
    pub is_logged: bool,
    /// Where the gateway takes part in traces.
    pub trace: Option<Trace>,
    /// Its spans go to a collector.
    pub is_exported: bool,
    /// Its copies are compared where this takes them.
    pub compares: Option<Draw>,
}

impl Wants {
    pub fn a_record(&self) -> bool {
        self.is_logged || self.is_exported || self.compares.is_some()
    }
}
