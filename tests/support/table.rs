//! Rows of bytes that a client sends, and the expected effects on every wire.

use crate::stage::{difference, pair};
use crate::{Client, Cut, Request, Stage, show};

/// A check of the requests that the primary and the mirror received, in the same order.
pub type Check = fn(&[Request], &[Request]) -> bool;

/// A row: bytes in, expectations per wire.
pub struct Row {
    pub name: String,
    pub bytes: Vec<u8>,
    /// For each answer that must come, the statuses it may have.
    pub answers: Vec<&'static [u16]>,
    /// Complete requests that the primary and the mirror each must see.
    pub served: usize,
    /// The gateway ends the connection after the last answer.
    pub ends: bool,
    pub to_head: bool,
    pub check: Check,
}

/// Refused: the gateway answers with one of `statuses` and ends the connection; no origin sees a complete request.
pub fn refused(name: &str, bytes: impl AsRef<[u8]>, statuses: &'static [u16]) -> Row {
    mixed(name, bytes, 0, statuses)
}

/// `served` requests are answered 200; the rest is refused with one of `statuses`.
pub fn mixed(name: &str, bytes: impl AsRef<[u8]>, served: usize, statuses: &'static [u16]) -> Row {
    let mut row = serves(name, bytes, served, |_, _| true);
    row.answers.push(statuses);
    row.ends = true;
    row
}

/// `n` requests, each answered 200 and seen alike by the primary and the mirror; the connection goes on.
pub fn serves(name: &str, bytes: impl AsRef<[u8]>, n: usize, check: Check) -> Row {
    Row {
        name: name.into(),
        bytes: bytes.as_ref().to_vec(),
        answers: vec![&[200]; n],
        served: n,
        ends: false,
        to_head: false,
        check,
    }
}

/// A request that is served.
pub fn served(name: &str, bytes: impl AsRef<[u8]>, check: fn(&Request) -> bool) -> ServedRow {
    ServedRow { row: serves(name, bytes, 1, |_, _| true), check }
}

/// A row with one request and a check of it on each wire.
pub struct ServedRow {
    row: Row,
    check: fn(&Request) -> bool,
}

/// A row of either kind.
pub enum Case {
    Any(Row),
    One(ServedRow),
}

impl Case {
    /// The row, and the check of each of its requests.
    pub fn parts(self) -> (Row, fn(&Request) -> bool) {
        match self {
            Self::Any(row) => (row, |_| true),
            Self::One(one) => (one.row, one.check),
        }
    }
}

impl From<Row> for Case {
    fn from(row: Row) -> Self {
        Self::Any(row)
    }
}

impl From<ServedRow> for Case {
    fn from(row: ServedRow) -> Self {
        Self::One(row)
    }
}

impl ServedRow {
    /// The client gave up its connection with this request.
    #[must_use]
    pub fn and_ends(mut self) -> Self {
        self.row.ends = true;
        self
    }

    #[must_use]
    pub fn to_head(mut self) -> Self {
        self.row.to_head = true;
        self
    }
}

/// How a row's bytes reach the gateway.
#[derive(Debug, Clone, Copy)]
enum Way {
    Whole,
    Bytes,
    /// In two, after so many bytes.
    At(usize),
    /// In one segment behind a request that is served.
    Pipelined,
}

/// Where rows are cut in two, beside being sent whole and byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cuts {
    Some,
    /// At every byte; of long ones at as many places as `EVERY_MAX` says.
    Every,
}

/// Cuts of one row.
const EVERY_MAX: usize = 1000;

/// A few places, the same ones in every run: before the last byte, and where the name draws them.
pub fn some_cuts(name: &str, length: usize) -> Vec<usize> {
    const DRAWN: u64 = 4;
    if length < 2 {
        return Vec::new();
    }
    // FNV-1a: other names, other places.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let drawn = (1..=DRAWN).map(|n| 1 + (hash.wrapping_mul(2 * n + 1) >> 20) as usize % (length - 1));
    let mut cuts: Vec<usize> = drawn.chain([length - 1]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

const BEFORE: &[u8] = b"GET /before HTTP/1.1\r\nHost: before\r\n\r\n";
const AFTER: &[u8] = b"GET /after HTTP/1.1\r\nHost: after\r\n\r\n";

/// More than this is not sent byte by byte: it only takes long.
const BYTEWISE_MAX: usize = 12_000;

/// Runs every row in every way, then checks that nothing reached an origin that no row sent there, and the ledger.
#[track_caller]
pub fn run(stage: &Stage, cuts: Cuts, cases: impl IntoIterator<Item = Case>) {
    let mut failures = Vec::new();
    let mut rows = 0;
    for case in cases {
        rows += 1;
        let (row, each) = case.parts();
        let places = match cuts {
            Cuts::Some => some_cuts(&row.name, row.bytes.len()),
            Cuts::Every => (1..row.bytes.len()).step_by(1 + row.bytes.len() / EVERY_MAX).collect(),
        };
        let cut = places.into_iter().map(Way::At);
        for way in [Way::Whole, Way::Bytes, Way::Pipelined].into_iter().chain(cut) {
            if matches!(way, Way::Bytes) && row.bytes.len() > BYTEWISE_MAX {
                continue;
            }
            if let Err(why) = run_one(stage, &row, each, way) {
                failures.push(format!("{} ({way:?}): {why}\n  sent: {}", row.name, show(&row.bytes)));
            }
        }
    }
    assert!(rows > 0, "no row");
    for (name, origin) in [("primary", &stage.primary), ("mirror", &stage.mirror)] {
        if !origin.invalid().is_empty() {
            failures.push(format!("the {name} got what is no request: {:?}", origin.invalid()));
        }
    }
    let metrics = stage.settled();
    let seen = (stage.primary.count(), stage.mirror.count());
    if seen.0 != seen.1 {
        failures.push(format!("the primary saw {} requests and the mirror {}", seen.0, seen.1));
    }
    if metrics.mirror("v2", "completed_total") != seen.1 as i64 {
        failures.push(format!("the ledger knows other copies than the mirror: {}", metrics.text()));
    }
    let n = failures.len();
    assert!(failures.is_empty(), "{n} failures in {rows} rows:\n\n{}\n\n{}", failures.join("\n"), log(stage));
}

fn log(stage: &Stage) -> String {
    let log = stage.gateway.stderr();
    let from = log.len().saturating_sub(2000);
    format!("log: {}", log.get(from..).unwrap_or_default())
}

fn run_one(stage: &Stage, row: &Row, each: fn(&Request) -> bool, way: Way) -> Result<(), String> {
    let (primary_before, mirror_before) = (stage.primary.count(), stage.mirror.count());
    let mut client = stage.client();
    let mut answers = row.answers.clone();
    let mut extra = 0;
    match way {
        Way::Whole => client.send_cut(&row.bytes, Cut::Whole),
        Way::Bytes => client.send_cut(&row.bytes, Cut::Bytes),
        Way::At(at) => client.send_cut(&row.bytes, Cut::At(at)),
        Way::Pipelined => {
            answers.insert(0, &[200]);
            extra += 1;
            client.send([BEFORE, row.bytes.as_slice()].concat())
        }
    };
    for (n, allowed) in answers.iter().enumerate() {
        let to_head = row.to_head && n == answers.len() - 1;
        let last = n == answers.len() - 1;
        let answer = client
            .try_response(to_head)
            .map_err(|why| format!("answer {n}: {why}, received {:?}", show(&client.inbox)))?;
        if !allowed.contains(&answer.status) {
            return Err(format!(
                "answer {n} is {} {:?} instead of {allowed:?}",
                answer.status,
                answer.text()
            ));
        }
        let says_close = answer.field("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        if last && row.ends != says_close {
            return Err(format!("answer {n} has Connection: {:?}", answer.field("connection")));
        }
    }
    if row.ends {
        if !client.is_closed() {
            return Err(format!("the connection goes on: {:?}", show(&client.inbox)));
        }
    } else {
        in_step(&mut client)?;
        extra += 1;
    }
    let want = row.served + extra;
    stage.primary.reaches(primary_before + want);
    stage.mirror.reaches(mirror_before + want);
    let (originals, copies) = (
        stage.primary.requests().split_off(primary_before),
        stage.mirror.requests().split_off(mirror_before),
    );
    let targets =
        |list: &[Request]| list.iter().map(|r| format!("{} {}", r.method, r.target)).collect::<Vec<_>>();
    if originals.len() != want || copies.len() != want {
        let (a, b) = (targets(&originals), targets(&copies));
        return Err(format!("{want} requests expected; primary saw {a:?}, mirror {b:?}"));
    }
    let pairs = pair(&originals, &copies)?;
    for (original, copy) in &pairs {
        if let Some(difference) = difference(original, copy) {
            return Err(difference);
        }
    }
    let is_own = |r: &Request| r.target != "/before" && r.target != "/after";
    let own: Vec<_> = pairs.into_iter().filter(|(o, _)| is_own(o)).collect();
    let (originals, copies): (Vec<_>, Vec<_>) = own.into_iter().unzip();
    if !(row.check)(&originals, &copies) {
        return Err(format!("primary got {originals:#?}"));
    }
    for (wire, requests) in [("primary", &originals), ("mirror", &copies)] {
        if let Some(wrong) = requests.iter().find(|r| !each(r)) {
            return Err(format!("the {wire} got {wrong:#?}"));
        }
    }
    Ok(())
}

/// The connection stands at a message boundary: one more request is answered.
fn in_step(client: &mut Client) -> Result<(), String> {
    let answer = client.send(AFTER).try_response(false).map_err(|why| format!("the next request: {why}"))?;
    match answer.status {
        200 => Ok(()),
        other => Err(format!("the next request on the connection is answered {other} {:?}", answer.text())),
    }
}
