//! Values of fields that are put together from a request: Envoy's operators. Pure.

use std::borrow::Cow;

use config::{Format, FormatPart, HeaderEdits, Operator};

use crate::asked::RequestView;

/// `edits` with every value known. Most have no operator, and stay as they are.
pub fn resolved<'e>(
    edits: &'e HeaderEdits,
    asked: &RequestView<'_>,
    started: &dyn Fn() -> String,
) -> Cow<'e, HeaderEdits> {
    if !edits.has_formats() {
        return Cow::Borrowed(edits);
    }
    let value = |(name, format): &(String, Format)| {
        let value = value(format, asked, started);
        // A field without a value is left out, as in Envoy.
        (!value.is_empty()).then(|| (name.clone(), value))
    };
    let mut known = edits.clone();
    known.set.extend(edits.set_format.iter().filter_map(value));
    known.add.extend(edits.add_format.iter().filter_map(value));
    // A field that is set to an empty value must not stay as the client sent it.
    let unset = edits
        .set_format
        .iter()
        .map(|(name, _)| name)
        .filter(|name| known.set.iter().all(|(n, _)| n != *name));
    known.remove.extend(unset.cloned());
    Cow::Owned(known)
}

fn value(format: &Format, asked: &RequestView<'_>, started: &dyn Fn() -> String) -> String {
    let mut value = String::new();
    for part in &format.parts {
        match part {
            FormatPart::Text(text) => value.push_str(text),
            FormatPart::Operator(operator) => value.push_str(&operand(operator, asked, started)),
        }
    }
    value.trim_matches([' ', '\t']).to_owned()
}

fn operand(operator: &Operator, asked: &RequestView<'_>, started: &dyn Fn() -> String) -> String {
    let address = || String::from_utf8_lossy(asked.address).into_owned();
    match operator {
        Operator::Client if asked.address.contains(&b':') => {
            format!("[{}]:{}", address(), asked.address_port)
        }
        Operator::Client => format!("{}:{}", address(), asked.address_port),
        Operator::ClientAddress => address(),
        Operator::ClientPort => asked.address_port.to_string(),
        Operator::Protocol => asked.version.name().to_owned(),
        Operator::HostName => crate::os::host_name().to_owned(),
        Operator::StartTime => started(),
        Operator::Request { name, otherwise, bytes_max } => {
            let mut found = field(name, asked);
            if let (true, Some(otherwise)) = (found.is_empty(), otherwise) {
                found = field(otherwise, asked);
            }
            let most = bytes_max.unwrap_or(found.len()).min(found.len());
            let end = (0..=most).rev().find(|end| found.is_char_boundary(*end)).unwrap_or_default();
            found.truncate(end);
            found
        }
    }
}

/// The field as the client sent it; invalid UTF-8 counts as empty.
fn field(name: &str, asked: &RequestView<'_>) -> String {
    let bytes = match name {
        ":authority" => asked.authority.to_vec(),
        ":method" => asked.method.to_vec(),
        ":scheme" => asked.scheme.name().as_bytes().to_vec(),
        ":path" => match asked.query {
            Some(query) => [asked.path, b"?", query].concat(),
            None => asked.path.to_vec(),
        },
        name => asked.header(name).unwrap_or_default(),
    };
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::tests::with_asked;

    #[test]
    fn values_are_put_together_from_what_the_client_sent() {
        let rows = [
            ("%DOWNSTREAM_REMOTE_ADDRESS%", Some("192.0.2.1:4321")),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", Some("192.0.2.1")),
            ("port %DOWNSTREAM_REMOTE_PORT%", Some("port 4321")),
            ("%PROTOCOL%", Some("HTTP/1.1")),
            ("%START_TIME%", Some("now")),
            ("%REQ(X-User)%", Some("ada")),
            ("%REQ(x-user):2%", Some("ad")),
            ("%REQ(x-none?X-User)%", Some("ada")),
            ("<%REQ(x-none)%>", Some("<>")),
            ("%REQ(x-none)%", None),
            (
                "%REQ(:authority)% %REQ(:path)% %REQ(:method)% %REQ(:scheme)%",
                Some("a.example:81 /p?q=1 PUT http"),
            ),
            ("%REQ(x-umlaut):2%", Some("\u{fc}")),
            ("%REQ(x-umlaut):1%", None),
            ("100%% of %REQ(:path)%%%", Some("100% of /p?q=1%")),
            ("%REQ(x-none?x-none)%%REQ(X-USER)%", Some("ada")),
            ("%REQ(host)%", Some("a.example:81")),
        ];
        for (written, expect) in rows {
            let text = format!(
                "[[route]]\nprimary = \"a\"\nrequest_headers = {{ set_format = {{ x = {written:?} }} }}\n\
                 [upstream.a]\nendpoints = [\"127.0.0.1:1\"]\n"
            );
            let config = config::parse("test", &text).expect("the test's own text is sound").config;
            let fields = [("X-User", "ada"), ("x-umlaut", "\u{fc}x")];
            let edits = with_asked("PUT", "http://a.example:81/p?q=1", &fields, |asked| {
                resolved(&config.routes[0].request_headers, asked, &|| "now".to_owned()).into_owned()
            });
            let set: Vec<(&str, &str)> = edits.set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(set, expect.map(|value| ("x", value)).into_iter().collect::<Vec<_>>(), "{written}");
            assert_eq!(edits.remove.len(), usize::from(expect.is_none()), "{written}");
        }
        assert!(!crate::os::host_name().is_empty());
    }
}
