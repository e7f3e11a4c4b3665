//! Access to the admin listener: for reading, and for changes.
//!
//! Changes are guarded: by a token where there is one, and without one only from this machine, by a client that named it by its
//! address, so that no page in a browser can reach in under a name of its own (DNS rebinding). Where only this machine is
//! expected, such a page may not read either.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::asked::refusal;

/// The clients that may change anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Clients that bear the token.
    Token(String),
    /// Clients on this machine, unless they are a page of another site.
    Local,
    /// No client: the listener is reachable from other machines, and there is no token.
    Closed,
}

impl Guard {
    pub fn of(admin: &config::Admin, address: SocketAddr) -> Self {
        match &admin.token {
            Some(token) => Self::Token(token.clone()),
            None if address.ip().is_loopback() => Self::Local,
            None => Self::Closed,
        }
    }

    /// Whether a request may be answered. On loopback without a token, only this machine sends requests: a request for another
    /// name comes from a page in a browser whose name was turned to this address (DNS rebinding).
    fn answers(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Local => is_local(text(headers, HOST)),
            // Other machines are expected, by any name: Prometheus scrapes a service, a controller asks another one.
            Self::Token(_) | Self::Closed => true,
        }
    }

    /// Why a request may not change anything.
    pub(super) fn refuses(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        match self {
            Self::Token(token) => {
                let given = text(headers, AUTHORIZATION).strip_prefix("Bearer ");
                let right = given.is_some_and(|given| same(given.trim().as_bytes(), token.as_bytes()));
                (!right).then_some((StatusCode::UNAUTHORIZED, "give the token: Authorization: Bearer …"))
            }
            Self::Local => {
                let host = text(headers, HOST);
                let origin = headers.get(ORIGIN).map(|_| text(headers, ORIGIN));
                let is_own = |origin: &str| {
                    let authority =
                        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
                    authority == Some(host)
                };
                let own = origin.is_none_or(is_own);
                let named = is_local(host) && own;
                let why = "changes are taken from this machine only, addressed as localhost or by IP address";
                (!named).then_some((StatusCode::FORBIDDEN, why))
            }
            Self::Closed => Some((
                StatusCode::FORBIDDEN,
                "strangers reach this listener: set admin.token to allow changes",
            )),
        }
    }
}

/// Empty where there is none.
fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Pages with nothing but "alive" and "ready", for probes that ask by any name.
const FOR_PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Lets requests through by [`Guard::answers`].
pub(super) async fn answered(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    // RFC 9112 §3.2. Whichever of them were believed, a proxy in front may have believed the other.
    if request.headers().get_all(HOST).iter().count() > 1 {
        return refusal(StatusCode::BAD_REQUEST, "more than one Host");
    }
    // A policy changes nothing, but pages of other sites must not keep the gateway busy with one.
    if guard == Guard::Local
        && !request.method().is_safe()
        && let Some((status, why)) = guard.refuses(request.headers())
    {
        return refusal(status, why);
    }
    if guard.answers(request.headers()) || FOR_PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let why = "this listener is for its own machine, addressed as localhost or by IP address: set admin.token to \
               reach it by another name";
    refusal(StatusCode::FORBIDDEN, why)
}

/// Compares in the same time whatever the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    // The root's dot names the same host.
    let name = name.strip_suffix('.').unwrap_or(name);
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || inner.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listener_that_expects_strangers_answers_to_any_name() {
        let names = [
            "127.0.0.1:9901",
            "LocalHost.:1",
            "localhost",
            "[::1]:9901",
            "evil.example.",
            "umbra.gateway:9901",
            "",
        ];
        let rows = [
            (Guard::Local, [true, true, true, true, false, false, false]),
            (Guard::Closed, [true; 7]),
            (Guard::Token("secret".into()), [true; 7]),
        ];
        for (guard, answers) in rows {
            for (name, answers) in names.iter().zip(answers) {
                let headers = HeaderMap::from_iter([(HOST, name.parse().unwrap())]);
                assert_eq!(guard.answers(&headers), answers, "{guard:?} {name}");
            }
        }
    }

    #[test]
    fn changes_are_taken_from_who_may_make_them() {
        let token = Guard::Token("secret".into());
        type Row<'a> = (&'a Guard, &'a [(&'a str, &'a str)], bool);
        let rows: [Row<'_>; 12] = [
            (&Guard::Local, &[("host", "127.0.0.1:9901")], true),
            (&Guard::Local, &[("host", "[::1]:9901")], true),
            (&Guard::Local, &[("host", "localhost:9901")], true),
            (&Guard::Local, &[("host", "evil.example:9901")], false),
            (&Guard::Local, &[], false),
            (&Guard::Local, &[("host", "localhost:1"), ("origin", "http://localhost:1")], true),
            (&Guard::Local, &[("host", "localhost:1"), ("origin", "http://evil.example")], false),
            (&Guard::Closed, &[("host", "127.0.0.1:9901")], false),
            (&token, &[("host", "evil.example"), ("authorization", "Bearer secret")], true),
            (&token, &[("host", "127.0.0.1"), ("authorization", "Bearer secre")], false),
            (&token, &[("host", "127.0.0.1"), ("authorization", "Basic secret")], false),
            (&token, &[("host", "127.0.0.1")], false),
        ];
        for (guard, fields, may) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(
                    HeaderName::from_static(match *name {
                        "host" => "host",
                        "origin" => "origin",
                        _ => "authorization",
                    }),
                    value.parse().unwrap(),
                );
            }
            assert_eq!(guard.refuses(&headers).is_none(), may, "{guard:?} {fields:?}");
        }
    }
}
