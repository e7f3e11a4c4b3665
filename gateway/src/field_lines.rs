//! Field lines as they are rendered (RFC 9112 §5), found by name without parsing the head they stand in. Pure.
//!
//! Heads and trailers pass between rooms as rendered lines: a room that wants one field of them looks it up here. Nothing
//! behind the empty line is a field.

use std::ops::Range;

/// The value of the first field of this name.
pub fn first<'a>(lines: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    values(lines, name).next()
}

/// The values of all fields of this name, in their order.
pub fn values<'a>(lines: &'a [u8], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let lines = lines.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.take_while(|line| !line.is_empty()).filter_map(move |line| value(line, name))
}

/// Where the value of the first field of this name stands.
pub fn range(lines: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.trim_ascii_end().len();
        if end == at {
            return None;
        }
        if let Some(value) = value(line, name) {
            return Some(end - value.len()..end);
        }
        at += line.len();
    }
    None
}

/// The value of a line that is a field of this name. A request line or a status line is none: no method and no version has a
/// colon behind it.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":").filter(|_| start.eq_ignore_ascii_case(name))?;
    Some(value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"GET /b: HTTP/1.1\r\nA: 1\r\nab: 2\r\na:3 \r\nempty:\r\n\r\na: content\r\nb: content\r\n";

    #[test]
    fn a_field_is_found_by_its_whole_name_in_any_case_and_never_in_content() {
        assert_eq!(values(HEAD, b"a").collect::<Vec<_>>(), [b"1", b"3"]);
        let rows: [(&[u8], Option<&[u8]>); 6] = [
            (b"a", Some(b"1")),
            (b"AB", Some(b"2")),
            (b"empty", Some(b"")),
            (b"b", None),
            (b"abc", None),
            (b"content", None),
        ];
        for (name, value) in rows {
            assert_eq!(first(HEAD, name), value, "{}", name.escape_ascii());
            let found = range(HEAD, name).map(|range| &HEAD[range]);
            assert_eq!(found, value, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        let range = range(HEAD, b"a").unwrap();
        assert_eq!([&HEAD[..range.start], b"x", &HEAD[range.end..]].concat()[18..24], *b"A: x\r\n");
        assert_eq!(super::range(b"a: 1\r\nb:  2  \r\n", b"b"), Some(10..11));
        assert_eq!(super::range(b"\r\na: 1\r\n", b"a"), None);
    }
}
