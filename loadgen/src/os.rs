//! System calls the standard library does not offer, each behind a safe face. Knows nothing of HTTP or of load.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Raises the soft limit of open files to the hard one: ten thousand connections need as many descriptors.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the kernel to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return 1024;
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: `raised` is a valid rlimit the kernel only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}

/// Ends both directions now. Reads that wait on the socket complete with nothing; a listener stops listening.
pub fn shutdown(fd: RawFd) {
    // SAFETY: shutdown takes any integer; a stale or foreign one is refused by the kernel. Callers keep `fd` open.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Ends the writing direction: the peer sees the end of the stream.
pub fn shutdown_write(fd: RawFd) {
    // SAFETY: as in `shutdown`.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Ends a connection with a reset at once, even while a task waits on it (connect to AF_UNSPEC, see connect(2)).
pub fn abort_connection(fd: RawFd) {
    // SAFETY: sockaddr is plain numbers, for which all zeroes is a value; AF_UNSPEC is zero.
    let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: `nowhere` is a valid sockaddr of that length; callers keep `fd` open.
    if unsafe { libc::connect(fd, &nowhere, len) } != 0 {
        shutdown(fd);
    }
}

/// Asks for a small receive buffer, so that a peer soon notices an absent reader.
pub fn shrink_receive_buffer(fd: RawFd) {
    // SAFETY: the caller keeps `fd` open for the length of this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = socket2::SockRef::from(&fd).set_recv_buffer_size(4096);
}

/// Makes the coming close a reset.
pub fn reset_on_close(fd: RawFd) {
    // SAFETY: the caller keeps `fd` open for the length of this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = socket2::SockRef::from(&fd).set_linger(Some(Duration::ZERO));
}

/// Sends as many bytes as fit without waiting, whatever the socket's own blocking mode is.
pub fn send_now(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length come from one live slice, which the kernel only reads.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// A timer of nanosecond precision behind a descriptor that becomes readable when it is due.
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; a non-negative result is a new descriptor, owned here.
        let fd = check(unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC)
        })?;
        // SAFETY: just made, owned here alone.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Due once, `after` from now (at once if zero). Setting it again forgets earlier expirations.
    pub fn set(fd: RawFd, after: Duration) {
        let after = after.max(Duration::from_nanos(1));
        let spec = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: after.as_secs() as libc::time_t,
                tv_nsec: libc::c_long::from(after.subsec_nanos() as i32),
            },
        };
        // SAFETY: `spec` is a valid itimerspec the kernel only reads; the old value is not asked for.
        unsafe { libc::timerfd_settime(fd, 0, &spec, std::ptr::null_mut()) };
    }

    /// Forgets past expirations, so that the descriptor is no longer readable. Cheaper than setting the timer, which
    /// programs the hardware.
    pub fn clear(fd: RawFd) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is writable and eight bytes long, as many as a timer descriptor gives.
        unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
    }

    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Processor time used so far by the calling thread.
pub fn cpu_time() -> Duration {
    // SAFETY: rusage is plain numbers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for the kernel to fill.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    let one = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.max(0) as u64) + Duration::from_micros(t.tv_usec.max(0) as u64)
    };
    one(usage.ru_utime) + one(usage.ru_stime)
}

/// How long the calling thread was ready to run so far and had no core; nothing where the kernel does not count it.
pub fn waited_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split_whitespace().nth(1).and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

/// A `TcpStream` of the standard library around a descriptor that is not a TCP stream. Only readiness may be asked of it.
pub fn disguise(fd: OwnedFd) -> std::net::TcpStream {
    std::net::TcpStream::from(fd)
}

/// True if this process was built without optimisation; figures from such a build say nothing.
pub fn is_debug_build() -> bool {
    cfg!(debug_assertions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_moves_forward() {
        let before = cpu_time();
        let mut n = 0u64;
        while cpu_time() <= before {
            n = std::hint::black_box(n.wrapping_add(1));
        }
        assert!(cpu_time() > before);
    }
}
