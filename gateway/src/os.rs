//! The process as the kernel sees it: which threads take signals, how many descriptors it may open, whose CPU time it is.
//!
//! A leaf: the only unsafe code beside `io`'s, each block behind a safe function. It decides nothing.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use std::{io, mem, ptr};

/// This machine's name, as it was when it was first asked for.
pub(crate) fn host_name() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| {
        let mut name = [0_u8; 256];
        // SAFETY: the pointer and the length are those of one array, whose last byte the call is not given.
        let told = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if told == 0 { String::from_utf8_lossy(name).into_owned() } else { String::new() }
    })
}

/// Whether a socket could listen at this address now.
pub(crate) fn may_listen(address: std::net::SocketAddr) -> bool {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    );
    // As listeners are opened: with SO_REUSEADDR, connections in TIME_WAIT do not matter.
    socket.is_ok_and(|socket| socket.set_reuse_address(true).is_ok() && socket.bind(&address.into()).is_ok())
}

/// Signals that tell the process something; the main thread alone takes them.
const TOLD: [libc::c_int; 5] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// Runs `start` with the signals the process is told by blocked, so that the threads it starts never take one: a worker
/// would have its wait interrupted for nothing.
pub(crate) fn without_signals<R>(start: impl FnOnce() -> R) -> R {
    /// Restores the mask on every way out, a panic included.
    struct Before(libc::sigset_t);
    impl Drop for Before {
        fn drop(&mut self) {
            // SAFETY: the set was filled in by `pthread_sigmask` below; a null pointer asks for no old mask.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
        }
    }

    // SAFETY: `sigset_t` is plain data for which zero bytes are a value; `sigemptyset` then gives it its meaning,
    // `sigaddset` is given signal numbers that exist, and both pointers outlive the calls.
    let before = unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        let mut before: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in TOLD {
            libc::sigaddset(&mut set, signal);
        }
        // The call can only fail for a first argument that does not exist.
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before);
        before
    };
    let _restore = Before(before);
    start()
}

/// The niceness (nice(2)) of a thread of lower priority, above its process's: on a core that both want it gets a tenth of a
/// worker's part.
const NICE_INCREMENT: i32 = 10;

/// Lowers the priority of the calling thread, and of those that it starts from here on. Where a filter of system calls forbids
/// that, it stays as it was.
pub(crate) fn lower_priority() {
    let _ = rustix::process::nice(NICE_INCREMENT);
}

/// Raises the limit of open descriptors as far as this process may, and returns the new limit.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live `rlimit` of this frame.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: the pointer is to a live `rlimit` of this frame, which the call only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            limit = raised;
        }
    }
    Ok(limit.rlim_cur)
}

/// Bytes of the machine's memory. Unlike `/proc/meminfo` it can be told where nothing but processes is to be seen in `/proc`.
pub(crate) fn memory_bytes() -> Option<u64> {
    // SAFETY: `sysinfo` is plain data for which zero bytes are a value, and the call fills it in or fails.
    let (told, info) = unsafe {
        let mut info: libc::sysinfo = mem::zeroed();
        (libc::sysinfo(&raw mut info), info)
    };
    (told == 0).then(|| info.totalram.saturating_mul(u64::from(info.mem_unit)))
}

/// Microseconds of a clock that only goes on. The standard library's says the same, at three times the instructions.
pub(crate) fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the duration of the call. It cannot fail for a clock that exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Whether a write to `file` would be taken now, or within `wait`: for a pipe, of `PIPE_BUF` bytes. An error counts as one,
/// which the write then tells.
pub(crate) fn takes_a_write(file: BorrowedFd<'_>, wait: Duration) -> bool {
    let mut asked = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    let wait_ms = libc::c_int::try_from(wait.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer is to one live `pollfd` of this frame, and one is what the count says.
    unsafe { libc::poll(&raw mut asked, 1, wait_ms) > 0 }
}

/// Takes over a descriptor that this process was started with; programs it starts do not get it.
///
/// Only for descriptors that no other part of this process owns: those that the environment tells of, before it opens any of
/// its own.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes an integer; a descriptor that is not open is an error.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the rule above no other part of this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has `command` start its program with `passed` as descriptors 3, 4, … and no other beside the standard streams, and deaf to
/// the signals that do not ask for its end until it listens to them.
pub(crate) fn pass_on(command: &mut Command, passed: Vec<OwnedFd>) -> io::Result<()> {
    let first: RawFd = 3;
    let count = RawFd::try_from(passed.len()).map_err(io::Error::other)?;
    // Duplicates beyond the targets, so that no target is a source that is still needed.
    let beyond = |fd: OwnedFd| -> io::Result<OwnedFd> {
        // SAFETY: F_DUPFD_CLOEXEC takes an integer; the new descriptor has no other owner.
        unsafe {
            match libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first + count) {
                -1 => Err(io::Error::last_os_error()),
                new => Ok(OwnedFd::from_raw_fd(new)),
            }
        }
    };
    let passed = passed.into_iter().map(beyond).collect::<io::Result<Vec<_>>>()?;
    let arrange = move || {
        for signal in [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
            // Until the new program knows them, they would end it.
            // SAFETY: the signals exist, and to ignore one installs no handler.
            if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        // The new program must not hold open any descriptor that was opened without close-on-exec.
        // SAFETY: plain integers; between fork and exec this only marks the child's own table, without allocating.
        if unsafe {
            libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
        } != 0
        {
            return Err(io::Error::last_os_error());
        }
        for (target, fd) in (first..).zip(&passed) {
            // A duplicate made by dup2 is kept across exec.
            // SAFETY: both are descriptors of this process, or an error comes back.
            if unsafe { libc::dup2(fd.as_raw_fd(), target) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls on integers, allocates nothing and takes no lock, as is asked of what runs
    // between fork and exec of a process with threads.
    unsafe { command.pre_exec(arrange) };
    Ok(())
}

/// This thread's CPU time in microseconds.
pub(crate) fn thread_cpu_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the duration of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sigterm_blocked() -> bool {
        // SAFETY: zero bytes are a `sigset_t`; a null new set only asks for the current mask.
        unsafe {
            let mut now: libc::sigset_t = mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut now);
            libc::sigismember(&now, libc::SIGTERM) == 1
        }
    }

    #[test]
    fn threads_started_inside_take_no_signal_and_the_starter_still_does() {
        let inside = without_signals(|| std::thread::spawn(sigterm_blocked)).join().unwrap();
        assert!(inside, "the new thread blocks SIGTERM");
        assert!(!sigterm_blocked(), "the starting thread does not");
    }

    #[test]
    fn the_kernel_and_its_files_agree_on_the_memory_there_is() {
        let file = std::fs::read_to_string("/proc/meminfo").unwrap();
        let kib: u64 = file.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(memory_bytes(), Some(kib * 1024));
    }

    #[test]
    fn the_descriptor_limit_is_raised_once_and_then_stays() {
        let first = raise_descriptor_limit().unwrap();
        assert!(first > 0);
        assert_eq!(raise_descriptor_limit().unwrap(), first);
    }
}
