//! A mirror's rules of comparison, prepared, with the secrets that are never shown. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use config::Compare;
use regex::bytes::Regex;

use super::descriptors::{Schema, is_same_word};
use crate::http1::edit::{field_name, lines};
use crate::mirror::redact::{REDACTED, Secrets};

/// Where something stands in a JSON text: names of members, `None` for any index.
pub(super) type Path<'a> = Vec<Option<&'a str>>;

/// Decoded bytes of one answer: more is a bomb, or nothing that anybody compares.
const DECODED_BYTES_MAX: usize = 8 << 20;

/// How many times as many bytes decoded content may have as may be kept of it coded: text seldom shrinks to less.
const DECODED_RATIO_MAX: usize = 16;

/// A JSON pointer; `*` is any one member or index.
#[derive(Debug)]
struct Pointer(Vec<String>);

impl Pointer {
    fn new(text: &str) -> Self {
        let unescaped = |part: &str| part.replace("~1", "/").replace("~0", "~");
        Self(text.split('/').skip(1).map(unescaped).collect())
    }

    /// Whether the pointer names the value at `path`. An index in a pointer fits any item, as `*` does: an item's position says
    /// little.
    fn names(&self, path: &[Option<&str>]) -> bool {
        self.fits(path, |name, part| name == part)
    }

    fn fits(&self, path: &[Option<&str>], is: impl Fn(&str, &str) -> bool) -> bool {
        let fits = |(part, at): (&String, &Option<&str>)| {
            part == "*"
                || match at {
                    Some(name) => is(name, part),
                    None => part.bytes().all(|b| b.is_ascii_digit()),
                }
        };
        self.0.len() == path.len() && self.0.iter().zip(path).all(fits)
    }
}

#[derive(Debug)]
pub(super) struct Rules {
    content_types: Vec<String>,
    ignore_headers: Vec<String>,
    ignore_json: Vec<Pointer>,
    ignore_text: Vec<Regex>,
    unordered: Vec<Pointer>,
    tolerance: f64,
    /// In which field a service says its version.
    pub(super) version_header: Option<String>,
    pub(super) decoded_bytes_max: usize,
    /// Secrets of every answer on the route.
    pub(super) secrets: Option<Arc<Secrets>>,
    /// The types of messages, where they are known.
    pub(super) schema: Option<Arc<Schema>>,
}

/// Fields of a connection or a message's frame, and the moment it was made: they tell nothing of the service.
const NEVER_COMPARED: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "date",
    "content-length",
    "age",
];

impl Rules {
    /// `secrets`: those of every answer on the route.
    pub(super) fn new(
        compare: &Compare,
        secrets: Option<&Arc<Secrets>>,
        schema: Option<&Arc<Schema>>,
    ) -> Self {
        let pointers = |texts: &[String]| texts.iter().map(|text| Pointer::new(text)).collect();
        Self {
            content_types: compare.content_types.clone(),
            ignore_headers: compare.ignore_headers.clone(),
            ignore_json: pointers(&compare.ignore_json),
            ignore_text: compare.ignore_text.iter().map(config::Pattern::regex).collect(),
            unordered: pointers(&compare.unordered),
            tolerance: compare.tolerance,
            version_header: compare.version_header.clone(),
            decoded_bytes_max: compare
                .body_bytes_max
                .saturating_mul(DECODED_RATIO_MAX)
                .min(DECODED_BYTES_MAX),
            secrets: secrets.map(Arc::clone),
            schema: schema.map(Arc::clone),
        }
    }

    /// Whether contents of these lower-case media types are compared.
    pub(super) fn compares_contents(&self, ours: &str, theirs: &str) -> bool {
        let fits = |known: &String, of: &str| match known.split_once('*') {
            Some((start, end)) => of.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
            None => known == of,
        };
        let mut known = self.content_types.iter();
        self.content_types.is_empty() || known.any(|known| fits(known, ours) || fits(known, theirs))
    }

    /// Whether a field by this lower-case name is compared.
    pub(super) fn compares_field(&self, name: &str) -> bool {
        let ignored = |known: &String| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => known == name,
        };
        !NEVER_COMPARED.contains(&name)
            && self.version_header.as_deref() != Some(name)
            && !self.ignore_headers.iter().any(ignored)
    }

    pub(super) fn ignores(&self, path: &[Option<&str>]) -> bool {
        self.ignore_json.iter().any(|pointer| pointer.names(path))
    }

    pub(super) fn is_unordered(&self, path: &[Option<&str>]) -> bool {
        self.unordered.iter().any(|pointer| pointer.names(path))
    }

    /// The path of the secret that the value at `path` belongs to, if any. `is_call`: names are those of protocol buffers,
    /// which have two spellings, and a third where descriptors give a `json_name`.
    pub(super) fn secret_at<'p>(&self, path: &[Option<&'p str>], is_call: bool) -> Option<Path<'p>> {
        let pointers = self.secrets.as_ref()?.json.as_ref()?;
        if !is_call {
            return pointers.covering(path, <[u8]>::eq_ignore_ascii_case);
        }
        let is_called =
            |name: &[u8], known: &[u8]| self.schema.as_ref().is_some_and(|of| of.is_called(name, known));
        pointers.covering(path, |known, name| is_same_word(known, name) || is_called(name, known))
    }

    /// Whether members of contents are secret: where they cannot be found, nothing of the contents is shown.
    pub(super) fn hides_content(&self) -> bool {
        self.secrets.as_ref().is_some_and(|secrets| secrets.json.is_some())
    }

    /// `text` without the parts that the rules ignore.
    pub(super) fn without_ignored<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for pattern in &self.ignore_text {
            if let Cow::Owned(replaced) = pattern.replace_all(text.as_bytes(), b"".as_slice()) {
                text = Cow::Owned(String::from_utf8(replaced).unwrap_or_else(|left| told(left.as_bytes())));
            }
        }
        text
    }

    /// Whether numbers that differ may count as the same.
    pub(super) fn is_tolerant(&self) -> bool {
        self.tolerance > 0.0
    }

    /// Whether two numbers, as they are written, are the same. Where floats cannot tell whole numbers apart, digits do.
    pub(super) fn same_number(&self, one: &str, other: &str) -> bool {
        let value = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
        let is_whole = |text: &str| !text.contains(['.', 'e', 'E']);
        if one == other {
            return true;
        }
        let Some((a, b)) = value(one).zip(value(other)) else { return false };
        if self.tolerance == 0.0 && a != 0.0 && is_whole(one) && is_whole(other) {
            return false;
        }
        (a - b).abs() <= self.tolerance * a.abs().max(b.abs())
    }

    /// Field lines as they may be shown.
    pub(super) fn shown_fields(&self, fields: &[u8]) -> Vec<u8> {
        let Some(secrets) = &self.secrets else { return fields.to_vec() };
        let mut out = Vec::with_capacity(fields.len());
        if self.hides_content() {
            // Binary metadata (`grpc-status-details-bin`) holds messages, in which members are not looked for.
            for line in lines(fields) {
                let name = field_name(line);
                if name.to_ascii_lowercase().ends_with(b"-bin") {
                    out.extend([name, b": ", REDACTED.as_bytes(), b"\r\n"].concat());
                } else {
                    secrets.lines(&mut out, line);
                }
            }
        } else {
            secrets.lines(&mut out, fields);
        }
        out
    }

    /// A URI as it may be shown.
    pub(super) fn shown_uri<'t>(&self, uri: &'t str) -> Cow<'t, str> {
        self.secrets.as_ref().map_or(Cow::Borrowed(uri), |secrets| secrets.uri(uri))
    }

    /// Text as it may be shown.
    pub(super) fn shown_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.secrets.as_ref().map_or(Cow::Borrowed(text), |secrets| secrets.text(text))
    }

    /// Content as it may be shown: without its secrets, or not at all where they cannot be found in it.
    pub(super) fn shown_content(&self, content: &[u8], is_cut: bool) -> String {
        use crate::mirror::redact::json::Search;
        let Some(pointers) = self.secrets.as_ref().and_then(|secrets| secrets.json.as_ref()) else {
            return self.shown_text(&String::from_utf8_lossy(content)).into_owned();
        };
        let mut out = Vec::with_capacity(content.len());
        let mut search = Search::new(pointers);
        let searched =
            search.feed(content, &mut out).and_then(|()| if is_cut { Ok(()) } else { search.end() });
        match searched {
            Ok(()) => self.shown_text(&String::from_utf8_lossy(&out)).into_owned(),
            Err(_) if content.is_empty() => String::new(),
            Err(_) => REDACTED.to_owned(),
        }
    }
}

/// Text from bytes of which a pattern took a part of a letter: the rest of one letter stays apart from the rests of others.
fn told(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|byte| text.push_str(&format!("{}{byte:02x}", char::REPLACEMENT_CHARACTER)));
    }
    text
}

#[cfg(test)]
mod tests {
    use config::Percent;

    use super::*;

    #[test]
    fn what_was_checked_of_a_pattern_is_what_runs() {
        let without = |pattern: &str, text: &str| {
            let compare = Compare {
                percent: Percent::ALL,
                body_bytes_max: 1,
                content_types: Vec::new(),
                ignore_headers: Vec::new(),
                ignore_json: Vec::new(),
                ignore_text: vec![config::Pattern::anywhere(pattern).unwrap()],
                unordered: Vec::new(),
                tolerance: 0.0,
                descriptors: None,
                version_header: None,
            };
            Rules::new(&compare, None, None).without_ignored(text).into_owned()
        };
        assert_eq!(without("[0-9]+", "a1b22"), "ab");
        // Classes are ASCII's, in a hundredth of the room, and Unicode's where they are named.
        assert_eq!(without(r"\d", "1\u{663}"), "\u{663}");
        assert_eq!(without(r"\p{Nd}", "1\u{663}"), "");
        // A pattern that needs bytes is applied like the others.
        assert_eq!(without(r"(?-u:\xc3)\w*", "plain"), "plain");
        let (one, other) = (without(r"\xc3", "\u{e9}"), without(r"\xc3", "\u{e8}"));
        assert!(one != other && one.contains("a9") && other.contains("a8"), "{one} {other}");
    }
}
