//! The status of a gRPC call, wherever it is, its meaning in terms of HTTP, and the time that a call may take. Pure.
//!
//! A call is answered 200 whatever its outcome. The outcome is `grpc-status`, in the trailers, or in a head that nothing
//! follows; gRPC-Web's trailers are a part of the content (`web`).

pub mod web;

use crate::field_lines::{self, first, values};

/// A status that is none of HTTP's: `grpc-status`, 0 to 16; another number is UNKNOWN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(u8);

/// By number: its label in counters, and its nearest in HTTP.
const STATUSES: [(&str, u16); 17] = [
    ("grpc_ok", 200),
    ("grpc_cancelled", 499),
    ("grpc_unknown", 500),
    ("grpc_invalid_argument", 400),
    ("grpc_deadline_exceeded", 504),
    ("grpc_not_found", 404),
    ("grpc_already_exists", 409),
    ("grpc_permission_denied", 403),
    ("grpc_resource_exhausted", 429),
    ("grpc_failed_precondition", 400),
    ("grpc_aborted", 409),
    ("grpc_out_of_range", 400),
    ("grpc_unimplemented", 501),
    ("grpc_internal", 500),
    ("grpc_unavailable", 503),
    ("grpc_data_loss", 500),
    ("grpc_unauthenticated", 401),
];

/// How many there are.
pub const STATUSES_MAX: usize = STATUSES.len();

impl Status {
    pub const UNKNOWN: Self = Self(2);
    pub const DEADLINE_EXCEEDED: Self = Self(4);

    pub fn of(number: u8) -> Self {
        if usize::from(number) < STATUSES_MAX { Self(number) } else { Self::UNKNOWN }
    }

    /// That of lines of fields, where they have one. Of two that contradict each other neither counts.
    pub fn within(lines: &[u8]) -> Option<Self> {
        let mut all = values(lines, b"grpc-status").map(Self::read);
        let first = all.next()?;
        Some(if all.all(|other| other == first) { first } else { Self::UNKNOWN })
    }

    /// The status in a field's value: digits and nothing else.
    pub fn read(value: &[u8]) -> Self {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|text| text.parse().ok()).map_or(Self::UNKNOWN, Self::of)
    }

    /// The one that is counted as `name`.
    pub fn named(name: &str) -> Option<Self> {
        let at = STATUSES.iter().position(|(known, _)| *known == name)?;
        Some(Self(at as u8))
    }

    /// The gateway's own responses of this HTTP status in a call's terms.
    pub fn of_http(status: u16) -> Self {
        Self(match status {
            200..300 => 0,
            400 => 13,
            401 => 16,
            403 => 7,
            404 | 405 | 501 => 12,
            408 | 504 => 4,
            413 | 431 => 8,
            429 | 502 | 503 => 14,
            _ => 2,
        })
    }

    pub fn number(self) -> u8 {
        self.0
    }

    pub fn name(self) -> &'static str {
        STATUSES.get(usize::from(self.0)).map_or("grpc_unknown", |(name, _)| name)
    }

    /// The nearest status of HTTP. Statuses that a server is responsible for become 5xx: UNKNOWN, DEADLINE_EXCEEDED,
    /// UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
    pub fn as_http(self) -> u16 {
        STATUSES.get(usize::from(self.0)).map_or(500, |(_, http)| *http)
    }

    /// Whether callers can cause it: UNIMPLEMENTED answers a call of an unknown method, DEADLINE_EXCEEDED one with too little
    /// time. Neither tells anything of the server.
    pub fn is_for_callers_to_cause(self) -> bool {
        matches!(self.0, 4 | 12)
    }

    pub fn is_error(self) -> bool {
        self.as_http() >= 500
    }
}

/// Reads a response's gRPC status while the response comes: the place where it is to be found, and the status once it is known.
#[derive(Debug, PartialEq, Eq, Default)]
pub enum StatusReader {
    /// The response is no call's: it has an HTTP status alone.
    #[default]
    NotGrpc,
    /// The status is to come with the trailers.
    InTrailers,
    /// The status is to come with the content.
    InContent(Box<web::Scan>),
    Known(Status),
}

/// How a call ended is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread;

impl StatusReader {
    /// By a final head of this status and content type, whose lines are `lines`. A status in the head is final: nothing follows
    /// it. `is_http2`: gRPC's own calls are answered on nothing else.
    pub fn begin(status: u16, content_type: &[u8], lines: &[u8], is_http2: bool) -> Self {
        // A media type's case does not matter (RFC 9110 §8.3.1).
        if !content_type.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC)) {
            return Self::NotGrpc;
        }
        let web = web_kind(content_type);
        if web.is_none() && !(is_http2 && is_grpc(content_type)) {
            return Self::NotGrpc;
        }
        match (Status::within(lines), web) {
            (Some(status), _) => Self::Known(status),
            // A middlebox is no server of calls: callers go by HTTP's status.
            (None, _) if status != 200 => Self::NotGrpc,
            (None, None) => Self::InTrailers,
            (None, Some(_)) if first(lines, b"content-encoding").is_some() => Self::NotGrpc,
            (None, Some(is_text)) => Self::InContent(Box::new(web::Scan::new(is_text))),
        }
    }

    pub fn content(&mut self, piece: &[u8]) {
        match self {
            Self::InContent(scan) => scan.feed(piece),
            Self::NotGrpc | Self::InTrailers | Self::Known(_) => {}
        }
    }

    pub fn trailers(&mut self, lines: &[u8]) {
        if *self != Self::NotGrpc
            && let Some(status) = Status::within(lines)
        {
            *self = Self::Known(status);
        }
    }

    /// The status as far as it has come, of a response that is read no further.
    ///
    /// # Errors
    /// The response is a call's, and its status comes later.
    pub fn cut(&self) -> Result<Option<Status>, Unread> {
        match self {
            Self::NotGrpc => Ok(None),
            Self::InTrailers => Err(Unread),
            Self::InContent(scan) => scan.status().map(Some).ok_or(Unread),
            Self::Known(status) => Ok(Some(*status)),
        }
    }

    /// The status as far as it has come. A call that ends without a status is UNKNOWN to its caller.
    pub fn end(&self) -> Option<Status> {
        match self {
            Self::NotGrpc => None,
            Self::InTrailers => Some(Status::UNKNOWN),
            Self::InContent(scan) => Some(scan.status().unwrap_or(Status::UNKNOWN)),
            Self::Known(status) => Some(*status),
        }
    }
}

/// How the media types of all calls begin.
const GRPC: &[u8] = b"application/grpc";

/// Of a type of gRPC-Web's: whether its content is text.
fn web_kind(content_type: &[u8]) -> Option<bool> {
    let kind = content_type.split(|byte| matches!(byte, b';' | b'+')).next().unwrap_or_default().trim_ascii();
    let is = |known: &[u8]| kind.eq_ignore_ascii_case(known);
    if is(b"application/grpc-web") {
        return Some(false);
    }
    is(b"application/grpc-web-text").then_some(true)
}

/// Whether content of this type is gRPC's own; grpc-web's statuses stand elsewhere.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.get(..GRPC.len()).filter(|start| start.eq_ignore_ascii_case(GRPC));
    rest.is_some() && matches!(content_type.get(GRPC.len()), None | Some(b';' | b'+' | b' ' | b'\t'))
}

/// Whether a rendered request's head is that of a call.
pub fn is_call(lines: &[u8]) -> bool {
    first(lines, b"content-type").is_some_and(is_grpc)
}

/// `grpc-timeout`: at most eight digits and a unit. In milliseconds, one at least.
pub fn timeout_ms(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let ms = match unit {
        b'H' => n * 3_600_000,
        b'M' => n * 60_000,
        b'S' => n * 1000,
        b'm' => n,
        b'u' => n / 1000,
        b'n' => n / 1_000_000,
        _ => return None,
    };
    Some(ms.max(1))
}

/// Takes the time that a call has waited off the time that the head of `request` leaves it: a server that gets it later has
/// that much less time to answer. Returns the milliseconds that are left, where it changed the head.
pub fn wait(request: &mut Vec<u8>, waited_ms: u64) -> Option<u64> {
    if waited_ms == 0 || !is_call(request) {
        return None;
    }
    // Content may say the same words: only the head counts.
    let range = field_lines::range(request, b"grpc-timeout")?;
    let left = timeout_ms(request.get(range.clone())?)?.saturating_sub(waited_ms).max(1);
    // Eight digits at most.
    let text = match left {
        ..100_000_000 => format!("{left}m"),
        100_000_000..100_000_000_000 => format!("{}S", left / 1000),
        _ => format!("{}H", left / 3_600_000),
    };
    request.splice(range, text.into_bytes());
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(status: u16, lines: &[u8], is_http2: bool) -> StatusReader {
        StatusReader::begin(status, first(lines, b"content-type").unwrap_or_default(), lines, is_http2)
    }

    #[test]
    fn a_status_is_found_wherever_it_stands() {
        let head = b"HTTP/1.1 200 \r\nContent-Type: application/grpc+proto\r\n\r\n";
        let mut call = begin(200, head, true);
        assert_eq!((&call, call.end()), (&StatusReader::InTrailers, Some(Status::UNKNOWN)));
        call.trailers(b"grpc-message: x\r\ngrpc-status: 13\r\n");
        assert_eq!(call.end().map(Status::name), Some("grpc_internal"));
        assert_eq!(begin(200, head, false), StatusReader::NotGrpc, "on HTTP/1.1 it is none");
        assert_eq!(begin(503, head, true), StatusReader::NotGrpc, "it comes from who is in between");
        let only = b"HTTP/1.1 200 \r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\n\r\n";
        assert_eq!(begin(200, only, true).end().map(Status::name), Some("grpc_not_found"));
        for other in ["text/plain", "application/grpc-webs", "application/grpcish"] {
            let head = format!("HTTP/1.1 200 \r\ncontent-type: {other}\r\ngrpc-status: 5\r\n\r\n");
            assert_eq!(begin(200, head.as_bytes(), true).end(), None, "{other}");
        }
        for kind in ["application/grpc-web+proto", "Application/gRPC-Web+Proto"] {
            let web = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n");
            assert_eq!(begin(200, web.as_bytes(), false).end(), Some(Status::UNKNOWN), "{kind}");
        }
        let web = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\n\r\n";
        let mut call = begin(200, web, false);
        assert_eq!(call.end(), Some(Status::UNKNOWN));
        call.content(b"\0\0\0\0\x01a\x80\0\0\0\x11grpc-status: 14\r\n");
        assert_eq!(call.end().map(Status::name), Some("grpc_unavailable"));
    }

    #[test]
    fn a_status_is_digits_and_nothing_else() {
        let rows = [
            ("0", 0),
            ("16", 16),
            ("013", 13),
            ("17", 2),
            ("99", 2),
            ("256", 2),
            ("+5", 2),
            ("-1", 2),
            ("5.0", 2),
            ("5 5", 2),
            ("0x5", 2),
            ("", 2),
            ("OK", 2),
            ("\u{665}", 2),
        ];
        for (text, number) in rows {
            let lines = format!("grpc-status: {text}\r\n");
            assert_eq!(Status::within(lines.as_bytes()).map(Status::number), Some(number), "{text}");
        }
        let two = |other| Status::within(format!("grpc-status: 0\r\ngrpc-status: {other}\r\n").as_bytes());
        assert_eq!([two(0), two(13)].map(|of| of.map(Status::number)), [Some(0), Some(2)]);
        assert_eq!(Status::within(b"grpc-statuses: 5\r\n\r\ngrpc-status: 5\r\n"), None);
    }

    #[test]
    fn what_a_server_answers_for_is_an_error() {
        let errors: Vec<u8> = (0..17).filter(|n| Status::of(*n).is_error()).collect();
        assert_eq!(errors, [2, 4, 12, 13, 14, 15]);
        assert!((0..17).all(|n| Status::named(Status::of(n).name()) == Some(Status::of(n))));
    }

    #[test]
    fn a_timeout_is_read_and_what_was_waited_is_taken_off() {
        let rows: [(&str, Option<u64>); 8] = [
            ("5S", Some(5000)),
            ("100m", Some(100)),
            ("1H", Some(3_600_000)),
            ("10n", Some(1)),
            ("123456789S", None),
            ("S", None),
            ("5x", None),
            ("-5S", None),
        ];
        for (text, ms) in rows {
            assert_eq!(timeout_ms(text.as_bytes()), ms, "{text}");
        }
        let of = |text: &str, waited| {
            let mut head = format!("{CALL}grpc-timeout: {text}\r\n\r\n").into_bytes();
            let _left = wait(&mut head, waited);
            String::from_utf8(head).unwrap().lines().nth(2).unwrap().to_owned()
        };
        assert_eq!(of("5S", 300), "grpc-timeout: 4700m");
        assert_eq!(of("5S", 9000), "grpc-timeout: 1m");
        assert_eq!(of("5x", 9000), "grpc-timeout: 5x");
        assert_eq!(of("99999999H", 1), "grpc-timeout: 99999998H");
        assert_eq!(of("99999999S", 1000), "grpc-timeout: 99999998S");
    }

    /// The beginning of a call's request.
    const CALL: &str = "POST / HTTP/1.1\r\ncontent-type: application/grpc\r\n";

    #[test]
    fn only_a_calls_own_field_is_its_time_and_never_its_content() {
        let after = |request: &str| {
            let mut bytes = request.as_bytes().to_vec();
            let left = wait(&mut bytes, 300);
            (left, String::from_utf8(bytes).unwrap())
        };
        let content = "\r\n\ngrpc-timeout: 5S\r\ngrpc-timeout: 5S\r\n";
        let unchanged = [
            format!("{CALL}a: b\r\n{content}"),
            format!("POST / HTTP/1.1\r\ngrpc-timeout: 5S\r\n{content}"),
            format!("{CALL}x-grpc-timeout: 5S\r\n{content}"),
        ];
        for request in unchanged {
            assert_eq!(after(&request), (None, request.clone()));
        }
        for name in ["grpc-timeout", "Grpc-Timeout"] {
            let request = |time: &str| format!("{CALL}{name}:  {time} \r\n{content}");
            assert_eq!(after(&request("5S")), (Some(4700), request("4700m")));
        }
    }

    #[test]
    fn of_a_response_that_is_cut_an_end_that_has_not_come_is_not_known() {
        let head = |more: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n{more}\r\n");
        let cut = |lines: &str| begin(200, lines.as_bytes(), true).cut();
        assert_eq!(cut(&head("")), Err(Unread));
        assert_eq!(cut(&head("grpc-status: 5\r\n")), Ok(Some(Status::of(5))));
        assert_eq!(cut("HTTP/1.1 200 OK\r\n\r\n"), Ok(None));
        let mut web = StatusReader::InContent(Box::new(web::Scan::new(false)));
        assert_eq!(web.cut(), Err(Unread));
        web.content(b"\x80\0\0\0\x11grpc-status: 14\r\n");
        assert_eq!(web.cut(), Ok(Some(Status::of(14))));
    }
}
