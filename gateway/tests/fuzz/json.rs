//! Secrets in JSON: none passes, nothing else is touched, and a text that is no JSON is refused, however it is cut.

use gateway::mirror::redact::json::{NotJson, Pointers, Search};
use serde_json::Value;

use crate::dice::{Dice, run};

pub(crate) const TEXTS: [&[u8]; 6] = [
    br#"{"user":{"name":"ann","card":"4111"},"list":[1,{"card":[1,2]},null]}"#,
    br#"[{"card":"a"},{"card":{"deep":true}},{"no":0.5e-3}]"#,
    br#"{"c\u0061rd":"x","a/b":1,"m~n":2,"":{"":"s"}}"#,
    br#""text""#,
    br#" { "card" : -0.0 , "card" : "twice" } "#,
    br#"{"a":{"b":{"c":[[[["x"]]]]}},"u":"\ud83d\ude00\\\"/"}"#,
];

const SCRAPS: [&[u8]; 20] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"1",
    b"-",
    b"e9",
    b"true",
    b"null",
    b" ",
    b"\n",
    b"\\u0063",
    b"\xff",
    b"\"card\":",
    b"[[[[",
    b"\0",
];

const POINTERS: [&str; 5] = ["/card", "/user/card", "/list/*/card", "/*/card", "/a/b"];

fn search(pointers: &Pointers, pieces: &[&[u8]]) -> Result<Vec<u8>, NotJson> {
    let (mut search, mut out) = (Search::new(pointers), Vec::new());
    for piece in pieces {
        search.feed(piece, &mut out)?;
    }
    search.end().map(|()| out)
}

/// `value` as it is to be behind the search.
fn without(value: &mut Value, pointers: &[Vec<&str>]) {
    if pointers.iter().any(Vec::is_empty) {
        *value = Value::String("[redacted]".to_owned());
        return;
    }
    let below = |key: &str| -> Vec<Vec<&str>> {
        let fits = pointers
            .iter()
            .filter(|p| p.first().is_some_and(|first| *first == "*" || first.eq_ignore_ascii_case(key)));
        fits.map(|p| p[1..].to_vec()).collect()
    };
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(key, value)| without(value, &below(key))),
        Value::Array(items) => {
            items.iter_mut().enumerate().for_each(|(n, value)| without(value, &below(&n.to_string())));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn pointers(dice: &mut Dice) -> Vec<&'static str> {
    let mut all = POINTERS.to_vec();
    all.retain(|_| dice.one_in(2));
    if all.is_empty() { vec!["/card"] } else { all }
}

#[test]
fn secrets_are_replaced_wherever_a_second_reader_finds_them_and_nothing_else_is() {
    run(secrets);
}

pub(crate) fn secrets(dice: &mut Dice) {
    let text = dice.text(&TEXTS, &SCRAPS);
    let given = pointers(dice);
    let owned: Vec<String> = given.iter().map(|p| (*p).to_owned()).collect();
    let compiled = Pointers::new(&owned);
    let whole = search(&compiled, &[&text]);
    let in_pieces = search(&compiled, &dice.pieces(&text));
    let shown = String::from_utf8_lossy(&text);
    assert_eq!(whole.as_ref().ok(), in_pieces.as_ref().ok(), "{shown}");
    let (Ok(mut expect), Ok(out)) = (serde_json::from_slice::<Value>(&text), &whole) else { return };
    let paths: Vec<Vec<&str>> = given.iter().map(|p| p.split('/').skip(1).collect()).collect();
    without(&mut expect, &paths);
    // A batch: a pointer that begins with a name applies to each of its elements.
    if let Value::Array(batch) = &mut expect {
        let named: Vec<Vec<&str>> = paths.iter().filter(|path| path[0] != "*").cloned().collect();
        batch.iter_mut().for_each(|value| without(value, &named));
    }
    let found: Value = serde_json::from_slice(out).unwrap_or_else(|e| {
        panic!("{e}: {shown}\n became\n{}", String::from_utf8_lossy(out));
    });
    assert_eq!(found, expect, "{shown}\n by {given:?}");
}
