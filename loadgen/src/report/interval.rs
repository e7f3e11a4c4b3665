//! Files that grow with the run or that other HdrHistogram tools read: interval log V2, CSV, percentile text.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::run::recorder::{Record, Times};
use crate::run::{Observer, Row};

/// The log's lines are written here, not by the crate's writer, which wants to own the file for its whole life;
/// the histograms in them are the crate's.
pub struct HistogramLog {
    out: BufWriter<File>,
    failed: bool,
}

impl HistogramLog {
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { out: BufWriter::new(File::create(path)?), failed: false })
    }

    fn head(&mut self, started: SystemTime) -> io::Result<()> {
        let unix = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        writeln!(self.out, "#[Histogram log format version 1.3]")?;
        writeln!(self.out, "#[logged with loadgen {}; values in nanoseconds]", env!("CARGO_PKG_VERSION"))?;
        writeln!(self.out, "#[StartTime: {unix:.3} (seconds since epoch)]")?;
        writeln!(self.out, "#[BaseTime: {unix:.3} (seconds since epoch)]")?;
        writeln!(
            self.out,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )
    }

    fn line(&mut self, tag: &str, row: &Row, times: &Times) -> io::Result<()> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(times, &mut bytes)
            .map_err(|e| io::Error::other(e.to_string()))?;
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        // The maximum in milliseconds, as the Java tools print it.
        let max_ms = times.max() as f64 / 1e6;
        writeln!(self.out, "Tag={tag},{:.3},{:.3},{max_ms:.3},{text}", row.start_s, row.seconds())
    }
}

impl Observer for HistogramLog {
    fn begin(&mut self, started: SystemTime) {
        self.failed |= self.head(started).is_err();
    }

    fn interval(&mut self, row: &Row, record: &Record) {
        for (tag, times) in
            [("response", &record.response), ("service", &record.service), ("dispatch", &record.dispatch)]
        {
            self.failed |= self.line(tag, row, times).is_err();
        }
        self.failed |= self.out.flush().is_err();
    }

    fn end(&mut self) {
        self.failed |= self.out.flush().is_err();
        if self.failed {
            eprintln!("loadgen: the histogram log is incomplete: writing it failed");
        }
    }
}

pub struct Csv {
    out: BufWriter<File>,
}

impl Csv {
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut out = BufWriter::new(File::create(path)?);
        writeln!(
            out,
            "start_s,end_s,due,requests,errors,timeouts,rate,bytes_in,bytes_out,mean_us,p50_us,p90_us,p99_us,\
             p99_9_us,max_us,service_p99_us,dispatch_p99_us,lag_max_us,cap_hits"
        )?;
        Ok(Self { out })
    }
}

impl Observer for Csv {
    fn interval(&mut self, r: &Row, _record: &Record) {
        let rate = r.requests as f64 / r.seconds();
        let written = writeln!(
            self.out,
            "{:.3},{:.3},{},{},{},{},{rate:.1},{},{},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{}",
            r.start_s,
            r.end_s,
            r.due,
            r.requests,
            r.errors,
            r.timeouts,
            r.bytes_in,
            r.bytes_out,
            r.mean_us,
            r.p50_us,
            r.p90_us,
            r.p99_us,
            r.p99_9_us,
            r.max_us,
            r.service_p99_us,
            r.dispatch_p99_us,
            r.lag_max_us,
            r.cap_hits
        );
        if written.and_then(|()| self.out.flush()).is_err() {
            eprintln!("loadgen: writing the CSV failed");
        }
    }
}

/// The percentile text that HdrHistogram's plotters read; values in milliseconds.
pub fn hgrm(times: &Times) -> String {
    let mut out =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut seen = 0;
    for step in times.iter_quantiles(5) {
        seen += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / 1e6, step.quantile_iterated_to());
        let inverse =
            if quantile < 1.0 { format!("{:>14.2}", 1.0 / (1.0 - quantile)) } else { String::new() };
        out.push_str(&format!("{value:>12.6} {quantile:>14.12} {seen:>10} {inverse}\n"));
    }
    out.push_str(&format!(
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]\n#[Max     = {:>12.6}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]\n",
        times.mean() / 1e6,
        times.stdev() / 1e6,
        times.max() as f64 / 1e6,
        times.len(),
        times.buckets(),
        2048
    ));
    out
}

/// Several observers as one.
pub struct All(pub Vec<Box<dyn Observer>>);

impl Observer for All {
    fn begin(&mut self, started: SystemTime) {
        self.0.iter_mut().for_each(|observer| observer.begin(started));
    }

    fn interval(&mut self, row: &Row, record: &Record) {
        self.0.iter_mut().for_each(|observer| observer.interval(row, record));
    }

    fn end(&mut self) {
        self.0.iter_mut().for_each(|observer| observer.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn interval_log_reads_back_with_the_same_percentiles() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let mut log = HistogramLog::create(file.path())?;
        let mut record = Record::default();
        (1..5000u64).for_each(|n| record.response.saturating_record(n * 1000));
        log.begin(SystemTime::now());
        log.interval(&Row { start_s: 0.0, end_s: 1.0, ..Row::default() }, &record);
        log.interval(&Row { start_s: 1.0, end_s: 2.0, ..Row::default() }, &record);
        log.end();
        let bytes = std::fs::read(file.path())?;
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let Ok(LogEntry::Interval(interval)) = entry
                && interval.tag().is_some_and(|tag| tag.as_str() == "response")
            {
                let raw = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram())?;
                let times: Times = Deserializer::new().deserialize(&mut &raw[..])?;
                found.push(times);
            }
        }
        assert_eq!(found.len(), 2);
        assert!(found[1] == record.response);
        Ok(())
    }

    #[test]
    fn percentile_text_ends_with_the_maximum() {
        let mut times = crate::run::recorder::times();
        (1..=1000u64).for_each(|n| times.saturating_record(n * 1_000_000));
        let text = hgrm(&times);
        assert!(text.lines().any(|l| l.contains("1.000000000000") && l.contains(" 1000 ")), "{text}");
        assert!(text.contains("Total count    =         1000"));
    }
}
