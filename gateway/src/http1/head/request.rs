//! The head of a request: one target, one Host, one framing, or the status that refuses it.

use std::mem::MaybeUninit;

use super::{Fault, Field, fields, names_upgrade, nominate};
use crate::asked::Fields;
use crate::http1::chunked::is_token;
use crate::http1::framing::{Framing, FramingFields};
use crate::http1::handshake::{Handshake, HandshakeFields};
use crate::http1::hop_by_hop::{self, ConnectionOptions, Kind};
use crate::http1::scan::HeadScanner;
use crate::limits::{CONNECTION_OPTIONS_MAX, FIELDS_CEILING};
use crate::metrics::RejectReason;

/// Methods the gateway treats differently from one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Options,
    Put,
    Delete,
    Post,
    /// Any other token, passed as it is and assumed neither safe nor idempotent.
    Other,
}

impl Method {
    fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"POST" => Self::Post,
            _ => Self::Other,
        }
    }

    /// Whether a request may be sent again when its connection broke (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        match self {
            Self::Get | Self::Head | Self::Options | Self::Put | Self::Delete => true,
            Self::Post | Self::Other => false,
        }
    }
}

/// A request head that may be forwarded.
#[derive(Debug)]
pub struct RequestHead<'b, 'h> {
    pub method: Method,
    pub method_token: &'b [u8],
    /// Goes before `target` on our request line: `/` or `*` where an absolute target had no path, else nothing.
    pub target_prefix: &'static [u8],
    /// Path and query in origin form, or `*`.
    pub target: &'b [u8],
    /// Host to forward; empty only for HTTP/1.0 without one.
    pub host: &'b [u8],
    /// 0 or 1.
    pub minor: u8,
    pub framing: Framing,
    /// The client wants the connection kept.
    pub keep_alive: bool,
    /// The client waits for an interim answer before it sends its content.
    pub expects_continue: bool,
    /// The request says that it is a mirror's copy, which any client may say.
    pub is_marked: bool,
    /// The request has a proof of that.
    pub has_proof: bool,
    /// How many more hops it may take; 0 is never seen here. Only for OPTIONS (RFC 9110 §7.6.2).
    pub max_forwards: Option<u64>,
    /// The request asks for another protocol than HTTP, well-formed or not.
    pub offers_upgrade: bool,
    /// The request asks, correctly, for a tunnel that could be had.
    pub handshake: Option<Handshake>,
    headers: &'h [httparse::Header<'b>],
    kinds: &'h [Kind],
}

impl<'b> RequestHead<'b, '_> {
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> {
        fields(self.headers, self.kinds)
    }

    /// The path without its query.
    pub fn path(&self) -> &[u8] {
        if self.target.is_empty() || self.target[0] == b'?' {
            return self.target_prefix;
        }
        let end = memchr::memchr(b'?', self.target).unwrap_or(self.target.len());
        &self.target[..end]
    }
}

impl RequestHead<'_, '_> {
    /// The query without its `?`.
    pub fn query(&self) -> Option<&[u8]> {
        let at = memchr::memchr(b'?', self.target)?;
        Some(&self.target[at + 1..])
    }
}

impl Fields for RequestHead<'_, '_> {
    fn visit(&self, see: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let _all = self.headers.iter().all(|h| see(h.name.as_bytes(), h.value));
    }
}

/// Bounds of one head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    pub line_bytes_max: usize,
    pub fields_max: usize,
}

/// Parses the complete request head `head` (its empty line included) and hands it to `then`.
pub fn with_request<R>(
    head: &mut [u8],
    limits: HeadLimits,
    then: impl FnOnce(&RequestHead<'_, '_>) -> R,
) -> Result<R, Fault> {
    let line_len = HeadScanner::first_line_len(head);
    if line_len > limits.line_bytes_max {
        return Err(Fault::new(414, RejectReason::UriTooLong, "request line too long"));
    }
    accept_later_minor(&mut head[..line_len]);
    let head = &*head;

    let mut table = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let mut request = httparse::Request::new(&mut []);
    let table = &mut table[..limits.fields_max.min(FIELDS_CEILING)];
    match request.parse_with_uninit_headers(head, table) {
        Ok(httparse::Status::Complete(used)) if used == head.len() => {}
        Ok(_) => return Err(Fault::bad("malformed head")),
        Err(error) => return Err(request_fault(error, &head[..line_len])),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Fault::bad("malformed request line"));
    };
    let mut kinds = [Kind::EndToEnd; FIELDS_CEILING];
    let facts = RequestFacts::gather(request.headers, &mut kinds)?;

    let method_token = method.as_bytes();
    if method_token == b"CONNECT" {
        return Err(Fault::new(405, RejectReason::Connect, "CONNECT is not offered"));
    }
    if method_token == b"TRACE" {
        return Err(Fault::new(405, RejectReason::Trace, "TRACE is not offered"));
    }
    let method = Method::of(method_token);
    let target = Target::parse(target.as_bytes(), method)?;
    let host = match (facts.hosts, target.authority) {
        (0, None) if minor == 0 => b"".as_slice(),
        (0, _) if minor > 0 => return Err(Fault::bad("Host is missing")),
        (2.., _) => return Err(Fault::bad("more than one Host")),
        (_, authority) => {
            let given = if facts.hosts == 0 { authority.unwrap_or_default() } else { facts.host };
            check_host(given)?;
            // RFC 9112 §3.2.2: an absolute target's authority replaces Host.
            authority.map(|used| check_host(used).map(|()| used)).transpose()?.unwrap_or(given)
        }
    };
    let framing = facts.framing.of_request(minor).map_err(|_| Fault::bad("ambiguous message framing"))?;
    if facts.unknown_expectation && minor > 0 {
        return Err(Fault::new(417, RejectReason::Expectation, "unknown expectation"));
    }
    // A value that is no number cannot be counted down, and passes.
    let hops = facts.max_forwards.filter(|_| method == Method::Options);
    let max_forwards = hops.and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
    if max_forwards == Some(0) {
        return Err(Fault::new(200, RejectReason::MaxForwards, "may go no further than this gateway"));
    }
    let options = facts.options;
    Ok(then(&RequestHead {
        method,
        method_token,
        target_prefix: target.prefix,
        target: target.rest,
        host,
        minor,
        framing,
        keep_alive: !options.close && (minor > 0 || options.keep_alive),
        expects_continue: facts.expects_continue && minor > 0 && framing != Framing::None,
        is_marked: facts.is_marked,
        has_proof: facts.has_proof,
        max_forwards,
        offers_upgrade: facts.offers_upgrade && minor > 0,
        handshake: facts.handshake.opened().filter(|_| {
            facts.offers_upgrade && minor > 0 && method == Method::Get && framing == Framing::None
        }),
        headers: request.headers,
        kinds: &kinds,
    }))
}

/// RFC 9110 §2.5: a later minor version is served as the latest we know. httparse knows 1.0 and 1.1 only.
fn accept_later_minor(line: &mut [u8]) {
    if let [_, .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9'] = line {
        *minor = b'1';
    }
}

fn request_fault(error: httparse::Error, line: &[u8]) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::new(431, RejectReason::HeadTooLarge, "too many fields"),
        httparse::Error::Version => {
            let version = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
            // More than two spaces: the target cannot be told, whatever comes last.
            let is_other_version = memchr::memchr_iter(b' ', line).count() == 2
                && version.len() == 8
                && version.starts_with(b"HTTP/")
                && version[5].is_ascii_digit()
                && version[6] == b'.'
                && version[7].is_ascii_digit();
            if is_other_version {
                Fault::new(505, RejectReason::Version, "HTTP/1.1 is spoken here")
            } else {
                Fault::bad("malformed version")
            }
        }
        httparse::Error::Token => Fault::bad("malformed method or target"),
        httparse::Error::HeaderName => Fault::bad("malformed field name"),
        httparse::Error::HeaderValue => Fault::bad("malformed field value"),
        httparse::Error::NewLine => Fault::bad("malformed line end"),
        httparse::Error::Status => Fault::bad("malformed head"),
    }
}

/// The facts that the fields of a request say together.
#[derive(Default)]
struct RequestFacts<'b> {
    framing: FramingFields,
    options: ConnectionOptions,
    hosts: usize,
    host: &'b [u8],
    expects_continue: bool,
    unknown_expectation: bool,
    offers_upgrade: bool,
    handshake: HandshakeFields<'b>,
    is_marked: bool,
    has_proof: bool,
    max_forwards: Option<&'b [u8]>,
}

impl<'b> RequestFacts<'b> {
    fn gather(headers: &[httparse::Header<'b>], kinds: &mut [Kind]) -> Result<Self, Fault> {
        let mut facts = Self::default();
        for (header, slot) in headers.iter().zip(kinds.iter_mut()) {
            *slot = hop_by_hop::kind(header.name.as_bytes());
            match *slot {
                Kind::ContentLength => facts.framing.content_length(header.value),
                Kind::TransferEncoding => facts.framing.transfer_encoding(header.value),
                Kind::Connection => facts.options.add(header.value),
                Kind::Host => {
                    facts.hosts += 1;
                    facts.host = header.value;
                }
                Kind::Expect if header.value.eq_ignore_ascii_case(b"100-continue") => {
                    facts.expects_continue = true
                }
                Kind::Expect => facts.unknown_expectation = true,
                Kind::Upgrade => facts.handshake.upgrade(header.value),
                Kind::MirrorMark => facts.is_marked = true,
                Kind::MirrorProof => facts.has_proof = true,
                Kind::MaxForwards => facts.max_forwards = Some(header.value),
                Kind::EndToEnd => facts.handshake.field(header.name.as_bytes(), header.value),
                Kind::HopByHop
                | Kind::Via
                | Kind::ForwardedFor
                | Kind::ForwardedProto
                | Kind::ForwardedHost
                | Kind::Claim
                | Kind::Ours
                | Kind::RequestId
                | Kind::TraceParent
                | Kind::TraceState
                | Kind::Protected
                | Kind::ContentType
                | Kind::Date => {}
            }
        }
        if facts.options.count > CONNECTION_OPTIONS_MAX {
            return Err(Fault::bad("too many Connection options"));
        }
        if facts.options.nominates {
            facts.offers_upgrade = facts.handshake.upgrades > 0 && names_upgrade(headers, kinds);
            nominate(headers, kinds);
        }
        Ok(facts)
    }
}

/// A request target reduced to the form on our own request line.
struct Target<'b> {
    authority: Option<&'b [u8]>,
    prefix: &'static [u8],
    rest: &'b [u8],
}

impl<'b> Target<'b> {
    fn parse(target: &'b [u8], method: Method) -> Result<Self, Fault> {
        if !target.iter().all(|b| (b'!'..=b'~').contains(b) && *b != b'#') {
            return Err(Fault::bad("forbidden byte in target"));
        }
        match target {
            [b'/', ..] => Ok(Self { authority: None, prefix: b"", rest: target }),
            b"*" if method == Method::Options => Ok(Self { authority: None, prefix: b"", rest: target }),
            _ => Self::absolute(target, method),
        }
    }

    fn absolute(target: &'b [u8], method: Method) -> Result<Self, Fault> {
        let after = |scheme: &[u8]| {
            target
                .get(..scheme.len())
                .filter(|s| s.eq_ignore_ascii_case(scheme))
                .map(|_| &target[scheme.len()..])
        };
        let rest = after(b"http://").or_else(|| after(b"https://")).ok_or(Fault::bad("malformed target"))?;
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let prefix: &[u8] = match rest.first() {
            Some(b'/') => b"",
            None if method == Method::Options => b"*",
            _ => b"/",
        };
        Ok(Self { authority: Some(authority), prefix, rest })
    }
}

/// Whether a byte may stand in a registered name or an IPv4 address.
const IS_OF_NAME: [bool; 256] = {
    let mut all = [false; 256];
    let others = b"-._~%!$&'()*+;=";
    let mut at = 0;
    while at < others.len() {
        all[others[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            all[byte as usize] = true;
        }
        byte += 1;
    }
    all
};

/// `uri-host [ ":" port ]` without userinfo (RFC 9110 §7.2, RFC 3986 §3.2.2).
pub(crate) fn check_host(host: &[u8]) -> Result<(), Fault> {
    const BAD: Fault = Fault::bad("malformed Host");
    let (name, port) = if host.first() == Some(&b'[') {
        let end = memchr::memchr(b']', host).ok_or(BAD)?;
        let (name, port) = host.split_at(end + 1);
        if !name[1..end].iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) || end < 3 {
            return Err(BAD);
        }
        (name, port)
    } else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        let (name, port) = host.split_at(end);
        if !name.iter().all(|byte| IS_OF_NAME[usize::from(*byte)]) {
            return Err(BAD);
        }
        (name, port)
    };
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().fold(0u32, |n, d| n * 10 + u32::from(d - b'0')) <= 65_535
        }
        _ => false,
    };
    if name.is_empty() || !port_is_valid { Err(BAD) } else { Ok(()) }
}

/// Whether the first byte of a connection can start a request at all; anything else (a TLS handshake, say) is refused at
/// once instead of being waited for.
pub fn may_start_request(first: u8) -> bool {
    is_token(first) || first == b'\r'
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { line_bytes_max: 8192, fields_max: 100 };

    fn status(head: &str) -> u16 {
        let mut bytes = head.as_bytes().to_vec();
        with_request(&mut bytes, LIMITS, |_| ()).map_or_else(|f| f.status, |()| 200)
    }

    #[test]
    fn heads_are_accepted_or_refused_with_the_right_status() {
        for (head, expect) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET / HTTP/1.0\r\n\r\n", 200),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 200),
            ("SLUDGE /x HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("PRI * HTTP/2.0\r\n\r\n", 505),
            ("GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
            ("GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /?q=\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http://a/\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /%C3%A4 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: \u{e4}.example\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a.:00080\r\n\r\n", 200),
            // A zone is its machine's own, and means nothing to another (RFC 6874 §1).
            ("GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n fold\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nx[y: 1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nx: \u{1}\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n", 400),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", 200),
            ("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
            ("POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.9\r\nHost: a\r\n\r\n", 200),
            ("GET /2\r\n\r\n", 400),
            ("GET / x HTTP/2.0\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.00\r\nHost: a\r\n\r\n", 400),
            ("GET / XTTP/2.0\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/a.0\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2x0\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/2.a\r\nHost: a\r\n\r\n", 400),
            ("GET http://b/ HTTP/1.0\r\n\r\n", 200),
            ("GET http://b/ HTTP/1.1\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\nExpect: x\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: [::]\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: [:]\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [zzz]\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
            // Something behind the head.
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nX", 400),
        ] {
            assert_eq!(status(head), expect, "{head:?}");
        }
    }

    #[test]
    fn a_method_says_whether_a_request_may_be_sent_again() {
        for (token, method, may) in [
            ("GET", Method::Get, true),
            ("HEAD", Method::Head, true),
            ("OPTIONS", Method::Options, true),
            ("PUT", Method::Put, true),
            ("DELETE", Method::Delete, true),
            ("POST", Method::Post, false),
            ("PATCH", Method::Other, false),
            ("get", Method::Other, false),
        ] {
            assert_eq!(Method::of(token.as_bytes()), method, "{token}");
            assert_eq!(method.is_idempotent(), may, "{token}");
        }
    }

    /// The result of `read` on a request with this line and these fields.
    #[track_caller]
    fn of_request<R>(line: &str, fields: &str, read: impl FnOnce(&RequestHead<'_, '_>) -> R) -> R {
        let mut head = format!("{line}\r\nHost: a\r\n{fields}\r\n").into_bytes();
        with_request(&mut head, LIMITS, read).unwrap()
    }

    #[test]
    fn what_a_request_expects_and_offers_counts_from_http_1_1_on_and_an_expectation_only_of_content() {
        let (expect, length) = ("Expect: 100-Continue\r\n", "Content-Length: 1\r\n");
        let upgrade = "Connection: x, upgrade\r\nUpgrade: h2c\r\n";
        for (line, fields, expects, offers) in [
            ("POST / HTTP/1.1", format!("{expect}{length}"), true, false),
            ("POST / HTTP/1.0", format!("{expect}{length}"), false, false),
            ("POST / HTTP/1.1", expect.to_owned(), false, false),
            ("POST / HTTP/1.1", length.to_owned(), false, false),
            ("GET / HTTP/1.1", upgrade.to_owned(), false, true),
            ("GET / HTTP/1.0", upgrade.to_owned(), false, false),
            ("GET / HTTP/1.1", "Upgrade: h2c\r\nConnection: x\r\n".to_owned(), false, false),
            ("GET / HTTP/1.1", "Connection: upgrade\r\n".to_owned(), false, false),
        ] {
            let of = of_request(line, &fields, |head| (head.expects_continue, head.offers_upgrade));
            assert_eq!(of, (expects, offers), "{line} {fields}");
        }
        let marks =
            |fields: &str| of_request("GET / HTTP/1.1", fields, |head| (head.is_marked, head.has_proof));
        assert_eq!(marks(""), (false, false));
        assert_eq!(marks("X-Umbra-Mirror: a\r\n"), (true, false));
        assert_eq!(marks("X-Umbra-Proof: a\r\n"), (false, true));
    }

    #[test]
    fn only_options_is_counted_down_and_ends_here_at_nothing() {
        let hops = |method: &str, hops: &str| {
            let mut head =
                format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {hops}\r\n\r\n").into_bytes();
            with_request(&mut head, LIMITS, |head| head.max_forwards).map_err(|fault| fault.reject)
        };
        assert_eq!(hops("OPTIONS", "2"), Ok(Some(2)));
        assert_eq!(hops("OPTIONS", "0"), Err(RejectReason::MaxForwards));
        assert_eq!(hops("OPTIONS", "x"), Ok(None));
        assert_eq!(hops("GET", "0"), Ok(None));
    }

    #[test]
    fn bounds_of_a_request_are_met_exactly() {
        let of = |line_bytes_max: usize, fields_max: usize, options: usize| {
            let (path, options) = ("a".repeat(85), "x,".repeat(options));
            let head = format!("GET /{path} HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n");
            let limits = HeadLimits { line_bytes_max, fields_max };
            let of = with_request(&mut head.into_bytes(), limits, |_| ());
            of.map_or_else(|fault| fault.status, |()| 200)
        };
        assert_eq!([of(99, 2, 1), of(98, 2, 1)], [200, 414]);
        assert_eq!([of(99, 2, 1), of(99, 1, 1)], [200, 431]);
        assert_eq!([CONNECTION_OPTIONS_MAX, CONNECTION_OPTIONS_MAX + 1].map(|n| of(99, 2, n)), [200, 400]);
    }

    #[test]
    fn a_request_shows_its_query_and_its_fields() {
        let query = |line: &str| of_request(line, "", |head| head.query().map(<[u8]>::to_vec));
        assert_eq!(query("GET /x?y?z HTTP/1.1"), Some(b"y?z".to_vec()));
        assert_eq!(query("GET /x HTTP/1.1"), None);
        let mut seen = Vec::new();
        of_request("GET / HTTP/1.1", "A: 1\r\nB: 2\r\nC: 3\r\n", |head| {
            head.visit(&mut |name, value| {
                seen.push([name, value].concat());
                name != b"B"
            });
        });
        assert_eq!(seen, [&b"Hosta"[..], b"A1", b"B2"], "it shows no more than is wanted");
    }

    #[test]
    fn a_connection_that_begins_with_no_method_is_known_at_its_first_byte() {
        for (first, may) in
            [(b'G', true), (b'!', true), (b'\r', true), (b'\n', false), (b' ', false), (0x16, false)]
        {
            assert_eq!(may_start_request(first), may, "{first}");
        }
    }

    #[test]
    fn an_absolute_target_becomes_origin_form_and_its_authority_the_host() {
        let check = |head: &str, expect: (&str, &str, &str)| {
            let mut bytes = head.as_bytes().to_vec();
            let got = with_request(&mut bytes, LIMITS, |r| {
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                (text(r.host), text(r.target_prefix) + &text(r.target), text(r.path()))
            });
            assert_eq!(got, Ok((expect.0.into(), expect.1.into(), expect.2.into())), "{head:?}");
        };
        check("GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", ("b:81", "/x?y", "/x"));
        check("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", ("b", "/", "/"));
        check("GET HTTP://b?q HTTP/1.1\r\nHost: a\r\n\r\n", ("b", "/?q", "/"));
        check("GET httpS://b/x HTTP/1.1\r\nHost: a\r\n\r\n", ("b", "/x", "/x"));
        check("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", ("b", "*", "*"));
        check("GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n", ("a", "/x?y", "/x"));
    }

    #[test]
    fn a_client_cannot_nominate_away_what_routes_frames_or_authenticates() {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret, Host, Authorization\r\n\
            X-Secret: 1\r\nAuthorization: b\r\nX-Kept: 2\r\n\r\n"
            .to_vec();
        let kinds = with_request(&mut head, LIMITS, |r| r.fields().map(|f| f.kind).collect::<Vec<_>>());
        assert_eq!(
            kinds,
            Ok(vec![Kind::Host, Kind::Connection, Kind::HopByHop, Kind::Protected, Kind::EndToEnd])
        );
    }
}
