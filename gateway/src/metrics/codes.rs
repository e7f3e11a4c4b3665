//! Status codes as they are counted: a bounded number of slots.

use std::borrow::Cow;

use super::Counter;
use crate::grpc::{STATUSES_MAX, Status};

/// Status codes counted by themselves.
const KNOWN: [u16; 48] = [
    200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403,
    404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 425, 429, 431, 451,
    500, 501, 502, 503, 504, 505,
];

/// A slot for each of them, the two of all others, and those of gRPC.
pub(super) const CODE_SLOTS: usize = KNOWN.len() + 2 + STATUSES_MAX;
const GRPC: usize = KNOWN.len() + 2;
const OTHER: usize = KNOWN.len();
const OTHER_5XX: usize = KNOWN.len() + 1;

/// The code that is counted in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    Known(u16),
    /// Any other error of a server, 520 say.
    Other5xx,
    /// Any other code.
    Other,
    /// The outcome of a call that was answered 200.
    Grpc(Status),
}

impl Code {
    /// The code that `status` is counted as.
    pub fn of(status: u16) -> Self {
        Self::at(slot(status))
    }

    /// The code that an answer of `status` is counted as. A successful call counts as its HTTP status, 200.
    pub fn of_answer(status: u16, grpc: Option<Status>) -> Self {
        match grpc {
            Some(grpc) if grpc.number() > 0 => Self::Grpc(grpc),
            Some(_) | None => Self::of(status),
        }
    }

    pub(super) fn at(slot: usize) -> Self {
        match KNOWN.get(slot) {
            Some(code) => Self::Known(*code),
            None if slot >= GRPC => Self::Grpc(Status::of((slot - GRPC) as u8)),
            None if slot == OTHER_5XX => Self::Other5xx,
            None => Self::Other,
        }
    }

    pub(super) fn slot(self) -> usize {
        match self {
            Self::Known(code) => slot(code),
            Self::Other5xx => OTHER_5XX,
            Self::Other => OTHER,
            Self::Grpc(status) => GRPC + usize::from(status.number()),
        }
    }

    /// Its first digit, where it tells.
    pub fn class(self) -> Option<u16> {
        match self {
            Self::Known(code) => Some(code / 100),
            Self::Other5xx => Some(5),
            Self::Other => None,
            Self::Grpc(status) => Some(status.as_http() / 100),
        }
    }

    pub fn text(self) -> Cow<'static, str> {
        match self {
            Self::Known(code) => code.to_string().into(),
            Self::Other5xx => "other_5xx".into(),
            Self::Other => "other".into(),
            Self::Grpc(status) => status.name().into(),
        }
    }
}

const fn slots() -> [u8; 600] {
    let mut slots = [OTHER as u8; 600];
    let mut i = 500;
    while i < slots.len() {
        slots[i] = OTHER_5XX as u8;
        i += 1;
    }
    i = 0;
    while i < KNOWN.len() {
        slots[KNOWN[i] as usize] = i as u8;
        i += 1;
    }
    slots
}

static SLOTS: [u8; 600] = slots();

/// Where `status` is counted.
fn slot(status: u16) -> usize {
    SLOTS.get(usize::from(status)).copied().map_or(OTHER, usize::from)
}

/// Requests by the status code the client got.
#[derive(Debug)]
pub struct Codes([Counter; CODE_SLOTS]);

impl Default for Codes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Codes {
    #[inline]
    pub fn inc(&self, status: u16) {
        if let Some(counter) = self.0.get(slot(status)) {
            counter.inc();
        }
    }

    /// Every code seen, and how often.
    pub fn seen(&self) -> impl Iterator<Item = (Code, u64)> + '_ {
        self.0.iter().enumerate().map(|(i, c)| (Code::at(i), c.get())).filter(|(_, n)| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_without_a_slot_are_counted_together_and_errors_by_themselves() {
        let codes = Codes::default();
        for status in [200, 200, 299, 999, 505, 520, 599] {
            codes.inc(status);
        }
        let seen: Vec<_> =
            codes.seen().map(|(code, n)| (code.text().into_owned(), code.class(), n)).collect();
        let expect =
            [("200", Some(2), 2), ("505", Some(5), 1), ("other", None, 2), ("other_5xx", Some(5), 2)];
        assert_eq!(seen, expect.map(|(code, class, n)| (code.to_owned(), class, n)));
    }
}
