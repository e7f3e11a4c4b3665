//! Mirrors that are looked at once a second: those with a governor, and those whose copies are spread over their routes.

use std::collections::HashMap;
use std::rc::Rc;

use super::policy::Policy;
use super::spread::Level;
use crate::io;
use crate::metrics::Counter;

/// Mirrors that are looked at in one turn.
const LOOKED_AT: usize = 512;

/// Those of one generation.
#[derive(Debug, Default)]
pub struct Watched {
    mirrors: Vec<Mirror>,
    /// By a mirror's name, where its copies are spread.
    levels: HashMap<String, Rc<Level>>,
}

/// One mirror of one route.
#[derive(Debug)]
struct Mirror {
    route: Rc<[Policy]>,
    index: usize,
    level: Option<Rc<Level>>,
}

impl Watched {
    /// Notes those among a route's mirrors that are looked at. What a name has come to goes on from `before`, the generation before.
    pub fn note(&mut self, route: &Rc<[Policy]>, mirrors: &[config::Mirror], before: Option<&Self>) {
        for (index, policy) in route.iter().enumerate() {
            let level = policy.spread().zip(mirrors.get(policy.index)).map(|(_, mirror)| {
                let known = self.levels.get(&mirror.name);
                let level = known.or_else(|| before.and_then(|before| before.levels.get(&mirror.name)));
                let level = level.map(Rc::clone).unwrap_or_default();
                if known.is_none() {
                    self.levels.insert(mirror.name.clone(), Rc::clone(&level));
                }
                level
            });
            if level.is_some() || policy.is_governed() {
                self.mirrors.push(Mirror { route: Rc::clone(route), index, level });
            }
        }
    }

    /// Decides their shares for the next second, in turns. To be called once a second, which is the `second`th of the worker;
    /// `busy_ticks` counts the worker's late ticks.
    pub async fn look(&self, second: u64, busy_ticks: &Counter) {
        for (at, Mirror { route, index, level }) in self.mirrors.iter().enumerate() {
            let Some(policy) = route.get(*index) else { continue };
            policy.govern(busy_ticks.get());
            if let Some((spread, level)) = policy.spread().zip(level.as_deref()) {
                spread.look(level, second, policy.governed(), &policy.counters);
            }
            if (at + 1).is_multiple_of(LOOKED_AT) {
                io::turn().await;
            }
        }
    }
}
