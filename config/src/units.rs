//! Sizes and durations as people write them: text ⇄ bytes, text ⇄ time. Pure; knows no key and no bound.

use std::time::Duration;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;

/// Largest first, so that the first that divides a size is the one to show it in.
const SIZES: [(&str, u64); 5] = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];
const PERIODS_MS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `"64KiB"` → 65536. `None` for anything but a whole number and one of B, KiB, MiB, GiB, TiB.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// 65536 → `64KiB`; exact.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

/// `"500ms"` → half a second. `None` for anything but a whole number and one of ms, s, m, h.
pub(crate) fn parse_period(text: &str) -> Option<Duration> {
    parse(text, &PERIODS_MS).map(Duration::from_millis)
}

/// Half a second → `500ms`; exact to the millisecond.
pub(crate) fn show_period(period: Duration) -> String {
    show(u64::try_from(period.as_millis()).unwrap_or(u64::MAX), &PERIODS_MS)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ');
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |&&(_, scale): &&(&str, u64)| amount >= scale && amount.is_multiple_of(scale);
    match units.iter().find(fits).or_else(|| units.last()) {
        Some((unit, scale)) => format!("{}{unit}", amount / scale),
        None => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_what_people_write_and_nothing_else() {
        let sizes = [
            ("0B", Some(0)),
            ("1B", Some(1)),
            ("64KiB", Some(65_536)),
            ("32 MiB", Some(33_554_432)),
            ("2GiB", Some(2 * GIB)),
            ("1TiB", Some(TIB)),
            ("16777216TiB", None),
            ("99999999999999999999B", None),
            ("1MB", None),
            ("1mib", None),
            ("1.5MiB", None),
            ("-1KiB", None),
            ("KiB", None),
            ("1", None),
            ("", None),
            ("1KiB ", None),
            ("½KiB", None),
        ];
        for (text, meant) in sizes {
            assert_eq!(parse_size(text), meant, "{text:?}");
        }
        let periods = [
            ("1ms", Some(1)),
            ("500ms", Some(500)),
            ("1s", Some(1_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("18446744073709551615h", None),
            ("1", None),
            ("1.5s", None),
            ("1 d", None),
            ("-1s", None),
            ("s", None),
            ("", None),
        ];
        for (text, meant) in periods {
            assert_eq!(parse_period(text), meant.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_amount() {
        for bytes in [0, 1, 1023, 1024, 1025, 65_536, MIB, 3 * GIB, TIB, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
        for ms in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000] {
            let period = Duration::from_millis(ms);
            assert_eq!(parse_period(&show_period(period)), Some(period));
        }
        assert_eq!((show_size(65_536), show_period(Duration::from_secs(75))), ("64KiB".into(), "75s".into()));
    }
}
