//! Certificates and keys that manifests refer to by name: Secrets and ConfigMaps, and the files that `--secret` gives for them.
//!
//! Their content is not looked at here. It goes on under a name that no file has, and is never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Material;
use crate::check::Materials;
use crate::node::Node;
use crate::problem::{Place, Report, ResourceId};

/// The effect on a listener whose reference cannot be resolved.
pub(super) const OTHERWISE: &str = "no client comes in there";

/// The kind of object that is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Secret,
    ConfigMap,
}

impl Holder {
    fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::ConfigMap => "configmap",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// A certificate and its key, as the written form names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

/// The argument of one `--secret [NAMESPACE/]NAME=…`.
#[derive(Debug)]
struct Bound {
    namespace: Option<String>,
    name: String,
    pair: Option<Pair>,
    ca: Option<String>,
    at: Place,
    used: bool,
}

/// The kind of the holder, its namespace and its name.
type Id = (Holder, String, String);

/// The data of an object, by key.
type Fields = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Default)]
pub(super) struct Secrets {
    bound: Vec<Bound>,
    known: BTreeMap<Id, Fields>,
    /// Values that cannot be read: wrong where something refers to their object.
    broken: Vec<(Id, Place)>,
    referred: BTreeSet<Id>,
    used: Materials,
}

/// Keys of a certificate, of its private key, and of the authority: Kubernetes' first, then Istio's.
const CERT: [&str; 2] = ["tls.crt", "cert"];
const KEY: [&str; 2] = ["tls.key", "key"];
const CA: [&str; 2] = ["ca.crt", "cacert"];

impl Secrets {
    /// Takes one `--secret`.
    pub(super) fn bind(&mut self, text: &str, at: &Place, report: &mut Report) {
        let wrong = |report: &mut Report| {
            let message = format!(
                "{text:?} is not a secret; write [NAMESPACE/]NAME=CERT,KEY with two files of PEM, NAME=CERT,KEY,CA where clients \
                 show certificates, or NAME=CA for who is believed"
            );
            report.error(at, message);
        };
        let Some((who, files)) = text.split_once('=') else { return wrong(report) };
        let (namespace, name) = match who.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, who),
        };
        let files: Vec<String> = files.split(',').map(str::to_owned).collect();
        if name.is_empty() || namespace.as_deref() == Some("") || files.iter().any(String::is_empty) {
            return wrong(report);
        }
        let (pair, ca) = match files.as_slice() {
            [ca] => (None, Some(ca.clone())),
            [cert, key] => (Some(Pair { cert: cert.clone(), key: key.clone() }), None),
            [cert, key, ca] => (Some(Pair { cert: cert.clone(), key: key.clone() }), Some(ca.clone())),
            _ => return wrong(report),
        };
        let (name, at) = (name.to_owned(), at.clone());
        self.bound.push(Bound { namespace, name, pair, ca, at, used: false });
    }

    /// Takes a Secret or a ConfigMap.
    pub(super) fn know(&mut self, holder: Holder, id: &ResourceId, document: &Node, report: &mut Report) {
        let mut fields = Fields::new();
        let plain = if holder == Holder::Secret { "stringData" } else { "data" };
        let shown = format!("{}/{}", holder.name(), id.name);
        let own = (holder, id.namespace.clone(), id.name.clone());
        if holder == Holder::Secret {
            for entry in document.get("data").map(Node::entries).unwrap_or_default() {
                let text = entry.node.value.text().unwrap_or_default();
                let text: String = text.split_ascii_whitespace().collect();
                match STANDARD.decode(text) {
                    Ok(bytes) => {
                        fields.insert(entry.name.clone(), bytes);
                    }
                    Err(_) => {
                        let at = report.place(format!("{shown} data.{}", entry.name), entry.line);
                        self.broken.push((own.clone(), at));
                    }
                }
            }
        }
        for entry in document.get(plain).map(Node::entries).unwrap_or_default() {
            if let Some(text) = entry.node.value.text() {
                fields.insert(entry.name.clone(), text.as_bytes().to_vec());
            }
        }
        self.known.insert(own, fields);
    }

    /// The certificate of a Secret, and its key.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn pair(&mut self, namespace: &str, name: &str) -> Result<Pair, String> {
        if let Some(pair) = self.bound_for(namespace, name, |bound| bound.pair.clone()) {
            return Ok(pair);
        }
        let cert = self.field(Holder::Secret, namespace, name, &CERT);
        let key = self.field(Holder::Secret, namespace, name, &KEY);
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Pair { cert, key }),
            _ if self.is_known(Holder::Secret, namespace, name) => {
                Err(format!("Secret {namespace}/{name} has no tls.crt and tls.key"))
            }
            _ => Err(format!("no Secret {namespace}/{name} is known")),
        }
    }

    /// The authorities that an object holds, to be trusted.
    pub(super) fn ca(&mut self, holder: Holder, namespace: &str, name: &str) -> Option<String> {
        let bound = self.bound_for(namespace, name, |bound| bound.ca.clone());
        bound.or_else(|| self.field(holder, namespace, name, &CA))
    }

    /// All of these, which [`Secrets::ca`] gave, as one; `None` where one of several is a file.
    pub(super) fn together(&mut self, all: &[String]) -> Option<String> {
        if let [only] = all {
            return Some(only.clone());
        }
        let each: Option<Vec<&Arc<Material>>> = all.iter().map(|name| self.used.get(name)).collect();
        let bytes = each?.iter().map(|one| one.bytes.as_slice()).collect::<Vec<_>>().join(&b'\n');
        let shown = all.join("+");
        let material = Arc::new(Material { name: PathBuf::from(&shown), bytes });
        self.used.insert(shown.clone(), material);
        Some(shown)
    }

    /// As [`Secrets::ca`] of a Secret for clients of Istio's Gateways, where a second Secret may hold the authority.
    pub(super) fn client_ca(&mut self, namespace: &str, name: &str) -> Option<String> {
        let own = self.ca(Holder::Secret, namespace, name);
        own.or_else(|| self.ca(Holder::Secret, namespace, &format!("{name}-cacert")))
    }

    /// Where a Secret is that an Istio Gateway names, which says no namespace: its own, else the only one with that name.
    pub(super) fn namespace_of(&self, name: &str, own: &str) -> String {
        let is_named = |(holder, _, known): &&Id| *holder == Holder::Secret && known == name;
        let mut all = self.known.keys().filter(is_named).map(|(_, namespace, _)| namespace);
        if self.is_known(Holder::Secret, own, name) {
            return own.to_owned();
        }
        match (all.next(), all.next()) {
            (Some(only), None) => only.clone(),
            _ => own.to_owned(),
        }
    }

    pub(super) fn is_known(&self, holder: Holder, namespace: &str, name: &str) -> bool {
        self.known.contains_key(&(holder, namespace.to_owned(), name.to_owned()))
    }

    /// The materials in use that are in no file. Reports each `--secret` that nothing refers to, and unreadable values of objects that
    /// something refers to.
    pub(super) fn finish(self, report: &mut Report) -> Materials {
        for bound in self.bound.iter().filter(|bound| !bound.used) {
            report.warn(&bound.at, format!("nothing that is served refers to {}", bound.name));
        }
        for (id, at) in &self.broken {
            if self.referred.contains(id) {
                report.error(at, "is not base64; plain text stands in stringData");
            } else {
                report.warn(at, "is ignored: it is not base64, and nothing that is served refers to it");
            }
        }
        self.used
    }

    fn bound_for<T>(&mut self, namespace: &str, name: &str, has: impl Fn(&Bound) -> Option<T>) -> Option<T> {
        let fits = |bound: &&mut Bound| {
            bound.name == name && bound.namespace.as_deref().is_none_or(|given| given == namespace)
        };
        let fitting = self.bound.iter_mut().filter(fits).filter(|bound| has(bound).is_some());
        // The one that says most.
        let bound = fitting.max_by_key(|bound| bound.namespace.is_some())?;
        bound.used = true;
        has(bound)
    }

    fn field(&mut self, holder: Holder, namespace: &str, name: &str, keys: &[&str]) -> Option<String> {
        let id = (holder, namespace.to_owned(), name.to_owned());
        let fields = self.known.get(&id)?;
        self.referred.insert(id);
        let (key, bytes) = keys.iter().find_map(|key| Some((key, fields.get(*key)?)))?;
        let shown = format!("{}:{namespace}/{name}/{key}", holder.word());
        let material = || Arc::new(Material { name: PathBuf::from(&shown), bytes: bytes.clone() });
        self.used.entry(shown.clone()).or_insert_with(material);
        Some(shown)
    }
}
