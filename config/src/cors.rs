//! CORS as meant: which pages of other origins may use a route, and how. Plain data; the gateway answers and marks.

use std::time::Duration;

use crate::pattern::Pattern;

/// Permissions of pages from other origins (Fetch standard, "CORS protocol").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Any of them.
    pub origins: Vec<OriginMatch>,
    /// Methods and fields, or `*` alone for all of them.
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    /// Fields of responses.
    pub expose: Vec<String>,
    /// How long a browser may remember a preflight's answer.
    pub max_age: Option<Duration>,
    pub credentials: bool,
    pub unmatched: Unmatched,
}

/// A match on the value of Origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginMatch {
    /// `*`
    Any,
    Exact(String),
    Prefix(String),
    /// The whole value.
    Regex(Pattern),
}

/// The answer to a preflight from an origin that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// The preflight goes to the primary, as any other request (Istio).
    Forward,
    /// The preflight is answered without fields of CORS, which is a refusal (Gateway API).
    Answer,
}

impl Unmatched {
    pub const ALL: [Self; 2] = [Self::Forward, Self::Answer];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Answer => "answer",
        }
    }
}
