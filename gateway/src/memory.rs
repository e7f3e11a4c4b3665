//! The process's allocator, and giving memory back to the system once it is not used.
//!
//! Buffers and tasks come and go in a few sizes: size classes in pages of their own keep a burst of busy connections from
//! leaving holes that never go back to the system (`bench/runs`, idle). mimalloc returns free pages only while it is
//! asked for others, so a worker that has become quiet asks for the return itself.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// From now on the process gets no huge pages: with 2 MiB as the grain, a burst's last few buffers keep megabytes, and
/// 5,000 idle connections cost 2,000 bytes each instead of 700. No effect on processor time could be measured.
pub(crate) fn without_huge_pages() {
    let (on, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: takes plain numbers only. A kernel that knows no such thing says so, and nothing is lost.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, none, none, none) };
}

/// Returns the calling thread's free pages to the system. Tens of microseconds with many connections open.
pub(crate) fn release() {
    // SAFETY: takes no pointer and may be called by any thread at any time; it touches free memory only.
    unsafe { libmimalloc_sys::mi_collect(false) };
}
