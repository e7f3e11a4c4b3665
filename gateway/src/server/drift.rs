//! Shares that an operator has set against a cluster's: they go on until their object has another share. Pure.

use std::collections::HashMap;

use config::check::Problem;
use config::{Config, Percent, Route};

use crate::control::key_part;

/// A share that goes on, by the indices of its route and its mirror.
#[derive(Debug, PartialEq)]
pub(super) struct Kept {
    route: usize,
    mirror: usize,
    percent: Percent,
}

/// Shares of `in_force` that are others than `read`, which the cluster said before, and of which `next` says the same as that.
pub(super) fn kept(read: &Config, in_force: &Config, next: &Config) -> Vec<Kept> {
    let by_name = |config: &'_ Config| -> HashMap<String, usize> {
        config.routes.iter().enumerate().map(|(at, route)| (route.name.clone(), at)).collect()
    };
    let (before, now) = (by_name(read), by_name(in_force));
    let share = |route: Option<&Route>, mirror: &str| {
        route?.mirrors.iter().find(|one| one.name == mirror).map(|one| one.percent)
    };
    let mut kept = Vec::new();
    for (at, route) in next.routes.iter().enumerate().filter(|(_, route)| !route.mirrors.is_empty()) {
        let before = before.get(&route.name).and_then(|at| read.routes.get(*at));
        let now = now.get(&route.name).and_then(|at| in_force.routes.get(*at));
        for (mirror, one) in route.mirrors.iter().enumerate() {
            let said = share(before, &one.name);
            if let Some(percent) = share(now, &one.name)
                && said == Some(one.percent)
                && percent != one.percent
            {
                kept.push(Kept { route: at, mirror, percent });
            }
        }
    }
    kept
}

/// Sets the shares in `next`; returns a message for each, and keys with values.
pub(super) fn keep(kept: &[Kept], next: &mut Config) -> (Vec<Problem>, Vec<(String, String)>) {
    let (mut told, mut set) = (Vec::new(), Vec::new());
    for Kept { route, mirror, percent } in kept {
        let Some(route) = next.routes.get_mut(*route) else { continue };
        let Some(one) = route.mirrors.get_mut(*mirror) else { continue };
        let said = std::mem::replace(&mut one.percent, *percent);
        let key = format!("route.{}.mirrors.{}.percent", key_part(&route.name), key_part(&one.name));
        let message =
            format!("was set to {percent}, where the cluster says {said}: it stays until that changes");
        told.push(Problem { key: Some(key), message, ..Problem::default() });
        set.push((format!("mirror {} on route {} percent", one.name, route.name), percent.to_string()));
    }
    (told, set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::patch::with_percent;

    fn config(a: u32, b: u32) -> Config {
        let route = |name: &str, percent: u32| {
            format!(
                "[[route]]\nname = \"{name}\"\nhosts = [\"{name}.test\"]\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\", percent = {percent} }}]\n"
            )
        };
        let text = format!(
            "[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\n[upstream.v2]\nendpoints = [\"127.0.0.1:2\"]\n{}{}",
            route("a", a),
            route("b", b)
        );
        config::parse("test", &text).expect("the test's own text is sound").config
    }

    fn shares(config: &Config) -> Vec<u32> {
        config.routes.iter().map(|route| route.mirrors[0].percent.per_million / 10_000).collect()
    }

    #[test]
    fn a_share_that_was_set_goes_on_until_its_object_says_another() {
        let read = config(100, 50);
        let in_force = with_percent(&read, "v2", Some("a"), 7.0).expect("it is there");
        // Something else has changed.
        let mut next = config(100, 60);
        let (told, set) = keep(&kept(&read, &in_force, &next), &mut next);
        assert_eq!((shares(&next), told.len()), (vec![7, 60], 1));
        assert!(set[0].0 == "mirror v2 on route a percent" && set[0].1.starts_with('7'), "{set:?}");
        let said = told[0].to_string();
        assert!(said.starts_with("route.a.mirrors.v2.percent: was set to 7"), "{said}");
        // Its object has.
        let next = config(20, 50);
        assert_eq!(kept(&read, &in_force, &next), []);
        assert_eq!(shares(&next), [20, 50]);
    }
}
