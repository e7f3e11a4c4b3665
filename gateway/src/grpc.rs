//! What a gRPC call came to, wherever its status stands, what that is in terms of HTTP, and how long a call may take. Pure.
//!
//! A call is answered 200 whatever it came to: its outcome is `grpc-status`, in the trailers, or in a head that nothing follows.

/// A status that is none of HTTP's: `grpc-status`, 0 to 16; another number is UNKNOWN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(u8);

/// By number: what it is counted as, and its nearest in HTTP.
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

    pub fn of(number: u8) -> Self {
        if usize::from(number) < STATUSES_MAX { Self(number) } else { Self::UNKNOWN }
    }

    /// That of lines of fields, where they have one.
    pub fn within(lines: &[u8]) -> Option<Self> {
        let value = field(lines, b"grpc-status")?;
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        Some(number.map_or(Self::UNKNOWN, Self::of))
    }

    /// The one that is counted as `name`.
    pub fn named(name: &str) -> Option<Self> {
        let at = STATUSES.iter().position(|(known, _)| *known == name)?;
        Some(Self(at as u8))
    }

    /// What the gateway's own answers of this HTTP status are to a call.
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

    /// Its nearest in HTTP. 5xx are what a server answers for: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
    /// UNAVAILABLE, DATA_LOSS.
    pub fn as_http(self) -> u16 {
        STATUSES.get(usize::from(self.0)).map_or(500, |(_, http)| *http)
    }

    /// UNIMPLEMENTED answers a call of what there is not, DEADLINE_EXCEEDED one with too little time: neither says anything of
    /// its server.
    pub fn is_for_callers_to_cause(self) -> bool {
        matches!(self.0, 4 | 12)
    }

    pub fn is_error(self) -> bool {
        self.as_http() >= 500
    }
}

/// What is known of a response's outcome while it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Told {
    /// It is no gRPC: its HTTP status is all there is.
    #[default]
    Http,
    /// The status is to come with the trailers.
    Awaited,
    Status(Status),
}

impl Told {
    /// By a final head. A status in it stands, for nothing follows.
    pub fn by_head(lines: &[u8]) -> Self {
        if !field(lines, b"content-type").is_some_and(is_grpc) {
            return Self::Http;
        }
        Status::within(lines).map_or(Self::Awaited, Self::Status)
    }

    pub fn trailers(&mut self, lines: &[u8]) {
        if *self != Self::Http
            && let Some(status) = Status::within(lines)
        {
            *self = Self::Status(status);
        }
    }

    /// Now that it is over. A call that ends without a status is what its caller makes of it: UNKNOWN.
    pub fn end(self) -> Option<Status> {
        match self {
            Self::Http => None,
            Self::Awaited => Some(Status::UNKNOWN),
            Self::Status(status) => Some(status),
        }
    }
}

/// Whether content of this type is gRPC's own; grpc-web's statuses stand elsewhere.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.get(..16).filter(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    rest.is_some() && matches!(content_type.get(16), None | Some(b';' | b'+' | b' '))
}

/// Whether a rendered request's head is that of a call.
pub fn is_call(lines: &[u8]) -> bool {
    field(lines, b"content-type").is_some_and(is_grpc)
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

/// Takes what a call has waited off the time that its head leaves it: who gets it later has that much less to answer, not
/// more.
pub fn wait(head: &mut Vec<u8>, waited_ms: u64) {
    const NAME: &[u8] = b"\ngrpc-timeout:";
    if waited_ms == 0 {
        return;
    }
    let Some(at) = memchr::memmem::find(head, NAME) else { return };
    let from = at + NAME.len();
    let rest = head.get(from..).unwrap_or_default();
    let Some(length) = memchr::memchr(b'\r', rest) else { return };
    let Some(ms) = timeout_ms(rest.get(..length).unwrap_or_default().trim_ascii()) else { return };
    let left = ms.saturating_sub(waited_ms).max(1);
    // Eight digits at most.
    let text = match left {
        ..100_000_000 => format!(" {left}m"),
        100_000_000..100_000_000_000 => format!(" {}S", left / 1000),
        _ => format!(" {}H", left / 3_600_000),
    };
    head.splice(from..from + length, text.into_bytes());
}

/// The value of the first field of this name, up to the empty line.
fn field<'a>(lines: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return None;
        }
        let is_it = line.get(name.len()) == Some(&b':')
            && line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        if is_it {
            return line.get(name.len() + 1..).map(<[u8]>::trim_ascii);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_wherever_it_stands() {
        let head = b"HTTP/1.1 200 \r\nContent-Type: application/grpc+proto\r\n\r\n";
        let mut told = Told::by_head(head);
        assert_eq!((told, told.end()), (Told::Awaited, Some(Status::UNKNOWN)));
        told.trailers(b"grpc-message: x\r\ngrpc-status: 13\r\n");
        assert_eq!(told.end().map(Status::name), Some("grpc_internal"));
        let only = b"HTTP/1.1 200 \r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\n\r\n";
        assert_eq!(Told::by_head(only).end().map(Status::name), Some("grpc_not_found"));
        for other in ["text/plain", "application/grpc-web", "application/grpcish"] {
            let head = format!("HTTP/1.1 200 \r\ncontent-type: {other}\r\ngrpc-status: 5\r\n\r\n");
            assert_eq!(Told::by_head(head.as_bytes()).end(), None, "{other}");
        }
        assert_eq!(Status::within(b"grpc-status: 99\r\n"), Some(Status::UNKNOWN));
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
            let mut head = format!("POST / HTTP/1.1\r\nhost: a\r\ngrpc-timeout: {text}\r\n\r\n").into_bytes();
            wait(&mut head, waited);
            String::from_utf8(head).unwrap().lines().nth(2).unwrap().to_owned()
        };
        assert_eq!(of("5S", 300), "grpc-timeout: 4700m");
        assert_eq!(of("5S", 9000), "grpc-timeout: 1m");
        assert_eq!(of("5x", 9000), "grpc-timeout: 5x");
        assert_eq!(of("99999999H", 1), "grpc-timeout: 99999998H");
        assert_eq!(of("99999999S", 1000), "grpc-timeout: 99999998S");
    }
}
