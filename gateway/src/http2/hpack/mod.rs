//! Blocks of fields to fields and back (RFC 7541): a decoder with its dynamic table, an encoder without one.
//!
//! The decoder writes each field where it is to stay, as a line of an HTTP/1.1 head begins (`name: value`), and checks and
//! counts while it writes: a block that means too much is noticed before it has become too much. Which fields make sense
//! together is not known here.

pub mod huffman;
pub mod tables;
pub mod decode;
pub mod encode;

pub use decode::{Decoder, Extent, Field, ListLimits, Sink, Unreadable};
pub use encode::Encoder;

/// The places where a byte may not stand: bits of [`FORBIDDEN`].
const IN_NAME: u8 = 1;
const IN_VALUE: u8 = 2;

/// By byte: whether a field's name or value must not contain it.
///
/// Names are tokens in lower case (RFC 9113 §8.2, RFC 9110 §5.6.2). Values have no control byte but HT (RFC 9110 §5.5):
/// stricter than RFC 9113 §8.2.1, as HTTP/1.1 readers behind us demand.
static FORBIDDEN: [u8; 256] = {
    let mut table = [IN_NAME; 256];
    let mut byte = 0u8;
    loop {
        let token = byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        let control = (byte < b' ' && byte != b'\t') || byte == 0x7f;
        // invariant: a u8 is an index of 256 entries, and this is evaluated by the compiler.
        #[allow(clippy::indexing_slicing)]
        {
            table[byte as usize] = (if token { 0 } else { IN_NAME }) | (if control { IN_VALUE } else { 0 });
        }
        if byte == 255 {
            break table;
        }
        byte += 1;
    }
};

#[inline]
fn forbidden(byte: u8) -> u8 {
    FORBIDDEN.get(usize::from(byte)).copied().unwrap_or(IN_NAME | IN_VALUE)
}
