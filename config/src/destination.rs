//! Identity of an upstream in a cluster, which knows its addresses.

use std::fmt;

/// The end of the full name of every service in a cluster.
pub(crate) const CLUSTER: &str = ".svc.cluster.local";

/// Name and namespace of a service in a cluster, given its name in full.
pub(crate) fn in_cluster(service: &str) -> Option<(&str, &str)> {
    service.strip_suffix(CLUSTER)?.split_once('.')
}

/// A service, its subset and port: the cluster knows the addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// In full: `httpbin.default.svc.cluster.local`.
    pub service: String,
    pub subset: Option<String>,
    /// Labels that select the subset's endpoints.
    pub labels: Vec<(String, String)>,
    /// The service's port; `None` where none is named.
    pub port: Option<u64>,
}

impl Destination {
    /// Name and namespace of the Service; `None` for a host outside of the cluster.
    pub fn in_cluster(&self) -> Option<(&str, &str)> {
        in_cluster(&self.service)
    }
}

/// As `--endpoint` names one.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.service)?;
        if let Some(subset) = &self.subset {
            write!(f, "/{subset}")?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}
