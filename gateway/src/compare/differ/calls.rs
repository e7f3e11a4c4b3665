//! Compares the responses to gRPC calls: their statuses, and their messages, field by field. Pure.

use xxhash_rust::xxh64::xxh64;

use super::super::coding::plain;
use super::super::json::{self, Node};
use super::super::messages::{Framing, Untaken, take};
use super::super::protobuf;
use super::super::rules::{Path, Rules};
use super::super::wire::Unread;
use super::fields::{Fields, fields, media_type};
use super::shown::{self, NAME_BYTES_MAX, bounded, short};
use super::{Found, Kind};
use crate::grpc::Status;
use crate::mirror::redact::REDACTED;
use crate::observe::record::Answer;

/// How both sides are framed, where both are calls' responses.
pub(super) fn framings(ours: &str, theirs: &str) -> Option<[Framing; 2]> {
    Some([Framing::of(ours)?, Framing::of(theirs)?])
}

/// `pkg.Service/Method`: the last two segments of a request's path, whatever comes before.
fn method_of(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or_default();
    let service = path.rfind('/').and_then(|end| path.get(..end)?.rfind('/'));
    service.and_then(|at| path.get(at + 1..)).unwrap_or_else(|| path.trim_start_matches('/'))
}

/// The status with which a call ended.
#[derive(Default)]
struct Ended {
    status: Option<Status>,
    message: Option<String>,
    /// Its end was not kept.
    is_unknown: bool,
}

impl Ended {
    /// Of a response with these fields, to which its trailers are added.
    fn of(answer: &Answer, fields_of: &mut Fields, rules: &Rules) -> Self {
        let Some(framing) = Framing::of(&media_type(fields_of)) else { return Self::default() };
        let mut trailers = fields(&answer.trailers);
        if framing.is_web {
            let content = plain(answer, rules.decoded_bytes_max);
            let bytes = content.as_ref().and_then(|plain| framing.bytes(&plain.content));
            let taken = bytes.as_ref().and_then(|bytes| {
                // Trailers stand behind the messages, and are found only past them.
                take(bytes, coding(fields_of), rules.decoded_bytes_max).ok()
            });
            trailers.extend(taken.map(|taken| fields(&taken.trailers)).unwrap_or_default());
        }
        let is_unknown = answer.is_cut && trailers.is_empty() && !fields_of.contains_key("grpc-status");
        for (name, values) in trailers {
            fields_of.entry(name).or_default().extend(values);
        }
        let mut text = |name: &str| fields_of.remove(name).map(|values| values.join(", "));
        let status = text("grpc-status").map(|value| Status::read(value.as_bytes()));
        Self { status, message: text("grpc-message"), is_unknown }
    }
}

impl Found<'_> {
    /// Compares the statuses of both, where either is a call's response; whether the rest is not to be compared.
    pub(super) fn call(
        &mut self,
        (primary, ours): (&Answer, &mut Fields),
        (mirror, theirs): (&Answer, &mut Fields),
    ) -> bool {
        if [&*ours, &*theirs].iter().all(|fields| Framing::of(&media_type(fields)).is_none()) {
            return false;
        }
        let method = bounded(method_of(&self.context.path), NAME_BYTES_MAX).into_owned();
        let of = |name: &str| format!("{method} {name}");
        let (status, message) = (of("grpc-status"), of("grpc-message"));
        self.method = Some(method);
        let (a, b) = (Ended::of(primary, ours, self.rules), Ended::of(mirror, theirs, self.rules));
        if a.is_unknown || b.is_unknown {
            return false;
        }
        if a.status != b.status {
            let is_ok = |of: Option<Status>| of.is_some_and(|status| status.number() == 0);
            if self.rules.compares_field("grpc-status") {
                let shown =
                    |of: Option<Status>| of.map(|of| of.name().trim_start_matches("grpc_").to_uppercase());
                self.add(status, Kind::Status, shown(a.status), shown(b.status));
            }
            // As with HTTP's: an error instead of an answer is one difference.
            return is_ok(a.status) != is_ok(b.status);
        }
        let plain = |of: &Option<String>| of.as_ref().map(|text| self.plain(text).into_owned());
        if plain(&a.message) != plain(&b.message) && self.rules.compares_field("grpc-message") {
            if let (Some(a), Some(b)) = (&a.message, &b.message) {
                self.looks(a, b);
            }
            let hides = self.rules.secrets.as_ref().is_some_and(|of| of.hides_field(b"grpc-message"));
            let shown =
                |of: Option<String>| of.map(|of| if hides { REDACTED.to_owned() } else { short(&of) });
            self.add(message, Kind::Header, shown(a.message), shown(b.message));
        }
        false
    }

    /// Compares messages; why they were not, where they were not.
    pub(super) fn messages(
        &mut self,
        (primary, ours): (&[u8], &Fields),
        (mirror, theirs): (&[u8], &Fields),
        framings: [Framing; 2],
    ) -> Option<&'static str> {
        let bytes_max = self.rules.decoded_bytes_max;
        let [(a, ours), (b, theirs)] = [(primary, ours, framings[0]), (mirror, theirs, framings[1])]
            .map(|(content, fields, framing)| (framing.bytes(content), coding(fields)));
        let (Some(a), Some(b)) = (&a, &b) else {
            return if a.is_none() && b.is_none() {
                Some("broken")
            } else {
                self.broken(a.is_some(), b.is_some())
            };
        };
        let (a, b) = match (take(a, ours, bytes_max), take(b, theirs, bytes_max)) {
            (Ok(a), Ok(b)) => (a.messages, b.messages),
            (Err(Untaken::Coded), _) | (_, Err(Untaken::Coded)) => return Some("coded"),
            (Err(Untaken::TooLong), _) | (_, Err(Untaken::TooLong)) => return Some("too_long"),
            (Err(Untaken::Broken), Err(Untaken::Broken)) => return Some("broken"),
            (a @ (Ok(_) | Err(Untaken::Broken)), b) => {
                return self.broken(a.is_ok(), b.is_ok());
            }
        };
        let all: Vec<&[u8]> = a.iter().chain(&b).map(AsRef::as_ref).collect();
        let nodes = match self.nodes(&all, framings) {
            Ok(nodes) => nodes,
            Err(Unread::TooComplex | Unread::Malformed) => return Some("too_complex"),
        };
        let (ours, theirs): (Vec<_>, Vec<_>) = nodes.iter().enumerate().partition(|(at, _)| *at < a.len());
        let of = |side: Vec<(usize, _)>| side.into_iter().map(|(_, node)| node).collect::<Vec<&Node<'_>>>();
        self.repeated(&mut Vec::new(), &of(ours), &of(theirs), "messages");
        None
    }

    /// Adds the difference that one side's content is not messages.
    fn broken(&mut self, is_ours: bool, is_theirs: bool) -> Option<&'static str> {
        let shown = |is: bool| Some(if is { "messages" } else { "no messages" }.to_owned());
        self.body(shown(is_ours), shown(is_theirs));
        None
    }

    /// Each message as a tree; as bytes, where one of them is none.
    fn nodes<'n>(&mut self, all: &[&'n [u8]], framings: [Framing; 2]) -> Result<Vec<Node<'n>>, Unread>
    where
        Self: 'n,
    {
        if framings.iter().all(|framing| framing.is_json) {
            return Ok(as_json(all).unwrap_or_else(|| opaque(all, self.rules.hides_content())));
        }
        let (nodes, is_named) = read(self.rules, self.method.as_deref().unwrap_or_default(), all)?;
        self.folds_names = is_named;
        Ok(nodes)
    }
}

/// The coding of compressed messages.
fn coding(fields: &Fields) -> &str {
    fields.get("grpc-encoding").and_then(|values| values.first()).map_or("", |value| value.trim())
}

fn as_json<'n>(all: &[&'n [u8]]) -> Option<Vec<Node<'n>>> {
    all.iter().map(|message| json::read(message).ok()).collect()
}

fn opaque<'n>(all: &[&'n [u8]], hides: bool) -> Vec<Node<'n>> {
    all.iter().map(|bytes| if hides { Node::Hidden(xxh64(bytes, 0)) } else { Node::Bytes(bytes) }).collect()
}

/// Replies of a method, and whether their fields have names.
fn read<'n>(rules: &'n Rules, method: &str, all: &[&'n [u8]]) -> Result<(Vec<Node<'n>>, bool), Unread> {
    let hides = rules.hides_content();
    let schema = rules.schema.as_deref().and_then(|schema| Some((schema, schema.reply(method)?)));
    match protobuf::read(schema, all, hides) {
        Ok(nodes) => Ok((nodes, schema.is_some())),
        Err(Unread::Malformed) => Ok((opaque(all, hides), false)),
        Err(Unread::TooComplex) => Err(Unread::TooComplex),
    }
}

/// The messages of a call's response as they may be shown, one a line; `None` where it is no call's. Content that cannot be
/// read is not shown: it may contain trailers.
pub(in super::super) fn text_of_call(
    rules: &Rules,
    path: &str,
    answer: &Answer,
    bytes_max: usize,
) -> Option<String> {
    let fields = fields(&answer.fields);
    let framing = Framing::of(&media_type(&fields))?;
    let text = text_of_messages(rules, (path, framing, coding(&fields)), answer, bytes_max);
    Some(text.unwrap_or_else(|| format!("({} bytes of a call that are not read here)", answer.content.len())))
}

fn text_of_messages(
    rules: &Rules,
    (path, framing, coding): (&str, Framing, &str),
    answer: &Answer,
    bytes_max: usize,
) -> Option<String> {
    let plain = plain(answer, rules.decoded_bytes_max)?;
    let bytes = framing.bytes(&plain.content)?;
    let taken = take(&bytes, coding, rules.decoded_bytes_max).ok()?;
    let all: Vec<&[u8]> = taken.messages.iter().map(AsRef::as_ref).collect();
    let nodes = match framing.is_json {
        true => as_json(&all)?,
        false => read(rules, method_of(path), &all).ok()?.0,
    };
    let mut text = String::new();
    for node in &nodes {
        write(&mut text, &mut Vec::new(), node, (rules, bytes_max));
        if text.len() > bytes_max {
            break;
        }
        text.push('\n');
    }
    text.truncate(text.floor_char_boundary(bytes_max));
    Some(rules.shown_text(&text).into_owned())
}

/// `node` in JSON's signs, without its secrets, as far as there is room.
fn write<'n>(text: &mut String, path: &mut Path<'n>, node: &'n Node<'_>, terms: (&Rules, usize)) {
    let (rules, bytes_max) = terms;
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    if text.len() > bytes_max {
        return;
    }
    if rules.secret_at(path, true).is_some() {
        return text.push_str(&quoted(REDACTED));
    }
    match node {
        Node::Null => text.push_str("null"),
        Node::Bool(is) => text.push_str(if *is { "true" } else { "false" }),
        Node::Number(number) => text.push_str(number),
        Node::String(of) => {
            text.push_str(&quoted(of.get(..of.floor_char_boundary(bytes_max)).unwrap_or_default()));
        }
        Node::Bytes(bytes) => text.push_str(&quoted(&shown::bytes(bytes))),
        Node::Hidden(_) => text.push_str(&quoted(REDACTED)),
        Node::Array(items) => {
            text.push('[');
            path.push(None);
            for (n, item) in items.iter().enumerate() {
                if text.len() > bytes_max {
                    break;
                }
                text.push_str(if n > 0 { ", " } else { "" });
                write(text, path, item, terms);
            }
            path.pop();
            text.push(']');
        }
        Node::Object(members) => {
            text.push('{');
            for (n, (name, of)) in members.iter().enumerate() {
                if text.len() > bytes_max {
                    break;
                }
                text.push_str(if n > 0 { ", " } else { "" });
                text.push_str(&quoted(name));
                text.push_str(": ");
                path.push(Some(name));
                write(text, path, of, terms);
                path.pop();
            }
            text.push('}');
        }
    }
}

#[cfg(test)]
mod tests;
