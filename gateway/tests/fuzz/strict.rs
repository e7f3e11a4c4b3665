//! A second reader of HTTP/1.1, written for nothing but to be right: whole messages, no speed, no mercy (RFC 9112).

/// A head as a strict recipient reads it: the start line, then (name in lower case, value).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: Vec<u8>,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_slice()).collect()
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// Reads the whole of `bytes` as one head. The error is a sentence.
pub(crate) fn head(bytes: &[u8]) -> Result<Head, String> {
    let lines = bytes.strip_suffix(b"\r\n\r\n").ok_or("does not end with an empty line")?;
    let mut lines = split(lines);
    let start = lines.remove(0).to_vec();
    let mut fields = Vec::new();
    for line in std::iter::once(start.as_slice()).chain(lines.iter().copied()) {
        if let Some(bad) = line.iter().find(|b| (**b < b' ' && **b != b'\t') || **b == 0x7f) {
            return Err(format!("control byte {bad:#x} in {:?}", String::from_utf8_lossy(line)));
        }
    }
    for line in lines {
        let colon = line.iter().position(|b| *b == b':').ok_or("a line without colon")?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) {
            return Err(format!("a field is named {:?}", String::from_utf8_lossy(name)));
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        fields.push((name, value.trim_ascii().to_vec()));
    }
    Ok(Head { start, fields })
}

fn split(text: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

/// How a message's content is delimited, by its fields alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delimited {
    Nothing,
    Length(u64),
    Chunked,
}

/// The one way that `head`'s fields allow. The error says why there is none.
pub(crate) fn delimited(head: &Head) -> Result<Delimited, String> {
    let (lengths, codings) = (head.values("content-length"), head.values("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Delimited::Nothing),
        ([], [coding]) if *coding == b"chunked" => Ok(Delimited::Chunked),
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let digits = String::from_utf8_lossy(length);
            digits.parse().map(Delimited::Length).map_err(|e| format!("Content-Length {digits}: {e}"))
        }
        _ => Err(format!("Content-Length {lengths:?} beside Transfer-Encoding {codings:?}")),
    }
}

/// The chunked message that `bytes` begins with: (content, trailer lines, bytes of it). `None`: not one, or not whole.
pub(crate) fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let end = at + bytes[at..].windows(2).position(|w| w == b"\r\n")?;
        let line = &bytes[at..end];
        let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
        if digits == 0 {
            return None;
        }
        // Zeros before a size mean nothing, however many.
        let size = std::str::from_utf8(&line[..digits]).ok()?.trim_start_matches('0');
        let size = if size.is_empty() { 0 } else { u64::from_str_radix(size, 16).ok()? };
        let size = usize::try_from(size).ok()?;
        at = end + 2;
        if size == 0 {
            break;
        }
        content.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    let mut trailers = Vec::new();
    loop {
        let end = at + bytes[at..].windows(2).position(|w| w == b"\r\n")?;
        if end == at {
            return Some((content, trailers, at + 2));
        }
        trailers.extend_from_slice(&bytes[at..end + 2]);
        at = end + 2;
    }
}
