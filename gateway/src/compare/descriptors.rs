//! Reads a descriptor set (`google/protobuf/descriptor.proto`): names and types of fields, and the messages that methods reply
//! with. Pure.
//!
//! Only the parts that are needed to read replies are kept; all else in a set is passed over. Files are read elsewhere.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::wire::{Raw, Wire};

/// By the file that it comes from.
pub type Schemas = HashMap<PathBuf, Arc<Schema>>;

/// Messages and enumerations that refer to each other by index.
#[derive(Debug, Default)]
pub struct Schema {
    messages: Vec<Message>,
    enums: Vec<HashMap<i32, String>>,
    /// Index of each method's reply, by `pkg.Service/Method`.
    replies: HashMap<String, usize>,
    /// `json_name` where it does not follow from a field's name, by that name; of all messages together.
    aliases: HashMap<String, BTreeSet<String>>,
}

#[derive(Debug, Default)]
pub(super) struct Message {
    fields: HashMap<u32, Field>,
    /// The message is an entry of a map: its first field is the key, its second the value.
    pub(super) is_entry: bool,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) is_repeated: bool,
    /// An absent field means its default value: a sender may write the default or leave it out.
    pub(super) is_implicit: bool,
}

/// By how a value is encoded and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int,
    Uint,
    ZigZag,
    Fixed32,
    Fixed64,
    SFixed32,
    SFixed64,
    Bool,
    String,
    Bytes,
    Enum(usize),
    Message(usize),
}

impl Message {
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        self.fields.get(&number)
    }
}

impl Schema {
    /// # Errors
    /// Why the bytes are no descriptor set, or too large a one.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        let files = Parts::of(bytes)?.each(set::FILE)?;
        let mut names = Names::default();
        for file in &files {
            let is_proto3 = file.text(file::SYNTAX) == "proto3";
            let (messages, enums) = (file.each(file::MESSAGE)?, file.each(file::ENUM)?);
            names.declare(file.text(file::PACKAGE), messages, enums, is_proto3, 0)?;
        }
        let mut schema = Self::default();
        for (of, is_proto3) in &names.messages {
            let options = of.each(message::OPTIONS)?;
            let is_entry = options.iter().any(|options| options.number(message::OF_OPTIONS_IS_ENTRY) > 0);
            let fields = of.each(message::FIELD)?;
            for (name, alias) in fields.iter().map(|field| (field.text(NAME), field.text(field::JSON_NAME))) {
                if !alias.is_empty() && !is_same_word(name.as_bytes(), alias.as_bytes()) {
                    schema.aliases.entry(name.to_owned()).or_default().insert(alias.to_owned());
                }
            }
            let fields = fields.into_iter().map(|field| names.field(&field, *is_proto3));
            schema.messages.push(Message { fields: fields.collect::<Result<_, _>>()?, is_entry });
        }
        for of in &names.enums {
            let mut values = HashMap::new();
            // Of two names of one number the first is told.
            for value in of.each(enumeration::VALUE)? {
                let number = value.number(enumeration::OF_VALUE_NUMBER) as i32;
                values.entry(number).or_insert_with(|| value.text(NAME).to_owned());
            }
            schema.enums.push(values);
        }
        for file in &files {
            for service in file.each(file::SERVICE)? {
                let service_name = joined(file.text(file::PACKAGE), service.text(NAME));
                for method in service.each(service::METHOD)? {
                    let reply = names.message(method.text(service::OF_METHOD_OUTPUT))?;
                    let name = names.weighed(format!("{service_name}/{}", method.text(NAME)))?;
                    schema.replies.insert(name, reply);
                }
            }
        }
        if schema.replies.is_empty() {
            return Err("describes no method of any service".to_owned());
        }
        Ok(schema)
    }

    /// The message that `method`, `pkg.Service/Method`, replies with.
    pub(super) fn reply(&self, method: &str) -> Option<&Message> {
        self.message(*self.replies.get(method)?)
    }

    pub(super) fn message(&self, index: usize) -> Option<&Message> {
        self.messages.get(index)
    }

    /// Whether `other` is the JSON name of a field called `name`.
    pub(super) fn is_called(&self, name: &[u8], other: &[u8]) -> bool {
        let aliases = str::from_utf8(name).ok().and_then(|name| self.aliases.get(name));
        aliases.is_some_and(|all| all.iter().any(|alias| is_same_word(alias.as_bytes(), other)))
    }

    /// The name of a value.
    pub(super) fn value(&self, of: usize, number: i32) -> Option<&str> {
        self.enums.get(of)?.get(&number).map(String::as_str)
    }
}

/// `card_number` and `cardNumber` are one.
pub(super) fn is_same_word(one: &[u8], other: &[u8]) -> bool {
    let letters = |name: &[u8]| -> Vec<u8> {
        name.iter().filter(|byte| **byte != b'_').map(u8::to_ascii_lowercase).collect()
    };
    letters(one) == letters(other)
}

fn joined(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// Types in types: no compiler writes as many.
const NESTED_MAX: usize = 64;

/// Bytes of all full names together: each repeats its package and its outer types.
const NAMES_BYTES_MAX: usize = 32 << 20;

/// The field number of a name in every descriptor. The modules below have the numbers of each message's other fields.
const NAME: u32 = 1;

mod set {
    pub(super) const FILE: u32 = 1;
}

mod file {
    pub(super) const PACKAGE: u32 = 2;
    pub(super) const MESSAGE: u32 = 4;
    pub(super) const ENUM: u32 = 5;
    pub(super) const SERVICE: u32 = 6;
    pub(super) const SYNTAX: u32 = 12;
}

mod message {
    pub(super) const FIELD: u32 = 2;
    pub(super) const NESTED: u32 = 3;
    pub(super) const ENUM: u32 = 4;
    pub(super) const OPTIONS: u32 = 7;
    pub(super) const OF_OPTIONS_IS_ENTRY: u32 = 7;
}

mod field {
    pub(super) const NUMBER: u32 = 3;
    pub(super) const LABEL: u32 = 4;
    pub(super) const TYPE: u32 = 5;
    pub(super) const TYPE_NAME: u32 = 6;
    pub(super) const ONE_OF: u32 = 9;
    pub(super) const JSON_NAME: u32 = 10;
    pub(super) const REPEATED: u64 = 3;
}

mod enumeration {
    pub(super) const VALUE: u32 = 2;
    pub(super) const OF_VALUE_NUMBER: u32 = 2;
}

mod service {
    pub(super) const METHOD: u32 = 2;
    pub(super) const OF_METHOD_OUTPUT: u32 = 3;
}

/// A message of the set, taken apart into its fields.
struct Parts<'a>(Vec<(u32, Raw<'a>)>);

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, String> {
        let (mut parts, mut wire) = (Vec::new(), Wire::new(bytes));
        // The file's length is bounded.
        let mut left = bytes.len();
        while !wire.is_over() {
            let part = wire.field(&mut left).map_err(|_| {
                "is no descriptor set; write it with protoc --include_imports --descriptor_set_out".to_owned()
            })?;
            parts.push(part);
        }
        Ok(Self(parts))
    }

    fn bytes(&self, number: u32) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter_map(move |(known, raw)| match raw {
            Raw::Bytes(bytes) if *known == number => Some(*bytes),
            Raw::Varint(_) | Raw::Fixed64(_) | Raw::Fixed32(_) | Raw::Bytes(_) | Raw::Group(_) => None,
        })
    }

    fn each(&self, number: u32) -> Result<Vec<Self>, String> {
        self.bytes(number).map(Self::of).collect()
    }

    fn text(&self, number: u32) -> &'a str {
        self.bytes(number).last().and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn given(&self, number: u32) -> Option<u64> {
        let found = self.0.iter().rev().find(|(known, _)| *known == number)?;
        match found.1 {
            Raw::Varint(n) => Some(n),
            Raw::Fixed64(_) | Raw::Fixed32(_) | Raw::Bytes(_) | Raw::Group(_) => None,
        }
    }

    fn number(&self, number: u32) -> u64 {
        self.given(number).unwrap_or_default()
    }
}

/// Every type of a set, by its whole name.
#[derive(Default)]
struct Names<'a> {
    messages: Vec<(Parts<'a>, bool)>,
    enums: Vec<Parts<'a>>,
    by_name: HashMap<String, Kind>,
    bytes: usize,
}

impl<'a> Names<'a> {
    fn declare(
        &mut self,
        parent: &str,
        messages: Vec<Parts<'a>>,
        enums: Vec<Parts<'a>>,
        is_proto3: bool,
        depth: usize,
    ) -> Result<(), String> {
        if depth > NESTED_MAX {
            return Err(format!("nests types more than {NESTED_MAX} deep"));
        }
        for of in enums {
            let name = self.weighed(joined(parent, of.text(NAME)))?;
            self.by_name.insert(name, Kind::Enum(self.enums.len()));
            self.enums.push(of);
        }
        for of in messages {
            let name = self.weighed(joined(parent, of.text(NAME)))?;
            self.by_name.insert(name.clone(), Kind::Message(self.messages.len()));
            let (nested, enums) = (of.each(message::NESTED)?, of.each(message::ENUM)?);
            self.messages.push((of, is_proto3));
            self.declare(&name, nested, enums, is_proto3, depth + 1)?;
        }
        Ok(())
    }

    /// Counts the bytes of a full name.
    fn weighed(&mut self, name: String) -> Result<String, String> {
        self.bytes += name.len();
        if self.bytes > NAMES_BYTES_MAX {
            return Err(format!("has names of more than {} MiB in all", NAMES_BYTES_MAX >> 20));
        }
        Ok(name)
    }

    /// The type of this name. A full name begins with a dot, as compilers write it.
    fn known(&self, name: &str) -> Result<Kind, String> {
        let found = self.by_name.get(name.strip_prefix('.').unwrap_or(name));
        found.copied().ok_or_else(|| {
            format!("lacks the type {name}, which it refers to; write it with protoc --include_imports")
        })
    }

    fn message(&self, name: &str) -> Result<usize, String> {
        match self.known(name)? {
            Kind::Message(index) => Ok(index),
            _scalar => Err(format!("has an enumeration {name} where a message is due")),
        }
    }

    fn field(&self, of: &Parts<'_>, is_proto3: bool) -> Result<(u32, Field), String> {
        let name = of.text(NAME);
        let kind = match of.number(field::TYPE) {
            1 => Kind::Double,
            2 => Kind::Float,
            3 | 5 => Kind::Int,
            4 | 13 => Kind::Uint,
            6 => Kind::Fixed64,
            7 => Kind::Fixed32,
            8 => Kind::Bool,
            9 => Kind::String,
            12 => Kind::Bytes,
            15 => Kind::SFixed32,
            16 => Kind::SFixed64,
            17 | 18 => Kind::ZigZag,
            // A group, a message, an enumeration.
            10 | 11 | 14 => self.known(of.text(field::TYPE_NAME))?,
            other => return Err(format!("has a field {name} of an unknown type, {other}")),
        };
        let number =
            u32::try_from(of.number(field::NUMBER)).map_err(|_| format!("numbers {name} too high"))?;
        let is_implicit = is_proto3 && of.given(field::ONE_OF).is_none() && !matches!(kind, Kind::Message(_));
        let is_repeated = of.number(field::LABEL) == field::REPEATED;
        Ok((number, Field { name: name.to_owned(), kind, is_repeated, is_implicit }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::protobuf::tests::{bytes, int};
    use super::*;

    fn field(name: &str, number: u64, kind: u64, of: &str) -> Vec<u8> {
        let of = if of.is_empty() { Vec::new() } else { bytes(6, of.as_bytes()) };
        [bytes(1, name.as_bytes()), int(3, number), int(4, 1), int(5, kind), of].concat()
    }

    /// The last word counts.
    fn repeated(field: Vec<u8>) -> Vec<u8> {
        [field, int(4, 3)].concat()
    }

    fn message(name: &str, fields: &[Vec<u8>]) -> Vec<u8> {
        let fields: Vec<u8> = fields.iter().flat_map(|field| bytes(2, field)).collect();
        [bytes(1, name.as_bytes()), fields].concat()
    }

    const MESSAGE: u64 = 11;
    const TEXT: u64 = 9;

    /// As a compiler writes it: `shop.Carts`, whose `Find` replies with a bit of everything; without `Item` where that is left out.
    pub(in super::super) fn set(has_item: bool) -> Vec<u8> {
        let entry = message("CountsEntry", &[field("key", 1, TEXT, ""), field("value", 2, 5, "")]);
        let entry = [entry, bytes(7, &int(7, 1))].concat();
        let found = message(
            "Found",
            &[
                repeated(field("items", 1, MESSAGE, ".shop.Item")),
                field("state", 2, 14, ".shop.State"),
                field("is_new", 3, 8, ""),
                repeated(field("counts", 4, MESSAGE, ".shop.Found.CountsEntry")),
                repeated(field("sizes", 5, 17, "")),
                field("note", 6, TEXT, ""),
                field("least", 7, 3, ""),
                [field("maybe", 8, 5, ""), int(9, 0), int(17, 1)].concat(),
                [field("card_number", 9, TEXT, ""), bytes(10, b"pan")].concat(),
                field("raw", 10, 12, ""),
            ],
        );
        let found = [found, bytes(3, &entry)].concat();
        let item = message(
            "Item",
            &[
                field("name", 1, TEXT, ""),
                field("price", 2, 1, ""),
                repeated(field("parts", 3, MESSAGE, ".shop.Item")),
            ],
        );
        let value = |name: &str, number| bytes(2, &[bytes(1, name.as_bytes()), int(2, number)].concat());
        let state = [bytes(1, b"State"), value("OPEN", 0), value("SOLD", 1)].concat();
        let method = |name: &str| {
            bytes(
                2,
                &[bytes(1, name.as_bytes()), bytes(2, b".shop.Found"), bytes(3, b".shop.Found")].concat(),
            )
        };
        let service = [bytes(1, b"Carts"), method("Find"), method("Pay")].concat();
        let item = if has_item { bytes(4, &item) } else { Vec::new() };
        let file = [
            bytes(1, b"shop.proto"),
            bytes(2, b"shop"),
            bytes(4, &found),
            item,
            bytes(5, &state),
            bytes(6, &service),
            bytes(12, b"proto3"),
        ];
        bytes(1, &file.concat())
    }

    pub(in super::super) fn schema() -> Schema {
        Schema::new(&set(true)).expect("as a compiler writes it")
    }

    #[test]
    fn a_set_that_is_none_or_lacks_what_it_names_is_refused() {
        let refused = |bytes: &[u8]| Schema::new(bytes).unwrap_err();
        assert!(refused(b"syntax = \"proto3\";").contains("is no descriptor set"));
        assert!(refused(b"").contains("describes no method"));
        assert!(refused(&set(false)).contains("lacks the type .shop.Item"));
        for end in 1..set(true).len() {
            assert!(Schema::new(&set(true)[..end]).is_err(), "{end}");
        }
        let deep =
            (0..100).fold(message("a", &[]), |inner, _| [message("a", &[]), bytes(3, &inner)].concat());
        assert!(refused(&bytes(1, &bytes(4, &deep))).contains("deep"));
        // Small types in a package with a long name.
        let types: Vec<u8> = (0..300_000).flat_map(|_| bytes(5, &bytes(1, b"E"))).collect();
        let package = bytes(2, &[b'p'; 4096]);
        assert!(refused(&bytes(1, &[package, types].concat())).contains("names of more than"));
    }
}
