//! Where the evidence of verdicts is kept, and which other gateways have some of the same service. Plain data.

use std::path::PathBuf;

use crate::upstream::Endpoint;

/// `[verdict]`, as meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judging {
    pub evidence: EvidenceFile,
    /// Admin listeners of the gateways that serve beside this one, itself among them or not. A name stands for all its
    /// addresses.
    pub peers: Vec<Endpoint>,
    /// Issuers of their certificates, PEM; `None` are those of the system. Used where this gateway's own admin listener has TLS.
    pub peers_ca: Option<PathBuf>,
}

/// Whether evidence outlives the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EvidenceFile {
    /// In the state directory that the service manager gives; nowhere without one.
    #[default]
    StateDirectory,
    Nowhere,
    At(PathBuf),
}
