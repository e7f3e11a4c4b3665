//! The few system calls the standard library has no face for. The only file here with `unsafe`.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on Ctrl-C and SIGTERM are remembered instead of ending this process, so that it ends its servers and removes
/// its files. The second one ends it at once; its servers then end with it, see `die_with_parent`.
pub fn catch_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: all zeroes is a valid sigaction: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note_interrupt as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe; the pointer is to a live sigaction.
        unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    }
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Raises the descriptor limit of this process's children as far as the system allows; returns the new limit.
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

/// The child runs only while a core is idle (SCHED_IDLE): it preempts no process, and gives way to all.
pub fn run_when_idle(command: &mut Command) {
    let yield_to_all = || {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the pointer is to a live `sched_param` of this frame, which the call only reads; async-signal-safe.
        match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure allocates nothing, takes no lock and calls only sched_setscheduler.
    unsafe { command.pre_exec(yield_to_all) };
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
