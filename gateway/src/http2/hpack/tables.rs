//! The static table (RFC 7541 appendix A) and the dynamic one, whose entries lie in one buffer.

use std::collections::VecDeque;

/// Stands between a name and its value where the decoder writes them.
pub const SEPARATOR: &[u8; 2] = b": ";

/// Entries of the static table; dynamic ones are numbered behind it.
pub const STATIC: usize = 61;

/// The cost of each entry beside its bytes (RFC 7541 §4.1); MAX_HEADER_LIST_SIZE counts the same (RFC 9113 §6.5.2).
pub const ENTRY_OVERHEAD: usize = 32;

/// The dynamic table we allow, and HTTP/2's own default.
pub const TABLE_BYTES_MAX: usize = 4096;

#[rustfmt::skip]
static ENTRIES: [(&[u8], &[u8]); STATIC] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// Entry `index` of the static table, from 1.
#[inline]
pub fn fixed(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    ENTRIES.get(index.checked_sub(1)?).copied()
}

/// The first entry of the static table with that name; 0 where none has it.
pub fn index_of_name(name: &[u8]) -> u8 {
    match name {
        b":authority" => 1,
        b":method" => 2,
        b":path" => 4,
        b":scheme" => 6,
        b":status" => 8,
        b"accept-charset" => 15,
        b"accept-encoding" => 16,
        b"accept-language" => 17,
        b"accept-ranges" => 18,
        b"accept" => 19,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"authorization" => 23,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-length" => 28,
        b"content-location" => 29,
        b"content-range" => 30,
        b"content-type" => 31,
        b"cookie" => 32,
        b"date" => 33,
        b"etag" => 34,
        b"expect" => 35,
        b"expires" => 36,
        b"from" => 37,
        b"host" => 38,
        b"if-match" => 39,
        b"if-modified-since" => 40,
        b"if-none-match" => 41,
        b"if-range" => 42,
        b"if-unmodified-since" => 43,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"max-forwards" => 47,
        b"proxy-authenticate" => 48,
        b"proxy-authorization" => 49,
        b"range" => 50,
        b"referer" => 51,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"server" => 54,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"transfer-encoding" => 57,
        b"user-agent" => 58,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        _ => 0,
    }
}

/// The facts of an entry beside its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub name_is_good: bool,
    pub value_is_good: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where it starts in `bytes`, as the decoder writes it: `name: value`.
    at: usize,
    name_len: usize,
    len: usize,
    facts: Facts,
}

impl Entry {
    fn size(&self) -> usize {
        self.len - SEPARATOR.len() + ENTRY_OVERHEAD
    }
}

/// The dynamic table: first in, first out.
#[derive(Debug)]
pub struct Dynamic {
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// The entries' bytes in the order of `entries`, behind those of entries that are gone.
    bytes: Vec<u8>,
    size: usize,
    size_max: usize,
}

impl Default for Dynamic {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: Vec::new(), size: 0, size_max: TABLE_BYTES_MAX }
    }
}

impl Dynamic {
    /// Entry `nth`, the newest being 0: `name: value`, the length of the name, and facts.
    #[inline]
    pub fn entry(&self, nth: usize) -> Option<(&[u8], usize, Facts)> {
        let nth = self.entries.len().checked_sub(nth + 1)?;
        let entry = self.entries.get(nth)?;
        Some((self.bytes.get(entry.at..entry.at + entry.len)?, entry.name_len, entry.facts))
    }

    /// Sets the size that the peer says it uses, within our limit.
    pub fn resize(&mut self, size_max: usize) {
        debug_assert!(size_max <= TABLE_BYTES_MAX, "the decoder refuses more");
        self.size_max = size_max;
        self.evict(0);
    }

    /// Adds `name: value`; an entry larger than the table empties it (RFC 7541 §4.4).
    pub fn add(&mut self, text: &[u8], name_len: usize, facts: Facts) {
        let entry = Entry { at: 0, name_len, len: text.len(), facts };
        self.evict(entry.size());
        if entry.size() > self.size_max {
            return;
        }
        // The room that former entries left in front is given up when it is as much as a table: each byte moves once.
        if self.bytes.len() + text.len() > 2 * TABLE_BYTES_MAX {
            let gone = self.entries.front().map_or(self.bytes.len(), |oldest| oldest.at);
            self.bytes.drain(..gone);
            self.entries.iter_mut().for_each(|entry| entry.at -= gone);
        }
        self.size += entry.size();
        self.entries.push_back(Entry { at: self.bytes.len(), ..entry });
        self.bytes.extend_from_slice(text);
    }

    /// Makes room for `size`.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.size_max {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.size -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts { name_is_good: true, value_is_good: true };

    #[test]
    fn names_are_found_where_they_stand_first() {
        for index in 1..=STATIC {
            let (name, _) = fixed(index).unwrap();
            let first = (1..=STATIC).find(|i| fixed(*i).unwrap().0 == name).unwrap();
            assert_eq!(usize::from(index_of_name(name)), first);
        }
        assert_eq!((fixed(0), fixed(62), index_of_name(b"x")), (None, None, 0));
    }

    #[test]
    fn the_oldest_go_first_and_bytes_stay_with_their_entries() {
        let mut table = Dynamic::default();
        for n in 0..10_000u32 {
            let (name, value) = (format!("name-{n}"), "v".repeat(n as usize % 90));
            table.add(format!("{name}: {value}").as_bytes(), name.len(), FACTS);
            assert!(table.size <= TABLE_BYTES_MAX && table.bytes.len() <= 2 * TABLE_BYTES_MAX);
            for back in 0..table.entries.len() as u32 {
                let (text, name_len, _) = table.entry(back as usize).unwrap();
                let (name, value) = (format!("name-{}", n - back), "v".repeat((n - back) as usize % 90));
                assert_eq!((text, name_len), (format!("{name}: {value}").as_bytes(), name.len()));
            }
        }
        table.add(&[b'x'; TABLE_BYTES_MAX], 9, FACTS);
        assert!(table.entry(0).is_none() && table.size == 0);
        table.add(b"a: b", 1, FACTS);
        table.resize(33);
        assert!(table.entry(0).is_none());
        table.resize(34);
        table.add(b"a: b", 1, FACTS);
        assert!(table.entry(0).is_some());
    }
}
