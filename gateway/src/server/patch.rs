//! A single change in the configuration in force: a mirror's share, a route's weights. Pure.

use config::check::Problem;
use config::{Action, Config, Percent};

use crate::control::Refused;

fn wrong(key: String, message: String) -> Refused {
    let file = "request".to_owned();
    Refused::Wrong(vec![Problem { file, key: Some(key), message, ..Problem::default() }])
}

pub(super) fn with_percent(
    config: &Config,
    mirror: &str,
    route: Option<&str>,
    percent: f64,
) -> Result<Config, Refused> {
    let Some(percent) = Percent::from_percent_amplified(percent) else {
        let message = format!("{percent} is out of range: must be a number from 0 to 10000");
        return Err(wrong("percent".to_owned(), message));
    };
    let mut next = config.clone();
    let mut found = false;
    for of in next.routes.iter_mut().filter(|r| route.is_none_or(|name| r.name == name)) {
        for one in of.mirrors.iter_mut().filter(|m| m.name == mirror) {
            one.percent = percent;
            found = true;
        }
    }
    let place = route.map_or_else(|| "no route".to_owned(), |name| format!("no route {name:?}"));
    if found { Ok(next) } else { Err(Refused::Unknown(format!("{place} has a mirror {mirror:?}"))) }
}

pub(super) fn with_weights(
    config: &Config,
    route: &str,
    weights: &[(String, u32)],
) -> Result<Config, Refused> {
    let mut next = config.clone();
    let names: Vec<String> = next.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let Some(of) = next.routes.iter_mut().find(|r| r.name == route) else {
        return Err(Refused::Unknown(format!("there is no route {route:?}")));
    };
    let Action::Forward(forward) = &mut of.action else {
        return Err(wrong("weights".to_owned(), format!("route {route:?} forwards nothing")));
    };
    for (name, weight) in weights {
        let mut ours = forward.primaries.iter_mut();
        let primary = ours.find(|p| p.upstream.is_some_and(|id| names.get(id) == Some(name)));
        let Some(primary) = primary else {
            return Err(Refused::Unknown(format!("{name:?} is not a primary of route {route:?}")));
        };
        primary.weight = *weight;
    }
    if forward.primaries.iter().all(|primary| primary.weight == 0) {
        let message = "all weights would be 0, so nobody would get a request";
        return Err(wrong("weights".to_owned(), message.to_owned()));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use config::check;

    use super::*;

    fn rollout() -> Config {
        let text = r#"
            [upstream.v1]
            endpoints = ["127.0.0.1:1"]
            [upstream.v2]
            endpoints = ["127.0.0.1:2"]
            [[route]]
            name = "main"
            primaries = [{ upstream = "v1", weight = 100 }, { upstream = "v2", weight = 0 }]
            mirrors = [{ upstream = "v2", percent = 5 }]
            [[route]]
            name = "rest"
            primary = "v1"
            mirrors = [{ upstream = "v2" }]
        "#;
        check::parse("test", text).unwrap().config
    }

    #[test]
    fn a_share_changes_where_it_is_asked_for_and_nowhere_else() {
        let shares = |config: &Config| -> Vec<u32> {
            config.routes.iter().map(|route| route.mirrors[0].percent.per_million).collect()
        };
        let config = rollout();
        assert_eq!(shares(&with_percent(&config, "v2", None, 50.0).unwrap()), [500_000, 500_000]);
        assert_eq!(shares(&with_percent(&config, "v2", Some("rest"), 0.0).unwrap()), [50_000, 0]);
        assert!(matches!(with_percent(&config, "v3", None, 1.0), Err(Refused::Unknown(_))));
        assert!(matches!(with_percent(&config, "v2", Some("none"), 1.0), Err(Refused::Unknown(_))));
        assert!(matches!(with_percent(&config, "v2", None, -1.0), Err(Refused::Wrong(_))));
    }

    #[test]
    fn weights_change_by_name_and_never_to_nobody() {
        let config = rollout();
        let weights = |pairs: &[(&str, u32)]| -> Vec<(String, u32)> {
            pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
        };
        let next = with_weights(&config, "main", &weights(&[("v1", 0), ("v2", 100)])).unwrap();
        let Action::Forward(forward) = &next.routes[0].action else { panic!("forwards") };
        assert_eq!(forward.primaries.iter().map(|p| p.weight).collect::<Vec<_>>(), [0, 100]);
        assert!(matches!(with_weights(&config, "main", &weights(&[("v1", 0)])), Err(Refused::Wrong(_))));
        assert!(matches!(with_weights(&config, "main", &weights(&[("v3", 1)])), Err(Refused::Unknown(_))));
        assert!(matches!(with_weights(&config, "none", &[]), Err(Refused::Unknown(_))));
    }
}
