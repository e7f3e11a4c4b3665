//! Content: decoded the same however it arrives, and sent on so that it is decoded to the same again.

use gateway::http1::body::{self, HEADROOM, Incoming, Outgoing};
use gateway::http1::framing::Framing;

use crate::dice::{Dice, run};
use crate::strict;

pub(crate) const CHUNKED: [&[u8]; 6] = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=b\r\nhello\r\n00006\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0;x=\"y\"\r\nX: 1\r\nY: 2\r\n\r\n",
    b"0\r\n\r\n",
    b"A\r\n0123456789\r\na\r\n0123456789\r\n000\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n",
    b"3\r\n\r\n0\r\n0\r\n\r\n",
];

const SCRAPS: [&[u8]; 16] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"0\r\n\r\n",
    b"0",
    b"f",
    b";",
    b"\0",
    b"0x",
    b"-",
    b" ",
    b"\t",
    b"\xff",
    b"ffffffffffffffff",
    b"X: y\r\n",
    b"Content-Length: 3\r\n",
];

/// The result of decoding `pieces`: content, length of the message in the input, whether it is whole. `Err`: refused.
fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), ()> {
    let (mut incoming, mut content, mut used) = (Incoming::new(framing), Vec::new(), 0);
    for piece in pieces {
        if incoming.is_done() {
            break;
        }
        used += incoming.read(piece, |part| content.extend_from_slice(part)).map_err(|_| ())?;
    }
    Ok((content, used, incoming.is_done()))
}

#[test]
fn chunks_are_decoded_alike_however_they_arrive_and_never_otherwise_than_by_a_strict_reader() {
    run(chunks);
}

pub(crate) fn chunks(dice: &mut Dice) {
    let text = dice.text(&CHUNKED, &SCRAPS);
    let whole = decode(Framing::Chunked, &[&text]);
    let in_pieces = decode(Framing::Chunked, &dice.pieces(&text));
    assert_eq!(whole, in_pieces, "{:?}", String::from_utf8_lossy(&text));
    if let Ok((content, used, true)) = whole {
        let strict = strict::dechunk(&text).map(|(content, _, used)| (content, used));
        assert_eq!(strict, Some((content, used)), "{:?}", String::from_utf8_lossy(&text));
    }
}

/// A message's wire, and the content it carries.
fn message(dice: &mut Dice) -> (Framing, Vec<u8>, Vec<u8>) {
    let length = dice.one(&[0, 1, 5, 300, 20_000]);
    let content: Vec<u8> = (0..length).map(|_| dice.below(256) as u8).collect();
    if dice.one_in(2) {
        return (Framing::Length(length as u64), content.clone(), content);
    }
    let mut wire = Vec::new();
    for piece in dice.pieces(&content) {
        let extension = if dice.one_in(50) { dice.one(&[";a=b", ";q=\"\\\"\""]) } else { "" };
        wire.extend_from_slice(format!("{:x}{extension}\r\n", piece.len()).as_bytes());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(dice.one(&[b"0\r\n\r\n".as_slice(), b"0\r\nX-T: 1\r\n\r\n"]));
    (Framing::Chunked, wire, content)
}

#[test]
fn content_goes_through_unchanged_and_what_follows_it_is_left_alone() {
    run(content);
}

pub(crate) fn content(dice: &mut Dice) {
    let (framing, mut wire, content) = message(dice);
    let next = dice.one(&[b"".as_slice(), b"GET / HTTP/1.1\r\n"]);
    wire.extend_from_slice(next);
    let outgoing = dice.one(&[Outgoing::Plain, Outgoing::Chunked]);
    let mut incoming = Incoming::new(framing);
    let (mut out, mut rest, mut teed) = (Vec::new(), Vec::new(), Vec::new());
    let by_copy = dice.below(3);
    for (n, piece) in dice.pieces(&wire).into_iter().enumerate() {
        if incoming.is_done() {
            // As `decode` does after the end of a message: all of the piece is the next one's.
            rest.extend_from_slice(piece);
        } else if n < by_copy {
            let used =
                body::copy(piece, &mut incoming, outgoing, &mut out, |part| teed.extend_from_slice(part));
            rest.extend_from_slice(&piece[used.expect("well formed")..]);
        } else {
            let mut block = [&[0; HEADROOM], piece].concat();
            let found = body::decode(&mut block, &mut incoming, &mut rest).expect("well formed");
            teed.extend_from_slice(&block[found.clone()]);
            let end = incoming.is_done().then(|| incoming.trailers());
            let from = body::encode(&mut block, found, outgoing, end);
            out.extend_from_slice(&block[from..]);
        }
    }
    if wire.is_empty() || (framing == Framing::Length(0)) {
        return;
    }
    assert!(incoming.is_done());
    assert_eq!(rest, next);
    assert_eq!(teed, content);
    match outgoing {
        Outgoing::Plain => assert_eq!(out, content),
        Outgoing::Chunked if framing == Framing::Chunked || !content.is_empty() => {
            let (decoded, _, used) = strict::dechunk(&out).expect("chunks of our own");
            assert_eq!((decoded, used), (content, out.len()));
        }
        Outgoing::Chunked => {}
    }
}
