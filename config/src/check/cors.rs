//! CORS: origins as people write them, and the other fields for browsers.

use std::rc::Rc;

use super::Check;
use crate::file;
use crate::reader::{At, Key, List};
use crate::{Cors, OriginMatch, Unmatched, syntax};

/// All origins, methods or fields.
const ALL: &str = "*";

/// Origins that no operator has named: a pattern that lets one of these in lets in every page. A sandboxed frame of any page
/// has the origin `null`.
const STRANGERS: [&str; 3] = ["https://stranger.invalid", "http://stranger.invalid", "null"];

impl Check<'_> {
    pub(super) fn cors(&mut self, written: &Key<file::Cors>) -> Option<Cors> {
        let table = written.given()?;
        let written = &table.value;
        let mut origins = Vec::new();
        let of = |key: &Key<List<String>>| -> Vec<At<String>> {
            let list = key.given().map(|list| list.value.as_slice()).unwrap_or_default();
            list.iter().filter_map(Key::given).cloned().collect()
        };
        for origin in of(&written.origins) {
            origins.extend(self.origin(&origin).map(|one| (one, origin.at)));
        }
        for prefix in of(&written.origin_prefixes) {
            origins.push((OriginMatch::Prefix(prefix.value), prefix.at));
        }
        for regex in of(&written.origin_regexes) {
            origins.extend(self.pattern(&regex).map(|pattern| (OriginMatch::Regex(pattern), regex.at)));
        }
        let credentials = written.credentials.given().is_some_and(|credentials| credentials.value);
        if let Some((_, at)) = origins.iter().find(|(origin, _)| credentials && admits_strangers(origin)) {
            let message = "lets every page read responses with its visitor's credentials: name the origins, or leave \
                           credentials out";
            self.report.warn(at, message);
        }
        let origins: Vec<OriginMatch> = origins.into_iter().map(|(origin, _)| origin).collect();
        if origins.is_empty() {
            self.report.warn(&table.at, "allows no origin: browsers refuse this route to every other page");
        }
        Some(Cors {
            origins,
            methods: self.each(&written.methods, |text| match text {
                ALL => Ok(text.to_owned()),
                text => syntax::method(text).map(|()| text.to_owned()),
            }),
            headers: self.each(&written.headers, field_or_all),
            expose: self.each(&written.expose, field_or_all),
            max_age: self.given_period(&written.max_age),
            credentials,
            unmatched: written.unmatched.given().map_or(Unmatched::Forward, |word| word.value),
        })
    }

    /// `*`, an origin, or one whose host is `*` or begins with it: any labels stand for that.
    fn origin(&mut self, written: &At<String>) -> Option<OriginMatch> {
        let text = written.value.as_str();
        if text == ALL {
            return Some(OriginMatch::Any);
        }
        let Some((scheme, host)) = text.split_once("://") else {
            if text != "null" {
                let message = format!("{text:?} is no origin that a browser sends: write https://a.example");
                self.report.warn(&written.at, message);
            }
            return Some(OriginMatch::Exact(text.to_owned()));
        };
        // Browsers write the origin in lower case, and leave out the port that the scheme implies.
        let (scheme, mut host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let implied = if scheme == "https" { ":443" } else { ":80" };
        if let Some(bare) = host.strip_suffix(implied) {
            host = bare.to_owned();
        }
        if let Some(rest) = host.strip_prefix('*') {
            if rest.contains('*') {
                self.report.error(&written.at, "a * stands at the left of a host, once");
                return None;
            }
            let patterns = Rc::clone(&self.patterns);
            // The star does not stand for a port.
            let pattern = format!("{}://[^/:]*{}", escaped(&scheme), escaped(rest));
            return self.syntax(written, |_| patterns.whole(&pattern)).map(OriginMatch::Regex);
        }
        if host.is_empty() || host.contains(['/', '*', ' ']) {
            let message = format!("{text:?} is no origin: it has a scheme, a host and maybe a port");
            self.report.error(&written.at, message);
            return None;
        }
        Some(OriginMatch::Exact(format!("{scheme}://{host}")))
    }
}

fn admits_strangers(origin: &OriginMatch) -> bool {
    STRANGERS.iter().any(|stranger| match origin {
        OriginMatch::Any => true,
        OriginMatch::Exact(text) => text == stranger,
        OriginMatch::Prefix(text) => stranger.starts_with(text.as_str()),
        OriginMatch::Regex(pattern) => pattern.regex().is_match(stranger.as_bytes()),
    })
}

fn field_or_all(text: &str) -> Result<String, String> {
    if text == ALL { Ok(text.to_owned()) } else { syntax::field_name(text).map(|_| text.to_owned()) }
}

/// As a pattern that matches nothing but `text`.
fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
