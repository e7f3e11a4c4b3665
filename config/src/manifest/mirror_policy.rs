//! Keys of mirrors for which a VirtualService or an HTTPRoute has no field, in TOML beside it: comparing, redaction, the
//! baseline, the governor. `[every]` is for all mirrors of the object, `[mirror.NAME]` for the one of that name.
//!
//! With a policy that is wrong or missing, the object's mirrors get no copy: requests that should be redacted are not sent
//! without redaction. The primary is served all the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::Role;
use crate::check::Check;
use crate::file::{self, File};
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List, Named};
use crate::tables::tables;
use crate::units::show_size;

/// Bytes of a ring that an object may ask for, per worker: its author has not the machine to give away, and may mistype.
const RING_BYTES_MAX: u64 = 256 << 20;

/// A policy as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The place of the policy, for messages.
    pub name: String,
    /// Why it is not there.
    pub text: Result<String, String>,
}

tables! {
    /// A policy's text.
    pub(crate) struct Written {
        every: file::Mirror,
        mirror: Named<file::Mirror>,
    }
}

/// Kind, namespace and name of an object.
pub(super) type Owner = (String, String, String);

/// The policies of all objects that have one.
#[derive(Default)]
pub(super) struct Policies(BTreeMap<Owner, Option<Sound>>);

struct Sound {
    every: file::Mirror,
    named: Vec<(At<String>, file::Mirror)>,
    met: BTreeSet<String>,
}

impl Policies {
    /// Reads the policy of the object that was entered, which stands at `at`.
    pub(super) fn read(&mut self, owner: Owner, policy: &Policy, at: &Place, report: &mut Report) {
        let sound = match &policy.text {
            Ok(text) => report.aside(&policy.name, text, |report| sound(text, report)),
            Err(why) => {
                report.warn(at, format!("{}: {why}", policy.name));
                None
            }
        };
        if sound.is_none() {
            report.warn(at, "its mirrors get no copy until their policy is mended");
        }
        self.0.insert(owner, sound);
    }

    /// Adds the policy's keys to a mirror of this object; whether the mirror may have copies.
    pub(super) fn apply(
        &mut self,
        (kind, namespace, name): (&str, &str, &str),
        mirror: &mut file::Mirror,
    ) -> bool {
        let owner = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        let Some(policy) = self.0.get_mut(&owner) else { return true };
        let Some(policy) = policy else { return false };
        lay_over(&policy.every, mirror);
        let own = mirror.name.given().or_else(|| mirror.upstream.given()).map(|name| name.value.clone());
        for (name, more) in &policy.named {
            if own.as_ref().is_some_and(|own| is_of(&name.value, own)) {
                policy.met.insert(name.value.clone());
                lay_over(more, mirror);
            }
        }
        true
    }

    /// Says which mirrors a policy names that are none of its object's.
    pub(super) fn finish(&self, report: &mut Report) {
        for policy in self.0.values().flatten() {
            for (name, _) in policy.named.iter().filter(|(name, _)| !policy.met.contains(&name.value)) {
                report.warn(&name.at, "no mirror of the object has this name");
            }
        }
    }
}

/// Whether a mirror is meant by this name: its own, or that with the first word of its service. The words behind are there only
/// while another namespace has such a service too, whose coming must change no policy.
fn is_of(name: &str, own: &str) -> bool {
    let (service, rest) = own.split_at(own.find(['/', ':']).unwrap_or(own.len()));
    let short = service.split('.').next().unwrap_or(service);
    name == own || name.strip_prefix(short) == Some(rest)
}

fn sound(text: &str, report: &mut Report) -> Option<Sound> {
    let written: Written = file::read_table(text, report)?;
    let every = written.every.into_table();
    let mut named = Vec::new();
    for (name, mirror) in written.mirror.into_table() {
        named.push((name, mirror.into_table()));
    }
    for mirror in named.iter().map(|(_, mirror)| mirror).chain([&every]) {
        let told = [
            ("upstream", mirror.upstream.given().map(|key| &key.at)),
            ("capture", mirror.capture.given().map(|key| &key.at)),
            ("name", mirror.name.given().map(|key| &key.at)),
            ("percent", mirror.percent.given().map(|key| &key.at)),
            ("only_primary", mirror.only_primary.given().map(|key| &key.at)),
        ];
        for at in told.into_iter().filter_map(|(_, at)| at) {
            report.error(at, "is the object's own to say; leave it out");
        }
        if let Some(names) = mirror.baseline_for.given() {
            let role = mirror.role.given().or_else(|| every.role.given());
            if role.is_none_or(|role| role.value != Role::Baseline) {
                report.error(&names.at, "is for a mirror with role = \"baseline\"");
            } else if names.value.is_empty() {
                report.error(&names.at, "names no mirror: leave it out to be the baseline of all of a rule");
            }
        }
        if let Some(given) = mirror.ring_bytes_max.given().filter(|given| given.value.0 > RING_BYTES_MAX) {
            let message = format!(
                "is more than one object may have of the gateway's memory: {}",
                show_size(RING_BYTES_MAX)
            );
            report.error(&given.at, message);
        }
        try_out(mirror.clone(), report);
    }
    Some(Sound { every, named, met: BTreeSet::new() })
}

/// Gives baselines the names that their candidates have on this rule, where all of its mirrors are known. A baseline without a
/// candidate there gets no copy.
pub(super) fn baselines_of_candidates(mirrors: &mut List<file::Mirror>, report: &mut Report) {
    let own = |mirror: &file::Mirror| {
        mirror.name.given().or_else(|| mirror.upstream.given()).map(|name| name.value.clone())
    };
    let is_candidate =
        |of: &&At<file::Mirror>| of.value.role.given().is_none_or(|role| role.value == Role::Candidate);
    let candidates: Vec<String> =
        mirrors.iter().filter_map(Key::given).filter(is_candidate).filter_map(|of| own(&of.value)).collect();
    mirrors.retain_mut(|mirror| {
        let Key::Given(mirror) = mirror else { return true };
        let Key::Given(names) = &mut mirror.value.baseline_for else { return true };
        let at = names.at.clone();
        let asked: Vec<At<String>> = names.value.iter().filter_map(Key::given).cloned().collect();
        let is_asked = |own: &&String| asked.iter().any(|name| is_of(&name.value, own));
        names.value = candidates.iter().filter(is_asked).map(|own| Key::at(own.clone(), &at)).collect();
        if names.value.is_empty() {
            report.warn(&at, "none of these is a mirror beside it: it gets no copy there");
        }
        !names.value.is_empty()
    });
}

/// Checks a mirror on a route of its own, so that a wrong value is known before a configuration is made with it.
fn try_out(mirror: file::Mirror, report: &mut Report) {
    let nowhere = Place::default();
    let upstream = |name: &str| {
        let endpoints = Key::at(vec![Key::at("127.0.0.1:1".to_owned(), &nowhere)], &nowhere);
        let name = At { value: name.to_owned(), at: nowhere.clone() };
        (name, Key::at(file::Upstream { endpoints, ..file::Upstream::default() }, &nowhere))
    };
    let tried = file::Mirror {
        upstream: Key::at("tried".to_owned(), &nowhere),
        capture: Key::Absent,
        name: Key::Absent,
        percent: Key::Absent,
        only_primary: Key::Absent,
        baseline_for: Key::Absent,
        ..mirror
    };
    let mut mirrors = vec![Key::at(tried.clone(), &nowhere)];
    if tried.role.given().is_some_and(|role| role.value == Role::Baseline) {
        // A baseline is one beside a candidate, which compares alike.
        let candidate =
            file::Mirror { upstream: Key::at("other".to_owned(), &nowhere), role: Key::Absent, ..tried };
        mirrors.push(Key::at(candidate, &nowhere));
    }
    let route = file::Route {
        primary: Key::at("primary".to_owned(), &nowhere),
        mirrors: Key::at(mirrors, &nowhere),
        ..file::Route::default()
    };
    let file = File {
        upstream: Key::at(["primary", "tried", "other"].map(upstream).into(), &nowhere),
        route: Key::at(vec![Key::at(route, &nowhere)], &nowhere),
        ..File::default()
    };
    Check::new(report).config(file);
}

/// A key of the policy replaces the mirror's own, which follows from the object.
fn lay_over(policy: &file::Mirror, mirror: &mut file::Mirror) {
    macro_rules! lay {
        ($($key:ident)*) => {
            // Every key, so that a new one is thought of here.
            let file::Mirror { upstream: _, capture: _, name: _, percent: _, only_primary: _, $($key),* } = policy;
            $( if !$key.is_absent() {
                mirror.$key = $key.clone();
            } )*
        };
    }
    lay!(only sample sample_by rate_max ttl after response idempotency_key governor ring_entries_max ring_bytes_max drop body_bytes_max
        connect_timeout timeout connections_max pipeline_max response_bytes_max host rewrite request_headers redact role
        baseline_for compare);
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn a_mirror_keeps_its_policy_when_another_namespace_gets_a_service_of_its_name() {
        for own in ["v2", "v2.shop.svc.cluster.local"] {
            assert!(is_of("v2", own) && !is_of("v", own) && !is_of("v2/canary", own), "{own}");
        }
        for own in ["v2/canary:8080", "v2.shop.svc.cluster.local/canary:8080"] {
            assert!(is_of("v2/canary:8080", own) && is_of(own, own) && !is_of("v2", own), "{own}");
        }
    }
}
