//! A worker's random numbers. Pure but for its own state.

/// A worker's random numbers (xorshift64*): fast and unpredictable enough for sampling, never for secrets.
#[derive(Debug)]
pub struct Random(std::cell::Cell<u64>);

impl Random {
    pub fn new(seed: u64) -> Self {
        // The generator's one forbidden state is zero.
        Self(std::cell::Cell::new(seed | 1))
    }

    pub fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in `0..bound`, with a bias below one in 2^32; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
