//! The outcomes of two responses to one request: the primary's, which the client got, and the mirror's.
//!
//! A pair is counted when both sides are over. It knows no content: whether two answers say the same is not its question.

use std::sync::OnceLock;

use super::codes::CODE_SLOTS;
use super::{Code, Counter, FailReason, Histogram, Label, Tails};

/// How one side of a pair ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrimaryEnd {
    /// The primary's whole answer was read.
    Code(Code),
    /// The primary gave no whole answer.
    None,
    /// The client went away before, or the exchange was given up here: it tells nothing of the primary.
    Abandoned,
}

/// How a copy that was sent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorEnd {
    Code(Code),
    Failed(FailReason),
}

const ROWS: usize = CODE_SLOTS + 2;
const COLUMNS: usize = CODE_SLOTS + FailReason::ALL.len();

/// Cells that any matrix has.
pub const CELLS_MAX: usize = ROWS * COLUMNS;

type Row = [Counter; COLUMNS];

/// The matrix of ends: a row for each of the primary's, a column for each of the mirror's. Rows are allocated with their first
/// count.
#[derive(Debug, Default)]
pub struct Matrix(OnceLock<Box<[OnceLock<Box<Row>>; ROWS]>>);

impl Matrix {
    pub fn inc(&self, primary: PrimaryEnd, mirror: MirrorEnd) {
        let row = match primary {
            PrimaryEnd::Code(code) => code.slot(),
            PrimaryEnd::None => CODE_SLOTS,
            PrimaryEnd::Abandoned => CODE_SLOTS + 1,
        };
        let column = match mirror {
            MirrorEnd::Code(code) => code.slot(),
            MirrorEnd::Failed(why) => CODE_SLOTS + why.index(),
        };
        let rows = self.0.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        if let Some(row) = rows.get(row) {
            let row = row.get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
            row[column].inc();
        }
    }

    /// As of [`Histogram::places`].
    #[cfg(test)]
    pub(crate) fn places(&self) -> Vec<std::ops::Range<usize>> {
        let Some(rows) = self.0.get() else { return Vec::new() };
        let held = rows.iter().filter_map(OnceLock::get).map(|row| super::place_of(&**row));
        held.chain([super::place_of(&**rows)]).collect()
    }

    /// Each cell that counted anything.
    pub fn seen(&self) -> impl Iterator<Item = (PrimaryEnd, MirrorEnd, u64)> + '_ {
        let rows = self.0.get().into_iter().flat_map(|rows| rows.iter().enumerate());
        let rows = rows.filter_map(|(at, row)| Some((primary_of(at), row.get()?)));
        let cells = rows.flat_map(|(primary, row)| {
            row.iter().enumerate().map(move |(at, n)| (primary, mirror_of(at), n.get()))
        });
        cells.filter(|(_, _, n)| *n > 0)
    }
}

fn primary_of(row: usize) -> PrimaryEnd {
    match row {
        ..CODE_SLOTS => PrimaryEnd::Code(Code::at(row)),
        CODE_SLOTS => PrimaryEnd::None,
        _ => PrimaryEnd::Abandoned,
    }
}

fn mirror_of(column: usize) -> MirrorEnd {
    match column.checked_sub(CODE_SLOTS).and_then(|at| FailReason::ALL.get(at)) {
        Some(why) => MirrorEnd::Failed(*why),
        None => MirrorEnd::Code(Code::at(column)),
    }
}

/// A mirror's time that is longer by no more than this is not counted as longer.
pub const RATIO_SLACK_US: u64 = 1_000;

/// Steps from once to twice as long, and the last that is told apart: all of them lie in one octave of a distribution.
const RATIO_STEPS: u64 = 40;
const RATIO_LAST: u64 = 121;

/// How many times as long one time of a pair is as the other, in steps: 0 where it is not longer; step `n` begins at
/// `1 + (n - 1) / 40`.
pub fn times_as_long(mirror_us: u64, primary_us: u64) -> u64 {
    let primary_us = primary_us.max(1);
    match mirror_us.checked_sub(primary_us) {
        Some(more) if more > RATIO_SLACK_US => {
            (more.saturating_mul(RATIO_STEPS) / primary_us).min(RATIO_LAST - 1) + 1
        }
        Some(_) | None => 0,
    }
}

/// The first step of which all is at least so many times as long; `None` beyond those that are told apart.
pub fn ratio_step(times: f64) -> Option<u64> {
    let step = ((times - 1.0).max(0.0) * RATIO_STEPS as f64 - 1e-9).ceil() + 1.0;
    // At most 121.
    (step <= RATIO_LAST as f64).then_some(step as u64)
}

/// The counters of pairs of one mirror on one route. Times in microseconds, sizes in bytes of content.
#[derive(Debug, Default)]
pub struct Pairs {
    pub matrix: Matrix,
    /// The primary's time for the requests that the mirror answered too: the other half of the same population.
    pub primary: Histogram,
    /// How much later the mirror's answer ended than the primary's, measured each from its own request's last byte.
    pub slower: Histogram,
    /// How much earlier; equal times count as slower by nothing.
    pub faster: Histogram,
    /// Both times once more, of those pairs alone whose mirror's time is known for its own: its copy was sent alone.
    pub sure_primary: Histogram,
    pub sure_mirror: Histogram,
    /// How many times as long the mirror took, of each of the same pairs: see [`times_as_long`].
    pub ratios: Histogram,
    /// Of the same pairs those of which one time alone is long.
    pub tails: Tails,
    pub primary_bytes: Histogram,
    pub mirror_bytes: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_in_the_step_that_it_reaches_and_a_millisecond_more_is_none() {
        let rows = [
            ((10_000, 10_000), 0),
            ((9_000, 10_000), 0),
            ((1_900, 900), 0),
            ((1_901, 900), 45),
            ((12_000, 10_000), 9),
            ((11_999, 10_000), 8),
            ((1 << 40, 1), 121),
            ((u64::MAX, 0), 121),
        ];
        for ((mirror, primary), step) in rows {
            assert_eq!(times_as_long(mirror, primary), step, "{mirror} {primary}");
        }
        assert_eq!(
            [0.5, 1.0, 1.2, 1.21, 4.0, 4.1].map(ratio_step),
            [Some(1), Some(1), Some(9), Some(10), Some(121), None]
        );
    }

    #[test]
    fn a_pair_is_found_where_it_was_counted() {
        let matrix = Matrix::default();
        let primary = |status| PrimaryEnd::Code(Code::of(status));
        let mirror = |status| MirrorEnd::Code(Code::of(status));
        let all = [
            (primary(200), mirror(200)),
            (primary(200), mirror(505)),
            (primary(404), MirrorEnd::Failed(FailReason::Timeout)),
            (PrimaryEnd::Code(Code::Other), MirrorEnd::Code(Code::Other5xx)),
            (PrimaryEnd::None, MirrorEnd::Failed(FailReason::Drain)),
            (PrimaryEnd::Abandoned, mirror(500)),
        ];
        for (n, (primary, mirror)) in all.iter().enumerate() {
            (0..=n).for_each(|_| matrix.inc(*primary, *mirror));
        }
        matrix.inc(primary(299), mirror(599));
        let seen: Vec<_> = matrix.seen().collect();
        assert_eq!(seen.len(), all.len());
        for (n, (primary, mirror)) in (1..).zip(all) {
            let n = if primary == PrimaryEnd::Code(Code::Other) { n + 1 } else { n };
            assert!(seen.contains(&(primary, mirror, n)), "{primary:?} {mirror:?} {n}: {seen:?}");
        }
    }
}
