//! Files that a person names, read whole: they are not believed to end.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// More than any recording or body that is sent from memory.
pub const BYTES_MAX: u64 = 1 << 30;

/// The bytes of a file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    at_most(File::open(path)?, BYTES_MAX)
}

/// The same of a text.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// Reads everything up to the end of `from`, which must come before `bytes_max`. Bytes before an error stay in `bytes`.
pub fn append(from: impl Read, bytes_max: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    from.take(bytes_max + 1).read_to_end(bytes)?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("it has more than {} MiB", bytes_max >> 20);
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(())
}

fn at_most(from: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    append(from, bytes_max, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_refused_at_its_bound() {
        assert_eq!(at_most(&b"abc"[..], 3).expect("it ends"), b"abc");
        let endless = at_most(io::repeat(b'a'), 1 << 20).expect_err("it never ends");
        assert_eq!(endless.to_string(), "it has more than 1 MiB");
    }
}
