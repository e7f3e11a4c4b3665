//! Captures as meant: where whole requests are written to files, and how much of them is kept. Plain data.

use std::path::PathBuf;

use crate::mirror::DropPolicy;

/// A folder of files with the copies that its mirrors take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Its name in mirrors, with which the names of its files begin.
    pub name: String,
    pub directory: PathBuf,
    /// Largest size of a file; then the next begins.
    pub file_bytes_max: u64,
    /// All its files together; never less than `file_bytes_max`.
    pub bytes_max: u64,
    /// The loss when `bytes_max` is reached: the oldest files, or new copies.
    pub drop: DropPolicy,
    pub compression: Compression,
}

/// How a capture's files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Lines as they are.
    None,
    Gzip,
}

impl Compression {
    pub const ALL: [Self; 2] = [Self::None, Self::Gzip];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
        }
    }
}
