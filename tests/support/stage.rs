//! The stage of most tests: a primary, a mirror called `v2`, and a gateway between them and the client.

use std::collections::HashMap;

use crate::{Client, Gateway, Metrics, Origin, Request, Setup};

/// A running gateway with one primary and one mirror.
pub struct Stage {
    pub primary: Origin,
    pub mirror: Origin,
    pub gateway: Gateway,
}

impl Stage {
    /// Both origins answer 200 with their names.
    #[track_caller]
    pub fn plain() -> Self {
        Self::of(Origin::named("v1"), Origin::named("v2"), "", |setup| setup)
    }

    /// `keys` are the mirror's; `more` completes the file.
    #[track_caller]
    pub fn of(primary: Origin, mirror: Origin, keys: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let gateway = more(Setup::new(&primary).mirror("v2", mirror.address, keys)).start();
        Self { primary, mirror, gateway }
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        self.gateway.client()
    }

    /// Waits until every copy is settled and checks that the ledger balances.
    #[track_caller]
    pub fn settled(&self) -> Metrics {
        self.gateway.settled("v2")
    }

    /// Both wires and the log, for a person.
    pub fn wires(&self) -> String {
        let one = |name: &str, origin: &Origin| {
            let wires: Vec<String> = origin.wires().iter().map(|w| format!("{w:?}")).collect();
            format!("{name} saw {} requests on\n  {}\n", origin.count(), wires.join("\n  "))
        };
        let log = self.gateway.stderr();
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!(
            "{}{}log:\n  {}",
            one("primary", &self.primary),
            one("mirror", &self.mirror),
            tail.join("\n  ")
        )
    }
}

/// `copies` in the order of `originals`, paired by request id.
pub fn pair(originals: &[Request], copies: &[Request]) -> Result<Vec<(Request, Request)>, String> {
    let mut by_id: HashMap<&str, Vec<&Request>> = HashMap::new();
    for copy in copies {
        by_id.entry(copy.field("x-request-id").unwrap_or_default()).or_default().push(copy);
    }
    originals
        .iter()
        .map(|original| {
            let id = original.field("x-request-id").unwrap_or_default();
            match by_id.get_mut(id).map(Vec::as_mut_slice) {
                Some([copy]) => Ok((original.clone(), (*copy).clone())),
                Some(many) => Err(format!("{} copies of {original:?}", many.len())),
                None => Err(format!("no copy of {original:?}")),
            }
        })
        .collect()
}

/// The differences of a copy from the request that the primary got, other than those that a copy may have: its mark, its
/// framing, and Expect, which would make it wait.
pub fn difference(original: &Request, copy: &Request) -> Option<String> {
    let may_differ = ["x-umbra-mirror", "x-umbra-proof", "content-length", "transfer-encoding", "expect"];
    let fields = |request: &Request| -> Vec<(String, String)> {
        let kept =
            request.fields.iter().filter(|(n, _)| !may_differ.contains(&n.to_ascii_lowercase().as_str()));
        kept.cloned().collect()
    };
    let mut said = String::new();
    let mut unless_equal = |what: &str, equal: bool, a: String, b: String| {
        if !equal {
            said.push_str(&format!("{what} differs: primary {a}, mirror {b}\n"));
        }
    };
    unless_equal("method", original.method == copy.method, original.method.clone(), copy.method.clone());
    unless_equal("target", original.target == copy.target, original.target.clone(), copy.target.clone());
    let (a, b) = (fields(original), fields(copy));
    unless_equal("fields", a == b, format!("{a:?}"), format!("{b:?}"));
    let (a, b) = (&original.body, &copy.body);
    unless_equal("content", a == b, format!("{} bytes", a.len()), format!("{} bytes", b.len()));
    let (a, b) = (&original.trailers, &copy.trailers);
    unless_equal("trailers", a == b, format!("{a:?}"), format!("{b:?}"));
    (!said.is_empty()).then_some(said)
}
