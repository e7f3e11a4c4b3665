//! Values that the gateway itself wrote on a copy and not on the original: a service that echoes its request answers otherwise
//! than the primary for no reason of its own. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use super::json::Node;

/// Fields that copies alone have, or have with another value.
const NAMES: [&str; 6] = [
    "x-umbra-mirror",
    "x-umbra-copy",
    "x-umbra-proof",
    "x-umbra-primary-status",
    "x-umbra-primary-duration",
    "traceparent",
];

/// Members by which a list of fields names each of them.
const NAMING: [&str; 5] = ["name", "key", "header", "field", "k"];

/// The longest of them, as CGI has it: `HTTP_X_UMBRA_PRIMARY_DURATION`.
const NAME_BYTES_MAX: usize = 29;

/// Whether a field or a member by this name echoes one of them: in any case, as CGI spells it or as an identifier.
pub(super) fn names(name: &str) -> bool {
    if name.len() > NAME_BYTES_MAX {
        return false;
    }
    let bytes = name.as_bytes();
    let bytes = match bytes.split_at_checked(5) {
        Some((cgi, rest)) if cgi.eq_ignore_ascii_case(b"http_") => rest,
        Some(_) | None => bytes,
    };
    let is = |known: &&str| {
        let same = |(a, b): (&u8, u8)| a.eq_ignore_ascii_case(&b) || (*a == b'_' && b == b'-');
        known.len() == bytes.len() && bytes.iter().zip(known.bytes()).all(same)
    };
    NAMES.iter().any(is)
}

/// Whether a line of a text is such a field: `X-Umbra-Mirror: v2`.
pub(super) fn is_line(line: &str) -> bool {
    line.split_once([':', '=']).is_some_and(|(name, _)| names(name.trim_matches([' ', '\t', '"', '\''])))
}

/// Whether an item of a list is such a field: `["X-Umbra-Mirror", "v2"]`, `{"name": "X-Umbra-Mirror", …}`, or its line.
pub(super) fn is_item(item: &Node<'_>) -> bool {
    let is_name = |of: &Node<'_>| matches!(of, Node::String(text) if names(text));
    match item {
        Node::String(text) => is_line(text),
        Node::Array(pair) => pair.len() == 2 && pair.first().is_some_and(is_name),
        Node::Object(members) => members
            .iter()
            .any(|(name, of)| is_name(of) && NAMING.iter().any(|known| known.eq_ignore_ascii_case(name))),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Bytes(_) | Node::Hidden(_) => false,
    }
}

/// The span that a copy was given, and the original's.
#[derive(Debug, Default)]
pub(super) struct Added(Option<(String, String)>);

impl Added {
    pub(super) fn new(copy: [u8; 8], original: [u8; 8]) -> Self {
        if copy == [0; 8] || copy == original {
            return Self(None);
        }
        let hex = |span: [u8; 8]| {
            span.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string does not fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        Self(Some((hex(copy), hex(original))))
    }

    /// `text` as it would be with the original's span.
    pub(super) fn undone<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.0 {
            Some((copy, original)) if text.contains(copy.as_str()) => text.replace(copy, original).into(),
            Some(_) | None => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_copy_is_known_however_an_answer_spells_it() {
        for name in ["X-Umbra-Mirror", "x_umbra_mirror", "HTTP_X_UMBRA_PRIMARY_DURATION", "Traceparent"]
            .into_iter()
            .chain(["X-Umbra-Proof", "HTTP_X_UMBRA_PROOF"])
        {
            assert!(names(name), "{name}");
        }
        for name in ["", "x-umbra", "x-umbra-mirrors", "http_", "mirror", "tracestate"] {
            assert!(!names(name), "{name}");
        }
        assert!(is_line("X-Umbra-Mirror: v2") && is_line("  \"x-umbra-copy\" = 1") && !is_line("x: y"));
        let added = Added::new([0xab; 8], [1; 8]);
        assert_eq!(added.undone("00-t-abababababababab-01"), "00-t-0101010101010101-01");
        assert_eq!(Added::new([0; 8], [1; 8]).undone("0000000000000000"), "0000000000000000");
    }
}
