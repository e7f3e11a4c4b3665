//! Compares the fields of two answers: by the meaning of their values, and cookies each by itself. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::super::grammar::{self, Cookie};
use super::{Found, Kind, added, short};
use crate::http1::edit::{field_name, lines};
use crate::mirror::redact::REDACTED;

/// Lower-case name → values in their order.
pub(super) type Fields = BTreeMap<String, Vec<String>>;

pub(super) fn fields(of: &[u8]) -> Fields {
    let mut all = Fields::new();
    for line in lines(of) {
        let name = field_name(line);
        let value = line.get(name.len() + 1..).unwrap_or_default().trim_ascii();
        let value = text(value);
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        all.entry(name).or_default().push(value);
    }
    all
}

/// The mark before the two digits of a byte that is no text. A value with it is refused before (RFC 9110 §5.5).
const NO_TEXT: char = '\0';

/// A value as text: bytes that are none stay told apart (obs-text, RFC 9110 §5.5).
fn text(value: &[u8]) -> String {
    let mut text = String::new();
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("{NO_TEXT}{byte:02x}")));
    }
    text
}

/// A [`text`] as it is told: whole.
fn readable(text: &str) -> String {
    text.replace(NO_TEXT, "\\x")
}

/// The part of a [`text`] that is told of it.
fn told(text: &str) -> String {
    short(&readable(text))
}

/// In lower case, without parameters; empty where the answer does not say.
pub(super) fn media_type(fields: &Fields) -> String {
    let kind = fields.get("content-type").and_then(|values| values.first()).map_or("", String::as_str);
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl Found<'_> {
    pub(super) fn fields(&mut self, primary: &Fields, mirror: &Fields) {
        // Each line by itself: a secret is found by its place in a line.
        let one = |name: &str, value: &String| {
            let line = self.rules.shown_fields(format!("{name}: {value}\r\n").as_bytes());
            let line = String::from_utf8_lossy(&line);
            line.split_once(": ").map_or("", |(_, value)| value).trim_end().to_owned()
        };
        let shown = |name: &str, values: Option<&Vec<String>>| {
            // Nor how many there are.
            if self.rules.secrets.as_ref().is_some_and(|secrets| secrets.hides_field(name.as_bytes())) {
                return values.map(|_| REDACTED.to_owned());
            }
            let values: Vec<String> = values?.iter().map(|value| one(name, value)).collect();
            Some(told(&values.join(", ")))
        };
        let names = primary.keys().chain(mirror.keys().filter(|name| !primary.contains_key(*name)));
        let (mut differing, mut cookies) = (Vec::new(), None);
        for name in names.filter(|name| self.rules.compares_field(name) && !added::names(name)) {
            let (a, b) = (primary.get(name), mirror.get(name));
            let hides = || self.rules.secrets.as_ref().is_some_and(|of| of.hides_field(b"set-cookie"));
            if let ("set-cookie", Some(a), Some(b)) = (name.as_str(), a, b)
                && !hides()
            {
                cookies = Some((a, b));
                continue;
            }
            let plain = |values: Option<&Vec<String>>| {
                let values = values?;
                let said = grammar::canonical(name, values).unwrap_or_else(|| values.join(", "));
                Some(self.plain(&said).into_owned())
            };
            let (ours, theirs) = (plain(a), plain(b));
            if ours != theirs {
                differing.push((name.clone(), shown(name, a), shown(name, b), ours.zip(theirs)));
            }
        }
        for (name, a, b, both) in differing {
            if let Some((ours, theirs)) = both {
                self.looks(&ours, &theirs);
            }
            self.add(name, Kind::Header, a, b);
        }
        if let Some((a, b)) = cookies {
            self.cookies(a, b, |line| one("set-cookie", line));
        }
    }

    /// Each cookie by itself, and each of its attributes: a lost `Secure` is found beside a value that is drawn anew. `shown`
    /// is a whole line without its secrets. A secret is found by its place in the whole line alone: so a cookie is shown by the
    /// rest of its line.
    fn cookies(&mut self, primary: &[String], mirror: &[String], shown: impl Fn(&String) -> String) {
        let lines = |all: &[String]| -> Vec<(String, String)> {
            all.iter().map(|line| (line.clone(), shown(line))).collect()
        };
        let (ours, theirs) = (lines(primary), lines(mirror));
        for (a, b) in paired(Parted::all(&ours), Parted::all(&theirs)) {
            self.cookie(a.as_ref(), b.as_ref());
        }
    }

    fn cookie(&mut self, a: Option<&Parted<'_>>, b: Option<&Parted<'_>>) {
        let Some(name) = a.or(b).map(|of| of.shown_name) else { return };
        let name = readable(name);
        let place = if name.is_empty() { "set-cookie".to_owned() } else { format!("set-cookie.{name}") };
        // As the configuration has the names of fields; cookies' own have case.
        if !self.rules.compares_field(&place.to_ascii_lowercase()) {
            return;
        }
        let (Some(a), Some(b)) = (a, b) else {
            let line = |of: Option<&Parted<'_>>| of.map(|of| told(of.shown));
            return self.add(place, Kind::Header, line(a), line(b));
        };
        let attributes: BTreeSet<&String> = a.attributes.keys().chain(b.attributes.keys()).collect();
        for attribute in attributes {
            let (a, b) = (a.attributes.get(attribute).copied(), b.attributes.get(attribute).copied());
            let said = |of: Option<&str>| of.map(|of| grammar::attribute(attribute, of));
            let place = format!("{place}.{}", readable(attribute));
            if said(a) == said(b) || !self.rules.compares_field(&place.to_ascii_lowercase()) {
                continue;
            }
            if let (Some(a), Some(b)) = (a, b) {
                self.looks(a, b);
            }
            let shown = |of: Option<&str>| of.map(|of| told(if of.is_empty() { attribute } else { of }));
            self.add(place, Kind::Header, shown(a), shown(b));
        }
        if self.plain(&a.value) != self.plain(&b.value) {
            self.looks(&a.value, &b.value);
            self.add(place, Kind::Header, Some(told(a.shown)), Some(told(b.shown)));
        }
    }
}

/// A cookie, parted into shown and hidden parts.
struct Parted<'a> {
    cookie: Cookie<'a>,
    shown_name: &'a str,
    /// The compared value: the cookie's, and those attributes that may not be shown.
    value: String,
    /// The value as it may be shown.
    shown: &'a str,
    /// Attributes that may be shown.
    attributes: BTreeMap<String, &'a str>,
}

impl<'a> Parted<'a> {
    fn all(lines: &'a [(String, String)]) -> Vec<Self> {
        lines.iter().map(|(line, shown)| Self::new(line, shown)).collect()
    }

    fn new(line: &'a str, shown: &'a str) -> Self {
        let (cookie, shown) = (grammar::cookie(line), grammar::cookie(shown));
        let (mut value, mut attributes) = (cookie.value.to_owned(), BTreeMap::new());
        for (name, said) in &cookie.attributes {
            if shown.attributes.get(name) == Some(said) {
                attributes.insert(name.clone(), *said);
            } else {
                value.push_str(&format!("; {name}={said}"));
            }
        }
        let are_all_told = attributes.len() == cookie.attributes.len();
        let told = if are_all_told { shown.value } else { REDACTED };
        Self { cookie, shown_name: shown.name, value, shown: told, attributes }
    }
}

type Pair<T> = (Option<T>, Option<T>);

/// Pairs the cookies of both sides by their identity (RFC 6265 §5.3), in the order of their names; then the remaining ones of
/// each name in their order: a cookie that moved to another path is still the same to a reader. A cookie of one side only
/// stands alone.
fn paired<'a>(ours: Vec<Parted<'a>>, theirs: Vec<Parted<'a>>) -> Vec<Pair<Parted<'a>>> {
    let mut theirs: Vec<Option<Parted<'a>>> = theirs.into_iter().map(Some).collect();
    let mut take = |is: &dyn Fn(&Cookie<'a>) -> bool| {
        theirs.iter_mut().find(|of| of.as_ref().is_some_and(|of| is(&of.cookie)))?.take()
    };
    let mut all: Vec<Pair<Parted<'a>>> = Vec::new();
    for a in ours {
        let b = take(&|b| b.identity() == a.cookie.identity());
        all.push((Some(a), b));
    }
    for (a, b) in all.iter_mut().filter(|(_, b)| b.is_none()) {
        *b = a.as_ref().and_then(|a| take(&|b| b.name == a.cookie.name));
    }
    all.extend(theirs.into_iter().flatten().map(|b| (None, Some(b))));
    all.sort_by(|a, b| {
        let name = |(a, b): &Pair<Parted<'a>>| a.as_ref().or(b.as_ref()).map(|of| of.cookie.name);
        name(a).cmp(&name(b))
    });
    all
}
