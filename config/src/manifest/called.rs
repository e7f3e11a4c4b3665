//! Which destination an upstream is made for: its policies and its TLS are both read for it.

use super::protocol::Protocol;

/// Which destination it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called<'a> {
    pub(super) service: &'a str,
    pub(super) port: Option<u64>,
    /// As far as its manifests say.
    pub(super) protocol: Option<Protocol>,
    /// The routes that name it speak HTTP/2 to it, where its manifests name no protocol.
    pub(super) over_http2: bool,
    /// Of its policy.
    pub(super) namespace: &'a str,
    /// The destination is called in plaintext, against what manifests say of TLS.
    pub(super) plaintext: bool,
}
