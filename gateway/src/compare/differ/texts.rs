//! Contents that are no trees, side by side: line by line, or as bytes. Pure.

use super::super::added;
use super::Found;
use super::shown::{self, short};
use crate::mirror::redact::REDACTED;

impl Found<'_> {
    /// Content that is not JSON: told by its first line that differs, or by length and hash where it is no text.
    pub(super) fn texts(&mut self, primary: &[u8], mirror: &[u8]) {
        let hides = self.rules.hides_content();
        let shown = |text: String| if hides { REDACTED.to_owned() } else { text };
        // Content of a call is told as bytes: trailers in it may be secret fields.
        let is_call = self.method.is_some();
        let (Ok(a), Ok(b), false) = (str::from_utf8(primary), str::from_utf8(mirror), is_call) else {
            if primary != mirror {
                self.looks_like_bytes(primary, mirror);
                let told = |bytes| Some(shown(shown::bytes(bytes)));
                self.body(told(primary), told(mirror));
            }
            return;
        };
        let (a, b) = (self.plain(a), self.plain(b));
        if a == b {
            return;
        }
        let is_services = |line: &&str| !added::is_line(line);
        let (mut ours, mut theirs) = (a.lines().filter(is_services), b.lines().filter(is_services));
        if a.lines().chain(b.lines()).any(added::is_line) && ours.clone().eq(theirs.clone()) {
            return;
        }
        loop {
            match (ours.next(), theirs.next()) {
                (Some(a), Some(b)) if a == b => {}
                (None, None) => return self.body(None, None),
                (first, second) => {
                    self.looks(&a, &b);
                    let (a, b) = (first, second);
                    let line = |of: Option<&str>| of.map(|line| shown(short(&self.rules.shown_text(line))));
                    return self.body(line(a), line(b));
                }
            }
        }
    }
}
