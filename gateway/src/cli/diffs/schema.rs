//! `gateway diffs --schema`: the schemas inferred from either side's answers, fields that differ first. Pure.

use std::fmt::Write;

use serde_json::Value;

use super::text as shown;

/// 0 both sides have the same schema, 1 they do not, 2 nothing is known yet.
pub(super) fn text(told: &Value) -> (String, i32) {
    let mut out = String::new();
    let (mut differing, mut fields) = (0, 0);
    // Writing to a string does not fail.
    for of in list(told, "schemas") {
        let _ = writeln!(
            out,
            "{} on {}: {} pairs of answers",
            shown(&of["mirror"]),
            shown(&of["route"]),
            of["pairs"]
        );
        let is_other = |field: &&Value| list(field, "differs").next().is_some();
        let (other, same): (Vec<&Value>, Vec<&Value>) = list(of, "fields").partition(is_other);
        differing += other.len();
        fields += other.len() + same.len();
        for field in other.into_iter().chain(same) {
            let differs: Vec<String> = list(field, "differs").map(shown).collect();
            let mark = if differs.is_empty() { String::new() } else { format!("  ({})", differs.join(", ")) };
            let (ours, theirs) = (side(&field["primary"]), side(&field["mirror"]));
            let both = if ours == theirs { ours } else { format!("v1 {ours} | v2 {theirs}") };
            let _ = writeln!(
                out,
                "  {} {}: {both}{mark}",
                if mark.is_empty() { " " } else { "≠" },
                shown(&field["field"])
            );
        }
        if of["hidden"].as_u64().is_some_and(|n| n > 0) {
            let _ = writeln!(out, "    and {} values in fields beyond those that are kept", of["hidden"]);
        }
    }
    for (key, what) in
        [("missing", "did not answer"), ("apart", "not counted"), ("in_part", "counted in part")]
    {
        for of in list(&told["fleet"], key) {
            let _ = writeln!(out, "{what}: {} ({})", shown(&of["replica"]), shown(&of["why"]));
        }
    }
    if fields == 0 {
        out.push_str("no JSON answers compared yet: it takes a mirror with `compare`\n");
        return (out, 2);
    }
    (out, i32::from(differing > 0))
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

/// `string or null (25 %), left out 34 %`
fn side(of: &Value) -> String {
    let mut types: Vec<(&String, u64)> = of["types"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, n)| (name, n.as_u64().unwrap_or_default()))
        .collect();
    if types.is_empty() {
        return "none".to_owned();
    }
    types.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let nulls = of["null_share"].as_f64().unwrap_or_default();
    let name = |(name, _): &(&String, u64)| match name.as_str() {
        "null" if nulls < 1.0 => format!("null ({})", percent(nulls)),
        name => name.to_owned(),
    };
    let types: Vec<String> = types.iter().map(name).collect();
    let absent = of["absent_share"].as_f64().filter(|share| *share > 0.0);
    let absent = absent.map(|share| format!(", left out {}", percent(share))).unwrap_or_default();
    format!("{}{absent}", types.join(" or "))
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_comes_first_and_each_side_is_said_in_words() {
        let told = |absent: f64, types: Value, nulls: f64| json!({ "present": 4, "absent_share": absent, "null_share": nulls, "types": types });
        let same = told(0.0, json!({ "integer": 4 }), 0.0);
        let fields = json!([
            { "field": "$.id", "primary": same, "mirror": same, "differs": [] },
            { "field": "$.name", "primary": told(0.0, json!({ "string": 4 }), 0.0),
              "mirror": told(0.34, json!({ "string": 3, "null": 1 }), 0.25), "differs": ["null", "absent"] },
        ]);
        let (text, code) = text(
            &json!({ "schemas": [{ "route": "a", "mirror": "v2", "pairs": 4, "fields": fields, "hidden": 2 }] }),
        );
        assert_eq!(code, 1);
        let expect = "v2 on a: 4 pairs of answers\n  ≠ $.name: v1 string | v2 string or null (25 %), left out 34 %  (null, absent)\n    \
                      $.id: integer\n    and 2 values in fields beyond those that are kept\n";
        assert_eq!(text, expect);
        assert_eq!(super::text(&json!({ "schemas": [] })).1, 2);
    }
}
