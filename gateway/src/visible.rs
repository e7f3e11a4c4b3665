//! Text of peers and strangers as it may be shown: without characters that move a terminal's cursor, end a line or turn the
//! direction of later text. Pure; the places where it is shown are not known here.

use std::borrow::Cow;

/// Escapes hidden characters as JSON does, so that a text within quotes stays the same text to a reader of JSON.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// The same of several lines, which stay lines.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_hidden(c))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 6);
    for c in text.chars() {
        if is_escaped(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Controls, line and paragraph ends, and marks of direction; all of them within four digits.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_shown_and_everything_else_left() {
        let rows = [
            ("plain, größer, 日本", "plain, größer, 日本"),
            ("\u{1b}[31mred\u{7}", "\\u001b[31mred\\u0007"),
            ("a\r\nb", "a\\u000d\\u000ab"),
            ("\u{9b}2J", "\\u009b2J"),
            ("\u{202e}txt.exe", "\\u202etxt.exe"),
        ];
        for (text, expect) in rows {
            assert_eq!(visible(text), expect);
        }
        assert_eq!(visible_lines("a\r\nb\u{1b}c\n"), "a\\u000d\nb\\u001bc\n");
    }
}
