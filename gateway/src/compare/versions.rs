//! The version that either side reports of itself, in a field of its responses. A version is another once so many responses in
//! a row say so: while a rolling update goes on, the old one speaks in between.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::rules::Rules;
use crate::http1::edit::{field_name, lines};
use crate::observe::record::Answer;

/// Responses in a row that say it.
const IN_A_ROW: u32 = 20;

/// Bytes of a version that are kept.
const VERSION_BYTES_MAX: usize = 128;

/// The primary's and the mirror's, where they are known.
pub type Both = [Option<String>; 2];

/// By route and mirror.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<BTreeMap<(String, String), [Said; 2]>>);

/// The version of one side.
#[derive(Debug, Default)]
struct Said {
    is: Option<String>,
    /// Another version, reported so many times in a row.
    next: Option<(String, u32)>,
}

impl Said {
    fn hear(&mut self, version: String) {
        if self.is.as_ref() == Some(&version) {
            self.next = None;
            return;
        }
        let times = match &self.next {
            Some((next, times)) if *next == version => times + 1,
            Some(_) | None => 1,
        };
        // The first that is ever heard is it.
        if self.is.is_none() || times >= IN_A_ROW {
            self.is = Some(version);
            self.next = None;
        } else {
            self.next = Some((version, times));
        }
    }
}

impl Versions {
    /// Both sides have answered.
    pub(super) fn hear(&self, place: (&str, &str), rules: &Rules, primary: &Answer, mirror: &Answer) {
        let Some(name) = &rules.version_header else { return };
        let said = [primary, mirror].map(|answer| said(answer, name));
        if said.iter().all(Option::is_none) {
            return;
        }
        let mut all = self.lock();
        let sides = all.entry((place.0.to_owned(), place.1.to_owned())).or_default();
        for (side, said) in sides.iter_mut().zip(said) {
            if let Some(said) = said {
                side.hear(said);
            }
        }
    }

    pub(super) fn of(&self, route: &str, mirror: &str) -> Both {
        let all = self.lock();
        let sides = all.get(&(route.to_owned(), mirror.to_owned()));
        sides.map(|sides| [&sides[0], &sides[1]].map(|said| said.is.clone())).unwrap_or_default()
    }

    /// Forgets all others.
    pub(super) fn keep_only(&self, is_known: impl Fn(&str, &str) -> bool) {
        self.lock().retain(|(route, mirror), _| is_known(route, mirror));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), [Said; 2]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version in a response, where it can be shown.
fn said(answer: &Answer, name: &str) -> Option<String> {
    let line = lines(&answer.fields).find(|line| field_name(line).eq_ignore_ascii_case(name.as_bytes()))?;
    let value = line.get(name.len() + 1..)?.trim_ascii();
    let value = value.get(..value.len().min(VERSION_BYTES_MAX))?;
    let is_plain = !value.is_empty() && value.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    is_plain.then(|| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_another_once_nothing_else_is_heard_for_a_while() {
        let mut side = Said::default();
        let mut hear = |version: &str, times: u32| {
            (0..times).for_each(|_| side.hear(version.to_owned()));
            side.is.clone()
        };
        assert_eq!(hear("1", 1).as_deref(), Some("1"));
        // A rolling update: both are heard.
        for _ in 0..10 {
            assert_eq!(hear("2", IN_A_ROW - 1).as_deref(), Some("1"));
            hear("1", 1);
        }
        assert_eq!(hear("2", IN_A_ROW).as_deref(), Some("2"));
        assert_eq!(hear("1", 1).as_deref(), Some("2"));
    }

    #[test]
    fn a_version_is_read_from_its_field_and_only_what_can_be_shown() {
        let of = |fields: &str| {
            let (fields, content) = (fields.as_bytes().into(), [].into());
            said(
                &Answer { status: 200, fields, content, is_cut: false, trailers: Box::default() },
                "x-app-version",
            )
        };
        assert_eq!(of("A: b\r\nX-App-Version:  2.4.1 \r\n").as_deref(), Some("2.4.1"));
        assert_eq!(of("X-App-Version: \r\n"), None);
        assert_eq!(of("X-App-Version: a\x01b\r\n"), None);
        assert_eq!(of("X-App-Versions: 1\r\n"), None);
        assert_eq!(of(&format!("X-App-Version: {}\r\n", "x".repeat(999))).map(|v| v.len()), Some(128));
    }
}
