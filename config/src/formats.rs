//! Values with operators: text → a format that can be put together, or a sentence that says why not. Pure.
//!
//! The language is Envoy's, which Istio's manifests are written in: `%OPERATOR%`, `%OPERATOR(argument)%`,
//! `%OPERATOR(argument):LENGTH%`, and `%%` for a percent sign.

use crate::syntax;
use crate::{Format, FormatPart, Operator};

/// The operators, as a message lists them.
const KNOWN: &str = "DOWNSTREAM_REMOTE_ADDRESS, DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT, DOWNSTREAM_REMOTE_PORT, \
                     REQ(name?otherwise):length, PROTOCOL, HOSTNAME and START_TIME";

pub(crate) fn format(text: &str) -> Result<Format, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            plain.push('%');
            rest = after;
            continue;
        }
        let Some((inside, after)) = after.split_once('%') else {
            return Err(format!("{text:?} has an operator without its end; write %% for a percent sign"));
        };
        if !plain.is_empty() {
            parts.push(FormatPart::Text(checked(std::mem::take(&mut plain))?));
        }
        parts.push(FormatPart::Operator(operator(inside)?));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(FormatPart::Text(checked(plain)?));
    }
    Ok(Format { parts })
}

/// The text that `format` always is; `None` where a request has a say in it.
pub(crate) fn constant(format: &Format) -> Option<String> {
    match format.parts.as_slice() {
        [] => Some(String::new()),
        [FormatPart::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

/// Text that may stand in a field; blanks at an edge may be those between two parts.
fn checked(text: String) -> Result<String, String> {
    syntax::field_value(&text).map(|_| text)
}

fn operator(inside: &str) -> Result<Operator, String> {
    let unknown = || {
        Err(format!(
            "%{inside}% is an operator that is not offered (these are: {KNOWN}); write %% for a percent sign"
        ))
    };
    let (name, argument) = match inside.split_once('(') {
        None => (inside, None),
        Some((name, rest)) => match rest.rsplit_once(')') {
            Some((argument, length)) => (name, Some((argument, length))),
            None => return unknown(),
        },
    };
    match (name, argument) {
        ("DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", None) => Ok(Operator::Client),
        (
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
            None,
        ) => Ok(Operator::ClientAddress),
        ("DOWNSTREAM_REMOTE_PORT" | "DOWNSTREAM_DIRECT_REMOTE_PORT", None) => Ok(Operator::ClientPort),
        ("PROTOCOL", None) => Ok(Operator::Protocol),
        ("HOSTNAME", None) => Ok(Operator::HostName),
        ("START_TIME", None) => Ok(Operator::StartTime),
        ("REQ", Some((argument, length))) => {
            let bytes_max = match length.strip_prefix(':') {
                None if length.is_empty() => None,
                Some(digits) => match digits.parse() {
                    Ok(most) => Some(most),
                    Err(_) => return unknown(),
                },
                None => return unknown(),
            };
            let (name, otherwise) = match argument.split_once('?') {
                Some((name, otherwise)) => (name, Some(field(otherwise)?)),
                None => (argument, None),
            };
            Ok(Operator::Request { name: field(name)?, otherwise, bytes_max })
        }
        _ => unknown(),
    }
}

/// The name of a field, or of a pseudo-field of HTTP/2, in lower case.
fn field(name: &str) -> Result<String, String> {
    match name.to_ascii_lowercase().as_str() {
        pseudo @ (":authority" | ":method" | ":path" | ":scheme") => Ok(pseudo.to_owned()),
        name => syntax::field_name(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_read_as_envoy_reads_them_and_others_are_named() {
        let request = |name: &str, otherwise: Option<&str>, bytes_max| {
            FormatPart::Operator(Operator::Request {
                name: name.into(),
                otherwise: otherwise.map(Into::into),
                bytes_max,
            })
        };
        let text = |text: &str| FormatPart::Text(text.into());
        let rows: [(&str, Vec<FormatPart>); 8] = [
            ("", vec![]),
            ("100%%", vec![text("100%")]),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", vec![FormatPart::Operator(Operator::Client)]),
            ("a %PROTOCOL% b", vec![text("a "), FormatPart::Operator(Operator::Protocol), text(" b")]),
            ("%REQ(X-User)%", vec![request("x-user", None, None)]),
            ("%REQ(X-User?:AUTHORITY):5%", vec![request("x-user", Some(":authority"), Some(5))]),
            ("%%%REQ(a)%%%", vec![text("%"), request("a", None, None), text("%")]),
            ("%REQ(:path):0%", vec![request(":path", None, Some(0))]),
        ];
        for (written, parts) in rows {
            assert_eq!(format(written), Ok(Format { parts }), "{written}");
        }
        for written in [
            "%",
            "50% off",
            "%NONSENSE%",
            "%REQ(x",
            "%REQ%",
            "%REQ(a b)%",
            "%REQ(a):x%",
            "%RESP(a)%",
            "%START_TIME(%s)%",
            "%REQ()%",
            "%REQ(a?)%",
            "%REQ(a)b%",
            "%REQ(a):-1%",
            "%REQ(a)%%",
            "%protocol%",
            "%PROTOCOL()%",
            "% %",
            "a\n%%",
        ] {
            assert!(format(written).is_err(), "{written}");
        }
    }
}
