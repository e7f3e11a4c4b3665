//! Mirrors that are looked at once a second: those with a governor, and those whose copies are spread over their routes.

use std::collections::HashMap;
use std::rc::Rc;

use super::policy::Policy;
use super::spread::{Rates, Spread};
use crate::io;
use crate::metrics::Counter;

/// Mirrors that are looked at in one turn.
const LOOKED_AT: usize = 512;

/// Those of one generation.
#[derive(Debug, Default)]
pub struct Watched {
    mirrors: Vec<Mirror>,
    /// The names of mirrors whose copies are spread, each with its number.
    names: HashMap<String, usize>,
}

/// One mirror of one route.
#[derive(Debug)]
struct Mirror {
    route: Rc<[Policy]>,
    index: usize,
    /// The number of its name, where its copies are spread over the routes that have it.
    name: Option<usize>,
}

impl Watched {
    /// Notes those among a route's mirrors that are looked at.
    pub fn note(&mut self, route: &Rc<[Policy]>, mirrors: &[config::Mirror]) {
        for (index, policy) in route.iter().enumerate() {
            let spread = policy.spread().and_then(|_| mirrors.get(policy.index));
            let name = spread.map(|mirror| match self.names.get(&mirror.name) {
                Some(number) => *number,
                None => {
                    let number = self.names.len();
                    self.names.insert(mirror.name.clone(), number);
                    number
                }
            });
            if name.is_some() || policy.is_governed() {
                self.mirrors.push(Mirror { route: Rc::clone(route), index, name });
            }
        }
    }

    /// Decides their shares for the next second, in turns, as long as the generation is the one in force (`is_in_force`): shares
    /// belong to the mirrors of the next one too. To be called once a second; `busy_ticks` counts the worker's late ticks.
    pub async fn look(&self, busy_ticks: &Counter, is_in_force: impl Fn() -> bool) {
        let mut rates: Vec<Rates> = self.names.iter().map(|_| Rates::default()).collect();
        for (at, mirror) in self.mirrors.iter().enumerate() {
            let Some(policy) = mirror.policy() else { continue };
            policy.govern(busy_ticks.get());
            if let Some((spread, rates)) = mirror.spread(policy, |name| rates.get_mut(name)) {
                spread.look(rates, policy.governed(), &policy.counters);
            }
            if !go_on(at, &is_in_force).await {
                return;
            }
        }
        let levels: Vec<f64> = rates.iter().map(Rates::level).collect();
        for (at, mirror) in self.mirrors.iter().enumerate() {
            let Some(policy) = mirror.policy() else { continue };
            if let Some((spread, level)) = mirror.spread(policy, |name| levels.get(name)) {
                spread.follow(*level, policy.governed(), &policy.counters);
            }
            if !go_on(at, &is_in_force).await {
                return;
            }
        }
    }
}

/// Lets others go first where what was looked at is a turn's work; whether to go on then.
async fn go_on(at: usize, is_in_force: impl Fn() -> bool) -> bool {
    if !(at + 1).is_multiple_of(LOOKED_AT) {
        return true;
    }
    io::turn().await;
    is_in_force()
}

impl Mirror {
    fn policy(&self) -> Option<&Policy> {
        self.route.get(self.index)
    }

    /// How its copies are spread, and what there is of its name.
    fn spread<'p, T>(
        &self,
        policy: &'p Policy,
        of: impl FnOnce(usize) -> Option<T>,
    ) -> Option<(&'p Spread, T)> {
        let spread = policy.spread()?;
        Some((spread, of(self.name?)?))
    }
}
