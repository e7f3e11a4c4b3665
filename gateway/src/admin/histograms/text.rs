//! Distributions in the two formats that HdrHistogram's own tools read. Pure.

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram as Merged;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use super::series::Key;
use super::windows::Window;
use crate::metrics::Slots;

/// Lines of percentiles for each halving of the distance to the end, as HdrHistogram's own tools have it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Tools take logged values for nanoseconds.
const NS_PER_US: u64 = 1000;

/// Milliseconds by percentile, as HdrHistogram's `outputPercentileDistribution` writes it; its plotters read one at a time.
pub(super) fn percentiles(key: &Key, all: &Merged<u64>) -> String {
    let mut out = format!("#[{} of {}, milliseconds]\n", key.name.text(), key.owner());
    let _ = writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let ms = |us: f64| us / 1e3;
    let mut seen = 0;
    for step in all.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        seen += step.count_since_last_iteration();
        let (value, quantile) = (ms(step.value_iterated_to() as f64), step.quantile_iterated_to());
        let _ = if quantile < 1.0 {
            writeln!(out, "{value:>12.3} {quantile:>2.12} {seen:>10} {:>14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(out, "{value:>12.3} {quantile:>2.12} {seen:>10}")
        };
    }
    let _ =
        writeln!(out, "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]", ms(all.mean()), ms(all.stdev()));
    let _ = writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", ms(all.max() as f64), all.len());
    out
}

/// An interval log, version 1.3: a line for each series of each window, tagged with its name and owner, values in
/// nanoseconds. Times are counted from the first window.
pub(super) fn log<'a>(windows: impl Iterator<Item = &'a Window>, is_wanted: impl Fn(&Key) -> bool) -> String {
    let mut windows = windows.peekable();
    let start = windows.peek().map_or(Duration::ZERO, |first| first.from);
    let mut out = format!(
        "#[Histogram log format version 1.3]\n\
         #[logged by Umbra {}; values in nanoseconds]\n\
         #[StartTime: {:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        env!("CARGO_PKG_VERSION"),
        start.as_secs_f64()
    );
    for window in windows {
        for (key, slots) in window.series.iter().filter(|(key, _)| is_wanted(key)) {
            let Some((encoded, max)) = encoded(slots) else { continue };
            let (from, length) =
                (window.from.saturating_sub(start).as_secs_f64(), window.length.as_secs_f64());
            let max_ms = max as f64 / 1e6;
            let _ = writeln!(out, "Tag={},{from:.3},{length:.3},{max_ms:.3},{encoded}", tag(key));
        }
    }
    out
}

/// A tag ends at the first comma, and a line at white space.
fn tag(key: &Key) -> String {
    let text = format!("{}/{}", key.name.text(), key.owner());
    text.chars().map(|c| if c == ',' || c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

/// HdrHistogram V2, compressed, base64, and the largest value in nanoseconds.
fn encoded(slots: &Slots) -> Option<(String, u64)> {
    let mut all = Merged::<u64>::new(crate::metrics::DIGITS + 1).ok()?;
    // Values lie anywhere in their slot: its middle stands for them.
    let of = slots.merged();
    for (value, n) in slots.iter() {
        let middle = of.median_equivalent(value).saturating_mul(NS_PER_US);
        all.record_n(middle, n).ok()?;
    }
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(&all, &mut bytes).ok()?;
    Some((STANDARD.encode(bytes), all.max()))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::super::series::Name;
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn a_log_is_read_back_by_the_crates_own_reader() {
        let times = Histogram::default();
        (1..=1000).for_each(|n| times.record(n * 1000));
        let key =
            Key { name: Name::Mirror, route: "a b,c".into(), upstream: None, mirror: Some("v2".into()) };
        let window = |from| Window {
            from: Duration::from_secs(from),
            length: Duration::from_secs(10),
            series: vec![(key.clone(), Slots::of([&times]))],
        };
        let windows = [window(1_000), window(1_010)];
        let text = log(windows.iter(), |_| true);
        let mut starts = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            assert_eq!(interval.tag().map(|tag| tag.as_str()), Some("mirror/a_b_c_v2"));
            starts.push(interval.start_timestamp().as_secs());
            let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
            let read: Merged<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            assert_eq!(read.len(), 1000);
            let p90 = read.value_at_quantile(0.9) as f64;
            assert!((p90 / 900e6 - 1.0).abs() < 0.01, "{p90}");
        }
        assert_eq!(starts, [0, 10]);
        assert!(!log(windows.iter(), |key| key.name == Name::Lag).contains("Tag="));
    }

    #[test]
    fn percentiles_end_with_the_largest_and_the_count() {
        let times = Histogram::default();
        [1_000, 3_000].iter().for_each(|value| times.record(*value));
        let key = Key { name: Name::Mirror, route: "all".into(), upstream: None, mirror: Some("v2".into()) };
        let text = percentiles(&key, &Slots::of([&times]).merged());
        assert!(text.contains("#[mirror of all v2, milliseconds]\n"), "{text}");
        let last = |line: &str| line.trim_start().starts_with("3.0") && line.contains("1.000000000000");
        assert!(text.lines().any(last), "{text}");
        assert!(text.ends_with("Total count    =            2]\n"), "{text}");
    }
}
