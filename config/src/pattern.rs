//! Regular expressions of a configuration: compiled where it is checked, once for each text, within a budget.
//!
//! Compiling is the most expensive demand of a line of configuration: milliseconds and megabytes for a few characters. So each
//! pattern carries what it was compiled to, and nothing that serves requests compiles again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex::Error;
use regex::bytes::{Regex, RegexBuilder};

/// Compiled bytes of all patterns of one configuration, as [`SIZES`] counts them: about two seconds of a core,
/// and room for 32,000 ordinary patterns.
const COMPILED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A pattern counts as the least of these that it fits in. Compiling stops where the size is passed, so a pattern that does
/// not fit costs no more than one that does. The last one bounds a single pattern: matching takes time in proportion to
/// program times text, so one of megabytes would cost each request a worker's milliseconds. Envoy bounds programs for the same
/// reason (`re2.max_program_size`).
const SIZES: [usize; 3] = [8 << 10, 32 << 10, 128 << 10];

/// Up to this size a pattern costs nothing worth a word.
const CHEAP_BYTES_MAX: usize = 32 << 10;

/// A regular expression in RE2's syntax, compiled.
#[derive(Clone)]
pub struct Pattern {
    pub text: String,
    regex: Arc<Regex>,
    /// The least of [`SIZES`] that it fits in.
    size: usize,
}

/// The part of a value that a pattern must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Span {
    Whole,
    Anywhere,
}

impl Pattern {
    /// A pattern that must match the whole of a value.
    ///
    /// # Errors
    /// Why the text is no pattern.
    pub fn whole(text: &str) -> Result<Self, String> {
        Patterns::default().whole(text)
    }

    /// A pattern that is looked for within a value.
    ///
    /// # Errors
    /// As [`Pattern::whole`].
    pub fn anywhere(text: &str) -> Result<Self, String> {
        Patterns::default().anywhere(text)
    }

    /// The compiled pattern, for one thread: the program is shared, the scratch memory of matching is the copy's own.
    pub fn regex(&self) -> Regex {
        Regex::clone(&self.regex)
    }

    /// The cost of a match for each request, in words, where it is worth any.
    pub(crate) fn cost(&self) -> Option<String> {
        (self.size > CHEAP_BYTES_MAX).then(|| {
            let least = CHEAP_BYTES_MAX / 1024;
            format!("compiles to more than {least} KiB: holding a long value against it may take a millisecond of each request")
        })
    }

    /// Whether both share one compiled program.
    pub fn shares_program(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.regex, &other.regex)
    }
}

/// Patterns are compared by text: the key that a pattern belongs to decides its span.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").field("text", &self.text).finish_non_exhaustive()
    }
}

/// The patterns of one configuration while it is checked.
#[derive(Debug)]
pub(crate) struct Patterns {
    known: RefCell<HashMap<(Span, String), Pattern>>,
    left: Cell<usize>,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { known: RefCell::default(), left: Cell::new(COMPILED_BYTES_MAX) }
    }
}

impl Patterns {
    pub(crate) fn whole(&self, text: &str) -> Result<Pattern, String> {
        self.compile(Span::Whole, text)
    }

    pub(crate) fn anywhere(&self, text: &str) -> Result<Pattern, String> {
        self.compile(Span::Anywhere, text)
    }

    fn compile(&self, span: Span, text: &str) -> Result<Pattern, String> {
        let key = (span, text.to_owned());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        // By itself first: the text must not close the group below.
        let unicode = read(text)?;
        let whole = match span {
            Span::Whole => format!(r"\A(?:{text})\z"),
            Span::Anywhere => text.to_owned(),
        };
        for size in SIZES {
            let Some(left) = self.left.get().checked_sub(size) else {
                let max = COMPILED_BYTES_MAX / (1024 * 1024);
                return Err(format!(
                    "{text:?} is one pattern too many: together they compile to more than {max} MiB; write fewer or \
                     simpler ones (a class such as \\w, repeated, is the dearest)"
                ));
            };
            match RegexBuilder::new(&whole).unicode(unicode).size_limit(size).build() {
                Ok(regex) => {
                    self.left.set(left);
                    let pattern = Pattern { text: text.to_owned(), regex: Arc::new(regex), size };
                    self.known.borrow_mut().insert(key, pattern.clone());
                    return Ok(pattern);
                }
                Err(Error::CompiledTooBig(_)) if SIZES.last() != Some(&size) => {}
                Err(Error::CompiledTooBig(_)) => {
                    self.left.set(left);
                    let most = size / 1024;
                    return Err(format!(
                        "{text:?} compiles to more than {most} KiB, and every request that is held against it would pay for \
                         that: repeat less ({{1,64}} is 64 copies), or match by path_prefix, path_elements, prefix or exact"
                    ));
                }
                Err(error) => {
                    // A compilation in vain has been paid for all the same.
                    self.left.set(left);
                    return Err(why(text, &error));
                }
            }
        }
        Err(format!("{text:?} compiles to no size that is known"))
    }
}

/// Whether a text is a whole pattern by itself, which a group around it holds; no further than its syntax. `true` where it names
/// Unicode's classes (`\pL`) and is read with them. Else it is read as RE2 reads it: `\w`, `\d` and `\s` are ASCII's, a hundredth of
/// the program that all letters of Unicode take.
///
/// # Errors
/// Why it is none.
pub(crate) fn read(text: &str) -> Result<bool, String> {
    let read = |unicode| match RegexBuilder::new(text).unicode(unicode).size_limit(0).build() {
        Ok(_) | Err(Error::CompiledTooBig(_)) => Ok(unicode),
        Err(error) => Err(error),
    };
    read(false).or_else(|_| read(true)).map_err(|error| why(text, &error))
}

fn why(text: &str, error: &Error) -> String {
    let why = error.to_string();
    let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
    format!("{text:?} is not a regular expression: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_compiled_once_and_what_it_is_held_against_is_told_apart() {
        let patterns = Patterns::default();
        let (one, again) = (patterns.whole("/a|/b").unwrap(), patterns.whole("/a|/b").unwrap());
        assert!(one.shares_program(&again));
        let anywhere = patterns.anywhere("/a|/b").unwrap();
        assert!(!one.shares_program(&anywhere));
        assert!(!one.regex().is_match(b"/x/a") && anywhere.regex().is_match(b"/x/a"));
        for (text, why) in [("a)(b", "unopened group"), ("(", "unclosed group")] {
            assert!(patterns.whole(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn patterns_are_read_as_re2_reads_them_and_one_alone_is_bounded_by_what_it_costs() {
        let holds =
            |text: &str, value: &str| Pattern::whole(text).unwrap().regex().is_match(value.as_bytes());
        assert!(holds(r"\w+", "ada_7") && !holds(r"\w+", "é") && holds(r"\pL+", "é"));
        assert!(holds("é.*", "études") && holds("[^/]+", "é"));
        for cheap in
            [r"/u42/[\w.-]{1,64}", r"/files/.*[\w.-]{1,64}\.(png|jpe?g)", r".*(?i)[\w./ -]{20,60}bot.*"]
        {
            assert_eq!(Pattern::whole(cheap).unwrap().cost(), None, "{cheap}");
        }
        let dear = Pattern::whole(r"([\w.-]{80}[a-f/]|x){8}").unwrap();
        assert!(dear.cost().is_some_and(|cost| cost.contains("more than 32 KiB")));
        let why = Pattern::whole(r"\pL{100}").unwrap_err();
        assert!(why.contains("more than 128 KiB") && why.contains("repeat less"), "{why}");
    }

    #[test]
    fn patterns_together_compile_to_so_much_and_no_more() {
        let patterns = Patterns::default();
        let ordinary = |n: usize| patterns.whole(&format!("/u{n}/[a-z]+"));
        assert!((0..1_000).all(|n| ordinary(n).is_ok()));
        let dear = |n: usize| patterns.whole(&format!(r"/u{n}/([\w.-]{{80}}[a-f/]|x){{8}}"));
        let taken = (0..10_000).take_while(|n| dear(*n).is_ok()).count();
        assert!((20..10_000).contains(&taken), "{taken}");
        let refused = dear(taken).unwrap_err();
        assert!(refused.contains("one pattern too many"), "{refused}");
        let spent = patterns.left.get();
        assert!(patterns.whole(r"[\w]{1000}{1000}").is_err() && patterns.left.get() <= spent);
    }
}
