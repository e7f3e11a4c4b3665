//! A set of hosts, each with its holder: exact hosts, `*.example.com` with everything below it, or all. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A set of hosts, each with its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    all: Option<String>,
    /// Backwards, so that the names below a wildcard follow it in one range: `*.a.b` is `b.a.`.
    named: BTreeMap<String, String>,
}

/// A host without the dot of the root at its end, which names the same host (RFC 1034 §3.1). Two dots are no host, and
/// stay to be told.
pub(super) fn without_root(host: &str) -> &str {
    host.strip_suffix('.').filter(|rest| !rest.is_empty() && !rest.ends_with('.')).unwrap_or(host)
}

/// In lower case and backwards, a wildcard without its star.
fn key(host: &str) -> String {
    host.trim_start_matches('*').chars().rev().map(|c| c.to_ascii_lowercase()).collect()
}

impl Hosts {
    /// Takes a host, `None` for every one; an earlier holder keeps it.
    pub fn take(&mut self, host: Option<&str>, holder: &str) {
        match host {
            None => {
                self.all.get_or_insert_with(|| holder.to_owned());
            }
            Some(host) => {
                self.named.entry(key(host)).or_insert_with(|| holder.to_owned());
            }
        }
    }

    /// The holder of a host in common with this one; `None` stands for every host.
    pub fn holder(&self, host: Option<&str>) -> Option<&str> {
        let Some(host) = host else {
            return self.all.as_deref().or_else(|| self.named.values().next().map(String::as_str));
        };
        if let Some(holder) = &self.all {
            return Some(holder);
        }
        let key = key(host);
        // Itself, and the wildcards above it.
        let above = key.match_indices('.').map(|(at, _)| at + 1).filter(|at| *at < key.len());
        let above = above.filter_map(|at| self.named.get(key.get(..at)?));
        if let Some(holder) = self.named.get(&key).into_iter().chain(above).next() {
            return Some(holder);
        }
        if !host.starts_with('*') {
            return None;
        }
        let below = self.named.range::<str, _>((Bound::Included(key.as_str()), Bound::Unbounded));
        let mut below = below.take_while(|(name, _)| name.starts_with(&key));
        below.next().map(|(_, holder)| holder.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_meet_where_one_request_may_name_both() {
        let rows: [(Option<&str>, Option<&str>, bool); 14] = [
            (Some("a.test"), Some("a.test"), true),
            (Some("a.test"), Some("A.Test"), true),
            (Some("a.test"), Some("b.test"), false),
            (Some("a.test"), Some("xa.test"), false),
            (Some("*.test"), Some("a.test"), true),
            (Some("*.test"), Some("b.a.test"), true),
            (Some("*.test"), Some("test"), false),
            (Some("*.a.test"), Some("*.test"), true),
            (Some("*.a.test"), Some("*.b.test"), false),
            (Some("*.a.test"), Some("xa.test"), false),
            (Some("*.test"), Some("*.test"), true),
            (None, Some("a.test"), true),
            (None, Some("*.test"), true),
            (None, None, true),
        ];
        for (one, other, meet) in rows {
            for (one, other) in [(one, other), (other, one)] {
                let mut hosts = Hosts::default();
                hosts.take(one, "holder");
                assert_eq!(hosts.holder(other).is_some(), meet, "{one:?} {other:?}");
                hosts.take(one, "later");
                assert_eq!(hosts.holder(other).unwrap_or("holder"), "holder");
            }
        }
        assert_eq!(Hosts::default().holder(None), None);
    }
}
