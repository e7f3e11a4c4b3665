//! The course of one route's requests: prepared once from the configuration, asked without waiting. Pure.

mod cors;

use std::borrow::Cow;

use config::{Fault, HeaderEdits, Percent, Retries, RetryOn, UpstreamId};

use crate::asked::RequestView;
use crate::format;
use crate::grpc::{Status, StatusReader};
use crate::http1::edit::{Edits, PathEdit, RequestEdit};
use crate::matcher::{Matched, without_port};
use crate::mirror::sample::Draw;
use crate::random::Random;
use crate::strata::Strata;
use crate::time::Millis;
use cors::{Cors, Met};

/// A route, ready for its requests.
#[derive(Debug)]
pub struct Plan {
    fault: Option<Fault>,
    request_headers: Option<HeaderEdits>,
    response_headers: Option<HeaderEdits>,
    cors: Option<Cors>,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Reply(config::Reply),
}

/// How a route's requests reach its primaries.
#[derive(Debug)]
pub struct Forward {
    primaries: Vec<Primary>,
    /// Of all primaries; not 0 where there are several.
    weights: u64,
    path: Option<PathEdit>,
    host: Option<String>,
    pub retries: Retries,
    /// For the whole exchange.
    pub timeout: Option<Millis>,
    /// For one try's answer to begin.
    pub try_timeout: Option<Millis>,
}

#[derive(Debug)]
struct Primary {
    upstream: Option<UpstreamId>,
    weight: u64,
    request_headers: Option<HeaderEdits>,
    response_headers: Option<HeaderEdits>,
    /// In place of the route's.
    path: Option<PathEdit>,
    host: Option<String>,
    redirect: Option<Redirect>,
}

#[derive(Debug)]
struct Redirect {
    given: config::Redirect,
    path: Option<PathEdit>,
}

/// The action that a request is to meet.
#[derive(Debug)]
pub struct Decision {
    /// To be waited before anything else.
    pub delay: Option<Millis>,
    pub fate: Fate,
    /// The fields that CORS adds to a primary's response.
    pub cors: Option<Box<HeaderEdits>>,
}

#[derive(Debug)]
pub enum Fate {
    /// Index of the primary among the route's.
    Forward(usize),
    Answer(Box<Answer>),
}

/// An answer that the configuration gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub location: Option<Vec<u8>>,
    pub content_type: String,
    pub body: Vec<u8>,
    /// Made to its fields like to a primary's, one after the other.
    pub edits: [Option<HeaderEdits>; 2],
}

impl Answer {
    fn plain(status: u16, text: &str) -> Self {
        let content_type = "text/plain; charset=utf-8".to_owned();
        Self {
            status,
            location: None,
            content_type,
            body: format!("{text}\n").into_bytes(),
            edits: [None, None],
        }
    }
}

fn some(edits: &HeaderEdits) -> Option<HeaderEdits> {
    (!edits.is_empty()).then(|| edits.clone())
}

impl Plan {
    pub fn new(route: &config::Route) -> Self {
        Self {
            fault: (route.fault != Fault::default()).then(|| route.fault.clone()),
            request_headers: some(&route.request_headers),
            response_headers: some(&route.response_headers),
            cors: route.cors.as_ref().map(Cors::new),
            action: match &route.action {
                config::Action::Forward(forward) => Action::Forward(Forward::new(forward)),
                config::Action::Redirect(given) => Action::Redirect(Redirect::new(given)),
                config::Action::Reply(reply) => Action::Reply(reply.clone()),
            },
        }
    }

    /// How its requests are forwarded, if they are.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Reply(_) => None,
        }
    }

    /// Decides one request's fate.
    ///
    /// Primaries have their shares by `draws`, the route's on this worker; faults each by themselves.
    pub fn decide(
        &self,
        asked: &RequestView<'_>,
        matched: Matched,
        draws: &Strata,
        random: &Random,
    ) -> Decision {
        let drawn = |percent: Percent| Draw::of(random).takes(percent);
        let fault = self.fault.as_ref();
        let delay = fault.and_then(|f| f.delay.as_ref()).filter(|d| drawn(d.percent)).map(|d| d.time.into());
        let cors = match self.cors.as_ref().map(|cors| cors.meet(asked)) {
            None => None,
            Some(Met::Fields(fields)) => fields,
            Some(Met::Preflight(answer)) => {
                return Decision { delay, fate: Fate::Answer(answer), cors: None };
            }
        };
        let (answer, own) =
            if let Some(abort) = fault.and_then(|f| f.abort.as_ref()).filter(|a| drawn(a.percent)) {
                (Answer::plain(abort.status, "fault filter abort"), &None)
            } else {
                match &self.action {
                    Action::Forward(forward) => {
                        let primary = forward.choose(draws, random);
                        let Some((redirect, own)) = forward.redirects(primary) else {
                            return Decision { delay, fate: Fate::Forward(primary), cors };
                        };
                        (redirect.answer(asked, matched), own)
                    }
                    Action::Redirect(redirect) => (redirect.answer(asked, matched), &self.response_headers),
                    Action::Reply(reply) => {
                        let answer = Answer {
                            status: reply.status,
                            location: None,
                            content_type: reply.content_type.clone(),
                            body: reply.body.clone().into_bytes(),
                            edits: [None, None],
                        };
                        (answer, &self.response_headers)
                    }
                }
            };
        let edits = [own.clone(), cors.map(|fields| *fields)];
        Decision { delay, fate: Fate::Answer(Box::new(Answer { edits, ..answer })), cors: None }
    }

    /// Where a redirect, of the route or of the share of one of its primaries, sends a request; `None` for any other.
    pub fn location(&self, primary: usize, asked: &RequestView<'_>, matched: Matched) -> Option<String> {
        let redirect = match &self.action {
            Action::Redirect(redirect) => redirect,
            Action::Forward(forward) => forward.redirects(primary)?.0,
            Action::Reply(_) => return None,
        };
        let location = redirect.answer(asked, matched).location?;
        Some(String::from_utf8_lossy(&location).into_owned())
    }

    /// The edits of a request on its way to `primary`.
    pub fn request_edit<'a>(
        &'a self,
        primary: usize,
        asked: &RequestView<'a>,
        matched: Matched,
        started: &dyn Fn() -> String,
    ) -> RequestEdit<'a> {
        let path = asked.path;
        let Some(forward) = self.forward() else { return RequestEdit::default() };
        let own = forward.primaries.get(primary);
        let of_primary = own.and_then(|p| p.request_headers.as_ref());
        let edit = own.and_then(|p| p.path.as_ref()).or(forward.path.as_ref());
        let host = own.and_then(|p| p.host.as_deref()).or(forward.host.as_deref());
        RequestEdit {
            path: edit.map(|edit| edit.path(path, matched)).filter(|new| **new != *path),
            host: host.map(str::as_bytes),
            headers: [self.request_headers.as_ref(), of_primary]
                .map(|edits| edits.map(|edits| format::resolved(edits, asked, started))),
        }
    }

    /// The edits of the answer of `primary`: its own, then the route's, then CORS's.
    pub fn response_edits<'a>(&'a self, primary: usize, cors: Option<&'a HeaderEdits>) -> Edits<'a> {
        let of_primary = self.forward().and_then(|f| f.primaries.get(primary)?.response_headers.as_ref());
        [of_primary, self.response_headers.as_ref(), cors]
    }
}

impl Forward {
    fn new(given: &config::Forward) -> Self {
        let primary = |p: &config::Primary| Primary {
            upstream: p.upstream,
            weight: p.weight.into(),
            request_headers: some(&p.request_headers),
            response_headers: some(&p.response_headers),
            path: p.rewrite.path.as_ref().map(PathEdit::new),
            host: p.rewrite.host.clone(),
            redirect: p.redirect.as_ref().map(Redirect::new),
        };
        Self {
            primaries: given.primaries.iter().map(primary).collect(),
            weights: given.primaries.iter().map(|p| u64::from(p.weight)).sum(),
            path: given.rewrite.path.as_ref().map(PathEdit::new),
            host: given.rewrite.host.clone(),
            retries: given.retries.clone(),
            timeout: given.timeout.map(Millis::from),
            try_timeout: given.retries.per_try_timeout.map(Millis::from),
        }
    }

    /// Upstream of a primary; `None` where there is none to be had.
    pub fn upstream(&self, primary: usize) -> Option<UpstreamId> {
        self.primaries.get(primary)?.upstream
    }

    /// The redirect for the share of a primary, and the edits of that answer.
    fn redirects(&self, primary: usize) -> Option<(&Redirect, &Option<HeaderEdits>)> {
        let primary = self.primaries.get(primary)?;
        Some((primary.redirect.as_ref()?, &primary.response_headers))
    }

    /// A primary by its share.
    fn choose(&self, draws: &Strata, random: &Random) -> usize {
        if self.primaries.len() == 1 {
            return 0;
        }
        let mut left = draws.below(self.weights, random);
        let hit = |p: &Primary| match left.checked_sub(p.weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        };
        self.primaries.iter().position(hit).unwrap_or_default()
    }

    /// Whether the request is sent again after an answer of `status`; of a call, by the gRPC status in its head.
    pub fn retries_answer(&self, status: u16, call: &StatusReader) -> bool {
        let ended = |name: &str| matches!(call, StatusReader::Known(of) if Status::named(name) == Some(*of));
        let means = |on: &RetryOn| match on {
            RetryOn::ConnectFailure | RetryOn::Reset => false,
            RetryOn::GatewayError => matches!(status, 502..=504),
            RetryOn::ServerError => status >= 500,
            RetryOn::Conflict => status == 409,
            RetryOn::Cancelled => ended("grpc_cancelled"),
            RetryOn::DeadlineExceeded => ended("grpc_deadline_exceeded"),
            RetryOn::Internal => ended("grpc_internal"),
            RetryOn::ResourceExhausted => ended("grpc_resource_exhausted"),
            RetryOn::Unavailable => ended("grpc_unavailable"),
        };
        self.retries.statuses.contains(&status) || self.retries.on.iter().any(means)
    }

    /// Whether a try without a connection is made again.
    pub fn retries_connect(&self) -> bool {
        self.retries.on.iter().any(|on| matches!(on, RetryOn::ConnectFailure | RetryOn::ServerError))
    }

    /// Whether a try that broke before its answer is made again.
    pub fn retries_reset(&self) -> bool {
        self.retries.on.iter().any(|on| matches!(on, RetryOn::Reset | RetryOn::ServerError))
    }

    /// Pause before the `retry`-th retry, counted from 1: somewhere between nothing and `backoff`, which doubles each
    /// time up to ten times itself.
    pub fn backoff(&self, retry: u32, random: &Random) -> Millis {
        let base = Millis::from(self.retries.backoff).0;
        let span = base.saturating_mul(1 << retry.saturating_sub(1).min(4)).min(base.saturating_mul(10));
        Millis(random.below(span.max(1)))
    }
}

impl Redirect {
    fn new(given: &config::Redirect) -> Self {
        Self { given: given.clone(), path: given.path.as_ref().map(PathEdit::new) }
    }

    fn answer(&self, asked: &RequestView<'_>, matched: Matched) -> Answer {
        let scheme = self.given.scheme.as_deref().unwrap_or_else(|| asked.scheme.name());
        let implied = |port: u16| matches!((scheme, port), ("http", 80) | ("https", 443));
        let host: Cow<'_, [u8]> = match (&self.given.host, self.given.port) {
            (None, None) if self.given.scheme.is_none() => asked.authority.into(),
            (Some(host), _) => host.as_bytes().into(),
            (None, _) => without_port(asked.authority).into(),
        };
        let port = match (&self.given.host, self.given.port, &self.given.scheme) {
            (_, Some(port), _) => Some(port),
            // As the client wrote it, or as the new scheme implies.
            (None, None, None) | (_, None, Some(_)) => None,
            // The port that the client came to: ours may be another, behind a Service or a balancer.
            (Some(_), None, None) => port_of(asked.authority),
        };
        let path = match &self.path {
            Some(edit) => edit.path(asked.path, matched),
            None => asked.path.into(),
        };
        let mut location = [scheme.as_bytes(), b"://", &host].concat();
        if let Some(port) = port.filter(|port| !implied(*port)) {
            location.extend_from_slice(format!(":{port}").as_bytes());
        }
        location.extend_from_slice(&path);
        if let Some(query) = asked.query {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        let text = Answer::plain(self.given.status, "moved");
        Answer { location: Some(location), ..text }
    }
}

/// The port that an authority names.
fn port_of(authority: &[u8]) -> Option<u16> {
    let port = authority.strip_prefix(without_port(authority))?.strip_prefix(b":")?;
    std::str::from_utf8(port).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::asked::tests::with_asked;

    fn plan(toml: &str) -> Plan {
        let text = format!(
            "[upstream.a]\nendpoints = [\"127.0.0.1:1\"]\n[upstream.b]\nendpoints = [\"127.0.0.1:2\"]\n[[route]]\n{toml}"
        );
        Plan::new(&config::parse("test", &text).expect("the test's own text is sound").config.routes[0])
    }

    fn answer(plan: &Plan, url: &str, matched: Matched) -> Answer {
        let decision = with_asked("GET", url, &[], |asked| {
            plan.decide(asked, matched, &Strata::default(), &Random::new(1))
        });
        match decision.fate {
            Fate::Answer(answer) => *answer,
            Fate::Forward(_) => panic!("forwarded"),
        }
    }

    #[test]
    fn of_ten_requests_each_primary_has_its_tenths_and_without_weight_none() {
        let plan = plan(
            r#"primaries = [{ upstream = "a", weight = 70 }, { upstream = "b", weight = 0 }, { upstream = "b", weight = 30 }]"#,
        );
        let (random, draws) = (Random::new(5), Strata::default());
        for _ in 0..1_000 {
            let mut chosen = [0; 3];
            for _ in 0..10 {
                chosen[plan.forward().unwrap().choose(&draws, &random)] += 1;
            }
            assert_eq!(chosen, [7, 0, 3]);
        }
    }

    #[test]
    fn a_redirect_changes_what_it_says_and_keeps_the_rest() {
        let rows = [
            ("status = 301", "http://a.example:81/x?q=1", "http://a.example:81/x?q=1"),
            (r#"host = "b.example""#, "http://a.example/x", "http://b.example/x"),
            (r#"host = "b.example""#, "http://a.example:81/x", "http://b.example:81/x"),
            (r#"host = "b.example""#, "http://[::1]/x", "http://b.example/x"),
            (r#"host = "b.example""#, "http://[::1]:81/x", "http://b.example:81/x"),
            (r#"scheme = "https""#, "http://a.example:81/x", "https://a.example/x"),
            (r#"scheme = "https", port = 8443"#, "http://a.example:81/x", "https://a.example:8443/x"),
            ("port = 80", "http://a.example:81/x", "http://a.example/x"),
            (r#"path = "/y""#, "http://a.example/x?q", "http://a.example/y?q"),
            (r#"path_prefix = "/y""#, "http://a.example/x/z", "http://a.example/y/z"),
        ];
        for (redirect, url, expect) in rows {
            let plan = plan(&format!("redirect = {{ {redirect} }}"));
            let got = answer(&plan, url, Matched::Prefix(2)).location.unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), expect, "{redirect}");
        }
    }

    #[test]
    fn faults_come_first_and_as_often_as_they_should() {
        let plan = plan(
            r#"fault = { delay = "1s", abort = 418, abort_percent = 25 }
            primary = "a""#,
        );
        let random = Random::new(3);
        let decide = || {
            with_asked("GET", "/", &[], |asked| {
                plan.decide(asked, Matched::Whole, &Strata::default(), &random)
            })
        };
        let aborted = (0..10_000).filter(|_| matches!(decide().fate, Fate::Answer(_))).count();
        assert!((2_370..2_630).contains(&aborted), "{aborted}");
        assert_eq!(decide().delay, Some(Millis(1000)));
    }

    #[test]
    fn retries_mean_what_their_words_say() {
        let plan = plan(
            r#"primary = "a"
            retries = { attempts = 2, on = ["gateway_error", "conflict"], statuses = [418], backoff = "100ms" }"#,
        );
        let forward = plan.forward().unwrap();
        let retried: Vec<u16> =
            (200..600).filter(|status| forward.retries_answer(*status, &StatusReader::NotGrpc)).collect();
        assert_eq!(retried, [409, 418, 502, 503, 504]);
        assert!(!forward.retries_connect() && !forward.retries_reset());
        let random = Random::new(9);
        let longest = |n: u32| (0..1_000).map(|_| forward.backoff(n, &random).0).max().unwrap();
        assert!((90..100).contains(&longest(1)), "{}", longest(1));
        assert!((360..400).contains(&longest(3)), "{}", longest(3));
        assert!((900..1_000).contains(&longest(9)), "{}", longest(9));
        assert_eq!(forward.retries.backoff, Duration::from_millis(100));
    }

    #[test]
    fn a_call_that_is_answered_at_once_is_retried_by_its_own_status() {
        let of = |on: &str| plan(&format!("primary = \"a\"\nretries = {{ attempts = 2, on = [{on}] }}"));
        let retried = |on: &str| -> Vec<u8> {
            let plan = of(on);
            let known = |n: &u8| StatusReader::Known(Status::of(*n));
            (0..17).filter(|n| plan.forward().unwrap().retries_answer(200, &known(n))).collect()
        };
        let words = r#""cancelled", "deadline_exceeded", "internal", "resource_exhausted", "unavailable""#;
        assert_eq!(retried(words), [1, 4, 8, 13, 14]);
        assert_eq!(retried(r#""5xx", "gateway_error", "reset""#), [0; 0]);
        // A status in trailers comes when the client has the rest already.
        let plan = of(words);
        assert!(!plan.forward().unwrap().retries_answer(200, &StatusReader::InTrailers));
    }
}
