//! W3C Trace Context (Level 1): a client's `traceparent`, the trace that an exchange belongs to, and the words that its wires say
//! of it. Pure but for the random source; it knows no head and allocates nothing.
//!
//! A trace that goes on keeps the client's `tracestate` byte for byte: we have nothing to add to it. One that begins here
//! drops it (§4.2), which [`keeps_state`] tells.

use config::{Claim, Tracing};

use super::record::Trace;
use crate::random::Random;

/// Bytes of a `traceparent` as we write it.
pub const TRACEPARENT_BYTES: usize = 55;

/// A client's word on its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    pub trace_id: [u8; 16],
    pub span: [u8; 8],
    pub is_sampled: bool,
}

/// Reads a `traceparent`; `None` for values that the specification tells to ignore (§3.2.2). Several lines of it, joined by a
/// comma, are such a value.
pub fn parse(value: &[u8]) -> Option<Parent> {
    let (known, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
    // Of a later version the beginning is the same, and more may follow behind a dash (§4.3).
    match (known.get(..2)?, rest.first()) {
        (b"00", None) => {}
        (b"00", Some(_)) | (b"ff", _) => return None,
        (_, None | Some(b'-')) => {}
        (_, Some(_)) => return None,
    }
    if [2, 35, 52].iter().any(|at| known.get(*at) != Some(&b'-')) {
        return None;
    }
    let [_version] = unhex(known.get(..2)?)?;
    let trace_id: [u8; 16] = unhex(known.get(3..35)?)?;
    let span: [u8; 8] = unhex(known.get(36..52)?)?;
    let [flags] = unhex(known.get(53..55)?)?;
    let is_known = trace_id != [0; 16] && span != [0; 8];
    is_known.then_some(Parent { trace_id, span, is_sampled: flags & 1 == 1 })
}

/// The trace of an exchange whose client sent `claimed`, with spans of its own for the gateway and the primary.
pub fn begin(claimed: Option<&[u8]>, by: &Tracing, random: &Random) -> Trace {
    let parent = match by.parent {
        Claim::Keep => claimed.and_then(parse),
        Claim::Replace => None,
    };
    let (trace_id, is_sampled) = match parent {
        Some(parent) => (parent.trace_id, parent.is_sampled),
        None => (new_trace_id(random), random.below(1_000_000) < u64::from(by.percent.per_million)),
    };
    Trace {
        trace_id,
        parent: parent.map(|parent| parent.span),
        span: new_span(random),
        primary_span: new_span(random),
        is_sampled,
    }
}

/// Whether a client's `tracestate` goes on.
pub fn keeps_state(trace: &Trace) -> bool {
    trace.parent.is_some()
}

/// An identifier for one more span; never zero.
pub fn new_span(random: &Random) -> [u8; 8] {
    random.next().max(1).to_be_bytes()
}

fn new_trace_id(random: &Random) -> [u8; 16] {
    let [high, low] = [random.next(), random.next().max(1)];
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// The value of `traceparent` on the wire whose span is `span`. Of the flags only "sampled" is ours to set (§3.2.2.3).
pub fn traceparent(trace: &Trace, span: &[u8; 8]) -> [u8; TRACEPARENT_BYTES] {
    let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&mut out[3..35], &trace.trace_id);
    write_hex(&mut out[36..52], span);
    out[54] = b'0' + u8::from(trace.is_sampled);
    out
}

/// Writes `bytes` as lower-case hexadecimal digits into `out`, which has two places for each.
pub fn write_hex(out: &mut [u8], bytes: &[u8]) {
    debug_assert_eq!(out.len(), bytes.len() * 2, "two digits for each byte");
    for (digits, byte) in out.chunks_exact_mut(2).zip(bytes) {
        digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// An identifier as text.
pub fn hex(id: &[u8]) -> String {
    id.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|n| char::from(DIGITS[usize::from(n)])).collect()
}

/// Lower-case digits only: others are not of the form (§2.3).
fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use config::Percent;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tracing(percent: f64, parent: Claim) -> Tracing {
        Tracing {
            percent: Percent::from_percent(percent).unwrap(),
            parent,
            collector: None,
            service_name: "umbra".into(),
            spans_max: 1,
            spans_bytes_max: 1,
            timeout: std::time::Duration::from_secs(1),
        }
    }

    #[test]
    fn only_what_the_specification_admits_is_a_parent() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let span = "b7ad6b7169203331";
        let rows: &[(String, Option<bool>)] = &[
            (GIVEN.into(), Some(true)),
            (format!("00-{id}-{span}-00"), Some(false)),
            // Flags that we do not know are not looked at.
            (format!("00-{id}-{span}-03"), Some(true)),
            (format!("00-{id}-{span}-fe"), Some(false)),
            (format!("cc-{id}-{span}-01"), Some(true)),
            (format!("cc-{id}-{span}-01-what-the-future-will-be-like"), Some(true)),
            (format!("cc-{id}-{span}-01.what"), None),
            (format!("00-{id}-{span}-01-more"), None),
            (format!("00-{id}-{span}-01,{GIVEN}"), None),
            (format!("cc-{id}-{span}-01,{GIVEN}"), None),
            (format!("ff-{id}-{span}-01"), None),
            (format!("0x-{id}-{span}-01"), None),
            (format!("CC-{id}-{span}-01"), None),
            (format!("00-{}-{span}-01", id.to_uppercase()), None),
            (format!("00-{id}-{}-01", span.to_uppercase()), None),
            (format!("00-{id}-{span}-0A"), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{id}-{}-01", "0".repeat(16)), None),
            (format!("00_{id}-{span}-01"), None),
            (format!("00-{id}_{span}-01"), None),
            (format!("00-{id}-{span}_01"), None),
            (format!("00-{id}-{span}-1"), None),
            (format!("00-{id}-{span}"), None),
            (format!(" {GIVEN}"), None),
            (format!("{GIVEN} "), None),
            (String::new(), None),
        ];
        for (text, sampled) in rows {
            let parent = parse(text.as_bytes());
            assert_eq!(parent.map(|p| p.is_sampled), *sampled, "{text}");
            if let Some(parent) = parent {
                assert_eq!((hex(&parent.trace_id), hex(&parent.span)), (id.into(), span.into()), "{text}");
            }
        }
        // A cut value is no `traceparent`, and does not panic.
        for end in 0..GIVEN.len() {
            assert_eq!(parse(&GIVEN.as_bytes()[..end]), None);
        }
    }

    #[test]
    fn a_clients_trace_goes_on_with_its_sampling_and_a_span_of_ours() {
        let random = Random::new(7);
        for (given, sampled) in [(GIVEN.to_owned(), true), (GIVEN.replace("-01", "-00"), false)] {
            let never_or_always = tracing(if sampled { 0.0 } else { 100.0 }, Claim::Keep);
            let trace = begin(Some(given.as_bytes()), &never_or_always, &random);
            assert_eq!((trace.is_sampled, keeps_state(&trace)), (sampled, true));
            let said = traceparent(&trace, &trace.primary_span);
            assert_eq!(said[..36], given.as_bytes()[..36]);
            assert_eq!(said[52..], given.as_bytes()[52..]);
            let said = parse(&said).unwrap();
            assert_eq!(
                (said.span, Some(&b"\xb7\xad\x6b\x71\x69\x20\x33\x31"[..])),
                (trace.primary_span, trace.parent.as_ref().map(|p| &p[..]))
            );
            assert_ne!(trace.span, trace.primary_span);
        }
    }

    #[test]
    fn a_trace_begins_here_where_none_is_given_or_none_is_trusted() {
        let random = Random::new(7);
        let rows = [(None, Claim::Keep), (Some("00-short"), Claim::Keep), (Some(GIVEN), Claim::Replace)];
        for (given, parent) in rows {
            for sampled in [false, true] {
                let by = tracing(if sampled { 100.0 } else { 0.0 }, parent);
                let trace = begin(given.map(str::as_bytes), &by, &random);
                assert_eq!((trace.parent, trace.is_sampled, keeps_state(&trace)), (None, sampled, false));
                let said = traceparent(&trace, &trace.span);
                assert!(!said.starts_with(&GIVEN.as_bytes()[..35]));
                let expect = Parent { trace_id: trace.trace_id, span: trace.span, is_sampled: sampled };
                assert_eq!(parse(&said), Some(expect), "{}", String::from_utf8_lossy(&said));
            }
        }
    }

    #[test]
    fn the_share_of_sampled_traces_is_the_one_asked_for() {
        let (random, by) = (Random::new(1), tracing(10.0, Claim::Keep));
        let sampled = (0..100_000).filter(|_| begin(None, &by, &random).is_sampled).count();
        assert!((9_500..10_500).contains(&sampled), "{sampled}");
    }
}
