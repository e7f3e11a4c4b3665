//! The one decision about where a message ends, made once from all of its fields (RFC 9112 §6.3).
//!
//! Refuses rather than repairs: a message that two readers could delimit differently is not forwarded.

/// The longest content that is believed: the largest signed file offset, so that no reader behind us overflows.
pub const LENGTH_MAX: u64 = i64::MAX as u64;

/// How the end of a message's content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    /// Bytes of content.
    Length(u64),
    Chunked,
    /// The connection's end (responses only).
    UntilClose,
}

/// Why no framing could be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguous {
    /// More than one Content-Length, or a list in one.
    RepeatedLength,
    /// Not 1*DIGIT, or more than [`LENGTH_MAX`].
    BadLength,
    /// Content-Length beside Transfer-Encoding.
    Both,
    /// Transfer-Encoding other than exactly `chunked`, once.
    BadCoding,
    /// Transfer-Encoding in an HTTP/1.0 message.
    CodingIn10,
}

/// Content-Length and Transfer-Encoding as met while walking the fields of one head.
#[derive(Debug, Clone, Copy, Default)]
pub struct FramingFields {
    length: Option<u64>,
    chunked: bool,
    fault: Option<Ambiguous>,
}

impl FramingFields {
    pub fn content_length(&mut self, value: &[u8]) {
        match (self.length, parse_length(value)) {
            (None, Some(n)) => self.length = Some(n),
            (None, None) => self.fail(Ambiguous::BadLength),
            (Some(_), _) => self.fail(Ambiguous::RepeatedLength),
        }
    }

    pub fn transfer_encoding(&mut self, value: &[u8]) {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            self.fail(Ambiguous::BadCoding);
        }
        self.chunked = true;
    }

    fn fail(&mut self, fault: Ambiguous) {
        self.fault.get_or_insert(fault);
    }

    fn decide(self, minor: u8) -> Result<Option<Framing>, Ambiguous> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Ambiguous::Both),
            (true, None) if minor == 0 => Err(Ambiguous::CodingIn10),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, Some(n)) => Ok(Some(Framing::Length(n))),
            (false, None) => Ok(None),
        }
    }

    /// Framing of a request: without either field there is no content (RFC 9112 §6.3 item 7).
    pub fn of_request(self, minor: u8) -> Result<Framing, Ambiguous> {
        Ok(match self.decide(minor)? {
            Some(Framing::Length(0)) | None => Framing::None,
            Some(framing) => framing,
        })
    }

    /// Framing of a final response to a request whose method was HEAD or not (RFC 9112 §6.3 items 1 to 8).
    pub fn of_response(self, minor: u8, status: u16, to_head: bool) -> Result<Framing, Ambiguous> {
        let declared = self.decide(minor)?;
        if to_head || status == 204 || status == 304 || status < 200 {
            return Ok(Framing::None);
        }
        Ok(declared.unwrap_or(Framing::UntilClose))
    }

    /// Some content is declared, whether or not an answer of its kind carries it.
    pub fn declares_content(self) -> bool {
        self.chunked || self.length.is_some_and(|n| n > 0)
    }

    /// The Content-Length itself, which a HEAD or 304 answer carries without content.
    pub fn length(self) -> Option<u64> {
        self.length
    }
}

/// 1*DIGIT up to [`LENGTH_MAX`] without wrapping (RFC 9110 §8.6).
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let length = value.iter().try_fold(0u64, |n, b| {
        if !b.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })?;
    (length <= LENGTH_MAX).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lengths: &[&str], codings: &[&str]) -> FramingFields {
        let mut f = FramingFields::default();
        lengths.iter().for_each(|v| f.content_length(v.as_bytes()));
        codings.iter().for_each(|v| f.transfer_encoding(v.as_bytes()));
        f
    }

    #[test]
    fn requests_are_framed_once_or_refused() {
        let check = |l: &[&str], t: &[&str], minor, expect| {
            assert_eq!(fields(l, t).of_request(minor), expect, "{l:?} {t:?} 1.{minor}");
        };
        check(&[], &[], 1, Ok(Framing::None));
        check(&["0"], &[], 1, Ok(Framing::None));
        check(&["5"], &[], 0, Ok(Framing::Length(5)));
        check(&["9223372036854775807"], &[], 1, Ok(Framing::Length(LENGTH_MAX)));
        check(&[], &["Chunked"], 1, Ok(Framing::Chunked));
        for bad in [
            "",
            "+5",
            "-1",
            "0x5",
            "1_0",
            "5e0",
            "5.0",
            "5 6",
            "5Z",
            "5, 5",
            "9223372036854775808",
            "18446744073709551616",
        ] {
            check(&[bad], &[], 1, Err(Ambiguous::BadLength));
        }
        check(&["5", "5"], &[], 1, Err(Ambiguous::RepeatedLength));
        check(&["5"], &["chunked"], 1, Err(Ambiguous::Both));
        check(&[], &["chunked"], 0, Err(Ambiguous::CodingIn10));
        for bad in
            ["", "identity", "gzip", "xchunked", "chunked;a=b", "\"chunked\"", "gzip, chunked", ",chunked"]
        {
            check(&[], &[bad], 1, Err(Ambiguous::BadCoding));
        }
        check(&[], &["chunked", "chunked"], 1, Err(Ambiguous::BadCoding));
    }

    #[test]
    fn responses_without_content_have_none_whatever_they_declare() {
        for (status, head) in [(204, false), (304, false), (200, true), (100, false)] {
            assert_eq!(fields(&["5"], &[]).of_response(1, status, head), Ok(Framing::None));
        }
        assert_eq!(fields(&[], &[]).of_response(1, 200, false), Ok(Framing::UntilClose));
        assert_eq!(fields(&["0"], &[]).of_response(1, 200, false), Ok(Framing::Length(0)));
        assert_eq!(fields(&["5"], &["chunked"]).of_response(1, 200, false), Err(Ambiguous::Both));
    }

    #[test]
    fn what_is_declared_is_told_whether_or_not_there_is_content() {
        for (lengths, codings, declares, length) in [
            (&[][..], &[][..], false, None),
            (&["0"], &[], false, Some(0)),
            (&["1"], &[], true, Some(1)),
            (&["5"], &[], true, Some(5)),
            (&[], &["chunked"], true, None),
        ] {
            let given = fields(lengths, codings);
            assert_eq!(
                (given.declares_content(), given.length()),
                (declares, length),
                "{lengths:?} {codings:?}"
            );
        }
    }
}
