//! A tree of processes as the kernel accounts for it: its CPU time and its memory. Starts and ends nothing.

use std::net::SocketAddr;
use std::{fs, io};

use crate::os;

/// CPU seconds since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    pub user_s: f64,
    pub sys_s: f64,
}

impl Cpu {
    pub fn since(self, before: Self) -> Self {
        Self { user_s: self.user_s - before.user_s, sys_s: self.sys_s - before.sys_s }
    }

    /// Halfway between two readings.
    pub fn between(self, other: Self) -> Self {
        Self { user_s: (self.user_s + other.user_s) / 2.0, sys_s: (self.sys_s + other.sys_s) / 2.0 }
    }
}

/// The time of all threads of a process since its start, as its scheduler accounts for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scheduled {
    /// On a core.
    pub ran_us: f64,
    /// Ready to run, while the cores were given to others.
    pub waited_us: f64,
}

impl Scheduled {
    pub fn since(self, before: Self) -> Self {
        Self { ran_us: self.ran_us - before.ran_us, waited_us: self.waited_us - before.waited_us }
    }
}

/// Bytes. Kernel memory (sockets, rings) is in none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub resident: u64,
    /// The most that was ever resident.
    pub peak: u64,
    /// Resident and not backed by a file: the heap, without pages of the program that happen to be touched.
    pub private: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stat {
    pub pid: u32,
    pub parent: u32,
    pub start: u64,
    cpu: Cpu,
}

/// CPU of the process, its threads, its children alive and its children waited for.
pub fn cpu(root: u32) -> Cpu {
    tree(root).iter().fold(Cpu::default(), |sum, stat| Cpu {
        user_s: sum.user_s + stat.cpu.user_s,
        sys_s: sum.sys_s + stat.cpu.sys_s,
    })
}

pub fn memory(root: u32) -> Memory {
    tree(root).iter().fold(Memory::default(), |sum, stat| {
        let text = fs::read_to_string(format!("/proc/{}/status", stat.pid)).unwrap_or_default();
        let one = parse_status(&text);
        Memory {
            resident: sum.resident + one.resident,
            peak: sum.peak + one.peak,
            private: sum.private + one.private,
        }
    })
}

/// Of threads that are alive.
pub fn scheduled(root: u32) -> Scheduled {
    let threads =
        tree(root).into_iter().flat_map(|process| fs::read_dir(format!("/proc/{}/task", process.pid)));
    threads.flatten().flatten().fold(Scheduled::default(), |sum, thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let one = parse_schedstat(&text);
        Scheduled { ran_us: sum.ran_us + one.ran_us, waited_us: sum.waited_us + one.waited_us }
    })
}

/// The process and all its descendants; empty when it is gone.
pub fn tree(root: u32) -> Vec<Stat> {
    let all: Vec<Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(stat)
        .collect();
    let mut found: Vec<Stat> = all.iter().filter(|s| s.pid == root).cloned().collect();
    let mut at = 0;
    while at < found.len() {
        let parent = found[at].pid;
        found.extend(all.iter().filter(|s| s.parent == parent && s.pid != root).cloned());
        at += 1;
    }
    found
}

/// Established connections that a server at `address` (IPv4) has accepted or will.
pub fn accepted(address: SocketAddr) -> io::Result<usize> {
    let port = format!(":{:04X}", address.port());
    let is_one = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        local.ends_with(&port) && state == "01"
    };
    Ok(fs::read_to_string("/proc/net/tcp")?.lines().filter(|line| is_one(line)).count())
}

pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, so fields are counted from the last one.
fn parse_stat(pid: u32, text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let hz = os::ticks_per_second();
    Some(Stat {
        pid,
        parent: u32::try_from(number(1)?).ok()?,
        start: number(19)?,
        cpu: Cpu {
            user_s: (number(11)? + number(13)?) as f64 / hz,
            sys_s: (number(12)? + number(14)?) as f64 / hz,
        },
    })
}

fn parse_status(text: &str) -> Memory {
    let bytes = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.trim().split(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    Memory {
        resident: bytes("VmRSS:"),
        peak: bytes("VmHWM:"),
        private: bytes("RssAnon:") + bytes("RssShmem:"),
    }
}

/// Nanoseconds on a core, nanoseconds of waiting for one, and a count of turns.
fn parse_schedstat(text: &str) -> Scheduled {
    let mut us = text.split_whitespace().map(|word| word.parse::<f64>().unwrap_or(0.0) / 1000.0);
    Scheduled { ran_us: us.next().unwrap_or(0.0), waited_us: us.next().unwrap_or(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_spaces_and_parentheses() {
        let line = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 0 0 0 150 50 10 20 20 0 2 0 99 1 2";
        let stat = parse_stat(7, line).expect("this line is whole");
        let hz = os::ticks_per_second();
        assert_eq!((stat.parent, stat.start), (3, 99));
        assert_eq!(stat.cpu, Cpu { user_s: 160.0 / hz, sys_s: 70.0 / hz });
        assert_eq!(parse_stat(7, "7 (x) S 3"), None);
    }

    #[test]
    fn time_on_a_core_and_time_of_waiting_for_one_are_told_apart() {
        assert_eq!(parse_schedstat("1500000 2500 7\n"), Scheduled { ran_us: 1500.0, waited_us: 2.5 });
        assert_eq!(parse_schedstat(""), Scheduled::default());
        assert!(scheduled(std::process::id()).ran_us > 0.0);
    }

    #[test]
    fn this_process_is_in_its_own_tree() {
        let me = std::process::id();
        assert!(tree(me).iter().any(|s| s.pid == me));
        let memory = memory(me);
        assert!(memory.private > 0 && memory.private <= memory.resident && memory.resident <= memory.peak);
    }
}
