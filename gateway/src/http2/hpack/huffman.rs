//! HPACK's Huffman code (RFC 7541 §5.2, appendix B). It is canonical, so that the lengths of its 257 codes are all of it.

use super::forbidden;

/// Bits of each symbol's code; the last is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const EOS: u16 = 256;
const LONGEST: usize = 30;

/// The code by its lengths, all made by the compiler.
struct Code {
    /// By the next eight bits: symbol and length of a code of at most eight, or a length of 0.
    short: [(u8, u8); 256],
    /// Symbols by length, then by value: the order of their codes.
    symbols: [u16; 257],
    /// By length: the first code of it, how many there are, where they start in `symbols`.
    lengths: [(u32, u32, u16); LONGEST + 1],
    /// By symbol: the code itself.
    codes: [u32; 257],
}

// invariant: every index below is a symbol, a length or eight bits, and this is evaluated by the compiler.
#[allow(clippy::indexing_slicing)]
static CODE: Code = {
    let mut made =
        Code { short: [(0, 0); 256], symbols: [0; 257], lengths: [(0, 0, 0); LONGEST + 1], codes: [0; 257] };
    let (mut code, mut place, mut length) = (0u32, 0u16, 1usize);
    while length <= LONGEST {
        code <<= 1;
        let (first, start) = (code, place);
        let mut symbol = 0u16;
        while symbol <= EOS {
            if LENGTHS[symbol as usize] as usize == length {
                made.symbols[place as usize] = symbol;
                made.codes[symbol as usize] = code;
                if length <= 8 {
                    let from = (code as usize) << (8 - length);
                    let mut at = from;
                    while at < from + (1 << (8 - length)) {
                        made.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        made.lengths[length] = (first, code - first, start);
        length += 1;
    }
    made
};

/// Not a text in this code: a padding of a byte or more, or of zeros, or EOS itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHuffman;

/// Appends the text that `input` encodes to `out`; returns where its bytes are forbidden, all together.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<u8, BadHuffman> {
    // The shortest code has five bits.
    out.reserve(input.len() * 8 / 5 + 1);
    let (mut bits, mut count, mut seen) = (0u64, 0u32, 0u8);
    let mut rest = input;
    loop {
        if count <= 32 {
            if let Some((four, more)) = rest.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*four)) << (32 - count);
                count += 32;
                rest = more;
            } else {
                while let Some((byte, more)) = rest.split_first().filter(|_| count <= 56) {
                    bits |= u64::from(*byte) << (56 - count);
                    count += 8;
                    rest = more;
                }
            }
        }
        let (symbol, length) = next(bits)?;
        if length > count {
            break;
        }
        out.push(symbol);
        seen |= forbidden(symbol);
        bits <<= length;
        count -= length;
    }
    // The most significant bits of EOS, all ones, fewer than eight (RFC 7541 §5.2).
    let is_padding = count < 8 && bits.leading_ones() >= count;
    if is_padding { Ok(seen) } else { Err(BadHuffman) }
}

/// The symbol at the front of `bits` and the length of its code, which may be more than there are.
#[inline]
fn next(bits: u64) -> Result<(u8, u32), BadHuffman> {
    let front = usize::from((bits >> 56) as u8);
    match CODE.short.get(front).copied() {
        Some((symbol, length)) if length > 0 => Ok((symbol, u32::from(length))),
        _ => long(bits),
    }
}

#[cold]
fn long(bits: u64) -> Result<(u8, u32), BadHuffman> {
    let front = (bits >> 32) as u32;
    for (length, (first, many, start)) in (0u32..).zip(CODE.lengths.iter()).skip(9) {
        let nth = (front >> (32 - length)).wrapping_sub(*first);
        if nth < *many {
            let place = usize::from(*start) + nth as usize;
            let symbol = CODE.symbols.get(place).copied().unwrap_or(EOS);
            // EOS in a text is an error; as its own padding it is never whole.
            return u8::try_from(symbol).map(|symbol| (symbol, length)).map_err(|_| BadHuffman);
        }
    }
    Err(BadHuffman)
}

/// Appends `text` in this code. Our own fields go out plain; tests and benches speak it.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0u32);
    for byte in text {
        let symbol = usize::from(*byte);
        let length = u32::from(LENGTHS.get(symbol).copied().unwrap_or_default());
        let code = CODE.codes.get(symbol).copied().unwrap_or_default();
        bits = bits << length | u64::from(code);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | (0xff >> count) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, BadHuffman> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|_| out)
    }

    #[test]
    fn codes_are_those_of_appendix_b() {
        for (symbol, code) in [
            (0, 0x1ff8),
            (10, 0x3fff_fffc),
            (48, 0),
            (97, 3),
            (90, 0xfd),
            (255, 0x3ff_ffee),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(CODE.codes[symbol], code, "{symbol}");
        }
    }

    #[test]
    fn every_byte_comes_back_alone_and_among_others() {
        for byte in 0..=255u8 {
            for text in [vec![byte], vec![byte; 7], vec![b'0', byte, b'a', byte, 0xff]] {
                let mut coded = Vec::new();
                encode(&text, &mut coded);
                assert_eq!(decoded(&coded), Ok(text));
            }
        }
    }

    #[test]
    fn padding_is_short_and_of_ones_and_eos_is_no_text() {
        assert_eq!(decoded(&[]), Ok(vec![]));
        // '0' has five zeros; three ones follow.
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        assert_eq!(decoded(&[0b0000_0110]), Err(BadHuffman));
        assert_eq!(decoded(&[0b0000_0000]), Err(BadHuffman));
        assert_eq!(decoded(&[0b0000_0111, 0xff]), Err(BadHuffman));
        assert_eq!(decoded(&[0xff]), Err(BadHuffman));
        assert_eq!(decoded(&[0xff; 4]), Err(BadHuffman));
        assert_eq!(decoded(&[0xff; 9]), Err(BadHuffman));
    }
}
