//! The head of a response: a status in its range and one framing, or a sentence on the fault.

use std::mem::MaybeUninit;

use super::{Field, fields, names_upgrade, nominate};
use crate::http1::framing::{Framing, FramingFields};
use crate::http1::hop_by_hop::{self, ConnectionOptions, Kind};
use crate::limits::{CONNECTION_OPTIONS_MAX, FIELDS_CEILING};

/// A response head from a primary or a mirror.
#[derive(Debug)]
pub struct ResponseHead<'b, 'h> {
    pub minor: u8,
    /// 100 to 599.
    pub status: u16,
    pub reason: &'b [u8],
    pub framing: Framing,
    /// Content-Length as declared, also where there is no content (HEAD, 304).
    pub length: Option<u64>,
    /// The head declares content that no answer of its kind carries (HEAD, 204, 304; RFC 9112 §6.3 item 1). A server that sends
    /// it all the same does so behind this head, perhaps later.
    pub withholds: bool,
    /// The upstream keeps its connection.
    pub keep_alive: bool,
    /// `Connection` names `upgrade`.
    pub is_upgrade: bool,
    headers: &'h [httparse::Header<'b>],
    kinds: &'h [Kind],
}

impl<'b> ResponseHead<'b, '_> {
    /// The upstream leaves its connection open behind this response.
    pub fn keeps(&self) -> bool {
        self.keep_alive && self.framing != Framing::UntilClose
    }

    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> {
        fields(self.headers, self.kinds)
    }

    /// Empty where it has none.
    pub fn content_type(&self) -> &'b [u8] {
        let at = self.kinds.iter().position(|kind| *kind == Kind::ContentType);
        at.and_then(|at| self.headers.get(at)).map_or(b"", |header| header.value)
    }
}

/// Parses the complete response head `head` and hands it to `then`. The fault is a sentence; every fault is the upstream's, so
/// the caller answers 502.
pub fn with_response<R>(
    head: &[u8],
    fields_max: usize,
    to_head: bool,
    then: impl FnOnce(&ResponseHead<'_, '_>) -> R,
) -> Result<R, &'static str> {
    let mut table = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        head,
        &mut table[..fields_max.min(FIELDS_CEILING)],
    );
    match parsed {
        Ok(httparse::Status::Complete(used)) if used == head.len() => {}
        Ok(_) => return Err("malformed response head"),
        Err(httparse::Error::TooManyHeaders) => return Err("too many response fields"),
        Err(_) => return Err("malformed response head"),
    }
    let (Some(minor), Some(status)) = (response.version, response.code) else {
        return Err("malformed status line");
    };
    if !(100..600).contains(&status) {
        return Err("status code out of range");
    }
    let mut kinds = [Kind::EndToEnd; FIELDS_CEILING];
    let mut framing = FramingFields::default();
    let mut options = ConnectionOptions::default();
    for (header, slot) in response.headers.iter().zip(&mut kinds) {
        *slot = hop_by_hop::kind(header.name.as_bytes());
        match *slot {
            Kind::ContentLength => framing.content_length(header.value),
            Kind::TransferEncoding => framing.transfer_encoding(header.value),
            Kind::Connection => options.add(header.value),
            _ => {}
        }
    }
    if options.count > CONNECTION_OPTIONS_MAX {
        return Err("too many Connection options");
    }
    let mut is_upgrade = false;
    if options.nominates {
        is_upgrade = status == 101 && names_upgrade(response.headers, &kinds);
        nominate(response.headers, &mut kinds);
    }
    let decided = framing.of_response(minor, status, to_head).map_err(|_| "ambiguous response framing")?;
    Ok(then(&ResponseHead {
        minor,
        status,
        reason: reason_phrase(head),
        framing: decided,
        length: framing.length(),
        withholds: decided == Framing::None && framing.declares_content(),
        keep_alive: !options.close && (minor > 0 || options.keep_alive),
        is_upgrade,
        headers: response.headers,
        kinds: &kinds,
    }))
}

/// The reason phrase of a status line that is known to be one, byte for byte: obs-text may stand in it (RFC 9112 §4), which
/// httparse leaves out where it is no ASCII.
fn reason_phrase(head: &[u8]) -> &[u8] {
    let start = head.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let head = head.get(start..).unwrap_or_default();
    let line = head.get(..memchr::memchr(b'\n', head).unwrap_or(head.len())).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.get(b"HTTP/1.1 200 ".len()..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_a_response_are_met_exactly() {
        let response = |fields_max: usize, options: usize| {
            let head = format!("HTTP/1.1 200 OK\r\nConnection: {}\r\nA: b\r\n\r\n", "x,".repeat(options));
            with_response(head.as_bytes(), fields_max, false, |_| ())
        };
        assert_eq!([response(2, 1), response(1, 1)], [Ok(()), Err("too many response fields")]);
        assert_eq!(response(2, CONNECTION_OPTIONS_MAX), Ok(()));
        assert_eq!(response(2, CONNECTION_OPTIONS_MAX + 1), Err("too many Connection options"));
    }

    #[test]
    fn a_response_shows_its_type() {
        let kind = |fields: &str| {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            with_response(head.as_bytes(), 100, false, |head| head.content_type().to_vec()).unwrap()
        };
        assert_eq!(kind("x-request-id: 1\r\nCONTENT-TYPE: a/b\r\ncontent-type: c/d\r\n"), b"a/b");
        assert_eq!(kind("content-typ: a/b\r\n"), b"");
    }

    #[test]
    fn a_reason_phrase_is_passed_byte_for_byte() {
        let phrase = |line: &[u8]| {
            let head = [line, b"\r\n\r\n"].concat();
            with_response(&head, 100, false, |head| head.reason.to_vec())
        };
        assert_eq!(phrase(b"HTTP/1.1 200 Very OK"), Ok(b"Very OK".to_vec()));
        assert_eq!(phrase(b"HTTP/1.1 200 \xe4"), Ok(b"\xe4".to_vec()));
        assert_eq!(phrase(b"HTTP/1.1 200"), Ok(Vec::new()));
        assert_eq!(phrase(b"\r\nHTTP/1.1 200 OK"), Ok(b"OK".to_vec()));
    }

    #[test]
    fn response_heads_are_accepted_or_refused() {
        let check = |head: &str, expect: Result<(u16, Framing, bool), &'static str>| {
            let got = with_response(head.as_bytes(), 100, false, |r| {
                assert_eq!(r.withholds, r.status == 204, "{head:?}");
                (r.status, r.framing, r.keep_alive)
            });
            assert_eq!(got.is_ok(), expect.is_ok(), "{head:?} gave {got:?}");
            if expect.is_ok() {
                assert_eq!(got, expect, "{head:?}");
            }
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Ok((200, Framing::Length(3), true)));
        check("HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", Ok((200, Framing::Length(3), true)));
        check("HTTP/1.0 200 OK\r\n\r\n", Ok((200, Framing::UntilClose, false)));
        check("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", Ok((204, Framing::None, true)));
        for bad in [
            "HTTP/1.1 99 x\r\n\r\n",
            "HTTP/1.1 1000 x\r\n\r\n",
            "HTTP/1.1 2OO x\r\n\r\n",
            "HTTP/1.1 600 x\r\n\r\n",
            "HTTP/1.1 999 \r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 -20 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nX",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            "hello\r\n\r\n",
        ] {
            check(bad, Err(""));
        }
    }
}
