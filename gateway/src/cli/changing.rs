//! `gateway set`, `pause`, `resume` and `reload`: ask a running gateway for a change, and print the settings then in force.

use serde_json::{Value, json};

use super::told::{ask, encoded, parsed, what, workers};
use super::{complain, print};
use crate::ask::Admin;
use crate::control::key_part;
use crate::visible::visible;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Set {
    /// The mirror's name
    #[arg(value_name = "MIRROR")]
    mirror: String,

    /// Percent of the requests that are copied; more than 100 copies some twice
    #[arg(long, value_name = "PERCENT")]
    percent: f64,

    /// On this route alone
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// This mirror alone; else every one
    #[arg(value_name = "MIRROR")]
    mirror: Option<String>,

    /// On this route alone
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    admin: Admin,
}

/// A mirror on a route.
struct Mirror {
    name: String,
    route: String,
    percent: f64,
    configured: f64,
}

impl Set {
    /// 0 done, 2 not.
    pub(super) fn run(&self) -> i32 {
        told(change(&self.admin, &self.mirror, self.route.as_deref(), self.percent))
    }
}

impl Which {
    /// No copies of any request until they are resumed. 0 done, 2 not.
    pub(super) fn pause(&self) -> i32 {
        told(self.each(|mirror| Some((mirror.percent > 0.0).then_some(0.0)), "paused already"))
    }

    /// As many copies as before the pause. 0 done, 2 not.
    pub(super) fn resume(&self) -> i32 {
        let changes = match ask(&self.admin, "/changes") {
            Ok(changes) => changes,
            Err(why) => return told(Err(why)),
        };
        let before = |mirror: &Mirror| match mirror.percent > 0.0 {
            true => Some(None),
            false => {
                let percent = before_pause(&changes, mirror).unwrap_or(mirror.configured);
                (percent > 0.0).then_some(Some(percent))
            }
        };
        told(self.each(before, "not paused"))
    }

    /// Changes every mirror that is meant to the share that `wanted` says: `Some(None)` leaves it as it is, for `otherwise`;
    /// `None` knows none.
    fn each(
        &self,
        wanted: impl Fn(&Mirror) -> Option<Option<f64>>,
        otherwise: &str,
    ) -> Result<String, String> {
        let of = |mirror: &Mirror| {
            self.mirror.as_ref().is_none_or(|name| *name == mirror.name)
                && self.route.as_ref().is_none_or(|name| *name == mirror.route)
        };
        let mirrors: Vec<Mirror> = mirrors(&self.admin)?.into_iter().filter(of).collect();
        if mirrors.is_empty() {
            return Err("there is no such mirror: gateway mirrors lists them".to_owned());
        }
        let mut text = String::new();
        for mirror in &mirrors {
            match wanted(mirror) {
                Some(Some(percent)) => {
                    text.push_str(&change(&self.admin, &mirror.name, Some(&mirror.route), percent)?);
                }
                Some(None) => {
                    text.push_str(&format!(
                        "{} on {}: {otherwise}, {} %\n",
                        mirror.name, mirror.route, mirror.percent
                    ));
                }
                None => text.push_str(&format!(
                    "{} on {}: its file says 0 %; gateway set {} --percent N gives it a share\n",
                    mirror.name, mirror.route, mirror.name
                )),
            }
        }
        Ok(text)
    }
}

impl Reload {
    /// 0 done, 2 not: then all is as it was.
    pub(super) fn run(&self) -> i32 {
        told(self.admin.post("/reload", "").and_then(|said| {
            let said = parsed(&said)?;
            let warnings: String =
                said["warnings"].as_array().into_iter().flatten().fold(String::new(), |all, warning| {
                    all + &format!("warning: {}\n", visible(warning["message"].as_str().unwrap_or_default()))
                });
            let number = said["change"].as_u64().unwrap_or_default();
            let changes = ask(&self.admin, &format!("/changes?after={}", number.saturating_sub(1)))?;
            let change =
                changes["changes"].as_array().and_then(|all| all.iter().find(|of| of["number"] == number));
            let what = change.map(what).unwrap_or_default();
            Ok(format!("{warnings}reloaded on {}: {what}\n", workers(&said["workers"])))
        }))
    }
}

/// Prints the result; the exit code.
fn told(result: Result<String, String>) -> i32 {
    match result {
        Ok(text) => {
            print(&text);
            0
        }
        Err(why) => {
            complain([why]);
            2
        }
    }
}

fn mirrors(admin: &Admin) -> Result<Vec<Mirror>, String> {
    Ok(listed(&ask(admin, "/mirrors")?))
}

fn listed(told: &Value) -> Vec<Mirror> {
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let one = |of: &Value| Mirror {
        name: text(&of["name"]),
        route: text(&of["route"]),
        percent: of["percent"].as_f64().unwrap_or_default(),
        configured: of["configured_percent"].as_f64().unwrap_or_default(),
    };
    told["mirrors"].as_array().into_iter().flatten().map(one).collect()
}

/// Asks for a share; the shares then in force, in lines.
fn change(admin: &Admin, mirror: &str, route: Option<&str>, percent: f64) -> Result<String, String> {
    let on = route.map(|route| format!("?route={}", encoded(route))).unwrap_or_default();
    let path = format!("/mirrors/{}{on}", segment(mirror));
    let said = admin.patch(&path, &json!({ "percent": percent }).to_string())?;
    let now = listed(&parsed(&said)?);
    let line = |of: &Mirror| format!("{} on {}: {} %\n", of.name, of.route, of.percent);
    Ok(now.iter().map(line).collect())
}

/// As a segment of a path: a form's blank is none there.
fn segment(text: &str) -> String {
    encoded(text).replace('+', "%20")
}

/// The share that it had before it was paused last, where that is remembered.
fn before_pause(changes: &Value, mirror: &Mirror) -> Option<f64> {
    let key = format!("route.{}.mirrors.{}.percent", key_part(&mirror.route), key_part(&mirror.name));
    let whats = changes["changes"].as_array()?.iter().rev().filter(|change| change["refused"].is_null());
    let mut whats = whats.flat_map(|change| change["what"].as_array().into_iter().flatten());
    let last = whats.find(|what| what["key"] == key.as_str())?;
    (last["to"] == "0").then(|| last["from"].as_str()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_resumed_at_the_share_that_it_was_paused_at() {
        let mirror = Mirror { name: "v2".into(), route: "a b".into(), percent: 0.0, configured: 50.0 };
        let change = |from: &str, to: &str| json!({ "refused": null, "what": [{ "key": "route.\"a b\".mirrors.v2.percent", "from": from, "to": to }] });
        let of = |all: Value| before_pause(&json!({ "changes": all }), &mirror);
        assert_eq!(of(json!([change("50", "7.5"), change("7.5", "0")])), Some(7.5));
        assert_eq!(of(json!([])), None);
        assert_eq!(segment("a b/c"), "a%20b%2Fc");
    }
}
