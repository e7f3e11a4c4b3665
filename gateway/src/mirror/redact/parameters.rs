//! Parameters by their shape: `name=value` wherever a query, a fragment, a form or a link may stand. Pure.
//!
//! A name counts however it is written: percent-encoded (more than once too), with blanks, NULs or brackets around it, inside
//! another parameter's value. A value ends where no reader lets it go on; where its end could be read in two ways, the longer
//! reading is taken away.

/// Stands in the place of a value where brackets may not stand (RFC 3986 §3.4).
pub(super) const REDACTED_PARAMETER: &[u8] = b"%5Bredacted%5D";

/// Bytes of a name that are looked at: its last ones, next to its value.
const NAME_BYTES_MAX: usize = 512;

/// Times that a name is decoded: applications behind several hops decode more than once.
const DECODINGS_MAX: usize = 3;

/// Where parameters are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Content of a form: it starts with a name.
    Form,
    /// A URI and nothing else.
    Uri,
    /// A field's value, which may hold URIs: `;` divides parameters only behind the beginning of a query, since fields have
    /// parameters of their own (`Accept: text/html;q=0.9`).
    Field,
    /// Text that is shown and never sent: more may be taken away than need be.
    Text,
}

impl Place {
    /// Whether a name may stand behind this byte.
    fn is_boundary(self, byte: u8, in_query: bool) -> bool {
        match byte {
            b'?' | b'&' | b'#' => true,
            b';' => in_query || self != Self::Field,
            b'"' | b'\'' | b'<' | b'>' | b'(' | b',' | b'\\' | b' ' | b'\t' | b'\r' | b'\n' => {
                self == Self::Text
            }
            _ => false,
        }
    }

    /// Whether no URI goes on behind this byte of a field.
    fn ends_uri(self, byte: u8) -> bool {
        self == Self::Field && matches!(byte, b'<' | b'>' | b'"' | b' ' | b'\t')
    }
}

/// A search through one text, which may stop between any two steps.
#[derive(Debug)]
pub struct Search {
    place: Place,
    at: usize,
    /// The part that is not written yet starts here.
    from: usize,
    /// Where the name before the next `=` would start.
    name_at: Option<usize>,
    in_query: bool,
    in_angles: bool,
}

impl Search {
    pub(super) fn new(place: Place) -> Self {
        let name_at = matches!(place, Place::Form | Place::Text).then_some(0);
        Self { place, at: 0, from: 0, name_at, in_query: false, in_angles: false }
    }

    /// Goes on through `text` for `bytes` or a value more, and appends the passed part to `out` without the values of `names`.
    /// Whether that was all.
    pub(super) fn turn(&mut self, text: &[u8], bytes: usize, names: &[String], out: &mut Vec<u8>) -> bool {
        let until = self.at.saturating_add(bytes);
        while let Some(byte) = text.get(self.at).filter(|_| self.at < until) {
            let rest = text.get(self.at..).unwrap_or_default();
            let equals = equals_len(rest, self.place);
            if equals > 0 {
                let name = self.name_at.and_then(|from| text.get(from..self.at));
                self.at += equals;
                if name.is_some_and(|name| is_secret(name, names)) {
                    out.extend_from_slice(text.get(self.from..self.at).unwrap_or_default());
                    out.extend_from_slice(REDACTED_PARAMETER);
                    self.at += self.value_len(text.get(self.at..).unwrap_or_default());
                    self.from = self.at;
                }
                // A value may hold parameters itself, encoded or not.
                self.name_at = self.name_at.map(|_| self.at);
                continue;
            }
            self.at += 1;
            if self.place.is_boundary(*byte, self.in_query) {
                self.in_query |= *byte != b';';
                self.name_at = Some(self.at);
            } else if self.place.ends_uri(*byte) {
                (self.in_query, self.in_angles) = (false, *byte == b'<');
                self.name_at = None;
            }
        }
        out.extend_from_slice(text.get(self.from..self.at).unwrap_or_default());
        self.from = self.at;
        self.is_over(text)
    }

    pub(super) fn is_over(&self, text: &[u8]) -> bool {
        self.at >= text.len()
    }

    fn value_len(&self, rest: &[u8]) -> usize {
        let ends = |(at, byte): (usize, &u8)| match (self.place, *byte) {
            (_, b'&') => true,
            (Place::Field, b'>') => self.in_angles,
            (Place::Text, b'"' | b'<' | b'>' | b' ' | b'\t' | b'\r' | b'\n') => true,
            // Written in JSON, an escape is a sign of its own.
            (Place::Text, b'\\') => {
                rest.get(at + 1).is_some_and(|next| matches!(next, b'u' | b'"' | b'n' | b'r'))
            }
            _ => false,
        };
        rest.iter().enumerate().position(|(at, byte)| ends((at, byte))).unwrap_or(rest.len())
    }
}

/// Appends `text` to `out` without the values of `names`.
pub(super) fn without(out: &mut Vec<u8>, text: &[u8], names: &[String], place: Place) {
    if names.is_empty() {
        return out.extend_from_slice(text);
    }
    Search::new(place).turn(text, usize::MAX, names, out);
}

/// A `=` that was encoded once, twice, and so on.
const ENCODED_EQUALS: [&[u8]; DECODINGS_MAX] = [b"%3d", b"%253d", b"%25253d"];

/// Length of the `=` that `rest` begins with, however often it is encoded; 0 where there is none.
fn equals_len(rest: &[u8], place: Place) -> usize {
    let starts = |with: &[u8]| rest.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    match rest.first() {
        Some(b'=') => 1,
        Some(b'%') => {
            ENCODED_EQUALS.iter().find(|written| starts(written)).map_or(0, |written| written.len())
        }
        Some(b'\\') if place == Place::Text && starts(br"\u003d") => br"\u003d".len(),
        Some(_) | None => 0,
    }
}

/// Whether an application may read one of `names` in `written`.
fn is_secret(written: &[u8], names: &[String]) -> bool {
    let mut name = written.get(written.len().saturating_sub(NAME_BYTES_MAX)..).unwrap_or_default().to_vec();
    for _ in 0..DECODINGS_MAX {
        if !name.iter().any(|byte| matches!(byte, b'%' | b'+')) {
            break;
        }
        if is_any(&name, names) {
            return true;
        }
        name = decoded(&name);
    }
    is_any(&name, names)
}

/// Whether `name`, or a part of it that stands for itself, is among `names`.
fn is_any(name: &[u8], names: &[String]) -> bool {
    let is_one = |name: &[u8]| names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
    // JSON's spelling of `&`, `?`, `#` and `;`, behind the backslash.
    let escaped = ["u0026", "u003f", "u0023", "u003b"];
    let escape = escaped.iter().find(|escape| {
        name.get(..escape.len()).is_some_and(|start| start.eq_ignore_ascii_case(escape.as_bytes()))
    });
    let name = name.get(escape.map_or(0, |escape| escape.len())..).unwrap_or_default();
    let behind =
        name.iter().rposition(|byte| matches!(byte, b'?' | b'&' | b'#' | b';')).map_or(0, |at| at + 1);
    [name, name.get(behind..).unwrap_or_default()].into_iter().any(|name| {
        let name = trimmed(name);
        // `token[]`, `user[token]`: arrays and members to many frameworks.
        is_one(name) || name.split(|byte| matches!(byte, b'[' | b']')).any(|part| is_one(trimmed(part)))
    })
}

/// Without blanks and control characters around it, which many readers pass over.
fn trimmed(name: &[u8]) -> &[u8] {
    let counts = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    let from = name.iter().position(counts).unwrap_or(name.len());
    let to = name.iter().rposition(counts).map_or(from, |at| at + 1);
    name.get(from..to).unwrap_or_default()
}

/// `name` with its escapes read once.
pub(super) fn decoded(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match byte {
            Some(_) => behind.get(2..).unwrap_or_default(),
            None => behind,
        };
        out.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `R` stands for the text in place of a value.
    fn check(place: Place, rows: &[(&str, &str)]) {
        let names = ["token".to_owned(), "api key".to_owned(), "q".to_owned()];
        for (text, expect) in rows {
            let mut out = Vec::new();
            without(&mut out, text.as_bytes(), &names, place);
            let expect = expect.replace('R', "%5Bredacted%5D");
            assert_eq!(String::from_utf8(out).unwrap(), expect, "{place:?} {text}");
            // The same, however it is cut into turns.
            let (mut search, mut out) = (Search::new(place), Vec::new());
            while !search.turn(text.as_bytes(), 1, &names, &mut out) {}
            assert_eq!(String::from_utf8(out).unwrap(), expect, "in turns: {place:?} {text}");
        }
    }

    #[test]
    fn a_parameter_is_found_in_query_fragment_and_path_however_its_name_is_written() {
        check(
            Place::Uri,
            &[
                ("/p?token=S", "/p?token=R"),
                ("/p?TOKEN=S&b=1", "/p?TOKEN=R&b=1"),
                ("/p?%74oken=S", "/p?%74oken=R"),
                ("/p?%2574oken=S", "/p?%2574oken=R"),
                ("/p?api+key=S&api%20key=S", "/p?api+key=R&api%20key=R"),
                ("/p?token=S=S?S", "/p?token=R"),
                ("/p?a=1;token=S", "/p?a=1;token=R"),
                ("/p?token=S;S&b", "/p?token=R&b"),
                ("/p?a?token=S", "/p?a?token=R"),
                ("/p?token%00=S&%09token=S&token%20=S", "/p?token%00=R&%09token=R&token%20=R"),
                ("/p?+token=S&%20token=S", "/p?+token=R&%20token=R"),
                ("/p?token[]=S&token%5B0%5D=S&user[token]=S", "/p?token[]=R&token%5B0%5D=R&user[token]=R"),
                ("/p;token=S", "/p;token=R"),
                ("https://a/cb#token=S&x=1", "https://a/cb#token=R&x=1"),
                ("/p?token=S#f", "/p?token=R"),
                ("/in?next=%2Fx%3Ftoken%3DS%26a&b=1", "/in?next=%2Fx%3Ftoken%3DR&b=1"),
                ("/in?next=%252Fx%253Ftoken%253DS", "/in?next=%252Fx%253Ftoken%253DR"),
                ("/in?next=/x?token=S", "/in?next=/x?token=R"),
                ("/p?token", "/p?token"),
                ("/p?token=", "/p?token=R"),
                ("/p?&&x=%&=1&%zz=2", "/p?&&x=%&=1&%zz=2"),
                ("/token=S", "/token=S"),
                ("/p?tokens=kept&to=ken&untoken=kept", "/p?tokens=kept&to=ken&untoken=kept"),
                ("*", "*"),
                ("", ""),
            ],
        );
    }

    #[test]
    fn a_form_starts_with_a_name() {
        check(
            Place::Form,
            &[
                ("token=S&a=1", "token=R&a=1"),
                ("a=1&token=S", "a=1&token=R"),
                ("a=token&b=S", "a=token&b=S"),
                ("\r\ntoken=S", "\r\ntoken=R"),
                ("====&&==", "====&&=="),
            ],
        );
    }

    #[test]
    fn fields_keep_their_own_parameters_and_lose_those_of_links() {
        check(
            Place::Field,
            &[
                ("text/html;q=0.9, */*;q=0.1", "text/html;q=0.9, */*;q=0.1"),
                (
                    "<https://a/?token=S>; rel=\"next\", </b?c=1>",
                    "<https://a/?token=R>; rel=\"next\", </b?c=1>",
                ),
                ("5; url=/x?a=1;token=S", "5; url=/x?a=1;token=R"),
                ("0;url=\"/x#token=S\"", "0;url=\"/x#token=R"),
                ("a=b; last=/x?token=S", "a=b; last=/x?token=R"),
                ("token=kept", "token=kept"),
            ],
        );
    }

    #[test]
    fn in_what_is_only_shown_a_parameter_ends_with_its_word() {
        check(
            Place::Text,
            &[
                ("see https://a/?token=S for more", "see https://a/?token=R for more"),
                (r#"{"next":"/x?a=1\u0026token=S\u0026b=2"}"#, r#"{"next":"/x?a=1\u0026token=R\u0026b=2"}"#),
                (r#"{"next":"/x?token\u003dS"}"#, r#"{"next":"/x?token\u003dR"}"#),
                ("<a href='/x?a&amp;token=S'>b</a>", "<a href='/x?a&amp;token=R>b</a>"),
                ("token=S", "token=R"),
                ("line\ntoken=S\nline", "line\ntoken=R\nline"),
            ],
        );
    }
}
