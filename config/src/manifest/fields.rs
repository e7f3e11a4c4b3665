//! Types of fields that manifests have and TOML has not.

use std::time::Duration;

use crate::node::Value;
use crate::problem::{Place, Report};
use crate::reader::Read;

/// A field that concerns a cluster, or something that does not change where requests go: read, told, and passed over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ignored;

impl Read for Ignored {
    const WANTED: &'static str = "anything";

    fn read(_: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        report.warn(at, "is ignored: it has no effect here");
        Some(Self)
    }
}

/// A field that names or describes and has no effect anywhere: passed over without a word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Remark;

impl Read for Remark {
    const WANTED: &'static str = "anything";

    fn read(_: &Value, _: &Place, _: &mut Report) -> Option<Self> {
        Some(Self)
    }
}

/// A field that would change how requests are handled, and is not supported.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused;

impl Read for Refused {
    const WANTED: &'static str = "nothing";

    fn read(_: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        report.error(at, "is not supported, and leaving it out would change what becomes of requests");
        None
    }
}

/// A duration as protobuf, Go and the Gateway API (GEP-2257) write it: `5s`, `1.5s`, `1h30m`, `100ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Read for Span {
    const WANTED: &'static str = r#"a duration such as "5s", "1.5s", "100ms" or "1h30m""#;

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        let span = value.text().and_then(span);
        if span.is_none() {
            let given = value.text().map_or_else(|| value.kind().to_owned(), |text| format!("{text:?}"));
            report.error(at, format!("must be {}, not {given}", Self::WANTED));
        }
        span.map(Self)
    }
}

fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut whole = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        let (unit, next) = unit.split_at(letters);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        whole = whole.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_their_writers_mean_them() {
        let rows = [
            ("5s", Some(5_000)),
            ("1.5s", Some(1_500)),
            ("0.25s", Some(250)),
            ("100ms", Some(100)),
            ("1h30m", Some(5_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("5 s", None),
            ("-5s", None),
            ("5d", None),
        ];
        for (text, millis) in rows {
            assert_eq!(span(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }
}
