//! The parts of a configuration that are prepared before a worker sees it: its routes with their patterns, and the parts it has
//! in common with the configuration before it. Pure.
//!
//! The control plane builds it, once for each worker: compiled programs are shared, the scratch memory of matching is the
//! worker's own. A worker takes it over by a pointer, so that a change costs it the changed parts, whatever else is configured.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use config::{Config, LaneId, Mirror, Primary, Route};

use crate::plan::Plan;
use crate::route::Router;

/// Where requests go by one configuration, on one worker.
#[derive(Debug)]
pub struct Prepared {
    pub router: Arc<Router>,
    /// By route.
    pub plans: Arc<Vec<Plan>>,
    /// See [`Config::tunnel_ports`].
    pub tunnel_ports: Arc<BTreeSet<Option<u16>>>,
    difference: Option<Arc<Difference>>,
}

/// The parts that a configuration has in common with the one before it.
#[derive(Debug)]
pub struct Difference {
    before: Weak<Config>,
    /// Every match of every route is the same, in the same order.
    has_same_matches: bool,
    /// Every route does the same with its requests.
    has_same_plans: bool,
    /// By route.
    earlier: Box<[Option<Earlier>]>,
}

/// A route of the same name in the configuration before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// Its index there.
    pub route: usize,
    /// Its mirrors are the same, and so are the lanes they use.
    pub has_same_mirrors: bool,
}

impl Difference {
    pub fn between(before: &Arc<Config>, config: &Config) -> Arc<Self> {
        let known: HashMap<&str, usize> =
            before.routes.iter().enumerate().map(|(at, route)| (route.name.as_str(), at)).collect();
        let has_same_matches = before.routes.len() == config.routes.len()
            && before.routes.iter().zip(&config.routes).all(|(old, new)| old.matches == new.matches);
        let has_same_plans = before.routes.len() == config.routes.len()
            && before
                .routes
                .iter()
                .zip(&config.routes)
                .all(|(old, new)| plans_alike(before, old, config, new));
        let has_same_workers = before.workers.count == config.workers.count;
        let lanes: Vec<bool> =
            (0..config.lanes.len()).map(|lane| lanes_alike(before, config, lane)).collect();
        let mirrors_alike = |old: &Route, new: &Route| {
            let on_same_lane = |mirror: &Mirror| lanes.get(mirror.lane) == Some(&true);
            old.mirrors == new.mirrors
                && new.mirrors.iter().all(on_same_lane)
                && primaries_alike(before, old.primaries(), config, new.primaries())
        };
        let earlier = config.routes.iter().map(|new| {
            let route = *known.get(new.name.as_str())?;
            let old = before.routes.get(route)?;
            Some(Earlier { route, has_same_mirrors: has_same_workers && mirrors_alike(old, new) })
        });
        Arc::new(Self {
            before: Arc::downgrade(before),
            has_same_matches,
            has_same_plans,
            earlier: earlier.collect(),
        })
    }
}

/// Indices are one configuration's own: the things they stand for are compared, by name.
fn primaries_alike(before: &Config, old: &[Primary], config: &Config, new: &[Primary]) -> bool {
    let name = |of: &Config, primary: &Primary| Some(of.upstreams.get(primary.upstream?)?.name.clone());
    old == new && old.iter().zip(new).all(|(old, new)| name(before, old) == name(config, new))
}

fn plans_alike(before: &Config, old: &Route, config: &Config, new: &Route) -> bool {
    old.fault == new.fault
        && old.request_headers == new.request_headers
        && old.response_headers == new.response_headers
        && old.action == new.action
        && primaries_alike(before, old.primaries(), config, new.primaries())
}

fn lanes_alike(before: &Config, config: &Config, lane: LaneId) -> bool {
    match (before.lanes.get(lane), config.lanes.get(lane)) {
        (Some(old), Some(new)) => {
            old == new && before.upstreams.get(old.upstream) == config.upstreams.get(new.upstream)
        }
        (Some(_) | None, _) => false,
    }
}

impl Prepared {
    pub fn new(config: &Config) -> Self {
        Self {
            router: Arc::new(Router::new(&config.routes)),
            plans: Arc::new(config.routes.iter().map(Plan::new).collect()),
            tunnel_ports: Arc::new(config.tunnel_ports()),
            difference: None,
        }
    }

    /// The next one after this, which is of the configuration that `difference` was told of.
    pub fn after(&self, difference: &Arc<Difference>, config: &Config) -> Self {
        Self {
            router: match difference.has_same_matches {
                true => Arc::clone(&self.router),
                false => Arc::new(Router::new(&config.routes)),
            },
            plans: match difference.has_same_plans {
                true => Arc::clone(&self.plans),
                false => Arc::new(config.routes.iter().map(Plan::new).collect()),
            },
            tunnel_ports: Arc::new(config.tunnel_ports()),
            difference: Some(Arc::clone(difference)),
        }
    }

    /// The route in `before` that bears the name of the route of this index, if one does; `None` where this was compared with
    /// another configuration than `before`.
    pub fn earlier(&self, route: usize, before: &Arc<Config>) -> Option<Option<Earlier>> {
        let difference = self.difference.as_ref()?;
        let is_it = std::ptr::eq(difference.before.as_ptr(), Arc::as_ptr(before));
        is_it.then(|| difference.earlier.get(route).copied().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(percent: u32, shop: &str, more: &str) -> Arc<Config> {
        let text = format!(
            r#"
            {more}
            [upstream.v1]
            endpoints = ["127.0.0.1:1"]
            [upstream.v2]
            endpoints = ["127.0.0.1:2"]
            [[route]]
            name = "shop"
            path_regex = "{shop}"
            primary = "v1"
            mirrors = [{{ upstream = "v2", percent = {percent} }}]
            [[route]]
            name = "rest"
            primary = "v1"
            mirrors = [{{ upstream = "v2", percent = 7 }}]
        "#
        );
        Arc::new(config::parse("test", &text).expect("the test's own text is sound").config)
    }

    #[test]
    fn a_percent_changes_one_routes_mirrors_and_nothing_else() {
        let (before, next) = (config(5, "/s.*", ""), config(6, "/s.*", ""));
        let first = Prepared::new(&before);
        let second = first.after(&Difference::between(&before, &next), &next);
        assert!(Arc::ptr_eq(&first.router, &second.router) && Arc::ptr_eq(&first.plans, &second.plans));
        let earlier = [0, 1].map(|route| second.earlier(route, &before).flatten().unwrap());
        assert_eq!(earlier.map(|e| (e.route, e.has_same_mirrors)), [(0, false), (1, true)]);
        assert_eq!(second.earlier(0, &next), None, "it was compared with another");
        assert_eq!(first.earlier(0, &before), None, "it was compared with none");
    }

    #[test]
    fn another_pattern_changes_the_router_and_an_index_that_moves_changes_what_names_it() {
        let before = config(5, "/s.*", "");
        let first = Prepared::new(&before);
        let next = config(5, "/t.*", "");
        let second = first.after(&Difference::between(&before, &next), &next);
        assert!(!Arc::ptr_eq(&first.router, &second.router) && Arc::ptr_eq(&first.plans, &second.plans));
        // An upstream more in front moves the others.
        let next = config(5, "/s.*", "[upstream.a]\nendpoints = [\"127.0.0.1:3\"]\n");
        let second = first.after(&Difference::between(&before, &next), &next);
        assert!(Arc::ptr_eq(&first.router, &second.router));
        let moved = next.upstreams.iter().position(|u| u.name == "v1") != Some(0);
        assert_eq!(Arc::ptr_eq(&first.plans, &second.plans), !moved);
        assert_eq!(second.earlier(1, &before).flatten().unwrap().has_same_mirrors, !moved);
    }
}
