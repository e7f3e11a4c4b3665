//! The head of an extended CONNECT (RFC 8441): its meaning in HTTP/1.1's words, and the fields that it has no use for. Pure.

use std::ops::Range;

use super::Collector;
use crate::http1::head::Fault;
use crate::http2::fields::Scheme;
use crate::metrics::RejectReason;

impl Collector<'_> {
    /// Extended CONNECT, in HTTP/1.1's words: a GET that asks for an upgrade. The next room that speaks HTTP/1.1 makes the key.
    pub(super) fn tunnel_line(&mut self, scheme: Scheme) {
        let part = |range: &Option<Range<usize>>| {
            range.clone().and_then(|range| self.work.pseudo.get(range)).unwrap_or_default()
        };
        let (path, authority) = (part(&self.path), part(&self.authority));
        let is_good_path =
            path.first() == Some(&b'/') && path.iter().all(|b| b.is_ascii_graphic() && *b != b'#');
        let is_connect = part(&self.method) == b"CONNECT";
        let names_scheme = part(&self.scheme).eq_ignore_ascii_case(scheme.text());
        let is_known = part(&self.protocol).eq_ignore_ascii_case(b"websocket");
        self.out.extend_from_slice(b"GET ");
        self.out.extend_from_slice(path);
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
        if !authority.is_empty() {
            self.out.extend_from_slice(b"host: ");
            self.out.extend_from_slice(authority);
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        if !is_connect || self.scheme.is_none() || self.path.is_none() || self.authority.is_none() {
            return self.fail("protocol without CONNECT, or without a scheme, a path or an authority");
        }
        if !names_scheme {
            self.refuse(Fault::bad(":scheme is not the connection's"));
        }
        if !is_good_path {
            self.refuse(Fault::bad("malformed :path"));
        }
        if !is_known {
            self.refuse(Fault::new(501, RejectReason::Upgrade, "this protocol is not offered"));
        }
    }
}

/// A field that proves to each end on HTTP/1.1 that the other has understood; extended CONNECT has no use for it (RFC 8441 §5).
pub(super) fn is_of_handshake(name: &[u8]) -> bool {
    matches!(name, b"sec-websocket-key" | b"sec-websocket-accept")
}
