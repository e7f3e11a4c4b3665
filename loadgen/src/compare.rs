//! `loadgen compare`: two runs' whole histograms side by side, and whether the second is worse than allowed. Runs nothing.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::report::document::Document;
use crate::report::html;
use crate::run::recorder::Times;
use crate::{Exit, units};

/// `p99=5%`: this percentile may grow by this share.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxRegress {
    pub metric: String,
    pub share: f64,
}

impl std::str::FromStr for MaxRegress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (metric, share) =
            text.split_once('=').ok_or_else(|| format!("`{text}`: METRIC=SHARE, such as p99=5%"))?;
        let metric = metric.trim().to_string();
        if quantile(&metric).is_none() && !matches!(metric.as_str(), "mean" | "max") {
            return Err(format!("`{metric}`: p50, p99, p99.9, …, mean or max"));
        }
        Ok(Self { metric, share: units::share(share.trim())? })
    }
}

/// `p99.9` → 0.999; `median` is p50.
fn quantile(metric: &str) -> Option<f64> {
    let number = if metric == "median" { "50" } else { metric.strip_prefix('p')? };
    let percent: f64 = number.replace('_', ".").parse().ok()?;
    (0.0..100.0).contains(&percent).then_some(percent / 100.0)
}

pub fn value_ns(times: &Times, metric: &str) -> f64 {
    match (metric, quantile(metric)) {
        (_, Some(q)) => times.value_at_quantile(q) as f64,
        ("max", _) => times.max() as f64,
        _ => times.mean(),
    }
}

/// Where a quantile of `times` lies with 95 % confidence, if its samples were independent: the values at the ranks
/// n·q ± 1.96·√(n·q·(1−q)).
fn confidence_ns(times: &Times, q: f64) -> (f64, f64) {
    let n = times.len() as f64;
    let spread = 1.96 * (n * q * (1.0 - q)).sqrt();
    let at = |rank: f64| times.value_at_quantile((rank / n.max(1.0)).clamp(0.0, 1.0)) as f64;
    (at(n * q - spread), at(n * q + spread))
}

/// The largest vertical distance between the two distributions (Kolmogorov and Smirnov), 0 to 1.
pub fn distance(a: &Times, b: &Times) -> f64 {
    let at = |times: &Times, value: u64| times.quantile_below(value);
    let values = a.iter_recorded().chain(b.iter_recorded()).map(|step| step.value_iterated_to());
    values.map(|value| (at(a, value) - at(b, value)).abs()).fold(0.0, f64::max)
}

pub struct Comparison {
    pub text: String,
    pub regressed: bool,
}

/// Compares one series. `limits` decide; the rest informs.
pub fn compare(a: &Times, b: &Times, limits: &[MaxRegress]) -> Comparison {
    let mut text = String::new();
    let show = units::show_ns;
    let _ = writeln!(text, "{:<9}{:>11}{:>11}{:>10}   95 % of A / of B", "", "A", "B", "change");
    let mut metrics: Vec<&str> = vec!["mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    metrics.extend(limits.iter().map(|l| l.metric.as_str()).filter(|m| quantile(m).is_some()));
    let mut seen = Vec::new();
    for metric in metrics {
        if seen.contains(&metric) {
            continue;
        }
        seen.push(metric);
        let (of_a, of_b) = (value_ns(a, metric), value_ns(b, metric));
        let _ = write!(text, "{metric:<9}{:>11}{:>11}{:>10}", show(of_a), show(of_b), change(of_a, of_b));
        if let Some(q) = quantile(metric) {
            let ((a0, a1), (b0, b1)) = (confidence_ns(a, q), confidence_ns(b, q));
            let same = if a0 <= b1 && b0 <= a1 { "  (may be the same)" } else { "" };
            let _ = write!(text, "   {}…{} / {}…{}{same}", show(a0), show(a1), show(b0), show(b1));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "largest distance of the distributions: {:.3}", distance(a, b));
    let mut regressed = false;
    for limit in limits {
        let (of_a, of_b) = (value_ns(a, &limit.metric), value_ns(b, &limit.metric));
        let holds = of_b <= of_a * (1.0 + limit.share);
        regressed |= !holds;
        let word = if holds { "holds" } else { "FAILS" };
        let allowed = limit.share * 100.0;
        let _ = writeln!(text, "{word}  {} may grow by {allowed} %: {}", limit.metric, change(of_a, of_b));
    }
    Comparison { text, regressed }
}

fn change(a: f64, b: f64) -> String {
    if a > 0.0 { format!("{:+.1} %", (b / a - 1.0) * 100.0) } else { "–".to_string() }
}

#[derive(clap::Args)]
pub struct CompareArgs {
    /// Two or more `--json` files; the first is what the others are compared with
    #[arg(required = true, num_args = 2..)]
    pub files: Vec<PathBuf>,
    /// `p99=5%`: exit code 3 if the later run's p99 is more than 5 % above the first one's
    #[arg(long, value_name = "LIMIT")]
    pub max_regress: Vec<MaxRegress>,
    /// response, service, dispatch or ok
    #[arg(long, default_value = "response")]
    pub series: String,
    /// All runs in one page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

pub fn run(args: &CompareArgs) -> anyhow::Result<Exit> {
    let mut runs = Vec::new();
    for path in &args.files {
        runs.push((path.display().to_string(), Document::read(path)?));
    }
    let key = format!("{}_ns", args.series);
    let times = |(name, document): &(String, Document)| {
        document.histogram(&key).with_context(|| format!("{name} has no series `{}`", args.series))
    };
    let base = times(&runs[0])?;
    let mut regressed = false;
    for run in &runs[1..] {
        println!("A {}\nB {}\n{} times", runs[0].0, run.0, args.series);
        for ((name, before), (_, after)) in [(&runs[0], run)].map(|(a, b)| ((&a.0, &a.1), (&b.0, &b.1))) {
            if before.config.rate != after.config.rate
                || before.config.connections != after.config.connections
            {
                println!("note: {name} had another rate or number of connections");
            }
        }
        let comparison = compare(&base, &times(run)?, &args.max_regress);
        println!("{}", comparison.text);
        regressed |= comparison.regressed;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, html::render("loadgen compare", &runs))
            .with_context(|| path.display().to_string())?;
    }
    let saturated: Vec<&str> =
        runs.iter().filter(|(_, d)| !d.verdict.is_valid()).map(|(name, _)| name.as_str()).collect();
    if !saturated.is_empty() {
        println!("SATURATED or BUSY, so this comparison proves nothing: {}", saturated.join(", "));
        return Ok(Exit::Saturated);
    }
    Ok(if regressed { Exit::Assertion } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::recorder::times;

    fn spread(scale: u64) -> Times {
        let mut all = times();
        (1..=10_000u64).for_each(|n| all.saturating_record(n * scale));
        all
    }

    #[test]
    fn a_regression_beyond_the_limit_fails_and_one_within_holds() {
        let limit = |text: &str| text.parse::<MaxRegress>().map_or_else(|_| Vec::new(), |l| vec![l]);
        let (a, b) = (spread(1000), spread(1100));
        assert!(compare(&a, &b, &limit("p99=5%")).regressed);
        assert!(!compare(&a, &b, &limit("p99=11%")).regressed);
        assert!(!compare(&b, &a, &limit("p99=0%")).regressed);
        assert!(compare(&a, &b, &limit("mean=5%")).regressed);
        assert!("p101=5%".parse::<MaxRegress>().is_err());
        assert!("p99".parse::<MaxRegress>().is_err());
    }

    #[test]
    fn equal_distributions_have_no_distance() {
        assert!(distance(&spread(1000), &spread(1000)) < 1e-9);
        assert!((distance(&spread(1000), &spread(2000)) - 0.5).abs() < 0.01);
    }
}
