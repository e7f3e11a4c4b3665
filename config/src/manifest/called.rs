//! Which destination an upstream is made for: its policies and its TLS are both read for it.

use super::protocol::Protocol;

/// Which destination it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called<'a> {
    pub(super) service: &'a str,
    pub(super) port: Option<u64>,
    /// As far as its manifests say.
    pub(super) protocol: Option<Protocol>,
    /// Whoever asks speaks HTTP/2 to it, where its manifests say nothing of that.
    pub(super) over_http2: bool,
    /// Of its policy.
    pub(super) namespace: &'a str,
    /// It is called in plaintext, whatever is said of TLS.
    pub(super) plaintext: bool,
}
