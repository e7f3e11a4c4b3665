//! Edits as meant: changes in a head on its way. Plain data; the gateway makes the changes.

use crate::pattern::Pattern;

/// In this order: removed, set, added. Names in lower case; none of a field that frames or ends a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    pub remove: Vec<String>,
    /// Replaces all lines of that name.
    pub set: Vec<(String, String)>,
    /// Adds a line.
    pub add: Vec<(String, String)>,
    /// As `set`, with a value that is put together for each request. Of requests on their way to a primary only.
    pub set_format: Vec<(String, Format)>,
    /// As `add`, likewise.
    pub add_format: Vec<(String, Format)>,
}

impl HeaderEdits {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty() && !self.has_formats()
    }

    /// Whether a request has a say in its values.
    pub fn has_formats(&self) -> bool {
        !(self.set_format.is_empty() && self.add_format.is_empty())
    }
}

/// A value that is put together from a request: Envoy's format, as Istio has it. Where nothing comes of it the field is
/// left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Format {
    pub parts: Vec<FormatPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatPart {
    Text(String),
    Operator(Operator),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// Address and port.
    Client,
    ClientAddress,
    ClientPort,
    /// `HTTP/1.1`
    Protocol,
    /// Of this machine.
    HostName,
    /// When the request came.
    StartTime,
    /// A field of the request as the client sent it, or another where it has none; `:authority`, `:method`, `:path` and
    /// `:scheme` have their meaning of HTTP/2. So many bytes at most.
    Request {
        name: String,
        otherwise: Option<String>,
        bytes_max: Option<usize>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    pub path: Option<PathRewrite>,
    /// Value of Host.
    pub host: Option<String>,
}

/// The query stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// Replaces the part that the route's path matched: the prefix, or all of it. Behind
    /// [`PathMatch::Elements`](crate::PathMatch::Elements) the slash between it and the rest is there exactly once.
    Matched(String),
    /// Stands for the whole path.
    Whole(String),
    /// Every match of the pattern in the path; `\1` is its first group.
    Regex { pattern: Pattern, with: String },
}
