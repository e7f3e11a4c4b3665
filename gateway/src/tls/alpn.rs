//! Protocols over TLS, by their ALPN names.

use config::{Protocols, UpstreamProtocol};

/// HTTP/2 (RFC 9113 §3.2).
pub(super) const HTTP2: &[u8] = b"h2";

/// HTTP/1.1 (RFC 7301 §6).
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// A listener's, dearest first: where a client has both it gets the first.
pub(super) fn of_listener(protocols: Protocols) -> Vec<Vec<u8>> {
    let http2 = protocols.http2.then(|| HTTP2.to_vec());
    http2.into_iter().chain(protocols.http1.then(|| HTTP1.to_vec())).collect()
}

/// An upstream's, dearest first.
pub(super) fn of_upstream(protocol: UpstreamProtocol) -> Vec<Vec<u8>> {
    match protocol {
        UpstreamProtocol::Http1 => vec![HTTP1.to_vec()],
        UpstreamProtocol::Http2 => vec![HTTP2.to_vec()],
        UpstreamProtocol::Alpn => vec![HTTP2.to_vec(), HTTP1.to_vec()],
    }
}
