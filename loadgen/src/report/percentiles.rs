//! A histogram in a few figures, in microseconds. Pure.

use serde::{Deserialize, Serialize};

use crate::run::recorder::Times;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub count: u64,
    pub min: f64,
    pub mean: f64,
    pub stdev: f64,
    pub p50: f64,
    pub p75: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

impl Percentiles {
    pub fn of(times: &Times) -> Self {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |q: f64| us(times.value_at_quantile(q));
        Self {
            count: times.len(),
            min: us(times.min()),
            mean: times.mean() / 1e3,
            stdev: times.stdev() / 1e3,
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(times.max()),
        }
    }

    /// By the name people use: `p99`, `p99.9`, `max`, `mean`, …
    pub fn named(&self, name: &str) -> Option<f64> {
        Some(match name {
            "count" => self.count as f64,
            "min" => self.min,
            "mean" => self.mean,
            "stdev" => self.stdev,
            "p50" | "median" => self.p50,
            "p75" => self.p75,
            "p90" => self.p90,
            "p95" => self.p95,
            "p99" => self.p99,
            "p99.9" | "p99_9" => self.p99_9,
            "p99.99" | "p99_99" => self.p99_99,
            "max" => self.max,
            _ => return None,
        })
    }
}
