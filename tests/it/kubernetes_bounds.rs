//! In a cluster that never rests, or never ends: its objects fill neither memory nor log, and cost no client an answer.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::cluster::PATIENCE;
use tests::{Client, ClusterStage, Origin, eventually_within};

fn virtual_service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}, "spec": spec})
}

fn to(host: &str) -> Value {
    json!([{"destination": {"host": host}}])
}

/// A Service with one Pod, and the VirtualService of its name.
fn running(cluster: &ClusterStage, name: &str, origin: &Origin) {
    cluster.service("default", name, json!({"app": name}));
    cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
    cluster.api.put(virtual_service(name, json!({"hosts": [name], "http": [{"route": to(name)}]})));
}

#[test]
fn a_watch_without_end_fills_no_memory() {
    const MIB: i64 = 1024 * 1024;
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &old);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 old");
    for n in 0..40 {
        cluster.api.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("large-{n}"), "namespace": "default"}, "addressType": "IPv4",
            "endpoints": [], "filler": "x".repeat(3 << 20)}));
    }
    let of = |what: &str| gateway.metrics().sum(what, &["kind=\"EndpointSlice\""]);
    eventually_within(PATIENCE, "there is no room for all of them", || {
        of("umbra_kubernetes_surplus_objects") + of("umbra_kubernetes_kept_objects") == 41
    });
    let kept = of("umbra_kubernetes_kept_bytes");
    assert!(of("umbra_kubernetes_surplus_objects") > 0 && (50 * MIB..=64 * MIB).contains(&kept), "{kept}");
    gateway.logs("endpointslices of the cluster are not taken: of a kind there is room for");
    eventually_within(PATIENCE, "it is told as trouble", || {
        gateway.ask_admin("GET", "/status").text().contains("\"cluster_surplus\"")
    });
    // Known objects serve on, and go on changing.
    assert_eq!(gateway.said("shop", "/"), "200 old");
    cluster.pod("default", "shop-1", json!({"app": "shop"}), new.address);
    gateway.says("shop", "/", "200 new");
}

#[test]
fn a_thousand_changes_in_a_row_cost_no_client_an_answer() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &old);
    running(&cluster, "other", &old);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 old");
    // As fast as one is followed by a request: hundreds a second.
    for n in 0..1200 {
        let origin = if n % 2 == 0 { &new } else { &old };
        match n % 3 {
            0 => cluster.pod("default", "shop-1", json!({"app": "shop"}), origin.address),
            1 => {
                let path = json!([{"uri": {"prefix": format!("/{n}")}}]);
                let spec = json!({"hosts": ["shop"], "http": [
                    {"match": path, "directResponse": {"status": 418}}, {"route": to("shop")}]});
                cluster.api.put(virtual_service("shop", spec));
            }
            _ => {
                let name = format!("flood-{}", n % 60);
                cluster.api.put(virtual_service(&name, json!({"hosts": [name], "htttp": n})));
            }
        }
        let said = gateway.said("shop", "/");
        assert!(
            said == "200 old" || said == "200 new",
            "after {n} changes: {said}\n{}",
            gateway.process.stderr()
        );
    }
    // All of them are followed: the last word counts.
    gateway.says("shop", "/1198", "418");
    assert_eq!(gateway.said("shop", "/1195"), gateway.said("shop", "/"));
    let refused = gateway.metrics().sum("umbra_reloads_total", &["result=\"refused\""]);
    assert_eq!(refused, 0);
    // Wrong objects by the hundred: the log has some of them, and says that it leaves out the rest.
    let lines = || gateway.process.stderr().matches("flood-").count();
    assert!(lines() > 0 && lines() <= 220, "{} lines", lines());
}

/// How long requests take that are due every so often, whether or not the one before was answered in time; and each is answered 200.
fn latencies(address: std::net::SocketAddr, every: Duration, stop: &AtomicBool) -> Vec<Duration> {
    let mut client = Client::connect(address);
    let begun = Instant::now();
    let mut all = Vec::new();
    while !stop.load(Relaxed) {
        let due = begun + every * u32::try_from(all.len()).expect("few requests");
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = client.ask("GET /measured HTTP/1.1\r\nHost: shop\r\n\r\n");
        assert_eq!(answer.status, 200, "after {} requests", all.len());
        all.push(due.elapsed());
    }
    all
}

/// A hundred changes a second for a minute beside 800 requests a second; prints the requests' times, quiet before and
/// meanwhile.
#[test]
#[ignore = "a measurement: cargo test -p tests --test it --release -- --ignored --nocapture a_hundred_changes_a_second"]
fn a_hundred_changes_a_second_for_a_minute_are_not_felt() {
    const CLIENTS: usize = 4;
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &old);
    running(&cluster, "other", &old);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 old");
    let measured = |seconds: u64, meanwhile: &dyn Fn(Duration)| {
        let (stop, begun) = (AtomicBool::new(false), Instant::now());
        let every = Duration::from_millis(5);
        let mut all: Vec<Duration> = thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| scope.spawn(|| latencies(gateway.address, every, &stop))).collect();
            while begun.elapsed() < Duration::from_secs(seconds) {
                meanwhile(begun.elapsed());
            }
            stop.store(true, Relaxed);
            clients.into_iter().flat_map(|one| one.join().expect("each is answered")).collect()
        });
        all.sort();
        let at = |share: f64| all[(all.len() as f64 * share) as usize];
        println!(
            "{} requests: p50 {:?}, p99 {:?}, worst {:?}",
            all.len(),
            at(0.5),
            at(0.99),
            all[all.len() - 1]
        );
        at(0.99)
    };
    let quiet = measured(30, &|_| thread::sleep(Duration::from_millis(50)));
    let made = std::cell::Cell::new(0_u32);
    let busy = measured(60, &|since| {
        let n = made.get();
        thread::sleep((Duration::from_millis(10) * n).saturating_sub(since));
        made.set(n + 1);
        let origin = if n.is_multiple_of(2) { &new } else { &old };
        match n % 4 {
            0 | 1 => cluster.pod("default", "shop-1", json!({"app": "shop"}), origin.address),
            2 => {
                let path = json!([{"uri": {"prefix": format!("/{n}")}}]);
                let spec = json!({"hosts": ["shop"], "http": [
                    {"match": path, "directResponse": {"status": 418}}, {"route": to("shop")}]});
                cluster.api.put(virtual_service("shop", spec));
            }
            _ => {
                let name = format!("more-{}", n % 100);
                cluster
                    .api
                    .put(virtual_service(&name, json!({"hosts": [name], "http": [{"route": to("other")}]})));
            }
        }
    });
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{} changes; p99 {busy:?} beside {quiet:?} quiet; load {}", made.get(), load.trim());
    assert!(busy < quiet * 6 / 5 + Duration::from_millis(1), "{busy:?} beside {quiet:?}");
}
