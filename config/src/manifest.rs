//! Kubernetes manifests → the configuration as written: Istio's routes and the Gateway API's run as they are.
//!
//! Manifests become a `File` whose every place points into the YAML, and the same check makes a
//! configuration of it as of a TOML file: one meaning, several spellings. So whatever a manifest can say TOML can say,
//! and [`convert`] prints it.

mod attach;
mod fields;
mod gateway_api;
mod istio;
mod policy;
mod services;
mod virtual_hosts;
mod virtual_service;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::check::{Check, Checked};
use crate::file::{self, File};
use crate::node::Node;
use crate::problem::{Place, Problem, Report};
use crate::reader::{At, Key, List, Named, Read};
use crate::text;
use crate::write::{self, Shown};
use crate::yaml;
use services::Services;

/// What to read, and what the manifests cannot know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifests {
    /// Files, directories of them (`*.yaml`, `*.yml`, `*.json`), or `-` for standard input.
    pub paths: Vec<PathBuf>,
    /// `service[/subset][:port]=address:port[,address:port…]`.
    pub endpoints: Vec<String>,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// TOML with everything that is no route and no upstream.
    pub settings: Option<PathBuf>,
}

/// All manifests together; a bound on what a mistaken path makes us read. Each file has its own in `text`.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads and checks manifests.
///
/// # Errors
/// Everything that is wrong with them, in the order of files and lines.
pub fn load(manifests: &Manifests) -> Result<Checked, Vec<Problem>> {
    let mut report = Report::new("command line", "");
    let file = read(manifests, &mut report);
    let written = Shown::of(&file);
    let config = Check::new(&mut report).config(file);
    report.finish().map(|warnings| Checked { config, written, warnings })
}

/// The same configuration as TOML, and what its operator may want to know about it.
///
/// # Errors
/// As [`load`].
pub fn convert(manifests: &Manifests) -> Result<(String, Vec<Problem>), Vec<Problem>> {
    let mut report = Report::new("command line", "");
    let file = read(manifests, &mut report);
    let text = write::toml(&file);
    let _checked = Check::new(&mut report).config(file);
    report.finish().map(|warnings| (text, warnings))
}

/// One resource: who it is, where it stands, and what it wants.
#[derive(Debug, Clone)]
struct Resource<T> {
    name: String,
    namespace: String,
    /// What its routes are named after: its name, and its namespace where another one has that name too.
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
    http_routes: Vec<Resource<gateway_api::HttpRoute>>,
    api_gateways: Vec<Resource<gateway_api::Gateway>>,
    services: Services,
}

fn read(manifests: &Manifests, report: &mut Report) -> File {
    let mut found = Found::default();
    let mut file = match &manifests.settings {
        Some(path) => settings(path, report),
        None => File::default(),
    };
    for path in &manifests.paths {
        for (name, text) in texts(path, report) {
            report.open(&name, &text, true);
            match yaml::documents(&text) {
                Ok(documents) => documents.iter().for_each(|document| found.take(document, report)),
                Err((line, message)) => {
                    report.error(&report.place(String::new(), line.unwrap_or(1)), message)
                }
            }
        }
    }
    report.open("command line", "", false);
    let nowhere = |key: &str| Place { line: None, ..report.place(key.to_owned(), 0) };
    let (endpoint, listen) = (nowhere("--endpoint"), nowhere("--listen"));
    for text in &manifests.endpoints {
        found.services.bind(text, &endpoint, report);
    }
    if !manifests.listen.is_empty() {
        let one = |bind: &String| Key::at(file::Listener { bind: Key::at(bind.clone(), &listen) }, &listen);
        file.listener = Key::at(manifests.listen.iter().map(one).collect(), &listen);
    }
    found.emit(&mut file, report);
    file
}

/// Everything but routes and upstreams.
fn settings(path: &Path, report: &mut Report) -> File {
    let mut file = File::default();
    for (name, text) in texts(path, report) {
        report.open(&name, &text, false);
        file = file::read(&text, report).unwrap_or_default();
    }
    for at in [file.route.given().map(|key| &key.at), file.upstream.given().map(|key| &key.at)]
        .into_iter()
        .flatten()
    {
        report.error(at, "routes and upstreams come from the manifests here; leave them out");
    }
    File { route: Key::Absent, upstream: Key::Absent, ..file }
}

/// Name and text of each file that `path` means; whatever cannot be read is reported.
fn texts(path: &Path, report: &mut Report) -> Vec<(String, String)> {
    let cannot = |path: &Path, why: &dyn std::fmt::Display, report: &mut Report| {
        report.open(&path.display().to_string(), "", false);
        let at = Place { line: None, ..report.place(String::new(), 0) };
        report.error(&at, format!("cannot be read: {why}"));
    };
    if path == Path::new("-") {
        return match text::bounded(std::io::stdin().lock()).map(String::from_utf8) {
            Ok(Ok(text)) => vec![("standard input".to_owned(), text)],
            Ok(Err(_)) => {
                cannot(path, &"it is not UTF-8", report);
                Vec::new()
            }
            Err(error) => {
                cannot(path, &error, report);
                Vec::new()
            }
        };
    }
    let files = if path.is_dir() {
        let known = |path: &PathBuf| {
            path.is_file()
                && path
                    .extension()
                    .and_then(|end| end.to_str())
                    .is_some_and(|end| matches!(end, "yaml" | "yml" | "json"))
        };
        match std::fs::read_dir(path) {
            Ok(entries) => {
                let mut files: Vec<PathBuf> =
                    entries.filter_map(|e| Some(e.ok()?.path())).filter(known).collect();
                files.sort();
                if files.is_empty() {
                    cannot(path, &"it has no *.yaml, *.yml or *.json", report);
                }
                files
            }
            Err(error) => {
                cannot(path, &error, report);
                Vec::new()
            }
        }
    } else {
        vec![path.to_owned()]
    };
    let (mut texts, mut bytes) = (Vec::new(), 0);
    for file in files {
        match text::read(&file).map(String::from_utf8) {
            Ok(Ok(text)) => {
                bytes += text.len();
                if bytes > BYTES_MAX {
                    let max = BYTES_MAX / (1024 * 1024);
                    cannot(&file, &format!("with it there are more than {max} MiB"), report);
                    break;
                }
                texts.push((file.display().to_string(), text));
            }
            Ok(Err(_)) => cannot(&file, &"it is not UTF-8", report),
            Err(error) => cannot(&file, &error, report),
        }
    }
    texts
}

/// What a manifest has; anything else is misplaced or misspelt, and leaving it out would change what becomes of requests.
const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Kinds that say nothing about where requests go.
const SKIPPED: [&str; 13] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "DaemonSet",
    "Deployment",
    "GatewayClass",
    "HorizontalPodAutoscaler",
    "Namespace",
    "Pod",
    "ReferenceGrant",
    "ReplicaSet",
    "ServiceAccount",
    "StatefulSet",
];

impl Found {
    fn take(&mut self, document: &Node, report: &mut Report) {
        let (Some(api), Some(kind)) = (document.text("apiVersion"), document.text("kind")) else {
            let at = report.place(String::new(), document.line);
            return report.error(&at, "is no manifest: apiVersion and kind are missing");
        };
        if kind.ends_with("List") && document.get("items").is_some() {
            if let Some(crate::node::Value::List(items)) = document.get("items").map(|items| &items.value) {
                items.iter().for_each(|item| self.take(item, report));
            }
            return;
        }
        let metadata = document.get("metadata");
        let text = |name: &str| metadata.and_then(|metadata| metadata.text(name));
        let Some(name) = text("name") else {
            let at = report.place(kind.to_owned(), document.line);
            return report.error(&at, "metadata.name is missing");
        };
        let namespace = text("namespace").unwrap_or("default");
        self.services.know_namespace(if kind == "Namespace" { name } else { namespace });
        let who = Who {
            kind,
            name,
            namespace,
            created: text("creationTimestamp").unwrap_or_default(),
            line: document.line,
            spec: document.get("spec"),
            document,
        };
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        match (group, kind) {
            ("networking.istio.io", _) if !matches!(version, "v1" | "v1beta1" | "v1alpha3") => {
                let at = report.place(format!("{kind}/{name} apiVersion"), document.line);
                report.error(&at, format!("{version:?} is not known; must be v1, v1beta1 or v1alpha3"));
            }
            ("networking.istio.io", "VirtualService") => self.virtual_services.extend(who.read(report)),
            ("networking.istio.io", "DestinationRule") => {
                if let Some(rule) = who.read(report) {
                    self.services.rule(rule);
                }
            }
            ("networking.istio.io", "ServiceEntry") => {
                if let Some(entry) = who.read(report) {
                    self.services.entry(entry, report);
                }
            }
            ("networking.istio.io", "Gateway") => self.gateways.extend(who.read(report)),
            ("gateway.networking.k8s.io", "HTTPRoute") => self.http_routes.extend(who.read(report)),
            ("gateway.networking.k8s.io", "Gateway") => self.api_gateways.extend(who.read(report)),
            (
                "gateway.networking.k8s.io",
                "GRPCRoute" | "TLSRoute" | "TCPRoute" | "UDPRoute" | "BackendTLSPolicy",
            ) => {
                let at = report.place(format!("{kind}/{name}"), document.line);
                report.error(&at, "is not offered, and leaving it out would change what becomes of requests");
            }
            ("", "Service") => self.services.know(name, who.namespace),
            (_, kind) if SKIPPED.contains(&kind) => {
                let at = report.place(format!("{kind}/{name}"), document.line);
                report.warn(&at, "is skipped: it does not say where requests go");
            }
            (_, kind) => {
                let at = report.place(format!("{kind}/{name}"), document.line);
                report.warn(&at, format!("is skipped: {api} {kind} is not known here"));
            }
        }
    }

    fn emit(mut self, file: &mut File, report: &mut Report) {
        let nowhere = Place { line: None, ..report.place(String::new(), 0) };
        let (virtual_services, http_routes) = (&mut self.virtual_services, &mut self.http_routes);
        tell_apart(virtual_services);
        tell_apart(http_routes);
        self.services.settle(report);
        for service in virtual_services.iter() {
            for host in virtual_service::destinations(&service.spec) {
                self.services.mention(host, &service.namespace);
            }
        }
        for route in http_routes.iter() {
            for (name, namespace) in gateway_api::backends(&route.spec) {
                self.services.mention(name, namespace.unwrap_or(&route.namespace));
            }
        }
        let services = &mut self.services;
        let mut routes = virtual_service::routes(virtual_services, !http_routes.is_empty(), services, report);
        routes.extend(gateway_api::routes(http_routes, &self.api_gateways, services, report));
        name_apart(&mut routes);
        if self.virtual_services.is_empty() && self.http_routes.is_empty() {
            report.error(&nowhere, "the manifests have no route: a VirtualService or an HTTPRoute is needed");
        }
        if routes.is_empty() && !report.has_errors() {
            report.error(&nowhere, "no route of the manifests has a rule, so nothing can be served");
        }
        self.listeners(file, report);
        let upstreams = self.services.finish(report);
        // Nothing more to say about what is missing: who misses it has said so.
        file.route = if routes.is_empty() { Key::Refused } else { Key::at(routes, &nowhere) };
        file.upstream = Key::at(upstreams, &nowhere);
    }

    /// Gateways listen where they say, unless the command line says where.
    fn listeners(&self, file: &mut File, report: &mut Report) {
        let mut listeners: List<file::Listener> = Vec::new();
        // Several servers of one port are one listener here.
        let mut listen = |bind: String, port: &Place, at: &Place| {
            let taken = |other: &Key<file::Listener>| {
                other.given().and_then(|other| other.value.bind.given()).is_some_and(|b| b.value == bind)
            };
            if !listeners.iter().any(taken) {
                listeners.push(Key::at(file::Listener { bind: Key::at(bind, port) }, at));
            }
        };
        for gateway in &self.gateways {
            let servers = gateway.spec.servers.given().map(|list| list.value.as_slice()).unwrap_or_default();
            for server in servers.iter().filter_map(Key::given) {
                let Some(port) = server.value.port.given() else { continue };
                let protocol = port.value.protocol.given();
                if let Some(protocol) = protocol.filter(|p| !matches!(p.value.as_str(), "HTTP" | "HTTP2")) {
                    report.error(&protocol.at, format!("{:?} is not offered; only HTTP is", protocol.value));
                }
                let host = server.value.bind.given().map_or("0.0.0.0", |bind| bind.value.as_str());
                if let Some(number) = port.value.number.given() {
                    listen(format!("{host}:{}", number.value), &number.at, &server.at);
                }
                let hosts = server.value.hosts.given().map(|list| list.value.as_slice()).unwrap_or_default();
                for host in hosts.iter().filter_map(Key::given).filter(|host| !is_every_host(&host.value)) {
                    report.warn(&host.at, "is ignored: the hosts of a VirtualService say what it takes");
                }
            }
        }
        for gateway in &self.api_gateways {
            let given = gateway.spec.listeners.given().map(|list| list.value.as_slice()).unwrap_or_default();
            for listener in given.iter().filter_map(Key::given) {
                let protocol = listener.value.protocol.given();
                if let Some(protocol) = protocol.filter(|protocol| protocol.value != "HTTP") {
                    report.error(&protocol.at, format!("{:?} is not offered; only HTTP is", protocol.value));
                }
                if let Some(port) = listener.value.port.given() {
                    listen(format!("0.0.0.0:{}", port.value), &port.at, &listener.at);
                }
            }
        }
        if file.listener.is_absent()
            && let Some(first) = listeners.first().and_then(Key::given).map(|first| first.at.clone())
        {
            file.listener = Key::at(listeners, &first);
        }
    }
}

/// `*`, or any namespace's `*`.
fn is_every_host(host: &str) -> bool {
    host.rsplit('/').next() == Some("*")
}

/// Names that several namespaces have are shown with theirs.
fn tell_apart<T>(all: &mut [Resource<T>]) {
    let mut namespaces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in all.iter() {
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

/// One document, before its kind is known.
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

/// Edits of fields, as TOML has them.
fn header_edits(
    set: &Key<Named<String>>,
    add: &Key<Named<String>>,
    remove: &Key<List<String>>,
    at: &Place,
) -> Key<file::HeaderEdits> {
    // `:authority` is what HTTP/1.1 calls Host.
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
    Key::at(file::HeaderEdits { remove: remove.clone(), set: named(set), add: named(add) }, at)
}

#[cfg(test)]
mod tests;
