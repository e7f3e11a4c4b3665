//! Kubernetes manifests → the configuration as written: Istio's routes and the Gateway API's run as they are.
//!
//! Manifests become a `File` whose every place points into the YAML, and the same check makes a configuration of it as of a
//! TOML file: one meaning, several spellings. So TOML can express every manifest, and [`convert`] prints it.

mod texts;
mod documents;
mod dropped;
mod istio;
mod gateway_api;
mod fields;
mod mirror_policy;
mod delegate;
mod virtual_hosts;
mod virtual_service;
mod grants;
mod hosts;
mod hostnames;
mod attach;
mod cors;
mod grpc_route;
mod rank;
mod filters;
mod http_route;
mod services;
mod entry;
mod protocol;
mod called;
mod machine;
mod policy;
mod upstream_tls;
mod backend_tls;
mod secrets;
mod server_tls;
mod clients;
mod ports;
mod listeners;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::check::{Check, Checked, Materials};
use crate::destination::Destination;
use crate::file::{self, File};
use crate::node::Node;
use crate::problem::{Place, Problem, Report};
use crate::reader::{At, Key, List, Named, Read};
use crate::write::{self, Shown};
use crate::yaml;
use documents::{Kind, Unread};
use dropped::Dropped;
use grpc_route::Route;
use ports::{Listen, Ports};
use secrets::Holder;
use services::Services;
use texts::{Text, texts};

pub use documents::Document;
pub use dropped::DroppedRule;
pub use hosts::Hosts;
pub use mirror_policy::Policy;
pub use protocol::is_spoken;
pub use translate::{Applied, Outcome, State, Translated, translate};

/// The manifests to read, and the settings that manifests cannot hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifests {
    /// Files, directories of them (`*.yaml`, `*.yml`, `*.json`), or `-` for standard input.
    pub paths: Vec<PathBuf>,
    /// `service[/subset][:port]=address:port[,address:port…]`.
    pub endpoints: Vec<String>,
    /// Addresses to listen on, each for every port of the Gateways, or `ADDRESS=PORT` for one.
    pub listen: Vec<String>,
    /// `[NAMESPACE/]NAME=CERT,KEY[,CA]`, or `=CA`: files for Secrets and ConfigMaps that manifests refer to.
    pub secrets: Vec<String>,
    pub plaintext: Plaintext,
    /// TOML with everything that is no route and no upstream.
    pub settings: Option<PathBuf>,
}

/// Connections whose TLS is left to a proxy or a mesh around the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plaintext {
    /// Listeners that Gateways have TLS for take plaintext.
    pub listeners: bool,
    /// Destinations are called in plaintext, whatever manifests say of their TLS.
    pub upstreams: bool,
}

/// Reads and checks manifests.
///
/// # Errors
/// Everything that is wrong with them, in the order of files and lines.
pub fn load(manifests: &Manifests) -> Result<Checked, Vec<Problem>> {
    let mut report = Report::new("command line", "");
    let (file, materials) = read(manifests, &mut report);
    let written = Shown::of(&file);
    let config = Check::new(&mut report).with(materials).config(file);
    report.finish().map(|warnings| Checked { config, written, warnings })
}

/// The same configuration as TOML, and the warnings for its operator.
///
/// # Errors
/// As [`load`].
pub fn convert(manifests: &Manifests) -> Result<(String, Vec<Problem>), Vec<Problem>> {
    let mut report = Report::new("command line", "");
    let (file, materials) = read(manifests, &mut report);
    let text = write::toml(&file);
    for name in materials.keys() {
        let message =
            format!("{name:?} stands in a manifest: write it to a file, and name that as --secret does");
        report.warn(&Place::default(), message);
    }
    let _checked = Check::new(&mut report).with(materials).config(file);
    report.finish().map(|warnings| (text, warnings))
}

/// A resource: its identity, its place in the text, and its `spec`.
#[derive(Debug, Clone)]
struct Resource<T> {
    name: String,
    namespace: String,
    /// The beginning of its routes' names: its name, and its namespace where another resource has that name too.
    shown: String,
    /// `metadata.creationTimestamp`, empty where there is none.
    created: String,
    /// Its `spec`.
    at: Place,
    spec: T,
}

/// Everything the manifests hold that matters here.
#[derive(Default)]
struct Found {
    virtual_services: Vec<Resource<istio::VirtualService>>,
    gateways: Vec<Resource<istio::Gateway>>,
    api_routes: Vec<Route>,
    api_gateways: Vec<Resource<gateway_api::Gateway>>,
    grants: Vec<Resource<gateway_api::ReferenceGrant>>,
    backend_policies: Vec<Resource<gateway_api::BackendTlsPolicy>>,
    namespaces: grants::Namespaces,
    services: Services,
    /// Routes that were refused alone: each still counts where it matters whether a route is the only one.
    lost_routes: usize,
    /// Namespaces and names of the Gateway API's Gateways that were refused alone.
    lost_gateways: BTreeSet<(String, String)>,
}

fn read(manifests: &Manifests, report: &mut Report) -> (File, Materials) {
    let mut found = Found::default();
    let mut file = match &manifests.settings {
        Some(path) => settings(path, report),
        None => File::default(),
    };
    for path in &manifests.paths {
        for Text { name, text, searched } in texts(path, report) {
            report.open(&name, &text, true);
            match yaml::documents(&text) {
                Ok(all) => {
                    for document in all.iter().flat_map(documents::manifests) {
                        report.enter(documents::identity(document));
                        found.take(document, searched, report);
                        report.leave();
                    }
                }
                Err((line, message)) if searched && !documents::may_matter(text.as_bytes()) => {
                    let at = report.place(String::new(), line.unwrap_or(1));
                    report.skip(&at, &format!("it names no kind that is known here ({message})"));
                }
                Err((line, message)) => {
                    report.error(&report.place(String::new(), line.unwrap_or(1)), message)
                }
            }
        }
    }
    report.open("command line", "", false);
    let [endpoint, secret] = ["--endpoint", "--secret"].map(|key| report.place(key.to_owned(), 0));
    for text in &manifests.endpoints {
        found.services.bind(text, &endpoint, report);
    }
    for text in &manifests.secrets {
        found.services.secrets.bind(text, &secret, report);
    }
    let around = Around { listen: &manifests.listen, plaintext: manifests.plaintext };
    let emitted = found.emit(&mut file, around, report);
    (file, emitted.materials)
}

/// Settings given beside the manifests.
#[derive(Debug, Clone, Copy)]
struct Around<'a> {
    /// As `--listen` has them.
    listen: &'a [String],
    plaintext: Plaintext,
}

/// The parts of a translation beside the file.
struct Emitted {
    /// Upstreams that have no addresses yet.
    destinations: Vec<(String, Destination)>,
    materials: Materials,
}

/// Everything but routes and upstreams.
fn settings(path: &Path, report: &mut Report) -> File {
    let mut file = File::default();
    for Text { name, text, .. } in texts(path, report) {
        file = settings_of(&name, &text, report);
    }
    file
}

fn settings_of(name: &str, text: &str, report: &mut Report) -> File {
    report.open(name, text, false);
    let file = file::read(text, report).unwrap_or_default();
    for at in [file.route.given().map(|key| &key.at), file.upstream.given().map(|key| &key.at)]
        .into_iter()
        .flatten()
    {
        report.error(at, "routes and upstreams come from the manifests here; leave them out");
    }
    File { route: Key::Absent, upstream: Key::Absent, ..file }
}

/// The keys of a manifest. Any other is misplaced or misspelt, and to leave it out would change where requests go.
const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

impl Found {
    /// Takes the resource of the document that was entered; `searched` where its file was met in a directory.
    fn take(&mut self, document: &Node, searched: bool, report: &mut Report) {
        let id = documents::identity(document);
        let shown = [id.kind.as_str(), &id.name].into_iter().filter(|part| !part.is_empty());
        let shown = shown.collect::<Vec<_>>().join("/");
        let at = report.place(shown.clone(), document.line);
        if id.kind == "Namespace" {
            self.services.know_namespace(&id.name);
        } else if !id.name.is_empty() {
            self.services.know_namespace(&id.namespace);
        }
        let kind = match documents::kind(document, searched) {
            Ok(kind) => kind,
            Err(Unread::Skipped(why)) => return report.skip(&at, &why),
            Err(Unread::Refused(why)) => return report.error(&at, why),
        };
        if id.name.is_empty() {
            if searched && documents::is_referred_to(kind) {
                return report.skip(&at, "it has no name by which anything could refer to it");
            }
            return report.error(&at, "metadata.name is missing");
        }
        let mut unusable = document.unusable();
        unusable.retain(|(path, ..)| documents::is_read(kind, path));
        for (path, line, why) in &unusable {
            report.error(&report.place(format!("{shown} {path}"), *line), *why);
        }
        if !unusable.is_empty() {
            return;
        }
        let metadata = document.get("metadata");
        let created = metadata.and_then(|metadata| metadata.text("creationTimestamp")).unwrap_or_default();
        let who = Who {
            kind: &id.kind,
            name: &id.name,
            namespace: &id.namespace,
            created,
            line: document.line,
            spec: document.get("spec"),
            document,
        };
        match kind {
            Kind::VirtualService => self.virtual_services.extend(who.read(report)),
            Kind::DestinationRule => {
                if let Some(rule) = who.read(report) {
                    self.services.rule(rule);
                }
            }
            Kind::ServiceEntry => {
                if let Some(entry) = who.read(report) {
                    self.services.entry(entry, report);
                }
            }
            Kind::IstioGateway => self.gateways.extend(who.read(report)),
            Kind::HttpRoute => self.api_routes.extend(who.read(report).map(Route::http)),
            Kind::GrpcRoute => {
                if let Some(route) = who.read(report) {
                    self.api_routes.push(Route::grpc(route, report));
                }
            }
            Kind::ApiGateway => self.api_gateways.extend(who.read(report)),
            Kind::BackendTlsPolicy => self.backend_policies.extend(who.read(report)),
            Kind::ReferenceGrant => self.grants.extend(who.read(report)),
            Kind::Secret => self.services.secrets.know(Holder::Secret, &id, document, report),
            Kind::ConfigMap => self.services.secrets.know(Holder::ConfigMap, &id, document, report),
            Kind::Service => {
                self.services.know(&id.name, &id.namespace, protocol::ports(document, &shown, report));
            }
            Kind::Namespace => {
                let labels = metadata.and_then(|metadata| metadata.get("labels"));
                let labels = labels.map(Node::entries).unwrap_or_default().iter();
                let text = |entry: &crate::node::Entry| {
                    Some((entry.name.clone(), entry.node.value.text()?.to_owned()))
                };
                self.namespaces.know(&id.name, labels.filter_map(text).collect());
            }
        }
    }

    /// Takes a route of the Gateway API without some of its rules.
    fn take_without(&mut self, rules: &Dropped, document: &Node, report: &mut Report) {
        let before = self.api_routes.len();
        self.take(&rules.amended(document), true, report);
        if let Some(route) = self.api_routes.get_mut(before) {
            rules.refuse(document, &mut route.of.spec);
            route.is_void = rules.has_all(document);
        }
    }

    /// Notes the names of a document that was refused alone: resources that rely on them must find them missing.
    fn lose(&mut self, document: &Node) {
        let id = documents::identity(document);
        self.services.know_namespace(&id.namespace);
        match documents::kind(document, true) {
            Ok(Kind::VirtualService | Kind::HttpRoute | Kind::GrpcRoute) => self.lost_routes += 1,
            Ok(Kind::ApiGateway) => {
                self.lost_gateways.insert((id.namespace, id.name));
            }
            Ok(Kind::DestinationRule) => {
                let spec = document.get("spec");
                if spec.is_some_and(names_tls)
                    && let Some(host) = spec.and_then(|spec| spec.text("host"))
                {
                    self.services.lose(host, &id.namespace);
                }
            }
            Ok(Kind::BackendTlsPolicy) => {
                let targets = document.get("spec").and_then(|spec| spec.get("targetRefs"));
                for target in targets.map(Node::items).unwrap_or_default() {
                    // Of two that are for the same the older counts, and they come by age.
                    let is_for = |name: &str| {
                        let all = self.backend_policies.iter().filter(|one| one.namespace == id.namespace);
                        all.flat_map(backend_tls::names).any(|known| known == name)
                    };
                    if let Some(name) = target.text("name").filter(|name| !is_for(name)) {
                        self.services.lose(name, &id.namespace);
                    }
                }
            }
            Ok(
                Kind::ServiceEntry
                | Kind::IstioGateway
                | Kind::ReferenceGrant
                | Kind::Service
                | Kind::Secret
                | Kind::ConfigMap
                | Kind::Namespace,
            )
            | Err(_) => {}
        }
    }

    /// Writes routes, upstreams and listeners into `file`.
    fn emit(mut self, file: &mut File, around: Around<'_>, report: &mut Report) -> Emitted {
        let nowhere = report.place(String::new(), 0);
        let Around { listen, plaintext } = around;
        let at = Place { key: "--listen".to_owned(), ..nowhere.clone() };
        let listen: Vec<Listen> = listen.iter().map(|text| Listen::read(text, &at, report)).collect();
        // `--listen` replaces the listeners of the settings.
        if !listen.is_empty() {
            file.listener = Key::Absent;
        }
        self.services.plaintext = plaintext.upstreams;
        let ports = Ports::of(&listen, !file.listener.is_absent());
        delegate::join(&mut self.virtual_services, &self.services, report);
        let (virtual_services, api_routes) = (&mut self.virtual_services, &mut self.api_routes);
        tell_apart(virtual_services.iter_mut());
        tell_apart(api_routes.iter_mut().map(|route| &mut route.of));
        self.services.settle(report);
        for policy in std::mem::take(&mut self.backend_policies) {
            self.services.policy(&policy, report);
        }
        for service in virtual_services.iter() {
            for host in virtual_service::destinations(&service.spec) {
                self.services.mention(host, &service.namespace);
            }
        }
        for Route { of, .. } in api_routes.iter() {
            for (name, namespace) in http_route::backends(&of.spec) {
                self.services.mention(name, namespace.unwrap_or(&of.namespace));
            }
        }
        let services = &mut self.services;
        let alone = virtual_services.len() + api_routes.len() + self.lost_routes == 1;
        let more_follow = !api_routes.is_empty();
        let mut routes = virtual_service::routes(virtual_services, more_follow, alone, services, report);
        let around = attach::Around {
            gateways: &self.api_gateways,
            lost_gateways: &self.lost_gateways,
            namespaces: &self.namespaces,
            ports: &ports,
            other_ports: self
                .gateways
                .iter()
                .flat_map(|gateway| listeners::ports_of(&gateway.spec))
                .collect(),
            alone,
        };
        routes.extend(http_route::routes(api_routes, &around, &self.grants, services, report));
        if !report.is_by_resource() {
            if self.virtual_services.is_empty() && self.api_routes.is_empty() {
                let message =
                    "the manifests have no route: a VirtualService, an HTTPRoute or a GRPCRoute is needed";
                report.error(&nowhere, message);
            }
            if routes.is_empty() && !report.has_errors() {
                report.error(&nowhere, "no route of the manifests has a rule, so nothing can be served");
            }
        }
        let takes_http2 = self.services.speak_http2();
        listeners::Around {
            gateways: &self.gateways,
            api_gateways: &self.api_gateways,
            grants: &self.grants,
            secrets: &mut self.services.secrets,
            plaintext,
            listen: &listen,
            takes_http2,
        }
        .write(file, &mut routes, report);
        name_apart(&mut routes);
        let materials = std::mem::take(&mut self.services.secrets).finish(report);
        let (upstreams, destinations) = self.services.finish(report);
        // The missing routes were reported where they are missed.
        file.route = if routes.is_empty() { Key::Refused } else { Key::at(routes, &nowhere) };
        file.upstream = Key::at(upstreams, &nowhere);
        Emitted { destinations, materials }
    }
}

/// Whether a policy has a key `tls`, at any depth.
fn names_tls(node: &Node) -> bool {
    node.entries().iter().any(|entry| entry.name == "tls" || names_tls(&entry.node))
        || node.items().iter().any(names_tls)
}

/// Names that several namespaces have are shown with theirs.
fn tell_apart<'r, T: 'r>(all: impl Iterator<Item = &'r mut Resource<T>>) {
    let all: Vec<&mut Resource<T>> = all.collect();
    let mut namespaces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in &all {
        namespaces.entry(resource.name.clone()).or_default().insert(resource.namespace.clone());
    }
    for resource in all {
        if namespaces.get(&resource.name).is_some_and(|namespaces| namespaces.len() > 1) {
            resource.shown = format!("{}.{}", resource.name, resource.namespace);
        }
    }
}

/// Manifests may name routes alike, and here each needs a name of its own: the second `a/b` is `a/b:2`.
fn name_apart(routes: &mut List<file::Route>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for route in routes {
        let Key::Given(route) = route else { continue };
        let Key::Given(name) = &mut route.value.name else { continue };
        let count = seen.entry(name.value.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name.value = format!("{}:{count}", name.value);
        }
    }
}

/// The metadata of a document, before its kind is known.
struct Who<'d> {
    kind: &'d str,
    name: &'d str,
    namespace: &'d str,
    created: &'d str,
    line: usize,
    spec: Option<&'d Node>,
    /// All of it.
    document: &'d Node,
}

impl Who<'_> {
    fn read<T: Read>(&self, report: &mut Report) -> Option<Resource<T>> {
        let Self { kind, name, namespace, created, line, spec, document } = self;
        for entry in document.entries() {
            if !TOP_LEVEL.contains(&entry.name.as_str()) {
                let at = report.place(format!("{kind}/{name} {}", entry.name), entry.line);
                report.error(
                    &at,
                    "is not known here; beside spec there are apiVersion, kind, metadata and status",
                );
            }
        }
        let key = format!("{kind}/{name} spec");
        let Some(spec) = spec else {
            report.error(&report.place(key, *line), "is missing");
            return None;
        };
        let at = report.place(key, spec.line);
        let spec = T::read(&spec.value, &at, report)?;
        let [name, namespace, created] = [name, namespace, created].map(|text| (*text).to_owned());
        Some(Resource { shown: name.clone(), name, namespace, created, at, spec })
    }
}

/// Edits of fields with plain values, as TOML has them.
fn header_edits(
    set: &Key<Named<String>>,
    add: &Key<Named<String>>,
    remove: &Key<List<String>>,
    at: &Place,
) -> Key<file::HeaderEdits> {
    // HTTP/1.1 calls `:authority` Host.
    let named = |key: &Key<Named<String>>| match key.given() {
        None => key.clone(),
        Some(given) => {
            let host = |(name, value): &(At<String>, Key<String>)| {
                let plain = if name.value == ":authority" { "host" } else { &name.value };
                (At { value: plain.to_owned(), at: name.at.clone() }, value.clone())
            };
            Key::at(given.value.iter().map(host).collect(), &given.at)
        }
    };
    Key::at(
        file::HeaderEdits { remove: remove.clone(), set: named(set), add: named(add), ..Default::default() },
        at,
    )
}

#[cfg(test)]
mod tests;
