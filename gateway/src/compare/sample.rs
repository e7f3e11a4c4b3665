//! A pair of answers kept whole, without secrets, for a person to look at.

use std::time::SystemTime;

use super::again::Again;
use super::coding::{End, plain};
use super::differ;
use super::pair::Pair;
use super::rules::Rules;
use crate::http1::edit::{field_name, lines};
use crate::observe::disclosure::{Disclosed, disclosed};
use crate::observe::record::{Answer, Record};

/// Bytes kept of one side's content in a sample.
const SAMPLE_BYTES_MAX: usize = 16 * 1024;

/// A pair kept whole, without secrets.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When the exchange began, by both clocks.
    exchange: (SystemTime, u64),
    pub request_id: String,
    pub method: String,
    pub target: String,
    pub at: SystemTime,
    pub primary: Shown,
    pub mirror: Shown,
    /// The request itself, where it was kept.
    pub again: Option<Again>,
}

/// An answer as it may be shown.
#[derive(Debug, Clone)]
pub struct Shown {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub content: String,
}

impl Sample {
    pub(super) fn of(rules: &Rules, pair: &Pair<'_>) -> Self {
        let Disclosed { request_id, target, .. } = disclosed(pair.record, rules.secrets.as_deref());
        let shown = |answer: &Answer| {
            let fields = rules.shown_fields(&answer.fields);
            let field = |line: &[u8]| {
                let name = field_name(line);
                let value = line.get(name.len() + 1..).unwrap_or_default().trim_ascii();
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                (text(name), text(value))
            };
            let trailers = rules.shown_fields(&answer.trailers);
            let fields = lines(&fields).chain(lines(&trailers)).map(field).collect();
            let call = differ::text_of_call(rules, &target, answer, SAMPLE_BYTES_MAX);
            let content = call.unwrap_or_else(|| match plain(answer, SAMPLE_BYTES_MAX) {
                Some(plain) => rules.shown_content(&plain.content, plain.end != End::Whole),
                None => format!("({} bytes in a coding that is not read here)", answer.content.len()),
            });
            Shown { status: answer.status, fields, content }
        };
        Self {
            exchange: (pair.record.started, pair.record.started_us),
            request_id: request_id.into_owned(),
            method: pair.record.method.to_string(),
            at: pair.record.started,
            primary: shown(pair.primary),
            mirror: shown(pair.mirror),
            target: target.into_owned(),
            again: Again::of(rules, pair),
        }
    }

    /// Whether it is of this exchange. The request id may be secret, and the same for all.
    pub(super) fn is_of(&self, record: &Record) -> bool {
        self.exchange == (record.started, record.started_us)
    }

    pub(super) fn bytes(&self) -> usize {
        let of = |shown: &Shown| {
            let fields = shown.fields.iter().map(|(n, v)| n.len() + v.len());
            shown.content.len() + fields.sum::<usize>() + size_of_val(shown.fields.as_slice())
        };
        let own = size_of::<Self>() + self.request_id.len() + self.method.len() + self.target.len();
        own + of(&self.primary) + of(&self.mirror) + self.again.as_ref().map_or(0, Again::bytes)
    }
}
