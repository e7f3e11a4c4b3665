//! An API server of Kubernetes in so far as a client of it can tell: versions, lists in pages, watches with bookmarks and a
//! history that ends, selectors, metadata alone, generations, status as a subresource, conflicts; and trouble as ordered.
//!
//! The server knows no kind's meaning. Every write by a client is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::origin::{Conn, Origin};
use crate::{Request, api_discovery, eventually_within};

/// Group, plural, kind, whether it is in namespaces, and the versions that are served.
pub(crate) type Resource = (&'static str, &'static str, &'static str, bool, &'static [&'static str]);

const ISTIO: &str = "networking.istio.io";
const RIGHTS: &str = "rbac.authorization.k8s.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The least time between two bookmarks of a watch.
const BOOKMARK_EVERY: Duration = Duration::from_millis(500);

const RESOURCES: &[Resource] = &[
    ("", "services", "Service", true, &["v1"]),
    ("", "pods", "Pod", true, &["v1"]),
    ("", "namespaces", "Namespace", false, &["v1"]),
    ("", "serviceaccounts", "ServiceAccount", true, &["v1"]),
    ("", "configmaps", "ConfigMap", true, &["v1"]),
    ("", "secrets", "Secret", true, &["v1"]),
    ("", "events", "Event", true, &["v1"]),
    ("apps", "deployments", "Deployment", true, &["v1"]),
    ("apps", "daemonsets", "DaemonSet", true, &["v1"]),
    ("autoscaling", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true, &["v2"]),
    ("policy", "poddisruptionbudgets", "PodDisruptionBudget", true, &["v1"]),
    ("networking.k8s.io", "networkpolicies", "NetworkPolicy", true, &["v1"]),
    (RIGHTS, "clusterroles", "ClusterRole", false, &["v1"]),
    (RIGHTS, "clusterrolebindings", "ClusterRoleBinding", false, &["v1"]),
    (RIGHTS, "roles", "Role", true, &["v1"]),
    (RIGHTS, "rolebindings", "RoleBinding", true, &["v1"]),
    ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", false, &["v1"]),
    ("monitoring.coreos.com", "servicemonitors", "ServiceMonitor", true, &["v1"]),
    ("monitoring.coreos.com", "prometheusrules", "PrometheusRule", true, &["v1"]),
    ("discovery.k8s.io", "endpointslices", "EndpointSlice", true, &["v1"]),
    ("coordination.k8s.io", "leases", "Lease", true, &["v1"]),
    (ISTIO, "virtualservices", "VirtualService", true, &["v1", "v1beta1", "v1alpha3"]),
    (ISTIO, "destinationrules", "DestinationRule", true, &["v1", "v1beta1", "v1alpha3"]),
    (ISTIO, "serviceentries", "ServiceEntry", true, &["v1", "v1beta1", "v1alpha3"]),
    (ISTIO, "gateways", "Gateway", true, &["v1", "v1beta1", "v1alpha3"]),
    (GATEWAY_API, "gatewayclasses", "GatewayClass", false, &["v1"]),
    (GATEWAY_API, "gateways", "Gateway", true, &["v1"]),
    (GATEWAY_API, "httproutes", "HTTPRoute", true, &["v1"]),
    (GATEWAY_API, "grpcroutes", "GRPCRoute", true, &["v1"]),
    (GATEWAY_API, "backendtlspolicies", "BackendTLSPolicy", true, &["v1"]),
    // Stored as v1beta1, and v1 not served.
    (GATEWAY_API, "referencegrants", "ReferenceGrant", true, &["v1beta1"]),
];

/// Namespace and name, within a resource.
type Id = (usize, String, String);

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Up,
    /// Connections are accepted and closed; those that are open are closed.
    Down,
    /// Connections are accepted and kept, and nothing is said on any.
    Hangs,
}

/// Trouble for requests whose method and target begin so.
#[derive(Debug, Clone)]
struct Order {
    method: &'static str,
    target: String,
    status: u16,
    times: usize,
}

/// A client's write.
#[derive(Debug, Clone)]
pub struct Written {
    pub method: String,
    pub path: String,
    pub body: Value,
    pub status: u16,
    pub at: Instant,
}

struct Event {
    version: u64,
    kind: &'static str,
    id: Id,
    object: Value,
}

struct State {
    version: u64,
    objects: BTreeMap<Id, Value>,
    history: Vec<Event>,
    /// Events up to this version are forgotten.
    forgotten: u64,
    mode: Mode,
    orders: Vec<Order>,
    written: Vec<Written>,
    /// Groups that are not installed.
    absent: BTreeSet<&'static str>,
    watches: usize,
    watched: BTreeMap<&'static str, usize>,
    /// Clients with another token are not let in.
    token: Option<String>,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running API server.
pub struct ApiServer {
    origin: Origin,
    inner: Arc<Inner>,
    directory: tempfile::TempDir,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiServer {
    pub fn new() -> Self {
        let state = State {
            version: 1,
            objects: BTreeMap::new(),
            history: Vec::new(),
            forgotten: 0,
            mode: Mode::Up,
            orders: Vec::new(),
            written: Vec::new(),
            absent: BTreeSet::new(),
            watches: 0,
            watched: BTreeMap::new(),
            token: None,
        };
        let inner = Arc::new(Inner { state: Mutex::new(state), changed: Condvar::new() });
        let serving = Arc::clone(&inner);
        let origin = Origin::scripted(move |conn| while serving.serve(conn) {});
        let directory = tempfile::tempdir().expect("a temporary directory");
        let this = Self { origin, inner, directory };
        this.found_at(&format!("http://{}", this.origin.address), None, None);
        this
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.origin.address
    }

    /// Writes a kubeconfig with this address and authority, and lets in clients with this token.
    pub fn found_at(&self, server: &str, authority: Option<&Path>, token: Option<&str>) {
        let mut cluster = json!({"server": server});
        if let Some(authority) = authority {
            cluster["certificate-authority"] = authority.display().to_string().into();
        }
        let user = token.map_or_else(|| json!({}), |token| json!({"token": token}));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "umbra-system"}}],
        });
        std::fs::write(self.kubeconfig(), kubeconfig.to_string()).expect("the kubeconfig is written");
    }

    /// Says in the kubeconfig that the token stands in this file.
    pub fn found_with_token_in(&self, file: &Path) {
        self.found_at(&format!("http://{}", self.address()), None, Some("TOKEN"));
        let text = std::fs::read_to_string(self.kubeconfig()).expect("the kubeconfig");
        let file = format!("\"tokenFile\":\"{}\"", file.display());
        std::fs::write(self.kubeconfig(), text.replace("\"token\":\"TOKEN\"", &file)).expect("it is written");
    }

    /// From now on only clients with this token are let in; the others' watches end.
    pub fn set_token(&self, token: &str) {
        self.inner.lock().token = Some(token.to_owned());
        self.inner.changed.notify_all();
    }

    /// The values of this field in all requests so far; empty where one has none.
    pub fn fields(&self, name: &str) -> Vec<String> {
        let requests = self.origin.requests();
        requests.iter().map(|one| one.field(name).unwrap_or_default().to_owned()).collect()
    }

    /// Where a client finds it.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.directory.path().join("config")
    }

    /// As `kubectl apply` does with a manifest of one or more documents.
    #[track_caller]
    pub fn apply(&self, yaml: &str) {
        let all: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
        all.into_iter().for_each(|object| self.put(object));
    }

    /// Creates an object, or replaces all of it but its status.
    #[track_caller]
    pub fn put(&self, mut object: Value) {
        let group = object["apiVersion"]
            .as_str()
            .and_then(|api| Some(api.split_once('/')?.0))
            .unwrap_or_default()
            .to_owned();
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let resource =
            RESOURCES.iter().position(|one| one.0 == group && one.2 == kind).expect("a kind that is known");
        if RESOURCES[resource].3 && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = "default".into();
        }
        let id = id(resource, &object);
        let mut state = self.inner.lock();
        let is_new = !state.objects.contains_key(&id);
        if is_new {
            state.create(id, object);
        } else {
            state.update(id, object, false);
        }
        self.inner.changed.notify_all();
    }

    /// Creates an object without an event: only a list has it.
    #[track_caller]
    pub fn put_silently(&self, object: Value) {
        self.put(object);
        self.inner.lock().history.pop();
    }

    /// As `kubectl delete`.
    #[track_caller]
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let mut state = self.inner.lock();
        let id = state.find(kind, namespace, name).expect("it is there");
        state.delete(&id);
        self.inner.changed.notify_all();
    }

    /// An object as it is.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.inner.lock();
        let id = state.find(kind, namespace, name)?;
        state.objects.get(&id).cloned()
    }

    /// All objects of this kind, in every namespace.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let state = self.inner.lock();
        state.objects.iter().filter(|(id, _)| RESOURCES[id.0].2 == kind).map(|(_, one)| one.clone()).collect()
    }

    /// Sets a status as another controller would.
    #[track_caller]
    pub fn set_status(&self, kind: &str, namespace: &str, name: &str, status: Value) {
        let mut state = self.inner.lock();
        let id = state.find(kind, namespace, name).expect("it is there");
        let mut object = state.objects[&id].clone();
        object["status"] = status;
        state.update(id, object, true);
        self.inner.changed.notify_all();
    }

    pub fn set_mode(&self, mode: Mode) {
        self.inner.lock().mode = mode;
        self.inner.changed.notify_all();
    }

    /// Forgets the history: later watches from earlier versions are told so (410), open ones end.
    pub fn forget(&self) {
        let mut state = self.inner.lock();
        state.version += 1;
        state.forgotten = state.version;
        state.history.clear();
        self.inner.changed.notify_all();
    }

    /// A group is not installed.
    pub fn uninstall(&self, group: &'static str) {
        self.inner.lock().absent.insert(group);
    }

    pub fn install(&self, group: &'static str) {
        self.inner.lock().absent.remove(group);
    }

    /// The next so many requests of this method whose target contains this are answered with this status.
    pub fn order(&self, method: &'static str, target: &str, status: u16, times: usize) {
        self.inner.lock().orders.push(Order { method, target: target.to_owned(), status, times });
    }

    /// The Events on objects of this name, as `TYPE REASON: MESSAGE`.
    pub fn events(&self, name: &str) -> Vec<String> {
        let state = self.inner.lock();
        let of = |(id, event): (&Id, &Value)| {
            let is_it = RESOURCES[id.0].2 == "Event" && event["involvedObject"]["name"] == name;
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            is_it.then(|| format!("{} {}: {}", text("type"), text("reason"), text("message")))
        };
        state.objects.iter().filter_map(of).collect()
    }

    /// Clients' writes of objects whose path ends so.
    pub fn written(&self, end: &str) -> Vec<Written> {
        self.inner.lock().written.iter().filter(|one| one.path.ends_with(end)).cloned().collect()
    }

    /// Requests so far, as lines.
    pub fn requests(&self) -> Vec<String> {
        self.origin
            .requests()
            .iter()
            .map(|request| format!("{} {}", request.method, request.target))
            .collect()
    }

    /// Watches of this plural that are open.
    pub fn watches_of(&self, plural: &str) -> usize {
        self.inner.lock().watched.get(plural).copied().unwrap_or_default()
    }

    /// Waits until so many watches are open.
    #[track_caller]
    pub fn wait_for_watches(&self, most: usize) {
        eventually_within(Duration::from_secs(60), "watches are open", || self.inner.lock().watches >= most);
    }
}

fn id(resource: usize, object: &Value) -> Id {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (resource, text("namespace"), text("name"))
}

impl State {
    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<Id> {
        let is = |(resource, own, other): &&Id| {
            RESOURCES[*resource].2 == kind && own == namespace && other == name
        };
        self.objects.keys().find(is).cloned()
    }

    fn tell(&mut self, kind: &'static str, id: Id, object: Value) {
        self.history.push(Event { version: self.version, kind, id, object });
    }

    fn create(&mut self, id: Id, mut object: Value) -> Value {
        self.version += 1;
        let stamp = format!("2026-01-01T00:{:02}:{:02}Z", self.version / 60 % 60, self.version % 60);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        object["metadata"]["uid"] = format!("uid-{}", self.version).into();
        object["metadata"]["generation"] = 1.into();
        object["metadata"]["creationTimestamp"] = stamp.into();
        object["metadata"]["managedFields"] = json!([{"manager": "test", "fieldsV1": {"f:spec": {}}}]);
        self.objects.insert(id.clone(), object.clone());
        self.tell("ADDED", id, object.clone());
        object
    }

    /// The status, or everything but the status.
    fn update(&mut self, id: Id, mut object: Value, is_status: bool) -> Value {
        let before = self.objects[&id].clone();
        if is_status {
            let status = object["status"].take();
            object = before.clone();
            object["status"] = status;
        } else {
            match before.get("status") {
                Some(status) => object["status"] = status.clone(),
                None => drop(object.as_object_mut().and_then(|object| object.remove("status"))),
            }
            for kept in ["uid", "creationTimestamp", "generation"] {
                object["metadata"][kept] = before["metadata"][kept].clone();
            }
            if object["spec"] != before["spec"] {
                let generation = before["metadata"]["generation"].as_u64().unwrap_or_default();
                object["metadata"]["generation"] = (generation + 1).into();
            }
        }
        object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        if object == before {
            return object;
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(id.clone(), object.clone());
        self.tell("MODIFIED", id, object.clone());
        object
    }

    fn delete(&mut self, id: &Id) {
        let Some(mut object) = self.objects.remove(id) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.tell("DELETED", id.clone(), object);
    }
}

/// A request's path, taken apart.
struct Asked {
    resource: usize,
    version: String,
    namespace: Option<String>,
    name: Option<String>,
    is_status: bool,
    query: BTreeMap<String, String>,
    metadata_only: bool,
}

impl Asked {
    fn of(request: &Request) -> Option<Self> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, is_status) = match rest {
            [plural] => (*plural, None, false),
            [plural, name] => (*plural, Some((*name).to_owned()), false),
            [plural, name, "status"] => (*plural, Some((*name).to_owned()), true),
            _ => return None,
        };
        let resource = RESOURCES.iter().position(|one| one.0 == group && one.1 == plural)?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| text.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        Some(Self {
            resource,
            version: version.to_owned(),
            namespace,
            name,
            is_status,
            query: pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect(),
            metadata_only: request
                .field("accept")
                .is_some_and(|accept| accept.contains("PartialObjectMetadata")),
        })
    }

    fn selects(&self, id: &Id, object: &Value) -> bool {
        let labels = self.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let labels = labels.split(',').filter_map(|pair| pair.split_once('='));
        let field = self.query.get("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="));
        id.0 == self.resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == id.1)
            && field.is_none_or(|name| name == id.2)
            && labels.into_iter().all(|(name, value)| object["metadata"]["labels"][name] == value)
    }

    /// The object as shown: in the wanted version, or its metadata alone; list members lack `apiVersion` and `kind`.
    fn shown(&self, object: &Value, is_member: bool) -> Value {
        let (group, _, kind, _, _) = RESOURCES[self.resource];
        let api = if group.is_empty() { self.version.clone() } else { format!("{group}/{}", self.version) };
        if self.metadata_only {
            let (api, kind) = ("meta.k8s.io/v1", "PartialObjectMetadata");
            return json!({"apiVersion": api, "kind": kind, "metadata": object["metadata"]});
        }
        let mut shown = object.clone();
        shown["apiVersion"] = api.into();
        shown["kind"] = kind.into();
        if let Some(shown) = shown.as_object_mut().filter(|_| is_member && group.is_empty()) {
            shown.remove("apiVersion");
            shown.remove("kind");
        }
        shown
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the API server")
    }

    /// Answers one request; whether the connection goes on.
    fn serve(&self, conn: &mut Conn) -> bool {
        let Some(request) = conn.request() else { return false };
        let mut state = self.lock();
        while state.mode == Mode::Hangs {
            state = self.changed.wait(state).expect("the API server");
        }
        if state.mode == Mode::Down {
            return false;
        }
        let shown = request.field("authorization").and_then(|field| field.strip_prefix("Bearer "));
        if state.token.is_some() && state.token.as_deref() != shown {
            drop(state);
            return answer(conn, 401, &failure(401, "Unauthorized"));
        }
        let is = |order: &Order| request.method == order.method && request.target.contains(&order.target);
        if let Some(order) = state.orders.iter_mut().find(|order| order.times > 0 && is(order)) {
            order.times -= 1;
            let status = order.status;
            drop(state);
            return answer(conn, status, &failure(status, "as ordered"));
        }
        let path = request.target.split('?').next().unwrap_or_default();
        if let Some(page) = api_discovery::page(path, RESOURCES, &state.absent) {
            drop(state);
            return answer(conn, 200, &page);
        }
        let is_served = |asked: &Asked| {
            let resource = &RESOURCES[asked.resource];
            resource.4.contains(&asked.version.as_str()) && !state.absent.contains(resource.0)
        };
        let Some(asked) = Asked::of(&request).filter(is_served) else {
            drop(state);
            return answer(conn, 404, &failure(404, "the server could not find the requested resource"));
        };
        if request.method == "GET" && asked.name.is_none() && asked.query.contains_key("watch") {
            let plural = RESOURCES[asked.resource].1;
            state.watches += 1;
            *state.watched.entry(plural).or_default() += 1;
            drop(state);
            self.watch(conn, &asked);
            let mut state = self.lock();
            state.watches -= 1;
            *state.watched.entry(plural).or_default() -= 1;
            return false;
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let (status, said) = match request.method.as_str() {
            "GET" if asked.name.is_none() => (200, list(&state, &asked)),
            "GET" => match state.objects.get(&asked.id(&body)) {
                Some(object) => (200, asked.shown(object, false)),
                None => (404, failure(404, "not found")),
            },
            method => {
                if asked.query.contains_key("dryRun") {
                    // As it would be; then as it was.
                    let kept = (state.version, state.objects.clone(), state.history.len());
                    let (status, said) = write(&mut state, &asked, method, body);
                    (state.version, state.objects) = (kept.0, kept.1);
                    state.history.truncate(kept.2);
                    drop(state);
                    return answer(conn, status, &said);
                }
                let (status, said) = write(&mut state, &asked, method, body.clone());
                let (path, method) = (request.target.clone(), method.to_owned());
                state.written.push(Written { method, path, body, status, at: Instant::now() });
                self.changed.notify_all();
                (status, said)
            }
        };
        drop(state);
        answer(conn, status, &said)
    }

    fn watch(&self, conn: &mut Conn, asked: &Asked) {
        let number = |name: &str| asked.query.get(name).and_then(|text| text.parse::<u64>().ok());
        let mut from = number("resourceVersion").unwrap_or_default();
        let ends = Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        if !conn.write(head) {
            return;
        }
        let event = |kind: &str, object: Value| {
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            format!("{:x}\r\n{line}\r\n", line.len())
        };
        let marks = asked.query.contains_key("allowWatchBookmarks");
        let mut marked = (from, Instant::now());
        let mut state = self.lock();
        let token = state.token.clone();
        loop {
            while state.mode == Mode::Hangs {
                state = self.changed.wait(state).expect("the API server");
            }
            if state.mode == Mode::Down || state.token != token || Instant::now() > ends {
                break;
            }
            if from < state.forgotten {
                let gone = event("ERROR", failure(410, "too old resource version"));
                drop(state);
                conn.write(gone);
                conn.write("0\r\n\r\n");
                return;
            }
            let known = state.history.partition_point(|one| one.version <= from);
            let news = state.history[known..].iter().filter(|one| asked.selects(&one.id, &one.object));
            let mut told: String = news.map(|one| event(one.kind, asked.shown(&one.object, false))).collect();
            from = state.version;
            if told.is_empty() && marks && from > marked.0 && marked.1.elapsed() >= BOOKMARK_EVERY {
                marked = (from, Instant::now());
                let mark = json!({"metadata": {"resourceVersion": from.to_string()}});
                told = event("BOOKMARK", asked.shown(&mark, false));
            }
            if !told.is_empty() {
                drop(state);
                if !conn.write(told) {
                    return;
                }
                state = self.lock();
                continue;
            }
            state = self.changed.wait_timeout(state, BOOKMARK_EVERY).expect("the API server").0;
        }
        let is_over = state.mode == Mode::Up;
        drop(state);
        if is_over {
            conn.write("0\r\n\r\n");
        }
    }
}

impl Asked {
    fn id(&self, body: &Value) -> Id {
        let named = || body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (self.resource, self.namespace.clone().unwrap_or_default(), self.name.clone().unwrap_or_else(named))
    }
}

fn list(state: &State, asked: &Asked) -> Value {
    let number = |name: &str| asked.query.get(name).and_then(|text| text.parse::<usize>().ok());
    let all: Vec<&Value> =
        state.objects.iter().filter(|(id, one)| asked.selects(id, one)).map(|(_, one)| one).collect();
    let (limit, from) = (number("limit").unwrap_or(usize::MAX), number("continue").unwrap_or(0));
    let page: Vec<Value> = all.iter().skip(from).take(limit).map(|one| asked.shown(one, true)).collect();
    let next = from + page.len();
    let token = if next < all.len() { next.to_string() } else { String::new() };
    let (group, _, kind, _, _) = RESOURCES[asked.resource];
    let api = if group.is_empty() { asked.version.clone() } else { format!("{group}/{}", asked.version) };
    let metadata = json!({"resourceVersion": state.version.to_string(), "continue": token});
    json!({"apiVersion": api, "kind": format!("{kind}List"), "metadata": metadata, "items": page})
}

fn write(state: &mut State, asked: &Asked, method: &str, body: Value) -> (u16, Value) {
    let id = asked.id(&body);
    let Some(before) = state.objects.get(&id).cloned() else {
        if method != "POST" {
            return (404, failure(404, "not found"));
        }
        let mut object = body;
        object["metadata"]["namespace"] = id.1.clone().into();
        let object = state.create(id, object);
        return (201, asked.shown(&object, false));
    };
    let stale = body["metadata"]["resourceVersion"].as_str();
    let is_stale = stale.is_some_and(|version| before["metadata"]["resourceVersion"] != version);
    let next = match method {
        "POST" => return (409, failure(409, "already exists")),
        "PUT" | "PATCH" if is_stale => return (409, failure(409, "the object has been modified")),
        "PUT" => body,
        "PATCH" => merged(before, body),
        "DELETE" => {
            state.delete(&id);
            return (200, json!({"kind": "Status", "status": "Success"}));
        }
        _ => return (405, failure(405, "not allowed")),
    };
    let object = state.update(id, next, asked.is_status);
    (200, asked.shown(&object, false))
}

/// As RFC 7396 has it.
fn merged(into: Value, patch: Value) -> Value {
    let (mut into, patch) = match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => (into, patch),
        (_, Value::Object(patch)) => (serde_json::Map::new(), patch),
        (_, patch) => return patch,
    };
    for (name, value) in patch {
        if value.is_null() {
            into.remove(&name);
        } else {
            let before = into.remove(&name).unwrap_or_default();
            into.insert(name, merged(before, value));
        }
    }
    Value::Object(into)
}

fn failure(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code})
}

fn answer(conn: &mut Conn, status: u16, said: &Value) -> bool {
    let retry = if status == 429 { "Retry-After: 1\r\n" } else { "" };
    let said = said.to_string();
    conn.write(format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{retry}Content-Length: {}\r\n\r\n{said}",
        said.len()
    ))
}
