//! From the inner form to a block: pseudo-headers, names in lower case, without fields of one connection.
//!
//! Heads that come here are ours: rendered by `http1::render`, changed by `http1::edit`. A line that is none is left out.

use super::{NeverIndexed, Scheme};
use crate::http1::hop_by_hop::{self, Kind};
use crate::http2::hpack::encode::{self, Encoder};

/// The head cannot be said in HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inexpressible {
    /// 101 (RFC 9113 §8.6): an upgrade of a connection that has many streams.
    Switching,
    /// The first line is no start line.
    StartLine,
}

/// The facts of a request's head that concern the wire.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'a> {
    pub scheme: Scheme,
    /// Trailers are taken: `te: trailers` is said, as gRPC's servers demand.
    pub takes_trailers: bool,
    /// The request is an extended CONNECT for this protocol (RFC 8441), whatever the head says in HTTP/1.1's words.
    pub protocol: Option<&'static str>,
    pub never_indexed: &'a NeverIndexed,
}

/// Appends a request's head as a block; returns whether its method is HEAD.
pub fn request(
    out: &mut Vec<u8>,
    encoder: &mut Encoder,
    head: &[u8],
    manner: &Manner<'_>,
) -> Result<bool, Inexpressible> {
    let (start, lines) = split_line(head).ok_or(Inexpressible::StartLine)?;
    let mut words = start.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(_version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Inexpressible::StartLine);
    };
    encoder.begin(out);
    match method {
        _ if manner.protocol.is_some() => encode::literal(out, 2, b"", b"CONNECT", false),
        b"GET" => encode::indexed(out, 2),
        b"POST" => encode::indexed(out, 3),
        _ => encode::literal(out, 2, b"", method, false),
    }
    encode::indexed(
        out,
        match manner.scheme {
            Scheme::Http => 6,
            Scheme::Https => 7,
        },
    );
    match target {
        b"/" => encode::indexed(out, 4),
        _ => encode::literal(out, 4, b"", target, false),
    }
    if let Some(protocol) = manner.protocol {
        encode::literal(out, 0, b":protocol", protocol.as_bytes(), false);
    }
    let host = fields(lines).find(|(name, _)| name.eq_ignore_ascii_case(b"host"));
    if let Some((_, host)) = host {
        encode::literal(out, 1, b"", host, false);
    }
    let mut takes_trailers = manner.takes_trailers;
    let nominated = nominated(lines);
    for (name, value) in fields(lines) {
        if name.eq_ignore_ascii_case(b"te") {
            takes_trailers |= hop_by_hop::list(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
        } else if manner.protocol.is_some() && name.eq_ignore_ascii_case(b"sec-websocket-key") {
            // HTTP/1.1's handshake alone has it.
        } else if passes(name, &nominated) && hop_by_hop::kind(name) != Kind::Host {
            field(out, name, value, manner.never_indexed);
        }
    }
    if takes_trailers {
        encode::literal(out, 0, b"te", b"trailers", false);
    }
    Ok(method == b"HEAD")
}

/// Appends a response's head as a block; returns its status.
pub fn response(
    out: &mut Vec<u8>,
    encoder: &mut Encoder,
    head: &[u8],
    never_indexed: &NeverIndexed,
) -> Result<u16, Inexpressible> {
    let (start, lines) = split_line(head).ok_or(Inexpressible::StartLine)?;
    let text =
        start.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).ok_or(Inexpressible::StartLine)?;
    let status = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u16>().ok());
    let status = status.filter(|status| *status >= 100).ok_or(Inexpressible::StartLine)?;
    if status == 101 {
        return Err(Inexpressible::Switching);
    }
    encoder.begin(out);
    match status {
        200 => encode::indexed(out, 8),
        204 => encode::indexed(out, 9),
        206 => encode::indexed(out, 10),
        304 => encode::indexed(out, 11),
        400 => encode::indexed(out, 12),
        404 => encode::indexed(out, 13),
        500 => encode::indexed(out, 14),
        _ => encode::literal(out, 8, b"", text, false),
    }
    let nominated = nominated(lines);
    for (name, value) in fields(lines).filter(|(name, _)| passes(name, &nominated)) {
        if !name.eq_ignore_ascii_case(b"te") {
            field(out, name, value, never_indexed);
        }
    }
    Ok(status)
}

/// Appends trailer lines, each with its CRLF, as a block.
pub fn trailers(out: &mut Vec<u8>, encoder: &mut Encoder, lines: &[u8]) {
    encoder.begin(out);
    for (name, value) in
        fields(lines).filter(|(name, _)| passes(name, &[]) && !name.eq_ignore_ascii_case(b"te"))
    {
        field(out, name, value, &NeverIndexed::default());
    }
}

/// Whether a field is more than this connection's business (RFC 9113 §8.2.2).
fn passes(name: &[u8], nominated: &[&[u8]]) -> bool {
    let stays = match hop_by_hop::kind(name) {
        Kind::Connection | Kind::TransferEncoding | Kind::Upgrade => true,
        Kind::HopByHop => [b"keep-alive".as_slice(), b"proxy-connection"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known)),
        Kind::EndToEnd => name.eq_ignore_ascii_case(b"http2-settings"),
        Kind::ContentLength
        | Kind::Host
        | Kind::Expect
        | Kind::Via
        | Kind::ForwardedFor
        | Kind::ForwardedProto
        | Kind::ForwardedHost
        | Kind::Claim
        | Kind::Ours
        | Kind::RequestId
        | Kind::TraceParent
        | Kind::TraceState
        | Kind::MirrorMark
        | Kind::MirrorProof
        | Kind::Protected
        | Kind::ContentType
        | Kind::Date
        | Kind::MaxForwards => false,
    };
    !stays && !nominated.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Names that a Connection field gives to this connection. Heads of ours say only whether it is kept.
fn nominated(lines: &[u8]) -> Vec<&[u8]> {
    let of_connection = fields(lines).filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    let names = of_connection.flat_map(|(_, value)| hop_by_hop::list(value));
    names
        .filter(|name| !name.eq_ignore_ascii_case(b"close") && hop_by_hop::kind(name).may_be_nominated())
        .collect()
}

/// The longest name that is looked up in the static table; its own is 27 bytes long.
const KNOWN_NAME_MAX: usize = 27;

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8], never_indexed: &NeverIndexed) {
    let mut lower = [0; KNOWN_NAME_MAX];
    if let Some(lower) = lower.get_mut(..name.len()) {
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        return encode::field(out, lower, value, never_indexed.contains(lower));
    }
    let lower = name.to_ascii_lowercase();
    encode::literal(out, 0, &lower, value, never_indexed.contains(&lower));
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\r', text)?;
    let (line, rest) = text.split_at(end);
    Some((line, rest.strip_prefix(b"\r\n")?))
}

/// Name and value of each line up to the empty one.
fn fields(mut lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let (line, rest) = split_line(lines)?;
            lines = rest;
            if line.is_empty() {
                return None;
            }
            let Some(colon) = memchr::memchr(b':', line).filter(|colon| *colon > 0) else {
                debug_assert!(false, "a head of ours has a line without a name");
                continue;
            };
            let (name, value) = line.split_at(colon);
            return Some((name, value.get(1..).unwrap_or_default().trim_ascii()));
        }
    })
}
