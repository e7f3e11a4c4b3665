//! A gRPC method of a descriptor set, and messages for it written as JSON. Pure, but for reading the file.

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

use crate::file;

/// A method, and the messages sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: String,
    /// Each encoded.
    pub messages: Vec<Bytes>,
}

impl Call {
    /// `method` is `package.Service/Method`, `data` one JSON text for each message; none is one message of defaults.
    pub fn new(descriptors: &Path, method: &str, data: &[String]) -> anyhow::Result<Self> {
        let bytes = file::read(descriptors).with_context(|| descriptors.display().to_string())?;
        let pool = DescriptorPool::decode(bytes.as_slice())
            .with_context(|| format!("{} is no descriptor set (protoc -o)", descriptors.display()))?;
        Self::of(&pool, method, data)
    }

    fn of(pool: &DescriptorPool, method: &str, data: &[String]) -> anyhow::Result<Self> {
        let known = || {
            let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
            let names = methods.map(|of| format!("{}/{}", of.parent_service().full_name(), of.name()));
            names.take(20).collect::<Vec<_>>().join(", ")
        };
        let (service, name) = method.trim_start_matches('/').rsplit_once('/').unwrap_or((method, ""));
        let found =
            pool.get_service_by_name(service).and_then(|of| of.methods().find(|of| of.name() == name));
        let found = found.ok_or_else(|| anyhow!("there is no method `{method}`; there are {}", known()))?;
        ensure!(
            found.is_client_streaming() || data.len() <= 1,
            "`{method}` takes one message in a call, not {}",
            data.len()
        );
        let one = |text: &str| {
            let mut json = serde_json::Deserializer::from_str(text);
            let message = DynamicMessage::deserialize(found.input(), &mut json)
                .with_context(|| format!("`{text}` is no {}", found.input().full_name()))?;
            json.end().with_context(|| format!("`{text}` goes on behind the message"))?;
            Ok(Bytes::from(message.encode_to_vec()))
        };
        let empty = ["{}".to_owned()];
        let data = if data.is_empty() { &empty[..] } else { data };
        let messages = data.iter().map(|text| one(text)).collect::<anyhow::Result<_>>()?;
        Ok(Self { path: format!("/{service}/{name}"), messages })
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
    use prost_reflect::prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
        ServiceDescriptorProto,
    };

    use super::*;

    /// `message M { string name = 1; int32 n = 2; } service S { rpc One(M) returns (M); rpc Many(stream M) returns (M); }`
    fn pool() -> DescriptorPool {
        let field = |name: &str, number, kind: Type| FieldDescriptorProto {
            name: Some(name.into()),
            number: Some(number),
            label: Some(Label::Optional.into()),
            r#type: Some(kind.into()),
            ..Default::default()
        };
        let method = |name: &str, streams| MethodDescriptorProto {
            name: Some(name.into()),
            input_type: Some(".t.M".into()),
            output_type: Some(".t.M".into()),
            client_streaming: Some(streams),
            ..Default::default()
        };
        let file = FileDescriptorProto {
            name: Some("t.proto".into()),
            package: Some("t".into()),
            syntax: Some("proto3".into()),
            message_type: vec![DescriptorProto {
                name: Some("M".into()),
                field: vec![field("name", 1, Type::String), field("n", 2, Type::Int32)],
                ..Default::default()
            }],
            service: vec![ServiceDescriptorProto {
                name: Some("S".into()),
                method: vec![method("One", false), method("Many", true)],
                ..Default::default()
            }],
            ..Default::default()
        };
        DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file: vec![file] }).expect("a pool")
    }

    fn call(method: &str, data: &[&str]) -> Result<Call, String> {
        let data: Vec<String> = data.iter().map(|text| (*text).to_owned()).collect();
        Call::of(&pool(), method, &data).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn messages_are_encoded_as_their_type_says() {
        let one = call("t.S/One", &[r#"{"name": "ada", "n": 7}"#]).expect("a call");
        assert_eq!(
            one,
            Call { path: "/t.S/One".into(), messages: vec![Bytes::from_static(b"\x0a\x03ada\x10\x07")] }
        );
        let many = call("/t.S/Many", &[r#"{"n": 1}"#, "{}"]).expect("a call");
        assert_eq!(many.messages, [Bytes::from_static(b"\x10\x01"), Bytes::new()]);
        assert_eq!(call("t.S/One", &[]).expect("a call").messages, [Bytes::new()]);
    }

    #[test]
    fn what_is_not_there_or_does_not_fit_is_said() {
        let rows: [(&str, &[&str], &str); 5] = [
            ("t.S/None", &[], "there are t.S/One, t.S/Many"),
            ("t.T/One", &[], "no method `t.T/One`"),
            ("t.S/One", &["{}", "{}"], "takes one message in a call, not 2"),
            ("t.S/One", &[r#"{"n": "x"}"#], "is no t.M"),
            ("t.S/One", &[r#"{"unknown": 1}"#], "is no t.M"),
        ];
        for (method, data, told) in rows {
            let said = call(method, data).expect_err("refused");
            assert!(said.contains(told), "{method} {data:?}: {said}");
        }
    }
}
