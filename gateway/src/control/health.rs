//! Health of the process: its phase, and which workers have stopped turning.
//!
//! Pure: numbers in, judgement out. It knows no clock; its caller looks about once a second.

/// Looks without a single tick until a worker counts as stuck. A worker ticks ten times a second, so this is patient
/// enough for a machine that is merely overloaded.
const LOOKS_MAX: u32 = 10;

/// Written by the process, read by the pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    pub phase: Phase,
    /// Workers that have stopped turning; only a new process helps them.
    pub stuck: Vec<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Starting,
    Ready,
    Draining,
}

impl Phase {
    pub fn text(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// Remembers each worker's tick counter between looks.
#[derive(Debug)]
pub struct Watchdog {
    /// Ticks at the last look that saw any progress, and looks since.
    seen: Vec<(u64, u32)>,
}

impl Watchdog {
    pub fn new(workers: usize) -> Self {
        Self { seen: vec![(0, 0); workers] }
    }

    /// The workers that count as stuck, given every worker's ticks.
    pub fn look(&mut self, ticks: impl Iterator<Item = u64>) -> Vec<usize> {
        let mut stuck = Vec::new();
        for (id, (now, (last, looks))) in ticks.zip(&mut self.seen).enumerate() {
            if now == *last {
                *looks = looks.saturating_add(1);
            } else {
                (*last, *looks) = (now, 0);
            }
            if *looks >= LOOKS_MAX {
                stuck.push(id);
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_stuck_after_ten_looks_without_a_tick_and_healthy_again_with_one() {
        let mut watchdog = Watchdog::new(2);
        for look in 1..LOOKS_MAX {
            assert!(watchdog.look([u64::from(look), 0].into_iter()).is_empty(), "look {look}");
        }
        assert_eq!(watchdog.look([99, 0].into_iter()), [1]);
        assert!(watchdog.look([100, 1].into_iter()).is_empty());
    }
}
