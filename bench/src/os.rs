//! The few system calls the standard library has no face for. The only file here with `unsafe`.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Children of this process may hold as many descriptors as the system lets us ask for; returns what was got.
pub fn raise_open_files(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live `rlimit` of this frame.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return 0;
    }
    for max in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let raised = libc::rlimit { rlim_cur: max, rlim_max: max };
        // SAFETY: the pointer is to a live `rlimit` of this frame, which the call only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return max;
        }
    }
    limit.rlim_cur
}

/// The child gets SIGTERM when this process dies in any way, so that no server outlives its measurement.
pub fn die_with_parent(command: &mut Command) {
    let die = || {
        // SAFETY: prctl with these arguments reads no memory; it is async-signal-safe, as pre_exec asks.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure allocates nothing, takes no lock and calls only prctl.
    unsafe { command.pre_exec(die) };
}

pub fn send_signal(pid: u32, signal: i32) {
    if let Ok(pid) = i32::try_from(pid) {
        // SAFETY: kill reads no memory of ours. The caller names only processes it started.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Clock ticks per second of the figures in /proc.
pub fn ticks_per_second() -> f64 {
    // SAFETY: sysconf reads no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}
