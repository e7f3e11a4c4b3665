//! A head, parsed once into borrowed facts that no other room reads again: of a request (`request`), of a response (`response`).
//!
//! httparse splits lines into fields; everything it is lenient about is decided here, strictly: one Host, one framing,
//! one target, no repair. The parsed head borrows the read buffer and lives only inside the caller's closure, so the
//! field table stays on the stack and a message costs no allocation here.

mod request;
mod response;

use super::hop_by_hop::{self, Kind};
use crate::metrics::RejectReason;

pub(crate) use request::check_host;
pub use request::{HeadLimits, Method, RequestHead, may_start_request, with_request};
pub use response::{ResponseHead, with_response};

/// Why a head was refused: the status to answer with, the label to count it under and a sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub status: u16,
    pub reject: RejectReason,
    pub detail: &'static str,
}

impl Fault {
    pub const fn new(status: u16, reject: RejectReason, detail: &'static str) -> Self {
        Self { status, reject, detail }
    }

    pub const fn bad(detail: &'static str) -> Self {
        Self::new(400, RejectReason::BadRequest, detail)
    }
}

/// A field as received, and its kind.
#[derive(Debug, Clone, Copy)]
pub struct Field<'b> {
    pub name: &'b [u8],
    pub value: &'b [u8],
    pub kind: Kind,
}

fn fields<'b>(headers: &[httparse::Header<'b>], kinds: &[Kind]) -> impl Iterator<Item = Field<'b>> {
    headers.iter().zip(kinds).map(|(h, k)| Field { name: h.name.as_bytes(), value: h.value, kind: *k })
}

/// Whether a Connection option says that the Upgrade field means this connection.
fn names_upgrade(headers: &[httparse::Header<'_>], kinds: &[Kind]) -> bool {
    let of_connection = headers.iter().zip(kinds).filter(|(_, kind)| **kind == Kind::Connection);
    of_connection.flat_map(|(h, _)| hop_by_hop::list(h.value)).any(|o| o.eq_ignore_ascii_case(b"upgrade"))
}

/// Marks the fields that `Connection` names as hop-by-hop, protected ones aside.
fn nominate(headers: &[httparse::Header<'_>], kinds: &mut [Kind]) {
    for line in 0..headers.len() {
        if kinds[line] != Kind::Connection {
            continue;
        }
        for option in hop_by_hop::list(headers[line].value) {
            for (header, kind) in headers.iter().zip(kinds.iter_mut()) {
                if kind.may_be_nominated() && header.name.as_bytes().eq_ignore_ascii_case(option) {
                    *kind = Kind::HopByHop;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_kept_as_its_version_and_its_options_say() {
        for (minor, options, keeps) in [
            (1, "", true),
            (1, "Connection: close\r\n", false),
            (1, "Connection: keep-alive\r\n", true),
            (1, "Connection: keep-alive, close\r\n", false),
            (0, "", false),
            (0, "Connection: keep-alive\r\n", true),
            (0, "Connection: keep-alive\r\nConnection: close\r\n", false),
        ] {
            let mut head = format!("GET / HTTP/1.{minor}\r\nHost: a\r\n{options}\r\n").into_bytes();
            let limits = HeadLimits { line_bytes_max: 100, fields_max: 100 };
            let of = with_request(&mut head, limits, |head| (head.keep_alive, head.minor));
            assert_eq!(of, Ok((keeps, minor)), "{options}");
            let head = format!("HTTP/1.{minor} 200 OK\r\n{options}Content-Length: 1\r\n\r\n");
            let of = with_response(head.as_bytes(), 100, false, |head| (head.keep_alive, head.keeps()));
            assert_eq!(of, Ok((keeps, keeps)), "{head:?}");
        }
        let until_close = b"HTTP/1.1 200 OK\r\n\r\n";
        let of = with_response(until_close, 100, false, |head| (head.keep_alive, head.keeps()));
        assert_eq!(of, Ok((true, false)), "what ends with its connection leaves none");
    }
}
