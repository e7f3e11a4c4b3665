//! Comparing as meant: the answers of a mirror that are compared with the primary's, and the parts that count. Plain data.

use std::path::PathBuf;

use crate::{Pattern, Percent};

/// The purpose of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// The version under judgement.
    #[default]
    Candidate,
    /// The primary's version once more: differences from itself are not held against a candidate.
    Baseline,
}

impl Role {
    pub const ALL: [Self; 2] = [Self::Candidate, Self::Baseline];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Baseline => "baseline",
        }
    }
}

/// How the answers of one mirror are compared with the primary's.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// Share of the requests whose answers are compared, drawn once for all mirrors of a route.
    pub percent: Percent,
    /// Content kept of each answer; of longer ones only statuses and fields are compared.
    pub body_bytes_max: usize,
    /// Lower-case media types, `*` for any part of a subtype: of answers of which neither is of one of them, contents are
    /// not compared. Empty: all are.
    pub content_types: Vec<String>,
    /// Lower-case names of fields that are not compared; one that ends with `*` stands for all that begin so. Fields of
    /// a connection, `date` and `content-length` never are.
    pub ignore_headers: Vec<String>,
    /// JSON pointers, `*` for any one member or index: values there, and all below them, are not compared. In messages of calls
    /// the pointers begin at each message.
    pub ignore_json: Vec<String>,
    /// Matches of these in a text or a field's value are left out before it is compared.
    pub ignore_text: Vec<Pattern>,
    /// JSON pointers of arrays whose order means nothing.
    pub unordered: Vec<String>,
    /// Numbers that differ by no more than this share of the larger are the same.
    pub tolerance: f64,
    /// The file of a `FileDescriptorSet` that names the fields of calls' messages.
    pub descriptors: Option<PathBuf>,
    /// Lower-case name of the response field in which a service says its version; it is not compared. Another version begins
    /// evidence anew.
    pub version_header: Option<String>,
}
