//! The content of a call's response, taken apart: messages without their prefix and their compression, and the trailers that
//! gRPC-Web puts behind them. Pure.

use std::borrow::Cow;

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::coding::{End, read};
use super::json::NODES_MAX;
use crate::grpc::web::{Base64, COMPRESSED, PREFIX_BYTES, TRAILERS};

/// The framing of a call's response, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) is_web: bool,
    is_text: bool,
    pub(super) is_json: bool,
}

impl Framing {
    /// `kind`: in lower case, without parameters. `None` where it is no call's.
    pub(super) fn of(kind: &str) -> Option<Self> {
        let (kind, of_messages) = kind.split_once('+').unwrap_or((kind, ""));
        let (is_web, is_text) = match kind {
            "application/grpc" => (false, false),
            "application/grpc-web" => (true, false),
            "application/grpc-web-text" => (true, true),
            _ => return None,
        };
        Some(Self { is_web, is_text, is_json: of_messages == "json" })
    }

    /// Content as bytes.
    pub(super) fn bytes<'a>(self, content: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.is_text { Base64::decode(content).map(Cow::Owned) } else { Some(content.into()) }
    }
}

/// The messages and trailers of a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken<'a> {
    pub(super) messages: Vec<Cow<'a, [u8]>>,
    pub(super) trailers: Cow<'a, [u8]>,
}

/// Why it could not be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untaken {
    Broken,
    /// Its messages are compressed in a way that is not read here.
    Coded,
    TooLong,
}

/// Messages have so many bytes at most, all together and decompressed; `coding` is the value of `grpc-encoding`.
pub(super) fn take<'a>(bytes: &'a [u8], coding: &str, bytes_max: usize) -> Result<Taken<'a>, Untaken> {
    let (mut taken, mut rest, mut left) = (Taken::default(), bytes, bytes_max);
    while !rest.is_empty() {
        let (prefix, behind) = rest.split_first_chunk::<PREFIX_BYTES>().ok_or(Untaken::Broken)?;
        let [flags, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Untaken::Broken)?;
        let (part, behind) = behind.split_at_checked(length).ok_or(Untaken::Broken)?;
        rest = behind;
        let message = match flags & !TRAILERS {
            0 => Cow::Borrowed(part),
            COMPRESSED => Cow::Owned(decompressed(part, coding, left)?),
            _unknown => return Err(Untaken::Broken),
        };
        left = left.checked_sub(message.len()).ok_or(Untaken::TooLong)?;
        if flags & TRAILERS == 0 {
            if taken.messages.len() == NODES_MAX {
                return Err(Untaken::TooLong);
            }
            taken.messages.push(message);
        } else {
            taken.trailers = message;
        }
    }
    Ok(taken)
}

fn decompressed(part: &[u8], coding: &str, bytes_max: usize) -> Result<Vec<u8>, Untaken> {
    let (bytes, end) = match coding.to_ascii_lowercase().as_str() {
        "gzip" => read(MultiGzDecoder::new(part), bytes_max),
        "deflate" => match read(ZlibDecoder::new(part), bytes_max) {
            (bytes, End::Broken) if bytes.is_empty() => read(DeflateDecoder::new(part), bytes_max),
            zlib => zlib,
        },
        // The message is marked as compressed, and no coding is given.
        "" | "identity" => return Err(Untaken::Broken),
        _ => return Err(Untaken::Coded),
    };
    match end {
        End::Whole => Ok(bytes),
        End::Cut => Err(Untaken::TooLong),
        End::Broken => Err(Untaken::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::super::coding::tests::gzip;
    use super::*;

    fn frame(flags: u8, part: &[u8]) -> Vec<u8> {
        [&[flags], (part.len() as u32).to_be_bytes().as_slice(), part].concat()
    }

    #[test]
    fn messages_are_taken_out_of_their_frames_and_their_compression() {
        let content = [frame(0, b"one"), frame(1, &gzip(b"two", 6)), frame(0, b"")].concat();
        let taken = take(&content, "gzip", 100).unwrap();
        assert_eq!(taken.messages, [b"one".as_slice(), b"two", b""]);
        let web = [frame(0, b"one"), frame(0x80, b"grpc-status:0\r\n")].concat();
        let taken = take(&web, "", 100).unwrap();
        assert_eq!((taken.messages.len(), taken.trailers.as_ref()), (1, b"grpc-status:0\r\n".as_slice()));
        let coded = [frame(1, &gzip(b"one", 6)), frame(0x81, &gzip(b"grpc-status:0\r\n", 6))].concat();
        assert_eq!(take(&coded, "gzip", 100).unwrap().trailers.as_ref(), b"grpc-status:0\r\n");
        assert_eq!(take(b"", "", 0), Ok(Taken::default()));
    }

    #[test]
    fn what_is_cut_odd_or_too_much_is_told_apart() {
        let one = frame(0, b"one");
        for cut in 1..one.len() {
            assert_eq!(take(&one[..cut], "", 100), Err(Untaken::Broken), "{cut}");
        }
        let rows = [
            (frame(2, b"one"), "", Untaken::Broken),
            (frame(1, b"one"), "", Untaken::Broken),
            (frame(1, b"one"), "gzip", Untaken::Broken),
            (frame(1, b"one"), "snappy", Untaken::Coded),
            (frame(1, &gzip(&vec![0; 1 << 20], 9)), "gzip", Untaken::TooLong),
            ([one.clone(), frame(0, &[0; 98])].concat(), "", Untaken::TooLong),
            (frame(0, b"").repeat(2)[..7].to_vec(), "", Untaken::Broken),
        ];
        for (content, coding, why) in rows {
            assert_eq!(take(&content, coding, 100), Err(why), "{coding}");
        }
    }

    #[test]
    fn a_media_type_tells_how_a_response_is_framed() {
        let of = |kind| Framing::of(kind).map(|of| (of.is_web, of.is_text, of.is_json));
        assert_eq!(of("application/grpc"), Some((false, false, false)));
        assert_eq!(of("application/grpc+json"), Some((false, false, true)));
        assert_eq!(of("application/grpc-web-text+proto"), Some((true, true, false)));
        assert_eq!((of("application/json"), of("application/grpcish")), (None, None));
    }
}
