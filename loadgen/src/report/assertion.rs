//! `--assert 'p99<5ms'`: parsed and judged against a document. Decides no exit code.

use std::fmt;

use super::document::{Document, Metric};
use crate::units;

#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    metric: String,
    comparison: Comparison,
    limit: Metric,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

const METRICS: &str = "p50 p75 p90 p95 p99 p99.9 p99.99 max mean min (also response. service. dispatch. ok. lag. \
    connect. before them), errors, errors.CLASS, timeouts, unsent, rate, requests, cpu";

impl std::str::FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SIGNS: [(&str, Comparison); 5] = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Below),
            (">", Comparison::Above),
        ];
        let found = SIGNS.iter().find_map(|(sign, comparison)| {
            text.split_once(sign).map(|(metric, limit)| (metric.trim(), *comparison, limit.trim()))
        });
        let (metric, comparison, limit) =
            found.ok_or_else(|| format!("`{text}`: METRIC<LIMIT, such as p99<5ms or errors<0.1%"))?;
        let limit = match kind_of(metric).ok_or_else(|| format!("no metric `{metric}`; known: {METRICS}"))? {
            Metric::Us(_) => Metric::Us(units::duration(limit)?.as_nanos() as f64 / 1e3),
            Metric::Share(_) => Metric::Share(units::share(limit)?),
            Metric::Plain(_) => Metric::Plain(if limit == "0" { 0.0 } else { units::rate(limit)? }),
        };
        Ok(Self { metric: metric.to_string(), comparison, limit, text: text.to_string() })
    }
}

/// A metric's unit, known without a document.
fn kind_of(metric: &str) -> Option<Metric> {
    empty().metric(metric)
}

fn empty() -> Document {
    let options = crate::run::Options::default();
    let result = crate::run::Result {
        total: Default::default(),
        rows: Vec::new(),
        started_unix_ms: 0,
        wall: Default::default(),
        measured: Default::default(),
        cpu: Default::default(),
        cpu_share_max: 0.0,
        waited_share_max: 0.0,
        partial: false,
    };
    Document::new(&options, &[], &Default::default(), &result)
}

/// An assertion and its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub holds: bool,
    pub text: String,
}

impl Assertion {
    pub fn judge(&self, document: &Document) -> Judged {
        let number = |metric: Metric| match metric {
            Metric::Us(n) | Metric::Share(n) | Metric::Plain(n) => n,
        };
        let got = document.metric(&self.metric).unwrap_or(Metric::Plain(f64::NAN));
        let (value, limit) = (number(got), number(self.limit));
        let holds = match self.comparison {
            Comparison::Below => value < limit,
            Comparison::AtMost => value <= limit,
            Comparison::Above => value > limit,
            Comparison::AtLeast => value >= limit,
            Comparison::Equal => value == limit,
        };
        let shown = match got {
            Metric::Us(us) => units::show_ns(us * 1e3),
            Metric::Share(share) => format!("{:.4} %", share * 100.0),
            Metric::Plain(n) => format!("{n:.1}"),
        };
        let word = if holds { "holds" } else { "FAILS" };
        Judged { holds, text: format!("{word}  {}  (it is {shown})", self.text) }
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::outcome::{End, Outcome};
    use crate::run::recorder::Sample;

    #[test]
    fn assertions_compare_in_the_unit_of_their_metric() {
        let mut total = crate::run::recorder::Record { answers: 1000, ..Default::default() };
        for n in 0..1000u64 {
            let outcome = if n == 0 { Outcome::Timeout } else { Outcome::Ok };
            let ended_ns = if n == 0 { 1_000_000_000 } else { 1_000_000 };
            let end = End::new(outcome, 200);
            total.add(Sample { intended_ns: 0, started_ns: 0, ended_ns, kind: None, end });
        }
        let result = crate::run::Result {
            total,
            rows: Vec::new(),
            started_unix_ms: 0,
            wall: std::time::Duration::from_secs(1),
            measured: std::time::Duration::from_secs(1),
            cpu: Default::default(),
            cpu_share_max: 0.1,
            waited_share_max: 0.0,
            partial: false,
        };
        let document = Document::new(&Default::default(), &[], &Default::default(), &result);
        let check = |text: &str, expected: bool| {
            let assertion: Result<Assertion, _> = text.parse();
            assert_eq!(assertion.map(|a| a.judge(&document).holds), Ok(expected), "{text}");
        };
        check("p99<1.1ms", true);
        check("p99<1ms", false);
        check("max>=990ms", true);
        check("service.p50<=1.01ms", true);
        check("errors<0.1%", false);
        check("errors<=0.1%", true);
        check("errors.timeout<1%", true);
        check("errors.reset==0", true);
        check("rate>900", true);
        check("requests==1k", true);
        for bad in ["p98<1ms", "p99", "p99<5", "errors<1ms", "errors.nonsense<1%"] {
            assert!(bad.parse::<Assertion>().is_err(), "{bad}");
        }
    }
}
