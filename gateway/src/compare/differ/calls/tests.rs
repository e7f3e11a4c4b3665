//! Differences between two responses to a call, row by row.

use std::sync::Arc;

use config::{Compare, Percent, Redact};

use super::super::super::coding::tests::gzip;
use super::super::super::descriptors::tests::schema;
use super::super::super::protobuf::tests::{bytes, double, int};
use super::super::{Compared, Context, Difference, compare};
use super::*;
use crate::mirror::redact::Secrets;

fn frame(flags: u8, message: &[u8]) -> Vec<u8> {
    [&[flags], (message.len() as u32).to_be_bytes().as_slice(), message].concat()
}

/// A response with these messages that ended so.
fn reply(messages: &[Vec<u8>], trailers: &str) -> Answer {
    let content: Vec<u8> = messages.iter().flat_map(|message| frame(0, message)).collect();
    Answer {
        status: 200,
        fields: b"content-type: application/grpc\r\n".as_slice().into(),
        content: content.into(),
        is_cut: false,
        trailers: trailers.replace('\n', "\r\n").as_bytes().into(),
    }
}

const OK: &str = "grpc-status: 0\n";

fn rules(change: impl Fn(&mut Compare), redact: &[&str], has_schema: bool) -> Rules {
    let mut compare = Compare {
        percent: Percent::ALL,
        body_bytes_max: 64 * 1024,
        content_types: Vec::new(),
        ignore_headers: Vec::new(),
        ignore_json: Vec::new(),
        ignore_text: Vec::new(),
        unordered: Vec::new(),
        tolerance: 0.0,
        descriptors: None,
        version_header: None,
    };
    change(&mut compare);
    let redact = Redact { json: redact.iter().map(|of| (*of).to_owned()).collect(), ..Redact::default() };
    let secrets = Secrets::new(&redact).map(Arc::new);
    let schema = has_schema.then(|| Arc::new(schema()));
    Rules::new(&compare, secrets.as_ref(), schema.as_ref())
}

fn set_beside(rules: &Rules, primary: &Answer, mirror: &Answer) -> Compared {
    let context = Context { path: "/shop.Carts/Find".into(), ..Context::default() };
    compare(rules, &context, primary, mirror)
}

/// Each difference as `kind field primary → mirror`, without the method.
fn told(rules: &Rules, primary: &Answer, mirror: &Answer) -> Vec<String> {
    let compared = set_beside(rules, primary, mirror);
    let side = |of: &Option<String>| of.clone().unwrap_or_else(|| "nothing".to_owned());
    let one = |of: &Difference| {
        let field = of.field.strip_prefix("shop.Carts/Find ").unwrap_or(&of.field);
        format!("{} {field} {} → {}", of.kind.text(), side(&of.primary), side(&of.mirror))
    };
    compared.differences.iter().map(one).chain(compared.content_skipped.map(str::to_owned)).collect()
}

fn item(name: &str, price: f64) -> Vec<u8> {
    bytes(1, &[bytes(1, name.as_bytes()), double(2, price)].concat())
}

#[test]
fn a_difference_is_named_by_its_method_and_numbers_or_names() {
    let (ours, theirs) = (item("tea", 9.5), bytes(1, &bytes(1, b"tea")));
    let (ours, theirs) =
        (reply(&[[ours, int(2, 1)].concat()], OK), reply(&[[theirs, int(2, 0)].concat()], OK));
    let plain = |_: &mut Compare| {};
    let numbers = rules(plain, &[], false);
    assert_eq!(told(&numbers, &ours, &theirs), ["missing $.1.2 9.5 → nothing", "changed $.2 1 → 0"]);
    let names = rules(plain, &[], true);
    let expect = ["missing $.items[*].price 9.5 → nothing", "missing $.state \"SOLD\" → nothing"];
    assert_eq!(told(&names, &ours, &theirs), expect);
    assert_eq!(set_beside(&names, &ours, &theirs).differences[0].field, "shop.Carts/Find $.items[*].price");
    assert!(told(&names, &ours, &ours.clone()).is_empty());
}

#[test]
fn rules_of_json_hold_for_messages() {
    let (ours, theirs) = (
        reply(&[[item("a", 1.0), item("b", 2.0)].concat()], OK),
        reply(&[[item("b", 2.01), item("a", 1.0)].concat()], OK),
    );
    let unordered = |at: &'static str| {
        move |of: &mut Compare| {
            of.unordered = vec![at.to_owned()];
            of.tolerance = 0.01;
        }
    };
    assert!(told(&rules(unordered("/items"), &[], true), &ours, &theirs).is_empty());
    assert!(told(&rules(unordered("/1"), &[], false), &ours, &theirs).is_empty());
    let ignore = |at: &'static str| move |of: &mut Compare| of.ignore_json = vec![at.to_owned()];
    let expect = ["changed $.items[*].name \"a\" → \"b\""];
    assert_eq!(told(&rules(ignore("/items/*/price"), &[], true), &ours, &theirs), expect);
    assert_eq!(told(&rules(ignore("/1/2"), &[], false), &ours, &theirs), ["changed $.1.1 \"a\" → \"b\""]);
    let more = reply(&[[item("a", 1.0), item("n", 3.0), item("b", 2.0)].concat()], OK);
    assert_eq!(told(&rules(|_| {}, &[], true), &ours, &more), ["length $.items 2 items → 3 items"]);
    assert_eq!(told(&rules(|_| {}, &[], false), &ours, &more), ["length $.1 2 times → 3 times"]);
}

#[test]
fn what_a_call_ended_with_is_one_difference() {
    let rules = rules(|_| {}, &[], false);
    let (ours, theirs) = (reply(&[int(1, 1)], OK), reply(&[], "grpc-status: 13\ngrpc-message: boom\n"));
    assert_eq!(told(&rules, &ours, &theirs), ["status grpc-status OK → INTERNAL"]);
    let only = Answer {
        fields: b"content-type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: no a\r\n"
            .as_slice()
            .into(),
        ..reply(&[], "")
    };
    let other = reply(&[], "grpc-status: 5\ngrpc-message: no b\n");
    assert_eq!(told(&rules, &only, &other), ["header grpc-message no a → no b"]);
    assert_eq!(
        told(&rules, &only, &reply(&[], "grpc-status: 9\n")),
        ["status grpc-status NOT_FOUND → FAILED_PRECONDITION"]
    );
    assert_eq!(told(&rules, &ours, &reply(&[int(1, 1)], "")), ["status grpc-status OK → nothing"]);
    // Of one that was not kept to its end nothing is known.
    let cut = Answer { is_cut: true, ..reply(&[int(1, 1)], "") };
    assert_eq!(told(&rules, &ours, &cut), ["too_long"]);
    let traced = reply(&[int(1, 1)], "grpc-status: 0\nx-shard: 7\n");
    assert_eq!(told(&rules, &ours, &traced), ["header x-shard nothing → 7"]);
    let page = Answer {
        fields: b"content-type: text/html\r\n".as_slice().into(),
        content: b"hello".as_slice().into(),
        ..reply(&[], "")
    };
    assert_eq!(told(&rules, &ours, &page), ["status grpc-status OK → nothing"]);
}

#[test]
fn streams_are_compared_message_by_message_however_they_are_compressed() {
    let rules = rules(|_| {}, &[], true);
    let (a, b) = (item("a", 1.0), item("b", 2.0));
    let ours = reply(&[a.clone(), b.clone()], OK);
    let coded = Answer {
        fields: b"Content-Type: application/grpc+proto\r\ngrpc-encoding: gzip\r\n".as_slice().into(),
        content: [frame(1, &gzip(&a, 6)), frame(0, &b)].concat().into(),
        ..reply(&[], OK)
    };
    let expect = [
        "header content-type application/grpc → application/grpc+proto",
        "header grpc-encoding nothing → gzip",
    ];
    assert_eq!(told(&rules, &ours, &coded), expect);
    assert_eq!(
        told(&rules, &ours, &reply(std::slice::from_ref(&b), OK)),
        ["length $ 2 messages → 1 messages"]
    );
    let broken = Answer { content: b"\0\0\0\0\x09a".as_slice().into(), ..reply(&[], OK) };
    assert_eq!(told(&rules, &ours, &broken), ["body body messages → no messages"]);
    assert_eq!(
        told(&rules, &broken, &Answer { content: b"\x07".as_slice().into(), ..broken.clone() }),
        ["broken"]
    );
    let noise = reply(&[b"\xff\xff".to_vec()], OK);
    let told = told(&rules, &reply(&[a], OK), &noise);
    assert!(told.len() == 1 && told[0].starts_with("changed $ 14 bytes, hash"), "{told:?}");
    let many = reply(&[int(1, 1).repeat(500_000)], OK);
    assert_eq!(set_beside(&rules, &ours, &many).content_skipped, Some("too_complex"));
}

#[test]
fn the_web_kinds_trailers_are_found_in_the_content() {
    let rules = rules(|_| {}, &[], true);
    let web = |status: u8, kind: &str| {
        let ended = format!("grpc-status:{status}\r\n");
        Answer {
            fields: format!("content-type: {kind}\r\n").as_bytes().into(),
            content: [frame(0, &item("a", 1.0)), frame(0x80, ended.as_bytes())].concat().into(),
            ..reply(&[], "")
        }
    };
    let (ok, bad) = (web(0, "application/grpc-web+proto"), web(13, "application/grpc-web+proto"));
    assert_eq!(told(&rules, &ok, &bad), ["status grpc-status OK → INTERNAL"]);
    let text = |of: Answer| {
        use base64::Engine;
        let coded = base64::engine::general_purpose::STANDARD.encode(&of.content);
        Answer { content: coded.as_bytes().into(), ..of }
    };
    let (ours, theirs) =
        (text(web(0, "application/grpc-web-text")), text(web(13, "application/grpc-web-text")));
    assert_eq!(told(&rules, &ours, &theirs), ["status grpc-status OK → INTERNAL"]);
    // The status stands behind compressed messages too.
    let coded = |of: Answer| Answer {
        fields: [&*of.fields, b"grpc-encoding: gzip\r\n"].concat().into(),
        content: [&*frame(1, &gzip(b"", 6)), &of.content].concat().into(),
        ..of
    };
    assert_eq!(told(&rules, &coded(ok), &coded(bad)), ["status grpc-status OK → INTERNAL"]);
    let other = Answer {
        content: [frame(0, &item("b", 1.0)), frame(0x80, b"grpc-status:0\r\n")].concat().into(),
        ..web(0, "application/grpc-web-text")
    };
    assert_eq!(told(&rules, &ours, &text(other)), ["changed $.items[*].name \"a\" → \"b\""]);
}

#[test]
fn a_secret_leaves_neither_by_its_name_nor_by_its_number() {
    let of = |card: &str, more: &str| {
        let raw = bytes(10, more.as_bytes());
        let all = [item("a", 1.0), bytes(9, card.as_bytes()), raw, bytes(77, more.as_bytes())].concat();
        reply(&[all], &format!("{OK}grpc-status-details-bin: {card}\n"))
    };
    let (ours, theirs) = (of("S1", "S3"), of("S2", "S4"));
    // In either spelling, and by its name in JSON.
    for pointer in ["/card_number", "/cardNumber", "/pan"] {
        let named = rules(|_| {}, &[pointer], true);
        let expect = [
            "header grpc-status-details-bin [redacted] → [redacted]",
            "changed $[\"77\"] [redacted] → [redacted]",
            "changed $.card_number [redacted] → [redacted]",
            "changed $.raw [redacted] → [redacted]",
        ];
        let all = told(&named, &ours, &theirs);
        assert!(!String::from_utf8_lossy(&named.shown_fields(&ours.trailers)).contains("S1"));
        assert_eq!(all.iter().map(|of| of.replace(".77", "[\"77\"]")).collect::<Vec<_>>(), expect);
        let text = text_of_call(&named, "/shop.Carts/Find", &ours, 4096).unwrap();
        assert!(text.contains("\"name\": \"a\"") && !text.contains("S1") && !text.contains("S3"), "{text}");
    }
    let numbered = rules(|_| {}, &["/card_number"], false);
    let all = told(&numbered, &ours, &theirs).join("\n");
    assert!(all.contains("[redacted]") && !all.contains('S'), "{all}");
    let text = text_of_call(&numbered, "/shop.Carts/Find", &ours, 4096).unwrap();
    assert!(text.contains("[redacted]") && !text.contains('S') && !text.contains("\"a\""), "{text}");
}

#[test]
fn a_field_that_is_a_secret_is_one_in_the_web_kinds_content_too() {
    let redact = Redact { headers: vec!["x-session".to_owned()], ..Redact::default() };
    let secrets = Secrets::new(&redact).map(Arc::new);
    let mut rules = rules(|_| {}, &[], true);
    rules.secrets = secrets;
    let trailers = |secret: &str| frame(0x80, format!("x-session:{secret}\r\ngrpc-status:13\r\n").as_bytes());
    let web = |more: &str, content: Vec<u8>| Answer {
        fields: format!("content-type: application/grpc-web\r\n{more}").as_bytes().into(),
        content: content.into(),
        ..reply(&[], "")
    };
    let unread = |secret: &str| web("grpc-encoding: snappy\r\n", [frame(1, b"x"), trailers(secret)].concat());
    let page = Answer {
        fields: b"content-type: text/plain\r\n".as_slice().into(),
        content: b"sorry".as_slice().into(),
        ..reply(&[], "")
    };
    let cut = Answer { is_cut: true, ..web("", trailers("S1")) };
    let rows = [
        (web("", trailers("S1")), web("", trailers("S2"))),
        (unread("S1"), unread("S2")),
        (web("", trailers("S1")), page.clone()),
        (page, web("", trailers("S2"))),
        (cut, web("", trailers("S2"))),
    ];
    for (ours, theirs) in rows {
        let all = told(&rules, &ours, &theirs).join("\n");
        assert!(!all.contains("S1") && !all.contains("S2"), "{all}");
        for side in [ours, theirs] {
            let text = text_of_call(&rules, "/shop.Carts/Find", &side, 4096).unwrap_or_default();
            assert!(!text.contains("S1") && !text.contains("S2"), "{text}");
        }
    }
    assert!(text_of_call(&rules, "/a/B", &unread("S1"), 4096).unwrap().contains("not read here"));
}

#[test]
fn names_that_are_data_fold_and_numbers_of_fields_do_not() {
    let folds = std::cell::RefCell::default();
    let context = Context { path: "/x/shop.Carts/Find".into(), folds: Some(&folds), ..Context::default() };
    let fields = |rules: &Rules, primary: &Answer, mirror: &Answer| -> Vec<String> {
        let all = compare(rules, &context, primary, mirror).differences;
        all.into_iter().map(|of| of.field.replace("shop.Carts/Find ", "")).collect()
    };
    let counts = |n: u64| -> Vec<u8> {
        (0..30).flat_map(|u| bytes(4, &[bytes(1, format!("u{u}").as_bytes()), int(2, n)].concat())).collect()
    };
    let named = rules(|_| {}, &[], true);
    let of = fields(&named, &reply(&[counts(1)], OK), &reply(&[counts(2)], OK));
    assert_eq!(of.last().map(String::as_str), Some("$.counts.u*"));
    let many = |n: u64| reply(&[(1..=30).flat_map(|number| int(number, n)).collect()], OK);
    let of = fields(&rules(|_| {}, &[], false), &many(1), &many(2));
    assert!(of.len() == 30 && of.contains(&"$.30".to_owned()), "{of:?}");
}
