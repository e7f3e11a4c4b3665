//! Evidence as one process hands it to another: a file for the next process, a page for the gateways beside this one. Counts
//! and buckets, never shares or verdicts, so that the evidence of several gateways can be added up.
//!
//! Pure: other rooms write and read it. It is bounded: the largest and least telling parts go first.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

use super::clients::Clients;
use super::epoch::{Counts, Epoch, MARKS_MAX};
use crate::compare::{CountedSchema, GROUPS_OF_ONE_MAX, Group, SAMPLES_MAX, SCHEMA_FIELDS_MAX, Tally};
use crate::metrics::{CELLS_MAX, Slots, TAIL_LEVELS};

/// The evidence on one mirror of one route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    pub route: String,
    pub mirror: String,
    /// Of so many gateways it is the sum.
    #[serde(skip, default = "one")]
    pub gateways: u32,
    pub epoch: Epoch,
    /// Since it began.
    pub counted: Counts,
    /// Where answers are compared.
    pub tally: Option<Tally>,
    pub groups: Vec<Group>,
    /// Where chance leaves some of the requests out: the clients' figures of v1's answers, copied and not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// Where answers are compared, and it is to be told: which fields they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<CountedSchema>,
}

impl Account {
    /// Requests that both sides have ended.
    pub fn pairs(&self) -> u64 {
        self.counted.pairs()
    }

    /// The part of which it has more than any gateway writes: its name, how many there are, and the most there can be. A verdict
    /// looks at each beside each, so that a short text could keep it busy for hours.
    fn excess(&self) -> Option<(&'static str, usize, usize)> {
        let counts = |of: &Counts| {
            let times = |of: &Slots| ("slots of times", of.len(), Slots::LEN_MAX);
            let cells = ("cells of outcomes", of.matrix.len(), CELLS_MAX);
            let tails = ("levels of times", of.tails.len(), TAIL_LEVELS);
            [cells, times(&of.primary_times), times(&of.mirror_times), times(&of.ratios), tails]
        };
        let reasons = self.tally.as_ref().map_or(0, |tally| tally.skipped.len());
        let ids = self.groups.iter().map(|group| group.elsewhere.len()).max().unwrap_or_default();
        let of_all = [
            ("differences", self.groups.len(), GROUPS_OF_ONE_MAX),
            ("requests that show a difference", ids, SAMPLES_MAX),
            ("moments", self.epoch.marks.len(), MARKS_MAX),
            ("reasons", reasons, REASONS_MAX),
        ];
        let marks = self.epoch.marks.iter().flat_map(|mark| counts(&mark.counted));
        let arms = self.clients.iter().flat_map(|of| [&of.copied, &of.spared]);
        let arms = arms.map(|got| ("slots of times", got.times.len(), Slots::LEN_MAX));
        let fields = self.schema.iter().map(|of| ("fields of a schema", of.len(), SCHEMA_FIELDS_MAX));
        let all = of_all.into_iter().chain(counts(&self.counted)).chain(marks).chain(arms).chain(fields);
        all.into_iter().find(|(_, has, most)| has > most)
    }
}

/// All that one gateway knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Book {
    /// The process that wrote it: a unique name.
    pub boot: String,
    /// Version of its accounts: see [`FORMAT`].
    #[serde(default = "first")]
    pub format: u32,
    /// Schemas found no room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_without_schemas: bool,
    pub accounts: Vec<Account>,
}

/// Version of this gateway's accounts. Earlier gateways read later versions and pass over fields that they do not know: 1 had
/// neither responses to clients nor schemas, 2 no number of pairs left out.
pub const FORMAT: u32 = 3;

fn one() -> u32 {
    1
}

fn first() -> u32 {
    1
}

/// Reasons for which answers are not compared: many more than there are.
const REASONS_MAX: usize = 100;

/// Bytes of a message about a malformed text, which it may quote.
const TOLD_MAX: usize = 200;

/// Before everything else in a file, so that another program's file, another version's and a torn one are known.
const MAGIC: &str = "umbra-evidence";
const VERSION: &str = "1";

/// Bytes of a file. A thousand routes with a baseline each, whose times are spread, take so much.
pub const BOOK_BYTES_MAX: usize = 16 << 20;

/// Why a file is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// The file is of another kind.
    Foreign,
    /// Of another version of the gateway.
    Version(String),
    /// The file ends early, or bytes of it were changed.
    Torn,
    Malformed(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is no file of evidence"),
            Self::Version(version) => {
                write!(f, "it is of version {version:?} of the format, and this gateway reads {VERSION}")
            }
            Self::Torn => f.write_str("it is torn: length or checksum is another"),
            Self::Malformed(why) => write!(f, "it is malformed: {why}"),
        }
    }
}

impl Book {
    /// The book as a file has it, in at most so many bytes: first schemas go, then moments, then differences, then the accounts
    /// that tell least. Returns the number of accounts that went.
    pub fn to_file(&self, bytes_max: usize) -> (Vec<u8>, usize) {
        let whole = json(self);
        if whole.len() <= bytes_max {
            return (with_head(&whole), 0);
        }
        let mut book = self.without_schemas();
        let mut text = json(&book);
        if text.len() > bytes_max {
            book.accounts.iter_mut().for_each(|account| account.epoch.marks.clear());
            text = json(&book);
        }
        if text.len() > bytes_max {
            for account in &mut book.accounts {
                account.groups.clear();
                account.tally = None;
            }
            text = json(&book);
        }
        book.accounts.sort_by_key(|account| std::cmp::Reverse(account.pairs()));
        while text.len() > bytes_max && !book.accounts.is_empty() {
            book.accounts.truncate(book.accounts.len() / 2);
            text = json(&book);
        }
        (with_head(&text), self.accounts.len() - book.accounts.len())
    }

    fn without_schemas(&self) -> Self {
        let mut book = Self { is_without_schemas: true, ..self.clone() };
        book.accounts.iter_mut().for_each(|account| account.schema = None);
        book
    }

    /// The book as a page has it: whole, for the gateway that adds it up must know all of it, but for schemas and then moments
    /// where these take too much. `None`: it is more than so many bytes all the same.
    pub fn to_page(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let whole = json(self);
        if whole.len() <= bytes_max {
            return Some(whole);
        }
        let mut book = self.without_schemas();
        let text = json(&book);
        if text.len() <= bytes_max {
            return Some(text);
        }
        book.accounts.iter_mut().for_each(|account| account.epoch.marks.clear());
        Some(json(&book)).filter(|text| text.len() <= bytes_max)
    }

    /// # Errors
    /// Why it cannot be read.
    pub fn of_file(bytes: &[u8]) -> Result<Self, Unreadable> {
        let end = bytes.iter().position(|b| *b == b'\n').ok_or(Unreadable::Foreign)?;
        let (head, text) = (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default());
        let head = std::str::from_utf8(head).map_err(|_| Unreadable::Foreign)?;
        let mut words = head.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(Unreadable::Foreign);
        }
        match words.next() {
            Some(VERSION) => {}
            other => return Err(Unreadable::Version(other.unwrap_or_default().to_owned())),
        }
        if words.next() != Some(&checksum(text)) {
            return Err(Unreadable::Torn);
        }
        Self::of_json(text)
    }

    /// # Errors
    /// Why it cannot be read.
    pub fn of_json(text: &[u8]) -> Result<Self, Unreadable> {
        let malformed = |why: String| Unreadable::Malformed(why.chars().take(TOLD_MAX).collect());
        let book: Self = serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
        match book.accounts.iter().enumerate().find_map(|(at, account)| Some((at, account.excess()?))) {
            None => Ok(book),
            Some((at, (what, has, most))) => {
                Err(malformed(format!("account {at} has {has} {what}, and at most {most} are read")))
            }
        }
    }
}

fn json(book: &Book) -> Vec<u8> {
    // invariant: all keys of its maps are strings, which is all that JSON may refuse.
    serde_json::to_vec(book).unwrap_or_default()
}

fn checksum(text: &[u8]) -> String {
    format!("{}-{:016x}", text.len(), xxh64(text, 0))
}

fn with_head(text: &[u8]) -> Vec<u8> {
    let mut all = format!("{MAGIC} {VERSION} {}\n", checksum(text)).into_bytes();
    all.extend_from_slice(text);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::control::{Epochs, Got, Looked};
    use crate::metrics::{Histogram, Slots};

    fn counts(n: u64) -> Counts {
        let times = Histogram::default();
        (0..n).for_each(|n| times.record(1_000 + 37 * n));
        let times = Slots::of([&times]);
        Counts {
            matrix: [(("200".to_owned(), "500".to_owned()), n)].into(),
            primary_times: times.clone(),
            mirror_times: times.clone(),
            ratios: times,
            tails: (0..3).map(|level| (n >> level, 1)).collect(),
            sent: n,
            unreachable: 1,
            lost: 2,
            suspect: 3,
            less_time: 4,
            end_unread: n,
        }
    }

    fn book(accounts: u64) -> Book {
        let epochs = Epochs::default();
        let one = |n: u64| {
            let route = format!("r{n}");
            let looked = |n| Looked {
                route: &route,
                mirror: "v2",
                endpoints: [BTreeSet::from(["a:1".to_owned()]), BTreeSet::new()],
                versions: [None, Some("2".to_owned())],
                question: "q".to_owned(),
                share: Some(100_000),
                counts: Box::new(move || counts(n)),
                clients: Box::new(move || Some(clients(n))),
            };
            epochs.look(&[looked(0)], SystemTime::UNIX_EPOCH);
            epochs.look(&[looked(n)], SystemTime::UNIX_EPOCH + Duration::from_secs(90));
            let epoch = epochs.of(&route, "v2").unwrap();
            assert_eq!(epoch.marks.len(), 1);
            Account {
                counted: epoch.counted(&counts(2 * n)),
                mirror: "v2".to_owned(),
                tally: Some(Tally { compared: n, ..Tally::default() }),
                groups: Vec::new(),
                gateways: 1,
                clients: Some(epoch.clients(&clients(2 * n))),
                schema: Some(schema(n)),
                epoch,
                route: route.clone(),
            }
        };
        let accounts = (1..=accounts).map(one).collect();
        Book { boot: "b".to_owned(), format: FORMAT, is_without_schemas: false, accounts }
    }

    fn clients(n: u64) -> Clients {
        let got = |n: u64| Got { requests: n, refused: n / 2, failed: n / 3, times: vec![(1_000, n)].into() };
        Clients { share: 100_000, copied: got(n), spared: got(9 * n) }
    }

    fn schema(n: u64) -> CountedSchema {
        let field = |at: u64| {
            format!(r#""$.f{at}":{{"parent":"$","sides":[[0,0,{n},0,0,0,0,0],[0,0,0,0,{n},0,0,0]]}}"#)
        };
        let fields: Vec<String> = (0..n.min(SCHEMA_FIELDS_MAX as u64)).map(field).collect();
        let text = format!(r#"{{"pairs":{n},"looked":{n},"fields":{{{}}},"hidden":0}}"#, fields.join(","));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let book = book(3);
        let (bytes, left_out) = book.to_file(BOOK_BYTES_MAX);
        assert_eq!(left_out, 0);
        let read = Book::of_file(&bytes).unwrap();
        assert_eq!(format!("{:?}", read.accounts[2].counted), format!("{:?}", book.accounts[2].counted));
        assert_eq!(read.accounts[2].epoch.marks[0].counted, book.accounts[2].epoch.marks[0].counted);
        assert_eq!(read.accounts[2].clients, Some(clients(6)));
        assert_eq!(read.accounts[2].schema, Some(schema(3)));
        assert_eq!(read.to_file(BOOK_BYTES_MAX).0, bytes, "and written once more it is the same");
    }

    #[test]
    fn what_is_torn_foreign_or_of_another_version_is_told_and_no_byte_of_it_believed() {
        let (bytes, _) = book(2).to_file(BOOK_BYTES_MAX);
        for end in 0..bytes.len() {
            assert!(Book::of_file(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in (0..bytes.len()).step_by(7) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(Book::of_file(&bytes).is_err(), "changed at {at}");
        }
        let of = |text: &str| Book::of_file(text.as_bytes()).unwrap_err();
        assert_eq!(of("umbra-evidence 2 0-0\n"), Unreadable::Version("2".to_owned()));
        assert_eq!(of("{}\n"), Unreadable::Foreign);
        let malformed = Book::of_file(&with_head(b"{\"boot\":1}")).unwrap_err();
        assert!(malformed.to_string().contains("line 1 column"), "{malformed}");
    }

    #[test]
    fn a_file_of_an_earlier_gateway_is_read_and_an_earlier_one_reads_what_is_written() {
        let counted = r#"{"matrix":[["200","200",40]],"primary_times":[[1000,40]],"mirror_times":[[1000,40]],"sent":40,"unreachable":0,"lost":0,"suspect":0}"#;
        let earlier = format!(
            r#"{{"boot":"b","accounts":[{{"route":"r","mirror":"v2","epoch":{{"began":5,"because":"start","marks":[{{"at":7,"number":1,"counted":{counted}}}],"number":1,"endpoints":[["a:1"],["b:1"]],"versions":[null,"2"],"question":"q"}},"counted":{counted},"tally":{{"route":"r","mirror":"v2","role":"candidate","compared":40,"contents":40,"differing":0,"skipped":{{}},"hidden":0,"beside":{{"pairs":0,"contents":0,"only_mirror":0,"only_baseline":0}},"found":0}},"groups":[]}}]}}"#
        );
        let read = Book::of_file(&with_head(earlier.as_bytes())).unwrap();
        let [account] = &read.accounts[..] else { panic!("one mirror on one route") };
        assert_eq!((read.format, account.pairs(), account.epoch.marks.len()), (1, 40, 1));
        assert_eq!((&account.clients, &account.schema), (&None, &None));
        assert_eq!((account.counted.less_time, account.counted.end_unread), (0, 0));
        assert_eq!(account.tally.as_ref().map(|of| of.contents), Some(40));
        // The earlier gateway looks for these words before the text.
        let (bytes, _) = book(1).to_file(BOOK_BYTES_MAX);
        assert!(bytes.starts_with(b"umbra-evidence 1 "));
    }

    #[test]
    fn where_room_is_short_schemas_go_first_and_it_is_said() {
        let book = book(3);
        let whole = book.to_file(usize::MAX).0.len();
        for bytes in [book.to_file(whole - 60).0, with_head(&book.to_page(whole - 60).unwrap())] {
            let read = Book::of_file(&bytes).unwrap();
            assert!(read.is_without_schemas && read.accounts.iter().all(|of| of.schema.is_none()));
            assert!(read.accounts.iter().all(|of| of.clients.is_some() && of.epoch.marks.len() == 1));
        }
        assert_eq!(book.to_page(100), None);
    }

    #[test]
    fn more_than_any_gateway_writes_is_refused_by_its_name() {
        let with = |change: fn(&mut Account)| {
            let mut book = book(2);
            change(&mut book.accounts[1]);
            Book::of_json(&json(&book)).map(|_| ()).map_err(|why| why.to_string())
        };
        assert_eq!(with(|of| of.groups = (0..GROUPS_OF_ONE_MAX).map(found).collect()), Ok(()));
        let why = with(|of| of.groups = (0..=GROUPS_OF_ONE_MAX).map(found).collect()).unwrap_err();
        assert!(why.contains("account 1 has 201 differences, and at most 200 are read"), "{why}");
        let why = with(|of| {
            let mark = of.epoch.marks[0].clone();
            of.epoch.marks = vec![mark; MARKS_MAX + 1];
        });
        assert!(why.unwrap_err().contains("11 moments"));
        let why = with(|of| {
            let cell = |n: usize| ((n.to_string(), "200".to_owned()), 1);
            of.counted.matrix = (0..=CELLS_MAX).map(cell).collect();
        });
        assert!(why.unwrap_err().contains("cells of outcomes"));
        let why = with(|of| {
            let times: Vec<(u64, u64)> = (0..=Slots::LEN_MAX as u64).map(|value| (value, 1)).collect();
            of.counted.mirror_times = times.into();
        });
        assert!(why.unwrap_err().contains("slots of times"));
        let why = with(|of| {
            let times: Vec<(u64, u64)> = (0..=Slots::LEN_MAX as u64).map(|value| (value, 1)).collect();
            of.clients =
                Some(Clients { spared: Got { times: times.into(), ..Got::default() }, ..clients(1) });
        });
        assert!(why.unwrap_err().contains("slots of times"));
        let why = with(|of| {
            let field = |n: usize| format!(r#""{n}":{{"parent":null,"sides":[[],[]]}}"#);
            let fields: Vec<String> = (0..=SCHEMA_FIELDS_MAX).map(field).collect();
            let sides = "[0,0,0,0,0,0,0,1]";
            let fields = fields.join(",").replace("[]", sides);
            let text = format!(r#"{{"pairs":1,"looked":1,"fields":{{{fields}}},"hidden":0}}"#);
            of.schema = Some(serde_json::from_str(&text).unwrap());
        });
        assert!(why.unwrap_err().contains("fields of a schema"));
    }

    fn found(n: usize) -> Group {
        Group::found("r2", "v2", &format!("$.{n}"), 1, 0)
    }

    #[test]
    fn a_file_keeps_to_its_bytes_and_what_tells_most_stays() {
        let all = book(40);
        let whole = all.to_file(usize::MAX).0.len();
        for most in [whole, whole / 2, whole / 8, 300, 10] {
            let (bytes, left_out) = all.to_file(most);
            let head = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
            assert!(bytes.len() - head <= most.max(70), "{} of {most}", bytes.len());
            let read = Book::of_file(&bytes).unwrap();
            assert_eq!(read.accounts.len() + left_out, 40);
            if let Some(first) = read.accounts.first().filter(|_| left_out > 0) {
                assert_eq!(first.route, "r40");
            }
        }
    }
}
