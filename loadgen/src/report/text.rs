//! A run for people: one table on a terminal or in a log.

use std::fmt::Write;

use super::document::Document;
use super::percentiles::Percentiles;
use crate::units;

pub fn render(document: &Document) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, document);
    out
}

fn write(out: &mut String, d: &Document) -> std::fmt::Result {
    let closed = d.config.loop_kind == "closed";
    writeln!(
        out,
        "{} loop, {}{} connections{}, {} threads, {:.1} s measured{}",
        if closed { "CLOSED" } else { "open" },
        d.config.connections,
        if d.config.connections_max > d.config.connections {
            format!(" to {}", d.config.connections_max)
        } else {
            String::new()
        },
        d.config.streams.map_or_else(String::new, |streams| format!(" of {streams} HTTP/2 streams")),
        d.config.threads,
        d.measured_s,
        if d.partial { "  — PARTIAL: interrupted" } else { "" },
    )?;
    let saturated = !d.verdict.is_valid();
    match d.target_rate {
        Some(target) => writeln!(
            out,
            "rate       asked {target:.1}/s, answered {:.1}/s{}",
            d.achieved_rate,
            if saturated { " (not the target's capacity, see the verdict)" } else { "" }
        )?,
        None if saturated => {
            writeln!(out, "rate       {:.1}/s, bounded by the generator itself", d.achieved_rate)?;
        }
        None => writeln!(out, "rate       answered {:.1}/s", d.achieved_rate)?,
    }
    writeln!(
        out,
        "requests   {} of {} due: {} ok, {} errors ({:.3} %), {} unsent{}",
        d.requests.total - d.requests.unsent,
        d.requests.due,
        d.requests.ok,
        d.requests.errors,
        d.error_rate * 100.0,
        d.requests.unsent,
        if d.requests.warm_up > 0 {
            format!("; {} before, as warm-up", d.requests.warm_up)
        } else {
            String::new()
        }
    )?;
    let statuses: Vec<String> =
        d.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    if !statuses.is_empty() {
        writeln!(out, "statuses   {}", statuses.join(", "))?;
    }
    if d.config.grpc {
        let statuses: Vec<String> =
            d.grpc_statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        writeln!(out, "grpc       {}; {} messages received", statuses.join(", "), d.messages_in)?;
    }
    if d.handshakes.failed > 0 {
        writeln!(out, "handshakes {} failed", d.handshakes.failed)?;
    }
    writeln!(
        out,
        "bytes      {} in, {} out, {} connections made",
        units::show_bytes(d.bytes_in as f64),
        units::show_bytes(d.bytes_out as f64),
        d.requests.connects
    )?;
    writeln!(out)?;
    writeln!(
        out,
        "{:<12}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    )?;
    row(out, "response", &d.response_us)?;
    row(out, "  service", &d.service_us)?;
    row(out, "  dispatch", &d.dispatch_us)?;
    if d.requests.errors > 0 {
        row(out, "ok only", &d.ok_us)?;
        for (class, percentiles) in &d.errors {
            row(out, class, percentiles)?;
        }
    }
    row(out, "own lag", &d.lag_us)?;
    if d.connect_us.count > 0 {
        row(out, "connect", &d.connect_us)?;
    }
    for (name, times) in [("TLS full", &d.handshakes.full_us), ("TLS resumed", &d.handshakes.resumed_us)] {
        if times.count > 0 {
            row(out, name, times)?;
        }
    }
    of_urls(out, d)?;
    writeln!(out)?;
    writeln!(
        out,
        "generator  {:.2} µs of processor per request, busiest thread {:.0} % of its core",
        d.cpu.us_per_request,
        d.cpu.share_max * 100.0
    )?;
    d.notes.iter().try_for_each(|note| writeln!(out, "note       {note}"))?;
    writeln!(out, "verdict    {}", d.verdict.word())?;
    d.reasons.iter().try_for_each(|reason| writeln!(out, "           {reason}"))
}

/// Of many URLs those that were asked most.
const URLS_SHOWN: usize = 20;

fn of_urls(out: &mut String, d: &Document) -> std::fmt::Result {
    if d.by_url.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(
        out,
        "{:<12}{:>9}{:>10}{:>10}{:>10}{:>10}  response time by URL",
        "", "count", "errors", "p50", "p99", "max"
    )?;
    for of in d.by_url.iter().take(URLS_SHOWN) {
        let (p, us) = (&of.response_us, |us: f64| units::show_ns(us * 1e3));
        writeln!(
            out,
            "{:<12}{:>9}{:>10}{:>10}{:>10}{:>10}  {}",
            "",
            p.count,
            of.errors,
            us(p.p50),
            us(p.p99),
            us(p.max),
            of.request
        )?;
    }
    match d.by_url.len().saturating_sub(URLS_SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "{:<12}and {more} more: --json", ""),
    }
}

fn row(out: &mut String, name: &str, p: &Percentiles) -> std::fmt::Result {
    let us = |us: f64| units::show_ns(us * 1e3);
    writeln!(
        out,
        "{name:<12}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        p.count,
        us(p.mean),
        us(p.p50),
        us(p.p90),
        us(p.p99),
        us(p.p99_9),
        us(p.p99_99),
        us(p.max)
    )
}
