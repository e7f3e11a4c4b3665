//! The configuration as written → TOML text that reads back as the same. Values that were refused are left out.

use toml::Value;

use crate::file::File;
use crate::reader::Key;
use crate::values::Write;

/// The whole file, its tables in the order in which they are documented.
pub(crate) fn toml(file: &File) -> String {
    tables(&file.value())
}

fn tables(tree: &Value) -> String {
    let Value::Table(tables) = tree else { return String::new() };
    let mut text = String::new();
    for name in File::KEYS {
        let Some(value) = tables.get(*name) else { continue };
        let one = toml::Table::from_iter([((*name).to_owned(), value.clone())]);
        // A tree of tables, texts and numbers is always TOML.
        text.push_str(&toml::to_string(&one).unwrap_or_default());
        text.push('\n');
    }
    text
}

/// Stands for a value that only some may read. No field can be set to it: so a text with it cannot be applied.
pub(crate) const MASK: &str = "[masked: shown to who may change it]";

/// A configuration as TOML, without the admin token and the comments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// For clients that may change it.
    pub whole: String,
    /// For all others: without the values that header edits set and add, which may be credentials.
    pub masked: String,
}

impl Shown {
    pub(crate) fn of(file: &File) -> Self {
        let mut file = file.clone();
        if let Key::Given(admin) = &mut file.admin {
            admin.value.token = Key::Absent;
        }
        let mut tree = file.value();
        let whole = tables(&tree);
        mask(&mut tree);
        Self { whole, masked: tables(&tree) }
    }
}

/// Masks the values of header edits, wherever in the tree they stand. Its header's name does not tell whether one is a
/// credential; a Host is none.
fn mask(tree: &mut Value) {
    match tree {
        Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                match key.as_str() {
                    "request_headers" | "response_headers" => mask_edits(value),
                    _ => mask(value),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(mask),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn mask_edits(edits: &mut Value) {
    for kind in ["set", "add"] {
        let fields = edits.get_mut(kind).and_then(Value::as_table_mut);
        for (name, value) in fields.into_iter().flatten() {
            if !name.eq_ignore_ascii_case("host") {
                *value = Value::String(MASK.to_owned());
            }
        }
    }
}
