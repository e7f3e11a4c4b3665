//! Where an endpoint is: an address and a port, or a socket of this machine. Small and copied; knows no socket itself.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::limits::UNIX_PATHS_MAX;

/// How a socket of this machine is written.
const UNIX: &str = "unix:";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Ip(SocketAddr),
    /// Path of a Unix domain socket. It lives as long as the process: each path is held once.
    Unix(&'static str),
}

/// The paths that were ever named. Only the control plane asks.
static PATHS: Mutex<Paths> = Mutex::new(Paths(None));

/// Paths that are held as long as the process lives, each once.
struct Paths(Option<HashSet<&'static str>>);

impl Paths {
    /// `None` where there are [`UNIX_PATHS_MAX`] others.
    fn held(&mut self, path: &str) -> Option<&'static str> {
        let paths = self.0.get_or_insert_default();
        if let Some(known) = paths.get(path) {
            return Some(known);
        }
        if paths.len() >= UNIX_PATHS_MAX {
            return None;
        }
        let path: &'static str = Box::leak(path.into());
        paths.insert(path);
        Some(path)
    }
}

impl Address {
    /// `None` where more paths than [`UNIX_PATHS_MAX`] have been named since the start.
    pub fn unix(path: &str) -> Option<Self> {
        PATHS.lock().unwrap_or_else(PoisonError::into_inner).held(path).map(Self::Unix)
    }

    /// Its address where it has one.
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix(_) => None,
        }
    }
}

impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        Self::Ip(address.into())
    }
}

/// `127.0.0.1:80`, `[::1]:80` or `unix:/run/app.sock`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{path}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address");
        match text.strip_prefix(UNIX) {
            Some(path) => Self::unix(path).ok_or_else(wrong),
            None => text.parse().map(Self::Ip).map_err(|_| wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_shown_and_a_path_is_held_once() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/app.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let [first, second] = [(); 2].map(|()| Address::unix("/run/one.sock").unwrap());
        let (Address::Unix(first), Address::Unix(second)) = (first, second) else { panic!() };
        assert!(std::ptr::eq(first, second));
        assert!("nonsense".parse::<Address>().is_err());
    }

    #[test]
    fn paths_are_bounded_over_the_life_of_the_process() {
        // Its own: those of the process are other tests' too.
        let mut paths = Paths(None);
        let taken = (0..).take_while(|n| paths.held(&format!("/run/{n}.sock")).is_some()).count();
        assert_eq!(taken, UNIX_PATHS_MAX);
        assert!(paths.held("/run/0.sock").is_some(), "one that is known costs nothing");
    }
}
