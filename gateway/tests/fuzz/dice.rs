//! Chance from a seed, texts made worse by it, and the loop that runs cases.

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// A sequence of pseudo-random numbers, and perhaps a text from a fuzzer.
pub(crate) struct Dice {
    numbers: fastrand::Rng,
    given: Option<Vec<u8>>,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { numbers: fastrand::Rng::with_seed(seed), given: None }
    }

    /// The data of a coverage-guided fuzzer: eight bytes to draw numbers from, and a text behind them.
    pub(crate) fn given(data: &[u8]) -> Option<Self> {
        let (seed, text) = data.split_first_chunk()?;
        Some(Self { given: Some(text.to_vec()), ..Self::new(u64::from_le_bytes(*seed)) })
    }

    /// The text that was given; else one of `texts`, spoiled.
    pub(crate) fn text(&mut self, texts: &[&[u8]], scraps: &[&[u8]]) -> Vec<u8> {
        self.given.take().unwrap_or_else(|| {
            let mut text = self.one(texts).to_vec();
            self.spoil(&mut text, texts, scraps);
            text
        })
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.numbers.usize(..bound.max(1))
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// `bytes` in pieces of any length, none of them empty.
    pub(crate) fn pieces<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let longest = 1 + self.one(&[1, 2, 7, 100, 5000]);
        let (mut pieces, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((1 + self.below(longest)).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces
    }

    /// A few changes to `text`: bytes turned, cut, doubled, put in, and parts of `others` mixed in.
    fn spoil(&mut self, text: &mut Vec<u8>, others: &[&[u8]], scraps: &[&[u8]]) {
        for _ in 0..self.one(&[0, 1, 1, 2, 3, 8]) {
            let at = self.below(text.len() + 1);
            let end = (at + self.one(&[1, 1, 2, 5, 20, 100])).min(text.len());
            match self.below(7) {
                0 if at < text.len() => text[at] = self.numbers.u8(..),
                1 => drop(text.drain(at..end)),
                2 => {
                    let part = text[at..end].to_vec();
                    text.splice(end..end, part);
                }
                3 | 4 => drop(text.splice(at..at, self.one(scraps).to_vec())),
                5 => {
                    let other = self.one(others);
                    let from = self.below(other.len());
                    text.splice(at..end, other[from..].iter().copied());
                }
                _ if at < text.len() => text[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs `case` again and again; a failure names the seed and the number that bring it back.
pub(crate) fn run(case: impl Fn(&mut Dice)) {
    let seed = number("UMBRA_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let until = Instant::now() + Duration::from_secs(number("UMBRA_FUZZ_SECONDS").unwrap_or(2));
    let only = number("UMBRA_FUZZ_CASE");
    let mut n = only.unwrap_or(0);
    loop {
        let mut dice = Dice::new(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        if let Err(why) = catch_unwind(AssertUnwindSafe(|| case(&mut dice))) {
            eprintln!("to see it again: UMBRA_FUZZ_SEED={seed} UMBRA_FUZZ_CASE={n}");
            resume_unwind(why);
        }
        n += 1;
        if only.is_some() || Instant::now() > until {
            break;
        }
    }
    println!("{n} cases from seed {seed}");
}
