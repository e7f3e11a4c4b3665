//! The encoder: static table and literals, plain. It keeps no table: nothing of one client's fields can then be guessed by the
//! lengths of another's (RFC 7541 §7.1), and a connection has no state to hold.

use super::tables::index_of_name;

/// Fields that no one behind us may index either (RFC 7541 §7.1.3): secrets, short enough to be guessed byte by byte.
pub fn is_secret(name: &[u8]) -> bool {
    matches!(name, b"authorization" | b"proxy-authorization" | b"cookie" | b"set-cookie")
}

/// The encoder of one connection's blocks.
#[derive(Debug, Default)]
pub struct Encoder {
    owes_size: bool,
}

impl Encoder {
    /// The peer spoke of its table. A smaller one must be acknowledged in the next block (RFC 7541 §4.2): ours has no bytes.
    pub fn table_was_resized(&mut self) {
        self.owes_size = true;
    }

    /// Begins a block; blocks are sent in the order in which they were begun.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.owes_size) {
            out.push(0x20);
        }
    }
}

/// Appends a whole entry of the static table.
#[inline]
pub fn indexed(out: &mut Vec<u8>, index: u8) {
    out.push(0x80 | index);
}

/// Appends a field under a name of the static table, or under `name` where `index` is 0.
#[inline]
pub fn literal(out: &mut Vec<u8>, index: u8, name: &[u8], value: &[u8], never_indexed: bool) {
    out.reserve(name.len() + value.len() + 12);
    integer(out, if never_indexed { 0x10 } else { 0 }, 4, usize::from(index));
    if index == 0 {
        string(out, name);
    }
    string(out, value);
}

/// Appends a field, its name in lower case.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8], never_indexed: bool) {
    literal(out, index_of_name(name), name, value, never_indexed || is_secret(name));
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

#[inline]
fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let mask = 0xffu8 >> (8 - prefix);
    if value < usize::from(mask) {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
