//! Rules of routes: the action on a request.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::matches::Earlier;
use super::{Check, own_place};
use crate::file;
use crate::problem::Place;
use crate::reader::{At, Key, List, Named};
use crate::{
    Abort, Action, Delay, Fault, Format, Forward, HeaderEdits, Percent, Primary, Reply, Retries, RetryOn,
    Rewrite, Route, Upgrade,
};
use crate::{formats, syntax};

/// Bytes of a reply's body: every worker keeps a copy.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

impl Check<'_> {
    pub(super) fn routes(&mut self, written: &Key<List<file::Route>>) -> Vec<Route> {
        let list = match written {
            Key::Given(list) => list.value.as_slice(),
            Key::Absent => &[],
            Key::Refused => return Vec::new(),
        };
        if list.is_empty() {
            let line = written.given().and_then(|list| list.at.line);
            let at = Place { key: "route".to_owned(), line, ..Place::default() };
            self.report
                .error(&at, "there is no route, so nothing can be served; write [[route]] with a primary");
        }
        let mut routes: Vec<Route> = Vec::new();
        let mut earlier = Earlier::default();
        let mut names = HashMap::new();
        for (index, entry) in list.iter().enumerate() {
            let Some(table) = entry.given() else {
                continue;
            };
            let route = self.route(index, table);
            if let Some(first) = names.insert(route.name.clone(), index) {
                let at = own_place(&table.value.name, &table.at, "name");
                let message =
                    format!("{:?} is already the name of route[{first}]; names must differ", route.name);
                self.report.error(&at, message);
            }
            if let Some(first) = earlier.covering(&route) {
                let by = routes.get(first).map(|route| route.name.as_str()).unwrap_or_default();
                let message = format!("never reached: {by:?} comes first and matches all that this one does");
                self.report.warn(&table.at, message);
            }
            earlier.add(routes.len(), &route);
            routes.push(route);
        }
        routes
    }

    fn route(&mut self, index: usize, table: &At<file::Route>) -> Route {
        let written = &table.value;
        let name = match written.name.given() {
            Some(name) => {
                let _reported = self.syntax(name, syntax::label_name);
                name.value.clone()
            }
            None => format!("route-{}", index + 1),
        };
        let matches = self.matches(written);
        let fault = written.fault.given().map(|table| self.fault(table)).unwrap_or_default();
        let (request_headers, host) = self.request_edits(&written.request_headers);
        let response_headers = self.response_edits(&written.response_headers);
        let cors = self.cors(&written.cors);
        let mut action = self.action(table);
        let mirrors = match &mut action {
            Action::Forward(forward) => {
                if let (Some(_), Some(_), Some(table)) =
                    (&host, &forward.rewrite.host, written.request_headers.given())
                {
                    self.report.error(&table.at, "Host is set here and rewritten in rewrite: write it once");
                }
                forward.rewrite.host = host.or_else(|| forward.rewrite.host.take());
                self.mirrors(&written.mirrors, forward)
            }
            Action::Redirect(_) | Action::Reply(_) => {
                self.nothing_is_forwarded(written);
                Vec::new()
            }
        };
        Route { name, matches, fault, request_headers, response_headers, cors, action, mirrors }
    }

    fn action(&mut self, table: &At<file::Route>) -> Action {
        let written = &table.value;
        let given = [
            written.primary.given().map(|key| ("primary", &key.at)),
            written.primaries.given().map(|key| ("primaries", &key.at)),
            written.redirect.given().map(|key| ("redirect", &key.at)),
            written.reply.given().map(|key| ("reply", &key.at)),
        ];
        let mut given = given.into_iter().flatten();
        if let Some((first, _)) = given.next() {
            for (_, at) in given {
                let message =
                    format!("a route has one of primary, primaries, redirect and reply; it has {first}");
                self.report.error(at, message);
            }
        }
        if let Some(redirect) = written.redirect.given() {
            return Action::Redirect(self.redirect(&redirect.value));
        }
        if let Some(reply) = written.reply.given() {
            return Action::Reply(self.reply(reply));
        }
        Action::Forward(Forward {
            primaries: self.primaries(table),
            rewrite: written.rewrite.given().map(|table| self.rewrite(table)).unwrap_or_default(),
            timeout: self.given_period(&written.timeout).or(self.request_timeout),
            retries: self.retries(written.retries.given()),
            upgrades: upgrades(&written.upgrade),
        })
    }

    fn nothing_is_forwarded(&mut self, written: &file::Route) {
        let given = [
            written.rewrite.given().map(|key| ("rewrite", &key.at)),
            written.timeout.given().map(|key| ("timeout", &key.at)),
            written.retries.given().map(|key| ("retries", &key.at)),
            written.upgrade.given().map(|key| ("upgrade", &key.at)),
            written.request_headers.given().map(|key| ("request_headers", &key.at)),
            written.mirrors.given().map(|key| ("mirrors", &key.at)),
        ];
        for (name, at) in given.into_iter().flatten() {
            let message = format!("nothing is forwarded here, so {name} would do nothing; leave it out");
            self.report.error(at, message);
        }
    }

    fn primaries(&mut self, table: &At<file::Route>) -> Vec<Primary> {
        let written = &table.value;
        let Some(list) = written.primaries.given() else {
            if !written.primaries.is_absent() {
                return Vec::new();
            }
            let upstream = self
                .required(&written.primary, &table.at, "primary", "the name of an upstream")
                .and_then(|name| self.upstream(name));
            let none = HeaderEdits::default;
            return vec![Primary {
                upstream,
                weight: 1,
                request_headers: none(),
                response_headers: none(),
                rewrite: Rewrite::default(),
                redirect: None,
            }];
        };
        let primaries: Vec<Primary> =
            list.value.iter().filter_map(Key::given).map(|table| self.primary(table)).collect();
        match primaries.as_slice() {
            [] => self.report.error(&list.at, "no primary is named, so nobody could answer"),
            [_] => {}
            several if several.iter().all(|primary| primary.weight == 0) => {
                self.report.error(&list.at, "all weights are 0, so nobody would get a request");
            }
            _ => {}
        }
        primaries
    }

    fn primary(&mut self, table: &At<file::Primary>) -> Primary {
        let written = &table.value;
        let redirect = written.redirect.given().map(|redirect| self.redirect(&redirect.value));
        let name = match (&redirect, written.upstream.given()) {
            (Some(_), None) => None,
            (Some(_), Some(name)) if name.value != "!" => {
                self.report.error(&name.at, "upstream or redirect can be given, not both");
                None
            }
            (Some(_) | None, _) => {
                self.required(&written.upstream, &table.at, "upstream", "the name of an upstream")
            }
        };
        let upstream = name.filter(|name| name.value != "!").and_then(|name| self.upstream(name));
        let (request_headers, host) = self.request_edits(&written.request_headers);
        let mut rewrite = written.rewrite.given().map(|table| self.rewrite(table)).unwrap_or_default();
        if host.is_some() && rewrite.host.is_some() {
            let at = own_place(&written.request_headers, &table.at, "request_headers");
            self.report.error(&at, "Host is set here and rewritten in rewrite: write it once");
        }
        rewrite.host = host.or(rewrite.host);
        Primary {
            rewrite,
            redirect,
            upstream,
            // In u32: the bound says so.
            weight: self.count(&written.weight, 1, 0..=1_000_000) as u32,
            request_headers,
            response_headers: self.response_edits(&written.response_headers),
        }
    }

    fn retries(&mut self, written: Option<&At<file::Retries>>) -> Retries {
        let nothing = file::Retries::default();
        let table = written.map_or(&nothing, |table| &table.value);
        // In u32: the bound says so.
        let attempts = self.count(&table.attempts, u64::from(written.is_some()), 0..=10) as u32;
        let words = table.on.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let mut on: Vec<RetryOn> = words.iter().filter_map(Key::given).map(|word| word.value).collect();
        let numbers = table.statuses.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let statuses: Vec<u16> = numbers.iter().filter_map(|key| self.status(key)).collect();
        if attempts > 0 && table.on.is_absent() && table.statuses.is_absent() {
            on = vec![RetryOn::ConnectFailure, RetryOn::Reset];
        }
        Retries {
            attempts,
            on,
            statuses,
            per_try_timeout: self.given_period(&table.per_try_timeout),
            backoff: self.period(&table.backoff, Duration::from_millis(25)),
        }
    }

    fn fault(&mut self, table: &At<file::Fault>) -> Fault {
        let written = &table.value;
        for (percent, what, is_absent) in [
            (&written.delay_percent, "delay", written.delay.is_absent()),
            (&written.abort_percent, "abort", written.abort.is_absent()),
        ] {
            if let (Some(percent), true) = (percent.given(), is_absent) {
                self.report.error(&percent.at, format!("is a share of nothing: {what} is not given"));
            }
        }
        let delay = self
            .given_period(&written.delay)
            .map(|time| Delay { percent: self.share(&written.delay_percent, Percent::ALL), time });
        let abort = self
            .status(&written.abort)
            .map(|status| Abort { percent: self.share(&written.abort_percent, Percent::ALL), status });
        Fault { delay, abort }
    }

    fn reply(&mut self, table: &At<file::Reply>) -> Reply {
        let written = &table.value;
        if written.status.is_absent() {
            self.report.error(&table.at.child("status"), "is missing; write status = 404");
        }
        let status = self.status(&written.status).unwrap_or(404);
        if let Some(body) = written.body.given()
            && body.value.len() > REPLY_BYTES_MAX
        {
            self.report.error(&body.at, "is longer than 1MiB, which is more than a gateway should keep");
        }
        let content_type = written.content_type.given().and_then(|t| self.syntax(t, syntax::content_type));
        Reply {
            status,
            body: written.body.given().map(|body| body.value.clone()).unwrap_or_default(),
            content_type: content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned()),
        }
    }

    /// Edits of a request, and the Host they set: that is rewriting.
    pub(super) fn request_edits(
        &mut self,
        written: &Key<file::HeaderEdits>,
    ) -> (HeaderEdits, Option<String>) {
        let mut edits = self.edits(written, syntax::removable_field);
        if let Some(table) = written.given() {
            edits.set_format = self.formats(&table.value.set_format);
            edits.add_format = self.formats(&table.value.add_format);
        }
        let host = edits.set.iter().position(|(name, _)| name == "host").map(|at| edits.set.remove(at).1);
        let host = host.and_then(|host| match (syntax::host_value(&host), written.given()) {
            (Err(why), Some(table)) => {
                self.report.error(&table.at.child("set").child("host"), why);
                None
            }
            (_, _) => Some(host),
        });
        let mut names = edits.add.iter().map(|(name, _)| name).chain(&edits.remove);
        if let (true, Some(table)) = (names.any(|name| name == "host"), written.given()) {
            self.report.error(&table.at, "a request has exactly one Host: it can only be set");
        }
        (edits, host)
    }

    fn response_edits(&mut self, written: &Key<file::HeaderEdits>) -> HeaderEdits {
        self.no_formats(written);
        self.edits(written, syntax::editable_field)
    }

    fn edits(
        &mut self,
        written: &Key<file::HeaderEdits>,
        removable: fn(&str) -> Result<String, String>,
    ) -> HeaderEdits {
        let Some(table) = written.given() else { return HeaderEdits::default() };
        HeaderEdits {
            remove: self.each(&table.value.remove, removable),
            set: self.fields(&table.value.set),
            add: self.fields(&table.value.add),
            ..HeaderEdits::default()
        }
    }

    /// Values that are put together are those of requests to a primary.
    pub(super) fn no_formats(&mut self, written: &Key<file::HeaderEdits>) {
        let Some(table) = written.given() else { return };
        for key in [&table.value.set_format, &table.value.add_format] {
            for (_, value) in key.given().map(|named| named.value.as_slice()).unwrap_or_default() {
                if let Some(value) = value.given() {
                    let message = "has an operator, which is offered for requests to a primary only";
                    self.report.error(&value.at, message);
                }
            }
        }
    }

    fn formats(&mut self, written: &Key<Named<String>>) -> Vec<(String, Format)> {
        let mut fields = Vec::new();
        for (name, value) in written.given().map(|named| named.value.as_slice()).unwrap_or_default() {
            if name.value.eq_ignore_ascii_case("host") {
                self.report.error(&name.at, "Host is set without operators: write it in set");
            }
            let name = self.syntax(name, syntax::editable_field);
            let value = value.given().and_then(|value| self.syntax(value, formats::format));
            fields.extend(name.zip(value));
        }
        fields
    }

    fn fields(&mut self, written: &Key<Named<String>>) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        for (name, value) in written.given().map(|named| named.value.as_slice()).unwrap_or_default() {
            let name = self.syntax(name, syntax::editable_field);
            let value = value.given().and_then(|value| self.syntax(value, syntax::field_value));
            fields.extend(name.zip(value));
        }
        fields
    }

    /// A status that an answer can have; `None` where none is given.
    fn status(&mut self, key: &Key<u64>) -> Option<u16> {
        const ALLOWED: RangeInclusive<u64> = 200..=599;
        key.given()?;
        // In u16: the bound says so.
        Some(self.count(key, 500, ALLOWED) as u16)
    }
}

/// Each word once.
fn upgrades(written: &Key<List<Upgrade>>) -> Vec<Upgrade> {
    let words = written.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let given = |upgrade: &Upgrade| words.iter().filter_map(Key::given).any(|word| word.value == *upgrade);
    Upgrade::ALL.into_iter().filter(given).collect()
}
