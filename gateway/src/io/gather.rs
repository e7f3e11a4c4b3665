//! Bytes from several places for one write: small ones copied together, large ones shared.

use std::io::IoSlice;

use bytes::Bytes;
use monoio::buf::IoVecBuf;

/// Bytes from several places, written by one system call: a buffer of our own with shared pieces in between.
///
/// monoio's vectored helpers send wrong bytes after a short write, so this type keeps its own account.
#[derive(Debug, Default)]
pub struct Gather {
    pub(super) own: Vec<u8>,
    /// Each goes out before the byte of `own` with this index.
    pub(super) pieces: Vec<(usize, Bytes)>,
    piece_bytes: usize,
    /// Made by `seal`; empty before.
    parts: Vec<libc::iovec>,
    /// The first part not written.
    next: usize,
}

/// The kernel's bound on parts of one write (UIO_MAXIOV).
const PARTS_MAX: usize = 1024;

impl Gather {
    /// Starts with `own` as the buffer for copied bytes.
    pub fn new(own: Vec<u8>) -> Self {
        Self { own, ..Self::default() }
    }

    pub fn copy(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
    }

    pub fn share(&mut self, piece: Bytes) {
        self.piece_bytes += piece.len();
        self.pieces.push((self.own.len(), piece));
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.own.len() + self.piece_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes behind the first `skip`, in order, and no more than `most` of them.
    pub(super) fn slices(&self, mut skip: usize, mut most: usize) -> Vec<IoSlice<'_>> {
        let mut some = Vec::new();
        let mut from = 0;
        let pieces = self.pieces.iter().map(|(before, piece)| (*before, &piece[..]));
        for (before, piece) in pieces.chain([(self.own.len(), &[][..])]) {
            for part in [&self.own[from..before], piece] {
                let skipped = skip.min(part.len());
                let part = &part[skipped..];
                let part = &part[..most.min(part.len())];
                (skip, most) = (skip - skipped, most - part.len());
                some.push(IoSlice::new(part));
            }
            from = before;
        }
        some.retain(|slice| !slice.is_empty());
        some
    }

    /// Fixes the order; nothing may be added after it.
    pub fn seal(&mut self) {
        let part =
            |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut from = 0;
        for (before, piece) in &self.pieces {
            self.parts.push(part(&self.own[from..*before]));
            self.parts.push(part(piece));
            from = *before;
        }
        self.parts.push(part(&self.own[from..]));
        self.parts.retain(|part| part.iov_len > 0);
    }

    /// The bytes that are not written yet, in one piece.
    #[cfg(test)]
    pub(super) fn rest(&self) -> Vec<u8> {
        let parts = self.parts.get(self.next..).unwrap_or_default().iter();
        // SAFETY: `seal` made each part of bytes that this value owns or shares; `advance` moves within them.
        let bytes = parts.map(|p| unsafe { std::slice::from_raw_parts(p.iov_base.cast::<u8>(), p.iov_len) });
        bytes.collect::<Vec<_>>().concat()
    }

    pub(super) fn is_written(&self) -> bool {
        self.next == self.parts.len()
    }

    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.parts.get_mut(self.next) {
            if written < part.iov_len {
                part.iov_base = part.iov_base.cast::<u8>().wrapping_add(written).cast();
                part.iov_len -= written;
                return;
            }
            written -= part.iov_len;
            self.next += 1;
        }
    }

    /// The buffer given to `new`; shared blocks are released.
    pub fn into_own(self) -> Vec<u8> {
        self.own
    }
}

// SAFETY: `parts` points into the heap buffers of `own` and `pieces`, which live as long as `self`, do not move when it
// does, and are not changed after `seal`; `parts` is on the heap itself. `advance` only shrinks parts from their front.
unsafe impl IoVecBuf for Gather {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.parts[self.next..].as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        (self.parts.len() - self.next).min(PARTS_MAX)
    }
}
