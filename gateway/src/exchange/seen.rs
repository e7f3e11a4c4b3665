//! Observes an exchange while it runs: the primary's response, and the record's contents.
//!
//! The observer decides nothing about the exchange.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use super::Caller;
use crate::address::Address;
use crate::asked::{RequestView, Version};
use crate::context::Context;
use crate::generation::{Generation, Wants};
use crate::grpc::{Status, StatusReader};
use crate::http1::glimpse::Glimpse;
use crate::http1::render;
use crate::observe::disclosure::{Said, Saying};
use crate::observe::keep::{Keeping, keep, keep_trailers};
use crate::observe::pairing::{Half, Pairing, PrimaryHalf};
use crate::observe::record::{PrimaryLeg, Record};
use crate::upstream::pool::Lease;

/// A write that takes longer waited for its reader.
const WRITE_OF_OURS_US: u64 = 1_000;

/// How a try that reached the primary ended: with this status, of HTTP and of a call, or without any.
pub(super) type Tried = Option<(u16, Option<Status>)>;

/// Observes one response of the primary.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) status: Cell<Option<u16>>,
    /// A call's own status, as far as it has come.
    call: RefCell<StatusReader>,
    /// Bytes of its content.
    pub(super) bytes: Cell<u64>,
    /// From the request forwarded to the last byte that mattered, in microseconds.
    pub(super) latency_us: Cell<u64>,
    /// Of it, how long the client kept us from reading on.
    client_us: Cell<u64>,
    /// How much of it is to be kept to be compared; 0 for none.
    keeps_bytes: usize,
    keeping: RefCell<Option<Box<Keeping>>>,
}

impl Seen {
    pub(super) fn new(keeps_bytes: usize) -> Self {
        Self { keeps_bytes, ..Self::default() }
    }

    /// Notes that the final head came, `latency_us` after the request was forwarded. `call`: the state of a call's status by
    /// that head.
    pub(super) fn head(
        &self,
        cx: &Context,
        (status, head): (u16, &[u8]),
        latency_us: u64,
        call: StatusReader,
    ) {
        *self.call.borrow_mut() = call;
        self.status.set(Some(status));
        self.latency_us.set(latency_us);
        if self.keeps_bytes > 0 {
            *self.keeping.borrow_mut() = Keeping::begin(&cx.tap.budget, status, head, self.keeps_bytes);
        }
    }

    pub(super) fn trailers(&self, lines: &[u8]) {
        self.call.borrow_mut().trailers(lines);
        if self.keeps_bytes > 0 {
            keep_trailers(&mut self.keeping.borrow_mut(), lines);
        }
    }

    /// A call's own status, now that its response is over.
    pub(super) fn grpc(&self) -> Option<Status> {
        self.call.borrow().end()
    }

    /// A write to the client took so long, and only then was more of the answer read.
    pub(super) fn wrote(&self, took_us: u64) {
        if took_us > WRITE_OF_OURS_US {
            self.client_us.set(self.client_us.get() + took_us);
        }
    }

    pub(super) fn content(&self, piece: &[u8]) {
        self.bytes.set(self.bytes.get() + piece.len() as u64);
        self.call.borrow_mut().content(piece);
        if self.keeps_bytes > 0 {
            keep(&mut self.keeping.borrow_mut(), piece);
        }
    }
}

/// The outcome of an exchange's attempts at the primary.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) attempts: u32,
    /// The last one that was asked.
    pub(super) endpoint: Option<Address>,
    /// Of the last attempt.
    pub(super) seen: Seen,
    /// Its answer was read to the end.
    pub(super) is_whole: bool,
    /// The client went away, or sent no whole request: the answer was not waited for.
    pub(super) is_abandoned: bool,
    /// How the first try that reached the primary ended, where the route granted another.
    first: Option<Tried>,
    /// The connection, where it has become a tunnel.
    pub(super) switched: Option<Lease>,
}

impl Tally {
    /// Notes an attempt that another one follows.
    pub(super) fn retried(&mut self, tried: Tried) {
        self.first.get_or_insert(tried);
    }

    /// Tells the pairing that the primary's part is over. A copy has one try, so it is paired with the primary's first.
    pub(super) fn tell(self, pairing: &Pairing, primary: usize) {
        let Self { attempts, endpoint, seen, is_whole, is_abandoned, first, switched: _ } = self;
        let (status, latency_us, response_bytes) =
            (seen.status.get(), seen.latency_us.get(), seen.bytes.get());
        // Of which more than a twentieth is the client's, that is not the primary's.
        let is_sure = seen.client_us.get() <= latency_us / 20;
        let grpc = seen.grpc();
        let answered = |status, grpc, is_sure| {
            PrimaryHalf::Answered(Half { status, grpc, latency_us, bytes: response_bytes, is_sure })
        };
        let half = match (first, status) {
            (None | Some(_), Some(_) | None) if is_abandoned => PrimaryHalf::Abandoned,
            (Some(Some((first, grpc))), Some(_) | None) => answered(first, grpc, false),
            (None, Some(status)) if is_whole => answered(status, grpc, is_sure),
            (None | Some(None), Some(_) | None) => PrimaryHalf::Failed,
        };
        let is_first = is_whole && first.is_none();
        let kept = seen.keeping.into_inner().filter(|_| is_first).map(|keeping| keeping.end());
        let leg = || PrimaryLeg {
            primary,
            endpoint,
            attempts,
            is_retried: first.is_some(),
            status,
            is_whole,
            latency_us,
            response_bytes,
            answer: None,
        };
        pairing.primary_over(half, leg, kept);
    }
}

/// A pairing that becomes a record of this request.
pub(super) fn recorded(
    cx: &Context,
    generation: &Generation,
    asked: &RequestView<'_>,
    version: Version,
    request_id: &[u8],
    wants: &Wants,
) -> Rc<Pairing> {
    let field = |name: &str| asked.header(name).unwrap_or_default();
    let (user_agent, referer) = (field("user-agent"), field("referer"));
    let target = match asked.query {
        Some(query) => Cow::Owned([asked.path, b"?", query].concat()),
        None => Cow::Borrowed(asked.path),
    };
    let mut given = None;
    if generation.config.request_id == config::Claim::Keep {
        // Of several the one that is sent on.
        asked.each_line("x-request-id", &mut |id| {
            given = render::is_id(id).then(|| id.to_vec());
            given.is_none()
        });
    }
    let record = Record {
        config: std::sync::Arc::clone(&generation.own_config),
        route: None,
        started: SystemTime::now(),
        started_us: cx.now_us(),
        forwarded_us: None,
        said: Said::from(Saying {
            request_id: &String::from_utf8_lossy(given.as_deref().unwrap_or(request_id)),
            client: &String::from_utf8_lossy(asked.address),
            authority: &String::from_utf8_lossy(asked.authority),
            target: &String::from_utf8_lossy(&target),
            user_agent: &String::from_utf8_lossy(&user_agent),
            referer: &String::from_utf8_lossy(&referer),
        }),
        trace: wants.trace.unwrap_or_default(),
        is_logged: wants.is_logged,
        method: String::from_utf8_lossy(asked.method).into(),
        scheme: asked.scheme,
        version,
        status: None,
        reject: None,
        is_aborted: false,
        request_bytes: 0,
        response_bytes: 0,
        duration_us: 0,
        primary: None,
        copies: Vec::new(),
    };
    Rc::new(Pairing::recorded(record, &cx.tap))
}

/// A pairing that becomes a record of a request whose head was refused: `head`, as far as it came.
pub fn unread(cx: &Context, from: &Caller<'_>, head: &[u8]) -> Option<Rc<Pairing>> {
    let generation = cx.generation();
    let Glimpse { method, authority, path, query, minor, fields } =
        Glimpse::of(head, generation.config.limits.request_line_bytes_max);
    let asked = RequestView {
        method,
        scheme: from.scheme,
        authority,
        path,
        query,
        port: from.port,
        address: from.address,
        address_port: from.address_port,
        version: from.version(minor),
        certificate: &[],
        fields: &fields,
    };
    let wants = generation.wants(&cx.random, &asked, None);
    wants.a_record().then(|| recorded(cx, &generation, &asked, asked.version, &cx.request_id(), &wants))
}
