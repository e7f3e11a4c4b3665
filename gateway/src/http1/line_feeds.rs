//! Where the line feeds of a head are, found sixteen bytes at a time.

/// Shows where each LF is, until told to stop. Lines of a head are short: to begin a search anew behind each of them costs more than
/// to look at the bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn line_feeds(bytes: &[u8], mut see: impl FnMut(usize) -> bool) {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};

    const BLOCK: usize = 16;
    let is_feed = |block: &[u8; BLOCK]| {
        // SAFETY: SSE2 is part of x86-64, and the block is as many readable bytes as are loaded.
        unsafe {
            let bytes = _mm_loadu_si128(block.as_ptr().cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8))) as u32
        }
    };
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut begin = 0;
    for block in blocks {
        let mut found = is_feed(block);
        while found != 0 {
            if !see(begin + found.trailing_zeros() as usize) {
                return;
            }
            found &= found - 1;
        }
        begin += BLOCK;
    }
    let mut last = [0; BLOCK];
    if let Some(last) = last.get_mut(..rest.len()) {
        last.copy_from_slice(rest);
    }
    let mut found = is_feed(&last);
    while found != 0 && see(begin + found.trailing_zeros() as usize) {
        found &= found - 1;
    }
}

/// As above, where no such instructions are known.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn line_feeds(bytes: &[u8], mut see: impl FnMut(usize) -> bool) {
    let _all = memchr::memchr_iter(b'\n', bytes).all(&mut see);
}
