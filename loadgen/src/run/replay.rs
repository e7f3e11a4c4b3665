//! Access logs as requests and their distances in time: nginx's combined format and JSON Lines. Pure.

use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// After the first line of the log.
    pub after_ns: u64,
    pub method: String,
    pub target: String,
}

/// JSON Lines have `ts` (Unix seconds, milliseconds, or RFC 3339), `method` and `target`.
#[derive(Deserialize)]
struct JsonLine {
    ts: serde_json::Value,
    method: String,
    #[serde(alias = "uri", alias = "path")]
    target: String,
}

/// All requests of the log, ordered by time. Lines that are no requests are skipped; a log without any is an error.
pub fn parse(text: &str) -> Result<Vec<Line>, String> {
    let mut found: Vec<(i128, String, String)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let parsed = if line.starts_with('{') { json(line) } else { combined(line) };
        found.extend(parsed.filter(|(_, method, target)| is_request(method, target)));
    }
    // Stable: lines of the same instant keep their order.
    found.sort_by_key(|(at, _, _)| *at);
    let first = found.first().map(|(at, _, _)| *at).ok_or("no line is a request")?;
    Ok(found
        .into_iter()
        .map(|(at, method, target)| Line { after_ns: (at - first) as u64, method, target })
        .collect())
}

fn is_request(method: &str, target: &str) -> bool {
    !method.is_empty()
        && method.bytes().all(|b| b.is_ascii_uppercase())
        && target.starts_with('/')
        && target.bytes().all(|b| b.is_ascii_graphic())
}

fn json(line: &str) -> Option<(i128, String, String)> {
    let line: JsonLine = serde_json::from_str(line).ok()?;
    let at_ns = match &line.ts {
        serde_json::Value::String(text) => rfc3339_ns(text)?,
        number => {
            let value = number.as_f64()?;
            // Seconds until the year 5138, milliseconds, microseconds, nanoseconds.
            let scale = match value {
                v if v < 1e11 => 1e9,
                v if v < 1e14 => 1e6,
                v if v < 1e17 => 1e3,
                _ => 1.0,
            };
            (value * scale) as i128
        }
    };
    Some((at_ns, line.method, line.target))
}

/// `1.2.3.4 - - [23/Nov/2026:07:43:32 +0000] "GET /a HTTP/1.1" 200 …`
fn combined(line: &str) -> Option<(i128, String, String)> {
    let (_, rest) = line.split_once('[')?;
    let (time, rest) = rest.split_once(']')?;
    let request = rest.split('"').nth(1)?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    Some((combined_ns(time)?, method.to_string(), target.to_string()))
}

fn combined_ns(text: &str) -> Option<i128> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (date, rest) = text.split_once(':')?;
    let mut date = date.split('/');
    let (day, month, year) = (date.next()?, date.next()?, date.next()?);
    let month = MONTHS.find(month).filter(|at| at % 3 == 0 && month.len() == 3)? as i64 / 3 + 1;
    let (clock, zone) = rest.split_once(' ')?;
    unix_ns(year.parse().ok()?, month, day.parse().ok()?, clock, zone)
}

fn rfc3339_ns(text: &str) -> Option<i128> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let split = rest.find(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at(split);
    unix_ns(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?, clock, zone)
}

/// From a civil date, `HH:MM:SS[.fraction]` and `Z`, `+0000` or `+00:00`.
fn unix_ns(year: i64, month: i64, day: i64, clock: &str, zone: &str) -> Option<i128> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut parts = clock.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    // Days since 1970 of a Gregorian date, counting years from March (Howard Hinnant's days_from_civil).
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let offset_minutes = match digits.len() {
        0 => 0,
        4 => digits[..2].parse::<i64>().ok()? * 60 + digits[2..].parse::<i64>().ok()?,
        _ => return None,
    };
    let offset_minutes = if zone.starts_with('-') { -offset_minutes } else { offset_minutes };
    let whole = days * 86_400 + hours * 3600 + (minutes - offset_minutes) * 60;
    Some(i128::from(whole) * 1_000_000_000 + (seconds * 1e9) as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combined_lines_become_requests_with_their_distances() {
        let log = "\
1.2.3.4 - - [23/Nov/2026:07:43:32 +0000] \"GET /a?x=1 HTTP/1.1\" 200 5 \"-\" \"curl/8\"
1.2.3.4 - - [23/Nov/2026:08:43:34 +0100] \"POST /b HTTP/1.1\" 201 0 \"-\" \"x\"
not a line
1.2.3.4 - - [23/Nov/2026:07:43:33 +0000] \"\\x16\\x03\" 400 0 \"-\" \"-\"
";
        let got = parse(log).unwrap_or_default();
        let line = |after_s: u64, method: &str, target: &str| Line {
            after_ns: after_s * 1_000_000_000,
            method: method.into(),
            target: target.into(),
        };
        assert_eq!(got, [line(0, "GET", "/a?x=1"), line(2, "POST", "/b")]);
    }

    #[test]
    fn json_lines_know_seconds_milliseconds_and_rfc_3339() {
        let log = r#"{"ts":1795419812.25,"method":"GET","target":"/s"}
{"ts":1795419812500,"method":"GET","target":"/ms"}
{"ts":"2026-11-23T07:43:33.250Z","method":"GET","target":"/text","status":200}
{"other":1}"#;
        let got: Vec<u64> = parse(log).unwrap_or_default().iter().map(|l| l.after_ns / 1_000_000).collect();
        assert_eq!(got, [0, 250, 1000]);
    }

    #[test]
    fn civil_dates_become_unix_time() {
        assert_eq!(unix_ns(1970, 1, 1, "00:00:00", "Z"), Some(0));
        assert_eq!(unix_ns(2000, 2, 29, "12:00:00", "Z"), Some(951_825_600_000_000_000));
        assert!(parse("nothing\nhere").is_err());
    }
}
