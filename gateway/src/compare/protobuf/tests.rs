//! Messages as other programs encode them, and as hostile ones do.

use super::super::descriptors::tests::schema;
use super::*;
use crate::random::Random;

/// A number of seven bits at a time.
pub(in super::super) fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn tag(number: u32, kind: u8) -> Vec<u8> {
    varint(u64::from(number << 3 | u32::from(kind)))
}

pub(in super::super) fn int(number: u32, n: u64) -> Vec<u8> {
    [tag(number, 0), varint(n)].concat()
}

pub(in super::super) fn bytes(number: u32, of: &[u8]) -> Vec<u8> {
    [tag(number, 2), varint(of.len() as u64), of.to_vec()].concat()
}

pub(in super::super) fn double(number: u32, value: f64) -> Vec<u8> {
    [tag(number, 1), value.to_le_bytes().to_vec()].concat()
}

fn group(number: u32, of: &[u8]) -> Vec<u8> {
    [tag(number, 3), of.to_vec(), tag(number, 4)].concat()
}

/// In short: a message as `{name: value …}`.
fn said(node: &Node<'_>) -> String {
    match node {
        Node::Null => "null".to_owned(),
        Node::Bool(is) => is.to_string(),
        Node::Number(text) => text.to_string(),
        Node::String(text) => format!("{text:?}"),
        Node::Bytes(bytes) => format!("<{} bytes>", bytes.len()),
        Node::Hidden(_) => "<hidden>".to_owned(),
        Node::Array(items) => format!("[{}]", items.iter().map(said).collect::<Vec<_>>().join(" ")),
        Node::Object(members) => {
            let one = |(name, value): &Member<'_>| format!("{name}: {}", said(value));
            format!("{{{}}}", members.iter().map(one).collect::<Vec<_>>().join(" "))
        }
    }
}

fn without_schema(messages: &[&[u8]]) -> Result<Vec<String>, Unread> {
    Ok(read(None, messages, false)?.iter().map(said).collect())
}

#[test]
fn a_message_without_a_schema_is_read_by_numbers_and_by_what_values_look_like() {
    let inner = [int(1, 5), bytes(2, b"x")].concat();
    let rows: &[(Vec<u8>, &str)] = &[
        (vec![], "{}"),
        (int(1, 300), "{1: 300}"),
        (int(1, u64::MAX), "{1: 18446744073709551615}"),
        (bytes(2, "Grüße, 12 €".as_bytes()), "{2: \"Grüße, 12 €\"}"),
        (bytes(2, b""), "{2: \"\"}"),
        // Two letters can be read as a message too.
        (bytes(2, b"hi"), "{2: \"hi\"}"),
        (bytes(3, &inner), "{3: {1: 5 2: \"x\"}}"),
        (bytes(3, b"\x00\xff\xfe"), "{3: <3 bytes>}"),
        (bytes(3, b"a\x00b"), "{3: \"a\\0b\"}"),
        (double(4, 9.5), "{4: 9.5}"),
        ([tag(4, 1), 7_u64.to_le_bytes().to_vec()].concat(), "{4: 7}"),
        ([tag(5, 5), 0.25_f32.to_le_bytes().to_vec()].concat(), "{5: 0.25}"),
        (group(6, &inner), "{6: {1: 5 2: \"x\"}}"),
        (group(6, &group(6, b"")), "{6: {6: {}}}"),
        ([int(2, 1), int(1, 2), int(2, 3)].concat(), "{1: 2 2: 1 2: 3}"),
    ];
    for (message, expect) in rows {
        assert_eq!(without_schema(&[message]).map(|all| all.concat()).as_deref(), Ok(*expect));
    }
}

#[test]
fn what_stands_in_one_place_is_read_in_one_way() {
    let message = bytes(2, &[int(1, 5), int(2, 6)].concat());
    let odd = bytes(2, b"\xff\xff");
    assert_eq!(without_schema(&[&message, &odd]).unwrap(), ["{2: <4 bytes>}", "{2: <2 bytes>}"]);
    let (float, whole) = (double(1, 2.5), [tag(1, 1), 7_u64.to_le_bytes().to_vec()].concat());
    assert_eq!(without_schema(&[&float, &whole]).unwrap(), ["{1: 4612811918334230528}", "{1: 7}"]);
    let empty = bytes(2, b"");
    assert_eq!(without_schema(&[&message, &empty]).unwrap(), ["{2: {1: 5 2: 6}}", "{2: {}}"]);
}

#[test]
fn what_is_no_message_is_told_apart() {
    let rows: [Vec<u8>; 9] = [
        vec![0],
        vec![0x08],
        vec![0x0f, 1],
        vec![0x80; 11],
        tag(1, 2),
        bytes(1, b"abc")[..3].to_vec(),
        tag(1, 4),
        tag(1, 3),
        [tag(1, 3), tag(2, 4)].concat(),
    ];
    for message in rows {
        assert_eq!(without_schema(&[&message]), Err(Unread::Malformed), "{message:?}");
    }
}

#[test]
fn a_message_that_is_made_to_cost_is_given_up() {
    let many = int(1, 1).repeat(FIELDS_MAX + 1);
    assert_eq!(without_schema(&[&many]), Err(Unread::TooComplex));
    let nested = (0..5000).fold(int(1, 1), |inner, _| bytes(1, &inner));
    assert!(without_schema(&[&nested]).is_ok());
    let groups = (0..5000).fold(Vec::new(), |inner, _| group(1, &inner));
    assert_eq!(without_schema(&[&groups]), Err(Unread::Malformed));
    let open = tag(1, 3).repeat(FIELDS_MAX);
    assert!(without_schema(&[&open]).is_err());
    let empty: Vec<&[u8]> = vec![b""; FIELDS_MAX + 1];
    assert_eq!(without_schema(&empty), Err(Unread::TooComplex));
}

#[test]
fn no_bytes_bring_a_reader_down() {
    let random = Random::new(17);
    let schema = schema();
    for _ in 0..5_000 {
        let message: Vec<u8> = (0..random.below(60))
            .map(|_| if random.below(3) == 0 { random.below(256) as u8 } else { random.below(40) as u8 })
            .collect();
        let _ = read(None, &[&message], false);
        let _ = read(schema.reply("shop.Carts/Find").map(|of| (&schema, of)), &[&message, b""], true);
    }
}

fn named(message: &[u8], hides: bool) -> String {
    let schema = schema();
    let of = schema.reply("shop.Carts/Find").unwrap();
    let nodes = read(Some((&schema, of)), &[message], hides).unwrap();
    said(&nodes[0])
}

#[test]
fn a_message_with_a_schema_is_read_by_names_and_types() {
    let entry = |name: &str, n: u64| bytes(4, &[bytes(1, name.as_bytes()), int(2, n)].concat());
    let item = |name: &str, price: f64| bytes(1, &[bytes(1, name.as_bytes()), double(2, price)].concat());
    let rows: &[(Vec<u8>, &str)] = &[
        (
            [item("a", 9.5), item("b", 1.0)].concat(),
            "{items: [{name: \"a\" price: 9.5} {name: \"b\" price: 1}]}",
        ),
        (int(2, 1), "{state: \"SOLD\"}"),
        (int(2, 7), "{state: 7}"),
        // Of a value that is there by its default nothing is said.
        ([int(2, 0), int(3, 0), bytes(6, b"")].concat(), "{}"),
        (int(3, 1), "{is_new: true}"),
        ([entry("x", 1), entry("w", 2)].concat(), "{counts: {w: 2 x: 1}}"),
        (bytes(4, b""), "{counts: {: 0}}"),
        (bytes(5, &[varint(3), varint(4)].concat()), "{sizes: [-2 2]}"),
        ([int(5, 3), int(5, 4)].concat(), "{sizes: [-2 2]}"),
        ([bytes(6, b"one"), bytes(6, b"two")].concat(), "{note: \"two\"}"),
        (bytes(6, b"\xff"), "{note: <1 bytes>}"),
        (int(7, (-5_i64).cast_unsigned()), "{least: -5}"),
        (int(8, 0), "{maybe: 0}"),
        // A value that is encoded as another type is guessed; an unknown field has its number.
        (int(6, 5), "{note: 5}"),
        (bytes(99, b"text"), "{99: \"text\"}"),
    ];
    for (message, expect) in rows {
        assert_eq!(named(message, false), *expect);
    }
    let unknown = [bytes(99, b"text"), bytes(6, b"told")].concat();
    assert_eq!(named(&unknown, true), "{99: <hidden> note: \"told\"}");
}

#[test]
fn what_is_nested_deep_costs_no_look_at_all_of_it_at_every_depth() {
    let long = "\u{e9}".repeat(2 << 20);
    let nested = (0..DEPTH_MAX).fold(long.into_bytes(), |inner, _| bytes(2, &inner));
    assert_eq!(without_schema(&[&nested]), Err(Unread::TooComplex));
    // As deep and as long as ordinary messages.
    let nested = (0..20).fold("\u{e9}".repeat(32 << 10).into_bytes(), |inner, _| bytes(2, &inner));
    assert!(without_schema(&[&nested]).is_ok());
}
