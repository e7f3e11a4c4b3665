//! When each request is meant to leave: an absolute schedule in nanoseconds from the start, never from the last send.
//! Pure: reads no clock.

use std::time::Duration;

use crate::units;

/// How the rate develops: straight pieces, one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    from_per_s: f64,
    to_per_s: f64,
    length_s: f64,
}

impl Piece {
    fn count(&self) -> f64 {
        (self.from_per_s + self.to_per_s) / 2.0 * self.length_s
    }

    /// When inside this piece the `x`-th request is due, in seconds (the inverse of the rate's integral).
    fn time_of(&self, x: f64) -> f64 {
        let slope = (self.to_per_s - self.from_per_s) / self.length_s;
        let root = (self.from_per_s * self.from_per_s + 2.0 * slope * x).max(0.0).sqrt();
        2.0 * x / (self.from_per_s + root)
    }
}

/// The rate as it is written; lengths may be missing until the duration is known.
#[derive(Clone, Debug, PartialEq)]
pub struct RateSpec {
    pieces: Vec<(f64, f64, Option<f64>)>,
    text: String,
}

impl std::str::FromStr for RateSpec {
    type Err = String;

    /// `20k`, the ramp `100:10k`, or steps and ramps with lengths: `1k@5s,1k:20k@10s,20k@5s`.
    fn from_str(text: &str) -> Result<Self, String> {
        let piece = |piece: &str| {
            let (rate, length) = piece.split_once('@').map_or((piece, None), |(r, l)| (r, Some(l)));
            let (from, to) = rate.split_once(':').unwrap_or((rate, rate));
            let length = length.map(units::duration).transpose()?.map(|d| d.as_secs_f64());
            if length == Some(0.0) {
                return Err(format!("`{piece}` lasts no time"));
            }
            Ok((units::rate(from)?, units::rate(to)?, length))
        };
        let pieces = text.split(',').map(piece).collect::<Result<Vec<_>, String>>()?;
        if pieces.len() > 1 && pieces.iter().any(|(_, _, length)| length.is_none()) {
            return Err(format!("`{text}`: every step needs its length, such as 1k@5s"));
        }
        Ok(Self { pieces, text: text.to_string() })
    }
}

impl std::fmt::Display for RateSpec {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)
    }
}

impl RateSpec {
    pub fn constant(per_s: f64) -> Self {
        Self { pieces: vec![(per_s, per_s, None)], text: format!("{per_s}") }
    }

    /// How long the written lengths last together, if they are written.
    pub fn length(&self) -> Option<Duration> {
        let total: Option<f64> = self.pieces.iter().map(|(_, _, length)| *length).sum();
        total.map(Duration::from_secs_f64)
    }

    pub fn profile(&self, duration: Duration) -> Profile {
        let whole = duration.as_secs_f64();
        let pieces = self.pieces.iter().map(|&(from_per_s, to_per_s, length)| Piece {
            from_per_s,
            to_per_s,
            length_s: length.unwrap_or(whole),
        });
        Profile { pieces: pieces.collect() }
    }
}

impl Profile {
    /// Requests of the whole profile.
    pub fn count(&self) -> f64 {
        self.pieces.iter().map(Piece::count).sum()
    }

    /// When the `x`-th request (counted from 0, fractions allowed) is due; `None` behind the end.
    pub fn time_ns(&self, x: f64) -> Option<u64> {
        let (mut x, mut start_s) = (x, 0.0);
        for piece in &self.pieces {
            if x < piece.count() {
                return Some(((start_s + piece.time_of(x)) * 1e9) as u64);
            }
            x -= piece.count();
            start_s += piece.length_s;
        }
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// Independent of each other, as many real clients are.
    Poisson,
}

/// A thread's share of the schedule.
pub struct Schedule {
    kind: Kind,
    thread: u64,
    threads: u64,
    index: u64,
    limit: u64,
}

enum Kind {
    Profile { profile: Profile, arrivals: Arrivals, burst: u64, at: f64 },
    Recorded { due_ns: std::sync::Arc<Vec<(u64, u32)>> },
}

/// A request that is meant to leave at `at_ns`, and its template, if the schedule names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at_ns: u64,
    pub template: Option<u32>,
}

impl Schedule {
    /// `limit`: how many requests all threads together send at most.
    pub fn new(
        profile: Profile,
        arrivals: Arrivals,
        burst: u64,
        thread: u64,
        threads: u64,
        limit: u64,
    ) -> Self {
        let kind = Kind::Profile { profile, arrivals, burst: burst.max(1), at: 0.0 };
        Self { kind, thread, threads, index: 0, limit }
    }

    pub fn recorded(due_ns: std::sync::Arc<Vec<(u64, u32)>>, thread: u64, threads: u64, limit: u64) -> Self {
        Self { kind: Kind::Recorded { due_ns }, thread, threads, index: 0, limit }
    }

    pub fn next(&mut self, random: &mut fastrand::Rng) -> Option<Due> {
        // Thread k of n owns requests k, k + n, k + 2n, …
        let global = self.index * self.threads + self.thread;
        if global >= self.limit {
            return None;
        }
        let own = self.index;
        self.index += 1;
        match &mut self.kind {
            Kind::Recorded { due_ns } => {
                due_ns.get(global as usize).map(|&(at_ns, template)| Due { at_ns, template: Some(template) })
            }
            Kind::Profile { profile, arrivals, burst, at } => {
                let x = match arrivals {
                    Arrivals::Constant => (global / *burst * *burst) as f64,
                    Arrivals::Poisson => {
                        // Each thread's arrivals are a Poisson process of its share; together they are one again.
                        if own.is_multiple_of(*burst) {
                            *at += -(1.0 - random.f64()).ln() * (self.threads * *burst) as f64;
                        }
                        *at
                    }
                };
                profile.time_ns(x).map(|at_ns| Due { at_ns, template: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spec: &str, arrivals: Arrivals, threads: u64) -> Vec<u64> {
        let spec: RateSpec = spec.parse().unwrap_or_else(|e| panic!("{e}"));
        let profile = spec.profile(spec.length().unwrap_or(Duration::from_secs(1)));
        let mut due = Vec::new();
        for thread in 0..threads {
            let mut random = fastrand::Rng::with_seed(thread);
            let mut schedule = Schedule::new(profile.clone(), arrivals, 1, thread, threads, u64::MAX);
            while let Some(next) = schedule.next(&mut random) {
                due.push(next.at_ns);
            }
        }
        due.sort_unstable();
        due
    }

    #[test]
    fn constant_rate_is_exact_and_the_same_for_any_number_of_threads() {
        let one = all("1k", Arrivals::Constant, 1);
        assert_eq!(one.len(), 1000);
        assert_eq!(one, all("1k", Arrivals::Constant, 3));
        assert!(one.iter().enumerate().all(|(i, &at)| at.abs_diff(i as u64 * 1_000_000) <= 1));
    }

    #[test]
    fn ramp_sends_the_area_under_its_line() {
        let ramp = all("100:10k", Arrivals::Constant, 2);
        assert!((ramp.len() as i64 - 5050).abs() <= 1, "{}", ramp.len());
        let first_half = ramp.iter().filter(|&&at| at < 500_000_000).count();
        // 100·½ + ½·9900·½² = 1287.5
        assert!((1285..=1290).contains(&first_half), "{first_half}");
    }

    #[test]
    fn steps_follow_each_other() {
        let steps = all("100@1s,1000@1s,10@1s", Arrivals::Constant, 1);
        let within = |from: u64, to: u64| steps.iter().filter(|&&at| (from..to).contains(&at)).count();
        let s = 1_000_000_000;
        assert_eq!((within(0, s), within(s, 2 * s), within(2 * s, 3 * s)), (100, 1000, 10));
    }

    #[test]
    fn poisson_has_the_rate_and_the_spread_of_a_poisson_process() {
        let due = all("20k", Arrivals::Poisson, 2);
        assert!((19_300..20_700).contains(&due.len()), "{}", due.len());
        let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Exponential gaps: the deviation equals the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05);
    }

    #[test]
    fn poisson_bursts_come_together_at_the_same_average_rate() {
        let profile = RateSpec::constant(20_000.0).profile(Duration::from_secs(1));
        let mut schedule = Schedule::new(profile, Arrivals::Poisson, 10, 0, 1, u64::MAX);
        let mut random = fastrand::Rng::with_seed(1);
        let due: Vec<u64> = std::iter::from_fn(|| schedule.next(&mut random)).map(|due| due.at_ns).collect();
        assert!((17_500..22_500).contains(&due.len()), "{}", due.len());
        assert!(due.chunks(10).all(|burst| burst.iter().all(|at| *at == burst[0])));
        assert_ne!(due[9], due[10]);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "0", "-5", "fast", "1k@5s,2k", "1k@0s"] {
            assert!(bad.parse::<RateSpec>().is_err(), "{bad}");
        }
    }
}
