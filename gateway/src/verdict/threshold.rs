//! Thresholds of rules: a policy's percents as shares, and the slack that every threshold has.

use config::Percent;

/// A field that v1 itself does not keep may differ more often by this share of its noise: less is no reason.
pub(super) const NOISE_SLACK: f64 = 0.2;

/// A figure passes below so many times its threshold, to 99 percent over all looks.
pub(super) const SLIPS: f64 = 2.0;

/// No threshold asks for more requests than this one: 30,000.
pub(super) const LEAST_THRESHOLD: f64 = 0.000_1;

pub(super) fn of_percent(percent: Percent) -> f64 {
    f64::from(percent.per_million) / 1e6
}
