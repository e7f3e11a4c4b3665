//! Rules of redirects and rewrites: the new destination of a request, and the replaced parts of its target.

use std::rc::Rc;

use super::Check;
use crate::reader::{At, Key};
use crate::{PathRewrite, Redirect, Rewrite, file, syntax};

impl Check<'_> {
    pub(super) fn redirect(&mut self, written: &file::Redirect) -> Redirect {
        let status = match written.status.given() {
            None => 302,
            Some(given) => match given.value {
                301 => 301,
                302 => 302,
                303 => 303,
                307 => 307,
                308 => 308,
                other => {
                    let message = format!("{other} does not redirect; must be 301, 302, 303, 307 or 308");
                    self.report.error(&given.at, message);
                    302
                }
            },
        };
        let scheme = written.scheme.given().and_then(|scheme| {
            self.syntax(scheme, |word| match word {
                "http" | "https" => Ok(word.to_owned()),
                _ => Err(format!(r#"{word:?} is not a scheme of the web; must be "http" or "https""#)),
            })
        });
        let host = written.host.given().and_then(|host| self.syntax(host, syntax::host_value));
        // In u16: the bound says so.
        let port = written.port.given().map(|_| self.count(&written.port, 80, 1..=65_535) as u16);
        let path = self.path_rewrite(&written.path, &written.path_prefix);
        Redirect { status, scheme, host, port, path }
    }

    pub(super) fn rewrite(&mut self, table: &At<file::Rewrite>) -> Rewrite {
        let written = &table.value;
        let host = written.host.given().and_then(|host| self.syntax(host, syntax::host_value));
        let plain = self.path_rewrite(&written.path, &written.path_prefix);
        let by_pattern = match (written.path_regex.given(), written.path_with.given()) {
            (Some(pattern), Some(with)) => {
                if plain.is_some() {
                    let message = "a rewrite has one of path, path_prefix and path_regex";
                    self.report.error(&pattern.at, message);
                }
                let patterns = Rc::clone(&self.patterns);
                let written_pattern = pattern;
                let pattern = self.syntax(pattern, |text| patterns.anywhere(text));
                if let Some(pattern) = &pattern {
                    self.cost(written_pattern, pattern);
                }
                if let Some(named) = with.value.split_once('$').map(|(_, rest)| rest)
                    && named.starts_with(|first: char| first.is_ascii_digit() || first == '{')
                {
                    let message = "a dollar stands for itself here: a group is \\1, as in RE2";
                    self.report.warn(&with.at, message);
                }
                let with = self.syntax(with, syntax::path_text);
                pattern.zip(with).map(|(pattern, with)| PathRewrite::Regex { pattern, with })
            }
            (Some(pattern), None) => {
                self.report.error(&pattern.at, "needs path_with: what stands for its matches");
                None
            }
            (None, Some(with)) => {
                self.report.error(&with.at, "needs path_regex: what it stands for");
                None
            }
            (None, None) => None,
        };
        Rewrite { path: plain.or(by_pattern), host }
    }

    fn path_rewrite(&mut self, whole: &Key<String>, prefix: &Key<String>) -> Option<PathRewrite> {
        if let (Some(_), Some(prefix)) = (whole.given(), prefix.given()) {
            self.report.error(&prefix.at, "path or path_prefix can be replaced, not both");
        }
        if let Some(whole) = whole.given() {
            let _reported = self.syntax(whole, syntax::path);
            return Some(PathRewrite::Whole(whole.value.clone()));
        }
        let prefix = prefix.given()?;
        if !prefix.value.is_empty() && !prefix.value.starts_with('/') {
            self.report.error(
                &prefix.at,
                format!(r#"{:?} does not start with "/", as every path does"#, prefix.value),
            );
        }
        Some(PathRewrite::Matched(self.syntax(prefix, syntax::path_text)?))
    }
}
