//! The decoder: one block at a time, whole, in the order of the connection, or the table is lost.

use super::huffman;
use super::tables::{Dynamic, ENTRY_OVERHEAD, Facts, SEPARATOR, STATIC, TABLE_BYTES_MAX, fixed};
use super::{IN_NAME, IN_VALUE, forbidden};

/// A block beyond its limits is decoded on, so that the table survives, up to so many times the limit. A peer that sends more
/// does not mean to be answered.
pub const LENIENCE: usize = 4;

/// Bounds of the fields of one block, counted as the peer counts them.
#[derive(Debug, Clone, Copy)]
pub struct ListLimits {
    /// Names, values and [`ENTRY_OVERHEAD`] each.
    pub bytes_max: usize,
    pub fields_max: usize,
}

/// The connection cannot go on: the bytes that follow mean something else to the peer than to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// COMPRESSION_ERROR (RFC 9113 §4.3).
    Malformed(&'static str),
    /// Beyond [`LENIENCE`].
    TooLarge,
}

/// A field as it was just written: `name: value` at `out[at..]`, to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub at: usize,
    pub name_len: usize,
    pub value_len: usize,
    /// A token in lower case, not empty.
    pub name_is_good: bool,
    /// No control byte but HT, no space at either end (RFC 9113 §8.2.1).
    pub value_is_good: bool,
    /// The field must not be indexed on its way on either (RFC 7541 §6.2.3).
    pub never_indexed: bool,
}

/// The taker of the fields.
pub trait Sink {
    /// Where they are written.
    fn out(&mut self) -> &mut Vec<u8>;
    /// A field was appended. An unwanted one is cut off again.
    fn field(&mut self, field: Field);
}

/// How much a block meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    pub bytes: usize,
    pub fields: usize,
    /// Beyond a limit: fields from there on were not shown.
    pub is_too_large: bool,
}

/// The decoder of one connection's blocks.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Dynamic,
}

impl Decoder {
    /// Decodes a whole block.
    pub fn decode(
        &mut self,
        block: &[u8],
        limits: ListLimits,
        sink: &mut impl Sink,
    ) -> Result<Extent, Unreadable> {
        let mut input = Input(block);
        let mut extent = Extent::default();
        self.size_updates(&mut input)?;
        while let Some(first) = input.peek() {
            let at = sink.out().len();
            let field = self.field(first, &mut input, sink.out())?;
            extent.fields += 1;
            extent.bytes += field.name_len + field.value_len + ENTRY_OVERHEAD;
            if extent.bytes > limits.bytes_max || extent.fields > limits.fields_max {
                extent.is_too_large = true;
                if extent.bytes > limits.bytes_max.saturating_mul(LENIENCE) {
                    return Err(Unreadable::TooLarge);
                }
            }
            if extent.is_too_large {
                sink.out().truncate(at);
            } else {
                sink.field(field);
            }
        }
        Ok(extent)
    }

    /// Sizes may be told before the first field, the smallest and the last of those meant in between (RFC 7541 §4.2).
    fn size_updates(&mut self, input: &mut Input<'_>) -> Result<(), Unreadable> {
        for _ in 0..2 {
            if input.peek().is_none_or(|first| first & 0xe0 != 0x20) {
                return Ok(());
            }
            let size = input.integer(5)?;
            if size > TABLE_BYTES_MAX {
                return Err(Unreadable::Malformed("table size beyond its limit"));
            }
            self.table.resize(size);
        }
        Ok(())
    }

    #[inline]
    fn field(&mut self, first: u8, input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<Field, Unreadable> {
        let at = out.len();
        if first & 0x80 != 0 {
            let index = input.integer(7)?;
            return self.indexed(index, out, at);
        }
        let (prefix, is_added, never_indexed) = match first {
            0x40.. => (6, true, false),
            0x20..0x40 => return Err(Unreadable::Malformed("table size behind a field")),
            0x10..0x20 => (4, false, true),
            0..0x10 => (4, false, false),
        };
        let index = input.integer(prefix)?;
        let name_is_good = if index == 0 {
            input.string(out)? & IN_NAME == 0 && out.len() > at
        } else {
            self.name(index, out)?
        };
        let name_len = out.len() - at;
        out.extend_from_slice(SEPARATOR);
        let value_at = out.len();
        let seen = input.string(out)?;
        let value = out.get(value_at..).unwrap_or_default();
        let is_edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let value_is_good = seen & IN_VALUE == 0 && !is_edge(value.first()) && !is_edge(value.last());
        if is_added {
            let text = out.get(at..).unwrap_or_default();
            self.table.add(text, name_len, Facts { name_is_good, value_is_good });
        }
        let value_len = value.len();
        Ok(Field { at, name_len, value_len, name_is_good, value_is_good, never_indexed })
    }

    #[inline]
    fn indexed(&self, index: usize, out: &mut Vec<u8>, at: usize) -> Result<Field, Unreadable> {
        let (name_len, facts) = match index {
            0 => return Err(Unreadable::Malformed("index 0")),
            1..=STATIC => {
                let (name, value) = fixed(index).ok_or(UNKNOWN_INDEX)?;
                out.extend_from_slice(name);
                out.extend_from_slice(SEPARATOR);
                out.extend_from_slice(value);
                (name.len(), fixed_facts(name))
            }
            _ => {
                let (text, name_len, facts) = self.table.entry(index - STATIC - 1).ok_or(UNKNOWN_INDEX)?;
                out.extend_from_slice(text);
                (name_len, facts)
            }
        };
        Ok(Field {
            at,
            name_len,
            value_len: out.len() - at - name_len - SEPARATOR.len(),
            name_is_good: facts.name_is_good,
            value_is_good: facts.value_is_good,
            never_indexed: false,
        })
    }

    /// Writes the name of an entry; says whether it is a good one.
    #[inline]
    fn name(&self, index: usize, out: &mut Vec<u8>) -> Result<bool, Unreadable> {
        let (name, facts) = if index <= STATIC {
            let (name, _) = fixed(index).ok_or(UNKNOWN_INDEX)?;
            (name, fixed_facts(name))
        } else {
            let (text, name_len, facts) = self.table.entry(index - STATIC - 1).ok_or(UNKNOWN_INDEX)?;
            (text.get(..name_len).unwrap_or_default(), facts)
        };
        out.extend_from_slice(name);
        Ok(facts.name_is_good)
    }
}

const UNKNOWN_INDEX: Unreadable = Unreadable::Malformed("index beyond the table");
const TRUNCATED: Unreadable = Unreadable::Malformed("a field ends behind the block");

/// Static names are good, pseudo-headers aside, whose colon no token has.
fn fixed_facts(name: &[u8]) -> Facts {
    Facts { name_is_good: name.first() != Some(&b':'), value_is_good: true }
}

/// The rest of a block.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self.0.split_first().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(*first)
    }

    /// An integer whose first byte has `prefix` bits of it (RFC 7541 §5.1). More than four bytes behind the first are
    /// refused: no block is so long.
    #[inline]
    fn integer(&mut self, prefix: u32) -> Result<usize, Unreadable> {
        let mask = 0xffu8 >> (8 - prefix);
        let start = self.byte()? & mask;
        if start < mask {
            return Ok(usize::from(start));
        }
        let mut value = u32::from(mask);
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value as usize);
            }
        }
        Err(Unreadable::Malformed("integer too long"))
    }

    /// Writes a string (RFC 7541 §5.2); returns where its bytes are forbidden: in names, in values, or nowhere.
    #[inline]
    fn string(&mut self, out: &mut Vec<u8>) -> Result<u8, Unreadable> {
        let is_coded = self.peek().ok_or(TRUNCATED)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest): (&'b [u8], _) = self.0.split_at_checked(length).ok_or(TRUNCATED)?;
        self.0 = rest;
        if is_coded {
            return huffman::decode(text, out).map_err(|_| Unreadable::Malformed("bad Huffman code"));
        }
        out.extend_from_slice(text);
        Ok(text.iter().fold(0, |seen, byte| seen | forbidden(*byte)))
    }
}
