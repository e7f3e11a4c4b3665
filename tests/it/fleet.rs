//! A verdict for several gateways: any of them asks the others, and names those that are missing or have other evidence.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tests::origin::write;
use tests::{Gateway, Origin, Setup, eventually};

const TOKEN: &str = "a-token-of-the-fleet";

/// Responds with this plan, and says which version it is.
fn service(plan: &'static str, version: &'static str) -> Origin {
    Origin::new(move |_, stream| {
        let json = format!("{{\"plan\":\"{plan}\"}}");
        let length = json.len();
        write(
            stream,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-App-Version: {version}\r\n\
                 Content-Length: {length}\r\n\r\n{json}"
            ),
        )
    })
}

fn setup(v1: &Origin, v2: &Origin, keys: &str) -> Setup {
    let compare = format!("compare = {{ version_header = \"x-app-version\"{keys} }}");
    Setup::new(v1).mirror("v2", v2.address, &compare)
}

/// As the file has it, with the token and these peers.
fn with(setup: &Setup, peers: &[&Gateway]) -> String {
    let peers: Vec<String> = peers.iter().map(|of| format!("{:?}", of.admin.to_string())).collect();
    let toml = setup.toml().replacen("[admin]\n", &format!("[admin]\ntoken = \"{TOKEN}\"\n"), 1);
    toml.replacen("[workers]\n", &format!("[verdict]\npeers = [{}]\n[workers]\n", peers.join(", ")), 1)
}

fn asked(gateway: &Gateway, method: &str, target: &str) -> Value {
    let response = gateway.admin_with(method, target, &format!("Authorization: Bearer {TOKEN}\r\n"), "");
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).expect("JSON")
}

fn ask(gateway: &Gateway, times: usize) {
    let before = compared(gateway);
    let mut client = gateway.client();
    for _ in 0..times {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    eventually("every pair is compared", || compared(gateway) == before + times as u64);
}

fn compared(gateway: &Gateway) -> u64 {
    let told = asked(gateway, "GET", "/diffs");
    told["compared"].as_array().expect("a list").iter().filter_map(|of| of["contents"].as_u64()).sum()
}

#[test]
fn any_gateway_judges_by_what_all_of_them_saw_and_names_who_is_missing() {
    let (v1, v2) = (service("pro", "1"), service("free", "2"));
    let plain = setup(&v1, &v2, "");
    let second = Gateway::start(&with(&plain, &[]), &[]);
    let mut third = Gateway::start(&with(&plain, &[]), &[]);
    let first = Gateway::start(&with(&plain, &[&second, &third]), &[]);
    // The gateway is one of its own peers too, as it is behind a name that stands for all.
    first.write(&with(&plain, &[&first, &second, &third]));
    assert_eq!(asked(&first, "POST", "/reload")["workers"], 1);
    for (gateway, times) in [(&first, 10), (&second, 20), (&third, 30)] {
        ask(gateway, times);
    }
    let told = asked(&first, "GET", "/verdict");
    let mirror = &told["mirrors"][0];
    assert_eq!((&mirror["pairs"], &told["fleet"]["replicas"]), (&60.into(), &3.into()), "{told:#}");
    assert_eq!(told["fleet"]["missing"], serde_json::json!([]));
    assert!(told.to_string().contains("$.plan changed: \\\"pro\\\" → \\\"free\\\", 58 of 60"), "{told:#}");
    eventually("both versions are known", || {
        asked(&first, "GET", "/verdict")["mirrors"][0]["versions"] == serde_json::json!(["1", "2"])
    });
    assert_eq!(asked(&first, "GET", "/verdict?scope=own")["mirrors"][0]["pairs"], 10);
    assert_eq!(asked(&second, "GET", "/verdict")["mirrors"][0]["pairs"], 20, "it has no peers");
    // A client that may not see clients' data may not see it here either.
    assert_eq!(first.admin("GET", "/evidence", "").status, 401);
    let told = first.admin("GET", "/verdict", "").text();
    assert!(told.contains("\"replicas\":3") && !told.contains(&third.admin.to_string()), "{told}");

    third.signal("KILL");
    third.wait_exit();
    // The others' answers are good for a moment.
    eventually("who has gone is missing", || asked(&first, "GET", "/verdict")["fleet"]["replicas"] == 2);
    let told = asked(&first, "GET", "/verdict");
    assert_eq!((&told["mirrors"][0]["pairs"], &told["fleet"]["replicas"]), (&30.into(), &2.into()));
    assert_eq!(told["fleet"]["missing"][0]["replica"], third.admin.to_string(), "{told:#}");
    let said = told["mirrors"][0]["said"].to_string();
    assert!(said.contains("1 of 3 gateways did not answer") && said.contains("refused"), "{said}");
}

#[test]
fn who_compares_by_other_rules_or_sees_another_version_is_named_and_not_added() {
    let (v1, v2, v3) = (service("pro", "1"), service("pro", "2"), service("pro", "3"));
    let otherwise = Gateway::start(&with(&setup(&v1, &v2, ", tolerance = 0.5"), &[]), &[]);
    let ahead = Gateway::start(&with(&setup(&v1, &v3, ""), &[]), &[]);
    let gateway = Gateway::start(&with(&setup(&v1, &v2, ""), &[&otherwise, &ahead]), &[]);
    for (gateway, times) in [(&gateway, 10), (&otherwise, 20), (&ahead, 30)] {
        ask(gateway, times);
    }
    let told = asked(&gateway, "GET", "/verdict");
    assert_eq!(told["mirrors"][0]["pairs"], 10, "{told:#}");
    let apart = told["fleet"]["apart"].as_array().expect("a list");
    let of = |replica: &Gateway| {
        let one = apart.iter().find(|of| of["replica"] == replica.admin.to_string()).expect("it is named");
        one["why"].as_str().expect("text").to_owned()
    };
    assert!(of(&otherwise).contains("another configuration"), "{told:#}");
    assert!(of(&ahead).contains("another version"), "{told:#}");
}

#[test]
fn evidence_begins_anew_everywhere_when_somebody_says_so_to_one() {
    let (v1, v2) = (service("pro", "1"), service("pro", "2"));
    let second = Gateway::start(&with(&setup(&v1, &v2, ""), &[]), &[]);
    let first = Gateway::start(&with(&setup(&v1, &v2, ""), &[&second]), &[]);
    ask(&first, 10);
    ask(&second, 10);
    let told = asked(&first, "POST", "/verdict/begin?mirror=v2");
    assert_eq!(told["missing"], serde_json::json!([]));
    assert_eq!(asked(&second, "GET", "/verdict")["mirrors"][0]["pairs"], 0);
    ask(&second, 5);
    let told = asked(&first, "GET", "/verdict");
    assert_eq!(told["mirrors"][0]["pairs"], 5, "{told:#}");
    assert_eq!(told["mirrors"][0]["because"], "when somebody said so");
}

#[test]
fn the_control_group_and_the_schema_are_of_all_gateways_and_one_of_an_earlier_version_is_named() {
    let (v1, v2) = (service("pro", "1"), service("free", "2"));
    let half = Setup::new(&v1).mirror("v2", v2.address, "percent = 50, compare = {}");
    let second = Gateway::start(&with(&half, &[]), &[]);
    let third = Gateway::start(&with(&half, &[]), &[]);
    // The origin serves the third gateway's evidence as an earlier version would have told it.
    let told: Arc<Mutex<String>> = Arc::default();
    let earlier = {
        let told = Arc::clone(&told);
        Origin::new(move |_, stream| {
            let text = told.lock().expect("nobody panics with it").clone();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            write(stream, format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()))
        })
    };
    let first = Gateway::start(&with(&half, &[&second]), &[]);
    let ask = |gateway: &Gateway| {
        let mut client = gateway.client();
        for _ in 0..40 {
            assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        }
    };
    let requests = |gateway: &Gateway, scope: &str| {
        let told = asked(gateway, "GET", &format!("/verdict?scope={scope}"));
        let of = &told["mirrors"][0]["mirroring"][0];
        let arm = |name: &str| of[name]["requests"].as_u64().unwrap_or_default();
        (arm("copied"), arm("uncopied"))
    };
    let fields = |gateway: &Gateway, scope: &str| {
        let told = asked(gateway, "GET", &format!("/schema?scope={scope}"));
        let pairs = told["schemas"][0]["pairs"].as_u64().unwrap_or_default();
        (pairs, told["fleet"]["replicas"].as_u64())
    };
    for gateway in [&first, &second, &third] {
        ask(gateway);
        eventually("all are counted", || {
            let (copied, uncopied) = requests(gateway, "own");
            copied + uncopied == 40 && fields(gateway, "own").0 == copied && compared(gateway) == copied
        });
    }
    let [own, other] = [&first, &second].map(|gateway| requests(gateway, "own"));
    let sum = (own.0 + other.0, own.1 + other.1);
    eventually("both are one trial", || requests(&first, "fleet") == sum);
    assert_eq!(fields(&first, "fleet"), (sum.0, Some(2)));
    assert_eq!(fields(&first, "own"), (own.0, None));

    let mut book: Value = asked(&third, "GET", "/evidence");
    let of = book.as_object_mut().expect("an object");
    of.remove("format");
    for account in of["accounts"].as_array_mut().expect("a list") {
        let account = account.as_object_mut().expect("an object");
        assert!(account.remove("schema").is_some() && account.remove("clients").is_some());
    }
    *told.lock().expect("nobody panics with it") = book.to_string();
    let peers = format!("peers = [{:?}, {:?}]", second.admin.to_string(), earlier.address.to_string());
    let toml = with(&half, &[]).replacen("peers = []", &peers, 1);
    first.write(&toml);
    assert_eq!(asked(&first, "POST", "/reload")["workers"], 1);
    let all = asked(&first, "GET", "/verdict");
    let pairs = requests(&third, "own").0 + sum.0;
    assert_eq!(
        (&all["mirrors"][0]["pairs"], &all["fleet"]["replicas"]),
        (&pairs.into(), &3.into()),
        "{all:#}"
    );
    assert_eq!(requests(&first, "fleet"), sum, "of the earlier one it is not known");
    let in_part = &all["fleet"]["in_part"][0];
    assert_eq!(in_part["replica"], earlier.address.to_string(), "{all:#}");
    assert!(in_part["why"].as_str().is_some_and(|why| why.contains("an earlier version")), "{all:#}");
    assert_eq!(
        (&all["fleet"]["missing"], &all["fleet"]["apart"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    let said = all["mirrors"][0]["said"].to_string();
    assert!(said.contains("counted in part: ") && !said.contains("not counted"), "{said}");
    let told = asked(&first, "GET", "/schema");
    assert_eq!(
        (&told["schemas"][0]["pairs"], &told["fleet"]["in_part"][0]["route"]),
        (&sum.0.into(), &"all".into())
    );
}
