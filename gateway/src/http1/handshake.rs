//! The request that begins a tunnel in HTTP/1.1: whether it asks as it should. Pure.

use config::Upgrade;

/// The tunnel that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    pub protocol: Upgrade,
    /// `Sec-WebSocket-Key`: sixteen bytes in base64.
    pub key: [u8; 24],
}

/// The fields of a request that ask for an upgrade (RFC 6455 §4.1).
#[derive(Default)]
pub(super) struct HandshakeFields<'b> {
    pub(super) upgrades: usize,
    to: &'b [u8],
    keys: usize,
    key: &'b [u8],
    versions: usize,
    version: &'b [u8],
}

impl<'b> HandshakeFields<'b> {
    pub(super) fn upgrade(&mut self, value: &'b [u8]) {
        (self.upgrades, self.to) = (self.upgrades + 1, value);
    }

    #[inline]
    pub(super) fn field(&mut self, name: &[u8], value: &'b [u8]) {
        // Most requests have neither, and their names differ in length.
        if name.len() == 17 && name.eq_ignore_ascii_case(b"sec-websocket-key") {
            (self.keys, self.key) = (self.keys + 1, value);
        } else if name.len() == 21 && name.eq_ignore_ascii_case(b"sec-websocket-version") {
            (self.versions, self.version) = (self.versions + 1, value);
        }
    }

    /// The handshake, where it offers a known protocol, with each of its fields once.
    pub(super) fn opened(&self) -> Option<Handshake> {
        let protocol =
            Upgrade::ALL.into_iter().find(|known| self.to.eq_ignore_ascii_case(known.as_str().as_bytes()))?;
        let key = <[u8; 24]>::try_from(self.key).ok().filter(|key| {
            // 128 bits: of the last letter only two are theirs (RFC 4648 §3.5 lets the rest be anything).
            key.ends_with(b"==")
                && key.iter().take(22).all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        })?;
        let is_once = self.upgrades == 1 && self.keys == 1 && self.versions == 1;
        (is_once && self.version == b"13").then_some(Handshake { protocol, key })
    }
}

#[cfg(test)]
mod tests {
    use crate::http1::head::{HeadLimits, with_request};

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket";

    #[test]
    fn a_request_asks_for_a_tunnel_only_as_the_rfc_has_it() {
        let check = |line: &str, fields: &str, expect: bool| {
            let mut head = format!("{line}\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes();
            let limits = HeadLimits { line_bytes_max: 8192, fields_max: 100 };
            let got = with_request(&mut head, limits, |head| head.handshake.is_some());
            assert_eq!(got, Ok(expect), "{line:?} {fields:?}");
        };
        let get = "GET /chat HTTP/1.1";
        check(get, &format!("{UPGRADE}\r\n{KEY}"), true);
        // Names as long as those of the handshake.
        check(get, &format!("{UPGRADE}\r\n{KEY}\r\nX-Seventeen-Bytes: 1\r\nX-Twenty-One-Bytes-Ok: 1"), true);
        check(get, &format!("{UPGRADE}\r\n{KEY}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), false);
        check(get, &format!("{UPGRADE}\r\n{KEY}\r\nSec-WebSocket-Version: 13"), false);
        check(get, &format!("Connection: keep-alive, upGRADE\r\nUPGRADE: WebSocket\r\n{KEY}"), true);
        check("GET /chat HTTP/1.0", &format!("{UPGRADE}\r\n{KEY}"), false);
        check("POST /chat HTTP/1.1", &format!("{UPGRADE}\r\n{KEY}"), false);
        check(get, &format!("{UPGRADE}\r\n{KEY}\r\nContent-Length: 1"), false);
        check(get, &format!("{UPGRADE}\r\n{KEY}\r\nTransfer-Encoding: chunked"), false);
        check(get, UPGRADE, false);
        check(get, &format!("Upgrade: websocket\r\n{KEY}"), false);
        check(get, &format!("Connection: upgrade\r\n{KEY}"), false);
        check(get, &format!("{UPGRADE}\r\nUpgrade: websocket\r\n{KEY}"), false);
        check(get, &format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n{KEY}"), false);
        check(get, &format!("Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n{KEY}"), false);
        check(get, &format!("{UPGRADE}\r\n{KEY}\r\n{KEY}"), false);
        let old = KEY.replace("13", "8");
        check(get, &format!("{UPGRADE}\r\n{old}"), false);
        for key in [
            "c2hvcnQ=",
            "dGhlIHNhbXBsZSBub25jZQA=",
            "dGhlIHNhbXBsZSBub25jZ!==",
            "dGhlIHNhbXBsZSBub25jZSEhISEh",
        ] {
            check(get, &format!("{UPGRADE}\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13"), false);
        }
    }
}
