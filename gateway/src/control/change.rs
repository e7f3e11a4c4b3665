//! The words in which a change of the configuration is asked for and answered.

use std::time::Duration;

use config::check::Problem;
use tokio::sync::oneshot;

use super::changes::By;

/// A change of the configuration that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The source, read again.
    Source,
    /// A whole configuration in its written form.
    Text(String),
    /// The share of every mirror of that name, or of the one on a route.
    Percent { mirror: String, route: Option<String>, percent: f64 },
    /// The weights of a route's primaries, by the names of their upstreams.
    Weights { route: String, weights: Vec<(String, u32)> },
}

/// A change, and the channel for its result.
#[derive(Debug)]
pub struct Ask {
    pub change: Change,
    pub by: By,
    pub answer: oneshot::Sender<Result<Applied, Refused>>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Among all changes since the start; 0 until it was noted.
    pub number: u64,
    pub workers: usize,
    pub took: Duration,
    pub warnings: Vec<Problem>,
}

/// A change that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The change names something that is not there.
    Unknown(String),
    /// Everything that is wrong with it.
    Wrong(Vec<Problem>),
    /// The configuration that it asks for is in force.
    Same,
    /// An earlier one is still being read, or so many wait that this one cannot.
    Busy(&'static str),
}
