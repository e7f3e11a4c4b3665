//! Finds the end of a head as bytes arrive, looking at each byte once, and refuses line ends that smuggle.
//!
//! Knows only line structure: a head ends at the first empty line, every LF follows a CR (RFC 9112 §2.2 lets a recipient
//! accept a bare LF; peers that disagree about it are how requests are smuggled, so we refuse it).

use super::line_feeds::line_feeds;

/// State of a head so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// No empty line yet.
    Partial,
    /// The head is this many bytes long, its empty line included.
    Complete(usize),
    /// An LF without a CR before it.
    BareLf,
}

/// Remembers how far a growing buffer has been looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScanner {
    seen: usize,
}

impl HeadScanner {
    /// Looks at the bytes of `head` not seen before. `head` starts at the head's first byte and only grows between calls.
    #[inline]
    pub fn scan(&mut self, head: &[u8]) -> Scan {
        let from = self.seen;
        let mut found = Scan::Partial;
        line_feeds(head.get(from..).unwrap_or_default(), |lf| {
            let at = from + lf;
            if at == 0 || head[at - 1] != b'\r' {
                found = Scan::BareLf;
            } else if at >= 3 && head[at - 2] == b'\n' {
                found = Scan::Complete(at + 1);
            }
            found == Scan::Partial
        });
        self.seen = match found {
            Scan::Partial => head.len(),
            Scan::Complete(_) => 0,
            Scan::BareLf => from,
        };
        found
    }

    /// Length of the first line without its CRLF, as far as it is known.
    pub fn first_line_len(head: &[u8]) -> usize {
        memchr::memchr(b'\r', head).unwrap_or(head.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expect: Scan) {
        assert_eq!(HeadScanner::default().scan(input), expect, "whole: {:?}", String::from_utf8_lossy(input));
        // The same bytes one at a time must come to the same answer at the same place.
        let mut scanner = HeadScanner::default();
        let mut last = Scan::Partial;
        for end in 1..=input.len() {
            last = scanner.scan(&input[..end]);
            if last != Scan::Partial {
                break;
            }
        }
        assert_eq!(last, expect, "byte by byte: {:?}", String::from_utf8_lossy(input));
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_and_nowhere_else() {
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", Scan::Complete(27));
        check(b"GET / HTTP/1.1\r\n\r\n", Scan::Complete(18));
        check(b"GET / HTTP/1.1\r\nHost: a\r\n", Scan::Partial);
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\r", Scan::Partial);
        check(b"", Scan::Partial);
        check(b"G", Scan::Partial);
    }

    #[test]
    fn a_bare_lf_is_refused_wherever_it_stands() {
        check(b"\n", Scan::BareLf);
        check(b"GET / HTTP/1.1\nHost: a\r\n\r\n", Scan::BareLf);
        check(b"GET / HTTP/1.1\r\nHost: a\n\r\n", Scan::BareLf);
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\n", Scan::BareLf);
    }
}
