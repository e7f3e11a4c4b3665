//! The two words by which the ends of a WebSocket's handshake know on HTTP/1.1 that the other has understood it (RFC 6455
//! §1.3): neither is a secret. Frames are not looked at. Pure.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::random::Random;

/// The protocol appends this to a key before it is hashed.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` of a `Sec-WebSocket-Key`.
pub fn accept(key: &[u8; 24]) -> [u8; 28] {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    in_base64(hash.as_ref())
}

/// A key of our own, for a client whose wire has none.
pub fn key(random: &Random) -> [u8; 24] {
    let (one, other) = (random.next().to_be_bytes(), random.next().to_be_bytes());
    in_base64(&[one, other].concat())
}

/// The bytes in base64, whose length is `N`.
fn in_base64<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut text = [b'='; N];
    let written = STANDARD.encode_slice(bytes, &mut text);
    debug_assert_eq!(written, Ok(N), "the hash or the key has one length");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_answer_that_the_rfc_gives_as_its_example() {
        assert_eq!(&accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_of_ours_is_sixteen_bytes_and_no_two_are_alike() {
        let random = Random::new(7);
        let (one, other) = (key(&random), key(&random));
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one).map(|bytes| bytes.len()), Ok(16));
    }
}
