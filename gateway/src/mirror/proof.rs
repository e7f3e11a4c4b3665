//! The proof that tells a copy of ours from any request of a client's: a word that follows from a key, beside the plain mark
//! that tells mirrors that a request is a copy.
//!
//! The word is the same for all copies made under one key: it proves the origin of a copy, and nothing of its content. Servers
//! that are sent copies see it; clients are not. A process draws its key at its start, unless the environment names one that a
//! fleet shares.

use std::fmt;
use std::fs::File;
use std::hash::Hasher;
use std::io::Read;
use std::sync::OnceLock;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Names the key that the gateways of a fleet share, 32 hex digits: they know each other's copies then.
pub const KEY_VARIABLE: &str = "UMBRA_MARK_KEY";

/// The field that carries the word.
pub const PROOF: &str = "X-Umbra-Proof";

const WORD_BYTES: usize = 32;

/// Bytes of the line that proves a copy.
pub const LINE_BYTES: usize = PROOF.len() + ": \r\n".len() + WORD_BYTES;

/// The word of one key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof([u8; WORD_BYTES]);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

impl Proof {
    pub fn new(key: [u8; 16]) -> Self {
        let mut hasher = SipHasher24::new_with_key(&key);
        hasher.write(b"umbra: a copy");
        let mut word = [0; WORD_BYTES];
        let bytes = hasher.finish128().as_bytes();
        for (place, byte) in word.chunks_exact_mut(2).zip(bytes) {
            place.copy_from_slice(&digits(byte));
        }
        Self(word)
    }

    /// The proof of this process. An error names the fault in the environment.
    pub fn of_process() -> Result<Self, String> {
        static PROOF: OnceLock<Proof> = OnceLock::new();
        if let Some(proof) = PROOF.get() {
            return Ok(*proof);
        }
        let key = match std::env::var_os(KEY_VARIABLE) {
            Some(given) => given.to_str().and_then(key).ok_or_else(|| {
                format!("{KEY_VARIABLE} is no key: it takes 32 hex digits (openssl rand -hex 16)")
            })?,
            None => drawn().map_err(|error| format!("cannot draw a key from /dev/urandom: {error}"))?,
        };
        Ok(*PROOF.get_or_init(|| Self::new(key)))
    }

    /// Whether a field's value is the word. It takes as long wherever they differ.
    pub fn is(&self, value: &[u8]) -> bool {
        value.len() == WORD_BYTES && self.0.iter().zip(value).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }

    /// The value of the field that proves a copy.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Appends the line that proves a copy.
    pub fn write(&self, head: &mut Vec<u8>) {
        head.extend_from_slice(PROOF.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(&self.0);
        head.extend_from_slice(b"\r\n");
    }
}

fn drawn() -> std::io::Result<[u8; 16]> {
    let mut key = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

fn key(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    let mut key = [0; 16];
    if digits.len() != 2 * key.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (place, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *place = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

fn digits(byte: u8) -> [u8; 2] {
    let digit = |four: u8| if four < 10 { b'0' + four } else { b'a' + four - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_follows_from_its_key_and_another_keys_is_none() {
        let [one, other] = [Proof::new([1; 16]), Proof::new([2; 16])];
        let mut line = Vec::new();
        one.write(&mut line);
        let value =
            line.strip_prefix(b"X-Umbra-Proof: ").and_then(|rest| rest.strip_suffix(b"\r\n")).unwrap();
        assert!(value.iter().all(u8::is_ascii_hexdigit));
        assert!(one.is(value) && Proof::new([1; 16]).is(value) && !other.is(value));
        for forged in [b"".as_slice(), b"v2", &value[1..], &[b'0'; WORD_BYTES]] {
            assert!(!one.is(forged));
        }
        assert!(!format!("{one:?}").contains(std::str::from_utf8(value).unwrap()));
    }

    #[test]
    fn a_key_is_32_hex_digits() {
        assert_eq!(key("000102030405060708090a0B0c0d0e0f"), Some(std::array::from_fn(|i| i as u8)));
        for text in ["", "00", "+00102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0g"] {
            assert_eq!(key(text), None, "{text}");
        }
    }
}
