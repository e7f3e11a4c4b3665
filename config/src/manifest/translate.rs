//! Translates documents that come one by one, as a cluster's do: the sound ones become a configuration, and each gets an
//! outcome. A bad document does not stop others: it counts as if it had not been applied.
//!
//! A refused document has an effect on others, which may have relied on it:
//! * a VirtualService: its requests go where they would if it did not exist; it still counts where it matters whether a
//!   VirtualService is the only one;
//! * an HTTPRoute or GRPCRoute: the same, but where each problem is one rule's only those rules are [dropped](super::dropped),
//!   and requests that they would have matched are answered with an error;
//! * a DestinationRule: its service has no subset and no policy, so that a destination with a subset is answered 500 and a
//!   mirror gets no copy. A rule with a key for TLS takes its service with it, subset or not: requests that would have been
//!   encrypted are not sent in the clear;
//! * a BackendTLSPolicy: the same;
//! * a ServiceEntry: its hosts have no addresses;
//! * a Gateway: routes that are attached to it alone are not served, rather than served under every host;
//! * a ReferenceGrant: it grants nothing;
//! * a delegate: its part of the root's requests is answered 503.

use std::collections::BTreeMap;

use super::documents::{self, Document};
use super::dropped::{Dropped, DroppedRule};
use super::{Around, Emitted, Found, Plaintext, Policy, settings_of};
use crate::check::{Check, Checked};
use crate::destination::Destination;
use crate::file::File;
use crate::node::Node;
use crate::problem::{ByResource, OfResource, Place, Problem, Report, ResourceId};
use crate::write::Shown;

/// The documents of a cluster, and the settings that they cannot hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Applied<'a> {
    pub documents: &'a [Document],
    /// Name and text of TOML with everything that is no route and no upstream.
    pub settings: Option<(&'a str, &'a str)>,
    /// Addresses to listen on; where none is given the Gateways say it.
    pub listen: &'a [String],
    pub plaintext: Plaintext,
    /// As of [`super::Manifests`].
    pub endpoints: &'a [String],
    /// Policies of the mirrors of an object, by its kind, namespace and name.
    pub policies: Option<&'a BTreeMap<(String, String, String), Policy>>,
}

/// The configuration of the sound documents, and the outcome of each.
#[derive(Debug)]
pub struct Translated {
    /// Of the accepted documents; without any route where none has one. Its warnings are those of no resource.
    ///
    /// # Errors
    /// Problems of the settings or of the addresses to listen on.
    pub checked: Result<Checked, Vec<Problem>>,
    /// An outcome for each document, in their order; members of a list count as documents.
    pub outcomes: Vec<Outcome>,
    /// The upstreams that have no addresses yet, by name.
    pub destinations: Vec<(String, Destination)>,
}

/// The outcome of one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub resource: ResourceId,
    pub state: State,
    /// Warnings for its author.
    pub warnings: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Accepted,
    /// A route without these of its rules.
    Partial(Vec<DroppedRule>),
    /// The document has no part in the configuration until these are mended. Where it is a route each of whose rules is at fault,
    /// the requests that they would have matched are answered with an error.
    Rejected(Vec<Problem>),
    /// The document has no part in the configuration, and no fault; why.
    Skipped(String),
}

/// Translates the sound ones of these documents together.
///
/// Everything is translated, documents with problems are taken out, and the rest is translated again until no problem is left:
/// the configuration is always the whole translation of a set of documents, never a part of one.
pub fn translate(applied: &Applied<'_>) -> Translated {
    let all: Vec<&Node> = applied.documents.iter().flat_map(|one| documents::manifests(&one.0)).collect();
    let mut refused: Vec<Refused> = all.iter().map(|_| Refused::default()).collect();
    loop {
        let (sound, told, destinations) = pass(applied, &all, &refused);
        let ByResource { resources, errors, warnings } = told;
        let mut settled = true;
        let mut outcomes = Vec::new();
        for ((slot, of), document) in refused.iter_mut().zip(resources).zip(&all) {
            if slot.whole.is_none() && !of.errors.is_empty() {
                settled = false;
                if !slot.rules.learn(&of.id, &of.errors) {
                    slot.whole = Some(of);
                }
            } else {
                outcomes.push(outcome(slot, of, document));
            }
        }
        if settled {
            let checked = if errors.is_empty() { Ok(Checked { warnings, ..sound }) } else { Err(errors) };
            return Translated { checked, outcomes, destinations };
        }
    }
}

/// Faults of one document so far.
#[derive(Default)]
struct Refused {
    whole: Option<OfResource>,
    rules: Dropped,
}

fn outcome(refused: &Refused, of: OfResource, document: &Node) -> Outcome {
    let Refused { whole, rules } = refused;
    if let Some(whole) = whole {
        let errors = rules.problems().into_iter().chain(whole.errors.iter().cloned()).collect();
        return Outcome { resource: of.id, state: State::Rejected(errors), warnings: whole.warnings.clone() };
    }
    let OfResource { id, mut warnings, skipped, errors: _ } = of;
    // A dropped rule has its problems; warnings about the rest of it are left out.
    warnings.retain(|warning| !rules.is_about(&id, warning));
    let state = match skipped {
        _ if !rules.is_empty() && rules.has_all(document) => State::Rejected(rules.problems()),
        Some(why) => State::Skipped(why),
        None if rules.is_empty() => State::Accepted,
        None => State::Partial(rules.told(document)),
    };
    Outcome { resource: id, state, warnings }
}

/// Translates all that is not rejected.
fn pass(
    applied: &Applied<'_>,
    all: &[&Node],
    refused: &[Refused],
) -> (Checked, ByResource, Vec<(String, Destination)>) {
    let mut report = Report::by_resource();
    let mut file = match applied.settings {
        Some((name, text)) => settings_of(name, text, &mut report),
        None => File::default(),
    };
    report.open("", "", true);
    let mut found = Found::default();
    for (document, refused) in all.iter().zip(refused) {
        let id = documents::identity(document);
        let owner = (id.kind.clone(), id.namespace.clone(), id.name.clone());
        report.enter(id);
        if let Some(policy) = applied.policies.and_then(|policies| policies.get(&owner)) {
            let at = report.place(format!("{}/{}", owner.0, owner.2), document.line);
            found.services.policies.read(owner, policy, &at, &mut report);
        }
        match refused {
            Refused { whole: Some(_), .. } => found.lose(document),
            Refused { rules, .. } if rules.is_empty() => found.take(document, true, &mut report),
            Refused { rules, .. } => found.take_without(rules, document, &mut report),
        }
        report.leave();
    }
    report.open("", "", false);
    let endpoint = Place { key: "--endpoint".to_owned(), ..Place::default() };
    applied.endpoints.iter().for_each(|text| found.services.bind(text, &endpoint, &mut report));
    let around = Around { listen: applied.listen, plaintext: applied.plaintext };
    let Emitted { destinations, materials } = found.emit(&mut file, around, &mut report);
    let written = Shown::of(&file);
    let mut config = Check::new(&mut report).with(materials).config(file);
    let of: BTreeMap<&str, &Destination> =
        destinations.iter().map(|(name, destination)| (name.as_str(), destination)).collect();
    for upstream in &mut config.upstreams {
        upstream.destination = of.get(upstream.name.as_str()).map(|destination| (*destination).clone());
    }
    (Checked { config, written, warnings: Vec::new() }, report.finish_by_resource(), destinations)
}
