//! Destinations: a service's name, a subset and a port become an upstream with addresses and a policy.
//!
//! Addresses come from `--endpoint`, from a ServiceEntry's endpoints, or from DNS names; there is no cluster to ask.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Resource;
use super::backend_tls;
use super::called::Called;
use super::entry::{entry_addresses, ports_of};
use super::gateway_api::BackendTlsPolicy;
use super::hosts::without_root;
use super::istio::{Destination, DestinationRule, ServiceEntry, Subset, TrafficPolicy};
use super::mirror_policy::Policies;
use super::policy;
use super::protocol::{self, Asker, Port, Protocol};
use super::secrets::Secrets;
use crate::destination::{self, CLUSTER};
use crate::file;
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List, Named};

/// The argument of one `--endpoint service[/subset][:port]=address,…`.
#[derive(Debug)]
struct Bound {
    service: String,
    subset: Option<String>,
    port: Option<u64>,
    addresses: Vec<String>,
    at: Place,
    /// The service that it was the address of.
    used: Option<String>,
}

/// The destination that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    /// Its name in full.
    service: String,
    subset: Option<String>,
    port: Option<u64>,
    /// The destination is called over HTTP/2 though no manifest says that it speaks it.
    over_http2: bool,
}

/// The reference that asks for an upstream.
struct Asking<'a> {
    at: &'a Place,
    /// The fate of requests without it, in words.
    otherwise: &'a str,
    asker: Asker,
}

/// An upstream in the making.
struct Made {
    name: String,
    upstream: file::Upstream,
    at: Place,
    /// The destination whose addresses are still to be told.
    unaddressed: Option<Wanted>,
    labels: Vec<(String, String)>,
}

/// Everything the manifests and the command line say about services.
#[derive(Default)]
pub(super) struct Services {
    /// All destinations are called in plaintext, whatever manifests say of TLS.
    pub(super) plaintext: bool,
    pub(super) secrets: Secrets,
    /// Further keys of mirrors.
    pub(super) policies: Policies,
    bound: Vec<Bound>,
    /// Indices of `bound` by name.
    bound_by_name: BTreeMap<String, Vec<usize>>,
    /// As they were read; [`Services::settle`] sorts them by the full names of their hosts.
    read_rules: Vec<Resource<DestinationRule>>,
    rules: BTreeMap<String, Resource<DestinationRule>>,
    entries: BTreeMap<String, Resource<ServiceEntry>>,
    /// BackendTLSPolicies of Services, by their names in full.
    backend_policies: backend_tls::Policies,
    /// Names, namespaces and ports of Services.
    read_services: Vec<(String, String, Vec<Port>)>,
    known: BTreeMap<String, Vec<Port>>,
    /// Hosts and namespaces of DestinationRules that were refused alone and say something of TLS.
    read_lost: Vec<(String, String)>,
    lost: BTreeSet<String>,
    /// Every namespace that a manifest names.
    namespaces: BTreeSet<String>,
    /// The full names behind each short name, of all services that are named anywhere.
    shorts: BTreeMap<String, BTreeSet<String>>,
    made: BTreeMap<Wanted, Option<usize>>,
    upstreams: Vec<Made>,
    upstreams_by_name: BTreeMap<String, usize>,
}

/// The first label of a cluster's name, the whole of any other.
fn short(service: &str) -> &str {
    let inner = service.strip_suffix(CLUSTER).and_then(|inner| inner.split_once('.'));
    inner.map_or(service, |(name, _namespace)| name)
}

impl Services {
    /// Takes one `--endpoint`.
    pub(super) fn bind(&mut self, text: &str, at: &Place, report: &mut Report) {
        let wrong = |report: &mut Report| {
            let message = format!(
                "{text:?} is not an endpoint; write SERVICE[/SUBSET][:PORT]=ADDRESS:PORT[,ADDRESS:PORT…], as in \
                 httpbin/v1=127.0.0.1:8001"
            );
            report.error(at, message);
        };
        let Some((who, addresses)) = text.split_once('=') else { return wrong(report) };
        let (who, port) = match who.rsplit_once(':') {
            Some((who, port)) => match port.parse() {
                Ok(port) => (who, Some(port)),
                Err(_) => return wrong(report),
            },
            None => (who, None),
        };
        let (service, subset) = match who.split_once('/') {
            Some((service, subset)) => (service, Some(subset.to_owned())),
            None => (who, None),
        };
        if service.is_empty() || addresses.is_empty() || subset.as_deref() == Some("") {
            return wrong(report);
        }
        let service = without_root(service).to_ascii_lowercase();
        self.bound_by_name.entry(service.clone()).or_default().push(self.bound.len());
        self.bound.push(Bound {
            service,
            subset,
            port,
            addresses: addresses.split(',').map(str::to_owned).collect(),
            at: at.clone(),
            used: None,
        });
    }

    /// Takes a Service.
    pub(super) fn know(&mut self, service: &str, namespace: &str, ports: Vec<Port>) {
        self.read_services.push((service.to_owned(), namespace.to_owned(), ports));
    }

    /// Takes the host of a DestinationRule that was refused alone and says something of TLS.
    pub(super) fn lose(&mut self, host: &str, namespace: &str) {
        self.read_lost.push((host.to_owned(), namespace.to_owned()));
    }

    /// Takes the name of a namespace: `httpbin.shop` is a service where `shop` is one.
    pub(super) fn know_namespace(&mut self, namespace: &str) {
        if !self.namespaces.contains(namespace) {
            self.namespaces.insert(namespace.to_owned());
        }
    }

    pub(super) fn rule(&mut self, rule: Resource<DestinationRule>) {
        self.read_rules.push(rule);
    }

    pub(super) fn entry(&mut self, entry: Resource<ServiceEntry>, report: &mut Report) {
        for host in entry.spec.hosts.given().map(|hosts| hosts.value.as_slice()).unwrap_or_default() {
            let Some(host) = host.given() else { continue };
            // A host with one dot is a full name already.
            let service = match without_root(&host.value).matches('.').count() {
                1 => without_root(&host.value).to_ascii_lowercase(),
                _ => self.in_full(&host.value, &entry.namespace),
            };
            match self.entries.entry(service) {
                Entry::Vacant(free) => {
                    free.insert(entry.clone());
                }
                Entry::Occupied(_) => {
                    let message = "is the host of another ServiceEntry, which comes first and is used";
                    report.warn(&host.at, message);
                }
            }
        }
    }

    /// Resolves all names, once everything was read.
    pub(super) fn settle(&mut self, report: &mut Report) {
        for (service, namespace, ports) in std::mem::take(&mut self.read_services) {
            let service = self.in_full(&service, &namespace);
            self.known.entry(service).or_insert(ports);
        }
        for (host, namespace) in std::mem::take(&mut self.read_lost) {
            let service = self.in_full(&host, &namespace);
            self.lost.insert(service);
        }
        for rule in std::mem::take(&mut self.read_rules) {
            let Some(host) = rule.spec.host.given() else {
                report.error(&rule.at.child("host"), "is missing");
                continue;
            };
            let service = self.in_full(&host.value, &rule.namespace);
            let at = host.at.clone();
            match self.rules.entry(service) {
                Entry::Vacant(free) => {
                    free.insert(rule);
                }
                Entry::Occupied(_) => {
                    let message = "is the host of another DestinationRule, which comes first and is used";
                    report.warn(&at, message);
                }
            }
        }
        for service in self.rules.keys().chain(self.entries.keys()).chain(self.known.keys()) {
            self.shorts.entry(short(service).to_owned()).or_default().insert(service.clone());
        }
    }

    /// Takes a BackendTLSPolicy, once names can be resolved.
    pub(super) fn policy(&mut self, policy: &Resource<BackendTlsPolicy>, report: &mut Report) {
        if self.plaintext {
            return;
        }
        for (name, target) in backend_tls::targets(policy, &mut self.secrets, report) {
            let service = self.in_full(&name, &policy.namespace);
            let ports = self.known.get(&service).map(Vec::as_slice).unwrap_or_default();
            if let Some(section) = &target.section
                && protocol::number(ports, &section.value).is_none()
            {
                let what = format!("no port {:?} of Service {name} is known", section.value);
                let cure = "; give the Service with --manifest, or it would be called in plaintext";
                report.missing(&section.at, &what, cure, "it has no effect there");
            }
            self.backend_policies.add(service, target);
        }
    }

    /// A destination names this service.
    pub(super) fn mention(&mut self, host: &str, namespace: &str) {
        let service = self.in_full(host, namespace);
        self.shorts.entry(short(&service).to_owned()).or_default().insert(service);
    }

    /// `httpbin`, `httpbin.default` and `httpbin.default.svc` are `httpbin.default.svc.cluster.local`; other names with
    /// dots are whole.
    pub(super) fn in_full(&self, host: &str, namespace: &str) -> String {
        let host = without_root(host).to_ascii_lowercase();
        match host.split('.').collect::<Vec<_>>().as_slice() {
            [wild, ..] if wild.starts_with('*') => host,
            [name] => format!("{name}.{namespace}{CLUSTER}"),
            [_, inner]
                if (*inner == namespace || *inner == "default" || self.namespaces.contains(*inner))
                    && !self.entries.contains_key(&host) =>
            {
                format!("{host}{CLUSTER}")
            }
            [_, _, "svc"] => format!("{host}.cluster.local"),
            _ => host,
        }
    }

    /// A service that a manifest or an `--endpoint` names.
    pub(super) fn is_known(&self, service: &str) -> bool {
        self.known.contains_key(service)
            || self.entries.contains_key(service)
            || self.rules.contains_key(service)
            || self.bound_for(service).next().is_some()
    }

    /// The endpoints given under any name of this service; the more it says the earlier it comes.
    fn bound_for(&self, service: &str) -> impl Iterator<Item = usize> {
        let inner = service.strip_suffix(CLUSTER);
        let names = [
            Some(service.to_owned()),
            inner.map(|inner| format!("{inner}.svc")),
            inner.map(str::to_owned),
            inner.map(|_| short(service).to_owned()),
        ];
        names.into_iter().flatten().flat_map(|name| {
            self.bound_by_name.get(&name).map(Vec::as_slice).unwrap_or_default().iter().copied()
        })
    }

    /// The rule of this service, or the one whose wildcard says most of its name.
    fn rule_of(&self, service: &str) -> Option<&Resource<DestinationRule>> {
        if let Some(rule) = self.rules.get(service) {
            return Some(rule);
        }
        // Wildcards stand together in the order of names.
        let wild = self.rules.range("*".to_owned()..).take_while(|(host, _)| host.starts_with('*'));
        let fits = wild.filter(|(host, _)| service.ends_with(host.trim_start_matches('*')));
        fits.max_by_key(|(host, _)| host.len()).map(|(_, rule)| rule)
    }

    /// The number of a Service's port, by its name.
    pub(super) fn port_named(&self, service: &str, name: &str) -> Option<u64> {
        protocol::number(self.known.get(service)?, name)
    }

    /// The name of the upstream for a destination; `None` after reporting why there is none, with the effect on requests,
    /// `otherwise`.
    pub(super) fn upstream(
        &mut self,
        destination: &At<Destination>,
        namespace: &str,
        otherwise: &str,
        report: &mut Report,
    ) -> Option<String> {
        let written = &destination.value;
        let Some(host) = written.host.given() else {
            report.error(&destination.at.child("host"), "is missing");
            return None;
        };
        let wanted = Wanted {
            service: self.in_full(&host.value, namespace),
            subset: written.subset.given().map(|subset| subset.value.clone()),
            port: written.port.given().and_then(|port| port.value.number.given()).map(|number| number.value),
            over_http2: false,
        };
        let at = written.subset.given().map_or(&host.at, |subset| &subset.at);
        self.made_of(wanted, &Asking { at, otherwise, asker: Asker::Istio }, report)
    }

    /// As [`Services::upstream`], for a service's full name without a subset.
    pub(super) fn plain_upstream(
        &mut self,
        service: String,
        port: Option<u64>,
        asker: Asker,
        (at, otherwise): (&Place, &str),
        report: &mut Report,
    ) -> Option<String> {
        let asking = Asking { at, otherwise, asker };
        self.made_of(Wanted { service, subset: None, port, over_http2: false }, &asking, report)
    }

    fn made_of(&mut self, wanted: Wanted, asking: &Asking<'_>, report: &mut Report) -> Option<String> {
        let Asking { at, otherwise, .. } = asking;
        if self.is_lost(&wanted.service) {
            let service = self.shown(&wanted.service);
            report.warn(at, format!("what was to be said of TLS with {service} was refused: {otherwise}"));
            return None;
        }
        self.can_be_spoken_to(&wanted, asking, report)?;
        // Where addresses come from a cluster, each port has its own.
        let matters = report.is_by_resource() || self.port_matters(&wanted, asking.asker);
        let says_http2 = self.protocol(&wanted, asking).is_some_and(Protocol::is_http2);
        let over_http2 = asking.asker == Asker::GrpcRoute && !says_http2;
        let wanted = Wanted { over_http2, port: wanted.port.filter(|_| matters), ..wanted };
        if let Some(made) = self.made.get(&wanted) {
            return made.and_then(|index| self.upstreams.get(index)).map(|made| made.name.clone());
        }
        let index = self.make(&wanted, asking, report).map(|made| {
            self.upstreams_by_name.insert(made.name.clone(), self.upstreams.len());
            self.upstreams.push(made);
            self.upstreams.len() - 1
        });
        // A missing destination is reported for each reference to it, where it may still come.
        if index.is_some() || !report.is_by_resource() {
            self.made.insert(wanted, index);
        }
        index.and_then(|index| self.upstreams.get(index)).map(|made| made.name.clone())
    }

    /// A refused DestinationRule would have said something of TLS to this service.
    fn is_lost(&self, service: &str) -> bool {
        let wild = self.lost.range("*".to_owned()..).take_while(|host| host.starts_with('*'));
        if self.plaintext {
            return false;
        }
        self.lost.contains(service)
            || !self.rules.contains_key(service)
                && wild.into_iter().any(|host| service.ends_with(host.trim_start_matches('*')))
    }

    /// `None` after saying that manifests say another protocol than is spoken.
    fn can_be_spoken_to(&self, wanted: &Wanted, asking: &Asking<'_>, report: &mut Report) -> Option<()> {
        let Some((ports, port, asker)) = self.ports_asked(wanted, asking) else { return Some(()) };
        let Some((at, why)) = protocol::fault(&ports, port, asker) else {
            return Some(());
        };
        if report.is_by_resource() {
            let service = self.shown(&wanted.service);
            report.warn(asking.at, format!("{service} cannot be asked ({why}): {}", asking.otherwise));
        } else {
            report.error(at, why);
        }
        None
    }

    /// The protocol of a destination, as far as manifests say.
    fn protocol(&self, wanted: &Wanted, asking: &Asking<'_>) -> Option<Protocol> {
        let (ports, port, asker) = self.ports_asked(wanted, asking)?;
        protocol::of(&ports, port, asker)
    }

    /// Its ports as manifests have them, which is asked for, and by whose rules they are read.
    fn ports_asked(&self, wanted: &Wanted, asking: &Asking<'_>) -> Option<(Vec<Port>, Option<u64>, Asker)> {
        if let Some(ports) = self.known.get(&wanted.service) {
            return Some((ports.clone(), wanted.port, asking.asker));
        }
        let ports = protocol::entry_ports(&self.entries.get(&wanted.service)?.spec);
        // Of several ports of a ServiceEntry the first is meant.
        let first = ports.first().map(|port| port.number);
        Some((ports, wanted.port.or(first), Asker::Istio))
    }

    /// Whether the service's ports can be told apart: then each has an upstream of its own.
    fn port_matters(&self, wanted: &Wanted, asker: Asker) -> bool {
        let service = &wanted.service;
        let bound = self.bound_for(service).filter_map(|index| self.bound.get(index));
        let levels = |policy: &Key<TrafficPolicy>| {
            policy.given().is_some_and(|policy| !policy.value.port_level_settings.is_absent())
        };
        let rule = |rule: &DestinationRule| {
            let subsets = rule.subsets.given().map(|list| list.value.as_slice()).unwrap_or_default();
            levels(&rule.traffic_policy)
                || subsets.iter().filter_map(Key::given).any(|subset| levels(&subset.value.traffic_policy))
        };
        // A ServiceEntry tells ports apart where it has several, or another than the wanted one; that one is reported where
        // addresses are looked for.
        let entry = self.entries.get(service).is_some_and(|entry| {
            let ports = ports_of(&entry.spec);
            ports.len() > 1 || wanted.port.is_some_and(|port| !ports.contains(&port))
        });
        entry
            || self.known.get(service).is_some_and(|ports| protocol::differ(ports, asker))
            || self.backend_policies.name_ports(service)
            || bound.into_iter().any(|bound| bound.port.is_some())
            || self.rule_of(service).is_some_and(|resource| rule(&resource.spec))
    }

    fn make(&mut self, wanted: &Wanted, asking: &Asking<'_>, report: &mut Report) -> Option<Made> {
        let at = asking.at;
        let rule = self.rule_of(&wanted.service).cloned();
        let subset = match &wanted.subset {
            None => None,
            Some(name) => Some(self.subset(rule.as_ref(), name, &wanted.service, asking, report)?),
        };
        let labels = subset.as_ref().and_then(|subset| subset.labels.given());
        let labels = labels.map(|labels| &labels.value);
        let addresses = self.addresses(wanted, labels, asking, report)?;
        let unaddressed = addresses.is_empty().then(|| wanted.clone());
        let endpoints = if addresses.is_empty() {
            Key::Refused
        } else {
            Key::at(addresses.into_iter().map(|a| Key::at(a, at)).collect::<List<String>>(), at)
        };
        let mut upstream = file::Upstream { endpoints, ..file::Upstream::default() };
        let policies = [
            rule.as_ref().and_then(|rule| rule.spec.traffic_policy.given()),
            subset.as_ref().and_then(|subset| subset.traffic_policy.given()),
        ];
        let protocol = self.protocol(wanted, asking);
        let namespace = rule.as_ref().map(|rule| rule.namespace.as_str()).unwrap_or_default();
        let is_told = policies.iter().flatten().any(|policy| !policy.value.tls.is_absent());
        let of = Called {
            service: &wanted.service,
            port: wanted.port,
            protocol,
            over_http2: wanted.over_http2,
            namespace,
            plaintext: self.plaintext,
        };
        policy::apply(policies.map(|p| p.map(|p| &p.value)), of, &mut self.secrets, &mut upstream, report);
        if let Some(tls) = self
            .backend_policies
            .of(&wanted.service, wanted.port, self.known.get(&wanted.service))
            .filter(|_| !self.plaintext && !is_told)
        {
            upstream.tls = tls.clone();
        }
        let mut name = self.display(wanted);
        // An HTTPRoute or a VirtualService asks for it in HTTP/1.1.
        if wanted.over_http2 && self.made.contains_key(&Wanted { over_http2: false, ..wanted.clone() }) {
            name.push_str("+h2");
        }
        if self.upstreams_by_name.contains_key(&name) {
            name = name.replacen(self.shown(&wanted.service), &wanted.service, 1);
        }
        let label = |(name, value): &(At<String>, Key<String>)| {
            Some((name.value.clone(), value.given()?.value.clone()))
        };
        let labels = labels.into_iter().flatten().filter_map(label).collect();
        Some(Made { name, upstream, at: at.clone(), unaddressed, labels })
    }

    fn subset(
        &self,
        rule: Option<&Resource<DestinationRule>>,
        name: &str,
        service: &str,
        asking: &Asking<'_>,
        report: &mut Report,
    ) -> Option<Subset> {
        let service = self.shown(service);
        let Some(rule) = rule else {
            let what = format!("no DestinationRule says what subset {name:?} of {service} is");
            report.missing(asking.at, &what, "; give it with --manifest", asking.otherwise);
            return None;
        };
        let subsets = rule.spec.subsets.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let subsets: Vec<_> = subsets.iter().filter_map(Key::given).map(|subset| &subset.value).collect();
        let named = |subset: &&&Subset| subset.name.given().is_some_and(|given| given.value == name);
        if let Some(subset) = subsets.iter().find(named) {
            return Some((*subset).clone());
        }
        let known: Vec<&str> = subsets.iter().filter_map(|s| Some(s.name.given()?.value.as_str())).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let what = format!("the DestinationRule of {service} has no subset {name:?} (it has {known})");
        report.missing(asking.at, &what, "", asking.otherwise);
        None
    }

    /// The shortest name of a service that no other service has.
    fn shown<'s>(&self, service: &'s str) -> &'s str {
        let name = short(service);
        match self.shorts.get(name) {
            Some(services) if services.len() > 1 => service.strip_suffix(CLUSTER).unwrap_or(service),
            Some(_) | None => name,
        }
    }

    /// As `--endpoint` names it.
    fn display(&self, wanted: &Wanted) -> String {
        let service = self.shown(&wanted.service);
        match (&wanted.subset, wanted.port) {
            (None, None) => service.to_owned(),
            (Some(subset), None) => format!("{service}/{subset}"),
            (None, Some(port)) => format!("{service}:{port}"),
            (Some(subset), Some(port)) => format!("{service}/{subset}:{port}"),
        }
    }

    fn addresses(
        &mut self,
        wanted: &Wanted,
        labels: Option<&Named<String>>,
        asking: &Asking<'_>,
        report: &mut Report,
    ) -> Option<Vec<String>> {
        let found = self.bound_addresses(wanted, report);
        if !found.is_empty() {
            return Some(found);
        }
        if let Some(entry) = self.entries.get(&wanted.service) {
            let ports = ports_of(&entry.spec);
            if let Some(port) = wanted.port
                && !ports.contains(&port)
            {
                let known: Vec<String> = ports.iter().map(u64::to_string).collect();
                let service = self.shown(&wanted.service);
                let what =
                    format!("the ServiceEntry of {service} has no port {port} (it has {})", known.join(", "));
                report.missing(asking.at, &what, "", asking.otherwise);
                return None;
            }
            let found = entry_addresses(&wanted.service, &entry.spec, wanted.port, labels, report);
            if !found.is_empty() {
                return Some(found);
            }
        }
        if report.is_by_resource() {
            return Some(Vec::new());
        }
        let who = self.display(&Wanted { port: None, ..wanted.clone() });
        report
            .error(asking.at, format!("no address is known for {who}: write --endpoint {who}=ADDRESS:PORT"));
        None
    }

    /// The addresses from `--endpoint`: of the bindings that name the destination most precisely, all together.
    fn bound_addresses(&mut self, wanted: &Wanted, report: &mut Report) -> Vec<String> {
        let fits = |bound: &Bound| {
            bound.subset == wanted.subset && (bound.port.is_none() || bound.port == wanted.port)
        };
        // How much a name says is its length here: they are all names of one service.
        let rank = |bound: &Bound| (bound.service.len(), bound.port.is_some());
        let fitting =
            self.bound_for(&wanted.service).filter_map(|index| Some((index, self.bound.get(index)?)));
        let fitting: Vec<_> = fitting.filter(|(_, bound)| fits(bound)).map(|(i, b)| (rank(b), i)).collect();
        let Some(best) = fitting.iter().map(|(rank, _)| *rank).max() else { return Vec::new() };
        let mut addresses = Vec::new();
        for (_, index) in fitting.into_iter().filter(|(rank, _)| *rank == best) {
            let Some(bound) = self.bound.get_mut(index) else { continue };
            match &bound.used {
                Some(other) if *other != wanted.service => {
                    let inner = |service: &str| service.strip_suffix(CLUSTER).unwrap_or(service).to_owned();
                    let (one, other) = (inner(other), inner(&wanted.service));
                    let message =
                        format!("{} is the name of {one} and of {other}: write which", bound.service);
                    report.error(&bound.at, message);
                }
                Some(_) | None => bound.used = Some(wanted.service.clone()),
            }
            addresses.extend(bound.addresses.iter().cloned());
        }
        addresses
    }

    /// A destination's connection pool bounds a mirror's ring and connections.
    pub(super) fn mirror_policy(&self, upstream: &str, mirror: &mut file::Mirror, report: &mut Report) {
        let index = self.upstreams_by_name.get(upstream);
        let Some(made) = index.and_then(|index| self.upstreams.get(*index)) else { return };
        let bounded = |key: &Key<u64>, most: u64, report: &mut Report| match key.given() {
            Some(given) if given.value > most => {
                report.warn(&given.at, format!("a mirror has at most {most} here, which is used"));
                Key::at(most, &given.at)
            }
            Some(_) | None => key.clone(),
        };
        mirror.ring_entries_max = bounded(&made.upstream.pending_max, 1_048_576, report);
        mirror.connections_max = bounded(&made.upstream.connections_max, 1_024, report);
        mirror.connect_timeout = made.upstream.connect_timeout.clone();
    }

    /// Whether a destination is spoken to in HTTP/2: its clients may speak it too.
    pub(super) fn speak_http2(&self) -> bool {
        self.upstreams.iter().any(|made| !made.upstream.protocol.is_absent())
    }

    /// The upstreams, by name, and those without addresses; warns of each `--endpoint` that no destination asked for.
    pub(super) fn finish(
        self,
        report: &mut Report,
    ) -> (Named<file::Upstream>, Vec<(String, destination::Destination)>) {
        self.policies.finish(report);
        for bound in self.bound.iter().filter(|bound| bound.used.is_none()) {
            report.warn(&bound.at, "no destination of the manifests asks for this endpoint");
        }
        let unaddressed = |made: &Made| {
            let Wanted { service, subset, port, over_http2: _ } = made.unaddressed.clone()?;
            Some((
                made.name.clone(),
                destination::Destination { service, subset, labels: made.labels.clone(), port },
            ))
        };
        let unaddressed = self.upstreams.iter().filter_map(unaddressed).collect();
        let one = |made: Made| {
            let name = At { value: made.name, at: made.at.clone() };
            (name, Key::at(made.upstream, &made.at))
        };
        let mut upstreams: Named<file::Upstream> = self.upstreams.into_iter().map(one).collect();
        upstreams.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
        (upstreams, unaddressed)
    }
}
