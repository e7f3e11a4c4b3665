//! `POST /diffs/{id}/again`: sends a sample's request to primary and mirror once more, and compares the two answers. The same
//! request as a command for a shell.
//!
//! Only requests that change nothing are sent, from the control plane, on connections of its own; no worker knows of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HOST};
use axum::response::Response;
use config::{Config, Host, Upstream, UpstreamProtocol};
use http_body_util::BodyExt as _;
use hyper::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::asked::{Given, Path, refusal};
use super::state::{AdminState, Permitted};
use crate::address::Address;
use crate::compare::again::{self, Again, Ask};
use crate::compare::{Difference, Judged};
use crate::control::Snapshot;
use crate::errand::{self, Answered, Manner};
use crate::limits::{AGAIN_BYTES_MAX, AGAIN_MS_MAX};
use crate::observe::disclosure::rfc3339;
use crate::observe::record::Answer;

/// The sample of a group; the first where none is named.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    request_id: Option<String>,
}

/// `POST /diffs/{id}/again`: `{"request_id": "…"}`.
pub(super) async fn again(
    State(state): State<Arc<AdminState>>,
    Permitted(_): Permitted,
    Path(id): Path<String>,
    Given(Which { request_id }): Given<Which>,
) -> Response {
    let found = id.parse().ok().and_then(|id| state.store.findings.group(id));
    let Some(Judged { group, .. }) = found else {
        return refusal(StatusCode::NOT_FOUND, format!("no group {id}"));
    };
    let is_meant =
        |of: &&Arc<crate::compare::Sample>| request_id.as_ref().is_none_or(|id| *id == of.request_id);
    let Some(sample) = group.samples.iter().find(is_meant) else {
        return refusal(StatusCode::NOT_FOUND, "no sample of that request is kept in this group");
    };
    let Some(kept) = &sample.again else {
        return refusal(StatusCode::CONFLICT, "the request of this sample was not kept");
    };
    if !kept.is_safe() {
        let why = format!(
            "{} with its content may change something: only GET and HEAD are asked again",
            kept.method
        );
        return refusal(StatusCode::CONFLICT, why);
    }
    let Ok(place) = Arc::clone(&state.again).try_acquire_owned() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "others ask again just now; try again");
    };
    let snapshot = state.store.open();
    let at = rfc3339(SystemTime::now());
    let (primary, mirror) =
        tokio::join!(answer(&snapshot, kept, &kept.primary), answer(&snapshot, kept, &kept.mirror));
    let (route, of_mirror) = (group.route.clone(), group.mirror.clone());
    // Services choose their content, and reading it may take long: it runs beside the thread that hears signals.
    let compared = tokio::task::spawn_blocking(move || {
        let _held = place;
        let differences = match (&primary, &mirror) {
            (Ok((primary, _)), Ok((mirror, _))) => {
                again::compared(&snapshot.config, (&route, &of_mirror), primary, mirror)
            }
            (Ok(_) | Err(_), _) => None,
        };
        (primary, mirror, differences)
    });
    let Ok((primary, mirror, differences)) = compared.await else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "it could not be compared: see the log");
    };
    let side = |of: &Result<(Answer, Duration), String>| match of {
        Ok((answer, took)) => json!({ "status": answer.status, "seconds": took.as_secs_f64() }),
        Err(why) => json!({ "error": why }),
    };
    let difference = |of: &Difference| json!({ "field": of.field, "kind": of.kind.text(), "primary": of.primary, "mirror": of.mirror });
    let told = json!({
        "at": at,
        "primary": side(&primary),
        "mirror": side(&mirror),
        "differences": differences.map(|all| all.iter().map(difference).collect::<Vec<Value>>()),
        "left_out": kept.left_out,
    });
    axum::response::IntoResponse::into_response(Json(told))
}

/// The response of one side, and the time it took.
async fn answer(snapshot: &Snapshot, kept: &Again, ask: &Ask) -> Result<(Answer, Duration), String> {
    let began = Instant::now();
    let answered = timeout(Duration::from_millis(AGAIN_MS_MAX), fetched(snapshot, kept, ask)).await;
    let answer = answered.map_err(|_| format!("no whole answer within {} s", AGAIN_MS_MAX / 1000))??;
    Ok((answer, began.elapsed()))
}

async fn fetched(snapshot: &Snapshot, kept: &Again, ask: &Ask) -> Result<Answer, String> {
    let (id, upstream) = upstream_of(&snapshot.config, &ask.upstream)
        .ok_or_else(|| format!("upstream {} is not in force any more", ask.upstream))?;
    let Place { address, authority, host } = place(snapshot, id, upstream).await?;
    let request = request(kept, ask, &authority).map_err(|e| e.to_string())?;
    let secured = match (&upstream.tls, snapshot.callings.get(id).and_then(Option::as_ref)) {
        (None, _) => None,
        (Some(_), None) => return Err("how it is called over TLS is not known".to_owned()),
        (Some(_), Some(calling)) => Some((Arc::clone(calling), calling.name(host.as_ref(), address))),
    };
    let manner = Manner { protocol: upstream.protocol, secured };
    read(errand::ask(address, &manner, request).await?).await
}

/// The endpoint that is asked.
struct Place {
    address: Address,
    /// As it is written.
    authority: String,
    /// The name in its certificate.
    host: Option<Host>,
}

/// The first endpoint of an upstream: as it is written, or where a cluster has it.
async fn place(snapshot: &Snapshot, id: usize, upstream: &Upstream) -> Result<Place, String> {
    let Some(endpoint) = upstream.endpoints.first() else {
        let address = found(snapshot, id).ok_or("it has no endpoint")?;
        let host = upstream.destination.as_ref().map(|destination| Host::Name(destination.service.clone()));
        return Ok(Place { address, authority: address.to_string(), host });
    };
    let address = match &endpoint.host {
        Host::Address(address) => Address::from((*address, endpoint.port)),
        Host::Name(name) => {
            let mut found = lookup_host((name.as_str(), endpoint.port)).await.map_err(|e| e.to_string())?;
            found.next().ok_or("its name has no address")?.into()
        }
        Host::Unix(path) => Address::unix(path).ok_or("too many sockets have been named since the start")?,
    };
    Ok(Place { address, authority: endpoint.authority(), host: Some(endpoint.host.clone()) })
}

/// The first address that was found of an upstream.
fn found(snapshot: &Snapshot, id: usize) -> Option<Address> {
    snapshot.addresses.get(id)?.first().copied()
}

fn request(kept: &Again, ask: &Ask, endpoint: &str) -> Result<Request<String>, http::Error> {
    let authority = if ask.authority.is_empty() { endpoint } else { &ask.authority };
    let marks = Again::marks();
    let own = marks.iter().map(|(name, value)| (*name, value.as_str()));
    let fields = kept.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let begun = Request::builder()
        .method(kept.method.as_str())
        .uri(ask.target.as_str())
        .header(HOST, authority)
        .header(CONNECTION, "close");
    fields.chain(own).fold(begun, |begun, (name, value)| begun.header(name, value)).body(String::new())
}

/// The response, at most so much of it as is compared.
async fn read(answered: Answered) -> Result<Answer, String> {
    let Answered { response, .. } = answered;
    let (head, mut body) = response.into_parts();
    let mut fields = Vec::new();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            fields.extend_from_slice(part);
        }
    }
    let (mut content, mut is_cut) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|e| e.to_string())?.into_data() else { continue };
        let room = AGAIN_BYTES_MAX - content.len();
        content.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if piece.len() > room {
            is_cut = true;
            break;
        }
    }
    let status = head.status.as_u16();
    let (fields, content, trailers) = (fields.into(), content.into(), Box::default());
    Ok(Answer { status, fields, content, is_cut, trailers })
}

fn upstream_of<'c>(config: &'c Config, name: &str) -> Option<(usize, &'c Upstream)> {
    config.upstreams.iter().enumerate().find(|(_, upstream)| upstream.name == name)
}

/// A sample's request as JSON: whether it may be asked again, and both commands.
pub(super) fn told(snapshot: &Snapshot, kept: &Again) -> Value {
    let command = |ask: &Ask| {
        let known = upstream_of(&snapshot.config, &ask.upstream);
        let upstream = known.map(|(_, upstream)| upstream);
        let written = upstream.and_then(|upstream| upstream.endpoints.first()).map(ToString::to_string);
        let endpoint = written.or_else(|| found(snapshot, known?.0).map(|address| address.to_string()));
        let is_secure = upstream.map_or(kept.is_secure, |upstream| upstream.tls.is_some());
        let protocol = upstream.map_or(UpstreamProtocol::Http1, |upstream| upstream.protocol);
        curl(kept, ask, endpoint.as_deref(), (is_secure, protocol))
    };
    json!({
        "is_safe": kept.is_safe(),
        "curl_primary": command(&kept.primary),
        "curl_mirror": command(&kept.mirror),
        "left_out": kept.left_out,
    })
}

/// The request as a command that sends it to `endpoint`, whatever address its authority has.
fn curl(
    kept: &Again,
    ask: &Ask,
    endpoint: Option<&str>,
    (is_secure, protocol): (bool, UpstreamProtocol),
) -> String {
    let scheme = if is_secure { "https" } else { "http" };
    let socket = endpoint.and_then(|endpoint| endpoint.strip_prefix("unix:"));
    let own = endpoint.filter(|_| socket.is_none()).unwrap_or("localhost");
    let authority = if ask.authority.is_empty() { own } else { &ask.authority };
    let mut parts = vec!["curl -g --path-as-is -i".to_owned()];
    match (protocol, is_secure) {
        // Over TLS curl offers both by itself.
        (UpstreamProtocol::Http1 | UpstreamProtocol::Alpn, _) | (UpstreamProtocol::Http2, true) => {}
        (UpstreamProtocol::Http2, false) => parts.push("--http2-prior-knowledge".to_owned()),
    }
    match kept.method.as_str() {
        "GET" => {}
        "HEAD" => parts.push("--head".to_owned()),
        method => parts.push(format!("-X {}", quoted(method))),
    }
    parts.push(quoted(&format!("{scheme}://{authority}{}", ask.target)));
    parts.extend(endpoint.map(|endpoint| match socket {
        Some(path) => format!("--unix-socket {}", quoted(path)),
        None => format!("--connect-to {}", quoted(&format!("::{endpoint}"))),
    }));
    for (name, value) in &kept.fields {
        // A field without a value is written otherwise, or curl would take it out.
        let field = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
        parts.push(format!("-H {}", quoted(&field)));
    }
    if kept.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept-encoding")) {
        parts.push("--compressed".to_owned());
    }
    if let Some(content) = kept.content.as_ref().filter(|content| !content.is_empty()) {
        parts.push(format!("--data-raw {}", quoted(content)));
    }
    parts.join(" \\\n  ")
}

/// The text as one word of a shell, whatever it contains.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(method: &str, fields: &[(&str, &str)], content: Option<&str>) -> Again {
        let ask = |upstream: &str| Ask {
            upstream: upstream.into(),
            authority: "shop".into(),
            target: "/a?b=[1]'".into(),
        };
        Again {
            method: method.into(),
            is_secure: false,
            primary: ask("v1"),
            mirror: ask("v2"),
            fields: fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            content: content.map(str::to_owned),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn a_command_is_the_request_whatever_is_in_it() {
        let fields = [("Accept", "*/*"), ("X-Empty", ""), ("X-Odd", "it's $(rm) `x`")];
        let get = kept("GET", &fields, Some(""));
        let expect = r"curl -g --path-as-is -i \
  'http://shop/a?b=[1]'\''' \
  --connect-to '::10.0.0.1:80' \
  -H 'Accept: */*' \
  -H 'X-Empty;' \
  -H 'X-Odd: it'\''s $(rm) `x`'";
        assert_eq!(curl(&get, &get.primary, Some("10.0.0.1:80"), (false, UpstreamProtocol::Http1)), expect);
        let put = kept("PUT", &[("Accept-Encoding", "gzip")], Some("@a\n'b'"));
        let expect = r"curl -g --path-as-is -i \
  -X 'PUT' \
  'https://shop/a?b=[1]'\''' \
  -H 'Accept-Encoding: gzip' \
  --compressed \
  --data-raw '@a
'\''b'\'''";
        assert_eq!(curl(&put, &put.mirror, None, (true, UpstreamProtocol::Http2)), expect);
        assert!(
            curl(&kept("HEAD", &[], None), &get.primary, None, (false, UpstreamProtocol::Alpn))
                .contains(" --head ")
        );
    }

    #[test]
    fn a_request_that_is_asked_again_says_that_it_is_no_clients() {
        let get = kept("GET", &[("Accept", "*/*")], Some(""));
        let mut shown = get.clone();
        shown.primary.target = "/a?b=1".into();
        let request = request(&shown, &shown.primary, "10.0.0.1:80").unwrap();
        assert_eq!(request.headers()["host"], "shop");
        assert_eq!(request.headers()["x-umbra-mirror"], "again");
        assert!(request.headers().contains_key("x-umbra-proof"));
        assert_eq!(request.uri(), "/a?b=1");
    }
}
