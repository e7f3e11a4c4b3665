//! The spellings people use for durations, rates, sizes and shares, parsed once. Knows no option and no clock.

use std::time::Duration;

/// Splits `12.5ms` into its number and its unit.
fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| format!("`{text}` does not start with a number"))?;
    Ok((number, text[end..].trim()))
}

/// `250us`, `1.5ms`, `10s`, `2m`, `1h`; a bare `0` is nothing at all.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let scale_ns = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        "" if number == 0.0 => 1.0,
        _ => return Err(format!("`{text}`: say the unit (ns, us, ms, s, m or h)")),
    };
    let total_ns = number * scale_ns;
    if total_ns > 1e18 {
        return Err(format!("`{text}` is longer than anyone will wait"));
    }
    Ok(Duration::from_nanos(total_ns as u64))
}

/// Requests per second: `250`, `20k`, `1.5M`, with or without `/s`.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = split(text)?;
    let scale = match unit.trim_end_matches("/s") {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" | "m" => 1e6,
        _ => return Err(format!("`{text}`: a rate is a number, with k or M behind it if it is large")),
    };
    let rate = number * scale;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err(format!("`{text}`: a rate is above zero")) }
}

/// Bytes: `100`, `4k`, `4KiB`, `1MiB`, `1G`. k, M and G are powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let scale: u64 = match unit {
        "" | "B" | "b" => 1,
        "k" | "K" | "KiB" | "kib" => 1 << 10,
        "M" | "MiB" | "mib" => 1 << 20,
        "G" | "GiB" | "gib" => 1 << 30,
        _ => return Err(format!("`{text}`: a size is bytes, k, M or G")),
    };
    Ok((number * scale as f64) as u64)
}

/// Whole counts: `1000`, `10k`, `2M`.
pub fn count(text: &str) -> Result<u64, String> {
    rate(text).map(|n| n as u64)
}

/// `5%` or `0.05`, as a fraction.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = split(text)?;
    match unit {
        "%" => Ok(number / 100.0),
        "" => Ok(number),
        _ => Err(format!("`{text}`: a share is `5%` or `0.05`")),
    }
}

/// Nanoseconds for people: three figures and a unit.
pub fn show_ns(ns: f64) -> String {
    let (value, unit) = match ns {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// Bytes for people.
pub fn show_bytes(bytes: f64) -> String {
    match bytes {
        b if b < 1024.0 => format!("{b:.0} B"),
        b if b < 1048576.0 => format!("{:.1} KiB", b / 1024.0),
        b if b < 1073741824.0 => format!("{:.1} MiB", b / 1048576.0),
        b => format!("{:.2} GiB", b / 1073741824.0),
    }
}

/// Hexadecimal digits, two for each byte.
pub fn hex(text: &str) -> Result<bytes::Bytes, String> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| (b as char).to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("`{text}`: hexadecimal digits, two for each byte"))?;
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(format!("`{text}`: two digits for each byte"));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_mean_what_people_mean() {
        assert_eq!(duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(duration("5").is_err());
        assert!(duration("ms").is_err());
        assert_eq!(rate("20k"), Ok(20_000.0));
        assert_eq!(rate("1.5M/s"), Ok(1_500_000.0));
        assert!(rate("0").is_err());
        assert_eq!(size("4KiB"), Ok(4096));
        assert_eq!(size("1M"), Ok(1 << 20));
        assert_eq!(share("5%"), Ok(0.05));
    }
}
