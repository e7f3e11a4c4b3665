//! A worker's runtime: the best driver the kernel gives us, found by trying.
//!
//! The ladder: io_uring with the flags that save interrupts and task switches, then without them, then with fewer
//! entries where locked memory runs out, then epoll. The driver that was settled for is said once, with the reason.

use std::io;

use config::Driver;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// A built runtime. Built on the thread that runs it: it cannot move, and the kernel binds the ring to that task.
pub enum Runtime {
    Uring(monoio::Runtime<TimeDriver<IoUringDriver>>),
    Epoll(monoio::Runtime<TimeDriver<LegacyDriver>>),
}

impl Runtime {
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match self {
            Self::Uring(runtime) => runtime.block_on(future),
            Self::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

/// Fewest submission entries worth having (monoio's own minimum).
const ENTRIES_MIN: u32 = 256;

/// Setup flags of one rung.
#[derive(Debug, Clone, Copy)]
enum Flags {
    /// Linux 6.1: completions are run when we wait for them, not by interrupting us.
    DeferTaskrun,
    /// Linux 5.19.
    CoopTaskrun,
    None,
}

impl Flags {
    const LADDER: [Self; 3] = [Self::DeferTaskrun, Self::CoopTaskrun, Self::None];

    fn text(self) -> &'static str {
        match self {
            Self::DeferTaskrun => "single_issuer+defer_taskrun",
            Self::CoopTaskrun => "coop_taskrun",
            Self::None => "no flags",
        }
    }

    fn builder(self, entries: u32) -> io_uring::Builder {
        let mut builder = io_uring::IoUring::builder();
        match self {
            Self::DeferTaskrun => {
                builder.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun();
            }
            Self::CoopTaskrun => {
                builder.setup_coop_taskrun();
            }
            Self::None => {}
        }
        // A completion may arrive for each operation in flight, and each connection has one or two.
        builder.setup_cqsize(entries.saturating_mul(4)).setup_clamp();
        builder
    }
}

/// Builds the runtime; the text names the driver, and why there is no better one.
pub fn build(driver: Driver, entries: u32) -> Result<(Runtime, String), String> {
    let refusal = match driver {
        Driver::Epoll => None,
        Driver::Auto | Driver::Uring => match uring(entries) {
            Ok((runtime, text)) => return Ok((Runtime::Uring(runtime), text)),
            Err(refusal) => Some(refusal),
        },
    };
    if let (Driver::Uring, Some(refusal)) = (driver, &refusal) {
        return Err(format!("io_uring was asked for and is not to be had: {refusal}"));
    }
    let runtime = RuntimeBuilder::<LegacyDriver>::new()
        .enable_timer()
        .build()
        .map_err(|error| format!("epoll cannot be set up: {error}"))?;
    let text =
        refusal.map_or_else(|| "epoll".to_owned(), |refusal| format!("epoll (no io_uring: {refusal})"));
    Ok((Runtime::Epoll(runtime), text))
}

fn uring(wanted: u32) -> Result<(monoio::Runtime<TimeDriver<IoUringDriver>>, String), String> {
    if !monoio::utils::detect_uring() {
        let why = io_uring::IoUring::new(2).err().map_or_else(
            || "this kernel lacks operations we need".to_owned(),
            |error| match error.raw_os_error() {
                Some(libc::EPERM) => "forbidden here (EPERM: seccomp or kernel.io_uring_disabled)".to_owned(),
                Some(libc::ENOSYS) => "this kernel has none".to_owned(),
                Some(libc::ENOMEM) => "locked memory ran out (RLIMIT_MEMLOCK)".to_owned(),
                _ => error.to_string(),
            },
        );
        return Err(why);
    }
    let mut reason = String::new();
    for flags in Flags::LADDER {
        let mut entries = wanted.max(ENTRIES_MIN);
        loop {
            match try_uring(flags, entries) {
                Ok(runtime) => {
                    let but = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                    return Ok((runtime, format!("io_uring, {entries} entries, {}{but}", flags.text())));
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && entries > ENTRIES_MIN => {
                    reason = format!("locked memory ran out at {entries} entries: raise RLIMIT_MEMLOCK");
                    entries /= 2;
                }
                Err(error) => {
                    reason = format!("{} refused: {error}", flags.text());
                    break;
                }
            }
        }
    }
    Err(reason)
}

fn try_uring(flags: Flags, entries: u32) -> io::Result<monoio::Runtime<TimeDriver<IoUringDriver>>> {
    RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(entries)
        .uring_builder(flags.builder(entries))
        .enable_timer()
        .build()
}
