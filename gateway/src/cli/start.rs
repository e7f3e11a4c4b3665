//! Chooses the source of the configuration among the ways to give it, and refuses arguments that contradict each other.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use config::manifest::{Manifests, Plaintext};

use super::cluster;
use crate::server::Source;

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct Input {
    /// Configuration to serve; beside --manifest, everything in it that is no route and no upstream
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Istio or Gateway API manifest to serve: a file, a directory, or - for standard input; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(super) manifest: Vec<PathBuf>,

    /// Addresses of a manifest's service: the word before `=` may go on with /SUBSET and :PORT, several addresses are
    /// divided by commas; may be repeated
    #[arg(long, value_name = "SERVICE=ADDRESS")]
    pub(super) endpoint: Vec<String>,

    /// Files of PEM for a Secret that manifests name: CERT,KEY, with ,CA where clients show certificates, CA alone for who is
    /// believed (of a ConfigMap too); may be repeated
    #[arg(long, value_name = "[NAMESPACE/]NAME=CERT,KEY")]
    pub(super) secret: Vec<String>,

    /// Take plaintext where Gateways have TLS: it ends before this process
    #[arg(long)]
    pub(super) plaintext_listeners: bool,

    /// Call destinations in plaintext whatever manifests say of TLS with them: a mesh around this process speaks it
    #[arg(long)]
    pub(super) plaintext_upstreams: bool,

    /// Address to listen on, with --manifest, --kubernetes or --primary; may be repeated. :8080 is every address of this machine,
    /// :8443=443 stands for port 443 of the Gateways alone
    #[arg(long, value_name = "ADDRESS", env = "UMBRA_LISTEN", value_delimiter = ',')]
    pub(super) listen: Vec<String>,

    #[command(flatten)]
    pub(super) cluster: cluster::Arguments,
}

/// A configuration in one line.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Without a file")]
pub(super) struct Line {
    /// Serve every request from here: HOST:PORT, :8001 on this machine; may be repeated for further endpoints
    #[arg(long, value_name = "ADDRESS", env = "UMBRA_PRIMARY", value_delimiter = ',')]
    pub(super) primary: Vec<String>,

    /// Send a copy of every request here: ADDRESS, or NAME=ADDRESS; may be repeated for further mirrors
    #[arg(long, value_name = "ADDRESS", env = "UMBRA_MIRROR", value_delimiter = ',')]
    pub(super) mirror: Vec<String>,

    /// Percent of the requests that are copied, with --mirror
    #[arg(long, value_name = "PERCENT", env = "UMBRA_PERCENT")]
    pub(super) percent: Option<f64>,

    /// Compare what v2 says with what v1 says, with --mirror
    #[arg(long, env = "UMBRA_COMPARE")]
    pub(super) compare: bool,

    /// Where the admin listener is, with --primary: an address, or off
    #[arg(long, value_name = "ADDRESS", env = "UMBRA_ADMIN_BIND")]
    pub(super) admin: Option<String>,
}

impl Input {
    pub(super) fn is_given(&self) -> bool {
        self.config.is_some() || self.has_routes()
    }

    /// Whether manifests or a cluster give the routes, beside which a configuration holds the other settings.
    pub(super) fn has_routes(&self) -> bool {
        !self.manifest.is_empty() || self.cluster.kubernetes
    }

    /// These words beside those of a verb, on whichever side of it they were said.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.config = other.config.or(self.config);
        self.manifest.extend(other.manifest);
        self.endpoint.extend(other.endpoint);
        self.secret.extend(other.secret);
        self.plaintext_listeners |= other.plaintext_listeners;
        self.plaintext_upstreams |= other.plaintext_upstreams;
        if self.listen != other.listen {
            self.listen.extend(other.listen);
        }
        self.cluster.and(other.cluster);
        self
    }

    /// The same with a file that was named without an option: its name tells what it is.
    pub(super) fn with_file(mut self, file: Option<PathBuf>) -> Result<Self, String> {
        let Some(file) = file else { return Ok(self) };
        if is_manifest(&file) {
            self.manifest.insert(0, file);
        } else if self.config.is_some() {
            return Err(format!("{}: --config names a configuration already", file.display()));
        } else {
            self.config = Some(file);
        }
        Ok(self)
    }

    /// Why these words make no sense together.
    pub(super) fn wrong(&self) -> Option<String> {
        if let Some(file) = self.config.as_ref().filter(|file| is_yaml(file)) {
            let name = file.display();
            return Some(format!("{name}: this is YAML: --manifest {name}"));
        }
        let has_documents = !(self.manifest.is_empty() && self.endpoint.is_empty() && self.secret.is_empty());
        let plaintext = [
            (self.plaintext_listeners, "--plaintext-listeners"),
            (self.plaintext_upstreams, "--plaintext-upstreams"),
        ];
        let plaintext = plaintext.into_iter().find(|(is_said, _)| *is_said && !self.has_routes());
        if let Some((_, word)) = plaintext {
            return Some(format!("{word} needs --manifest PATH or --kubernetes"));
        }
        if let Some(why) = self.cluster.contradicts(!self.listen.is_empty()) {
            return Some(why);
        }
        match self.cluster.first() {
            Some(_) if self.cluster.kubernetes && has_documents => {
                Some("--manifest, --endpoint and --secret have no part in --kubernetes".to_owned())
            }
            Some(word) if !self.cluster.kubernetes => Some(format!("{word} needs --kubernetes")),
            _ => (self.manifest.is_empty() && has_documents).then(|| {
                let word = if self.endpoint.is_empty() { "--secret" } else { "--endpoint" };
                format!("{word} needs --manifest PATH")
            }),
        }
    }

    pub(super) fn source(self) -> Source {
        let Self {
            config,
            manifest,
            endpoint,
            secret,
            listen,
            plaintext_listeners,
            plaintext_upstreams,
            cluster,
        } = self;
        let listen = listen.iter().map(|address| everywhere(address)).collect();
        let plaintext = Plaintext { listeners: plaintext_listeners, upstreams: plaintext_upstreams };
        if cluster.kubernetes {
            return Source::Cluster(cluster.cluster(listen, config, plaintext));
        }
        if !manifest.is_empty() {
            return Source::Manifests(Manifests {
                paths: manifest,
                endpoints: endpoint,
                listen,
                secrets: secret,
                plaintext,
                settings: config,
            });
        }
        config.map_or(Source::Embedded, Source::File)
    }
}

/// Whether a path is a directory, or a file of YAML or JSON.
fn is_manifest(path: &Path) -> bool {
    is_yaml(path) || path.is_dir()
}

fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|yaml| extension.eq_ignore_ascii_case(yaml)) || path.as_os_str() == "-"
}

impl Line {
    pub(super) fn is_given(&self) -> bool {
        let Self { primary, mirror, percent, compare, admin } = self;
        !primary.is_empty() || !mirror.is_empty() || percent.is_some() || *compare || admin.is_some()
    }

    /// The part that was given on the command line.
    pub(super) fn spoken(self, matches: &ArgMatches) -> Self {
        let is_spoken = |id| super::is_spoken(matches, id);
        Self {
            primary: if is_spoken("primary") { self.primary } else { Vec::new() },
            mirror: if is_spoken("mirror") { self.mirror } else { Vec::new() },
            percent: self.percent.filter(|_| is_spoken("percent")),
            compare: self.compare && is_spoken("compare"),
            admin: self.admin.filter(|_| is_spoken("admin")),
        }
    }

    /// The file that says the same.
    pub(super) fn as_file(&self, listen: &[String]) -> Result<String, String> {
        let Self { primary, mirror, percent, compare, admin } = self;
        if primary.is_empty() {
            return Err("without a file, --primary ADDRESS says who answers".to_owned());
        }
        if mirror.is_empty() && (percent.is_some() || *compare) {
            return Err("--percent and --compare need --mirror ADDRESS".to_owned());
        }
        let endpoints: Vec<String> = primary.iter().map(|address| quoted(&here(address))).collect();
        let mut text = String::new();
        for address in listen {
            text.push_str(&format!("[[listener]]\nbind = {}\n", quoted(&everywhere(address))));
        }
        if let Some(admin) = admin {
            text.push_str(&format!("[admin]\nbind = {}\n", quoted(&here(admin))));
        }
        text.push_str(&format!("[upstream.v1]\nendpoints = [{}]\n", endpoints.join(", ")));
        let mut mirrors = Vec::new();
        for (number, said) in (2..).zip(mirror) {
            let (name, address) = match said.split_once('=') {
                Some((name, address)) => (name.to_owned(), address),
                None => (format!("v{number}"), said.as_str()),
            };
            let (name, address) = (quoted(&name), quoted(&here(address)));
            text.push_str(&format!("[upstream.{name}]\nendpoints = [{address}]\n"));
            let percent = percent.map(|percent| format!(", percent = {percent}")).unwrap_or_default();
            let compare = if *compare { ", compare = {}" } else { "" };
            mirrors.push(format!("{{ upstream = {name}{percent}{compare} }}"));
        }
        text.push_str("[[route]]\nname = \"all\"\npath_prefix = \"/\"\nprimary = \"v1\"\n");
        text.push_str(&format!("mirrors = [{}]\n", mirrors.join(", ")));
        Ok(text)
    }
}

/// An address as a file wants it; `:8001` and `8001` are on this machine.
fn here(address: &str) -> String {
    with_host(address, "127.0.0.1")
}

/// The same of a listener: `:8080` is every address of this machine.
fn everywhere(address: &str) -> String {
    if let Some((address, port)) = address.split_once('=') {
        return format!("{}={port}", everywhere(address));
    }
    match address.strip_prefix(':') {
        Some(_) => with_host(address, "0.0.0.0"),
        None => here(address),
    }
}

fn with_host(address: &str, host: &str) -> String {
    let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let port = address.strip_prefix(':').unwrap_or(address);
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if is_port { format!("{host}:{port}") } else { address.to_owned() }
}

/// As a string of TOML: its escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_a_file_would() {
        let line = Line {
            primary: vec![":8001".into(), "http://[::1]:8011/".into()],
            mirror: vec!["8002".into(), "canary=shop.example:80".into()],
            percent: Some(2.5),
            compare: true,
            admin: Some(":9902".into()),
        };
        let text = line.as_file(&[":8080".into(), "127.0.0.2:80".into()]).unwrap();
        let config = config::parse("test", &text).unwrap().config;
        let binds: Vec<String> = config.listeners.iter().map(|listener| listener.bind.to_string()).collect();
        assert_eq!(binds, ["0.0.0.0:8080", "127.0.0.2:80"]);
        assert_eq!(config.admin.bind, Some("127.0.0.1:9902".parse().unwrap()));
        let endpoints = |at: usize| {
            let all = config.upstreams[at].endpoints.iter().map(ToString::to_string);
            (config.upstreams[at].name.clone(), all.collect::<Vec<_>>().join(" "))
        };
        let all: Vec<(String, String)> = (0..3).map(endpoints).collect();
        let expect =
            [("v1", "127.0.0.1:8001 [::1]:8011"), ("v2", "127.0.0.1:8002"), ("canary", "shop.example:80")];
        for (name, endpoints) in expect {
            assert!(all.contains(&(name.to_owned(), endpoints.to_owned())), "{all:?}");
        }
        let mirrors = &config.routes[0].mirrors;
        assert_eq!((mirrors.len(), mirrors[0].percent.per_million), (2, 25_000));
        assert!(mirrors[1].compare.is_some());
    }

    #[test]
    fn nothing_in_a_word_leaves_its_string() {
        let line = Line { primary: vec!["a:1\"]\n[limits]\nx = [\"".into()], ..Line::default() };
        let problems = config::parse("test", &line.as_file(&[]).unwrap()).unwrap_err();
        assert!(problems.iter().all(|problem| !problem.to_string().contains("unknown")), "{problems:?}");
    }

    #[test]
    fn words_that_make_no_sense_are_told_with_the_next_step() {
        let yaml = Input { config: Some("a/b.yaml".into()), ..Input::default() };
        assert_eq!(yaml.wrong().as_deref(), Some("a/b.yaml: this is YAML: --manifest a/b.yaml"));
        let lone = Line { mirror: vec![":2".into()], ..Line::default() };
        assert!(lone.as_file(&[]).unwrap_err().contains("--primary ADDRESS"));
        let file = Input::default().with_file(Some("a.yml".into())).unwrap();
        assert_eq!((file.config, file.manifest), (None, vec![PathBuf::from("a.yml")]));
    }
}
