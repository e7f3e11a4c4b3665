//! Explains how a request would be handled: by the same router and plans that a worker uses, without sending anything.

use std::borrow::Cow;
use std::fmt::Write as _;

use config::{Action, Config, Host, MirrorHost, PeerName, Percent, Trust, Upstream, UpstreamProtocol};

use crate::asked::{RequestView, Scheme, Version};
use crate::http1::edit;
use crate::http1::render::RenderedHead;
use crate::matcher::{Matched, Mismatch};
use crate::plan::Plan;
use crate::route::Router;

/// A request to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    method: String,
    scheme: Scheme,
    authority: String,
    path: String,
    query: Option<String>,
    port: u16,
    fields: Vec<(String, String)>,
    certificate: Vec<Box<str>>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub text: String,
    /// Some route takes the request.
    pub served: bool,
}

impl Question {
    /// Makes a question of a method, a URL (`http[s]://host[:port]/path?query`) and fields (`name: value`).
    ///
    /// # Errors
    /// A sentence that names the part that cannot be parsed.
    pub fn new(method: &str, url: &str, headers: &[String]) -> Result<Self, String> {
        let rest = |scheme: Scheme| Some((scheme, url.strip_prefix(scheme.name())?.strip_prefix("://")?));
        let (scheme, rest) = rest(Scheme::Http)
            .or_else(|| rest(Scheme::Https))
            .ok_or_else(|| format!("{url:?} does not start with http:// or https://"))?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let mut fields = Vec::new();
        for field in headers {
            let (name, value) = field
                .split_once(':')
                .ok_or_else(|| format!("{field:?} is not a field; write 'name: value'"))?;
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let host = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let authority = host.map_or(authority, |(_, value)| value).to_owned();
        let digits = authority.rsplit_once(':').map(|(_, port)| port);
        let implied = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let port = digits.and_then(|port| port.parse().ok()).unwrap_or(implied);
        fields.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Ok(Self {
            method: method.to_owned(),
            scheme,
            authority,
            path,
            query,
            port,
            fields,
            certificate: Vec::new(),
        })
    }

    /// The same of a client that shows a certificate with these names.
    pub fn shown(self, names: &[String]) -> Self {
        Self { certificate: names.iter().map(|name| name.as_str().into()).collect(), ..self }
    }

    fn asked(&self) -> RequestView<'_> {
        RequestView {
            method: self.method.as_bytes(),
            scheme: self.scheme,
            authority: self.authority.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.as_deref().map(str::as_bytes),
            port: self.port,
            address: b"192.0.2.1",
            address_port: 0,
            version: Version::Http11,
            certificate: &self.certificate,
            fields: &self.fields,
        }
    }

    /// The head as a client would send it.
    fn head(&self) -> (Vec<u8>, RenderedHead) {
        let mut head = format!("{} {}", self.method, self.path).into_bytes();
        if let Some(query) = &self.query {
            head.extend_from_slice(format!("?{query}").as_bytes());
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        let line = head.len();
        head.extend_from_slice(format!("Host: {}\r\n", self.authority).as_bytes());
        let at = line + "Host: ".len()..head.len() - 2;
        let host_line = line..head.len();
        for (name, value) in &self.fields {
            head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let common_end = head.len();
        (head, RenderedHead { host_line, host: at, common_end })
    }
}

/// Tells the route that takes the request, why earlier ones do not, and the requests to primary and mirrors.
pub fn explain(config: &Config, question: &Question) -> Explanation {
    let router = Router::new(&config.routes);
    let asked = question.asked();
    let mut text = String::new();
    let mut found = None;
    let mut of = std::collections::HashMap::<usize, usize>::new();
    for (index, tested) in router.explain(&asked) {
        let nth = of.entry(index).or_default();
        let Some(route) = config.routes.get(index) else { continue };
        let shown = route.matches.get(*nth).map(ToString::to_string).unwrap_or_default();
        *nth += 1;
        let (sign, why) = match tested {
            Ok(matched) => {
                found = Some((index, matched));
                ("→", "matches".to_owned())
            }
            Err(why) => ("✗", because(&why, question)),
        };
        let _ = writeln!(text, "{sign} {}: {shown}\n    {why}", route.name);
    }
    let Some((index, matched)) = found else {
        let _ = writeln!(text, "no route matches: 404");
        return Explanation { text, served: false };
    };
    let Some(route) = config.routes.get(index) else { return Explanation { text, served: false } };
    let plan = Plan::new(route);
    text.push('\n');
    if let Some(delay) = &route.fault.delay {
        let _ = writeln!(text, "fault: {} of requests wait {:?}", share(delay.percent), delay.time);
    }
    if route.cors.is_some() {
        text.push_str("cors: preflights of allowed origins are answered here, responses get its fields\n");
    }
    if let Some(abort) = &route.fault.abort {
        let _ = writeln!(text, "fault: {} of requests are answered {}", share(abort.percent), abort.status);
    }
    match &route.action {
        Action::Forward(forward) => forwarded(config, question, route, forward, &plan, matched, &mut text),
        Action::Redirect(redirect) => {
            let _ = writeln!(
                text,
                "redirect {}: {}",
                redirect.status,
                plan.location(0, &asked, matched).unwrap_or_default()
            );
        }
        Action::Reply(reply) => {
            let _ = writeln!(
                text,
                "answered here: {} with {} bytes of {}",
                reply.status,
                reply.body.len(),
                reply.content_type
            );
        }
    }
    Explanation { text, served: true }
}

fn forwarded(
    config: &Config,
    question: &Question,
    route: &config::Route,
    forward: &config::Forward,
    plan: &Plan,
    matched: Matched,
    text: &mut String,
) {
    let sum: u64 = forward.primaries.iter().map(|primary| u64::from(primary.weight)).sum();
    let name = |id: Option<usize>| id.and_then(|id| config.upstreams.get(id));
    let (head, at) = question.head();
    let asked = question.asked();
    for (index, primary) in forward.primaries.iter().enumerate() {
        let part = match forward.primaries.len() {
            1 => 1.0,
            _ => f64::from(primary.weight) / sum.max(1) as f64,
        };
        if let (Some(redirect), Some(to)) = (&primary.redirect, plan.location(index, &asked, matched)) {
            let _ = writeln!(text, "redirect {} ({:.2} %): {to}", redirect.status, part * 100.0);
            continue;
        }
        let Some(upstream) = name(primary.upstream) else {
            let _ = writeln!(text, "primary {:.2} %: not known, answered 500", part * 100.0);
            continue;
        };
        let endpoints: Vec<String> = upstream.endpoints.iter().map(ToString::to_string).collect();
        let _ =
            writeln!(text, "primary {} ({:.2} %) at {}", upstream.name, part * 100.0, endpoints.join(", "));
        covered(upstream, "  ", text);
        let mut wire = Vec::new();
        let changes = plan.request_edit(index, &asked, matched, &|| "START_TIME".to_owned());
        let at = edit::request(&mut wire, &head, &at, &changes);
        quote(&wire, text);
        pseudo(upstream, &wire, text);
        for mirror in route.mirrors.iter().filter(|m| m.only_primary.is_none_or(|only| only == index)) {
            let _ =
                writeln!(text, "  mirror {}: {}{}", mirror.name, share(mirror.percent), conditions(mirror));
            let to = name(config.lanes.get(mirror.lane).map(|lane| lane.upstream));
            if let Some(upstream) = to {
                covered(upstream, "    ", text);
            }
            let mut copy = Vec::new();
            let host = match &mirror.host {
                MirrorHost::Keep => None,
                MirrorHost::Shadow => {
                    Some(crate::http1::render::shadow_host(wire.get(at.host.clone()).unwrap_or_default()))
                }
                MirrorHost::Literal(host) => Some(host.clone().into_bytes()),
            };
            let path = mirror.path.as_ref().map(edit::PathEdit::new);
            let changes = edit::RequestEdit {
                path: path.as_ref().map(|edit| edit.path(question.path.as_bytes(), matched)),
                host: host.as_deref(),
                headers: [Some(Cow::Borrowed(&mirror.headers)), None],
            };
            edit::request(&mut copy, &wire, &at, &changes);
            copy.extend_from_slice(format!("X-Umbra-Mirror: {}\r\n", mirror.name).as_bytes());
            // The word itself is the serving process's.
            copy.extend_from_slice(b"X-Umbra-Proof: (of the gateway's key)\r\n");
            quote(&copy, text);
            if let Some(upstream) = to {
                pseudo(upstream, &copy, text);
            }
        }
    }
    let retries = &forward.retries;
    if retries.attempts > 0 {
        let on: Vec<&str> = retries.on.iter().map(|on| on.as_str()).collect();
        let _ = writeln!(text, "retries: {} on {}", retries.attempts, on.join(", "));
    }
    if let Some(timeout) = forward.timeout {
        let _ = writeln!(text, "timeout: {timeout:?} for the whole exchange");
    }
    text.push_str(match config.via {
        config::Via::Append => {
            "every wire also gets X-Forwarded-For, -Proto and -Host, X-Request-Id and Via\n"
        }
        config::Via::Off => "every wire also gets X-Forwarded-For, -Proto and -Host, and X-Request-Id\n",
    });
}

/// Tells how an upstream with `tls` is called: the server name, the checks of its certificate, and the certificate that it is
/// shown.
fn covered(upstream: &Upstream, indent: &str, text: &mut String) {
    let protocol = upstream.protocol;
    let Some(tls) = &upstream.tls else {
        if protocol == UpstreamProtocol::Http2 {
            let _ = writeln!(
                text,
                "{indent}in HTTP/2, by prior knowledge; what is sent, in the form of HTTP/1.1:"
            );
        }
        return;
    };
    let alpn = match protocol {
        UpstreamProtocol::Http1 => "http/1.1",
        UpstreamProtocol::Http2 => "h2",
        UpstreamProtocol::Alpn => "h2 or http/1.1",
    };
    let mut names: Vec<&Host> = match &tls.server_name {
        Some(name) => vec![name],
        None => upstream.endpoints.iter().map(|endpoint| &endpoint.host).collect(),
    };
    names.dedup();
    let asked = |host: &Host| match host {
        Host::Address(_) => "no SNI".to_owned(),
        Host::Name(name) => format!("SNI {name}"),
        Host::Unix(_) => "no SNI".to_owned(),
    };
    let asked: Vec<String> = names.iter().map(|host| asked(host)).collect();
    let for_names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let for_names = if tls.names.is_empty() {
        for_names
    } else {
        let name = |name: &PeerName| match name {
            PeerName::Host(host) => host.to_string(),
            PeerName::Uri(uri) => uri.clone(),
        };
        tls.names.iter().map(name).collect::<Vec<_>>().join(" or ")
    };
    let revoked = if tls.crls.is_empty() { "" } else { ", unless revoked" };
    let checked = match &tls.trust {
        Trust::System => format!("its certificate by the system's roots, for {for_names}{revoked}"),
        Trust::Ca(ca) => format!("its certificate by {}, for {for_names}{revoked}", ca.name().display()),
        Trust::Anything => "NOTHING: any certificate is accepted".to_owned(),
    };
    let shown = tls.identity.as_ref().map_or_else(
        || "no certificate of ours".to_owned(),
        |identity| format!("{} if asked", identity.cert.name().display()),
    );
    let (version, asked) = (tls.min_version.as_str(), asked.join(" or "));
    let _ = writeln!(
        text,
        "{indent}over TLS {version} or newer: {asked}, ALPN {alpn}; checked: {checked}; shown: {shown}"
    );
}

/// Tells the pseudo-header fields that HTTP/2 has for the request line and Host.
fn pseudo(upstream: &Upstream, wire: &[u8], text: &mut String) {
    let when = match upstream.protocol {
        UpstreamProtocol::Http1 => return,
        UpstreamProtocol::Http2 => "",
        UpstreamProtocol::Alpn => " on h2",
    };
    let wire = String::from_utf8_lossy(wire);
    let mut lines = wire.lines();
    let mut line = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    let host =
        lines.filter_map(|line| line.split_once(": ")).find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let scheme = if upstream.tls.is_some() { "https" } else { "http" };
    let _ = writeln!(
        text,
        "    instead of its line and Host{when}: :method {method}, :scheme {scheme}, :path {path}, :authority {}",
        host.map_or("", |(_, host)| host)
    );
}

/// The conditions of a copy besides its share.
fn conditions(mirror: &config::Mirror) -> String {
    let mut text = String::new();
    if let Some(only) = &mirror.only {
        let _ = write!(text, ", only {only}");
    }
    if let Some(key) = &mirror.sample_by {
        let _ = write!(text, ", drawn by {key}");
    }
    if let Some(answer) = &mirror.response {
        let _ = write!(
            text,
            ", only after an answer like {:?} slower than {:?}",
            answer.statuses, answer.slower_than
        );
    }
    if let Some(name) = &mirror.idempotency_key {
        let _ = write!(text, ", writes with the key {name}");
    }
    if let Some(rate) = mirror.rate_max {
        let _ = write!(text, ", at most {rate} per second");
    }
    text
}

fn share(percent: Percent) -> String {
    format!("{percent} %")
}

fn quote(wire: &[u8], text: &mut String) {
    for line in String::from_utf8_lossy(wire).lines() {
        let _ = writeln!(text, "      | {line}");
    }
}

fn because(why: &Mismatch<'_>, question: &Question) -> String {
    match why {
        Mismatch::Path => format!("the path {:?} does not match", question.path),
        Mismatch::Host => format!("the host {:?} does not match", question.authority),
        Mismatch::Method => format!("the method {} does not match", question.method),
        Mismatch::Port => format!("the port {} does not match", question.port),
        Mismatch::Condition(subject) => {
            let found = match subject {
                config::Subject::Header(name) => {
                    let value = question.asked().header(name);
                    (
                        format!("header {name}"),
                        value.map(|value| String::from_utf8_lossy(&value).into_owned()),
                    )
                }
                config::Subject::Query(name) => {
                    let value = question.asked().parameter(name).map(Cow::into_owned);
                    (format!("query {name}"), value)
                }
                config::Subject::Method => ("method".to_owned(), Some(question.method.clone())),
                config::Subject::Authority => ("authority".to_owned(), Some(question.authority.clone())),
                config::Subject::Scheme => ("scheme".to_owned(), Some(question.scheme.name().to_owned())),
                config::Subject::Certificate => {
                    let names = question.certificate.join(", ");
                    ("the client's certificate".to_owned(), Some(names).filter(|names| !names.is_empty()))
                }
            };
            match found {
                (what, Some(value)) => format!("{what} is {value:?}"),
                (what, None) => format!("{what} is not there"),
            }
        }
    }
}
