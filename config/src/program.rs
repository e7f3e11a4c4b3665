//! Patterns as programs: compiled the same way wherever they are used, and bounded by what matching costs each request.
//!
//! A linear matcher takes time in proportion to its program times its text, so a bound that guards memory alone lets one
//! pattern cost a worker milliseconds a request. RE2's syntax is read as RE2 reads it: `\w`, `\d` and `\s` are ASCII's, a
//! hundredth of the program that all of Unicode's letters take. A pattern that names Unicode's classes is read with them.

use regex::bytes::{Regex, RegexBuilder};

/// Bytes of one compiled program. Envoy bounds programs for the same reason (`re2.max_program_size`).
pub const PROGRAM_BYTES_MAX: usize = 128 * 1024;

/// Bytes from which on a program is worth a warning: 15 KiB of a header can take it a millisecond.
const PROGRAM_BYTES_WARN: usize = PROGRAM_BYTES_MAX / 8;

/// Compiles `text` within the bound; the error says why it cannot be, and what to do.
pub fn compile(text: &str) -> Result<Regex, String> {
    match within(text, PROGRAM_BYTES_MAX) {
        Ok(regex) => Ok(regex),
        Err(regex::Error::CompiledTooBig(_)) => Err(format!(
            "compiles to more than {} KiB, and every request that is matched against it would pay for that: repeat less \
             ({{1,64}} is 64 copies), or match by path_prefix, path_elements, prefix or exact",
            PROGRAM_BYTES_MAX / 1024
        )),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(format!("is not a regular expression: {why}"))
        }
    }
}

/// What a pattern that compiles costs, where that is worth a word.
pub(crate) fn cost(text: &str) -> Option<String> {
    within(text, PROGRAM_BYTES_WARN).is_err().then(|| {
        format!(
            "compiles to more than {} KiB: matching a long value against it takes about a millisecond, for each request",
            PROGRAM_BYTES_WARN / 1024
        )
    })
}

fn within(text: &str, bytes_max: usize) -> Result<Regex, regex::Error> {
    let compiled = |unicode| RegexBuilder::new(text).unicode(unicode).size_limit(bytes_max).build();
    match compiled(false) {
        Err(regex::Error::Syntax(_)) => compiled(true),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_patterns_compile_and_cost_nothing_worth_a_word() {
        for text in [
            r"/u42/[\w.-]{1,64}",
            r"/files/.*[\w.-]{1,64}\.(png|jpe?g)",
            r".*(?i)[\w./ -]{20,60}bot.*",
            "(?i)mozilla.*|.*bot.*",
            r"/v[0-9]+/users/\d+(/orders/\w+)?",
            "",
        ] {
            assert!(
                compile(text).is_ok() && cost(text).is_none(),
                "{text}: {:?} {:?}",
                compile(text).err(),
                cost(text)
            );
        }
    }

    #[test]
    fn a_program_is_bounded_and_the_error_says_what_to_do() {
        let large = format!("({})", r"[\w./ -]{100}x|".repeat(40));
        let why = compile(&large).unwrap_err();
        assert!(why.contains("compiles to more than 128 KiB") && why.contains("repeat less"), "{why}");
        let middle = format!("({})", r"[\w./ -]{100}x|".repeat(4));
        assert!(compile(&middle).is_ok() && cost(&middle).is_some());
        // All of Unicode's letters, a hundred times.
        assert!(compile(r"\pL{100}").unwrap_err().contains("compiles to more"));
        assert!(compile("(").unwrap_err().contains("is not a regular expression"));
    }

    #[test]
    fn classes_are_those_of_re2_and_what_is_not_ascii_stands_for_itself() {
        let holds = |pattern: &str, text: &str| compile(pattern).unwrap().is_match(text.as_bytes());
        assert!(holds(r"^\w+$", "ada_7") && !holds(r"^\w+$", "é"));
        assert!(holds("^é.*$", "études") && holds(r"^\pL+$", "é"));
        assert!(holds("(?i)^É$", "É") && holds("^[^/]+$", "é"));
    }
}
