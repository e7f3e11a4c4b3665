//! Heads as we write them: hop-by-hop fields gone, our own added, framing made anew, order and spelling otherwise kept.
//!
//! A request is rendered once; each mirror's copy is cut from the same bytes, so that both wires carry the same request.

use std::ops::Range;

use config::Upgrade;

use super::framing::Framing;
use super::head::{RequestHead, ResponseHead};
use super::hop_by_hop::Kind;

/// The header that marks a copy and names its mirror; a request that carries it is never copied again.
pub const MIRROR_MARK: &[u8] = b"X-Umbra-Mirror: ";

/// The client of the connection, as TLS knows it; a client's own words are only a claim.
const CLIENT_CERT: &[u8] = b"X-Forwarded-Client-Cert";

/// Our additions to a request on its way to the primary and its mirrors.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// The client's address without port.
    pub client: &'a [u8],
    /// Scheme the client spoke to us.
    pub proto: &'static [u8],
    /// The client's certificate, in the words of X-Forwarded-Client-Cert; empty where the client showed none on TLS, and then
    /// the client's own field of that name is removed. `None` where there is no TLS that could tell.
    pub client_cert: Option<&'a str>,
    /// X-Request-Id, in place of the client's if that is not to go on.
    pub request_id: &'a [u8],
    /// The client's X-Request-Id goes on, where it is one.
    pub keeps_id: bool,
    /// Whether a trace of our own is told, behind this head; and then, whether the client's `tracestate` belongs to it.
    pub traced: Option<bool>,
    /// Keep the client's X-Forwarded-* fields, adding ourselves; otherwise they are replaced.
    pub trust: bool,
    /// Where we say that we passed it on: the version in which it came.
    pub via: Option<&'static str>,
    /// The request is a copy, and known to be one: its own fields as a copy go on. Those of any other do not.
    pub is_copy: bool,
    /// Host sent for an HTTP/1.0 request that has none.
    pub host_if_none: &'a [u8],
}

/// A request head without its end: framing and the empty line are added by [`end_request`] for each wire.
#[derive(Debug, Default)]
pub struct RenderedHead {
    /// The whole `Host: …\r\n` line in the rendered bytes.
    pub host_line: Range<usize>,
    /// Where the host itself stands.
    pub host: Range<usize>,
    /// End of the part that every wire shares.
    pub common_end: usize,
}

/// Renders the part of a request head that every wire shares.
pub fn request(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, add: &Forwarding<'_>) -> RenderedHead {
    out.extend_from_slice(head.method_token);
    out.push(b' ');
    out.extend_from_slice(head.target_prefix);
    out.extend_from_slice(head.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let line_start = out.len();
    out.extend_from_slice(b"Host: ");
    let host_start = out.len();
    let host = if head.host.is_empty() { add.host_if_none } else { head.host };
    out.extend_from_slice(host);
    let host_range = host_start..out.len();
    out.extend_from_slice(b"\r\n");
    let host_line = line_start..out.len();

    let (mut has_id, mut has_proto, mut has_host) = (false, false, false);
    let mut has_forwarded_for = false;
    for field in head.fields() {
        match field.kind {
            Kind::EndToEnd | Kind::Protected | Kind::ContentType | Kind::Date | Kind::Via => {}
            // Only the gateway that made it can tell whether it is one: it goes on, and comes back to that gateway where copies
            // go round.
            Kind::MirrorProof => {}
            Kind::MirrorMark if add.is_copy => {}
            Kind::RequestId if add.keeps_id && !has_id && is_id(field.value) => has_id = true,
            Kind::RequestId => continue,
            Kind::TraceParent if add.traced.is_some() => continue,
            Kind::TraceState if add.traced == Some(false) => continue,
            Kind::TraceParent | Kind::TraceState => {}
            Kind::MaxForwards => {
                if let Some(hops) = head.max_forwards {
                    line(out, field.name, (hops - 1).to_string().as_bytes());
                    continue;
                }
            }
            Kind::ForwardedFor => {
                has_forwarded_for |= add.trust;
                continue;
            }
            Kind::ForwardedProto if add.trust => has_proto = true,
            Kind::ForwardedHost if add.trust => has_host = true,
            Kind::Claim if add.client_cert.is_some() && field.name.eq_ignore_ascii_case(CLIENT_CERT) => {
                continue;
            }
            Kind::Claim if add.trust => {}
            // Of a copy they are true: the gateway that mirrored it before us set them.
            Kind::Ours if add.is_copy && !field.name.contains(&b'_') => {}
            Kind::ForwardedProto
            | Kind::ForwardedHost
            | Kind::Claim
            | Kind::Ours
            | Kind::MirrorMark
            | Kind::HopByHop
            | Kind::Connection
            | Kind::ContentLength
            | Kind::TransferEncoding
            | Kind::Host
            | Kind::Expect
            | Kind::Upgrade => continue,
        }
        line(out, field.name, field.value);
    }
    out.extend_from_slice(b"X-Forwarded-For: ");
    if has_forwarded_for {
        for field in head.fields().filter(|f| f.kind == Kind::ForwardedFor) {
            out.extend_from_slice(field.value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(add.client);
    if !has_proto {
        out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
        out.extend_from_slice(add.proto);
    }
    if !has_host {
        out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        out.extend_from_slice(host);
    }
    if let Some(certificate @ [_, ..]) = add.client_cert.map(str::as_bytes) {
        out.extend_from_slice(b"\r\nX-Forwarded-Client-Cert: ");
        out.extend_from_slice(certificate);
    }
    if !has_id {
        out.extend_from_slice(b"\r\nX-Request-Id: ");
        out.extend_from_slice(add.request_id);
    }
    out.extend_from_slice(b"\r\n");
    if let Some(version) = add.via {
        out.extend_from_slice(b"Via: ");
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(b" umbra\r\n");
    }
    RenderedHead { host_line, host: host_range, common_end: out.len() }
}

/// Whether a client's X-Request-Id can be one: short, and printable everywhere.
pub fn is_id(value: &[u8]) -> bool {
    (1..=128).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// Appends one line to a head that is not ended.
pub fn traceparent(out: &mut Vec<u8>, value: &[u8]) {
    line(out, b"traceparent", value);
}

/// Ends a request head with its framing and the empty line.
///
/// A method that usually carries content says so even where there is none, so that no origin waits for it
/// (RFC 9110 §8.6: Content-Length: 0 SHOULD be sent where the method anticipates content).
pub fn end_request(out: &mut Vec<u8>, framing: Framing, expects_content: bool, expect_continue: bool) {
    match framing {
        Framing::None | Framing::UntilClose if expects_content => {
            out.extend_from_slice(b"Content-Length: 0\r\n")
        }
        Framing::None | Framing::UntilClose => {}
        Framing::Length(n) => content_length(out, n),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if expect_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// How a response is delimited on the client's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No content follows; a declared length (HEAD, 304) is passed on.
    None(Option<u64>),
    Length(u64),
    Chunked,
    UntilClose,
}

/// The client connection's future after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1's default: nothing to say.
    Keep,
    /// HTTP/1.0 client that asked for it.
    KeepSaid,
    Close,
}

/// Renders a final response head for the client. `date` is used where the upstream sent none (RFC 9110 §6.6.1).
pub fn response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    framing: ResponseFraming,
    persistence: Persistence,
    date: &[u8],
) {
    status_line(out, head.status, head.reason);
    let mut has_date = false;
    for field in head.fields() {
        match field.kind {
            Kind::HopByHop
            | Kind::Connection
            | Kind::ContentLength
            | Kind::TransferEncoding
            | Kind::Upgrade => continue,
            Kind::Date => has_date = true,
            Kind::EndToEnd
            | Kind::Protected
            | Kind::ContentType
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
            | Kind::MaxForwards
            | Kind::MirrorMark
            | Kind::MirrorProof => {}
        }
        line(out, field.name, field.value);
    }
    if !has_date {
        line(out, b"Date", date);
    }
    match framing {
        // A 204 carries no Content-Length (RFC 9110 §8.6).
        ResponseFraming::None(Some(n)) if head.status != 204 => content_length(out, n),
        ResponseFraming::None(_) | ResponseFraming::UntilClose => {}
        ResponseFraming::Length(n) => content_length(out, n),
        ResponseFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    persist(out, persistence);
    out.extend_from_slice(b"\r\n");
}

/// Ends the head that [`request`] rendered, where it asks for a tunnel: the connection's own fields are said anew.
pub fn upgrade(out: &mut Vec<u8>, protocol: Upgrade) {
    line(out, b"Connection", b"Upgrade");
    line(out, b"Upgrade", protocol.as_str().as_bytes());
}

/// Renders the response that opens a tunnel: 101, or on HTTP/2 the 200 that means the same there (RFC 8441 §5).
pub fn switching(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>, to: Opening) {
    match to {
        Opening::Http1(_) => status_line(out, head.status, head.reason),
        Opening::Http2 => status_line(out, 200, b"OK"),
    }
    let stays = |kind| {
        matches!(
            kind,
            Kind::HopByHop | Kind::Connection | Kind::ContentLength | Kind::TransferEncoding | Kind::Upgrade
        )
    };
    for field in head.fields().filter(|field| !stays(field.kind)) {
        // Whether it fits the key was seen where HTTP/1.1 ended.
        let is_proof = field.name.eq_ignore_ascii_case(b"sec-websocket-accept");
        if !(is_proof && matches!(to, Opening::Http2)) {
            line(out, field.name, field.value);
        }
    }
    if let Opening::Http1(protocol) = to {
        upgrade(out, protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// How a client's wire says that a tunnel begins.
#[derive(Debug, Clone, Copy)]
pub enum Opening {
    Http1(Upgrade),
    Http2,
}

/// Renders an interim (1xx) response for the client.
pub fn interim(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>) {
    status_line(out, head.status, head.reason);
    let passes = |kind| matches!(kind, Kind::EndToEnd | Kind::Protected | Kind::ContentType);
    for field in head.fields().filter(|field| passes(field.kind)) {
        line(out, field.name, field.value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the `Connection` field of a persistence.
pub fn persist(out: &mut Vec<u8>, persistence: Persistence) {
    match persistence {
        Persistence::Keep => {}
        Persistence::KeepSaid => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
    }
}

fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub fn content_length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, n);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The `-shadow` form of a host: the suffix goes before the port and before the dot of the root, behind which no label stands. An
/// IPv6 literal is left alone (it has no labels).
pub fn shadow_host(host: &[u8]) -> Vec<u8> {
    if host.first() == Some(&b'[') {
        return host.to_vec();
    }
    let port = memchr::memchr(b':', host).unwrap_or(host.len());
    let end = host[..port].strip_suffix(b".").filter(|name| !name.is_empty()).map_or(port, <[u8]>::len);
    [&host[..end], b"-shadow", &host[end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, with_request, with_response};
    use super::*;

    const ADD: Forwarding<'static> = Forwarding {
        keeps_id: true,
        traced: None,
        client: b"192.0.2.1",
        proto: b"http",
        client_cert: None,
        request_id: b"id1",
        trust: true,
        via: Some("1.1"),
        is_copy: false,
        host_if_none: b"v1",
    };

    fn request_text(input: &str, add: &Forwarding<'_>) -> String {
        let mut bytes = input.as_bytes().to_vec();
        let mut out = Vec::new();
        with_request(&mut bytes, HeadLimits { line_bytes_max: 8192, fields_max: 100 }, |r| {
            let at = request(&mut out, r, add);
            assert_eq!(&out[at.host_line.clone()], [b"Host: ", &out[at.host.clone()], b"\r\n"].concat());
            end_request(&mut out, r.framing, false, r.expects_continue);
        })
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_goes_on_with_its_own_fields_in_order_and_ours_after() {
        assert_eq!(
            request_text(
                "POST http://b/x?y HTTP/1.1\r\nHost: a\r\nX-b: 1\r\nConnection: close, X-gone\r\nX-gone: 1\r\nX-B: 2\r\n\
                 Keep-Alive: 1\r\nTE: gzip\r\nX-Empty:\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
                &ADD
            ),
            "POST /x?y HTTP/1.1\r\nHost: b\r\nX-b: 1\r\nX-B: 2\r\nX-Empty: \r\nX-Forwarded-For: 192.0.2.1\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nX-Request-Id: id1\r\nVia: 1.1 umbra\r\n\
             Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        );
    }

    #[test]
    fn forwarded_claims_are_kept_or_replaced_as_configured() {
        let input = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
            X-Forwarded-Proto: https\r\nX-Forwarded-Host: c\r\nX-Request-Id: theirs\r\n\r\n";
        assert_eq!(
            request_text(input, &ADD),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: c\r\nX-Request-Id: theirs\r\n\
             X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.1\r\nVia: 1.1 umbra\r\n\r\n"
        );
        assert_eq!(
            request_text(input, &Forwarding { trust: false, ..ADD }),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: theirs\r\nX-Forwarded-For: 192.0.2.1\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.1 umbra\r\n\r\n"
        );
    }

    #[test]
    fn a_response_says_what_the_connection_does() {
        let check = |input: &str, framing, persistence, expect: &str| {
            let mut out = Vec::new();
            with_response(input.as_bytes(), 100, false, |r| {
                response(&mut out, r, framing, persistence, b"now")
            })
            .unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        };
        check(
            "HTTP/1.0 200 Fine\r\nDate: then\r\nConnection: close\r\nX: y\r\n\r\n",
            ResponseFraming::Chunked,
            Persistence::Keep,
            "HTTP/1.1 200 Fine\r\nDate: then\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        check(
            "HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n",
            ResponseFraming::None(Some(5)),
            Persistence::Close,
            "HTTP/1.1 204 \r\nDate: now\r\nConnection: close\r\n\r\n",
        );
    }

    #[test]
    fn via_is_ours_to_add_or_not_and_a_clients_goes_on() {
        let input = "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 before\r\n\r\n";
        let silent = request_text(input, &Forwarding { via: None, ..ADD });
        assert_eq!(silent.matches("Via:").count(), 1);
        assert!(silent.contains("\r\nVia: 1.1 before\r\n") && silent.ends_with("id1\r\n\r\n"), "{silent}");
        assert_eq!(request_text(input, &ADD).matches("Via:").count(), 2);
    }

    #[test]
    fn a_reason_phrase_goes_on_as_it_came() {
        let phrases: [&[u8]; 5] = [b"", b"caf\xe9", b"Not  Found ", b"\xd0\x9d\xd0\xb5\xd1\x82", b"\tx"];
        for phrase in phrases {
            for start in ["", "\r\n"] {
                let head = [start.as_bytes(), b"HTTP/1.1 404 ", phrase, b"\r\nDate: d\r\n\r\n"].concat();
                let mut out = Vec::new();
                with_response(&head, 100, false, |r| {
                    response(&mut out, r, ResponseFraming::Length(0), Persistence::Keep, b"now")
                })
                .unwrap();
                let line = [b"HTTP/1.1 404 ", phrase, b"\r\n"].concat();
                assert!(out.starts_with(&line), "{:?}", String::from_utf8_lossy(&out));
            }
        }
    }

    #[test]
    fn bytes_that_are_no_ascii_go_on_in_values_as_they_came() {
        let values: [&[u8]; 4] = [b"caf\xe9", b"\xd0\x9d\xff", b"a\t\x80b", b""];
        for value in values {
            let line = [b"X: ", value, b"\r\n"].concat();
            let is_there = |out: &[u8]| out.windows(line.len()).any(|part| part == line);
            let mut out = Vec::new();
            let mut head = [b"GET / HTTP/1.1\r\nHost: a\r\n", line.as_slice(), b"\r\n"].concat();
            with_request(&mut head, HeadLimits { line_bytes_max: 8192, fields_max: 100 }, |r| {
                request(&mut out, r, &ADD);
            })
            .unwrap();
            assert!(is_there(&out), "{}", out.escape_ascii());
            let (mut out, mut before) = (Vec::new(), Vec::new());
            let head = [b"HTTP/1.1 200 \r\n", line.as_slice(), b"\r\n"].concat();
            with_response(&head, 100, false, |r| {
                interim(&mut before, r);
                response(&mut out, r, ResponseFraming::Length(0), Persistence::Keep, b"now");
            })
            .unwrap();
            assert!(is_there(&out) && is_there(&before), "{}", out.escape_ascii());
        }
    }

    #[test]
    fn the_shadow_suffix_goes_before_the_port() {
        for (host, expect) in [
            ("a.b", "a.b-shadow"),
            ("a.b:81", "a.b-shadow:81"),
            ("[::1]:8", "[::1]:8"),
            ("a.b.", "a.b-shadow."),
            ("a.b.:81", "a.b-shadow.:81"),
            (".", ".-shadow"),
        ] {
            assert_eq!(shadow_host(host.as_bytes()), expect.as_bytes());
        }
    }

    #[test]
    fn a_field_goes_on_only_where_it_may() {
        let goes = |fields: &str, add: &Forwarding<'_>| {
            let text = request_text(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), add);
            let (_, behind) = text.split_once("Host: a\r\n").unwrap();
            behind.split_once("X-Forwarded-For: 192.0.2.1\r\n").unwrap().0.to_owned()
        };
        let copy = Forwarding { is_copy: true, ..ADD };
        let traced = |belongs: bool| Forwarding { traced: Some(belongs), ..ADD };
        let over_tls = Forwarding { client_cert: Some(""), ..ADD };
        let rows: [(&str, &Forwarding<'_>, bool); 24] = [
            ("A: 1", &ADD, true),
            ("Cookie: a=b", &ADD, true),
            ("Date: d", &ADD, true),
            ("X-Umbra-Proof: p", &ADD, true),
            ("X-Umbra-Mirror: v2", &ADD, false),
            ("X-Umbra-Mirror: v2", &copy, true),
            ("X-Umbra-Copy: 2", &ADD, false),
            ("X-Umbra-Copy: 2", &copy, true),
            ("X_Umbra_Copy: 2", &copy, false),
            ("X_Real_IP: 1.1.1.1", &copy, false),
            ("X-Request-Id: theirs", &ADD, true),
            ("X-Request-Id: theirs", &Forwarding { keeps_id: false, ..ADD }, false),
            ("X-Request-Id: their own", &ADD, false),
            ("traceparent: t", &ADD, true),
            ("tracestate: s", &ADD, true),
            ("traceparent: t", &traced(true), false),
            ("tracestate: s", &traced(true), true),
            ("traceparent: t", &traced(false), false),
            ("tracestate: s", &traced(false), false),
            ("Forwarded: for=a", &ADD, true),
            ("Forwarded: for=a", &Forwarding { trust: false, ..ADD }, false),
            ("Forwarded: for=a", &over_tls, true),
            ("X-Forwarded-Client-Cert: theirs", &over_tls, false),
            ("X-Forwarded-Client-Cert: theirs", &ADD, true),
        ];
        for (field, add, does) in rows {
            let field = format!("{field}\r\n");
            assert_eq!(goes(&field, add), if does { field.as_str() } else { "" }, "{field} {add:?}");
        }
        assert_eq!(
            goes("X-Request-Id: 1\r\nX-Request-Id: 2\r\n", &ADD),
            "X-Request-Id: 1\r\n",
            "one of them"
        );
    }

    #[test]
    fn hops_are_counted_down_where_they_count_and_a_clients_certificate_is_ours_to_say() {
        let of = |line: &str, add: &Forwarding<'_>| {
            request_text(&format!("{line} HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n"), add)
        };
        assert!(of("OPTIONS *", &ADD).contains("\r\nMax-Forwards: 2\r\n"));
        assert!(of("GET /", &ADD).contains("\r\nMax-Forwards: 3\r\n"));
        let certified = of("GET /", &Forwarding { client_cert: Some("Subject=c"), ..ADD });
        assert_eq!(certified.matches("X-Forwarded-Client-Cert: Subject=c\r\n").count(), 1);
        assert!(!of("GET /", &Forwarding { client_cert: Some(""), ..ADD }).contains("Client-Cert"));
        let hostless = request_text("GET / HTTP/1.0\r\n\r\n", &ADD);
        assert!(
            hostless.contains("Host: v1\r\n") && hostless.contains("X-Forwarded-Host: v1\r\n"),
            "{hostless}"
        );
    }

    #[test]
    fn an_id_is_short_and_printable() {
        let long = [b'a'; 129];
        for (id, is) in
            [(&b""[..], false), (b"a", true), (&long[..128], true), (&long, false), (b"a b", false)]
        {
            assert_eq!(is_id(id), is, "{}", id.escape_ascii());
        }
    }

    #[test]
    fn a_request_ends_as_its_content_is_delimited() {
        let end = |framing, expects_content, expect_continue| {
            let mut out = Vec::new();
            end_request(&mut out, framing, expects_content, expect_continue);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(end(Framing::None, false, false), "\r\n");
        assert_eq!(end(Framing::None, true, false), "Content-Length: 0\r\n\r\n");
        assert_eq!(
            end(Framing::Length(1_230), true, true),
            "Content-Length: 1230\r\nExpect: 100-continue\r\n\r\n"
        );
        assert_eq!(end(Framing::Chunked, false, false), "Transfer-Encoding: chunked\r\n\r\n");
        let mut out = Vec::new();
        traceparent(&mut out, b"00-1");
        content_length(&mut out, u64::MAX);
        assert_eq!(out, b"traceparent: 00-1\r\nContent-Length: 18446744073709551615\r\n");
    }

    #[test]
    fn a_response_without_content_says_its_length_unless_it_is_204() {
        let of = |status: u16, framing, persistence| {
            let head = format!("HTTP/1.1 {status} x\r\nDate: d\r\n\r\n");
            let mut out = Vec::new();
            with_response(head.as_bytes(), 100, true, |head| {
                response(&mut out, head, framing, persistence, b"now")
            })
            .unwrap();
            let (_, behind) = std::str::from_utf8(&out).unwrap().split_once("Date: d\r\n").unwrap();
            behind.to_owned()
        };
        let none = ResponseFraming::None(Some(7));
        assert_eq!(of(304, none, Persistence::Keep), "Content-Length: 7\r\n\r\n");
        assert_eq!(of(204, none, Persistence::Keep), "\r\n");
        assert_eq!(
            of(200, ResponseFraming::None(None), Persistence::KeepSaid),
            "Connection: keep-alive\r\n\r\n"
        );
        assert_eq!(of(200, ResponseFraming::Length(0), Persistence::Keep), "Content-Length: 0\r\n\r\n");
        assert_eq!(of(200, ResponseFraming::UntilClose, Persistence::Close), "Connection: close\r\n\r\n");
    }

    #[test]
    fn a_tunnel_opens_in_the_words_of_its_clients_wire_and_an_interim_response_passes() {
        let fields =
            "Connection: upgrade, x\r\nX: gone\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\nB: c\r\n";
        let of = |write: &dyn Fn(&mut Vec<u8>, &ResponseHead<'_, '_>)| {
            let head = format!("HTTP/1.1 101 Go\r\n{fields}Host: h\r\nCookie: k\r\n\r\n");
            let mut out = Vec::new();
            with_response(head.as_bytes(), 100, false, |head| write(&mut out, head)).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            of(&|out, head| switching(out, head, Opening::Http1(Upgrade::WebSocket))),
            "HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: a\r\nB: c\r\nHost: h\r\nCookie: k\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        assert_eq!(
            of(&|out, head| switching(out, head, Opening::Http2)),
            "HTTP/1.1 200 OK\r\nB: c\r\nHost: h\r\nCookie: k\r\n\r\n"
        );
        assert_eq!(
            of(&|out, head| interim(out, head)),
            "HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: a\r\nB: c\r\nCookie: k\r\n\r\n"
        );
    }
}
