//! Reads messages in protocol buffers' wire format into the trees that JSON is read into. Fields have names where a schema has
//! them, else numbers. Pure.
//!
//! All messages of both sides are read at once: the type of a value without one is guessed for all values in one place, so that
//! two of them are never read in two ways. The cost is bounded by the rest of a budget of nodes, whatever the bytes say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use xxhash_rust::xxh64::xxh64;

use super::descriptors::{Field, Kind, Message, Schema};
use super::json::{Member, NODES_MAX, Node};
use super::wire::{DEPTH_MAX, Raw, Unread, Wire, spend};

/// Fields of messages on both sides that are looked at, each as often as it is: as many as of two JSON texts.
const FIELDS_MAX: usize = 2 * NODES_MAX;

/// Bytes whose look costs as much as one field: each depth of values without a type is read anew.
const BYTES_OF_A_FIELD: usize = 256;

/// Reads each of these messages. `hides`: values without a name may be secret.
pub(super) fn read<'a>(
    schema: Option<(&'a Schema, &'a Message)>,
    messages: &[&'a [u8]],
    hides: bool,
) -> Result<Vec<Node<'a>>, Unread> {
    let mut reader = Reader { schema: schema.map(|(schema, _)| schema), left: FIELDS_MAX, hides };
    reader.messages(schema.map(|(_, of)| of), messages, 0)
}

struct Reader<'a> {
    schema: Option<&'a Schema>,
    left: usize,
    hides: bool,
}

/// With the index of the message in which it stands.
type Placed<'a> = (usize, Raw<'a>);

impl<'a> Reader<'a> {
    fn messages(
        &mut self,
        of: Option<&'a Message>,
        messages: &[&'a [u8]],
        depth: usize,
    ) -> Result<Vec<Node<'a>>, Unread> {
        let mut by_number: BTreeMap<u32, Vec<Placed<'a>>> = BTreeMap::new();
        for (at, message) in messages.iter().enumerate() {
            spend(&mut self.left)?;
            let mut wire = Wire::new(message);
            while !wire.is_over() {
                let (number, raw) = wire.field(&mut self.left)?;
                by_number.entry(number).or_default().push((at, raw));
            }
        }
        let mut objects: Vec<Vec<Member<'a>>> = messages.iter().map(|_| Vec::new()).collect();
        for (number, found) in by_number {
            let field = of.and_then(|of| of.field(number));
            let values = match field {
                Some(field) => self.known(field, &found, depth)?,
                None => {
                    let nodes = self.unnamed(&found, depth)?;
                    let name = || Cow::Owned(number.to_string());
                    found.iter().zip(nodes).map(|((at, _), node)| (*at, (name(), node))).collect()
                }
            };
            for (at, member) in values {
                if let Some(object) = objects.get_mut(at) {
                    object.push(member);
                }
            }
        }
        let sorted = |mut object: Vec<Member<'a>>| {
            // Stable, so that those of one name stay in their order.
            object.sort_by(|(a, _), (b, _)| a.cmp(b));
            Node::Object(object)
        };
        Ok(objects.into_iter().map(sorted).collect())
    }

    /// A field's values, each with the index of its message.
    fn known(
        &mut self,
        field: &'a Field,
        found: &[Placed<'a>],
        depth: usize,
    ) -> Result<Vec<(usize, Member<'a>)>, Unread> {
        let name = || Cow::Borrowed(field.name.as_str());
        let entry = match field.kind {
            Kind::Message(index) => self.schema.and_then(|schema| schema.message(index)),
            _scalar => None,
        };
        if let Some(entry) = entry.filter(|entry| entry.is_entry && field.is_repeated) {
            let maps = self.maps(entry, found, depth)?;
            return Ok(maps.into_iter().map(|(at, members)| (at, (name(), Node::Object(members)))).collect());
        }
        if field.is_repeated {
            let items = self.unpacked(field.kind, found)?;
            let nodes = self.typed(field.kind, &items, depth)?;
            let mut arrays: BTreeMap<usize, Vec<Node<'a>>> = BTreeMap::new();
            for ((at, _), node) in items.iter().zip(nodes) {
                arrays.entry(*at).or_default().push(node);
            }
            return Ok(arrays.into_iter().map(|(at, items)| (at, (name(), Node::Array(items)))).collect());
        }
        // Of a value that stands there twice the last counts.
        let mut last: BTreeMap<usize, Raw<'a>> = BTreeMap::new();
        last.extend(found.iter().copied());
        if field.is_implicit {
            last.retain(|_, raw| !is_default(raw));
        }
        let last: Vec<Placed<'a>> = last.into_iter().collect();
        let nodes = self.typed(field.kind, &last, depth)?;
        Ok(last.iter().zip(nodes).map(|((at, _), node)| (*at, (name(), node))).collect())
    }

    /// Entries of maps by their names, by the index of the message in which they stand.
    fn maps(
        &mut self,
        entry: &'a Message,
        found: &[Placed<'a>],
        depth: usize,
    ) -> Result<BTreeMap<usize, Vec<Member<'a>>>, Unread> {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (at, raw) in found {
            let Raw::Bytes(bytes) = raw else { return Err(Unread::Malformed) };
            let (mut name, mut value) = (None, None);
            let mut wire = Wire::new(bytes);
            while !wire.is_over() {
                match wire.field(&mut self.left)? {
                    (1, raw) => name = Some(raw),
                    (2, raw) => value = Some(raw),
                    (_unknown, _) => {}
                }
            }
            let [first, second] =
                [1, 2].map(|number| entry.field(number).map_or(Raw::Varint(0), |of| default(of.kind)));
            names.push((*at, name.unwrap_or(first)));
            values.push((*at, value.unwrap_or(second)));
        }
        let kind = |number| entry.field(number).map_or(Kind::Bytes, |of| of.kind);
        let names_of = self.typed(kind(1), &names, depth)?;
        let values_of = self.typed(kind(2), &values, depth)?;
        let mut maps: BTreeMap<usize, Vec<Member<'a>>> = BTreeMap::new();
        for (((at, _), name), value) in names.iter().zip(names_of).zip(values_of) {
            maps.entry(*at).or_default().push((name_of(name), value));
        }
        maps.values_mut().for_each(|members| members.sort_by(|(a, _), (b, _)| a.cmp(b)));
        Ok(maps)
    }

    /// A repeated field's values one by one: those of numbers may stand in one.
    fn unpacked(&mut self, kind: Kind, found: &[Placed<'a>]) -> Result<Vec<Placed<'a>>, Unread> {
        let mut items = Vec::new();
        for (at, raw) in found {
            let (Raw::Bytes(bytes), false) =
                (raw, matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_)))
            else {
                items.push((*at, *raw));
                continue;
            };
            let mut wire = Wire::new(bytes);
            while !wire.is_over() {
                spend(&mut self.left)?;
                items.push((
                    *at,
                    match default(kind) {
                        Raw::Fixed64(_) => Raw::Fixed64(wire.fixed64()?),
                        Raw::Fixed32(_) => Raw::Fixed32(wire.fixed32()?),
                        Raw::Varint(_) | Raw::Bytes(_) | Raw::Group(_) => Raw::Varint(wire.varint()?),
                    },
                ));
            }
        }
        Ok(items)
    }

    /// Values of a known type; values that are encoded as another type are guessed.
    fn typed(&mut self, kind: Kind, found: &[Placed<'a>], depth: usize) -> Result<Vec<Node<'a>>, Unread> {
        let schema = self.schema;
        if let Kind::Message(index) = kind
            && depth < DEPTH_MAX
        {
            let bytes: Option<Vec<&'a [u8]>> = found
                .iter()
                .map(|(_, raw)| match raw {
                    Raw::Bytes(bytes) | Raw::Group(bytes) => Some(*bytes),
                    Raw::Varint(_) | Raw::Fixed64(_) | Raw::Fixed32(_) => None,
                })
                .collect();
            if let Some(bytes) = bytes {
                return self.messages(schema.and_then(|schema| schema.message(index)), &bytes, depth + 1);
            }
        }
        let nodes = found.iter().map(|(_, raw)| match scalar(schema, kind, *raw)? {
            // Bytes may be a message of another type (`google.protobuf.Any`), whose fields are not known.
            Node::Bytes(_) if self.hides => Some(Node::Hidden(hash(raw))),
            node => Some(node),
        });
        let nodes: Option<Vec<Node<'a>>> = nodes.collect();
        match nodes {
            Some(nodes) => Ok(nodes),
            None => self.unnamed(found, depth),
        }
    }

    fn unnamed(&mut self, found: &[Placed<'a>], depth: usize) -> Result<Vec<Node<'a>>, Unread> {
        if self.hides {
            return Ok(found.iter().map(|(_, raw)| Node::Hidden(hash(raw))).collect());
        }
        self.guessed(found, depth)
    }

    /// Values of no known type, all of which are taken for the same.
    fn guessed(&mut self, found: &[Placed<'a>], depth: usize) -> Result<Vec<Node<'a>>, Unread> {
        let bytes: Vec<&'a [u8]> = found
            .iter()
            .filter_map(|(_, raw)| match raw {
                Raw::Bytes(bytes) => Some(*bytes),
                Raw::Varint(_) | Raw::Fixed64(_) | Raw::Fixed32(_) | Raw::Group(_) => None,
            })
            .collect();
        let groups: Vec<&'a [u8]> = found
            .iter()
            .filter_map(|(_, raw)| match raw {
                Raw::Group(bytes) => Some(*bytes),
                Raw::Varint(_) | Raw::Fixed64(_) | Raw::Fixed32(_) | Raw::Bytes(_) => None,
            })
            .collect();
        let mut bytes = self.guessed_bytes(&bytes, depth)?.into_iter();
        let mut groups =
            if depth < DEPTH_MAX { self.messages(None, &groups, depth + 1)? } else { Vec::new() }.into_iter();
        let are_floats = found.iter().all(|(_, raw)| match raw {
            Raw::Fixed64(bits) => is_likely(f64::from_bits(*bits)),
            Raw::Fixed32(bits) => is_likely(f32::from_bits(*bits).into()),
            Raw::Varint(_) | Raw::Bytes(_) | Raw::Group(_) => true,
        });
        let node = |(_, raw): &Placed<'a>| match raw {
            Raw::Varint(n) => number(*n),
            Raw::Fixed64(bits) if are_floats => float(f64::from_bits(*bits)),
            Raw::Fixed32(bits) if are_floats => float(f32::from_bits(*bits)),
            Raw::Fixed64(bits) => number(*bits),
            Raw::Fixed32(bits) => number(*bits),
            Raw::Bytes(of) => bytes.next().unwrap_or(Node::Bytes(of)),
            Raw::Group(of) => groups.next().unwrap_or(Node::Bytes(of)),
        };
        Ok(found.iter().map(node).collect())
    }

    /// Texts, or messages, or else bytes: of both kinds are few values only, which are texts.
    fn guessed_bytes(&mut self, all: &[&'a [u8]], depth: usize) -> Result<Vec<Node<'a>>, Unread> {
        let looked_at = all.iter().map(|bytes| bytes.len()).sum::<usize>() / BYTES_OF_A_FIELD;
        self.left = self.left.checked_sub(looked_at).ok_or(Unread::TooComplex)?;
        let texts = |is: fn(&&'a str) -> bool| -> Option<Vec<Node<'a>>> {
            let text = |bytes: &&'a [u8]| std::str::from_utf8(bytes).ok().filter(is);
            all.iter().map(|bytes| Some(Node::String(text(bytes)?.into()))).collect()
        };
        if let Some(texts) = texts(|text| is_plain(text)) {
            return Ok(texts);
        }
        if depth < DEPTH_MAX && self.are_messages(all)? {
            return self.messages(None, all, depth + 1);
        }
        Ok(texts(|_| true).unwrap_or_else(|| all.iter().map(|bytes| Node::Bytes(bytes)).collect()))
    }

    fn are_messages(&mut self, all: &[&[u8]]) -> Result<bool, Unread> {
        for bytes in all {
            let mut wire = Wire::new(bytes);
            while !wire.is_over() {
                match wire.field(&mut self.left) {
                    Ok(_) => {}
                    Err(Unread::Malformed) => return Ok(false),
                    Err(Unread::TooComplex) => return Err(Unread::TooComplex),
                }
            }
        }
        Ok(true)
    }
}

/// Whether a value may be text. Tags of most messages, and lengths of short parts, are control characters; a message's first
/// field begins with a line feed.
fn is_plain(text: &str) -> bool {
    !text.starts_with('\n') && text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r'))
}

/// Whether bits are likely a number: few other values look like it.
fn is_likely(value: f64) -> bool {
    value == 0.0 || (1e-9..1e15).contains(&value.abs())
}

fn is_default(raw: &Raw<'_>) -> bool {
    match raw {
        Raw::Varint(n) | Raw::Fixed64(n) => *n == 0,
        Raw::Fixed32(n) => *n == 0,
        Raw::Bytes(bytes) => bytes.is_empty(),
        Raw::Group(_) => false,
    }
}

/// The value that an absent field has, as it is encoded.
fn default(kind: Kind) -> Raw<'static> {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::SFixed64 => Raw::Fixed64(0),
        Kind::Float | Kind::Fixed32 | Kind::SFixed32 => Raw::Fixed32(0),
        Kind::Int | Kind::Uint | Kind::ZigZag | Kind::Bool | Kind::Enum(_) => Raw::Varint(0),
        Kind::String | Kind::Bytes | Kind::Message(_) => Raw::Bytes(b""),
    }
}

fn hash(raw: &Raw<'_>) -> u64 {
    match raw {
        Raw::Varint(n) | Raw::Fixed64(n) => xxh64(&n.to_le_bytes(), 0),
        Raw::Fixed32(n) => xxh64(&n.to_le_bytes(), 1),
        Raw::Bytes(bytes) | Raw::Group(bytes) => xxh64(bytes, 2),
    }
}

fn number<'a>(n: impl ToString) -> Node<'a> {
    Node::Number(n.to_string().into())
}

fn float<'a>(value: impl ToString + Into<f64> + Copy) -> Node<'a> {
    // A value that is no number in JSON is a word there too.
    if value.into().is_finite() { number(value) } else { Node::String(value.to_string().into()) }
}

/// `None` where it is encoded as no value of that type is.
fn scalar<'a>(schema: Option<&'a Schema>, kind: Kind, raw: Raw<'a>) -> Option<Node<'a>> {
    Some(match (kind, raw) {
        (Kind::Double, Raw::Fixed64(bits)) => float(f64::from_bits(bits)),
        (Kind::Float, Raw::Fixed32(bits)) => float(f32::from_bits(bits)),
        (Kind::Int, Raw::Varint(n)) => number(n.cast_signed()),
        (Kind::Uint, Raw::Varint(n)) | (Kind::Fixed64, Raw::Fixed64(n)) => number(n),
        (Kind::ZigZag, Raw::Varint(n)) => number((n >> 1).cast_signed() ^ -(n & 1).cast_signed()),
        (Kind::Fixed32, Raw::Fixed32(n)) => number(n),
        (Kind::SFixed32, Raw::Fixed32(n)) => number(n.cast_signed()),
        (Kind::SFixed64, Raw::Fixed64(n)) => number(n.cast_signed()),
        (Kind::Bool, Raw::Varint(n)) => Node::Bool(n != 0),
        // An enum has 32 bits, whatever is sent.
        (Kind::Enum(of), Raw::Varint(n)) => match schema.and_then(|schema| schema.value(of, n as i32)) {
            Some(name) => Node::String(name.into()),
            None => number(n as i32),
        },
        (Kind::String, Raw::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Node::String(text.into()),
            Err(_) => Node::Bytes(bytes),
        },
        (Kind::Bytes | Kind::Message(_), Raw::Bytes(bytes) | Raw::Group(bytes)) => Node::Bytes(bytes),
        (_other, _) => return None,
    })
}

fn name_of(node: Node<'_>) -> Cow<'_, str> {
    match node {
        Node::String(text) | Node::Number(text) => text,
        Node::Bool(is) => if is { "true" } else { "false" }.into(),
        Node::Bytes(bytes) => String::from_utf8_lossy(bytes),
        Node::Null | Node::Hidden(_) | Node::Array(_) | Node::Object(_) => "".into(),
    }
}

#[cfg(test)]
pub(super) mod tests;
