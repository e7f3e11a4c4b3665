//! A line of an access log as a request: Umbra's own, other JSON Lines, and the combined format of Apache and nginx. Pure.

use serde::Deserialize;

use super::Recorded;

/// `ts` or `time` (Unix seconds to nanoseconds, or RFC 3339), `method`, and `target` or `path` with `query`.
#[derive(Deserialize)]
struct JsonLine {
    #[serde(alias = "time")]
    ts: serde_json::Value,
    method: String,
    #[serde(alias = "uri", alias = "path")]
    target: String,
    query: Option<String>,
    authority: Option<String>,
    user_agent: Option<String>,
    referer: Option<String>,
    request_id: Option<String>,
}

/// `None` where the line is no request.
pub(super) fn parse(line: &str) -> Option<Recorded> {
    let recorded = if line.starts_with('{') { json(line) } else { combined(line) };
    recorded.filter(Recorded::is_request)
}

fn json(line: &str) -> Option<Recorded> {
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
    let target = match line.query {
        Some(query) => format!("{}?{query}", line.target),
        None => line.target,
    };
    let said = [
        ("Host", line.authority),
        ("User-Agent", line.user_agent),
        ("Referer", line.referer),
        ("X-Request-Id", line.request_id),
    ];
    let headers = said.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect();
    Some(Recorded { at_ns, method: line.method, target, headers, body: Vec::new() })
}

/// `1.2.3.4 - - [23/Nov/2026:07:43:32 +0000] "GET /a HTTP/1.1" 200 …`
fn combined(line: &str) -> Option<Recorded> {
    let (_, rest) = line.split_once('[')?;
    let (time, rest) = rest.split_once(']')?;
    let request = rest.split('"').nth(1)?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (method, target) = (method.to_string(), target.to_string());
    Some(Recorded { at_ns: combined_ns(time)?, method, target, headers: Vec::new(), body: Vec::new() })
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

pub(super) fn rfc3339_ns(text: &str) -> Option<i128> {
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

    fn all(log: &str) -> Vec<Recorded> {
        log.lines().filter_map(parse).collect()
    }

    #[test]
    fn combined_lines_become_requests_with_their_times() {
        let log = "\
1.2.3.4 - - [23/Nov/2026:07:43:32 +0000] \"GET /a?x=1 HTTP/1.1\" 200 5 \"-\" \"curl/8\"
1.2.3.4 - - [23/Nov/2026:08:43:34 +0100] \"POST /b HTTP/1.1\" 201 0 \"-\" \"x\"
not a line
1.2.3.4 - - [23/Nov/2026:07:43:33 +0000] \"\\x16\\x03\" 400 0 \"-\" \"-\"
";
        let got = all(log);
        let what: Vec<_> = got.iter().map(|r| (r.method.as_str(), r.target.as_str())).collect();
        assert_eq!(what, [("GET", "/a?x=1"), ("POST", "/b")]);
        assert_eq!(got[1].at_ns - got[0].at_ns, 2_000_000_000);
    }

    #[test]
    fn json_lines_know_seconds_milliseconds_and_rfc_3339() {
        let log = r#"{"ts":1795419812.25,"method":"GET","target":"/s"}
{"ts":1795419812500,"method":"GET","target":"/ms"}
{"ts":"2026-11-23T07:43:33.250Z","method":"GET","target":"/text","status":200}
{"other":1}"#;
        let got = all(log);
        let after: Vec<i128> = got.iter().map(|r| (r.at_ns - got[0].at_ns) / 1_000_000).collect();
        assert_eq!(after, [0, 250, 1000]);
    }

    #[test]
    fn a_line_of_the_gateways_own_log_keeps_its_host_query_and_id() {
        let line = r#"{"time":"2026-11-23T16:00:00.123456Z","request_id":"r-7","method":"GET","authority":"shop.example","path":"/cart","query":"user=7","user_agent":"curl/8","referer":null,"status":200}"#;
        let got = parse(line).expect("a request");
        assert_eq!(got.target, "/cart?user=7");
        let headers: Vec<_> = got.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(headers, [("Host", "shop.example"), ("User-Agent", "curl/8"), ("X-Request-Id", "r-7")]);
    }

    #[test]
    fn civil_dates_become_unix_time() {
        assert_eq!(unix_ns(1970, 1, 1, "00:00:00", "Z"), Some(0));
        assert_eq!(unix_ns(2000, 2, 29, "12:00:00", "Z"), Some(951_825_600_000_000_000));
    }
}
