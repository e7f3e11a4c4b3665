//! Figures of this process from the kernel: resident memory and open descriptors.
//!
//! The room reads `/proc/self` and judges nothing; where that is not mounted the figures are `None`.

use std::fs;

/// Resident memory in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    resident_in(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Open descriptors.
pub(super) fn open_descriptors() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    // The directory being read is one of them.
    u64::try_from(entries).ok()?.checked_sub(1)
}

/// `VmRSS:     1234 kB` of `/proc/[pid]/status`, which unlike `statm` needs no page size.
fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_the_vmrss_line() {
        assert_eq!(resident_in("VmHWM:\t 9 kB\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(resident_in("VmRSS:\t many kB\n"), None);
        assert_eq!(resident_in(""), None);
    }

    #[test]
    fn this_process_has_memory_and_open_descriptors() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(open_descriptors().unwrap() >= 3);
    }
}
