//! Where a gateway listens for the ports of Gateways: as they are written, or as `--listen` says.

use std::collections::BTreeMap;

use crate::problem::{Place, Report};
use crate::reader::At;

/// An address of `--listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) bind: String,
    /// The port of Gateways that it stands for; every one where none is named.
    pub(super) of: Option<u64>,
}

impl Listen {
    /// `ADDRESS`, or `ADDRESS=PORT`.
    pub(super) fn read(text: &str, at: &Place, report: &mut Report) -> Self {
        let Some((bind, port)) = text.rsplit_once('=') else {
            return Self { bind: text.to_owned(), of: None };
        };
        let of = port.parse().ok().filter(|port| (1..=65_535).contains(port));
        if of.is_none() {
            let message = format!(
                "{text:?}: {port:?} is no port; write ADDRESS=PORT with the port of a Gateway's listener"
            );
            report.error(at, message);
        }
        Self { bind: bind.to_owned(), of }
    }

    /// The port that is listened at, where that is known.
    fn port(&self) -> Option<u64> {
        self.bind.rsplit_once(':')?.1.parse().ok().filter(|port| *port != 0)
    }
}

/// How the ports of Gateways map to ports of this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ports {
    /// As they are written.
    Own,
    /// Others, for some of them; `None` where the system chooses.
    Mapped(BTreeMap<u64, Option<u64>>),
    /// Requests to any of them come in everywhere.
    Lost,
}

impl Ports {
    /// `is_told`: the settings say where to listen.
    pub(super) fn of(listen: &[Listen], is_told: bool) -> Self {
        let pair = |one: &Listen| Some((one.of?, one.port()));
        let pairs: Option<BTreeMap<u64, Option<u64>>> = listen.iter().map(pair).collect();
        match pairs {
            _ if is_told => Self::Lost,
            Some(pairs) if pairs.is_empty() => Self::Own,
            Some(pairs) => Self::Mapped(pairs),
            None => Self::Lost,
        }
    }

    /// The port here for this port of a Gateway, as far as it is known.
    pub(super) fn here(&self, port: &At<u64>) -> Option<At<u64>> {
        match self {
            Self::Own => Some(port.clone()),
            Self::Mapped(pairs) => {
                let here = pairs.get(&port.value).copied().flatten()?;
                Some(At { value: here, at: port.at.clone() })
            }
            Self::Lost => None,
        }
    }

    /// Whether requests to this port of a Gateway come in at all.
    pub(super) fn has(&self, port: u64) -> bool {
        match self {
            Self::Own | Self::Lost => true,
            Self::Mapped(pairs) => pairs.contains_key(&port),
        }
    }
}
