//! Metrics that steer a rollout: configured shares, pairs compared, verdicts, changes.

use std::collections::HashMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use config::{Mirror, Percent};
use prometheus_client::registry::Unit;

use super::{Families, Shards};
use crate::admin::standing::Standing;
use crate::control::{By, ConfigStore};
use crate::metrics::{Got, Trial};
use crate::verdict::Decision;

fn percent(of: Percent) -> f64 {
    f64::from(of.per_million) / 10_000.0
}

impl Shards<'_> {
    pub(super) fn rollout(&self, out: &mut Families<'_>, store: &ConfigStore) -> fmt::Result {
        let all = || {
            let routes = self.snapshot.config.routes.iter();
            routes.flat_map(|route| route.mirrors.iter().map(move |mirror| (route.name.as_str(), mirror)))
        };
        let labels =
            |route: &str, mirror: &Mirror| [("route", route.to_owned()), ("mirror", mirror.name.clone())];
        out.gauges(
            "umbra_mirror_percent",
            "Share of requests copied as it is in force, before any governor",
            None,
            all().map(|(route, mirror)| (labels(route, mirror), percent(mirror.percent))),
        )?;
        let whole = store.whole();
        let written: HashMap<(&str, &str), Percent> = whole
            .routes
            .iter()
            .flat_map(|route| {
                route.mirrors.iter().map(|of| ((route.name.as_str(), of.name.as_str()), of.percent))
            })
            .collect();
        let configured = all().filter_map(|(route, mirror)| {
            let written = written.get(&(route, mirror.name.as_str()))?;
            Some((labels(route, mirror), percent(*written)))
        });
        out.gauges(
            "umbra_mirror_configured_percent",
            "Share of requests copied as the configuration was read, before anything was set or paused",
            None,
            configured,
        )?;
        let tallies = store.findings.tallies();
        let tallies: HashMap<_, _> =
            tallies.iter().map(|of| ((of.route.as_str(), of.mirror.as_str()), of)).collect();
        let comparing: Vec<_> = all()
            .filter(|(_, mirror)| mirror.compare.is_some())
            .map(|(route, mirror)| {
                let tally = tallies.get(&(route, mirror.name.as_str()));
                let (compared, differing) = tally.map_or((0, 0), |of| (of.compared, of.differing));
                (labels(route, mirror), compared, differing)
            })
            .collect();
        out.counters(
            "umbra_mirror_compared",
            "Pairs of answers set side by side; from nothing again where findings are forgotten",
            comparing.iter().map(|(labels, compared, _)| (labels.clone(), *compared)),
        )?;
        out.counters(
            "umbra_mirror_differing",
            "Of the pairs compared those where anything differed, what the primary does to itself among it",
            comparing.iter().map(|(labels, _, differing)| (labels.clone(), *differing)),
        )
    }
}

impl Shards<'_> {
    /// Responses to clients on routes with a share below 100 %: of requests that were copied, and of those that were left out.
    pub(super) fn trials(&self, out: &mut Families<'_>) -> fmt::Result {
        let config = &self.snapshot.config;
        let mut requests = Vec::new();
        let mut seconds = Vec::new();
        for (index, route) in config.routes.iter().enumerate() {
            let Some(mirror) = config.trial(route).and_then(|at| route.mirrors.get(at)) else { continue };
            let trials: Vec<&Trial> =
                self.snapshot.counters.iter().filter_map(|of| Some(&**of.trials.get(index)?)).collect();
            let copied: Vec<&Got> = trials.iter().map(|trial| &trial.copied).collect();
            let spared: Vec<&Got> = trials.iter().map(|trial| &trial.spared).collect();
            for (arm, workers) in [("copied", copied), ("uncopied", spared)] {
                let sum = |of: fn(&Got) -> u64| -> u64 { workers.iter().map(|got| of(got)).sum() };
                let labels = [
                    ("route", route.name.clone()),
                    ("mirror", mirror.name.clone()),
                    ("group", arm.to_owned()),
                ];
                let (refused, failed) = (sum(|got| got.refused.get()), sum(|got| got.failed.get()));
                let well = sum(|got| got.requests.get()).saturating_sub(refused + failed);
                for (result, n) in [("answered", well), ("4xx", refused), ("5xx", failed)] {
                    let [route, mirror, group] = labels.clone();
                    requests.push(([route, mirror, group, ("result", result.to_owned())], n));
                }
                seconds.push((labels, sum(|got| got.duration.sum()) as f64 / 1e6));
            }
        }
        out.counters(
            "umbra_control_requests",
            "Requests of a route whose share is drawn by chance, by whether they were drawn, and what clients got; since that share",
            requests,
        )?;
        out.counters_in(
            "umbra_control_response",
            "From a request's head to the end of its answer written, together, of the same requests that were answered",
            Some(Unit::Seconds),
            seconds,
        )
    }
}

/// A series for each possible verdict on each mirror: 1 for the one it has.
pub(super) fn verdicts(out: &mut Families<'_>, standing: &Standing) -> fmt::Result {
    let rows = standing.decisions().into_iter().flat_map(|(mirror, decided)| {
        Decision::ALL.map(|decision| {
            let labels = [("mirror", mirror.clone()), ("verdict", decision.text().to_owned())];
            (labels, i64::from(decision == decided))
        })
    });
    out.gauges(
        "umbra_verdict",
        "The verdict of a mirror by the default policy, as it was reached last: 1 for the one that it is",
        None,
        rows,
    )
}

pub(super) fn changes(out: &mut Families<'_>, store: &ConfigStore, started: SystemTime) -> fmt::Result {
    let counts = store.changes.counts();
    let rows = By::KINDS.iter().flat_map(|by| {
        [(true, "applied"), (false, "refused")].map(|(is_made, result)| {
            ([("by", *by), ("result", result)], counts.by.get(&(*by, is_made)).copied().unwrap_or_default())
        })
    });
    out.counters(
        "umbra_changes",
        "Changes of the configuration or of a share that were asked for, by whom and what became of them",
        rows,
    )?;
    out.gauge(
        "umbra_config_last_reload_successful",
        "Whether the configuration that was read last is in force; 0 where it was refused",
        None,
        i64::from(!counts.is_reload_refused),
    )?;
    let reloaded = counts.reloaded.unwrap_or(started).duration_since(UNIX_EPOCH).unwrap_or_default();
    out.gauge(
        "umbra_config_last_reload_success_timestamp",
        "When the configuration in force was read, since the Unix epoch",
        Some(Unit::Seconds),
        reloaded.as_secs_f64(),
    )
}
