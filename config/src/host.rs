//! Where an endpoint is, or whose certificate it shows. Plain data.

use std::fmt;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Address(IpAddr),
    /// Lower case.
    Name(String),
    /// Path of a Unix domain socket, without a port.
    Unix(String),
}

/// Without brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Unix(path) => f.write_str(path),
        }
    }
}
