//! Translates the objects of a cluster that are ours into a configuration, and notes the outcome of each. Pure.
//!
//! An object that is refused is served in its last accepted version, while that is remembered; otherwise it is as if it were
//! not there. Other objects are not touched by it.

use std::collections::{BTreeMap, BTreeSet};

use config::Destination;
use config::check::{Checked, Problem};
use config::manifest::{self, Applied, Document, Plaintext, State};
use serde_json::Value;

use super::Rules;
use super::kinds::Kind;
use super::objects::{list, uid};
use super::policies;
use super::select::{self, Chosen, Refused};
use super::store::{Key, Store};

/// Each object as it was last accepted.
pub(super) type Good = BTreeMap<(Kind, Key), Value>;

/// The outcome of one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) kind: Kind,
    pub(super) key: Key,
    /// The UID and the generation of the object that the outcome is about.
    pub(super) uid: String,
    pub(super) generation: Option<u64>,
    pub(super) state: State,
    pub(super) warnings: Vec<Problem>,
    /// The object is refused, and its last accepted version is served.
    pub(super) serves_earlier: bool,
}

/// Inputs that are not objects of the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    /// Name and text.
    pub(super) settings: Option<(&'a str, &'a str)>,
    pub(super) listen: &'a [String],
    pub(super) plaintext: Plaintext,
    /// Our own namespace.
    pub(super) home: &'a str,
    /// Addresses of destinations, for a configuration that needs no cluster.
    pub(super) endpoints: &'a [String],
}

#[derive(Debug)]
pub(super) struct Made {
    pub(super) checked: Result<Checked, Vec<Problem>>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) good: Good,
    pub(super) destinations: BTreeSet<Destination>,
    /// Ports that ours would listen at.
    pub(super) ports: BTreeSet<u64>,
    /// ConfigMaps that say more of mirrors.
    pub(super) maps: BTreeSet<Key>,
}

/// Makes a configuration without those ports.
pub(super) fn make(
    store: &Store,
    rules: &Rules,
    ports: &BTreeSet<u64>,
    good: &Good,
    given: Given<'_>,
) -> Made {
    let mut refused = Refused {
        ports: ports.clone(),
        gateways: BTreeSet::new(),
        plaintext: given.plaintext.listeners,
        home: given.home.to_owned(),
    };
    let mut outcomes = Vec::new();
    loop {
        let mut chosen = select::chosen(store, rules, &refused);
        let maps = policies::named(&chosen);
        let first = translate(&chosen, store, given);
        let mut earlier = BTreeSet::new();
        let mut lost = BTreeSet::new();
        for (one, outcome) in chosen.iter_mut().zip(&first.outcomes) {
            if !matches!(outcome.state, State::Rejected(_)) {
                continue;
            }
            let id = (one.kind, one.key.clone());
            // The last good version of a deleted object does not stand in for a new one of its name.
            let known = good.get(&id).filter(|known| is_same(known, &one.document));
            match known.filter(|known| **known != one.document) {
                Some(known) => {
                    one.document = known.clone();
                    earlier.insert(id);
                }
                // The hosts that a refused Gateway lets in are not known: no request comes in by it.
                None if one.kind == Kind::IstioGateway => {
                    lost.insert(one.key.clone());
                    let (state, warnings) = (outcome.state.clone(), outcome.warnings.clone());
                    let (kind, key, generation) = (one.kind, one.key.clone(), outcome.resource.generation);
                    let uid = uid(&one.document).to_owned();
                    outcomes.push(Outcome {
                        kind,
                        key,
                        uid,
                        generation,
                        state,
                        warnings,
                        serves_earlier: false,
                    });
                }
                None => {}
            }
        }
        if !lost.is_empty() {
            refused.gateways.extend(lost);
            continue;
        }
        let made = if earlier.is_empty() { None } else { Some(translate(&chosen, store, given)) };
        let (first, made) = match made {
            Some(made) => (Some(first), made),
            None => (None, first),
        };
        let mut kept = Good::new();
        for (at, one) in chosen.into_iter().enumerate() {
            let Some(outcome) = made.outcomes.get(at) else { continue };
            let id = (one.kind, one.key.clone());
            let is_earlier = earlier.contains(&id);
            let told = first.as_ref().and_then(|first| first.outcomes.get(at)).filter(|_| is_earlier);
            let told = told.unwrap_or(outcome);
            let accepted = !matches!(outcome.state, State::Rejected(_));
            outcomes.push(Outcome {
                kind: one.kind,
                key: one.key,
                uid: uid(&one.document).to_owned(),
                generation: told.resource.generation,
                state: told.state.clone(),
                warnings: told.warnings.clone(),
                serves_earlier: is_earlier && accepted,
            });
            if accepted {
                kept.insert(id, one.document);
            } else if let Some(known) = good.get(&id).filter(|known| is_same(known, &one.document)) {
                kept.insert(id, known.clone());
            }
        }
        let destinations = match &made.checked {
            Ok(checked) => {
                checked.config.upstreams.iter().filter_map(|one| one.destination.clone()).collect()
            }
            Err(_) => BTreeSet::new(),
        };
        return Made {
            checked: made.checked,
            outcomes,
            good: kept,
            destinations,
            ports: gateway_ports(store, rules, given.home),
            maps,
        };
    }
}

/// Whether these are versions of one object.
fn is_same(a: &Value, b: &Value) -> bool {
    uid(a) == uid(b)
}

fn translate(chosen: &[Chosen], store: &Store, given: Given<'_>) -> manifest::Translated {
    let documents: Vec<Document> = chosen.iter().map(|one| Document::from(&one.document)).collect();
    let Given { settings, listen, plaintext, home: _, endpoints } = given;
    let policies = policies::of(chosen, store);
    let policies = Some(&policies);
    manifest::translate(&Applied { documents: &documents, settings, listen, plaintext, endpoints, policies })
}

/// Every port that a Gateway of ours names.
fn gateway_ports(store: &Store, rules: &Rules, home: &str) -> BTreeSet<u64> {
    let none = Refused { home: home.to_owned(), ..Refused::default() };
    let chosen = select::chosen(store, rules, &none).into_iter();
    chosen
        .flat_map(|one| {
            let spec = &one.document["spec"];
            let ports: Vec<u64> = match one.kind {
                Kind::ApiGateway => {
                    list(spec, "listeners").iter().filter_map(|one| one["port"].as_u64()).collect()
                }
                Kind::IstioGateway => {
                    let servers = list(spec, "servers").iter();
                    servers.filter_map(|one| one.pointer("/port/number")?.as_u64()).collect()
                }
                _other => Vec::new(),
            };
            ports
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules() -> Rules {
        Rules { class: None, controller: "c".to_owned(), labels: Vec::new(), mesh: true, fronts: None }
    }

    fn put(store: &mut Store, kind: Kind, name: &str, spec: Value) {
        let facts = kind.facts();
        store.set(
            kind,
            None,
            json!({"apiVersion": kind.api_version(facts.versions[0]), "kind": facts.name,
                "metadata": {"name": name, "namespace": "n"}, "spec": spec}),
        );
    }

    fn vs(name: &str, path: &str) -> Value {
        json!({"hosts": [name], "http": [{"match": [{"uri": {"prefix": path}}], "route": [{"destination": {"host": name}}]}]})
    }

    fn made(store: &Store, good: &Good) -> Made {
        make(
            store,
            &rules(),
            &BTreeSet::new(),
            good,
            Given {
                settings: None,
                listen: &["127.0.0.1:0".to_owned()],
                plaintext: Plaintext::default(),
                home: "",
                endpoints: &[],
            },
        )
    }

    fn paths(made: &Made) -> Vec<String> {
        let config = &made.checked.as_ref().unwrap().config;
        config.routes.iter().map(|route| format!("{} {:?}", route.name, route.matches[0].path)).collect()
    }

    #[test]
    fn a_refused_object_serves_on_as_it_last_was_accepted() {
        let mut store = Store::default();
        put(&mut store, Kind::VirtualService, "a", vs("a", "/one"));
        put(&mut store, Kind::VirtualService, "b", vs("b", "/two"));
        let before = made(&store, &Good::new());
        assert_eq!(before.outcomes.len(), 2);
        put(&mut store, Kind::VirtualService, "a", json!({"hosts": ["a"], "htttp": []}));
        put(&mut store, Kind::VirtualService, "b", vs("b", "/three"));
        let after = made(&store, &before.good);
        assert!(
            paths(&after)[0].starts_with("a/http[0]") && paths(&after)[0].contains("/one"),
            "{:?}",
            paths(&after)
        );
        assert!(paths(&after)[1].contains("/three"), "{:?}", paths(&after));
        let outcome = after.outcomes.iter().find(|one| one.key.1 == "a").unwrap();
        assert!(matches!(&outcome.state, State::Rejected(_)) && outcome.serves_earlier);
        // Still so the next time; mended it is taken as it is; gone it goes.
        let again = made(&store, &after.good);
        assert!(paths(&again)[0].contains("/one"));
        put(&mut store, Kind::VirtualService, "a", vs("a", "/mended"));
        let mended = made(&store, &again.good);
        assert!(paths(&mended)[0].contains("/mended"));
        store.replace(Kind::VirtualService, None, Vec::new());
        assert_eq!(paths(&made(&store, &mended.good)), [""; 0]);
    }

    #[test]
    fn one_that_never_was_accepted_is_not_there() {
        let mut store = Store::default();
        put(&mut store, Kind::VirtualService, "a", json!({"hosts": ["a"], "htttp": []}));
        put(&mut store, Kind::VirtualService, "b", vs("b", "/two"));
        let made = made(&store, &Good::new());
        assert_eq!(paths(&made).len(), 1);
        assert_eq!(
            made.destinations.iter().map(|d| d.service.as_str()).collect::<Vec<_>>(),
            ["b.n.svc.cluster.local"]
        );
    }

    #[test]
    fn one_that_was_deleted_leaves_nothing_to_another_of_its_name() {
        let mut store = Store::default();
        let mut put = |uid: &str, spec: Value| {
            let metadata = json!({"name": "a", "namespace": "n", "uid": uid});
            let kind = Kind::VirtualService;
            let object = json!({"apiVersion": kind.api_version("v1"), "kind": kind.facts().name, "metadata": metadata, "spec": spec});
            store.set(kind, None, object);
            store.clone()
        };
        let before = made(&put("1", vs("a", "/one")), &Good::new());
        assert_eq!(paths(&before).len(), 1);
        let broken = json!({"hosts": ["a"], "htttp": []});
        // A list told of both at once.
        let after = made(&put("2", broken.clone()), &before.good);
        assert_eq!((paths(&after).len(), after.outcomes[0].serves_earlier), (0, false));
        assert!(after.good.is_empty());
        let after = made(&put("1", broken), &before.good);
        assert_eq!((paths(&after).len(), after.outcomes[0].serves_earlier), (1, true));
    }

    #[test]
    fn nothing_comes_in_by_a_gateway_that_is_refused() {
        let mut store = Store::default();
        let https = json!({"port": {"number": 443, "protocol": "TLS", "name": "tls"}, "hosts": ["*"], "tls": {"mode": "SIMPLE"}});
        put(&mut store, Kind::IstioGateway, "gw", json!({"selector": {}, "servers": [https]}));
        let mut spec = vs("a", "/one");
        spec["gateways"] = json!(["gw"]);
        put(&mut store, Kind::VirtualService, "a", spec);
        assert_eq!(paths(&made(&store, &Good::new())), [""; 0]);
    }
}
