//! A Service for each Gateway: two Gateways of one port do not meet, and the Service of one goes with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};
use tests::cluster::PATIENCE;
use tests::{ClusterStage, Origin, eventually_within};

const HOME: &str = "umbra-system";

/// Services of Gateways, by whose they are: ports of the Gateway and ours.
fn made(cluster: &ClusterStage) -> Vec<(String, Vec<(u64, u16)>)> {
    let of = |service: &Value| {
        let gateway = service["metadata"]["annotations"]["umbra.dev/gateway"].as_str()?.to_owned();
        let port =
            |one: &Value| Some((one["port"].as_u64()?, u16::try_from(one["targetPort"].as_u64()?).ok()?));
        Some((gateway, service["spec"]["ports"].as_array()?.iter().filter_map(port).collect()))
    };
    let mut all: Vec<_> = cluster.api.all("Service").iter().filter_map(of).collect();
    all.sort();
    all
}

fn gateway(cluster: &ClusterStage, name: &str, ports: &[u16]) {
    let listeners: Vec<Value> = ports
        .iter()
        .map(|port| json!({"name": format!("p{port}"), "port": port, "protocol": "HTTP"}))
        .collect();
    let labels = json!({"labels": {"team": name}});
    cluster.api.put(
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": name},
        "spec": {"gatewayClassName": "umbra", "listeners": listeners, "infrastructure": labels}}),
    );
}

/// Content of a whole answer, else its status; a listener may go between any two bytes.
fn said(port: u16) -> String {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = answer().unwrap_or_default();
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or_default();
    match head.split(' ').nth(1) {
        Some("200") => content.to_owned(),
        Some(status) => status.to_owned(),
        None => "nobody".to_owned(),
    }
}

/// Eight free ports below those that the kernel chooses for port 0.
fn range() -> String {
    let start = std::process::id() % 1_000;
    let is_free = |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok();
    let first = (start..start + 1_000)
        .filter_map(|n| u16::try_from(20_000 + n % 1_000 * 8).ok())
        .find(|&first| (first..first + 8).all(is_free));
    let first = first.expect("eight ports in a row");
    format!("--gateway-ports={first}-{}", first + 7)
}

#[test]
fn two_gateways_of_one_port_do_not_meet_and_each_has_an_address_of_its_own() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let cluster = ClusterStage::new();
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "umbra", "namespace": ""}, "spec": {"controllerName": "umbra.dev/gateway-controller"}}));
    for (name, origin) in [("one", &one), ("two", &two)] {
        cluster.service("default", name, json!({"app": name}));
        cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
        gateway(&cluster, name, &[80]);
        cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
            "spec": {"parentRefs": [{"name": name, "port": 80}], "rules": [{"backendRefs": [{"name": name, "port": 80}]}]}}));
    }
    let process = cluster.start_at(&[], &["--gateway-services", "app=umbra", &range()]);
    eventually_within(PATIENCE, "each Gateway has a Service", || made(&cluster).len() == 2);
    let all = made(&cluster);
    let ours = |gateway: &str| {
        let of = all.iter().find(|(name, _)| name == &format!("default/{gateway}")).expect("its Service");
        assert_eq!(of.1.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [80]);
        of.1[0].1
    };
    let ports = [ours("one"), ours("two")];
    assert_ne!(ports[0], ports[1]);
    for (port, name) in ports.iter().zip(["one", "two"]) {
        eventually_within(PATIENCE, &format!("{name} is served"), || said(*port) == name);
    }
    // The other fields of a changed Service are kept: labels, our Pods, its type.
    let named = |gateway: &str| {
        let is = |service: &Value| {
            service["metadata"]["annotations"]["umbra.dev/gateway"] == format!("default/{gateway}")
        };
        cluster.api.all("Service").into_iter().find(is)
    };
    let service = named("one").expect("its Service");
    assert_eq!(service["metadata"]["namespace"], HOME);
    assert_eq!(service["metadata"]["labels"]["team"], "one");
    assert_eq!(service["spec"]["selector"], json!({"app": "umbra"}));
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    // Its address is the Gateway's, and no other's.
    let condition = |gateway: &str| {
        let status = cluster.api.get("Gateway", "default", gateway).expect("the Gateway")["status"].clone();
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let programmed = all.into_iter().find(|one| one["type"] == "Programmed").unwrap_or_default();
        format!("{} {}", programmed["reason"].as_str().unwrap_or_default(), status["addresses"][0]["value"])
    };
    eventually_within(PATIENCE, "it waits for an address", || condition("one") == "AddressNotAssigned null");
    let name = service["metadata"]["name"].as_str().expect("a name").to_owned();
    cluster.api.set_status(
        "Service",
        HOME,
        &name,
        json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}),
    );
    eventually_within(PATIENCE, "it has one", || condition("one") == "Programmed \"192.0.2.1\"");
    assert_eq!(condition("two"), "AddressNotAssigned null");
    // Another listener is another port; the existing one stays where it is.
    gateway(&cluster, "one", &[80, 8080]);
    eventually_within(PATIENCE, "it has a second port", || made(&cluster)[0].1.len() == 2);
    assert_eq!(made(&cluster)[0].1[0], (80, ports[0]));
    assert_eq!(said(ports[0]), "one");
    let more = made(&cluster)[0].1[1].1;
    eventually_within(PATIENCE, "it listens there", || said(more) == "404");
    // The Gateway goes, and its Service and its port with it; another's is not touched.
    cluster.api.delete("Gateway", "default", "one");
    eventually_within(PATIENCE, "its Service goes", || named("one").is_none());
    eventually_within(PATIENCE, "nobody listens there", || said(ports[0]) == "nobody");
    assert_eq!(said(ports[1]), "two");
    assert!(named("two").is_some() && cluster.api.get("Service", "default", "one").is_some(), "others' stay");
    drop(process);
}

#[test]
fn a_gateway_that_asks_for_an_address_is_programmed_when_its_service_has_it_and_served_meanwhile() {
    let one = Origin::named("one");
    let cluster = ClusterStage::new();
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "umbra", "namespace": ""}, "spec": {"controllerName": "umbra.dev/gateway-controller"}}));
    cluster.service("default", "one", json!({"app": "one"}));
    cluster.pod("default", "one-1", json!({"app": "one"}), one.address);
    cluster.api.put(
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "one"},
        "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [{"name": "one", "port": 80}]}]}}),
    );
    let asks = |addresses: Value| {
        cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
            "spec": {"gatewayClassName": "umbra", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
                "addresses": addresses}}));
    };
    let (strange, usable) = (
        json!({"type": "test/fake-invalid-type", "value": "fake"}),
        json!({"type": "IPAddress", "value": "192.0.2.1"}),
    );
    let unusable = json!({"type": "IPAddress", "value": "192.0.2.99"});
    asks(json!([strange, unusable, usable]));
    let _process = cluster.start_at(&[], &["--gateway-services", "app=umbra", &range()]);
    let status = || cluster.api.get("Gateway", "default", "gw").expect("the Gateway")["status"].clone();
    let told = |wanted: [&str; 2], addresses: Value| {
        let one = |one: &Value| format!("{}={}", one["status"], one["reason"]).replace('"', "");
        let said = || {
            let status = status();
            let all = status["conditions"].as_array().cloned().unwrap_or_default();
            (
                all.iter().map(one).collect::<Vec<_>>(),
                status["addresses"].as_array().cloned().unwrap_or_default(),
            )
        };
        let wanted = (wanted.map(str::to_owned).to_vec(), addresses.as_array().cloned().unwrap_or_default());
        eventually_within(PATIENCE, &format!("{wanted:?}"), || said() == wanted);
    };
    told(["False=UnsupportedAddress", "False=Invalid"], json!([]));
    let service = || {
        let is_ours = |one: &Value| one["metadata"]["annotations"]["umbra.dev/gateway"] == "default/gw";
        cluster.api.all("Service").into_iter().find(is_ours)
    };
    // Of two addresses the first is asked for, which the load balancer does not have.
    asks(json!([unusable, usable]));
    told(["True=Accepted", "False=AddressNotUsable"], json!([]));
    let wish = || service().map(|service| service["spec"]["loadBalancerIP"].clone()).unwrap_or_default();
    eventually_within(PATIENCE, "it is asked for", || wish() == "192.0.2.99");
    let port = made(&cluster)[0].1[0].1;
    eventually_within(PATIENCE, "it is served", || said(port) == "one");
    asks(json!([usable]));
    eventually_within(PATIENCE, "the other is asked for", || wish() == "192.0.2.1");
    told(["True=Accepted", "False=AddressNotUsable"], json!([]));
    let name = service().expect("its Service")["metadata"]["name"].as_str().expect("a name").to_owned();
    let balanced = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]}});
    cluster.api.set_status("Service", HOME, &name, balanced);
    told(["True=Accepted", "True=Programmed"], json!([usable]));
    // A Gateway that asks for none has all.
    asks(json!([]));
    let both = json!([usable, {"type": "IPAddress", "value": "192.0.2.2"}]);
    told(["True=Accepted", "True=Programmed"], both);
    eventually_within(PATIENCE, "nothing is asked for", || wish() == Value::Null);
    assert_eq!(said(port), "one");
}
