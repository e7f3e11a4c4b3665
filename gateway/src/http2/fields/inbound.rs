//! From a block to a head or to trailers: each field is judged where the decoder has just written it, and stays there if it is
//! good.

mod tunnel;

use std::ops::Range;

use super::{Content, Head, NeverIndexed, Scheme, Unfit};
use crate::http1::framing::FramingFields;
use crate::http1::head::{Fault, check_host};
use crate::http1::hop_by_hop;
use crate::http2::hpack::encode::is_secret;
use crate::http2::hpack::{Field, Sink};
use crate::metrics::RejectReason;
use tunnel::is_of_handshake;

/// The kind of message that the block is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Over such a connection.
    Request(Scheme),
    Response,
    /// Of a response or of a request.
    Trailers,
}

/// Room for fields that wait until their place in the head is known; kept from block to block.
#[derive(Debug, Default)]
pub struct Workspace {
    pseudo: Vec<u8>,
    cookies: Vec<u8>,
}

/// Takes the fields of one block.
#[derive(Debug)]
pub struct Collector<'w> {
    expected: Expected,
    out: Vec<u8>,
    work: &'w mut Workspace,
    /// Extended CONNECT was offered (RFC 8441): `:protocol` is known.
    offers_connect: bool,
    protocol: Option<Range<usize>>,
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
    status: u16,
    /// A field was seen: no pseudo-header may follow, and the start line is written.
    has_begun: bool,
    /// Where the value of Host stands, if it came as a field and there is no `:authority`.
    host: Option<Range<usize>>,
    hosts: usize,
    framing: FramingFields,
    takes_trailers: bool,
    never_indexed: NeverIndexed,
    dropped: usize,
    unfit: Option<Unfit>,
}

impl Sink for Collector<'_> {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    #[inline]
    fn field(&mut self, field: Field) {
        if matches!(self.unfit, Some(Unfit::Malformed(_))) {
            return self.out.truncate(field.at);
        }
        if self.out.get(field.at) == Some(&b':') {
            return self.pseudo(field);
        }
        if !field.name_is_good {
            return self.malformed(field, "field name");
        }
        if !field.value_is_good {
            return self.malformed(field, "field value");
        }
        let field = if self.has_begun { field } else { self.begin(field) };
        match self.expected {
            Expected::Request(scheme) => self.of_request(field, scheme),
            Expected::Response => self.of_response(field),
            Expected::Trailers => self.of_trailers(field),
        }
    }
}

impl<'w> Collector<'w> {
    /// Writes into `out`, which is empty.
    pub fn new(expected: Expected, out: Vec<u8>, work: &'w mut Workspace) -> Self {
        debug_assert!(out.is_empty(), "a head stands alone in its buffer");
        work.pseudo.clear();
        work.cookies.clear();
        Self {
            expected,
            out,
            work,
            offers_connect: false,
            protocol: None,
            method: None,
            scheme: None,
            authority: None,
            path: None,
            status: 0,
            has_begun: expected == Expected::Trailers,
            host: None,
            hosts: 0,
            framing: FramingFields::default(),
            takes_trailers: false,
            never_indexed: NeverIndexed::default(),
            dropped: 0,
            unfit: None,
        }
    }

    /// Of a peer that was told that it may ask by extended CONNECT.
    pub fn offering_connect(self, offers_connect: bool) -> Self {
        Self { offers_connect, ..self }
    }

    /// Ends a head. The buffer comes back either way.
    pub fn head(mut self, ends_stream: bool) -> Result<Head, (Unfit, Vec<u8>)> {
        self.start_line(0);
        if let Expected::Request(scheme) = self.expected {
            self.check_host(scheme);
        }
        if !self.work.cookies.is_empty() {
            // RFC 9113 §8.2.3: one field where it leaves HTTP/2.
            self.out.extend_from_slice(b"cookie: ");
            self.out.extend_from_slice(&self.work.cookies);
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
        let content = match self.framing.length() {
            _ if ends_stream || self.protocol.is_some() => Content::None,
            Some(length) => Content::Length(length),
            None => Content::UntilEnd,
        };
        let is_request = self.expected != Expected::Response;
        if is_request && ends_stream && self.framing.declares_content() {
            self.fail("content-length without content");
        }
        if self.protocol.is_some() && self.framing.length().is_some() {
            self.fail("content-length of a tunnel");
        }
        match self.unfit {
            Some(unfit) => Err((unfit, self.out)),
            None => Ok(Head {
                lines: self.out,
                status: self.status,
                content,
                length: self.framing.length(),
                takes_trailers: self.takes_trailers,
                is_tunnel: self.protocol.is_some(),
                never_indexed: self.never_indexed,
            }),
        }
    }

    /// Ends trailers: the permitted lines, each with its CRLF, and how many were not.
    pub fn trailers(self) -> Result<(Vec<u8>, usize), (Unfit, Vec<u8>)> {
        match self.unfit {
            Some(unfit) => Err((unfit, self.out)),
            None => Ok((self.out, self.dropped)),
        }
    }

    /// Gives the buffer back where the block was too large: with the head as far as it was read and is well-formed.
    pub fn into_buffer(mut self) -> Vec<u8> {
        self.start_line(0);
        if matches!(self.unfit, Some(Unfit::Malformed(_))) {
            self.out.clear();
        }
        self.out
    }

    fn fail(&mut self, why: &'static str) {
        if !matches!(self.unfit, Some(Unfit::Malformed(_))) {
            self.unfit = Some(Unfit::Malformed(why));
        }
    }

    fn malformed(&mut self, field: Field, why: &'static str) {
        self.out.truncate(field.at);
        self.fail(why);
    }

    fn refuse(&mut self, fault: Fault) {
        self.unfit.get_or_insert(Unfit::Refused(fault));
    }

    fn name(&self, field: Field) -> &[u8] {
        self.out.get(field.at..field.at + field.name_len).unwrap_or_default()
    }

    fn value(&self, field: Field) -> &[u8] {
        self.out.get(self.out.len() - field.value_len..).unwrap_or_default()
    }

    /// Pseudo-headers come first, once each, none empty, none unknown (RFC 9113 §8.3).
    fn pseudo(&mut self, field: Field) {
        if self.has_begun {
            let why = match self.expected {
                Expected::Request(_) | Expected::Response => "pseudo-header behind a field",
                Expected::Trailers => "pseudo-header in trailers",
            };
            return self.malformed(field, why);
        }
        let value = self.out.get(self.out.len() - field.value_len..).unwrap_or_default();
        let at = self.work.pseudo.len();
        self.work.pseudo.extend_from_slice(value);
        let value = at..at + field.value_len;
        let text = self.work.pseudo.get(value.clone()).unwrap_or_default();
        let is_text = !text.is_empty() && text.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        let name = self.out.get(field.at..field.at + field.name_len).unwrap_or_default();
        let slot = match (self.expected, name) {
            (Expected::Request(_), b":method") => &mut self.method,
            (Expected::Request(_), b":scheme") => &mut self.scheme,
            (Expected::Request(_), b":authority") => &mut self.authority,
            (Expected::Request(_), b":path") => &mut self.path,
            (Expected::Request(_), b":protocol") if self.offers_connect => &mut self.protocol,
            (Expected::Response, b":status") => {
                let is_first = self.status == 0;
                self.status = status(text).filter(|_| is_first).unwrap_or(0);
                if self.status == 0 {
                    return self.malformed(field, "status");
                }
                return self.out.truncate(field.at);
            }
            _ => return self.malformed(field, "unknown pseudo-header"),
        };
        if slot.replace(value).is_some() {
            return self.malformed(field, "repeated pseudo-header");
        }
        if !is_text {
            return self.malformed(field, "pseudo-header");
        }
        self.out.truncate(field.at);
    }

    /// Puts the start line in front of the first field.
    fn begin(&mut self, field: Field) -> Field {
        let at = self.start_line(field.at);
        Field { at, ..field }
    }

    /// Writes the start line, and Host from `:authority`, in front of the field at `at`; returns the new place of the field.
    fn start_line(&mut self, at: usize) -> usize {
        if std::mem::replace(&mut self.has_begun, true) {
            return at;
        }
        let end = self.out.len();
        match self.expected {
            Expected::Request(scheme) => self.request_line(scheme),
            Expected::Response => self.status_line(),
            Expected::Trailers => {}
        }
        if let Some(written) = self.out.get_mut(at..) {
            written.rotate_left(end - at);
        }
        self.out.len() - (end - at)
    }

    fn request_line(&mut self, scheme: Scheme) {
        let part = |range: &Option<Range<usize>>| {
            range.clone().and_then(|range| self.work.pseudo.get(range)).unwrap_or_default()
        };
        let (method, path, authority) = (part(&self.method), part(&self.path), part(&self.authority));
        if self.protocol.is_some() {
            return self.tunnel_line(scheme);
        }
        let (is_connect, is_options) = (method == b"CONNECT", method == b"OPTIONS");
        let is_token =
            method.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte));
        let names_scheme = part(&self.scheme).eq_ignore_ascii_case(scheme.text());
        let is_good_path = match path {
            [b'/', ..] => path.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'),
            b"*" => is_options,
            _ => false,
        };
        self.out.extend_from_slice(method);
        self.out.push(b' ');
        self.out.extend_from_slice(path);
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
        if !authority.is_empty() {
            self.out.extend_from_slice(b"host: ");
            self.out.extend_from_slice(authority);
            self.out.extend_from_slice(b"\r\n");
        }
        let (has_scheme, has_path) = (self.scheme.is_some(), self.path.is_some());
        if self.method.is_none() || !is_token {
            return self.fail("method");
        }
        if is_connect {
            // RFC 9113 §8.5: without scheme and path. A tunnel is not offered.
            if has_scheme || has_path || self.authority.is_none() {
                return self.fail("CONNECT with a scheme or a path, or without an authority");
            }
            return self.refuse(Fault::new(405, RejectReason::Connect, "CONNECT is not offered"));
        }
        if !has_scheme || !has_path {
            return self.fail("missing pseudo-header");
        }
        if !names_scheme {
            self.refuse(Fault::bad(":scheme is not the connection's"));
        }
        if !is_good_path {
            self.refuse(Fault::bad("malformed :path"));
        }
    }

    fn status_line(&mut self) {
        if self.status == 0 {
            self.fail("no status");
        }
        self.out.extend_from_slice(b"HTTP/1.1 ");
        let digit = |n: u16| b'0' + (n % 10) as u8;
        self.out.extend_from_slice(&[digit(self.status / 100), digit(self.status / 10), digit(self.status)]);
        self.out.extend_from_slice(b" \r\n");
    }

    /// Checks that there is one Host: `:authority`, which a Host field may repeat (RFC 9113 §8.3.1), else that field.
    fn check_host(&mut self, scheme: Scheme) {
        let authority = self.authority.clone().and_then(|range| self.work.pseudo.get(range));
        let field = self.host.clone().and_then(|range| self.out.get(range));
        let without_port = |host: &[u8]| host.strip_suffix(scheme.port()).unwrap_or(host).to_vec();
        let fault = match (authority, field, self.hosts) {
            (None, None, _) => Some(Fault::bad("Host is missing")),
            (_, _, 2..) => Some(Fault::bad("more than one Host")),
            // Another spelling of it means the same (RFC 3986 §6.2.2.1).
            (Some(given), Some(other), _)
                if given != other && !without_port(given).eq_ignore_ascii_case(&without_port(other)) =>
            {
                Some(Fault::bad("Host is not :authority"))
            }
            (Some(given), _, _) | (None, Some(given), _) => check_host(given).err(),
        };
        if let Some(range) = self.host.clone().filter(|_| self.authority.is_some()) {
            // The field was kept to be compared: now the line goes, its name before it and its CRLF behind.
            self.out.drain(range.start.saturating_sub(b"host: ".len())..range.end + 2);
        }
        if let Some(fault) = fault {
            self.refuse(fault);
        }
    }

    #[inline]
    fn of_request(&mut self, field: Field, _scheme: Scheme) {
        match meaning(self.name(field)) {
            Meaning::Plain if self.protocol.is_some() && is_of_handshake(self.name(field)) => {
                return self.out.truncate(field.at);
            }
            Meaning::Plain => {}
            Meaning::Length => return self.length(field),
            Meaning::Cookie => {
                let value = self.out.get(self.out.len() - field.value_len..).unwrap_or_default();
                if !value.is_empty() {
                    if !self.work.cookies.is_empty() {
                        self.work.cookies.extend_from_slice(b"; ");
                    }
                    self.work.cookies.extend_from_slice(value);
                }
                return self.out.truncate(field.at);
            }
            Meaning::Host => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return self.out.truncate(field.at);
                }
                let end = self.out.len();
                self.host = Some(end - field.value_len..end);
            }
            Meaning::Te if self.value(field).eq_ignore_ascii_case(b"trailers") => self.takes_trailers = true,
            Meaning::Te => return self.malformed(field, "te other than trailers"),
            Meaning::OfConnection => return self.malformed(field, "field of a connection"),
        }
        self.keep(field);
    }

    #[inline]
    fn of_response(&mut self, field: Field) {
        match meaning(self.name(field)) {
            Meaning::Plain if self.name(field) == b"alt-svc" => {
                // `alt-svc` would lead clients round the gateway.
                self.dropped += 1;
                return self.out.truncate(field.at);
            }
            Meaning::Plain | Meaning::Cookie | Meaning::Host => {}
            Meaning::Length => return self.length(field),
            Meaning::Te | Meaning::OfConnection => return self.malformed(field, "field of a connection"),
        }
        self.keep(field);
    }

    fn of_trailers(&mut self, field: Field) {
        let name = self.name(field);
        let is_kept = match meaning(name) {
            Meaning::Plain => !hop_by_hop::forbidden_in_trailers(name) && name != b"alt-svc",
            Meaning::Length | Meaning::Cookie | Meaning::Host | Meaning::Te | Meaning::OfConnection => false,
        };
        if is_kept {
            self.keep(field);
        } else {
            self.dropped += 1;
            self.out.truncate(field.at);
        }
    }

    fn length(&mut self, field: Field) {
        let value = self.out.get(self.out.len() - field.value_len..).unwrap_or_default();
        self.framing.content_length(value);
        // Whether it was one, and the first, is known by asking for a framing.
        if self.framing.of_request(1).is_err() {
            return self.malformed(field, "content-length");
        }
        self.keep(field);
    }

    #[inline]
    fn keep(&mut self, field: Field) {
        if field.never_indexed {
            let name = self.out.get(field.at..field.at + field.name_len).unwrap_or_default();
            if !is_secret(name) {
                self.never_indexed.add(name);
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Three digits from 100 to 599; 101 has no meaning here (RFC 9113 §8.6).
fn status(text: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] = text else { return None };
    let status = [a, b, c].into_iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    (status != 101).then_some(status)
}

/// The meaning of a name to a stream's end.
enum Meaning {
    Plain,
    Length,
    Cookie,
    Host,
    Te,
    /// RFC 9113 §8.2.2: a field that speaks of a connection makes a message malformed.
    OfConnection,
}

#[inline]
fn meaning(name: &[u8]) -> Meaning {
    match name {
        b"te" => Meaning::Te,
        b"host" => Meaning::Host,
        b"cookie" => Meaning::Cookie,
        b"content-length" => Meaning::Length,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
        | b"http2-settings" => Meaning::OfConnection,
        _ => Meaning::Plain,
    }
}
