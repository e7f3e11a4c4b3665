//! Everything that follows from one configuration on one worker: built whole, never changed, shared by the exchanges that
//! began under it. A new configuration is a new generation; the old one ends with its last exchange.
//!
//! Parts that can be prepared before come prepared; the rest, which grows with the configuration, is done in turns.

use std::collections::{BTreeSet, HashMap};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use config::{Action, Config, Protocols, Role, UpstreamProtocol};

use crate::asked::RequestView;
use crate::capture::{CAPTURED_ROUTE, Sink};
use crate::discovery::Located;
use crate::io::{Owner, Sweeper};
use crate::metrics::{Counters, LaneCounters, MirrorCounters};
use crate::mirror::lane::{self, Lane};
use crate::mirror::policy::Policy;
use crate::mirror::sample::Draw;
use crate::mirror::watch::Watched;
use crate::observe::record::Trace;
use crate::observe::trace;
use crate::plan::Plan;
use crate::prepared::{Earlier, Prepared};
use crate::random::Random;
use crate::route::Router;
use crate::strata::Strata;
use crate::tls::{Calling, Listening};
use crate::upstream::pool::{self, Growing, Upstreams};

/// The control plane hands a worker this, at the start and whenever the configuration changes.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub config: Arc<Config>,
    /// Where its upstreams are, and which of their endpoints are healthy.
    pub located: Located,
    /// The worker's own.
    pub counters: Arc<Counters>,
    /// Client connections at once: the configuration's bound, or what descriptors allow.
    pub clients_max: usize,
    /// The worker's own.
    pub prepared: Arc<Prepared>,
    /// By upstream: how its endpoints are called; `None` in plaintext.
    pub callings: Arc<[Option<Arc<Calling>>]>,
    /// By [`config::CaptureId`].
    pub captures: Arc<[Arc<Sink>]>,
    /// Where clients come in. Those that are not among them any more are closed.
    pub listeners: Vec<ListenerSockets>,
}

/// The sockets of one listener from which one worker takes connections.
#[derive(Debug, Clone)]
pub struct ListenerSockets {
    /// Unlike that of any other listener that this process has or had; never 0.
    pub id: u32,
    /// Bound and listening.
    pub sockets: Vec<(Arc<TcpListener>, Owner)>,
    /// The protocols that are spoken with its clients.
    pub protocols: Protocols,
    /// The TLS that its clients shake hands with; `None` where they speak plaintext.
    pub tls: Option<Arc<Listening>>,
}

/// See the room's own words above.
#[derive(Debug)]
pub struct Generation {
    pub config: Arc<Config>,
    /// The same, to be shared with records: its count is written to on this worker and the observer's thread alone.
    pub own_config: Arc<Arc<Config>>,
    /// See [`WorkerConfig::clients_max`].
    pub clients_max: usize,
    /// This worker's counters of the configuration's routes, lanes and upstreams, index for index.
    pub counters: Arc<Counters>,
    pub router: Arc<Router>,
    /// By route.
    pub plans: Arc<Vec<Plan>>,
    tunnel_ports: Arc<BTreeSet<Option<u16>>>,
    /// By route: its mirrors.
    pub policies: Rc<Vec<Rc<[Policy]>>>,
    /// By route.
    pub draws: Rc<Vec<Draws>>,
    pub upstreams: Rc<Upstreams>,
    /// Those among the mirrors that are looked at once a second.
    pub watched: Rc<Watched>,
    /// By [`config::LaneId`].
    pub lanes: Vec<Rc<Lane>>,
    /// By [`config::CaptureId`].
    pub captures: Arc<[Arc<Sink>]>,
}

/// The draws for the requests of one route. Neither says anything of the other.
#[derive(Debug, Default)]
pub struct Draws {
    /// Among the primaries.
    pub primary: Strata,
    /// Against the mirrors' shares.
    pub copies: Strata,
}

/// Mirrors of a route in the generation before, and whether they can go on as they are.
type EarlierPolicies<'a> = (&'a Rc<[Policy]>, bool);

/// The mirrors of all routes, and those among them that are looked at once a second.
type AllPolicies = (Rc<Vec<Rc<[Policy]>>>, Rc<Watched>);

/// Work of one turn on a new generation, in routes whose mirrors go on as they are. A route whose mirrors are made anew counts
/// as [`MADE_ANEW`]; either way a turn has about 100 µs.
const TURN: usize = 2048;
const MADE_ANEW: usize = 32;
/// So many routes looked at for one that is sought cost as much as one whose mirrors go on.
const LOOKED_AT: usize = 4;

/// A generation that is being built beside the one in force.
#[derive(Debug)]
pub struct Building<'a> {
    of: &'a WorkerConfig,
    before: Option<&'a Generation>,
    lanes: Vec<Rc<Lane>>,
    /// Those of `lanes` that `before` has too, by index; and how many of them are where this configuration has them.
    kept: Vec<usize>,
    moved: usize,
    /// Lanes of `before` by their counters: as many as were looked at, where ids have shifted.
    known: HashMap<*const LaneCounters, &'a Rc<Lane>>,
    noted: usize,
    upstreams: Growing<'a>,
    /// By route, as far as it has come.
    policies: Vec<Rc<[Policy]>>,
    watched: Watched,
    /// Only addresses differ: then these are those of `before`.
    all_policies: Option<AllPolicies>,
}

impl<'a> Building<'a> {
    /// Parts that go on from `before` keep their state: pools their connections, lanes their rings and shippers, mirrors the
    /// spent part of their rates and how far their shares are lowered. Where only addresses changed, all else is the same.
    pub fn new(of: &'a WorkerConfig, sweeper: &'a Rc<Sweeper>, before: Option<&'a Generation>) -> Self {
        let WorkerConfig { config, located, counters, callings, .. } = of;
        let same = before.filter(|before| Arc::ptr_eq(&before.config, config));
        let at = pool::Whereabouts {
            addresses: &located.addresses,
            hosts: &located.hosts,
            health: &located.health,
            callings,
        };
        let earlier = before.map(|before| (&*before.config, before.upstreams.as_ref()));
        Self {
            of,
            before,
            lanes: Vec::with_capacity(config.lanes.len()),
            kept: Vec::new(),
            moved: 0,
            known: HashMap::new(),
            noted: 0,
            upstreams: Growing::new(config, at, &counters.upstreams, sweeper, earlier),
            policies: Vec::with_capacity(config.routes.len()),
            watched: Watched::default(),
            all_policies: same.map(|same| (Rc::clone(&same.policies), Rc::clone(&same.watched))),
        }
    }

    /// One turn of work; whether there is more.
    pub fn go_on(&mut self) -> bool {
        let mut left = TURN;
        while left > 0 {
            let step = self.lane().or_else(|| self.policies()).or_else(|| self.upstreams.go_on());
            // Last: until then exchanges that are served ask the lanes' mirrors where they were.
            let step = step.or_else(|| self.relocate());
            let Some(cost) = step else { return false };
            left = left.saturating_sub(cost);
        }
        true
    }

    /// Makes the next lane, or takes it over; returns the cost.
    fn lane(&mut self) -> Option<usize> {
        let WorkerConfig { config, counters, .. } = self.of;
        let id = self.lanes.len();
        let (settings, counters) = (config.lanes.get(id)?, counters.lanes.get(id)?);
        // The same counters are the same lane, most often in the same place.
        let before = self.before.map(|before| before.lanes.as_slice()).unwrap_or_default();
        let mut old = before.get(id).filter(|old| Arc::ptr_eq(&old.counters, counters));
        if old.is_none() {
            if let Some(lane) = before.get(self.noted) {
                self.known.insert(Arc::as_ptr(&lane.counters), lane);
                self.noted += 1;
                return Some(1);
            }
            old = self.known.get(&Arc::as_ptr(counters)).copied();
        }
        let (next, cost) = match old {
            None => {
                let at = self.whereabouts(settings);
                let lane = Lane::new(settings, at, counters);
                lane.follow(config, settings);
                (Rc::new(lane), MADE_ANEW + at.addresses.len())
            }
            Some(old) => {
                self.kept.push(id);
                (Rc::clone(old), 1)
            }
        };
        self.lanes.push(next);
        Some(cost)
    }

    /// Has the next lane that was taken over go on by this configuration; returns the cost.
    fn relocate(&mut self) -> Option<usize> {
        let id = *self.kept.get(self.moved)?;
        let (lane, settings) = (self.lanes.get(id)?, self.of.config.lanes.get(id)?);
        self.moved += 1;
        let at = self.whereabouts(settings);
        lane.follow(&self.of.config, settings);
        Some(if lane.relocate(at) { MADE_ANEW + at.addresses.len() } else { 1 })
    }

    fn whereabouts(&self, lane: &config::Lane) -> lane::Whereabouts<'a> {
        let WorkerConfig { config, located, callings, .. } = self.of;
        lane::Whereabouts {
            addresses: located.addresses.get(lane.upstream).map(Vec::as_slice).unwrap_or_default(),
            hosts: located.hosts.get(lane.upstream).map(Vec::as_slice).unwrap_or_default(),
            calling: callings.get(lane.upstream).and_then(Option::as_ref),
            protocol: config.upstreams.get(lane.upstream).map_or(UpstreamProtocol::Http1, |to| to.protocol),
        }
    }

    /// Makes the next route's mirrors, or takes them over; returns the cost.
    fn policies(&mut self) -> Option<usize> {
        if self.all_policies.is_some() {
            return None;
        }
        let WorkerConfig { config, counters, .. } = self.of;
        let at = self.policies.len();
        let (route, counters) = (config.routes.get(at)?, counters.mirrors.get(at)?);
        let (earlier, looked_at) = self.earlier(at, counters);
        let (policies, cost) = match earlier {
            Some((policies, true)) => (Rc::clone(policies), 1),
            Some((policies, false)) => (self.policies_of(route, counters, Some(policies)), MADE_ANEW),
            None => (self.policies_of(route, counters, None), MADE_ANEW),
        };
        self.watched.note(&policies, &route.mirrors);
        self.policies.push(policies);
        Some(cost + looked_at / LOOKED_AT)
    }

    /// The mirrors of the same route in the generation before, and whether they can go on as they are; and how many routes
    /// were looked at to find them.
    fn earlier(&self, at: usize, counters: &[Arc<MirrorCounters>]) -> (Option<EarlierPolicies<'a>>, usize) {
        let Some(before) = self.before else { return (None, 0) };
        match self.of.prepared.earlier(at, &before.config) {
            Some(None) => (None, 0),
            Some(Some(Earlier { route, has_same_mirrors })) => {
                (before.policies.get(route).map(|policies| (policies, has_same_mirrors)), 0)
            }
            // The worker has missed a configuration in between: the same counters are the same mirror.
            None => {
                let is_it = |of: &&Rc<[Policy]>| {
                    let mut all = of.iter();
                    counters.first().is_some_and(|first| all.any(|of| Arc::ptr_eq(&of.counters, first)))
                };
                let found = before.policies.iter().find(is_it);
                (found.map(|policies| (policies, false)), before.policies.len())
            }
        }
    }

    fn policies_of(
        &self,
        route: &config::Route,
        counters: &[Arc<MirrorCounters>],
        before: Option<&Rc<[Policy]>>,
    ) -> Rc<[Policy]> {
        let config = &self.of.config;
        let with_counters = route.mirrors.iter().enumerate().zip(counters);
        let policy = |(numbered, counters): ((usize, &config::Mirror), &Arc<MirrorCounters>)| {
            let is_it = |policy: &&Policy| Arc::ptr_eq(&policy.counters, counters);
            let before = before.and_then(|policies| policies.iter().find(is_it));
            let lane = &self.lanes[numbered.1.lane];
            let policy = Policy::new(numbered, counters, lane, config.workers.count, before);
            let mut mark = policy.mark;
            if config.is_captured(numbered.1) {
                mark.extend_from_slice(format!("{CAPTURED_ROUTE}: {}\r\n", route.name).as_bytes());
            }
            let is_trial = config.trial(route) == Some(numbered.0);
            Policy { unpaired: unpaired(config, route, numbered.1), mark, is_trial, ..policy }
        };
        with_counters.map(policy).collect()
    }

    /// The generation; all work is done.
    pub fn finish(self) -> Rc<Generation> {
        let WorkerConfig { config, counters, clients_max, prepared, .. } = self.of;
        debug_assert!(self.all_policies.is_some() || self.policies.len() == config.routes.len());
        let made = || (Rc::new(self.policies), Rc::new(self.watched));
        let (policies, watched) = self.all_policies.unwrap_or_else(made);
        // Whichever route they were of.
        let draws = self.before.map(|before| &before.draws).filter(|draws| draws.len() >= policies.len());
        let fresh = || Rc::new(policies.iter().map(|_| Draws::default()).collect());
        let draws = draws.map_or_else(fresh, Rc::clone);
        Rc::new(Generation {
            config: Arc::clone(config),
            own_config: Arc::new(Arc::clone(config)),
            clients_max: *clients_max,
            counters: Arc::clone(counters),
            router: Arc::clone(&prepared.router),
            plans: Arc::clone(&prepared.plans),
            tunnel_ports: Arc::clone(&prepared.tunnel_ports),
            policies,
            draws,
            watched,
            upstreams: self.upstreams.finish(),
            lanes: self.lanes,
            captures: Arc::clone(&self.of.captures),
        })
    }
}

impl Generation {
    /// Built at once, where no client waits yet.
    pub fn new(of: &WorkerConfig, sweeper: &Rc<Sweeper>, before: Option<&Self>) -> Rc<Self> {
        let mut building = Building::new(of, sweeper, before);
        while building.go_on() {}
        building.finish()
    }

    /// The observers of a request on `route`, drawn for it.
    #[inline]
    pub fn wants(&self, random: &Random, asked: &RequestView<'_>, route: Option<usize>) -> Wants {
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

    /// Whether a route takes clients of a listener's `port` into a tunnel.
    pub fn takes_tunnels(&self, port: u16) -> bool {
        self.tunnel_ports.contains(&None) || self.tunnel_ports.contains(&Some(port))
    }
}

/// Primaries of `route` that `mirror` cannot be told from, or should not be likened to: while clients are sent to v2 by
/// weight, some of its copies are of requests that v2 itself answered, and some of v1-again's.
fn unpaired(config: &Config, route: &config::Route, mirror: &config::Mirror) -> Box<[usize]> {
    let Action::Forward(forward) = &route.action else { return Box::default() };
    if config.is_captured(mirror) {
        // Nothing answers.
        return (0..forward.primaries.len()).collect();
    }
    let upstream = |mirror: &config::Mirror| config.lanes.get(mirror.lane).map(|lane| lane.upstream);
    let candidates = route.mirrors.iter().filter(|of| match mirror.role {
        Role::Candidate => of.lane == mirror.lane,
        Role::Baseline => mirror.is_baseline_of(of),
    });
    let taken: Vec<_> = candidates.filter_map(upstream).collect();
    let is_taken = |primary: &config::Primary| primary.upstream.is_some_and(|id| taken.contains(&id));
    let primaries = forward.primaries.iter().enumerate();
    let unpaired: Box<[usize]> =
        primaries.filter(|(_, primary)| is_taken(primary)).map(|(index, _)| index).collect();
    // Where nothing else answers, the mirror is the primary once more on purpose: it is told, and that is the question.
    if unpaired.len() == forward.primaries.len() { Box::default() } else { unpaired }
}

/// The observers of one request.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::simulated::World;
    use crate::metrics::Counter;
    use crate::prepared::Difference;

    fn config(percent: u32, others: u32) -> Arc<Config> {
        let routes: String = (0..100)
            .map(|n| {
                let percent = if n == 7 { percent } else { others };
                format!(
                    "[[route]]\nname = \"r{n}\"\npath_regex = '/r{n}/\\d+'\nprimary = \"v1\"\nmirrors = \
                     [{{ upstream = \"v2\", percent = {percent}, rate_max = 10, governor = {{}} }}]\n"
                )
            })
            .collect();
        let text = format!(
            "[workers]\ncount = 1\n[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\n[upstream.v2]\nendpoints = [\"127.0.0.1:2\"]\n{routes}"
        );
        Arc::new(config::parse("test", &text).expect("the test's own text is sound").config)
    }

    fn of(config: &Arc<Config>, before: Option<&WorkerConfig>) -> WorkerConfig {
        let addresses = vec![vec![([127, 0, 0, 1], 1_u16).into()], vec![([127, 0, 0, 1], 2_u16).into()]];
        let located = Located { addresses: Arc::new(addresses), ..Located::default() };
        let (counters, prepared) = match before {
            None => (Counters::new(config), Prepared::new(config)),
            Some(before) => (
                Counters::after(config, &before.config, &before.counters),
                before.prepared.after(&Difference::between(&before.config, config), config),
            ),
        };
        WorkerConfig {
            config: Arc::clone(config),
            located,
            counters: Arc::new(counters),
            clients_max: 10,
            prepared: Arc::new(prepared),
            callings: Arc::default(),
            captures: Arc::default(),
            listeners: Vec::new(),
        }
    }

    fn kept(first: &Generation, second: &Generation) -> usize {
        let pairs = first.policies.iter().zip(second.policies.iter());
        pairs.filter(|(old, new)| Rc::ptr_eq(old, new)).count()
    }

    #[test]
    fn a_percent_on_one_route_makes_one_routes_mirrors_anew_and_nothing_else() {
        let sweeper = Sweeper::simulated();
        let before = of(&config(5, 50), None);
        let first = Generation::new(&before, &sweeper, None);
        let after = of(&config(6, 50), Some(&before));
        let second = Generation::new(&after, &sweeper, Some(&first));
        assert!(Arc::ptr_eq(&first.router, &second.router) && Arc::ptr_eq(&first.plans, &second.plans));
        assert_eq!(kept(&first, &second), 99);
        assert_eq!(second.policies[7][0].percent.per_million, 60_000);
    }

    #[test]
    fn what_a_mirror_has_spent_goes_on_though_a_worker_missed_a_configuration_or_all_mirrors_changed() {
        let sweeper = Sweeper::simulated();
        let before = of(&config(5, 50), None);
        let first = Generation::new(&before, &sweeper, None);
        let spent = |generation: &Generation| {
            let rules = generation.policies[3][0].rules.as_ref().expect("it has a rate");
            rules.within_rate(100, 0)
        };
        assert_eq!(spent(&first), 2);
        let missed = of(&config(6, 50), Some(&before));
        let after = of(&config(6, 60), Some(&missed));
        let third = Generation::new(&after, &sweeper, Some(&first));
        assert_eq!((kept(&first, &third), spent(&third)), (0, 0));
    }

    #[test]
    fn a_mirror_moves_when_all_else_is_built() {
        let sweeper = Sweeper::simulated();
        let before = of(&config(5, 50), None);
        let first = Generation::new(&before, &sweeper, None);
        let mut after = of(&config(6, 60), Some(&before));
        let addresses = [1, 3].map(|port| vec![([127, 0, 0, 1], port).into()]);
        after.located = Located { addresses: Arc::new(addresses.to_vec()), ..Located::default() };
        let port = || first.lanes[0].pick(0).and_then(|endpoint| Some(endpoint.address.ip()?.port()));
        let mut building = Building::new(&after, &sweeper, Some(&first));
        let mut turns = 0;
        while building.go_on() {
            assert_eq!(port(), Some(2));
            turns += 1;
        }
        assert!(turns > 0);
        let second = building.finish();
        assert!(Rc::ptr_eq(&first.lanes[0], &second.lanes[0]));
        assert_eq!(port(), Some(3));
    }

    #[test]
    fn many_routes_made_anew_take_many_turns() {
        let sweeper = Sweeper::simulated();
        let before = of(&config(5, 50), None);
        let turns = |of: &WorkerConfig, first: Option<&Generation>| {
            let mut building = Building::new(of, &sweeper, first);
            let mut turns = 1;
            while building.go_on() {
                turns += 1;
            }
            (turns, building.finish())
        };
        let (new, first) = turns(&before, None);
        assert_eq!(new, 1 + 100 / (TURN / MADE_ANEW));
        let missed = of(&config(6, 50), Some(&before));
        assert_eq!(turns(&missed, Some(&first)).0, 1);
        // Where a configuration was missed each route is sought among all.
        let (sought, _) = turns(&of(&config(7, 50), Some(&missed)), Some(&first));
        assert_eq!(sought, 1 + 100 * (MADE_ANEW + 100 / LOOKED_AT) / TURN);
    }

    /// More mirrors than are looked at in one turn, spread.
    const SPREAD_ROUTES: usize = 700;

    fn spread(percent: u32) -> Arc<Config> {
        let routes: String = (0..SPREAD_ROUTES)
            .map(|n| {
                format!(
                    "[[route]]\nname = \"r{n}\"\npath_prefix = '/r{n}/'\nprimary = \"v1\"\nmirrors = \
                     [{{ upstream = \"v2\", percent = {percent}, sample = \"rare_first\" }}]\n"
                )
            })
            .collect();
        let text = format!(
            "[workers]\ncount = 1\n[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\n[upstream.v2]\nendpoints = [\"127.0.0.1:2\"]\n{routes}"
        );
        Arc::new(config::parse("test", &text).expect("the test's own text is sound").config)
    }

    #[test]
    fn many_mirrors_are_spread_in_turns_and_a_generation_no_longer_in_force_spreads_none() {
        World::run(1, |_| async {
            let sweeper = Sweeper::simulated();
            let before = of(&spread(10), None);
            let first = Generation::new(&before, &sweeper, None);
            let after = of(&spread(5), Some(&before));
            let second = Generation::new(&after, &sweeper, Some(&first));
            let busy = Counter::default();
            // One route of ten comes a hundred times as often as each other.
            let requests = |generation: &Generation| {
                for (n, policies) in generation.policies.iter().enumerate() {
                    policies[0].counters.eligible.add(if n % 10 == 0 { 1000 } else { 10 });
                }
            };
            let shares = |generation: &Generation| {
                let of = |n: usize| generation.policies[n][0].spread().expect("it is spread").share();
                [of(0), of(SPREAD_ROUTES - 10), of(1), of(SPREAD_ROUTES - 1)].map(|share| share.per_million)
            };
            first.watched.look(&busy, || true).await;
            requests(&first);
            first.watched.look(&busy, || true).await;
            let [busy_first, busy_last, rare_first, rare_last] = shares(&first);
            assert_eq!((busy_first, rare_first, rare_last), (busy_last, 1_000_000, 1_000_000));
            // Of 76,300 requests a second 7,630 are copied, 6,300 of them of the rare ones.
            assert!((18_000..=19_100).contains(&busy_first), "{busy_first}");

            requests(&second);
            second.watched.look(&busy, || true).await;
            let lowered = shares(&second);
            assert!(lowered[0] < busy_first && lowered[2] < rare_first, "{lowered:?}");
            requests(&first);
            first.watched.look(&busy, || false).await;
            assert_eq!(shares(&second), lowered);
        });
    }
}
