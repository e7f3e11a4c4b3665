//! A copy as it goes on its stream: where its head ends, and its content as it stands in the inner form. Pure.

use bytes::Bytes;

use crate::http1::body::Incoming;
use crate::http1::framing::Framing;
use crate::http2::session::{Session, What};

/// A chunk of less content is copied beside its like: the reference that shares it would be as large.
const SHARED_BYTES_MIN: usize = 512;

/// Where the head of a copy ends, and its framing, which we wrote: in the last field or the last but one.
pub(super) fn wire(head: &[u8]) -> Option<(usize, Framing)> {
    let end = memchr::memmem::find(head, b"\r\n\r\n")?;
    let lines = head.get(..end).unwrap_or_default();
    let mut framing = Framing::None;
    for line in lines.rsplit(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            framing = Framing::Chunked;
            break;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            framing = length.map_or(Framing::None, Framing::Length);
            break;
        }
    }
    Some((end + 4, framing))
}

/// Content as it stands in the inner form. Content that is refused because the stream is over is told by an event. Says how much
/// of it is in memory twice: all else is shared.
pub(super) fn say_content(
    session: &mut Session,
    id: u32,
    framing: Framing,
    (rest, pieces): (&[u8], &[Bytes]),
    now_ms: u64,
) -> usize {
    if framing != Framing::Chunked {
        // All of it is content.
        let _ = session.queue(id, What::Copied(rest), now_ms);
        for piece in pieces {
            let _ = session.queue(id, What::Content(piece.clone()), now_ms);
        }
        let _ = session.queue(id, What::End, now_ms);
        return rest.len();
    }
    let (mut incoming, mut small, mut twice) = (Incoming::new(framing), Vec::new(), 0);
    let shared = pieces.iter().map(|piece| (&**piece, Some(piece)));
    for (piece, shared) in std::iter::once((rest, None)).chain(shared) {
        let read = incoming.read(piece, |content| {
            let Some(shared) = shared.filter(|_| content.len() >= SHARED_BYTES_MIN) else {
                twice += content.len();
                return small.extend_from_slice(content);
            };
            let _ = session.queue(id, What::Copied(&small), now_ms);
            small.clear();
            let _ = session.queue(id, What::Content(shared.slice_ref(content)), now_ms);
        });
        debug_assert!(read.is_ok(), "content that was framed here");
    }
    let _ = session.queue(id, What::Copied(&small), now_ms);
    let trailers = incoming.trailers();
    let end = if trailers.is_empty() { What::End } else { What::Trailers(trailers) };
    let _ = session.queue(id, end, now_ms);
    twice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_head_ends_is_told_and_how_what_follows_is_framed() {
        let of = |head: &str| wire(head.replace('\n', "\r\n").as_bytes());
        assert_eq!(of("GET / HTTP/1.1\nHost: a\n\n"), Some((27, Framing::None)));
        assert_eq!(of("A / HTTP/1.1\nContent-Length: 5\n\nhello"), Some((35, Framing::Length(5))));
        assert_eq!(of("A / HTTP/1.1\nTransfer-Encoding: chunked\n\n0\n\n"), Some((44, Framing::Chunked)));
        assert_eq!(of("GET / HTTP/1.1\n"), None);
    }
}
