//! Whether two values that differ look as if drawn anew each time: ids, times, tokens, counters, random bytes. Pure.
//!
//! One pair tells little: a price looks like a counter. Values are taken for drawn where those of *both* sides are new from
//! request to request, which findings count.

/// Letters and digits of a token that may be random.
const TOKEN_CHARS_MIN: usize = 12;

/// Values that are looked at.
const VALUE_BYTES_MAX: usize = 4096;

/// Whether both values have one shape: the same but for numbers, hexadecimal digits and tokens in the same places.
pub(super) fn is_alike(one: &str, other: &str) -> bool {
    if one.len().max(other.len()) > VALUE_BYTES_MAX {
        return false;
    }
    let is_word = |c: char| c.is_alphanumeric();
    let words = |text: &str| -> Vec<(bool, String)> {
        let mut all: Vec<(bool, String)> = Vec::new();
        for c in text.chars() {
            match all.last_mut() {
                Some((kind, run)) if *kind == is_word(c) => run.push(c),
                Some(_) | None => all.push((is_word(c), c.to_string())),
            }
        }
        all
    };
    let (ours, theirs) = (words(one), words(other));
    if ours.len() != theirs.len() {
        // Signs of Base64 stand anywhere.
        return is_token(one) && is_token(other) && one.len() == other.len();
    }
    ours.iter().zip(&theirs).all(|((kind, a), (_, b))| a == b || (*kind && is_drawn(a, b)))
        || (is_token(one) && is_token(other) && one.len() == other.len())
}

/// Whether both values have one shape and are about as long: a counter grows, a time in other units is another thing.
pub(super) fn is_of_one_kind(one: &str, other: &str) -> bool {
    one.len().abs_diff(other.len()) < OTHER_UNITS && is_alike(one, other)
}

/// Digits by which a thousand times as much is longer.
const OTHER_UNITS: usize = 3;

/// Two runs of letters and digits that may be drawn.
fn is_drawn(a: &str, b: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    // A number between the same letters: `12Z`, `T09`.
    let is_letter = |c: char| c.is_ascii_alphabetic();
    let core = |text: &str| text.trim_matches(is_letter).len();
    let start = |text: &str| text.len() - text.trim_start_matches(is_letter).len();
    let frame = |text: &'_ str| {
        let (start, core) = (start(text), core(text));
        [text.get(..start), text.get(start + core..)].map(|part| part.unwrap_or_default().to_owned())
    };
    let is_number = |text: &str| core(text) > 0 && digits(text.trim_matches(is_letter));
    // Counters grow, fractions lose their zeros.
    (is_number(a) && is_number(b) && frame(a) == frame(b))
        || (a.len() == b.len() && a.len() >= 4 && hex(a) && hex(b))
        || (a.len() == b.len() && is_token(a) && is_token(b))
}

/// Long, of no words: with digits or letters of both cases.
fn is_token(text: &str) -> bool {
    let of = |is: fn(&u8) -> bool| text.bytes().filter(is).count();
    let is_sign = |byte: &u8| matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'.');
    let letters = of(u8::is_ascii_alphanumeric);
    letters >= TOKEN_CHARS_MIN
        && letters + of(is_sign) == text.len()
        && (of(u8::is_ascii_digit) > 0 || (of(u8::is_ascii_uppercase) > 2 && of(u8::is_ascii_lowercase) > 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_times_tokens_and_counters_are_alike_and_words_are_not() {
        let alike = [
            ("550e8400-e29b-41d4-a716-446655440000", "de305d54-75b4-431b-adb2-eb6b9e546014"),
            ("2026-11-29T12:00:01.12Z", "2026-11-29T12:00:01.345678Z"),
            ("1001", "998"),
            ("0.25", "0.5"),
            ("req-17", "req-18"),
            ("sid=a8Kz01PqLm3x; Path=/", "sid=Qw8Kz01PqLm3; Path=/"),
            ("a8Kz01/PqLm3xQ==", "Zz8K+01PqLm3xQ=="),
        ];
        for (one, other) in alike {
            assert!(is_alike(one, other), "{one} {other}");
        }
        let others = [
            ("pro", "free"),
            ("Yours Truly", "Someone Else"),
            ("abcdefghijklmnop", "bcdefghijklmnopq"),
            ("2026-11-29", "29 Nov"),
            ("req-17", "job-17"),
            ("12", "n/a"),
            ("", "1"),
        ];
        for (one, other) in others {
            assert!(!is_alike(one, other), "{one} {other}");
        }
    }
}
