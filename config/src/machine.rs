//! The part of the machine that this process may use: cores by affinity mask and cgroup v2 quota, memory by cgroup v2 limit.
//! Knows nothing of workers or configuration.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Cores this process may use: those of the calling thread's affinity mask, but no more than the CPU quota of its cgroup (v2,
/// the tightest on the way to the root) rounded up. At least 1; a limit that cannot be read does not bound.
///
/// Unlike [`std::thread::available_parallelism`] a quota of 1.5 cores counts as 2: one worker would leave a third of the quota
/// unused.
///
/// They are counted once: a process keeps the workers it began with, so a mask or quota that changes later must not make its
/// own file look like one that asks for others.
pub fn cores_available() -> usize {
    static COUNTED: OnceLock<usize> = OnceLock::new();
    *COUNTED.get_or_init(count_cores)
}

fn count_cores() -> usize {
    let allowed = match core_affinity::get_core_ids() {
        Some(cores) => cores.len(),
        // More cores than the mask of that call can hold.
        None => std::thread::available_parallelism().map_or(1, NonZero::get),
    };
    quota_cores().map_or(allowed, |quota| allowed.min(quota)).max(1)
}

/// Bytes of memory this process may use: the machine's, but no more than its cgroup (v2, the tightest on the way to the
/// root) allows. `None` where neither can be read.
pub fn memory_available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_meminfo(&text));
    machine.into_iter().chain(tightest("memory.max", |text| text.trim().parse().ok())).min()
}

fn quota_cores() -> Option<usize> {
    tightest("cpu.max", parse_cpu_max)
}

/// The least that a file of this process's cgroup, or of one above it, says.
fn tightest<T: Ord>(file: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (mount, group) = locate_group(&mounts, &membership)?;
    let levels = group.ancestors().take_while(|level| level.starts_with(&mount));
    levels.filter_map(|level| parse(&fs::read_to_string(level.join(file)).ok()?)).min()
}

/// `MemTotal:  24689544 kB` → bytes.
fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The cgroup v2 mount point and, under it, the directory of this process's group.
fn locate_group(mountinfo: &str, membership: &str) -> Option<(PathBuf, PathBuf)> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mountinfo.lines().find(|line| {
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
        kind == Some("cgroup2")
    })?;
    // proc(5): "36 35 98:0 /root /mount/point options…".
    let mut fields = mount.split(' ').skip(3);
    let (root, mount) = (fields.next()?, PathBuf::from(fields.next()?));
    // A container may see only its own part of the tree, mounted as if it were the whole.
    let inside = Path::new(path).strip_prefix(root).unwrap_or_else(|_| Path::new(""));
    let group = mount.join(inside);
    Some((mount, group))
}

/// `"150000 100000"` (µs of quota, µs of period) → 2; `"max 100000"` → `None`.
fn parse_cpu_max(text: &str) -> Option<usize> {
    let mut words = text.split_ascii_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    let period: u64 = words.next()?.parse().ok()?;
    if period == 0 {
        return None;
    }
    usize::try_from(quota.div_ceil(period)).ok().map(|cores| cores.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_counts_whole_cores_rounded_up() {
        let rows = [
            ("max 100000\n", None),
            ("200000 100000\n", Some(2)),
            ("150000 100000\n", Some(2)),
            ("50000 100000\n", Some(1)),
            ("1000 100000\n", Some(1)),
            ("0 100000\n", Some(1)),
            ("100000 0\n", None),
            ("100000\n", None),
            ("", None),
            ("-1 100000", None),
        ];
        for (text, cores) in rows {
            assert_eq!(parse_cpu_max(text), cores, "{text:?}");
        }
    }

    #[test]
    fn the_group_is_found_through_its_own_mount() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let bound = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let rows = [
            (unified, "0::/a/b.slice\n", Some("/sys/fs/cgroup/a/b.slice")),
            (unified, "0::/\n", Some("/sys/fs/cgroup")),
            (hybrid, "1:cpu:/x\n0::/\n", Some("/sys/fs/cgroup/unified")),
            (bound, "0::/docker/abc\n", Some("/sys/fs/cgroup")),
            (bound, "0::/docker/abc/x\n", Some("/sys/fs/cgroup/x")),
            (bound, "0::/elsewhere\n", Some("/sys/fs/cgroup")),
            (unified, "1:cpu:/x\n", None),
            ("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", "0::/\n", None),
            ("", "", None),
            ("x - cgroup2", "0::/", None),
        ];
        for (mounts, membership, group) in rows {
            let found = locate_group(mounts, membership).map(|(_, group)| group);
            assert_eq!(found.as_deref(), group.map(Path::new), "{mounts:?} {membership:?}");
        }
    }

    #[test]
    fn there_is_always_a_core_and_some_memory() {
        assert!(cores_available() >= 1);
        assert!(memory_available().is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(parse_meminfo("MemTotal:       24689544 kB\nMemFree: 1 kB\n"), Some(24_689_544 << 10));
        assert_eq!(parse_meminfo("MemFree: 1 kB\n"), None);
    }
}
