//! Progress of a run: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::recorder::Record;
use crate::run::{Observer, Row};
use crate::units;

pub struct Progress {
    bar: Option<ProgressBar>,
    length_s: f64,
}

impl Progress {
    pub fn new(length: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(length.as_secs().max(1));
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, length_s: length.as_secs_f64() }
    }
}

impl Observer for Progress {
    fn begin(&mut self, _started: SystemTime) {
        if let Some(bar) = &self.bar {
            bar.set_position(0);
        }
    }

    fn interval(&mut self, row: &Row, _record: &Record) {
        let us = |us: f64| units::show_ns(us * 1e3);
        let line = format!(
            "{:.0}/s  p50 {}  p99 {}  max {}  errors {}",
            row.requests as f64 / row.seconds(),
            us(row.p50_us),
            us(row.p99_us),
            us(row.max_us),
            row.errors
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(row.end_s.min(self.length_s).round() as u64);
                bar.set_message(line);
            }
            None => eprintln!("{:>6.1} s  {line}", row.end_s),
        }
    }

    fn end(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
