//! The destination that an upstream is made for: its policies and its TLS both depend on it.

use super::protocol::Protocol;

/// A destination.
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
    /// The destination is called in plaintext, whatever manifests say of TLS.
    pub(super) plaintext: bool,
}
