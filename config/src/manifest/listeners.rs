//! Where requests come in: the Gateways' listeners, or the addresses that stand for them.

use std::collections::BTreeSet;

use super::gateway_api::ReferenceGrant;
use super::ports::{Listen, Ports};
use super::secrets::Secrets;
use super::server_tls::{self, Ending};
use super::{Plaintext, Resource, clients, gateway_api, istio};
use crate::Protocol;
use crate::check::LISTENER_DEFAULT;
use crate::file::{self, File};
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List};

/// A server of an Istio Gateway, or a listener of the Gateway API's.
enum Server<'g> {
    Istio(&'g Resource<istio::Gateway>, &'g At<istio::Server>),
    Api(&'g Resource<gateway_api::Gateway>, &'g At<gateway_api::Listener>),
}

/// A server of a Gateway that names a port to listen on.
struct Asked<'g> {
    server: Server<'g>,
    host: &'g str,
    port: &'g At<u64>,
    speaks_tls: bool,
    /// The listener itself names HTTP/2.
    speaks_http2: bool,
}

/// Facts about all listeners together.
pub(super) struct Around<'a> {
    pub(super) gateways: &'a [Resource<istio::Gateway>],
    pub(super) api_gateways: &'a [Resource<gateway_api::Gateway>],
    pub(super) grants: &'a [Resource<ReferenceGrant>],
    pub(super) secrets: &'a mut Secrets,
    pub(super) plaintext: Plaintext,
    pub(super) listen: &'a [Listen],
    /// Backends take HTTP/2, so that clients may speak it to the listeners, in plaintext too.
    pub(super) takes_http2: bool,
}

impl Around<'_> {
    /// Writes listeners into `file`, unless its settings name some. The redirects of servers that send clients to HTTPS go
    /// before all routes.
    pub(super) fn write(mut self, file: &mut File, routes: &mut List<file::Route>, report: &mut Report) {
        let (gateways, api_gateways) = (self.gateways, self.api_gateways);
        let asked = asked(gateways, api_gateways, report);
        let is_told = !file.listener.is_absent();
        let ports = Ports::of(self.listen, is_told);
        let redirects: List<file::Route> =
            asked.iter().filter_map(|one| redirect(one, &ports, report)).collect();
        routes.splice(0..0, redirects);
        if is_told {
            return;
        }
        let listeners =
            if self.listen.is_empty() { self.own(&asked, report) } else { self.elsewhere(&asked, report) };
        // A Gateway of a cluster may have no port here yet: the default listener is not wanted in its place.
        let is_waited_for = report.is_by_resource() && !api_gateways.is_empty();
        if listeners.is_empty() && asked.is_empty() && !is_waited_for && self.takes_http2 {
            // Where requests come in without a word about it, in both.
            let at = Place::default();
            let bind = Key::at(LISTENER_DEFAULT.to_string(), &at);
            let protocols = self.protocols(&[], &Key::Absent, &at);
            let listener = file::Listener { bind, tls: Key::Absent, protocols };
            file.listener = Key::at(vec![Key::at(listener, &at)], &at);
            return;
        }
        if let Some(first) = listeners.first().and_then(Key::given).map(|first| first.at.clone()) {
            file.listener = Key::at(listeners, &first);
        } else if !asked.is_empty() || is_waited_for {
            // None of the listeners can be had now, and the default one is not wanted in their place.
            file.listener = Key::Refused;
        }
    }

    /// Where each says, on its own port. Several of one port are one listener here.
    fn own(&mut self, asked: &[Asked<'_>], report: &mut Report) -> List<file::Listener> {
        let mut listeners: List<file::Listener> = Vec::new();
        for (at, first) in asked.iter().enumerate() {
            let is_same = |other: &&Asked<'_>| other.bind() == first.bind();
            if asked.iter().take(at).any(|other| is_same(&other)) {
                continue;
            }
            let all: Vec<&Asked<'_>> = asked.iter().filter(is_same).collect();
            if let Some(other) = all.iter().find(|other| other.speaks_tls != first.speaks_tls) {
                let message = format!(
                    "is spoken in plaintext and over TLS by listeners of one port, {}",
                    other.port.value
                );
                report.error(other.at(), message);
                continue;
            }
            let tls = if first.speaks_tls && !self.plaintext.listeners {
                match self.ended(&all, report) {
                    Some(tls) => tls,
                    // The problem was reported. In plaintext the listener must not let clients in.
                    None => continue,
                }
            } else {
                Key::Absent
            };
            let bind = Key::at(first.bind(), &first.port.at);
            let protocols = self.protocols(&all, &tls, first.at());
            listeners.push(Key::at(file::Listener { bind, tls, protocols }, first.at()));
        }
        listeners
    }

    /// At the addresses of `--listen`.
    fn elsewhere(&mut self, asked: &[Asked<'_>], report: &mut Report) -> List<file::Listener> {
        let at = Place { key: "--listen".to_owned(), ..Place::default() };
        let listen = self.listen;
        let mut listeners: List<file::Listener> = Vec::new();
        for one in listen {
            let all: Vec<&Asked<'_>> =
                asked.iter().filter(|asked| one.of.is_none_or(|port| asked.port.value == port)).collect();
            if let (Some(port), true) = (one.of, all.is_empty()) {
                let message = format!("no Gateway that is served has a listener of port {port}");
                // A Gateway that is refused alone may be mended.
                if report.is_by_resource() {
                    report.warn(&at, message)
                } else {
                    report.error(&at, message)
                }
                continue;
            }
            let mut tls = Key::Absent;
            let secured: Vec<&Asked<'_>> = all.iter().copied().filter(|asked| asked.speaks_tls).collect();
            if !secured.is_empty() && !self.plaintext.listeners {
                let is_whole = secured.len() == all.len();
                if is_whole && (one.of.is_some() || self.can_end(&secured)) {
                    match self.ended(&secured, report) {
                        Some(ended) => tls = ended,
                        None => continue,
                    }
                } else if one.of.is_some() {
                    let message = "is spoken in plaintext and over TLS by listeners of one port";
                    secured.iter().for_each(|asked| report.error(asked.at(), message));
                    continue;
                } else {
                    for asked in secured {
                        if asked.asks_clients() {
                            let message = format!(
                                "clients show certificates at port {}, and --listen {bind} stands for every port: write --listen \
                                 {bind}={}, or --plaintext-listeners where TLS ends before the gateway",
                                asked.port.value,
                                asked.port.value,
                                bind = one.bind,
                            );
                            report.error(asked.at(), message);
                            continue;
                        }
                        let message = format!(
                            "TLS is not spoken at --listen {bind}, which stands for every port: write --listen {bind}={} for \
                             this one, or --plaintext-listeners where TLS ends before the gateway",
                            asked.port.value,
                            bind = one.bind,
                        );
                        report.warn(asked.at(), message);
                    }
                }
            }
            let bind = Key::at(one.bind.clone(), &at);
            let protocols = self.protocols(&all, &tls, &at);
            listeners.push(Key::at(file::Listener { bind, tls, protocols }, &at));
        }
        listeners
    }

    /// Both HTTP/2 and HTTP/1.1, told apart by their first bytes, where clients may speak HTTP/2 in plaintext; over TLS they
    /// choose.
    fn protocols(&self, all: &[&Asked<'_>], tls: &Key<file::ListenerTls>, at: &Place) -> Key<List<Protocol>> {
        let both = tls.is_absent() && (self.takes_http2 || all.iter().any(|one| one.speaks_http2));
        if both { Key::at(Protocol::ALL.map(|one| Key::at(one, at)).into(), at) } else { Key::Absent }
    }

    /// Whether all certificates of these are known, without a word about it.
    fn can_end(&mut self, secured: &[&Asked<'_>]) -> bool {
        let mut unheard = Report::new("", "");
        self.ended(secured, &mut unheard).is_some()
    }

    /// `tls` of a listener that is all of these; `None` after saying why it cannot be.
    fn ended(&mut self, all: &[&Asked<'_>], report: &mut Report) -> Option<Key<file::ListenerTls>> {
        let mut certificates: List<file::Certificate> = Vec::new();
        let mut first: Option<Ending> = None;
        let mut is_whole = true;
        for asked in all {
            let ending = match &asked.server {
                Server::Istio(gateway, server) => {
                    server_tls::of_server(gateway, server, self.secrets, report)
                }
                Server::Api(gateway, listener) => {
                    server_tls::of_listener(gateway, listener, self.grants, self.secrets, report)
                }
            };
            let Some(ending) = ending else {
                is_whole = false;
                continue;
            };
            let names = asked.names();
            let new =
                ending.certificates.iter().map(|pair| server_tls::certificate(pair, &names, &ending.at));
            certificates.extend(new);
            match &first {
                None => first = Some(ending),
                Some(first) if first.policy() == ending.policy() => {}
                Some(_) => {
                    let message = "asks clients for other certificates, or for another version, than a listener of the same \
                                   port does: give it a port of its own";
                    report.error(&ending.at, message);
                    is_whole = false;
                }
            }
        }
        // Where one of several is refused alone the others serve.
        if !is_whole && !report.is_by_resource() {
            return None;
        }
        let first = first?;
        let at = &first.at;
        let text = |text: &Option<String>| text.clone().map_or(Key::Absent, |text| Key::at(text, at));
        let crls = first.client_crls.clone().map(|crl| Key::at(vec![Key::at(crl, at)], at));
        let tls = file::ListenerTls {
            certificates: Key::at(certificates, at),
            client_auth: Key::at(first.client_auth, at),
            client_ca: text(&first.client_ca),
            client_crls: crls.unwrap_or(Key::Absent),
            min_version: Key::at(first.min_version, at),
            // The name chooses the listener, and others' requests are not for it (Gateway API).
            strict_sni_host: if all.iter().any(|asked| matches!(asked.server, Server::Api(..))) {
                Key::at(true, at)
            } else {
                Key::Absent
            },
        };
        Some(Key::at(tls, at))
    }
}

/// Warns where files have Gateways for different pods: this process has the listeners of all. Of a cluster's, only those that are
/// for this process come here.
fn other_pods(gateways: &[Resource<istio::Gateway>], report: &mut Report) {
    let selected = |gateway: &Resource<istio::Gateway>| -> Option<BTreeSet<(String, String)>> {
        let pair = |(name, value): &(At<String>, Key<String>)| {
            Some((name.value.clone(), value.given()?.value.clone()))
        };
        Some(gateway.spec.selector.given()?.value.iter().filter_map(pair).collect())
    };
    let Some(first) = gateways.iter().find_map(selected).filter(|_| !report.is_by_resource()) else { return };
    for gateway in gateways {
        if let (Some(at), true) =
            (gateway.spec.selector.place(), selected(gateway).is_some_and(|own| own != first))
        {
            report.warn(at, "is ignored: it is for other pods than the selector of another Gateway, and the listeners of both are here");
        }
    }
}

/// Every server; the faults of their protocols are reported.
fn asked<'g>(
    gateways: &'g [Resource<istio::Gateway>],
    api_gateways: &'g [Resource<gateway_api::Gateway>],
    report: &mut Report,
) -> Vec<Asked<'g>> {
    let mut all = Vec::new();
    other_pods(gateways, report);
    for gateway in gateways {
        let servers = gateway.spec.servers.given().map(|list| list.value.as_slice()).unwrap_or_default();
        for server in servers.iter().filter_map(Key::given) {
            let Some(port) = server.value.port.given() else { continue };
            let protocol = port.value.protocol.given();
            let speaks_tls = match protocol.map_or("HTTP", |protocol| protocol.value.as_str()) {
                "HTTP" | "HTTP2" | "GRPC" => false,
                "HTTPS" => true,
                other => {
                    if let Some(protocol) = protocol {
                        report.error(
                            &protocol.at,
                            format!("{other:?} is not offered; only HTTP and HTTPS are"),
                        );
                    }
                    continue;
                }
            };
            let tls = server.value.tls.given();
            if let (Some(tls), false) = (tls, speaks_tls)
                && let Some(mode) = tls.value.mode.given()
            {
                report.error(&mode.at, "is not used with this protocol; must be HTTPS");
            }
            if let Some(number) = port.value.number.given() {
                let host = server.value.bind.given().map_or("0.0.0.0", |bind| bind.value.as_str());
                let speaks_http2 = protocol.is_some_and(|one| matches!(one.value.as_str(), "HTTP2" | "GRPC"));
                let server = Server::Istio(gateway, server);
                all.push(Asked { server, host, port: number, speaks_tls, speaks_http2 });
            }
            let hosts = server.value.hosts.given().map(|list| list.value.as_slice()).unwrap_or_default();
            for host in hosts.iter().filter_map(Key::given).filter(|host| !is_every_host(&host.value)) {
                let message = if speaks_tls {
                    "says for whom its certificate is; which requests are taken the hosts of a VirtualService say"
                } else {
                    "is ignored: the hosts of a VirtualService say what it takes"
                };
                report.warn(&host.at, message);
            }
        }
    }
    for gateway in api_gateways {
        let given = gateway.spec.listeners.given().map(|list| list.value.as_slice()).unwrap_or_default();
        for listener in given.iter().filter_map(Key::given) {
            let protocol = listener.value.protocol.given();
            let speaks_tls = match protocol.map_or("HTTP", |protocol| protocol.value.as_str()) {
                "HTTP" => false,
                "HTTPS" => true,
                other => {
                    if let Some(protocol) = protocol {
                        report.error(
                            &protocol.at,
                            format!("{other:?} is not offered; only HTTP and HTTPS are"),
                        );
                    }
                    continue;
                }
            };
            if let (Some(tls), false) = (listener.value.tls.given(), speaks_tls) {
                report.error(&tls.at, "is not used with this protocol; must be HTTPS");
            }
            if let Some(port) = listener.value.port.given() {
                let server = Server::Api(gateway, listener);
                all.push(Asked { server, host: "0.0.0.0", port, speaks_tls, speaks_http2: false });
            }
        }
    }
    all
}

impl Asked<'_> {
    fn bind(&self) -> String {
        format!("{}:{}", self.host, self.port.value)
    }

    fn at(&self) -> &Place {
        match &self.server {
            Server::Istio(_, server) => &server.at,
            Server::Api(_, listener) => &listener.at,
        }
    }

    /// Whether clients show certificates there.
    fn asks_clients(&self) -> bool {
        match &self.server {
            Server::Istio(_, server) => server.value.tls.given().is_some_and(|tls| {
                tls.value
                    .mode
                    .given()
                    .is_some_and(|mode| !matches!(mode.value.as_str(), "SIMPLE" | "PASSTHROUGH"))
            }),
            Server::Api(gateway, listener) => clients::are_asked(&gateway.spec, &listener.value),
        }
    }

    /// Names for which its certificates are shown.
    fn names(&self) -> Vec<String> {
        let names: Vec<String> = match &self.server {
            Server::Istio(_, server) => {
                let hosts = server.value.hosts.given().map(|list| list.value.as_slice()).unwrap_or_default();
                hosts.iter().filter_map(Key::given).map(|host| plain(&host.value).to_owned()).collect()
            }
            Server::Api(_, listener) => {
                listener.value.hostname.given().into_iter().map(|name| name.value.clone()).collect()
            }
        };
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        if names.is_empty() { vec!["*".to_owned()] } else { names }
    }
}

/// The route of a server that sends its clients to HTTPS.
fn redirect(asked: &Asked<'_>, ports: &Ports, report: &mut Report) -> Option<Key<file::Route>> {
    let Server::Istio(gateway, server) = &asked.server else { return None };
    let given = server.value.tls.given()?.value.https_redirect.given().filter(|given| given.value)?;
    if asked.speaks_tls {
        report.warn(&given.at, "has no effect: this server speaks HTTPS already");
        return None;
    }
    if !ports.has(asked.port.value) {
        return None;
    }
    let Some(port) = ports.here(asked.port) else {
        let message = "is not done: requests to this port come in where all others do; write --listen \
                       ADDRESS=PORT for each port of the Gateway";
        report.warn(&given.at, message);
        return None;
    };
    let at = &given.at;
    let names: Vec<String> = asked.names();
    let hosts: List<String> = names.iter().map(|name| Key::at(name.clone(), at)).collect();
    let takes_all = names.iter().any(|name| name == "*");
    let redirect = file::Redirect {
        status: Key::at(301, at),
        scheme: Key::at("https".to_owned(), at),
        ..file::Redirect::default()
    };
    let route = file::Route {
        name: Key::at(format!("{}/httpsRedirect", gateway.shown), at),
        hosts: if takes_all { Key::Absent } else { Key::at(hosts, at) },
        port: Key::Given(port),
        redirect: Key::at(redirect, at),
        ..file::Route::default()
    };
    Some(Key::at(route, at))
}

/// Ports that the servers of one of Istio's Gateways name.
pub(super) fn ports_of(gateway: &istio::Gateway) -> impl Iterator<Item = u64> {
    let servers = gateway.servers.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let port = |server: &At<istio::Server>| Some(server.value.port.given()?.value.number.given()?.value);
    servers.iter().filter_map(Key::given).filter_map(port)
}

/// `*`, or any namespace's `*`.
fn is_every_host(host: &str) -> bool {
    plain(host) == "*"
}

/// Without the namespace that it may be of.
fn plain(host: &str) -> &str {
    host.rsplit('/').next().unwrap_or(host)
}
