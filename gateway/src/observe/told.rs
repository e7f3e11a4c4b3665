//! What may be told of a request: its target and its referer without the secrets of their queries. And when it happened, as
//! text. It knows no place where anything is told.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use config::{AccessLog, Config, Redact, Route};
use time::OffsetDateTime;

use super::record::Record;
use crate::mirror::redact::Secrets;

/// Knows the secrets of the configuration that was looked at last.
#[derive(Debug, Default)]
pub struct Discretion(Option<Known>);

#[derive(Debug)]
struct Known {
    config: Arc<Config>,
    by_route: Vec<Option<Secrets>>,
    /// Of a request without a route: whatever is secret anywhere.
    elsewhere: Option<Secrets>,
}

impl Known {
    fn of(config: &Arc<Config>) -> Self {
        let by_route = config.routes.iter().map(|route| secrets(config, [route])).collect();
        let elsewhere = secrets(config, &config.routes);
        Self { config: Arc::clone(config), by_route, elsewhere }
    }
}

/// The parameters that any mirror of these routes redacts, and those that the log does.
fn secrets<'c>(config: &'c Config, routes: impl IntoIterator<Item = &'c Route>) -> Option<Secrets> {
    let of_mirrors = routes.into_iter().flat_map(|route| &route.mirrors).flat_map(|m| &m.redact.query);
    let own = config.access_log.iter().flat_map(|AccessLog { redact, .. }| redact);
    let names: BTreeSet<&String> = of_mirrors.chain(own).collect();
    Secrets::new(&Redact { query: names.into_iter().cloned().collect(), ..Redact::default() })
}

impl Discretion {
    /// What may be told of `text`, a part of `record` with a query at its end.
    pub fn of<'r>(&mut self, record: &Record, text: &'r str) -> Cow<'r, str> {
        if !text.contains('?') {
            return Cow::Borrowed(text);
        }
        let known = match &mut self.0 {
            Some(known) if Arc::ptr_eq(&known.config, &record.config) => known,
            other => other.insert(Known::of(&record.config)),
        };
        let secrets = match record.route {
            Some(route) => known.by_route.get(route).and_then(Option::as_ref),
            None => known.elsewhere.as_ref(),
        };
        let Some(secrets) = secrets else { return Cow::Borrowed(text) };
        let mut out = Vec::with_capacity(text.len());
        secrets.target(&mut out, text.as_bytes());
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }
}

/// Path, and query where there is one.
pub fn path_and_query(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

/// RFC 3339 with microseconds, in UTC.
pub fn rfc3339(at: SystemTime) -> String {
    let at = utc(at);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}

/// As Apache writes it, in UTC: `10/Oct/2000:13:55:36 +0000`.
pub fn apache_time(at: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = utc(at);
    let month = MONTHS.get(usize::from(u8::from(at.month())) - 1).copied().unwrap_or_default();
    format!(
        "{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000",
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// Nanoseconds since 1970.
pub fn unix_ns(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A clock that was set beyond what a calendar has stands at its beginning.
fn utc(at: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ns(at))).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Drop as Dropped, Fail};
    use crate::observe::record::{CopyEnd, CopyLeg, PrimaryLeg, Trace};

    /// An exchange at a known time on a route with two mirrors, in a configuration that `sections` adds to.
    pub(in crate::observe) fn record(sections: &str) -> Record {
        let text = format!(
            "{sections}\n[upstream.v1]\nendpoints = [\"10.0.0.1:80\"]\n[upstream.v2]\nendpoints = [\"10.0.0.2:80\"]\n\
             [[route]]\nname = \"shop\"\nprimary = \"v1\"\n\
             mirrors = [{{ upstream = \"v2\" }}, {{ upstream = \"v2\", name = \"v3\", redact = {{ query = [\"token\"] }} }}]\n"
        );
        let config = Arc::new(config::parse("t", &text).unwrap().config);
        let copy = |mirror, end, lag_us, latency_us| CopyLeg {
            mirror,
            number: 0,
            span: [4 + mirror as u8; 8],
            end,
            lag_us,
            latency_us,
            response_bytes: 0,
            compares: false,
            answer: None,
        };
        Record {
            config,
            route: Some(0),
            started: UNIX_EPOCH + Duration::from_micros(1_763_913_600_123_456),
            started_us: 7_000,
            forwarded_us: Some(400),
            request_id: "id-1".into(),
            trace: Trace {
                trace_id: [1; 16],
                parent: Some([2; 8]),
                span: [3; 8],
                primary_span: [9; 8],
                is_sampled: true,
            },
            is_logged: true,
            client: "192.0.2.7".into(),
            method: "GET".into(),
            scheme: Default::default(),
            authority: "shop.example:8080".into(),
            target: "/cart?user=7&token=SECRET".into(),
            minor: 1,
            user_agent: "curl/8".into(),
            referer: "http://shop.example/?token=SECRET".into(),
            status: Some(200),
            reject: None,
            is_aborted: false,
            request_bytes: 3,
            response_bytes: 5,
            duration_us: 2_500,
            primary: Some(PrimaryLeg {
                primary: 0,
                endpoint: Some(([10, 0, 0, 1], 80).into()),
                attempts: 2,
                status: Some(200),
                is_whole: true,
                is_retried: false,
                latency_us: 2_000,
                response_bytes: 5,
                answer: None,
            }),
            copies: vec![
                copy(0, CopyEnd::Completed(500), 100, 3_000),
                copy(1, CopyEnd::Failed(Fail::Timeout), 200, 5_000_000),
                copy(1, CopyEnd::Dropped(Dropped::RingBytes), 0, 0),
            ],
        }
    }

    #[test]
    fn secrets_of_a_route_are_those_of_its_mirrors_and_of_the_log() {
        let log = "[access_log]\nto = \"stdout\"\nredact = [\"user\"]";
        let rows = [
            ("", Some(0), "/cart?user=7&token=%5Bredacted%5D"),
            (log, Some(0), "/cart?user=%5Bredacted%5D&token=%5Bredacted%5D"),
            (log, None, "/cart?user=%5Bredacted%5D&token=%5Bredacted%5D"),
            ("", None, "/cart?user=7&token=%5Bredacted%5D"),
        ];
        let mut discretion = Discretion::default();
        for (sections, route, expect) in rows {
            let record = Record { route, ..record(sections) };
            assert_eq!(discretion.of(&record, &record.target), expect);
            assert!(!discretion.of(&record, &record.referer).contains("SECRET"));
            assert_eq!(discretion.of(&record, "/token=kept"), "/token=kept");
        }
    }

    #[test]
    fn an_instant_is_written_as_each_reader_expects_it() {
        let at = |s: u64, us: u64| UNIX_EPOCH + Duration::from_micros(s * 1_000_000 + us);
        let rows = [
            (at(0, 0), "1970-01-01T00:00:00.000000Z", "01/Jan/1970:00:00:00 +0000"),
            (at(951_782_399, 999_999), "2000-02-28T23:59:59.999999Z", "28/Feb/2000:23:59:59 +0000"),
            (at(951_782_400, 1), "2000-02-29T00:00:00.000001Z", "29/Feb/2000:00:00:00 +0000"),
            (at(4_102_444_799, 0), "2099-12-31T23:59:59.000000Z", "31/Dec/2099:23:59:59 +0000"),
        ];
        for (at, rfc, apache) in rows {
            assert_eq!((rfc3339(at).as_str(), apache_time(at).as_str()), (rfc, apache));
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000Z");
    }
}
