//! Documents one by one, as a cluster hands them in: the good ones are translated, and each bad one gets its problems.

use super::*;
use crate::manifest::{Applied, Document, DroppedRule, Outcome, State, Translated, translate};

/// Each document of a YAML text, as an API server would say it.
fn documents(text: &str) -> Vec<Document> {
    yaml::documents(text).unwrap().into_iter().map(Document).collect()
}

fn translated(text: &str) -> Translated {
    translate(&Applied { documents: &documents(text), ..Applied::default() })
}

/// The outcome of each, in a line: `ok`, `no: …`, `skip: …`, and how many warnings.
fn outcomes(all: &Translated) -> Vec<String> {
    let one = |outcome: &Outcome| {
        let state = match &outcome.state {
            State::Accepted => "ok".to_owned(),
            State::Rejected(problems) => {
                let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
                assert!(
                    problems.iter().all(|p| p.resource.as_ref() == Some(&outcome.resource)),
                    "{problems:?}"
                );
                format!("no: {}", told.join("; "))
            }
            State::Partial(dropped) => {
                let told = dropped.iter().map(|rule| {
                    let DroppedRule { index, name, answers, problems } = rule;
                    let problems: Vec<String> = problems.iter().map(told_at).collect();
                    let name = name.as_deref().unwrap_or_default();
                    format!(
                        "{index}{name} {}: {}",
                        if *answers { "answers" } else { "goes" },
                        problems.join("; ")
                    )
                });
                format!("partial: {}", told.collect::<Vec<_>>().join(" | "))
            }
            State::Skipped(why) => format!("skip: {why}"),
        };
        let warnings: Vec<String> = outcome.warnings.iter().map(|w| format!(" ({})", w.message)).collect();
        format!("{} {}: {state}{}", outcome.resource.kind, outcome.resource.name, warnings.concat())
    };
    all.outcomes.iter().map(one).collect()
}

/// Without its line.
fn told_at(problem: &Problem) -> String {
    format!("{}: {}", problem.key.as_deref().unwrap_or_default(), problem.message)
}

fn routes(all: &Translated) -> Vec<String> {
    let config = &all.checked.as_ref().expect("nothing is wrong with the settings").config;
    config.routes.iter().map(|route| route.name.clone()).collect()
}

fn virtual_service(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}, generation: 3}}, spec: {spec}}}\n---\n"
    )
}

fn destination_rule(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: {name}}}, spec: {spec}}}\n---\n"
    )
}

fn http_route(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}}}, spec: {spec}}}\n---\n"
    )
}

fn gateway(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: {name}}}, spec: {spec}}}\n---\n"
    )
}

fn service(name: &str, ports: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: {ports}}}}}\n---\n")
}

const GOOD: &str = "{hosts: [good], http: [{route: [{destination: {host: good}}]}]}";

#[test]
fn one_bad_document_stops_nobody_else() {
    let good = virtual_service("good", GOOD);
    let grpc = service("g", "[{port: 80, appProtocol: mysql}]");
    let listener = "{gatewayClassName: u, listeners: [{name: l, port: 80, protocol: HTTP}]}";
    // The broken document beside it, and the last outcome, which is its own.
    let rows = [
        (virtual_service("bad", "{hosts: [b], tcp: []}"), "VirtualService/bad spec.tcp: is not supported"),
        (virtual_service("bad", "{hosts: [b], htttp: []}"), "unknown key; did you mean \"http\"?"),
        (
            virtual_service(
                "bad",
                "{hosts: [b], http: [{match: [{uri: {regex: '('}}], directResponse: {status: 200}}]}",
            ),
            "spec.http[0].match[0].uri.regex: \"(\" is not a regular expression",
        ),
        (virtual_service("bad", "{hosts: [b], http: [{directResponse: {status: 7}}]}"), "7 is out of range"),
        (
            virtual_service("bad", "{hosts: ['a b'], http: [{directResponse: {status: 200}}]}"),
            "spec.hosts[0]: ",
        ),
        (
            http_route("bad", "{rules: [{matches: [{path: {type: Glob}}]}]}"),
            "HTTPRoute/bad spec.rules[0].matches[0].path.type: \"Glob\" is not known",
        ),
        (
            http_route("bad", "{parentRefs: [{name: gone}], rules: []}"),
            "skip: no Gateway default/gone is known here",
        ),
        (gateway("bad", "{listeners: [{name: l, port: 80, protocol: SCTP}]}"), "\"SCTP\" is not offered"),
        (
            [
                gateway("gw", listener),
                http_route("bad", "{parentRefs: [{name: gw, sectionName: x}], rules: []}"),
            ]
            .concat(),
            "skip: Gateway gw has no listener that it names",
        ),
        (
            [grpc, http_route("r", "{rules: [{backendRefs: [{name: g, port: 80}]}]}")].concat(),
            "ok (g cannot be asked (\"mysql\" is not spoken to destinations",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: p}}\n---\n".to_owned(),
            "skip: it does not say where requests go",
        ),
        (
            "{apiVersion: batch/v1, kind: Job, metadata: {generateName: j-}}\n---\n".to_owned(),
            "skip: batch/v1 Job is not known",
        ),
        (
            "{apiVersion: networking.istio.io/v1, kind: VirtualService, spec: {}}\n---\n".to_owned(),
            "metadata.name is missing",
        ),
    ];
    for (bad, told) in rows {
        for text in [[good.clone(), bad.clone()].concat(), [bad.clone(), good.clone()].concat()] {
            let all = translated(&text);
            let said = outcomes(&all);
            let of_good = said.iter().find(|line| line.starts_with("VirtualService good")).unwrap();
            assert!(of_good.starts_with("VirtualService good: ok"), "{said:#?}");
            assert!(said.iter().any(|line| line.contains(told)), "{told}\n{said:#?}");
            assert!(routes(&all).contains(&"good/http[0]".to_owned()), "{:?}", routes(&all));
            assert!(!routes(&all).iter().any(|name| name.starts_with("bad")), "{:?}", routes(&all));
        }
    }
}

#[test]
fn a_rule_that_cannot_be_served_is_dropped_and_answers_for_what_it_would_have_matched() {
    let known = service("s", "[{port: 80}]");
    let to = "backendRefs: [{name: s, port: 80}]";
    let at = |path: &str| format!("matches: [{{path: {{value: {path}}}}}]");
    let good = format!("{{{}, {to}}}", at("/good"));
    let magic = "filters: [{type: Magic}]";
    let broken = "{path: {type: RegularExpression, value: '('}}";
    let of = |rules: &str| [known.clone(), http_route("r", &format!("{{rules: [{rules}]}}"))].concat();
    let grpc = |rules: &str| of(rules).replace("HTTPRoute", "GRPCRoute");
    // Documents; the served routes, by path; the route's outcome.
    let rows: [(String, &[&str], &str); 8] = [
        // An unknown filter: no other rule gets its requests.
        (
            of(&format!("{{name: odd, {}, {magic}, {to}}}, {good}", at("/odd"))),
            &["r/rules[1] /good/* s:80", "r/odd /odd/* 500"],
            "partial: 0odd answers: HTTPRoute/r spec.rules[0].filters[0].type: \"Magic\" is not offered",
        ),
        // The rule would match every request that no other takes.
        (
            of(&format!("{good}, {{{magic}, {to}}}")),
            &["r/rules[0] /good/* s:80", "r/rules[1] /* 500"],
            "partial: 1 answers: ",
        ),
        // The meaning of a faulty match is not known.
        (
            of(&format!("{{matches: [{broken}], {to}}}, {good}")),
            &["r/rules[1] /good/* s:80"],
            "partial: 0 goes: HTTPRoute/r spec.rules[0].matches[0].path.value: \"(\" is not a regular expression",
        ),
        // Of several the others are known; each keeps the name of its place.
        (
            of(&format!("{{matches: [{broken}, {{path: {{value: /odd}}}}], {to}}}, {good}")),
            &["r/rules[1] /good/* s:80", "r/rules[0]/matches[1] /odd/* 500"],
            "partial: 0 answers: ",
        ),
        (
            of(&format!("{{{}, {to}, nonsense: 1}}, {good}, {{{}, {to}, retry: 3}}", at("/a"), at("/b"))),
            &["r/rules[1] /good/* s:80", "r/rules[0] /a/* 500", "r/rules[2] /b/* 500"],
            "partial: 0 answers: HTTPRoute/r spec.rules[0].nonsense: unknown key",
        ),
        // No rule is left: the route is refused, and its known matches are answered all the same.
        (of(&format!("{{{}, {magic}, {to}}}", at("/odd"))), &["r/rules[0] /odd/* 500"], "HTTPRoute r: no: "),
        // A fault outside of the rules costs the whole route.
        (
            of(&format!("{{{}, {magic}, {to}}}, {good}", at("/odd")))
                .replace("rules:", "hostnames: ['a b'], rules:"),
            &[],
            "HTTPRoute r: no: ",
        ),
        (
            grpc(&format!(
                "{{matches: [{{method: {{service: a}}}}], {magic}, {to}}}, {{matches: [{{method: {{service: '!'}}}}], {to}}}, {{{to}}}"
            )),
            &["r/rules[0] /a/* !", "r/rules[2] /* s:80"],
            "partial: 0 answers: GRPCRoute/r spec.rules[0].filters[0].type: \"Magic\" is not offered",
        ),
    ];
    for (text, served, told) in rows {
        let all = translated(&text);
        let said = outcomes(&all);
        let config = &all.checked.as_ref().unwrap().config;
        let shown = |route: &crate::Route| {
            let to = match &route.action {
                Action::Reply(reply) => reply.status.to_string(),
                Action::Forward(forward) => {
                    let first = forward.primaries[0].upstream.map(|id| config.upstreams[id].name.as_str());
                    first.unwrap_or("!").split('.').next().unwrap_or_default().to_owned()
                }
                Action::Redirect(_) => "redirect".to_owned(),
            };
            format!("{} {} {to}", route.name, route.matches[0])
        };
        let got: Vec<String> = config.routes.iter().map(shown).collect();
        assert_eq!(
            got.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            served.iter().copied().collect(),
            "{said:#?}"
        );
        assert!(said.iter().any(|line| line.contains(told)), "{told}\n{said:#?}");
        assert!(!said.iter().any(|line| line.contains("has no backend")), "{said:#?}");
    }
    // In files all of it is refused.
    let text = of(&format!("{{{}, {magic}, {to}}}, {good}", at("/odd")));
    let refused = load_text(&text, &["s=127.0.0.1:1"]).unwrap_err();
    assert_eq!(refused.len(), 1, "{refused:?}");
}

#[test]
fn every_problem_names_its_resource_and_its_generation() {
    let text =
        [virtual_service("good", GOOD), virtual_service("bad", "{hosts: [b], tcp: [], tls: []}")].concat();
    let all = translated(&text);
    let State::Rejected(problems) = &all.outcomes[1].state else { panic!("{:?}", all.outcomes) };
    assert_eq!(problems.len(), 3, "{problems:?}");
    let resource = problems[0].resource.as_ref().unwrap();
    assert_eq!(resource.to_string(), "VirtualService default/bad");
    assert_eq!((resource.group.as_str(), resource.generation), ("networking.istio.io", Some(3)));
    assert!(problems.iter().all(|p| p.file.is_empty()), "{problems:?}");
    assert!(problems.iter().any(|p| p.key.as_deref() == Some("VirtualService/bad spec.tcp")), "{problems:?}");
    // In files too, where all of it is refused.
    let refused = load_text(&text, &["good=127.0.0.1:1"]).unwrap_err();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused.iter().all(|p| p.resource.as_ref() == Some(resource) && p.line.is_some()), "{refused:?}");
}

#[test]
fn what_a_broken_document_means_for_others_is_decided() {
    let subset = "{hosts: [s], http: [{route: [{destination: {host: s, subset: v1}}], mirror: {host: s, subset: v2}}]}";
    let plain = "{hosts: [s], http: [{route: [{destination: {host: s}}]}]}";
    let rule = |rest: &str| {
        destination_rule("rule", &format!("{{host: s, subsets: [{{name: v1}}, {{name: v2}}]{rest}}}"))
    };
    let root = "{hosts: [s], http: [{match: [{uri: {prefix: /a}}], delegate: {name: child}}]}";
    let attached = "{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: s}]}]}";
    let broken_gateway = gateway("gw", "{listeners: [{name: l, port: 80, protocol: SCTP}]}");
    // Documents; the routes that are served, each with the upstreams of its primaries; something that is said.
    let rows: [(String, &[&str], &str); 9] = [
        // Not there yet, or refused: no subset.
        (
            virtual_service("s", subset),
            &["s/http[0] !"],
            "what subset \"v1\" of s is: its share is answered 500",
        ),
        (virtual_service("s", subset), &["s/http[0] !"], "what subset \"v2\" of s is: it gets no copy"),
        (
            [virtual_service("s", subset), rule(", nonsense: 1")].concat(),
            &["s/http[0] !"],
            "its share is answered 500",
        ),
        ([virtual_service("s", subset), rule("")].concat(), &["s/http[0] s/v1"], "DestinationRule rule: ok"),
        // A policy that cannot be read is none, unless it is about TLS.
        (
            [virtual_service("s", plain), rule(", nonsense: 1")].concat(),
            &["s/http[0] s"],
            "VirtualService s: ok",
        ),
        (
            [virtual_service("s", plain), rule(", trafficPolicy: {tls: {mode: NONSENSE}}")].concat(),
            &["s/http[0] !"],
            "what was to be said of TLS with s was refused",
        ),
        // A route attached to a missing Gateway is not served under every host.
        (
            [broken_gateway, service("s", "[]"), http_route("r", attached)].concat(),
            &[],
            "skip: its Gateway default/gw was refused",
        ),
        // A delegate.
        (virtual_service("s", root), &["s/http[0]"], "these requests are answered 503"),
        (
            [virtual_service("s", root), virtual_service("child", "{http: [{directResponse: {status: 9}}]}")]
                .concat(),
            &["s/http[0]"],
            "these requests are answered 503",
        ),
    ];
    for (text, served, told) in rows {
        let all = translated(&text);
        let said = outcomes(&all);
        let config = &all.checked.as_ref().unwrap().config;
        let shown = |route: &crate::Route| {
            let names =
                route.primaries().iter().map(|p| p.upstream.map_or("!", |id| &config.upstreams[id].name));
            std::iter::once(route.name.as_str()).chain(names).collect::<Vec<_>>().join(" ")
        };
        let got: Vec<String> = config.routes.iter().map(shown).collect();
        assert_eq!(got, served, "{said:#?}");
        assert!(said.iter().any(|line| line.contains(told)), "{told}\n{said:#?}");
    }
}

#[test]
fn a_refused_service_still_counts_where_it_matters_who_is_alone() {
    let served = |text: &str| {
        let all = translated(text);
        let hosts = &all.checked.unwrap().config.routes[0].matches[0].hosts;
        hosts.contains(&crate::HostMatch::Address)
    };
    let good = virtual_service("good", GOOD);
    assert!(served(&good));
    assert!(!served(&[good.clone(), virtual_service("bad", "{hosts: [b], tcp: []}")].concat()));
    assert!(!served(&[good, http_route("bad", "{rules: [{filters: [{type: Magic}]}]}")].concat()));
}

#[test]
fn nothing_at_all_is_a_configuration_without_routes() {
    let all = translated("");
    assert_eq!((routes(&all), all.outcomes.len()), (Vec::new(), 0));
    let all = translated(&virtual_service("bad", "{hosts: [b], tcp: []}"));
    assert_eq!((routes(&all), all.outcomes.len()), (Vec::new(), 1));
    // Settings belong to no resource.
    let settings = Some(("settings.toml", "[limits]\nfields_max = 0\n"));
    let all = translate(&Applied { settings, ..Applied::default() });
    let problems = all.checked.unwrap_err();
    assert!(
        problems[0].to_string().starts_with("settings.toml:2: limits.fields_max: 0 is out of range"),
        "{problems:?}"
    );
    assert_eq!(problems[0].resource, None);
}

#[test]
fn upstreams_wait_for_the_addresses_of_their_destinations() {
    let text = [
        virtual_service(
            "s",
            "{hosts: [s], http: [{route: [{destination: {host: s, subset: v1, port: {number: 80}}}]}]}",
        ),
        destination_rule("s", "{host: s, subsets: [{name: v1, labels: {version: v1}}]}"),
    ];
    let all = translated(&text.concat());
    let [(name, destination)] = all.destinations.as_slice() else { panic!("{:?}", all.destinations) };
    assert_eq!(name, "s/v1:80");
    assert_eq!(destination.in_cluster(), Some(("s", "default")));
    assert_eq!((destination.subset.as_deref(), destination.port), (Some("v1"), Some(80)));
    assert_eq!(destination.labels, [("version".to_owned(), "v1".to_owned())]);
    assert_eq!(all.checked.unwrap().config.upstreams[0].endpoints, []);
}

#[test]
fn json_of_an_api_server_is_a_document_as_yaml_is() {
    let json = serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "shop", "generation": 7, "uid": "u", "managedFields": [{"x": null}]},
        "spec": {"hosts": ["a"], "http": [
            {"route": [{"destination": {"host": "a"}, "weight": 1}], "mirror": {"host": "b"}, "mirrorPercentage": {"value": 12.5}},
        ]},
        "status": {"observedGeneration": 6},
    });
    let list = serde_json::json!({"kind": "VirtualServiceList", "apiVersion": "networking.istio.io/v1", "items": [json.clone()]});
    for value in [&json, &list] {
        let all = translate(&Applied { documents: &[Document::from(value)], ..Applied::default() });
        assert_eq!(outcomes(&all).len(), 1);
        assert_eq!(
            (&all.outcomes[0].state, all.outcomes[0].resource.generation),
            (&State::Accepted, Some(7))
        );
        let config = all.checked.unwrap().config;
        assert_eq!(config.routes[0].mirrors[0].percent, percent(12.5));
    }
}

#[test]
fn a_thousand_bad_documents_hide_neither_each_other_nor_the_good_one() {
    let bad: String = (0..1_200)
        .map(|n| virtual_service(&format!("bad{n}"), &format!("{{hosts: [b{n}], a: 1, b: 2, tcp: []}}")))
        .collect();
    let all = translated(&[bad, virtual_service("good", GOOD)].concat());
    let rejected =
        all.outcomes.iter().filter(|o| matches!(&o.state, State::Rejected(p) if p.len() == 4)).count();
    assert_eq!((rejected, routes(&all)), (1_200, vec!["good/http[0]".to_owned()]));
    // Of one document so many are told.
    let keys: String = (0..200).map(|n| format!("k{n}: 1, ")).collect();
    let all = translated(&virtual_service("bad", &format!("{{hosts: [b], {keys} tcp: []}}")));
    let State::Rejected(problems) = &all.outcomes[0].state else { panic!() };
    assert_eq!((problems.len(), problems.last().unwrap().message.as_str()), (51, "and 152 more"));
}

#[test]
fn a_policy_says_whose_baseline_a_mirror_is_and_a_rule_without_these_has_none() {
    let rule = |mirrors: &[&str]| {
        let each: Vec<String> = mirrors.iter().map(|of| format!("{{destination: {{host: {of}}}}}")).collect();
        format!("{{route: [{{destination: {{host: v1}}}}], mirrors: [{}]}}", each.join(", "))
    };
    let http = [rule(&["v2", "v3", "again"]), rule(&["v3", "again"])].join(", ");
    let text = virtual_service("v", &format!("{{hosts: [a], http: [{http}]}}"));
    let of = |keys: &str| {
        let owner = ("VirtualService".to_owned(), "default".to_owned(), "v".to_owned());
        let text_of = Ok(format!("[mirror.again]\n{keys}\n"));
        let policies = [(owner, Policy { name: "ConfigMap p".to_owned(), text: text_of })].into();
        let all = translate(&Applied {
            documents: &documents(&text),
            policies: Some(&policies),
            ..Applied::default()
        });
        let said: Vec<String> = all.outcomes[0].warnings.iter().map(ToString::to_string).collect();
        let config = all.checked.unwrap().config;
        let whose: Vec<Vec<String>> = config
            .routes
            .iter()
            .flat_map(|route| route.mirrors.iter().filter(|of| of.role == crate::Role::Baseline))
            .map(|of| of.baseline_for.iter().map(|name| name.split('.').next().unwrap().to_owned()).collect())
            .collect();
        (whose, said.join("\n"))
    };
    let (whose, _) = of("role = \"baseline\"");
    assert_eq!(whose, [Vec::<String>::new(), Vec::new()], "of all");
    let (whose, said) = of("role = \"baseline\"\nbaseline_for = [\"v2\"]");
    assert_eq!(whose, [["v2"]], "{said}");
    assert!(
        said.contains("ConfigMap p:3: mirror.again.baseline_for: none of these is a mirror beside it"),
        "{said}"
    );
    for (keys, told) in [
        ("baseline_for = [\"v2\"]", "is for a mirror with role = \"baseline\""),
        ("role = \"baseline\"\nbaseline_for = []", "names no mirror"),
    ] {
        let (whose, said) = of(keys);
        assert!(whose.is_empty() && said.contains(told), "{keys}: {said}");
    }
}

#[test]
fn no_value_of_a_policy_is_repeated() {
    const SECRET: &str = "s3cr3t-word";
    let rows = [
        ("timeout = \"s3cr3t-word\"", "every.timeout: must be a duration", "not a string"),
        ("redact = \"s3cr3t-word\"", "every.redact: must be a table, not a string", ""),
        ("redact = { headers = \"s3cr3t-word\" }", "every.redact.headers: must be ", "not a string"),
        (
            "redact = { headers = [\"s3cr3t-word with spaces\"] }",
            "every.redact.headers[0]: ",
            "what stands there",
        ),
        ("role = \"s3cr3t-word\"", "every.role: what stands there is not known; must be ", ""),
        ("sample_by = \"s3cr3t-word\"", "every.sample_by: ", "what stands there"),
        (
            "only = { when = [{ header = \"x\", regex = \"(s3cr3t-word\" }] }",
            "is not a regular expression",
            "what stands there",
        ),
        ("rate_max = [\"s3cr3t-word\"]", "every.rate_max: must be ", "not an array"),
        ("timeout = s3cr3t-word", "not TOML", ""),
    ];
    let text = virtual_service("v", GOOD);
    for (line, place, kind) in rows {
        let owner = ("VirtualService".to_owned(), "default".to_owned(), "v".to_owned());
        let policy = Policy { name: "ConfigMap p".to_owned(), text: Ok(format!("[every]\n{line}\n")) };
        let policies = [(owner, policy)].into();
        let all = translate(&Applied {
            documents: &documents(&text),
            policies: Some(&policies),
            ..Applied::default()
        });
        let said: Vec<String> = all.outcomes[0].warnings.iter().map(ToString::to_string).collect();
        let said = said.join("\n");
        assert!(
            said.contains(place) && said.contains(kind) && said.contains("ConfigMap p:2"),
            "{line}: {said}"
        );
        assert!(!said.contains(SECRET), "{line}: {said}");
    }
}

#[test]
fn no_object_of_a_cluster_leads_to_a_socket_of_the_gateways_machine() {
    let entry = |name: &str, address: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}}, spec: {{hosts: [{name}.example], \
             resolution: STATIC, endpoints: [{{address: '{address}'}}], ports: [{{number: 80, name: http}}]}}}}\n---\n"
        )
    };
    let to = |host: &str| {
        virtual_service(
            host,
            &format!("{{hosts: [{host}.h], http: [{{route: [{{destination: {{host: {host}.example}}}}]}}]}}"),
        )
    };
    let text = [entry("a", "unix:///run/agent.sock"), entry("b", "10.0.0.1"), to("a"), to("b")].concat();
    let all = translated(&text);
    let config = &all.checked.as_ref().expect("nothing is wrong with the settings").config;
    let endpoints: Vec<String> =
        config.upstreams.iter().flat_map(|of| &of.endpoints).map(ToString::to_string).collect();
    assert_eq!(endpoints, ["10.0.0.1:80"], "{:#?}", outcomes(&all));
    let told = outcomes(&all);
    assert!(told.iter().any(|of| of.contains("socket of the gateway's own machine")), "{told:#?}");
    assert!(told.contains(&"VirtualService b: ok".to_owned()), "{told:#?}");
}

#[test]
fn no_object_of_a_cluster_names_a_file_of_the_gateways_machine() {
    let entry = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: e}, spec: {hosts: [e.example], \
                 resolution: STATIC, endpoints: [{address: 10.0.0.1}], ports: [{number: 80, name: http}]}}\n---\n";
    let to = virtual_service("v", "{hosts: [v.h], http: [{route: [{destination: {host: e.example}}]}]}");
    let named = "names a file of the gateway's own machine";
    for tls in [
        "mode: SIMPLE, caCertificates: /etc/ca.pem",
        "mode: SIMPLE, caCrl: /etc/crl.pem",
        "mode: MUTUAL, clientCertificate: /etc/tls.crt, privateKey: /etc/tls.key",
    ] {
        let rule = destination_rule("d", &format!("{{host: e.example, trafficPolicy: {{tls: {{{tls}}}}}}}"));
        let all = translated(&[entry, &to, &rule].concat());
        assert!(all.checked.is_ok());
        let told = outcomes(&all);
        assert!(
            told.iter().any(|of| of.starts_with("DestinationRule d: no:") && of.contains(named)),
            "{told:#?}"
        );
    }
    // A rule may name a file that it does not use.
    let rule = destination_rule(
        "d",
        "{host: e.example, trafficPolicy: {tls: {mode: DISABLE, caCertificates: /etc/ca.pem}}}",
    );
    let told = outcomes(&translated(&[entry, &to, &rule].concat()));
    assert!(told.contains(&"DestinationRule d: ok".to_owned()), "{told:#?}");
    for tls in [
        "mode: SIMPLE, serverCertificate: /c, privateKey: /k",
        "mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k}]",
        "mode: MUTUAL, credentialName: x, caCertificates: /ca",
    ] {
        let gateway = format!(
            "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: g}}, spec: {{servers: [{{port: {{number: 443, \
             name: https, protocol: HTTPS}}, hosts: ['*'], tls: {{{tls}}}}}]}}}}\n---\n"
        );
        let all = translated(&gateway);
        assert!(all.checked.is_ok());
        let told = outcomes(&all);
        assert!(told[0].contains(named) || tls.contains("credentialName"), "{told:#?}");
    }
}

#[test]
fn no_policy_of_an_object_takes_the_gateways_memory() {
    let text = virtual_service(
        "v",
        "{hosts: [a.example], http: [{route: [{destination: {host: v1}}], mirror: {host: v2}}]}",
    );
    for (size, is_taken) in [("64MiB", true), ("256MiB", true), ("257MiB", false), ("1TiB", false)] {
        let owner = ("VirtualService".to_owned(), "default".to_owned(), "v".to_owned());
        let text_of_policy = format!("[every]\nring_bytes_max = \"{size}\"\n");
        let policy = Policy { name: "ConfigMap p".to_owned(), text: Ok(text_of_policy) };
        let policies = [(owner, policy)].into();
        let all = translate(&Applied {
            documents: &documents(&text),
            policies: Some(&policies),
            ..Applied::default()
        });
        let config = &all.checked.as_ref().expect("nothing is wrong with the settings").config;
        let said: Vec<String> = all.outcomes[0].warnings.iter().map(ToString::to_string).collect();
        let is_refused = said.iter().any(|of| of.contains("of the gateway's memory"));
        assert_eq!((config.lanes.is_empty(), is_refused), (!is_taken, !is_taken), "{size}: {said:?}");
    }
}
