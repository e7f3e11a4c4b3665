//! A healthy port's response: size, delay, status, framing. Pure values and their spelling; sends nothing.

use std::fmt;
use std::time::Duration;

use crate::units;

/// Answers above this are refused, so that a typing error cannot fill memory or a disk.
const ANSWER_BYTES_MAX: u64 = 16 << 30;

#[derive(Clone, Debug, PartialEq)]
pub struct Behavior {
    pub content: Content,
    pub delay: Delay,
    pub status: StatusMix,
    pub framing: AnswerFraming,
    /// 103 heads sent before the answer.
    pub interim: u32,
    /// Answer when the head is there, without waiting for the body.
    pub early: bool,
    /// Close after this many answers.
    pub requests_per_connection_max: Option<u64>,
    /// gRPC: messages of an answer that echoes none.
    pub messages: u64,
    pub grpc_status: StatusMix,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// The request's body and content type come back.
    Echo,
    Size {
        low: u64,
        high: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    None,
    Fixed(Duration),
    Uniform(Duration, Duration),
    /// By its mean.
    Exponential(Duration),
    /// By its median and the sigma of its logarithm.
    LogNormal(Duration, f64),
    /// The duration, for every request that the port is working on.
    PerInFlight(Duration),
}

#[derive(Clone, Debug, PartialEq)]
pub struct StatusMix {
    /// Status and weight; at least one.
    parts: Vec<(u16, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFraming {
    Length,
    Chunked,
    Close,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            content: Content::Size { low: 2, high: 2 },
            delay: Delay::None,
            status: StatusMix { parts: vec![(200, 1.0)] },
            framing: AnswerFraming::Length,
            interim: 0,
            early: false,
            requests_per_connection_max: None,
            messages: 1,
            grpc_status: StatusMix { parts: vec![(0, 1.0)] },
        }
    }
}

impl Behavior {
    /// Applies `key=value` settings separated by commas, `&` or white space; the rest stays as it is.
    pub fn apply(&mut self, settings: &str) -> Result<(), String> {
        let separator = |c: char| c == ',' || c == '&' || c.is_whitespace();
        for setting in settings.split(separator).filter(|s| !s.is_empty()) {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            self.set(key, value)?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "echo" => self.content = Content::Echo,
            "size" => self.content = parse_size(value)?,
            "delay" => self.delay = value.parse()?,
            "status" => self.status = value.parse()?,
            "messages" => self.messages = units::count(value)?,
            "grpc_status" => self.grpc_status = StatusMix::of_grpc(value)?,
            "framing" => self.framing = value.parse()?,
            "interim" => self.interim = value.parse().map_err(|_| format!("interim={value}: a count"))?,
            "early" => self.early = value != "false",
            "requests_per_connection_max" => {
                self.requests_per_connection_max = Some(units::count(value)?);
            }
            _ => return Err(format!("unknown setting `{key}`")),
        }
        Ok(())
    }

    /// As `apply`, but passes over keys it does not know: a query may carry anything.
    pub fn apply_query(&mut self, query: &str) {
        for setting in query.split('&') {
            if let Some((key, value)) = setting.split_once('=') {
                let _ = self.set(key, value);
            }
        }
    }

    /// True if every answer is the same bytes, sent at once.
    pub fn is_constant(&self) -> bool {
        matches!(self.content, Content::Size { low, high } if low == high && low <= 4 << 20)
            && self.status.parts.len() == 1
            && self.framing == AnswerFraming::Length
            && self.requests_per_connection_max.is_none()
    }
}

fn parse_size(value: &str) -> Result<Content, String> {
    let (low, high) = value.split_once("..").unwrap_or((value, value));
    let (low, high) = (units::size(low)?, units::size(high)?);
    if low > high || high > ANSWER_BYTES_MAX {
        return Err(format!("size={value}: low..high, up to {ANSWER_BYTES_MAX} bytes"));
    }
    Ok(Content::Size { low, high })
}

impl Delay {
    pub fn draw(&self, random: &mut fastrand::Rng, in_flight: impl Fn() -> u64) -> Duration {
        match *self {
            Self::None => Duration::ZERO,
            Self::Fixed(fixed) => fixed,
            Self::Uniform(low, high) => low + (high - low).mul_f64(random.f64()),
            Self::Exponential(mean) => mean.mul_f64(-(1.0 - random.f64()).ln()),
            Self::LogNormal(median, sigma) => median.mul_f64((sigma * normal(random)).exp().min(1e6)),
            Self::PerInFlight(each) => each.mul_f64(in_flight().max(1) as f64),
        }
    }
}

/// A draw of the standard normal distribution (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

impl std::str::FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (kind, first, second) = (parts.next().unwrap_or(""), parts.next(), parts.next());
        let duration = |part: Option<&str>| units::duration(part.unwrap_or(""));
        match kind {
            "none" => Ok(Self::None),
            "fixed" => Ok(Self::Fixed(duration(first)?)),
            "exp" => Ok(Self::Exponential(duration(first)?)),
            "per_in_flight" => Ok(Self::PerInFlight(duration(first)?)),
            "uniform" => {
                let (low, high) = (duration(first)?, duration(second)?);
                if low > high { Err(format!("{text}: low:high")) } else { Ok(Self::Uniform(low, high)) }
            }
            "lognormal" => {
                let sigma: f64 =
                    second.unwrap_or("1").parse().map_err(|_| format!("{text}: median:sigma"))?;
                Ok(Self::LogNormal(duration(first)?, sigma.clamp(0.0, 5.0)))
            }
            _ => Ok(match units::duration(text).map_err(|_| {
                format!(
                    "delay {text}: a duration, uniform:a:b, exp:mean, lognormal:median:sigma, per_in_flight:d"
                )
            })? {
                Duration::ZERO => Self::None,
                fixed => Self::Fixed(fixed),
            }),
        }
    }
}

impl StatusMix {
    pub fn draw(&self, random: &mut fastrand::Rng) -> u16 {
        let total: f64 = self.parts.iter().map(|(_, weight)| weight).sum();
        let mut at = random.f64() * total;
        for &(status, weight) in &self.parts {
            if at < weight {
                return status;
            }
            at -= weight;
        }
        self.first()
    }

    pub fn first(&self) -> u16 {
        self.parts.first().map_or(200, |(status, _)| *status)
    }
}

impl StatusMix {
    fn of_grpc(text: &str) -> Result<Self, String> {
        Self::read(text, 0..17, "grpc_status", "0, or 0:98+13:2")
    }

    fn read(text: &str, known: std::ops::Range<u16>, name: &str, example: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (status, weight) = part.split_once(':').unwrap_or((part, "1"));
            let status = status.parse().ok().filter(|s| known.contains(s));
            let weight = weight.parse().ok().filter(|w: &f64| *w > 0.0);
            status.zip(weight).ok_or_else(|| format!("{name} {text}: {example}"))
        };
        Ok(Self { parts: text.split('+').map(part).collect::<Result<_, _>>()? })
    }
}

impl std::str::FromStr for StatusMix {
    type Err = String;

    /// `200`, or `200:99+503:1`.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text, 200..1000, "status", "200, or 200:99+503:1")
    }
}

impl std::str::FromStr for AnswerFraming {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "length" | "cl" => Ok(Self::Length),
            "chunked" => Ok(Self::Chunked),
            "close" => Ok(Self::Close),
            _ => Err(format!("framing {text}: length, chunked or close")),
        }
    }
}

impl fmt::Display for StatusMix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mix: Vec<String> = self.parts.iter().map(|(s, w)| format!("{s}:{w}")).collect();
        write!(out, "{}", mix.join("+"))
    }
}

impl fmt::Display for Behavior {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Echo => write!(out, "echo")?,
            Content::Size { low, high } if low == high => write!(out, "size={low}")?,
            Content::Size { low, high } => write!(out, "size={low}..{high}")?,
        }
        let ns = |d: Duration| format!("{}ns", d.as_nanos());
        match self.delay {
            Delay::None => {}
            Delay::Fixed(d) => write!(out, ",delay={}", ns(d))?,
            Delay::Uniform(a, b) => write!(out, ",delay=uniform:{}:{}", ns(a), ns(b))?,
            Delay::Exponential(d) => write!(out, ",delay=exp:{}", ns(d))?,
            Delay::LogNormal(d, sigma) => write!(out, ",delay=lognormal:{}:{sigma}", ns(d))?,
            Delay::PerInFlight(d) => write!(out, ",delay=per_in_flight:{}", ns(d))?,
        }
        write!(out, ",status={}", self.status)?;
        match self.framing {
            AnswerFraming::Length => {}
            AnswerFraming::Chunked => write!(out, ",framing=chunked")?,
            AnswerFraming::Close => write!(out, ",framing=close")?,
        }
        if self.interim > 0 {
            write!(out, ",interim={}", self.interim)?;
        }
        if self.early {
            write!(out, ",early")?;
        }
        if let Some(max) = self.requests_per_connection_max {
            write!(out, ",requests_per_connection_max={max}")?;
        }
        if self.messages != 1 {
            write!(out, ",messages={}", self.messages)?;
        }
        if self.grpc_status.parts != [(0, 1.0)] {
            write!(out, ",grpc_status={}", self.grpc_status)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let settings =
            "size=1..4096,delay=lognormal:5ms:0.5,status=200:9+503:1,framing=chunked,interim=2,early";
        let mut behavior = Behavior::default();
        assert_eq!(behavior.apply(settings), Ok(()));
        let mut again = Behavior::default();
        assert_eq!(again.apply(&behavior.to_string()), Ok(()));
        assert_eq!(behavior, again);
        assert!(behavior.apply("sise=3").is_err());
        assert!(behavior.apply("delay=5").is_err());
    }

    #[test]
    fn delays_have_the_mean_they_promise() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut mean = |delay: Delay| {
            (0..20_000).map(|_| delay.draw(&mut random, || 1).as_secs_f64()).sum::<f64>() / 20_000.0
        };
        let near = |got: f64, expected: f64| (got / expected - 1.0).abs() < 0.05;
        let ms = Duration::from_millis;
        assert!(near(mean(Delay::Exponential(ms(10))), 0.010));
        assert!(near(mean(Delay::Uniform(ms(0), ms(10))), 0.005));
        assert!(near(mean(Delay::LogNormal(ms(10), 0.5)), 0.010 * (0.125f64).exp()));
    }
}
