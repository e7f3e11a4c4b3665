//! `loadgen find-max`: the highest rate that keeps a promise, found by steps, each a whole run. Measures nothing itself.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::args::LoadArgs;
use crate::report::assertion::Assertion;
use crate::report::document::Document;
use crate::run::schedule::RateSpec;
use crate::run::verdict::CPU_SHARE_MAX;
use crate::run::{self, Options};
use crate::{Exit, load, units};

#[derive(clap::Args)]
pub struct FindMaxArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    /// Objective that must hold, such as `p99<10ms`; repeatable
    #[arg(long = "slo", value_name = "ASSERTION", required = true)]
    pub slos: Vec<Assertion>,
    /// First rate tried
    #[arg(long, default_value = "1k", value_parser = units::rate)]
    pub start: f64,
    /// No rate above this is tried
    #[arg(long, default_value = "1M", value_parser = units::rate)]
    pub limit: f64,
    /// Length of each step
    #[arg(long, default_value = "3s", value_parser = units::duration)]
    pub step: Duration,
    /// Beginning of each step that is not measured
    #[arg(long, default_value = "500ms", value_parser = units::duration)]
    pub warm_up: Duration,
    /// Stop when the answer is known this closely
    #[arg(long, default_value = "5%", value_parser = units::share)]
    pub precision: f64,
}

/// Why a step was the end of the road.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Holds,
    Breaks,
    /// The generator was the limit, late by so many microseconds at its p99.
    Saturated {
        lag_us: f64,
    },
}

/// The highest rate that held, and the lowest that did not, with why.
pub type Bracket = (Option<f64>, Option<(f64, Step)>);

/// If the generator itself is the limit, its lag at a quarter of the rate is less than this share of that before.
const LAG_SHARE_MAX: f64 = 0.75;

/// Doubles until a step does not hold, then halves the gap. Ends where the generator is late at any rate: lower rates prove
/// nothing then. Pure: `try_rate` does the work.
pub fn search(
    start: f64,
    limit: f64,
    precision: f64,
    mut try_rate: impl FnMut(f64) -> anyhow::Result<Option<Step>>,
) -> anyhow::Result<Bracket> {
    let (mut low, mut high) = (None::<f64>, None::<(f64, Step)>);
    let mut rate = start.min(limit);
    loop {
        let before = high;
        match try_rate(rate)? {
            None => return Ok((low, high)),
            Some(Step::Holds) => low = Some(rate),
            Some(step) => high = Some((rate, step)),
        }
        if let (None, Some((_, Step::Saturated { lag_us: before })), Some((_, Step::Saturated { lag_us }))) =
            (low, before, high)
            && lag_us > before * LAG_SHARE_MAX
        {
            break;
        }
        rate = match (low, high) {
            (Some(low), Some((high, _))) if high / low <= 1.0 + precision => break,
            (Some(low), Some((high, _))) => (low * high).sqrt(),
            (Some(low), None) if low >= limit => break,
            (Some(low), None) => (low * 2.0).min(limit),
            // Below one request in ten seconds there is nothing to find.
            (None, _) if rate < 0.1 => break,
            (None, _) => rate / 4.0,
        };
    }
    Ok((low, high))
}

pub fn run(args: &FindMaxArgs) -> anyhow::Result<Exit> {
    let mix = Arc::new(load::mix(&args.load)?);
    let interrupted = load::interruptible()?;
    println!("{:>12} {:>12} {:>10} {:>10} {:>9}  result", "asked/s", "answered/s", "p50", "p99", "errors");
    let found = search(args.start, args.limit, args.precision, |rate| {
        let options = Options {
            rate: Some(RateSpec::constant(rate)),
            duration: args.step + args.warm_up,
            warm_up: args.warm_up,
            // A target that is overrun needs no long farewell.
            drain: args.load.drain.unwrap_or(Duration::from_secs(1)),
            ..load::options(&args.load)
        };
        let result = run::execute(&options, &mix, &mut (), &interrupted)?;
        if interrupted.load(Relaxed) {
            return Ok(None);
        }
        let document = Document::new(&options, &load::urls(&args.load), &mix, &result);
        let (step, why) = judge(&document, &args.slos, options.lag_max + options.pace_slack);
        println!(
            "{rate:>12.1} {:>12.1} {:>10} {:>10} {:>8.3}%  {why}",
            document.achieved_rate,
            units::show_ns(document.response_us.p50 * 1e3),
            units::show_ns(document.response_us.p99 * 1e3),
            document.error_rate * 100.0,
        );
        Ok(Some(step))
    });
    let (low, high) = found?;
    if interrupted.load(Relaxed) {
        return Ok(Exit::Interrupted);
    }
    Ok(match (low, high) {
        (None, Some((rate, Step::Saturated { lag_us }))) => {
            println!(
                "verdict    SATURATED: at {rate:.1}/s this generator is still late by {}, and asking less does not help; find out \
                 what else runs here, or send from another machine",
                units::show_ns(lag_us * 1e3)
            );
            Exit::Saturated
        }
        (None, _) => {
            println!("verdict    no rate tried keeps the promise");
            Exit::Assertion
        }
        (Some(low), Some((high, Step::Saturated { .. }))) => {
            println!(
                "verdict    SATURATED: {low:.1}/s holds; at {high:.1}/s the generator was the limit, not the target"
            );
            Exit::Saturated
        }
        (Some(low), Some((high, _))) => {
            println!("verdict    {low:.1}/s holds, {high:.1}/s does not");
            Exit::Ok
        }
        (Some(low), None) => {
            println!("verdict    {low:.1}/s holds, which is the limit of what was tried");
            Exit::Ok
        }
    })
}

fn judge(document: &Document, slos: &[Assertion], lag_max: Duration) -> (Step, String) {
    let failed: Vec<String> =
        slos.iter().map(|slo| slo.judge(document)).filter(|j| !j.holds).map(|j| j.text).collect();
    // An overrun target leaves requests unsent too: the generator is to blame only if it was late itself.
    let own_fault =
        document.lag_us.p99 > lag_max.as_nanos() as f64 / 1e3 || document.cpu.share_max > CPU_SHARE_MAX;
    if !document.verdict.is_valid() && own_fault {
        (Step::Saturated { lag_us: document.lag_us.p99 }, document.reasons.join("; "))
    } else if !failed.is_empty() {
        (Step::Breaks, failed.join("; "))
    } else if !document.verdict.is_valid() {
        (Step::Breaks, document.reasons.join("; "))
    } else {
        (Step::Holds, "holds".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(capacity: f64, start: f64) -> Bracket {
        let step = |rate: f64| Ok(Some(if rate <= capacity { Step::Holds } else { Step::Breaks }));
        search(start, 1e6, 0.05, step).unwrap_or((None, None))
    }

    #[test]
    fn the_capacity_is_bracketed_within_the_precision_from_either_side() {
        for (capacity, start) in [(12_345.0, 1000.0), (77.0, 1000.0), (1000.0, 1000.0)] {
            let (low, high) = find(capacity, start);
            let (Some(low), Some((high, Step::Breaks))) = (low, high) else {
                panic!("{capacity}: nothing found")
            };
            assert!(low <= capacity && capacity < high && high / low <= 1.05, "{low} {capacity} {high}");
        }
        assert_eq!(find(1e9, 1000.0), (Some(1e6), None));
        assert_eq!(find(0.0, 10.0).0, None);
    }

    #[test]
    fn a_generator_that_is_late_whatever_the_rate_gives_up_and_one_that_recovers_goes_on() {
        let mut asked = Vec::new();
        let found = search(1000.0, 1e6, 0.05, |rate| {
            asked.push(rate);
            Ok(Some(Step::Saturated { lag_us: 40_000.0 }))
        });
        assert_eq!(asked, [1000.0, 250.0]);
        assert!(matches!(found, Ok((None, Some((_, Step::Saturated { .. }))))), "{found:?}");
        // The lag comes from its own sending: below a hundred a second it keeps up.
        let found = search(6400.0, 1e6, 0.05, |rate| {
            Ok(Some(if rate <= 100.0 { Step::Holds } else { Step::Saturated { lag_us: rate } }))
        });
        let Ok((Some(low), Some((high, Step::Saturated { .. })))) = found else { panic!("{found:?}") };
        assert!(low <= 100.0 && high > 100.0 && high / low <= 1.05, "{low} {high}");
    }
}
