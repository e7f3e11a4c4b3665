//! Rules of mirrors: the requests that are copied, the edits of copies, and the lanes that copies travel on.

use std::rc::Rc;
use std::time::Duration;

use super::{Check, in_memory, own_place, word};
use crate::file;
use crate::problem::any_of;
use crate::reader::{At, Key, List};
use crate::syntax;
use crate::units::{KIB, MIB, TIB, show_size};
use crate::{
    After, Compare, DropPolicy, Forward, Governor, Lane, LaneId, Mirror, MirrorHost, NO_UPSTREAM, Percent,
    Redact, ResponseCondition, Role, Sample, UpstreamId,
};

/// A baseline measures the noise in its candidate's comparison, on requests like those that its candidate gets. Keys of
/// comparison that it lacks are those of its first candidate that compares; conditions on requests are those of its candidates,
/// and all of the route's requests where the candidates differ.
fn baselines_like_their_candidate(mirrors: &mut [Mirror], lanes: &[Lane]) {
    // A capture is none: nothing answers.
    let answers = |of: &&Mirror| lanes.get(of.lane).is_some_and(|lane| lane.capture.is_none());
    let is_candidate = |of: &&Mirror| of.role == Role::Candidate && answers(of);
    let candidates: Vec<Mirror> = mirrors.iter().filter(is_candidate).cloned().collect();
    for baseline in mirrors.iter_mut().filter(|mirror| mirror.role == Role::Baseline) {
        let own: Vec<&Mirror> = candidates.iter().filter(|of| baseline.is_baseline_of(of)).collect();
        let first = own.iter().find(|mirror| mirror.compare.is_some());
        if baseline.compare.is_none() {
            baseline.compare = first.and_then(|first| first.compare.clone());
        }
        if baseline.redact.is_empty() {
            baseline.redact = first.map(|first| first.redact.clone()).unwrap_or_default();
        }
        let Some(one) = own.first() else { continue };
        // Where they are chosen differently, it cannot be like all of them.
        if baseline.response.is_none() && own.iter().all(|of| of.response == one.response) {
            baseline.response.clone_from(&one.response);
        }
        let says_nothing = baseline.only.is_none() && baseline.only_primary.is_none();
        if says_nothing && own.iter().all(|of| of.is_asked_like(one)) {
            (baseline.only, baseline.only_primary) = (one.only.clone(), one.only_primary);
        }
    }
}

impl Check<'_> {
    pub(super) fn mirrors(&mut self, written: &Key<List<file::Mirror>>, forward: &Forward) -> Vec<Mirror> {
        let mut mirrors: Vec<Mirror> = Vec::new();
        let list = written.given().map(|list| list.value.as_slice()).unwrap_or_default();
        for table in list.iter().filter_map(Key::given) {
            let Some(mirror) = self.mirror(table, forward) else {
                continue;
            };
            if mirrors.iter().any(|other| other.name == mirror.name) {
                let at = own_place(&table.value.name, &table.at, "name");
                let message = format!(
                    "{:?} is already the name of another mirror of this route; give each a name of its own",
                    mirror.name
                );
                self.report.error(&at, message);
            }
            mirrors.push(mirror);
        }
        if mirrors.len() == list.len() {
            self.baselines_of_candidates(list, &mirrors);
        }
        baselines_like_their_candidate(&mut mirrors, &self.lanes);
        mirrors
    }

    /// A baseline names candidates of its own route.
    fn baselines_of_candidates(&mut self, written: &[Key<file::Mirror>], mirrors: &[Mirror]) {
        let answers = |of: &&Mirror| self.lanes.get(of.lane).is_some_and(|lane| lane.capture.is_none());
        let candidates = mirrors.iter().filter(|of| of.role == Role::Candidate).filter(answers);
        let candidates: Vec<&str> = candidates.map(|of| of.name.as_str()).collect();
        for table in written.iter().filter_map(Key::given) {
            let Some(names) = table.value.baseline_for.given() else { continue };
            if table.value.role.given().is_none_or(|role| role.value != Role::Baseline) {
                self.report.error(&names.at, "is for a mirror with role = \"baseline\"");
            } else if names.value.is_empty() {
                self.report
                    .error(&names.at, "names no mirror: leave it out to be the baseline of all of the route");
            }
            for name in names.value.iter().filter_map(Key::given) {
                if !candidates.contains(&name.value.as_str()) {
                    let known = any_of(candidates.iter().copied());
                    let message = format!("{:?} is no candidate of this route; must be {known}", name.value);
                    self.report.error(&name.at, message);
                }
            }
        }
    }

    /// `None` when its upstream is not known; everything else is checked all the same.
    fn mirror(&mut self, table: &At<file::Mirror>, forward: &Forward) -> Option<Mirror> {
        let written = &table.value;
        let capture = written.capture.given();
        if let (Some(_), Some(capture)) = (written.upstream.given(), capture) {
            self.report
                .error(&capture.at, "a mirror goes to an upstream or to a capture: leave out one of the two");
        }
        if capture.is_some() {
            self.answers_nothing(written);
        }
        let capture = capture.map(|name| (&name.value, self.capture(name)));
        let upstream = match capture {
            Some(_) => None,
            None => self
                .required(&written.upstream, &table.at, "upstream", "the name of an upstream")
                .and_then(|name| self.upstream(name)),
        };
        if let (Some(name), Some(upstream)) = (written.upstream.given(), upstream)
            && forward.primaries.iter().all(|primary| primary.upstream == Some(upstream))
        {
            let message =
                "the mirror is the primary of its route: the same servers get each copied request twice";
            self.report.warn(&name.at, message);
        }
        if let Some(name) = written.name.given() {
            let _reported = self.syntax(name, syntax::upstream_name);
        }
        let percent = self.percent(&written.percent);
        let host = written
            .host
            .given()
            .map_or(Some(MirrorHost::Keep), |host| self.syntax(host, syntax::mirror_host));
        let mut lane = self.lane(written, upstream.unwrap_or_default());
        let body_bytes_max = self.size(&written.body_bytes_max, MIB, 0..=TIB);
        self.copy_fits_on_ring(written, body_bytes_max, lane.ring_bytes_max as u64);
        let only_primary = self.only_primary(&written.only_primary, forward);
        let (headers, header_host) = self.request_edits(&written.request_headers);
        self.no_formats(&written.request_headers);
        let mut rewrite = written.rewrite.given().map(|table| self.rewrite(table)).unwrap_or_default();
        if rewrite.host.take().is_some()
            && let Some(table) = written.rewrite.given()
        {
            self.report.error(&table.at.child("host"), "a mirror has a host of its own: write it there");
        }
        // In u32: the bound says so.
        let rest = Mirror {
            name: String::new(),
            lane: 0,
            percent,
            only: written.only.given().map(|table| self.only(table)),
            only_primary,
            sample: self.sample(written, percent),
            sample_by: written.sample_by.given().and_then(|key| self.syntax(key, syntax::request_key)),
            rate_max: self.rate(&written.rate_max),
            ttl: self.given_period(&written.ttl),
            after: word(&written.after, After::Request),
            response: written.response.given().map(|table| self.response(table)),
            idempotency_key: self.idempotency_key(written),
            governor: written.governor.given().map(|table| self.governor(&table.value)),
            body_bytes_max: in_memory(body_bytes_max),
            host: MirrorHost::Keep,
            path: rewrite.path,
            headers,
            redact: written.redact.given().map(|table| self.redact(&table.value)).unwrap_or_default(),
            role: word(&written.role, Role::Candidate),
            baseline_for: self.each(&written.baseline_for, syntax::nonempty),
            compare: written.compare.given().map(|table| self.compare(&table.value)),
        };
        if let Some((name, id)) = capture {
            // A capture that is switched off takes its mirrors along.
            let capture = Some(id??);
            lane = Lane { name: name.clone(), upstream: NO_UPSTREAM, capture, connections_max: 1, ..lane };
        } else {
            self.upstreams.get(upstream?)?;
        }
        let name = written.name.given().map_or(&lane.name, |name| &name.value).clone();
        let host = header_host.map_or(host?, MirrorHost::Literal);
        let lane = self.share_lane(lane);
        Some(Mirror { name, lane, host, ..rest })
    }

    fn only_primary(&mut self, written: &Key<String>, forward: &Forward) -> Option<usize> {
        let name = written.given()?;
        let id = self.upstream(name)?;
        let index = forward.primaries.iter().position(|primary| primary.upstream == Some(id));
        if index.is_none() {
            self.report.error(&name.at, format!("{:?} is not a primary of this route", name.value));
        } else if forward.primaries.iter().filter(|primary| primary.upstream == Some(id)).count() > 1 {
            let message = format!(
                "{:?} is a primary of this route more than once: give it once, with the sum of its weights",
                name.value
            );
            self.report.error(&name.at, message);
        }
        index
    }

    fn response(&mut self, table: &At<file::ResponseCondition>) -> ResponseCondition {
        let written = &table.value;
        let asks_status = written.statuses.given().is_none_or(|list| !list.value.is_empty());
        if (written.statuses.is_absent() || !asks_status) && written.slower_than.is_absent() {
            let message = r#"asks nothing of the response; write statuses = ["5xx"] or slower_than = "1s""#;
            self.report.error(&table.at, message);
        }
        ResponseCondition {
            statuses: self.each(&written.statuses, syntax::statuses),
            slower_than: self.given_period(&written.slower_than),
        }
    }

    fn sample(&mut self, written: &file::Mirror, percent: Percent) -> Sample {
        let sample = word(&written.sample, Sample::Even);
        if let Some(given) = written.sample.given().filter(|_| sample == Sample::RareFirst) {
            if !written.sample_by.is_absent() {
                let message = "sample_by copies all or none of a session, whatever its routes: leave out one of the two";
                self.report.error(&given.at, message);
            }
            if percent.per_million > Percent::ALL.per_million {
                self.report
                    .error(&given.at, "is for a percent of at most 100: there is nothing to be spread");
            }
        }
        sample
    }

    /// A key that is redacted would be one key of all writes.
    fn idempotency_key(&mut self, written: &file::Mirror) -> Option<String> {
        let key = written.idempotency_key.given()?;
        let name = self.syntax(key, syntax::editable_field)?;
        let redacted = written.redact.given().and_then(|redact| redact.value.headers.given());
        let is_secret = |of: &At<String>| {
            of.value.eq_ignore_ascii_case(&name) || of.value.eq_ignore_ascii_case("x-request-id")
        };
        let mut names = redacted.iter().flat_map(|all| &all.value).filter_map(Key::given);
        if let Some(secret) = names.find(|of| is_secret(of)) {
            let why = "the key of a write is the client's own, or made of x-request-id: with it redacted all writes have one key";
            self.report.error(&secret.at, why);
        }
        Some(name)
    }

    fn governor(&mut self, written: &file::Governor) -> Governor {
        Governor {
            failures_max: self.share(&written.failures_max, Percent { per_million: 100_000 }),
            slower_than: self.given_period(&written.slower_than),
            least: self.share(&written.least, Percent { per_million: 10_000 }),
        }
    }

    fn redact(&mut self, written: &file::Redact) -> Redact {
        Redact {
            headers: self.each(&written.headers, syntax::redactable_field),
            cookies: self.each(&written.cookies, syntax::nonempty),
            query: self.each(&written.query, syntax::nonempty),
            json: self.each(&written.json, syntax::json_pointer),
        }
    }

    fn compare(&mut self, written: &file::Compare) -> Compare {
        let patterns = Rc::clone(&self.patterns);
        let tolerance = written.tolerance.given().map_or(0.0, |given| {
            if !(0.0..=1.0).contains(&given.value) {
                let message = format!("{} is out of range: must be a number from 0 to 1", given.value);
                self.report.error(&given.at, message);
            }
            given.value
        });
        Compare {
            percent: self.share(&written.percent, Percent::ALL),
            body_bytes_max: in_memory(self.size(&written.body_bytes_max, 64 * KIB, 0..=16 * MIB)),
            content_types: self.each(&written.content_types, syntax::media_type),
            ignore_headers: self.each(&written.ignore_headers, syntax::field_or_prefix),
            ignore_json: self.each(&written.ignore_json, syntax::json_pointer),
            ignore_text: self.each(&written.ignore_text, |text| patterns.anywhere(text)),
            unordered: self.each(&written.unordered, syntax::json_pointer),
            tolerance,
            descriptors: written.descriptors.given().and_then(|file| self.file_at(file)),
            version_header: written
                .version_header
                .given()
                .and_then(|name| self.syntax(name, syntax::field_name)),
        }
    }

    fn percent(&mut self, written: &Key<f64>) -> Percent {
        let Some(given) = written.given() else {
            return Percent::ALL;
        };
        let Some(percent) = Percent::from_percent_amplified(given.value) else {
            self.report.error(
                &given.at,
                format!("{} is out of range: must be a number from 0 to 10000", given.value),
            );
            return Percent::NONE;
        };
        if percent == Percent::NONE && given.value > 0.0 {
            self.report.warn(
                &given.at,
                format!("{} rounds to 0, so nothing is copied; the grain is 0.0001", given.value),
            );
        }
        percent
    }

    fn lane(&mut self, written: &file::Mirror, upstream: UpstreamId) -> Lane {
        let seconds = Duration::from_secs;
        Lane {
            name: self.upstreams.get(upstream).map(|upstream| upstream.name.clone()).unwrap_or_default(),
            upstream,
            capture: None,
            ring_entries_max: in_memory(self.count(&written.ring_entries_max, 4096, 1..=1_048_576)),
            ring_bytes_max: in_memory(self.size(&written.ring_bytes_max, 32 * MIB, 1..=TIB)),
            drop: word(&written.drop, DropPolicy::Newest),
            connect_timeout: self.period(&written.connect_timeout, seconds(1)),
            timeout: self.period(&written.timeout, seconds(5)),
            connections_max: in_memory(self.count(&written.connections_max, 8, 1..=1024)),
            pipeline_max: in_memory(self.count(&written.pipeline_max, 128, 1..=1024)),
            response_bytes_max: self.size(&written.response_bytes_max, MIB, 1..=TIB),
        }
    }

    /// A body that may be copied but can never be pushed would make every such copy a surprise.
    fn copy_fits_on_ring(&mut self, written: &file::Mirror, body_bytes_max: u64, ring_bytes_max: u64) {
        if body_bytes_max <= ring_bytes_max {
            return;
        }
        let (ring, body) = (show_size(ring_bytes_max), show_size(body_bytes_max));
        // At least one of the two was given: the defaults fit.
        if let Some(given) = written.ring_bytes_max.given() {
            let message =
                format!("a ring of {ring} can never hold a body of {body}, which body_bytes_max allows");
            self.report.error(&given.at, format!("{message}; raise the one or lower the other"));
        } else if let Some(given) = written.body_bytes_max.given() {
            let message = format!("a body of {body} can never fit on the ring; ring_bytes_max is {ring}");
            self.report.error(&given.at, format!("{message}; raise the one or lower the other"));
        }
    }

    /// Mirrors that travel alike travel together.
    fn share_lane(&mut self, lane: Lane) -> LaneId {
        if let Some(id) = self.lanes.iter().position(|other| *other == lane) {
            return id;
        }
        self.lanes.push(lane);
        self.lanes.len() - 1
    }
}
