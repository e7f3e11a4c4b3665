//! Cases of the Gateway API's own conformance suite, and the specification's rules on objects that are partly wrong.

use serde_json::{Value, json};
use tests::cluster::{PATIENCE, Replica};
use tests::origin::write;
use tests::{Client, ClusterStage, Origin, Response, eventually_within};

const OURS: &str = "umbra.dev/gateway-controller";

/// A Gateway of ours with these listeners, and Services `one` and `two`.
fn stage(listeners: Value, one: &Origin, two: &Origin) -> ClusterStage {
    let cluster = ClusterStage::new();
    cluster.definitions("v1.6.1");
    for (name, origin) in [("one", one), ("two", two)] {
        cluster.service("default", name, json!({"app": name}));
        cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
    }
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "umbra", "namespace": ""}, "spec": {"controllerName": OURS}}));
    gateway(&cluster, json!({"gatewayClassName": "umbra", "listeners": listeners}));
    cluster
}

fn gateway(cluster: &ClusterStage, spec: Value) {
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"}, "spec": spec}));
}

fn http(name: &str, hostname: Option<&str>) -> Value {
    let mut listener = json!({"name": name, "port": 80, "protocol": "HTTP"});
    if let Some(hostname) = hostname {
        listener["hostname"] = hostname.into();
    }
    listener
}

fn route(cluster: &ClusterStage, name: &str, parent: Value, rules: Value) {
    let spec = json!({"parentRefs": [parent], "rules": rules});
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}));
}

/// A rule that sends requests below a path to a Service.
fn rule(path: &str, to: &str) -> Value {
    json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": [{"name": to, "port": 80}]})
}

/// Conditions as `Accepted=True/Accepted@1`.
fn conditions(of: &Value) -> Vec<String> {
    let text = |one: &Value| {
        let of = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        format!("{}={}/{}@{}", of("type"), of("status"), of("reason"), one["observedGeneration"])
    };
    of["conditions"].as_array().into_iter().flatten().map(text).collect()
}

fn status(cluster: &ClusterStage, kind: &str, namespace: &str, name: &str) -> Value {
    cluster.api.get(kind, namespace, name).expect("it is there")["status"].clone()
}

#[track_caller]
fn says(wanted: &[&str], gateway: &Replica, said: impl Fn() -> Vec<String>) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while said() != wanted {
        let late = std::time::Instant::now() > deadline;
        assert!(!late, "{wanted:?}, not {:?}:\n{}", said(), gateway.process.stderr());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_gateway_class_says_which_version_is_installed_and_what_is_offered_of_it() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let cluster = stage(json!([http("http", None)]), &one, &two);
    route(&cluster, "r", json!({"name": "gw"}), json!([rule("/", "one")]));
    let gateway = cluster.start(&[]);
    gateway.says("a.test", "/", "200 one");
    let class = || status(&cluster, "GatewayClass", "", "umbra");
    let (yes, no) =
        ("SupportedVersion=True/SupportedVersion@1", "SupportedVersion=False/UnsupportedVersion@1");
    let told =
        |supported: &str| says(&["Accepted=True/Accepted@1", supported], &gateway, || conditions(&class()));
    told(yes);
    let features = class()["supportedFeatures"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = features.iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.windows(2).all(|two| two[0] < two[1]), "{names:?}");
    for name in ["Gateway", "HTTPRoute", "HTTPRouteRequestMirror", "ReferenceGrant"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    // The field of retries is not in the standard channel, and it stands for one address here.
    assert!(!names.contains(&"HTTPRouteRetry") && !names.contains(&"GatewayPort8080"), "{names:?}");
    // As the suite has it: without the annotation, with one of nowhere, and as it was.
    for version in [None, Some("v0.0.0"), Some("v1.99.0")] {
        cluster.definition("gatewayclasses", version);
        told(no);
        cluster.definition("gatewayclasses", Some("v1.6.1"));
        told(yes);
    }
    // A definition of another version is named, and all is served as far as it is understood.
    cluster.definition("httproutes", Some("v2.0.0"));
    told(no);
    let message = class()["conditions"][1]["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.contains("httproutes.gateway.networking.k8s.io is of v2.0.0") && message.contains("v1.6"),
        "{message}"
    );
    route(&cluster, "r", json!({"name": "gw"}), json!([rule("/", "two")]));
    gateway.says("a.test", "/", "200 two");
}

#[test]
fn a_rule_that_cannot_be_served_is_dropped_and_its_neighbours_serve() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let cluster = stage(json!([http("http", None)]), &one, &two);
    // The route for all other requests.
    route(&cluster, "rest", json!({"name": "gw"}), json!([rule("/", "two")]));
    let mut odd = rule("/odd", "one");
    odd["filters"] =
        json!([{"type": "ExtensionRef", "extensionRef": {"group": "x.dev", "kind": "Magic", "name": "m"}}]);
    let mut broken = rule("/broken", "one");
    broken["matches"][0]["path"] = json!({"type": "RegularExpression", "value": "/broken("});
    route(&cluster, "r", json!({"name": "gw"}), json!([odd, rule("/good", "one"), broken]));
    let gateway = cluster.start(&[]);
    gateway.says("a.test", "/good", "200 one");
    // Requests of a dropped rule go nowhere else; requests of a match that is not understood go where they would without it.
    assert_eq!(gateway.said("a.test", "/odd/x"), "500");
    assert_eq!(gateway.said("a.test", "/broken("), "200 two");
    let parent = || status(&cluster, "HTTPRoute", "default", "r")["parents"][0].clone();
    let served = ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"];
    let of = |generation: u64, all: &[&str]| -> Vec<String> {
        all.iter().map(|one| format!("{one}@{generation}")).collect()
    };
    let told = |wanted: Vec<String>| {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        says(&wanted, &gateway, || conditions(&parent()));
    };
    told(of(1, &[served[0], served[1], "PartiallyInvalid=True/UnsupportedValue"]));
    let message = parent()["conditions"][2]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("Dropped Rule 0, its requests are answered with an error: "), "{message}");
    assert!(message.contains("; Dropped Rule 2, it matches nothing: "), "{message}");
    gateway.logs("HTTPRoute default/r: Dropped Rule 0");
    eventually_within(PATIENCE, "it is an Event", || {
        cluster.api.events("r").iter().any(|said| said.starts_with("Warning Rejected: Dropped Rule 0"))
    });
    let state = |state: &str| {
        gateway
            .metrics()
            .sum("umbra_kubernetes_objects", &["kind=\"HTTPRoute\"", &format!("state=\"{state}\"")])
    };
    assert_eq!((state("accepted"), state("partial"), state("rejected")), (1, 1, 0));
    eventually_within(PATIENCE, "both routes are attached", || {
        status(&cluster, "Gateway", "default", "gw")["listeners"][0]["attachedRoutes"] == 2
    });
    // Mended: nothing is left of it in the status either.
    route(&cluster, "r", json!({"name": "gw"}), json!([rule("/odd", "one"), rule("/good", "one")]));
    gateway.says("a.test", "/odd/x", "200 one");
    told(of(2, &served));
    // A route at fault as a whole is refused, and its last version serves on; of one that never was accepted the known parts
    // are answered.
    route(&cluster, "r", json!({"name": "gw"}), json!([odd]));
    told(of(3, &["Accepted=False/UnsupportedValue", served[1]]));
    assert_eq!(gateway.said("a.test", "/odd/x"), "200 one");
    cluster.api.delete("HTTPRoute", "default", "r");
    gateway.says("a.test", "/odd/x", "200 two");
    route(&cluster, "r", json!({"name": "gw"}), json!([odd]));
    gateway.says("a.test", "/odd/x", "500");
    assert_eq!(gateway.said("a.test", "/other"), "200 two");
    told(of(1, &["Accepted=False/UnsupportedValue", served[1]]));
}

#[test]
fn a_gateway_with_parameters_that_are_not_known_is_told_so_and_serves_nothing() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let cluster = stage(json!([http("http", None)]), &one, &two);
    route(&cluster, "r", json!({"name": "gw"}), json!([rule("/", "one")]));
    let process = cluster.start(&[]);
    process.says("a.test", "/", "200 one");
    let said = || conditions(&status(&cluster, "Gateway", "default", "gw"));
    says(&["Accepted=True/Accepted@1", "Programmed=True/Programmed@1"], &process, said);
    let parameters = json!({"parametersRef": {"group": "x.dev", "kind": "Nothing", "name": "n"}});
    gateway(
        &cluster,
        json!({"gatewayClassName": "umbra", "listeners": [http("http", None)], "infrastructure": parameters}),
    );
    says(&["Accepted=False/InvalidParameters@2", "Programmed=False/Invalid@2"], &process, said);
    process.says("a.test", "/", "404");
    gateway(&cluster, json!({"gatewayClassName": "umbra", "listeners": [http("http", None)]}));
    process.says("a.test", "/", "200 one");
}

#[test]
fn a_request_is_for_the_routes_of_the_most_specific_listener_and_no_others() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let listeners = json!([
        http("every", None),
        http("wild", Some("*.example.com")),
        http("exact", Some("abc.example.com"))
    ]);
    let cluster = stage(listeners, &one, &two);
    for name in ["every", "wild", "exact"] {
        let to = if name == "every" { "one" } else { "two" };
        route(
            &cluster,
            name,
            json!({"name": "gw", "sectionName": name}),
            json!([rule(&format!("/{name}"), to)]),
        );
    }
    let gateway = cluster.start(&[]);
    gateway.says("bar.com", "/every", "200 one");
    let rows = [
        ("bar.com", ["200 one", "404", "404"]),
        ("bar.example.com", ["404", "200 two", "404"]),
        ("abc.example.com", ["404", "404", "200 two"]),
    ];
    for (host, wanted) in rows {
        let said = ["/every", "/wild", "/exact"].map(|path| gateway.said(host, path));
        assert_eq!(said, wanted, "{host}");
    }
    for name in ["every", "wild", "exact"] {
        eventually_within(PATIENCE, "each is accepted", || {
            let all = conditions(&status(&cluster, "HTTPRoute", "default", name)["parents"][0]);
            all.first().is_some_and(|first| first == "Accepted=True/Accepted@1")
        });
    }
}

/// Answers with its name, the target and the Host that it was asked for, and the fields that routes here change.
fn echo(name: &'static str) -> Origin {
    Origin::new(move |request, stream| {
        let values = |name: &str| request.values(name).join(",");
        let mut text = format!("{name} {} {}", request.target, values("host"));
        for name in ["x-set", "x-add", "x-append", "x-remove"] {
            text.push_str(&format!(" {}", values(name)));
        }
        let head =
            format!("HTTP/1.1 200 OK\r\nX-Set: theirs\r\nX-Remove: theirs\r\nContent-Length: {}", text.len());
        write(stream, format!("{head}\r\n\r\n{text}"))
    })
}

/// A request, with lines like `X-A: b\r\n`.
fn ask(gateway: &Replica, host: &str, line: &str, lines: &str) -> Response {
    let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
    Client::connect(gateway.address).ask(head)
}

/// A route under these hosts.
fn route_of(cluster: &ClusterStage, hosts: &[&str], name: &str, rules: Value) {
    let spec = json!({"parentRefs": [{"name": "gw"}], "hostnames": hosts, "rules": rules});
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}));
}

/// A rule of these matches to a Service.
fn matched(matches: Value, to: &str) -> Value {
    json!({"matches": matches, "backendRefs": [{"name": to, "port": 80}]})
}

#[test]
fn requests_go_where_the_suite_has_them_go() {
    let (one, two) = (echo("one"), echo("two"));
    let cluster = stage(json!([http("http", None)]), &one, &two);
    let path = |kind: &str, value: &str| json!({"path": {"type": kind, "value": value}});
    let prefix = |value: &str| path("PathPrefix", value);
    let field = |name: &str, value: &str| json!({"headers": [{"name": name, "value": value}]});
    let query = |all: &[(&str, &str)]| {
        let all: Vec<Value> = all.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!([{"queryParams": all}])
    };
    route_of(
        &cluster,
        &["matching.test"],
        "matching",
        json!([
            matched(json!([prefix("/"), field("version", "one")]), "one"),
            matched(json!([prefix("/v2"), field("version", "two")]), "two"),
        ]),
    );
    route_of(
        &cluster,
        &["com.across.test", "net.across.test"],
        "part-1",
        json!([matched(json!([prefix("/"), field("version", "one")]), "one")]),
    );
    route_of(
        &cluster,
        &["com.across.test"],
        "part-2",
        json!([matched(json!([prefix("/v2"), field("version", "two")]), "two"),]),
    );
    let both =
        json!([{"headers": [{"name": "version", "value": "two"}, {"name": "color", "value": "orange"}]}]);
    route_of(
        &cluster,
        &["headers.test"],
        "headers",
        json!([
            matched(json!([field("version", "one")]), "one"),
            matched(json!([field("version", "two")]), "two"),
            matched(both, "one"),
            matched(json!([field("color", "blue"), field("color", "green")]), "one"),
            matched(json!([field("color", "red"), field("color", "yellow")]), "two"),
        ]),
    );
    route_of(
        &cluster,
        &["query.test"],
        "query",
        json!([
            matched(query(&[("animal", "whale")]), "one"),
            matched(query(&[("animal", "dolphin")]), "two"),
            matched(query(&[("animal", "dolphin"), ("color", "blue")]), "one"),
            matched(query(&[("ANIMAL", "Whale")]), "two"),
        ]),
    );
    let method =
        |method: &str, path: &str| json!([{"method": method, "path": {"type": "PathPrefix", "value": path}}]);
    route_of(
        &cluster,
        &["methods.test"],
        "methods",
        json!([
            matched(json!([{"method": "POST"}]), "one"),
            matched(json!([{"method": "GET"}]), "two"),
            // More of a path comes before a method, and a method before a field.
            matched(method("GET", "/path1"), "one"),
            matched(json!([{"method": "PATCH", "path": {"type": "PathPrefix", "value": "/path3"}}]), "one"),
            matched(
                json!([{"headers": [{"name": "version", "value": "one"}], "path": {"type": "PathPrefix", "value": "/path3"}}]),
                "two"
            ),
        ]),
    );
    route_of(
        &cluster,
        &["paths.test"],
        "paths",
        json!([
            matched(json!([path("Exact", "/one")]), "one"),
            matched(json!([path("Exact", "/two")]), "two"),
            matched(json!([prefix("/match")]), "two"),
            matched(json!([prefix("/match/prefix/one")]), "one"),
            matched(json!([prefix("/match/prefix")]), "two"),
            matched(json!([path("Exact", "/match/exact")]), "one"),
        ]),
    );
    let none = json!([
        {"matches": [prefix("/none")]},
        {"matches": [prefix("/zero")], "backendRefs": [{"name": "one", "port": 80, "weight": 0}, {"name": "two", "port": 80, "weight": 0}]},
        {"matches": [prefix("/gone")], "backendRefs": [{"name": "gone", "port": 80}]},
    ]);
    route_of(&cluster, &["none.test"], "none", none);
    let gateway = cluster.start(&[]);
    eventually_within(PATIENCE, "all is served", || {
        let hosts = ["matching.test", "com.across.test"];
        hosts.iter().all(|host| ask(&gateway, host, "GET /v2", "").text().starts_with("two"))
            && ask(&gateway, "none.test", "GET /none", "").status == 500
    });
    let rows = [
        ("matching.test", "GET /", "", "one"),
        ("matching.test", "GET /example", "", "one"),
        ("matching.test", "GET /", "Version: one\r\n", "one"),
        ("matching.test", "GET /", "Version: two\r\n", "two"),
        ("matching.test", "GET /v2", "", "two"),
        ("matching.test", "GET /v2/example", "", "two"),
        ("matching.test", "GET /v2", "Version: one\r\n", "two"),
        ("matching.test", "GET /v2example", "", "one"),
        ("matching.test", "GET /foo/v2/example", "", "one"),
        ("com.across.test", "GET /", "", "one"),
        ("net.across.test", "GET /example", "", "one"),
        ("com.across.test", "GET /v2/", "", "two"),
        ("com.across.test", "GET /", "Version: two\r\n", "two"),
        ("net.across.test", "GET /v2", "", "one"),
        ("net.across.test", "GET /", "Version: two\r\n", "one"),
        ("com.across.test", "GET /v2example", "", "one"),
        ("headers.test", "GET /", "Version: one\r\n", "one"),
        ("headers.test", "GET /", "VERSION: two\r\n", "two"),
        ("headers.test", "GET /", "Version: two\r\nColor: orange\r\n", "one"),
        ("headers.test", "GET /", "Color: blue\r\n", "one"),
        ("headers.test", "GET /", "Color: green\r\n", "one"),
        ("headers.test", "GET /", "Color: red\r\n", "two"),
        ("headers.test", "GET /", "Color: yellow\r\n", "two"),
        ("headers.test", "GET /", "Color: purple\r\n", "404"),
        ("headers.test", "GET /", "Some-Other-Header: one\r\n", "404"),
        ("headers.test", "GET /", "", "404"),
        ("query.test", "GET /?animal=whale", "", "one"),
        ("query.test", "GET /?animal=dolphin", "", "two"),
        ("query.test", "GET /?animal=whale&otherparam=irrelevant", "", "one"),
        ("query.test", "GET /?animal=dolphin&color=yellow", "", "two"),
        ("query.test", "GET /?animal=dolphin&color=blue", "", "one"),
        ("query.test", "GET /?ANIMAL=Whale", "", "two"),
        ("query.test", "GET /?color=blue", "", "404"),
        ("query.test", "GET /?animal=dog", "", "404"),
        ("query.test", "GET /?animal=whaledolphin", "", "404"),
        ("query.test", "GET /", "", "404"),
        ("methods.test", "POST /", "Content-Length: 0\r\n", "one"),
        ("methods.test", "GET /", "", "two"),
        ("methods.test", "PUT /", "Content-Length: 0\r\n", "404"),
        ("methods.test", "GET /path1", "", "one"),
        ("methods.test", "PATCH /path3", "Version: one\r\nContent-Length: 0\r\n", "one"),
        ("methods.test", "DELETE /path3", "Version: one\r\n", "two"),
        ("paths.test", "GET /one", "", "one"),
        ("paths.test", "GET /two", "", "two"),
        ("paths.test", "GET /", "", "404"),
        ("paths.test", "GET /one/example", "", "404"),
        ("paths.test", "GET /two/", "", "404"),
        ("paths.test", "GET /Two", "", "404"),
        ("paths.test", "GET /match/exact", "", "one"),
        ("paths.test", "GET /match/exact/more", "", "two"),
        ("paths.test", "GET /match/prefix/one/any", "", "one"),
        ("paths.test", "GET /match/prefix/two", "", "two"),
        ("none.test", "GET /none", "", "500"),
        ("none.test", "GET /zero", "", "500"),
        ("none.test", "GET /gone", "", "500"),
    ];
    for (host, line, lines, wanted) in rows {
        let answer = ask(&gateway, host, line, lines);
        let text = answer.text();
        let said = if answer.status == 200 {
            text.split(' ').next().unwrap_or_default().to_owned()
        } else {
            answer.status.to_string()
        };
        assert_eq!(said, wanted, "{host} {line} {lines:?}");
    }
    // A rule without backends and one whose backends have no weight name nothing that is missing; the third one does.
    let resolved = || {
        let said = conditions(&status(&cluster, "HTTPRoute", "default", "none")["parents"][0]);
        said.get(1).cloned().unwrap_or_default()
    };
    eventually_within(PATIENCE, "it is told what is missing", || {
        resolved() == "ResolvedRefs=False/BackendNotFound@1"
    });
}

#[test]
fn requests_and_answers_are_changed_as_the_suite_has_them_changed() {
    let (one, two) = (echo("one"), echo("two"));
    let cluster = stage(json!([http("http", None)]), &one, &two);
    let edits = json!({"set": [{"name": "X-Set", "value": "set-overwrites-values"}],
        "add": [{"name": "X-Add", "value": "value-1"}, {"name": "X-Append", "value": "value-2"}], "remove": ["X-Remove"]});
    let request = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": edits});
    let answers = json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": edits});
    let rewrite = |rewrite: Value| json!({"type": "URLRewrite", "urlRewrite": rewrite});
    let replaced = |with: &str| json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": with}});
    let whole = |with: &str| json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": with}});
    let redirect = |redirect: Value| json!({"type": "RequestRedirect", "requestRedirect": redirect});
    let filtered = |path: &str, filters: Value| {
        let mut rule = rule(path, "one");
        rule["filters"] = filters;
        rule
    };
    let sent_away = |path: &str, to: Value| json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}], "filters": [redirect(to)]});
    let mut own = rule("/backend", "one");
    own["backendRefs"][0]["filters"] = json!([request]);
    route_of(
        &cluster,
        &["changes.test"],
        "changes",
        json!([
            filtered("/request", json!([request])),
            filtered("/response", json!([answers])),
            own,
            filtered("/host", json!([rewrite(json!({"hostname": "one.example.org"}))])),
            filtered("/prefix/one", json!([rewrite(replaced("/one"))])),
            filtered("/strip-prefix", json!([rewrite(replaced("/"))])),
            filtered("/full/one", json!([rewrite(whole("/one"))])),
            filtered("/full/rewrite-path-and-modify-headers", json!([rewrite(whole("/test")), request])),
        ]),
    );
    route_of(
        &cluster,
        &["redirects.test"],
        "redirects",
        json!([
            sent_away("/hostname", json!({"hostname": "example.org"})),
            sent_away("/host-and-status", json!({"hostname": "example.org", "statusCode": 301})),
            sent_away("/scheme", json!({"scheme": "https"})),
            sent_away("/port", json!({"port": 8083})),
            sent_away("/port-and-scheme", json!({"port": 443, "scheme": "https"})),
            sent_away("/original-prefix", replaced("/replacement-prefix")),
            sent_away("/full", whole("/full-path-replacement")),
            sent_away("/303", json!({"hostname": "example.org", "statusCode": 303})),
            sent_away("/307", json!({"hostname": "example.org", "statusCode": 307})),
            sent_away("/308", json!({"hostname": "example.org", "statusCode": 308})),
        ]),
    );
    let gateway = cluster.start(&[]);
    gateway.says("redirects.test", "/scheme", "302");
    gateway.says("changes.test", "/host", "200 one /host one.example.org");
    let given = "X-Set: some\r\nX-Append: value-1\r\nX-Remove: some\r\n";
    let (edited, same) = ("set-overwrites-values value-1 value-1,value-2 ", "some  value-1 some");
    let rows = [
        ("/request", "/request changes.test", edited),
        ("/backend", "/backend changes.test", edited),
        ("/host/x?a=b", "/host/x?a=b one.example.org", same),
        ("/prefix/one/two", "/one/two changes.test", same),
        ("/prefix/one?q", "/one?q changes.test", same),
        ("/strip-prefix/three", "/three changes.test", same),
        ("/strip-prefix", "/ changes.test", same),
        ("/full/one/two", "/one changes.test", same),
        ("/full/rewrite-path-and-modify-headers/test", "/test changes.test", edited),
    ];
    for (target, wanted, fields) in rows {
        let said = ask(&gateway, "changes.test", &format!("GET {target}"), given).text();
        assert_eq!(said, format!("one {wanted} {fields}"), "{target}");
    }
    let answer = ask(&gateway, "changes.test", "GET /response", "");
    let of = |name: &str| answer.field(name).map(str::to_owned);
    assert_eq!((of("x-set"), of("x-remove")), (Some("set-overwrites-values".to_owned()), None));
    assert_eq!((of("x-add"), of("x-append")), (Some("value-1".to_owned()), Some("value-2".to_owned())));
    let rows = [
        ("/hostname", 302, "http://example.org/hostname"),
        ("/host-and-status", 301, "http://example.org/host-and-status"),
        ("/scheme/x?q=1", 302, "https://redirects.test/scheme/x?q=1"),
        ("/port", 302, "http://redirects.test:8083/port"),
        ("/port-and-scheme", 302, "https://redirects.test/port-and-scheme"),
        ("/original-prefix/lemon", 302, "http://redirects.test/replacement-prefix/lemon"),
        ("/full/path/original", 302, "http://redirects.test/full-path-replacement"),
        ("/303", 303, "http://example.org/303"),
        ("/307", 307, "http://example.org/307"),
        ("/308", 308, "http://example.org/308"),
    ];
    for (target, code, location) in rows {
        let answer = ask(&gateway, "redirects.test", &format!("GET {target}"), "");
        assert_eq!((answer.status, answer.field("location")), (code, Some(location)), "{target}");
    }
    // A port that the client named is where it came in: of another host it stays, of another scheme it goes.
    for (target, location) in
        [("/hostname", "http://example.org:8080/hostname"), ("/scheme", "https://redirects.test/scheme")]
    {
        let answer = ask(&gateway, "redirects.test:8080", &format!("GET {target}"), "");
        assert_eq!(answer.field("location"), Some(location));
    }
}
