//! The parts of a request that may be disclosed: the one way from a request to every place that shows it (access log, spans,
//! samples, evidence), without the parts that any mirror of its route redacts. Also its time, as text. The room knows none of
//! these places.

pub mod said;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use config::{Config, Redact, Route};
use time::OffsetDateTime;

use super::record::Record;
use crate::mirror::redact::{REDACTED, Secrets};

pub use said::{Said, Saying};

/// A request's words that may be disclosed.
#[derive(Debug)]
pub struct Disclosed<'r> {
    pub request_id: Cow<'r, str>,
    pub client: Cow<'r, str>,
    pub authority: Cow<'r, str>,
    pub target: Cow<'r, str>,
    pub user_agent: Cow<'r, str>,
    pub referer: Cow<'r, str>,
}

/// The words of `record` that may be disclosed where these are the secrets.
pub fn disclosed<'r>(record: &'r Record, secrets: Option<&Secrets>) -> Disclosed<'r> {
    let Said { request_id, client, authority, target, user_agent, referer } = &record.said;
    let Some(secrets) = secrets else {
        let [request_id, client, authority, target, user_agent, referer] =
            [request_id, client, authority, target, user_agent, referer].map(|text| Cow::Borrowed(&**text));
        return Disclosed { request_id, client, authority, target, user_agent, referer };
    };
    // A value stands in fields by these names, and is told by none of them if one of them may not tell it.
    let of = |fields: &[&str], text: &'r str| {
        if !text.is_empty() && fields.iter().any(|field| secrets.hides_field(field.as_bytes())) {
            return Cow::Borrowed(REDACTED);
        }
        secrets.text(text)
    };
    Disclosed {
        request_id: of(&["x-request-id"], request_id),
        client: of(&["x-forwarded-for", "forwarded", "x-real-ip"], client),
        authority: of(&["x-forwarded-host"], authority),
        target: secrets.uri(target),
        user_agent: of(&["user-agent"], user_agent),
        referer: match secrets.hides_field(b"referer") {
            true => of(&["referer"], referer),
            false => secrets.uri(referer),
        },
    }
}

/// The secrets of these routes: all that any of their mirrors redacts, and all that the access log does.
pub fn secrets<'c>(config: &'c Config, routes: impl IntoIterator<Item = &'c Route>) -> Option<Secrets> {
    Secrets::new(&redacted(config, routes))
}

/// The names of all that.
pub fn redacted<'c>(config: &'c Config, routes: impl IntoIterator<Item = &'c Route>) -> Redact {
    let mut all = Redact::default();
    all.query.extend(config.access_log.iter().flat_map(|log| log.redact.iter().cloned()));
    for Redact { headers, cookies, query, json } in
        routes.into_iter().flat_map(|route| &route.mirrors).map(|mirror| &mirror.redact)
    {
        all.headers.extend_from_slice(headers);
        all.cookies.extend_from_slice(cookies);
        all.query.extend_from_slice(query);
        all.json.extend_from_slice(json);
    }
    for names in [&mut all.headers, &mut all.cookies, &mut all.query, &mut all.json] {
        names.sort_unstable();
        names.dedup();
    }
    all
}

/// Knows the secrets of the configuration that was looked at last.
#[derive(Debug, Default)]
pub struct Discretion(Option<Known>);

#[derive(Debug)]
struct Known {
    config: Arc<Config>,
    by_route: Vec<Option<Secrets>>,
    /// Of a request without a route: every route's secrets.
    elsewhere: Option<Secrets>,
}

impl Known {
    fn of(config: &Arc<Config>) -> Self {
        let by_route = config.routes.iter().map(|route| secrets(config, [route])).collect();
        let elsewhere = secrets(config, &config.routes);
        Self { config: Arc::clone(config), by_route, elsewhere }
    }
}

impl Discretion {
    /// The words of `record` that may be disclosed.
    pub fn of<'r>(&mut self, record: &'r Record) -> Disclosed<'r> {
        let known = match &mut self.0 {
            Some(known) if Arc::ptr_eq(&known.config, &record.config) => known,
            other => other.insert(Known::of(&record.config)),
        };
        let secrets = match record.route {
            Some(route) => known.by_route.get(route).and_then(Option::as_ref),
            None => known.elsewhere.as_ref(),
        };
        disclosed(record, secrets)
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

/// The time in UTC. A time beyond the calendar becomes the Unix epoch.
fn utc(at: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ns(at))).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{DropReason, FailReason};
    use crate::observe::record::{CopyEnd, CopyLeg, PrimaryLeg, Trace};

    pub(in crate::observe) const SAYING: Saying<'static> = Saying {
        request_id: "id-1",
        client: "192.0.2.7",
        authority: "shop.example:8080",
        target: "/cart?user=7&token=SECRET",
        user_agent: "curl/8",
        referer: "http://shop.example/?token=SECRET",
    };

    /// An exchange at a known time on a route with two mirrors, in a configuration that `sections` adds to.
    pub(crate) fn record(sections: &str) -> Record {
        let text = format!(
            "{sections}\n[upstream.v1]\nendpoints = [\"10.0.0.1:80\"]\n[upstream.v2]\nendpoints = [\"10.0.0.2:80\"]\n\
             [[route]]\nname = \"shop\"\nprimary = \"v1\"\n\
             mirrors = [{{ upstream = \"v2\" }}, {{ upstream = \"v2\", name = \"v3\", redact = {{ query = [\"token\"] }} }}]\n"
        );
        let config = Arc::new(Arc::new(config::parse("t", &text).unwrap().config));
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
            request: None,
        };
        Record {
            config,
            route: Some(0),
            started: UNIX_EPOCH + Duration::from_micros(1_763_913_600_123_456),
            started_us: 7_000,
            forwarded_us: Some(400),
            said: SAYING.into(),
            trace: Trace {
                trace_id: [1; 16],
                parent: Some([2; 8]),
                span: [3; 8],
                primary_span: [9; 8],
                is_sampled: true,
            },
            is_logged: true,
            method: "GET".into(),
            scheme: Default::default(),
            version: Default::default(),
            status: Some(200),
            reject: None,
            is_aborted: false,
            request_bytes: 3,
            response_bytes: 5,
            duration_us: 2_500,
            primary: Some(PrimaryLeg {
                primary: 0,
                endpoint: Some(([10, 0, 0, 1], 80_u16).into()),
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
                copy(1, CopyEnd::Failed(FailReason::Timeout), 200, 5_000_000),
                copy(1, CopyEnd::Dropped(DropReason::RingBytes), 0, 0),
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
            let of = discretion.of(&record);
            assert_eq!(of.target, expect);
            assert!(!of.referer.contains("SECRET"));
            assert_eq!(of.user_agent, "curl/8");
        }
    }

    #[test]
    fn a_value_of_a_redacted_field_is_told_under_none_of_its_names() {
        let rows = [
            ("user-agent", "curl/8"),
            ("x-request-id", "id-1"),
            ("referer", "http://shop.example/"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "shop.example:8080"),
        ];
        let record = record("");
        for (name, value) in rows {
            let redact = Redact { headers: vec![name.into()], ..Redact::default() };
            let all = |secrets: Option<&Secrets>| {
                let Disclosed { request_id, client, authority, target: _, user_agent, referer } =
                    disclosed(&record, secrets);
                [request_id, client, authority, user_agent, referer].join(" ")
            };
            assert!(all(None).contains(value));
            let secret = all(Secrets::new(&redact).as_ref());
            let referer_of_the_same_host = name == "x-forwarded-host";
            assert!(
                !secret.contains(value) && secret.contains(REDACTED) || referer_of_the_same_host,
                "{secret}"
            );
        }
        assert!(!format!("{record:?}").contains("id-1"), "nor is it told by accident");
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
