//! What a descriptor set says of messages: names of fields, their types, and which of them a method replies with. Pure.
//!
//! Only what reading replies takes is kept of it. Files are read elsewhere.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// By the file that it comes from.
pub type Schemas = HashMap<PathBuf, Arc<Schema>>;

/// Messages and enumerations that refer to each other by index.
#[derive(Debug, Default)]
pub struct Schema {
    messages: Vec<Message>,
    enums: Vec<HashMap<i32, String>>,
    /// Index of what each method replies with, by `pkg.Service/Method`.
    replies: HashMap<String, usize>,
}

#[derive(Debug, Default)]
pub(super) struct Message {
    fields: HashMap<u32, Field>,
    /// It is an entry of a map: its first field is a name, its second what it names.
    pub(super) is_entry: bool,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) is_repeated: bool,
    /// Not to be there means its default: who sends that says no more than who does not.
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
    /// What is wrong with it.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        let set = FileDescriptorSet::decode(bytes).map_err(|_| {
            "is no descriptor set; write it with protoc --include_imports --descriptor_set_out".to_owned()
        })?;
        let mut names = Names::default();
        for file in &set.file {
            let package = file.package.as_deref().unwrap_or_default();
            let is_proto3 = file.syntax.as_deref() == Some("proto3");
            names.declare(package, &file.message_type, &file.enum_type, is_proto3, 0)?;
        }
        let mut schema = Self::default();
        for (of, is_proto3) in &names.messages {
            let is_entry = of.options.as_ref().is_some_and(|options| options.map_entry());
            let fields = of.field.iter().map(|field| names.field(field, *is_proto3));
            schema.messages.push(Message { fields: fields.collect::<Result<_, _>>()?, is_entry });
        }
        for of in &names.enums {
            let mut values = HashMap::new();
            // Of two names of one number the first is told.
            of.value.iter().for_each(|value| {
                values.entry(value.number()).or_insert_with(|| value.name().to_owned());
            });
            schema.enums.push(values);
        }
        for file in &set.file {
            let package = file.package.as_deref().unwrap_or_default();
            for service in &file.service {
                let service_name = joined(package, service.name());
                for method in &service.method {
                    let reply = names.message(method.output_type())?;
                    schema.replies.insert(format!("{service_name}/{}", method.name()), reply);
                }
            }
        }
        if schema.replies.is_empty() {
            return Err("describes no method of any service".to_owned());
        }
        Ok(schema)
    }

    /// What `method`, as `pkg.Service/Method`, replies with.
    pub(super) fn reply(&self, method: &str) -> Option<&Message> {
        self.message(*self.replies.get(method)?)
    }

    pub(super) fn message(&self, index: usize) -> Option<&Message> {
        self.messages.get(index)
    }

    /// The name of a value.
    pub(super) fn value(&self, of: usize, number: i32) -> Option<&str> {
        self.enums.get(of)?.get(&number).map(String::as_str)
    }
}

fn joined(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// Types in types: no compiler writes as many.
const NESTED_MAX: usize = 64;

/// Every type of a set, by its whole name.
#[derive(Default)]
struct Names<'a> {
    messages: Vec<(&'a DescriptorProto, bool)>,
    enums: Vec<&'a EnumDescriptorProto>,
    by_name: HashMap<String, Kind>,
}

impl<'a> Names<'a> {
    fn declare(
        &mut self,
        parent: &str,
        messages: &'a [DescriptorProto],
        enums: &'a [EnumDescriptorProto],
        is_proto3: bool,
        depth: usize,
    ) -> Result<(), String> {
        if depth > NESTED_MAX {
            return Err(format!("nests types more than {NESTED_MAX} deep"));
        }
        for of in enums {
            self.by_name.insert(joined(parent, of.name()), Kind::Enum(self.enums.len()));
            self.enums.push(of);
        }
        for of in messages {
            let name = joined(parent, of.name());
            self.by_name.insert(name.clone(), Kind::Message(self.messages.len()));
            self.messages.push((of, is_proto3));
            self.declare(&name, &of.nested_type, &of.enum_type, is_proto3, depth + 1)?;
        }
        Ok(())
    }

    /// What a type is called by begins with a dot where it is whole, as compilers write it.
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

    fn field(&self, of: &FieldDescriptorProto, is_proto3: bool) -> Result<(u32, Field), String> {
        let kind = match of.r#type() {
            Type::Double => Kind::Double,
            Type::Float => Kind::Float,
            Type::Int64 | Type::Int32 => Kind::Int,
            Type::Uint64 | Type::Uint32 => Kind::Uint,
            Type::Sint64 | Type::Sint32 => Kind::ZigZag,
            Type::Fixed32 => Kind::Fixed32,
            Type::Fixed64 => Kind::Fixed64,
            Type::Sfixed32 => Kind::SFixed32,
            Type::Sfixed64 => Kind::SFixed64,
            Type::Bool => Kind::Bool,
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Enum | Type::Message | Type::Group => self.known(of.type_name())?,
        };
        let number = u32::try_from(of.number()).map_err(|_| format!("numbers {} below 0", of.name()))?;
        let is_implicit = is_proto3 && of.oneof_index.is_none() && !matches!(kind, Kind::Message(_));
        let is_repeated = of.label() == Label::Repeated;
        Ok((number, Field { name: of.name().to_owned(), kind, is_repeated, is_implicit }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use prost_types::{
        EnumValueDescriptorProto, FileDescriptorProto, MessageOptions, MethodDescriptorProto,
        ServiceDescriptorProto,
    };

    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn field(name: &str, number: i32, kind: Type, of: &str) -> FieldDescriptorProto {
        FieldDescriptorProto {
            name: some(name),
            number: Some(number),
            r#type: Some(kind as i32),
            type_name: (!of.is_empty()).then(|| of.to_owned()),
            label: Some(Label::Optional as i32),
            ..Default::default()
        }
    }

    fn repeated(field: FieldDescriptorProto) -> FieldDescriptorProto {
        FieldDescriptorProto { label: Some(Label::Repeated as i32), ..field }
    }

    fn message(name: &str, fields: Vec<FieldDescriptorProto>) -> DescriptorProto {
        DescriptorProto { name: some(name), field: fields, ..Default::default() }
    }

    /// As a compiler writes it: `shop.Carts`, whose `Find` replies with a bit of everything.
    pub(in super::super) fn set() -> FileDescriptorSet {
        let entry = DescriptorProto {
            options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
            ..message(
                "CountsEntry",
                vec![field("key", 1, Type::String, ""), field("value", 2, Type::Int32, "")],
            )
        };
        let found = DescriptorProto {
            nested_type: vec![entry],
            ..message(
                "Found",
                vec![
                    repeated(field("items", 1, Type::Message, ".shop.Item")),
                    field("state", 2, Type::Enum, ".shop.State"),
                    field("is_new", 3, Type::Bool, ""),
                    repeated(field("counts", 4, Type::Message, ".shop.Found.CountsEntry")),
                    repeated(field("sizes", 5, Type::Sint32, "")),
                    field("note", 6, Type::String, ""),
                    field("least", 7, Type::Int64, ""),
                    FieldDescriptorProto {
                        oneof_index: Some(0),
                        proto3_optional: Some(true),
                        ..field("maybe", 8, Type::Int32, "")
                    },
                    field("card_number", 9, Type::String, ""),
                ],
            )
        };
        let item = message(
            "Item",
            vec![
                field("name", 1, Type::String, ""),
                field("price", 2, Type::Double, ""),
                repeated(field("parts", 3, Type::Message, ".shop.Item")),
            ],
        );
        let value = |(name, number): (&str, i32)| EnumValueDescriptorProto {
            name: some(name),
            number: Some(number),
            ..Default::default()
        };
        let method = |name: &str| MethodDescriptorProto {
            name: some(name),
            input_type: some(".shop.Item"),
            output_type: some(".shop.Found"),
            ..Default::default()
        };
        let file = FileDescriptorProto {
            name: some("shop.proto"),
            package: some("shop"),
            message_type: vec![found, item],
            enum_type: vec![EnumDescriptorProto {
                name: some("State"),
                value: [("OPEN", 0), ("SOLD", 1)].map(value).to_vec(),
                ..Default::default()
            }],
            service: vec![ServiceDescriptorProto {
                name: some("Carts"),
                method: ["Find", "Pay"].map(method).to_vec(),
                ..Default::default()
            }],
            syntax: some("proto3"),
            ..Default::default()
        };
        FileDescriptorSet { file: vec![file] }
    }

    pub(in super::super) fn schema() -> Schema {
        Schema::new(&set().encode_to_vec()).expect("as a compiler writes it")
    }
}
