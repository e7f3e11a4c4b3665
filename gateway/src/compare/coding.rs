//! Content without its content coding (RFC 9110 §8.4): gzip and deflate are undone, others are not. Pure.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::http1::edit::{field_name, lines};
use crate::observe::record::Answer;

/// An answer's content as its reader sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    pub(super) content: Cow<'a, [u8]>,
    pub(super) end: End,
}

/// How content that could be read ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// There is more.
    Cut,
    /// The content is not in its coding, or ends too early.
    Broken,
}

enum Coding {
    None,
    Gzip,
    Deflate,
}

/// `None`: a coding that is not undone here, or several.
fn coding(answer: &Answer) -> Option<Coding> {
    let mut found = Coding::None;
    let named =
        lines(&answer.fields).filter(|line| field_name(line).eq_ignore_ascii_case(b"content-encoding"));
    for line in named {
        let value = line.get(b"content-encoding:".len()..).unwrap_or_default();
        for one in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let next = match one.to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Coding::Gzip,
                b"deflate" => Coding::Deflate,
                _ => return None,
            };
            if !matches!(found, Coding::None) {
                return None;
            }
            found = next;
        }
    }
    Some(found)
}

/// At most `bytes_max` of the content. `None` where its coding is not known here.
pub(super) fn plain(answer: &Answer, bytes_max: usize) -> Option<Plain<'_>> {
    let bytes = answer.content.as_ref();
    let (content, end) = match coding(answer)? {
        Coding::None => {
            let kept = bytes.get(..bytes_max).unwrap_or(bytes);
            let is_cut = answer.is_cut || kept.len() < bytes.len();
            return Some(Plain { content: kept.into(), end: if is_cut { End::Cut } else { End::Whole } });
        }
        // Without content there is nothing to undo: answers to HEAD, 304.
        Coding::Gzip | Coding::Deflate if bytes.is_empty() => (Vec::new(), End::Whole),
        Coding::Gzip => read(MultiGzDecoder::new(bytes), bytes_max),
        // zlib's format is meant (§8.4.1.2); some servers send the bare one.
        Coding::Deflate => match read(ZlibDecoder::new(bytes), bytes_max) {
            (content, End::Broken) if content.is_empty() => read(DeflateDecoder::new(bytes), bytes_max),
            zlib => zlib,
        },
    };
    Some(Plain { content: content.into(), end: if answer.is_cut { End::Cut } else { end } })
}

/// The readable content, at most `bytes_max` of it, and how it ends.
pub(super) fn read(decoder: impl Read, bytes_max: usize) -> (Vec<u8>, End) {
    let mut content = Vec::new();
    // One byte more than is kept tells whether there is more.
    let ended = decoder.take(bytes_max as u64 + 1).read_to_end(&mut content).is_ok();
    let end = match ended {
        _ if content.len() > bytes_max => End::Cut,
        true => End::Whole,
        false => End::Broken,
    };
    content.truncate(bytes_max);
    (content, end)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    pub(in super::super) fn gzip(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn answer(fields: &str, content: Vec<u8>) -> Answer {
        Answer {
            status: 200,
            fields: fields.as_bytes().into(),
            content: content.into(),
            is_cut: false,
            trailers: Box::default(),
        }
    }

    #[test]
    fn content_is_read_through_the_codings_that_are_known() {
        let text = b"the same text, the same text, the same text";
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(text).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(text).unwrap();
        let rows = [
            ("", text.to_vec()),
            ("Content-Encoding: identity\r\n", text.to_vec()),
            ("content-encoding:GZIP\r\n", gzip(text, 6)),
            ("Content-Encoding: x-gzip, identity\r\n", gzip(text, 0)),
            ("Content-Encoding: deflate\r\n", zlib.finish().unwrap()),
            ("Content-Encoding: deflate\r\n", bare.finish().unwrap()),
        ];
        for (fields, content) in rows {
            let answer = answer(fields, content);
            let read = plain(&answer, 1000).unwrap();
            assert_eq!((read.content.as_ref(), read.end), (text.as_slice(), End::Whole), "{fields}");
            let beginning = plain(&answer, 8).unwrap();
            assert_eq!((beginning.content.as_ref(), beginning.end), (&text[..8], End::Cut), "{fields}");
        }
        for fields in ["Content-Encoding: br\r\n", "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n"] {
            assert_eq!(plain(&answer(fields, gzip(text, 6)), 1000), None, "{fields}");
        }
    }

    #[test]
    fn what_is_broken_is_told_from_what_blows_up() {
        let fields = "Content-Encoding: gzip\r\n";
        let end = |content: Vec<u8>| plain(&answer(fields, content), 10_000).unwrap().end;
        let mut broken = gzip(&[b'a'; 5000], 6);
        broken.truncate(broken.len() - 8);
        assert_eq!(end(broken.clone()), End::Broken);
        assert_eq!(end(b"no gzip at all".to_vec()), End::Broken);
        assert_eq!(end(Vec::new()), End::Whole);
        let cut = Answer { is_cut: true, ..answer(fields, broken) };
        assert_eq!(plain(&cut, 10_000).unwrap().end, End::Cut, "the rest is not kept");
        let bomb = answer(fields, gzip(&vec![0; 1 << 24], 9));
        let read = plain(&bomb, 1 << 20).unwrap();
        assert_eq!((read.content.len(), read.end), (1 << 20, End::Cut));
    }
}
