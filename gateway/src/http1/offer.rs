//! Whether a response in HTTP/1.1 opens the tunnel that was asked for, and nothing else. Pure.

use config::Upgrade;

use super::head::ResponseHead;

/// The tunnel that a primary was asked for, and would have to agree to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    pub protocol: Upgrade,
    /// `Sec-WebSocket-Accept` that follows from the request's key.
    pub accept: [u8; 28],
    /// The key is ours, so only we can look whether the response fits it.
    pub is_ours: bool,
}

impl Offer {
    /// Whether a head of 101 opens the tunnel that was asked for: a gateway that believes in one that the server does not know of
    /// passes requests on that it has not looked at.
    pub fn is_taken_by(&self, head: &ResponseHead<'_, '_>) -> bool {
        let of = |name: &'static [u8]| {
            let mut values =
                head.fields().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value);
            let first = values.next();
            first.filter(|_| values.next().is_none())
        };
        let protocol = self.protocol.as_str().as_bytes();
        let agrees = of(b"upgrade").is_some_and(|to| to.eq_ignore_ascii_case(protocol));
        let fits = !self.is_ours || of(b"sec-websocket-accept") == Some(&self.accept[..]);
        // There is no 101 in HTTP/1.0 (RFC 9110 §15.2).
        head.status == 101 && head.minor > 0 && head.is_upgrade && agrees && fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::with_response;

    const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket";

    #[test]
    fn a_response_agrees_by_its_status_and_its_protocol_and_for_a_key_of_ours_by_its_proof() {
        let accept = *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let check = |head: &str, is_ours: bool, expect: bool| {
            let offer = Offer { protocol: Upgrade::WebSocket, accept, is_ours };
            let head = format!("HTTP/1.1 {head}\r\n\r\n");
            let got = with_response(head.as_bytes(), 100, false, |head| offer.is_taken_by(head));
            assert_eq!(got, Ok(expect), "{head:?}");
        };
        let fits = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        check(&format!("101 Go\r\n{UPGRADE}"), false, true);
        check(&format!("101 Go\r\n{UPGRADE}"), true, false);
        check(&format!("101 Go\r\n{UPGRADE}\r\n{fits}"), true, true);
        check(&format!("101 Go\r\n{UPGRADE}\r\nSec-WebSocket-Accept: x"), true, false);
        check(&format!("200 OK\r\n{UPGRADE}"), false, false);
        check("101 Go", false, false);
        check("101 Go\r\nUpgrade: websocket", false, false);
        check("101 Go\r\nConnection: x\r\nUpgrade: websocket", false, false);
        let old = format!("HTTP/1.0 101 Go\r\n{UPGRADE}\r\n\r\n");
        let offer = Offer { protocol: Upgrade::WebSocket, accept, is_ours: false };
        assert_eq!(with_response(old.as_bytes(), 100, false, |head| offer.is_taken_by(head)), Ok(false));
        check("101 Go\r\nConnection: upgrade", false, false);
        check("101 Go\r\nConnection: upgrade\r\nUpgrade: h2c", false, false);
        check("101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c", false, false);
    }
}
