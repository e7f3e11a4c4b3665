//! `GET /histograms`: every distribution of times since the start, as JSON or as HdrHistogram's percentile text.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hdrhistogram::Histogram as Merged;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Query;
use super::book::Page;
use super::desk::Desk;
use super::outcomes::summary;
use crate::metrics::{self, Counters, Histogram};

/// Told in one answer.
const SERIES_MAX: usize = 1000;

/// Lines of percentiles for each halving of the distance to the end, as HdrHistogram's own tools have it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    route: Option<String>,
    mirror: Option<String>,
    name: Option<Name>,
    format: Option<Format>,
}

/// Which distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    /// From a request's head to the last byte of its answer written.
    Route,
    /// From a request forwarded to the last byte of its answer read.
    Primary,
    /// From a copy sent to the last byte of its answer read.
    Mirror,
    /// From a request forwarded to its copy sent.
    Lag,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Primary => "primary",
            Self::Mirror => "mirror",
            Self::Lag => "lag",
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Hgrm,
}

/// One distribution, of all workers.
struct Series {
    name: Name,
    route: String,
    /// Of the primary.
    upstream: Option<String>,
    mirror: Option<String>,
    all: Merged<u64>,
}

fn merged(page: &Page, read: impl Fn(&Counters) -> Option<&Histogram>) -> Merged<u64> {
    let mut all = metrics::merged();
    page.counters.iter().filter_map(|of| read(of)).for_each(|of| of.add_to(&mut all));
    all
}

/// Those asked for that have any value.
fn series(page: &Page, chosen: &Chosen) -> Vec<Series> {
    let mut out = Vec::new();
    let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let wants = |name| chosen.name.is_none_or(|wanted| wanted == name);
    for (index, route) in page.config.routes.iter().enumerate().filter(|(_, r)| fits(&chosen.route, &r.name))
    {
        let mut push = |name, upstream: Option<String>, mirror: Option<String>, all: Merged<u64>| {
            if !all.is_empty() && out.len() < SERIES_MAX {
                out.push(Series { name, route: route.name.clone(), upstream, mirror, all });
            }
        };
        if wants(Name::Route) && chosen.mirror.is_none() {
            push(Name::Route, None, None, merged(page, |c| Some(&c.routes.get(index)?.duration)));
        }
        for (at, primary) in route.primaries().iter().enumerate().filter(|_| wants(Name::Primary)) {
            let upstream = primary.upstream.and_then(|id| page.config.upstreams.get(id));
            let all = merged(page, |c| Some(&c.primaries.get(index)?.get(at)?.latency));
            push(Name::Primary, upstream.map(|u| u.name.clone()), None, all);
        }
        for (at, mirror) in route.mirrors.iter().enumerate().filter(|(_, m)| fits(&chosen.mirror, &m.name)) {
            if wants(Name::Mirror) {
                let all = merged(page, |c| Some(&c.mirrors.get(index)?.get(at)?.latency));
                push(Name::Mirror, None, Some(mirror.name.clone()), all);
            }
            if wants(Name::Lag) {
                let all = merged(page, |c| Some(&c.mirrors.get(index)?.get(at)?.lag));
                push(Name::Lag, None, Some(mirror.name.clone()), all);
            }
        }
    }
    out
}

/// `GET /histograms?route=NAME&mirror=NAME&name=route|primary|mirror|lag&format=json|hgrm`
pub(super) async fn histograms(State(desk): State<Arc<Desk>>, Query(chosen): Query<Chosen>) -> Response {
    let all = series(&desk.book.open(), &chosen);
    match chosen.format.unwrap_or(Format::Json) {
        Format::Json => {
            let one = |of: &Series| -> Value {
                json!({
                    "name": of.name.text(),
                    "route": of.route,
                    "upstream": of.upstream,
                    "mirror": of.mirror,
                    "since_start": summary(&of.all, "seconds", 1e-6),
                })
            };
            Json(json!({ "histograms": all.iter().map(one).collect::<Vec<_>>() })).into_response()
        }
        Format::Hgrm => {
            let text: String = all.iter().map(hgrm).collect();
            ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
        }
    }
}

/// Milliseconds by percentile, as HdrHistogram's `outputPercentileDistribution` writes it; its plotters read one at a time.
fn hgrm(of: &Series) -> String {
    let whose = of.upstream.iter().chain(&of.mirror).map(|name| format!(" {name}")).collect::<String>();
    let mut out = format!("#[{} of {}{whose}, milliseconds]\n", of.name.text(), of.route);
    let _ = writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let ms = |us: f64| us / 1e3;
    let mut seen = 0;
    for step in of.all.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        seen += step.count_since_last_iteration();
        let (value, quantile) = (ms(step.value_iterated_to() as f64), step.quantile_iterated_to());
        let _ = if quantile < 1.0 {
            writeln!(out, "{value:>12.3} {quantile:>2.12} {seen:>10} {:>14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(out, "{value:>12.3} {quantile:>2.12} {seen:>10}")
        };
    }
    let all = &of.all;
    let _ =
        writeln!(out, "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]", ms(all.mean()), ms(all.stdev()));
    let _ = writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", ms(all.max() as f64), all.len());
    out
}

#[cfg(test)]
mod tests {
    use super::super::book::Book;
    use super::*;
    use crate::server::budget::tests::config;

    #[test]
    fn a_distribution_is_told_once_it_has_a_value_and_counts_add_up() {
        let book = Book::new(&Arc::new(config()));
        let page = book.open();
        assert!(series(&page, &Chosen::default()).is_empty());
        page.counters[0].mirrors[0][0].latency.record(1_000);
        page.counters[1].mirrors[0][0].latency.record(3_000);
        page.counters[1].routes[0].duration.record(500);
        let all = series(&page, &Chosen::default());
        let told: Vec<_> = all.iter().map(|of| (of.name.text(), of.all.len())).collect();
        assert_eq!(told, [("route", 1), ("mirror", 2)]);
        let text = hgrm(&all[1]);
        assert!(text.contains("#[mirror of default v2, milliseconds]\n"), "{text}");
        assert!(
            text.lines().any(|line| line.trim_start().starts_with("3.0") && line.contains("1.000000000000")),
            "{text}"
        );
        assert!(text.ends_with("Total count    =            2]\n"), "{text}");
    }
}
