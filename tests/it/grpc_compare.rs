//! Calls that v2 answers otherwise: the verdict names methods, and fields by the names that descriptors give them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tests::grpc::{self, CALL};
use tests::http2::{DATA, END, Raw, frame, headers, request};
use tests::load::Peer;
use tests::{Gateway, Setup, eventually};

use crate::grpc::speaking_grpc;

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn int(number: u32, n: u64) -> Vec<u8> {
    [varint(u64::from(number << 3)), varint(n)].concat()
}

fn bytes(number: u32, of: impl AsRef<[u8]>) -> Vec<u8> {
    let of = of.as_ref();
    [varint(u64::from(number << 3 | 2)), varint(of.len() as u64), of.to_vec()].concat()
}

fn double(number: u32, value: f64) -> Vec<u8> {
    [varint(u64::from(number << 3 | 1)), value.to_le_bytes().to_vec()].concat()
}

/// The descriptor set that `protoc --include_imports --descriptor_set_out` writes of `message Item { string name = 1; double
/// price = 2; string card = 3; }`, `message Cart { repeated Item items = 1; }` and a service `shop.Carts` whose `Find` and
/// `Pay` reply with a cart.
fn descriptors() -> Vec<u8> {
    let field = |name: &str, number: u64, kind: u64, label: u64, of: &str| {
        let of = if of.is_empty() { Vec::new() } else { bytes(6, of) };
        bytes(2, [bytes(1, name), int(3, number), int(4, label), int(5, kind), of].concat())
    };
    let item = [
        bytes(1, "Item"),
        field("name", 1, 9, 1, ""),
        field("price", 2, 1, 1, ""),
        field("card", 3, 9, 1, ""),
    ]
    .concat();
    let cart = [bytes(1, "Cart"), field("items", 1, 11, 3, ".shop.Item")].concat();
    let method =
        |name: &str| bytes(2, [bytes(1, name), bytes(2, ".shop.Item"), bytes(3, ".shop.Cart")].concat());
    let service = [bytes(1, "Carts"), method("Find"), method("Pay")].concat();
    let file = [bytes(1, "shop.proto"), bytes(2, "shop"), bytes(4, item), bytes(4, cart), bytes(6, service)];
    bytes(1, [file.concat(), bytes(12, "proto3")].concat())
}

fn cart(card: &str, price: Option<f64>) -> Vec<u8> {
    let price = price.map_or_else(Vec::new, |price| double(2, price));
    bytes(1, [bytes(1, "tea"), price, bytes(3, card)].concat())
}

/// Answers each call by `reply`'s result for its path: a message, and a status.
fn service(reply: impl Fn(&str) -> (Vec<u8>, &'static str) + Send + Sync + 'static) -> Peer {
    grpc::server(move |raw, stream, path| {
        let (message, status) = reply(path);
        let prefix = [&[0], (message.len() as u32).to_be_bytes().as_slice()].concat();
        raw.send(&headers(stream, 0, &[(":status", "200"), CALL]));
        if status == "0" {
            raw.send(&frame(DATA, 0, stream, &[prefix, message].concat()));
        }
        raw.send(&headers(stream, END, &[("grpc-status", status)]));
    })
}

fn text(v1: SocketAddr, v2: SocketAddr, keys: &str) -> String {
    speaking_grpc(&Setup::to(&[v1]).mirror("v2", v2, keys))
}

/// Calls both methods so often, and waits until all of that was compared.
fn call_both(gateway: &Gateway, times: u32) {
    let mut raw = Raw::connect(gateway.address);
    for n in 0..2 * times {
        let (stream, method) = (2 * n + 1, if n % 2 == 0 { "Find" } else { "Pay" });
        let path = format!("/shop.Carts/{method}");
        raw.send(&headers(stream, 0, &request("POST", &path, &[CALL, ("te", "trailers")])));
        raw.send(&frame(DATA, END, stream, b"\0\0\0\0\x02\x08\x01"));
        let heard = raw.response(stream);
        let ended = heard.trailers.iter().find(|(name, _)| name == "grpc-status");
        assert_eq!(ended.map(|(_, status)| status.as_str()), Some("0"), "{heard:?}");
    }
    let _all_ended = gateway.settled("v2");
    eventually("every pair is compared", || {
        let told: Value = serde_json::from_str(&gateway.admin("GET", "/diffs", "").text()).expect("JSON");
        told["compared"][0]["compared"].as_u64() == Some(2 * u64::from(times))
    });
}

/// A file of descriptors in a folder that is removed with the returned value.
fn described() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("api.binpb");
    std::fs::write(&file, descriptors()).expect("it is written");
    (folder, file)
}

/// A service that fails one of fifty payments, and lost a field of its carts.
fn gone_wrong() -> Peer {
    let payments = AtomicUsize::new(0);
    service(move |path| match path {
        "/shop.Carts/Pay" if payments.fetch_add(1, Ordering::SeqCst) % 50 == 49 => (Vec::new(), "13"),
        "/shop.Carts/Find" => (cart("1234", None), "0"),
        _ => (cart("1234", Some(9.5)), "0"),
    })
}

fn sound() -> Peer {
    service(|_| (cart("1234", Some(9.5)), "0"))
}

#[test]
fn a_version_that_went_wrong_in_two_methods_is_rejected_for_both_by_name() {
    let (v1, v2, (_folder, file)) = (sound(), gone_wrong(), described());
    let keys = format!("compare = {{ descriptors = {file:?} }}");
    let gateway = Gateway::start(&text(v1.address, v2.address, &keys), &[]);
    call_both(&gateway, 400);
    let told = gateway.admin("POST", "/verdict", "samples_min = 50").text();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let of = &told["mirrors"][0];
    assert_eq!(of["verdict"], "reject", "{told:#}");
    let shown = told.to_string();
    for evidence in [
        "shop.Carts/Find $.items[*].price missing",
        "shop.Carts/Pay grpc-status status: OK → INTERNAL, 8 of 800",
        "grpc_internal: 8 times",
    ] {
        assert!(shown.contains(evidence), "{evidence}: {told:#}");
    }
    // A sample shows fields by their names.
    let diffs: Value = serde_json::from_str(&gateway.admin("GET", "/diffs", "").text()).expect("JSON");
    let groups = diffs["groups"].as_array().expect("groups");
    let of = groups.iter().find(|group| group["field"] == "shop.Carts/Find $.items[*].price");
    let id = &of.expect("its group")["id"];
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let sample = gateway.admin("GET", &format!("/diffs/{id}"), "").text();
    assert!(sample.contains(r#"\"name\": \"tea\", \"price\": 9.5"#), "{sample}");
}

#[test]
fn without_descriptors_fields_have_their_numbers_and_a_secret_is_nobodys_to_see() {
    let (v1, v2) = (sound(), service(|_| (cart("4321", Some(9.5)), "0")));
    let gateway = Gateway::start(&text(v1.address, v2.address, "compare = {}"), &[]);
    call_both(&gateway, 1);
    let told = gateway.admin("GET", "/diffs", "").text();
    assert!(told.contains("shop.Carts/Find $.1.3") && told.contains("4321"), "{told}");

    // Values that another mirror of the route redacts are shown of no response.
    let (_folder, file) = described();
    let redacts = format!(
        "compare = {{ descriptors = {file:?} }} }}, {{ upstream = \"v2\", name = \"v3\", redact = {{ json = [\"/items/*/card\"] }}"
    );
    for keys in [redacts.clone(), redacts.replace(&format!("descriptors = {file:?}"), "")] {
        let gateway = Gateway::start(&text(v1.address, v2.address, &keys), &[]);
        call_both(&gateway, 1);
        let diffs = gateway.admin("GET", "/diffs", "").text();
        let parsed: Value = serde_json::from_str(&diffs).expect("JSON");
        let groups = parsed["groups"].as_array().expect("groups");
        assert!(!groups.is_empty() && diffs.contains("[redacted]"), "{diffs}");
        for group in groups {
            let id = &group["id"];
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            let all = diffs.clone() + &gateway.admin("GET", &format!("/diffs/{id}"), "").text();
            assert!(!all.contains("4321") && !all.contains("1234"), "{all}");
        }
    }
}

#[test]
fn descriptors_that_are_missing_or_none_are_an_error_at_their_key() {
    let (folder, file) = described();
    let at = |file: &PathBuf| {
        let keys = format!("compare = {{ descriptors = {file:?} }}");
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Gateway::refused(&text(address, address, &keys))
    };
    let said = |file: &PathBuf| String::from_utf8_lossy(&at(file).stderr).into_owned();
    let missing = said(&folder.path().join("none.binpb"));
    assert!(missing.contains("compare.descriptors") && missing.contains("none.binpb"), "{missing}");
    std::fs::write(&file, "syntax = \"proto3\";").expect("it is written");
    let wrong = said(&file);
    assert!(wrong.contains("compare.descriptors") && wrong.contains("is no descriptor set"), "{wrong}");
}
