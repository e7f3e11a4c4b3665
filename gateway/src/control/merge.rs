//! Merges the accounts of several gateways on the same mirrors: counts and buckets are added up. An account that answers another
//! question, or is of another epoch, stays apart and is named. This room reads no clock: the moment is handed in. Nor does it
//! believe any number: those of others may be as large as numbers can be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::account::{Account, Book};
use super::clients::Clients;
use super::epoch::{Cause, Counts, Mark};
use crate::compare::{Beside, CountedSchema, Group, Tally, Unasked};

/// Gateways learn of a new version, and are told to begin anew, within so long of each other; so far may their clocks be apart.
const APART_MAX: Duration = Duration::from_secs(30);

/// Ids of requests kept of one difference.
const IDS_MAX: usize = 5;

/// Why a gateway's evidence on a mirror on a route is not added to the others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Apart {
    /// The gateway has no such mirror on that route.
    Unknown,
    /// The gateway compares by other rules, or copies other requests.
    Rules,
    /// The gateway sees another version of v1 or of the mirror.
    Version,
    /// Its epoch began before the others began anew.
    Epoch,
    /// Its epoch begins in the future.
    Clock,
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "serves another configuration, without this mirror",
            Self::Rules => {
                "serves another configuration: it compares by other rules, or copies other requests"
            }
            Self::Version => "sees another version",
            Self::Epoch => "has evidence from before the others began anew",
            Self::Clock => "has evidence from later than it is: its clock, or this one's, is wrong",
        })
    }
}

/// The part that one gateway's account of a mirror on a route lacks; the rest of it is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Silent {
    /// Responses to clients, and schemas: an earlier version knows of neither.
    Earlier,
    /// How many pairs are evidence of neither side: an earlier version does not tell.
    LeftOut,
    /// Schemas: it has more than a page takes.
    Full,
    /// Responses to clients: it draws another share of the requests.
    Share,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => {
                "is of an earlier version: it tells neither what clients got whose requests were copied, and \
                 whose were not, nor which fields responses have"
            }
            Self::LeftOut => "is of an earlier version: it does not tell how many pairs it left out",
            Self::Full => "knows more than it may tell at once: it leaves out which fields responses have",
            Self::Share => {
                "copies another share of the requests: what clients got of it is another trial, and not added"
            }
        })
    }
}

/// The evidence that is added up, and the evidence that is not.
#[derive(Debug, Default)]
pub struct Merged {
    pub accounts: Vec<Account>,
    /// By gateway and mirror: why, and the first of the routes.
    pub apart: BTreeMap<(String, String), (Apart, String)>,
    /// The same for evidence that is added up but in part.
    pub in_part: BTreeMap<(String, String), (Silent, String)>,
}

/// By route and mirror.
type ByName<'a> = HashMap<(&'a str, &'a str), &'a Account>;

/// Each with its gateway's name.
type Named<'a, T> = Vec<(&'a str, T)>;

/// The accounts of these gateways, each by its name, on the mirrors of the first one. A process that was asked twice counts once.
pub fn merge<'a>(books: impl IntoIterator<Item = (&'a str, &'a Book)>, now: SystemTime) -> Merged {
    let mut boots = BTreeSet::new();
    let books: Vec<(&str, &Book)> =
        books.into_iter().filter(|(_, book)| boots.insert(book.boot.as_str())).collect();
    let Some((_, own)) = books.first() else { return Merged::default() };
    let keys: Vec<(String, String)> =
        own.accounts.iter().map(|of| (of.route.clone(), of.mirror.clone())).collect();
    let mut all: Vec<(&str, ByName<'_>)> = Vec::new();
    let by_name: HashMap<&str, &Book> = books.iter().copied().collect();
    for (name, book) in &books {
        let by_key = book.accounts.iter().map(|of| ((of.route.as_str(), of.mirror.as_str()), of)).collect();
        all.push((name, by_key));
    }
    let mut merged = Merged::default();
    for (route, mirror) in keys {
        let of: Vec<(&str, Option<&Account>)> = all
            .iter()
            .map(|(name, accounts)| (*name, accounts.get(&(route.as_str(), mirror.as_str())).copied()))
            .collect();
        let (same, apart) = sorted(&of, now);
        for (name, why) in apart {
            merged.apart.entry((name.to_owned(), mirror.clone())).or_insert_with(|| (why, route.clone()));
        }
        let own = same.first().map(|(_, of)| *of);
        for (name, account) in same.iter().skip(1) {
            let why = by_name.get(name).zip(own).and_then(|(book, own)| silent(book, own, account));
            let key = (*name, &mirror);
            if let Some(why) = why {
                merged
                    .in_part
                    .entry((key.0.to_owned(), key.1.clone()))
                    .or_insert_with(|| (why, route.clone()));
            }
        }
        let same: Vec<&Account> = same.into_iter().map(|(_, of)| of).collect();
        merged.accounts.extend(together(&same));
    }
    merged
}

/// The part that `other`, of this book, lacks and `own` has.
fn silent(book: &Book, own: &Account, other: &Account) -> Option<Silent> {
    let share = |of: &Account| of.clients.as_ref().map(|of| of.share);
    if book.format < FIRST_OF_CLIENTS && (own.clients.is_some() || own.schema.is_some()) {
        return Some(Silent::Earlier);
    }
    if book.format < FIRST_OF_LEFT_OUT && own.counted.left_out() > 0 {
        return Some(Silent::LeftOut);
    }
    if own.clients.is_some() && share(own) != share(other) {
        return Some(Silent::Share);
    }
    (own.schema.is_some() && book.is_without_schemas).then_some(Silent::Full)
}

/// The first format of a book with clients' figures and schemas.
const FIRST_OF_CLIENTS: u32 = 2;

/// The first that has how many pairs were left out.
const FIRST_OF_LEFT_OUT: u32 = 3;

/// Accounts that can be added up, and the others.
fn sorted<'a>(
    all: &[(&'a str, Option<&'a Account>)],
    now: SystemTime,
) -> (Named<'a, &'a Account>, Named<'a, Apart>) {
    let mut known = Vec::new();
    let mut apart = Vec::new();
    let asked = all.iter().find_map(|(_, account)| account.map(|of| of.epoch.question.clone()));
    for (name, account) in all {
        match account {
            None => apart.push((*name, Apart::Unknown)),
            Some(account) if Some(&account.epoch.question) != asked.as_ref() => {
                apart.push((*name, Apart::Rules));
            }
            // An epoch in the future would set all others apart until then.
            Some(account) if account.epoch.began > now + APART_MAX => apart.push((*name, Apart::Clock)),
            Some(account) => known.push((*name, *account)),
        }
    }
    // The epoch that began anew last is the one that counts.
    let anew = known.iter().filter(|(_, of)| of.epoch.because != Cause::Start);
    let latest = anew.max_by_key(|(_, of)| of.epoch.began).or_else(|| known.first()).map(|(_, of)| *of);
    let Some(latest) = latest else { return (Vec::new(), apart) };
    let is_anew = latest.epoch.because != Cause::Start;
    let mut same = Vec::new();
    for (name, account) in known {
        if is_of_another_version(account, latest) {
            apart.push((name, Apart::Version));
        } else if is_anew && account.epoch.began + APART_MAX < latest.epoch.began {
            apart.push((name, Apart::Epoch));
        } else {
            same.push((name, account));
        }
    }
    (same, apart)
}

fn is_of_another_version(one: &Account, other: &Account) -> bool {
    let (one, other) = (&one.epoch, &other.epoch);
    let differ =
        |(a, b): (&Option<String>, &Option<String>)| a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b);
    let are_others =
        |(a, b): (&BTreeSet<String>, &BTreeSet<String>)| !a.is_empty() && !b.is_empty() && a.is_disjoint(b);
    one.versions.iter().zip(&other.versions).any(differ)
        || one.endpoints.iter().zip(&other.endpoints).any(are_others)
}

/// The sum. Moments are those of the first; of each other one the moment nearest to it.
fn together(all: &[&Account]) -> Option<Account> {
    let [first, rest @ ..] = all else { return None };
    if rest.is_empty() {
        return Some((*first).clone());
    }
    let mut epoch = first.epoch.clone();
    let replicas = u32::try_from(all.len()).unwrap_or(u32::MAX);
    epoch.marks = first.epoch.marks.iter().map(|mark| at_moment(all, mark, replicas)).collect();
    for of in rest {
        if of.epoch.began < epoch.began {
            epoch.began = of.epoch.began;
        }
        if epoch.because == Cause::Start {
            epoch.because = of.epoch.because;
        }
        for (known, other) in epoch.versions.iter_mut().zip(&of.epoch.versions) {
            if known.is_none() {
                known.clone_from(other);
            }
        }
    }
    let counted = rest.iter().fold(first.counted.clone(), |sum, of| sum.plus(&of.counted));
    let tallies: Vec<&Tally> = all.iter().filter_map(|of| of.tally.as_ref()).collect();
    Some(Account {
        route: first.route.clone(),
        mirror: first.mirror.clone(),
        gateways: replicas,
        epoch,
        counted,
        tally: tallies
            .split_first()
            .map(|(first, rest)| rest.iter().fold((*first).clone(), |sum, of| plus(sum, of))),
        groups: groups(all),
        clients: clients(first, rest),
        schema: schema(first, rest),
    })
}

/// Responses to the clients of all gateways that draw the same share as the first.
fn clients(first: &Account, rest: &[&Account]) -> Option<Clients> {
    let own = first.clients.clone()?;
    Some(rest.iter().filter_map(|of| of.clients.as_ref()).fold(own, |sum, of| sum.plus(of)))
}

/// The schema of the responses that all saw; none where the first has none.
fn schema(first: &Account, rest: &[&Account]) -> Option<CountedSchema> {
    let own = first.schema.clone()?;
    Some(rest.iter().filter_map(|of| of.schema.as_ref()).fold(own, CountedSchema::plus))
}

/// The sum of all at a moment. Any of the gateways may be asked, each with moments of its own: their tests share the chance
/// that one gateway's would have.
fn at_moment(all: &[&Account], mark: &Mark, replicas: u32) -> Mark {
    let apart = |at: SystemTime| at.duration_since(mark.at).unwrap_or_else(|error| error.duration());
    let nothing = Arc::<Counts>::default();
    let counted = |of: &&Account| {
        let nearest = of.epoch.marks.iter().min_by_key(|other| apart(other.at));
        // All counts of an epoch that began after the moment are later than it.
        let nearest = nearest.filter(|_| of.epoch.began < mark.at);
        nearest.map_or_else(|| Arc::clone(&nothing), |other| Arc::clone(&other.counted))
    };
    let sum = all.iter().map(counted).fold(Counts::default(), |sum, of| sum.plus(&of));
    Mark { at: mark.at, number: mark.number.saturating_mul(replicas), counted: Arc::new(sum) }
}

fn plus(sum: Tally, of: &Tally) -> Tally {
    let mut skipped = sum.skipped.clone();
    for (why, n) in &of.skipped {
        add(skipped.entry(why.clone()).or_default(), *n);
    }
    Tally {
        compared: sum.compared.saturating_add(of.compared),
        contents: sum.contents.saturating_add(of.contents),
        differing: sum.differing.saturating_add(of.differing),
        skipped,
        hidden: sum.hidden.saturating_add(of.hidden),
        beside: Beside {
            pairs: sum.beside.pairs.saturating_add(of.beside.pairs),
            contents: sum.beside.contents.saturating_add(of.beside.contents),
            only_mirror: sum.beside.only_mirror.saturating_add(of.beside.only_mirror),
            only_baseline: sum.beside.only_baseline.saturating_add(of.beside.only_baseline),
        },
        unasked: Unasked {
            pairs: sum.unasked.pairs.saturating_add(of.unasked.pairs),
            contents: sum.unasked.contents.saturating_add(of.unasked.contents),
            differing: sum.unasked.differing.saturating_add(of.unasked.differing),
        },
        ..sum
    }
}

fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

/// Differences of one kind in one place are one. Each gateway found it by a response of its own, which does not count against it;
/// and in whichever order several found theirs, no two places have one rank.
fn groups(all: &[&Account]) -> Vec<Group> {
    let mut found: BTreeMap<(String, &'static str), Group> = BTreeMap::new();
    // How many accounts have the group, and the sum of their hidden counts.
    let mut known: BTreeMap<(String, &'static str), (usize, u128)> = BTreeMap::new();
    let replicas = all.len() as u64;
    let hidden = |of: &Account| of.tally.as_ref().map_or(0, |tally| u128::from(tally.hidden));
    for (at, account) in all.iter().enumerate() {
        for group in &account.groups {
            let key = (group.field.clone(), group.kind.text());
            let rank = group.rank.saturating_mul(replicas).saturating_add(at as u64);
            let by = known.entry(key.clone()).or_default();
            *by = (by.0 + 1, by.1 + hidden(account));
            let Some(sum) = found.get_mut(&key) else {
                found.insert(key, Group { rank, ..group.clone().without_samples() });
                continue;
            };
            if group.count > sum.count {
                sum.example.clone_from(&group.example);
            }
            sum.rank = sum.rank.min(rank);
            // The answer by which each further gateway found it is left out here; the first one's is left out where evidence is
            // judged.
            add(&mut sum.count, group.count.saturating_sub(u64::from(group.began.0 > 0)));
            add(&mut sum.only_mirror, group.only_mirror.saturating_sub(u64::from(group.began.1 > 0)));
            add(&mut sum.only_baseline, group.only_baseline);
            add(&mut sum.missed, group.missed);
            add(&mut sum.alike, group.alike);
            add(&mut sum.turns.0, group.turns.0);
            add(&mut sum.turns.1, group.turns.1);
            add(&mut sum.began.0, group.began.0);
            add(&mut sum.began.1, group.began.1);
            let own = &group.alone;
            add(&mut sum.alone.count, own.count.saturating_sub(u64::from(group.began.0 > 0)));
            add(&mut sum.alone.alike, own.alike);
            add(&mut sum.alone.turns.0, own.turns.0);
            add(&mut sum.alone.turns.1, own.turns.1);
            sum.first_seen = sum.first_seen.min(group.first_seen);
            sum.last_seen = sum.last_seen.max(group.last_seen);
            sum.elsewhere.extend(group.request_ids());
            sum.elsewhere.truncate(IDS_MAX);
        }
    }
    // Where a table was full, the group may have been seen there as often as hidden groups were.
    let hidden: u128 = all.iter().map(|of| hidden(of)).sum();
    for (key, group) in &mut found {
        let (has, elsewhere) = known.get(key).copied().unwrap_or_default();
        if has < all.len() {
            let here = hidden.saturating_sub(elsewhere);
            add(&mut group.missed, u64::try_from(here).unwrap_or(u64::MAX));
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Epochs, FORMAT, Got, Looked};

    struct Replica {
        question: &'static str,
        version: Option<&'static str>,
        began: u64,
        is_begun_by_hand: bool,
        pairs: u64,
        field: Option<(&'static str, u64, u64)>,
    }

    const PLAIN: Replica =
        Replica { question: "q", version: None, began: 0, is_begun_by_hand: false, pairs: 100, field: None };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn book(boot: &str, of: &Replica) -> (String, Book) {
        let epochs = Epochs::default();
        let counts =
            |n| Counts { matrix: [(("200".into(), "200".into()), n)].into(), sent: n, ..Counts::default() };
        let looked = |n| Looked {
            route: "r",
            mirror: "v2",
            endpoints: Default::default(),
            versions: [None, of.version.map(str::to_owned)],
            question: of.question.to_owned(),
            share: None,
            counts: Box::new(move || counts(n)),
            clients: Box::new(|| None),
        };
        if of.is_begun_by_hand {
            epochs.begin(&[looked(0)], None, at(of.began));
        } else {
            epochs.look(&[looked(0)], at(of.began));
        }
        epochs.look(&[looked(of.pairs / 2)], at(of.began + 60));
        let epoch = epochs.of("r", "v2").unwrap();
        let one = |(field, count, rank): (&str, u64, u64)| Group::found("r", "v2", field, count, rank);
        let account = Account {
            route: "r".to_owned(),
            mirror: "v2".to_owned(),
            counted: epoch.counted(&counts(of.pairs)),
            tally: Some(Tally { compared: of.pairs, contents: of.pairs, ..Tally::default() }),
            groups: of.field.map(one).into_iter().collect(),
            epoch,
            gateways: 1,
            clients: None,
            schema: None,
        };
        (boot.to_owned(), book_of(boot, vec![account]))
    }

    fn book_of(boot: &str, accounts: Vec<Account>) -> Book {
        Book { boot: boot.to_owned(), format: FORMAT, accounts, ..Book::default() }
    }

    fn merge(books: Vec<(String, Book)>) -> Merged {
        super::merge(books.iter().map(|(name, book)| (name.as_str(), book)), at(10_000))
    }

    #[test]
    fn numbers_as_large_as_can_be_are_added_up_to_such_a_number() {
        let mut liar = book("2", &Replica { field: Some(("$.a", u64::MAX, u64::MAX)), ..PLAIN });
        let account = &mut liar.1.accounts[0];
        let most =
            Beside { pairs: u64::MAX, contents: u64::MAX, only_mirror: u64::MAX, only_baseline: u64::MAX };
        account.tally = Some(Tally {
            compared: u64::MAX,
            contents: u64::MAX,
            differing: u64::MAX,
            hidden: u64::MAX,
            beside: most,
            skipped: [("busy".into(), u64::MAX)].into(),
            ..Tally::default()
        });
        let group = &mut account.groups[0];
        (group.missed, group.alike, group.only_mirror) = (u64::MAX, u64::MAX, u64::MAX);
        (group.only_baseline, group.turns, group.began) =
            (u64::MAX, (u64::MAX, u64::MAX), (u64::MAX, u64::MAX));
        account.counted.sent = u64::MAX;
        let other = (liar.0.clone(), Book { boot: "3".to_owned(), ..liar.1.clone() });
        let honest = Replica { field: Some(("$.b", 4, 0)), ..PLAIN };
        let merged = merge(vec![book("1", &honest), liar, other]);
        let [account] = &merged.accounts[..] else { panic!("one mirror on one route") };
        let tally = account.tally.as_ref().unwrap();
        assert_eq!((tally.contents, tally.beside, account.counted.sent), (u64::MAX, most, u64::MAX));
        let told: Vec<_> = account.groups.iter().map(|of| (of.field.as_str(), of.count, of.missed)).collect();
        assert_eq!(told, [("$.a", u64::MAX, u64::MAX), ("$.b", 4, u64::MAX)]);
    }

    #[test]
    fn a_place_that_some_do_not_know_may_be_hidden_with_those_alone() {
        let of = |name, field, hidden| {
            let mut one = book(name, &Replica { field: Some((field, 3, 0)), ..PLAIN });
            one.1.accounts[0].tally = Some(Tally { hidden, ..Tally::default() });
            one
        };
        let merged = merge(vec![of("1", "$.a", 1), of("2", "$.a", 10), of("3", "$.b", 100)]);
        let told: Vec<_> =
            merged.accounts[0].groups.iter().map(|of| (of.field.as_str(), of.missed)).collect();
        assert_eq!(told, [("$.a", 100), ("$.b", 11)]);
    }

    #[test]
    fn whose_clock_is_ahead_is_apart_itself_and_sets_nobody_else_apart() {
        let ahead = Replica { began: 20_000, is_begun_by_hand: true, pairs: 7, ..PLAIN };
        let merged = merge(vec![book("1", &PLAIN), book("2", &ahead), book("3", &PLAIN)]);
        assert_eq!(merged.accounts[0].pairs(), 200);
        let apart: Vec<_> = merged.apart.iter().map(|((name, _), (why, _))| (name.as_str(), *why)).collect();
        assert_eq!(apart, [("2", Apart::Clock)]);
    }

    #[test]
    fn counts_and_fields_of_all_are_added_up_and_who_is_asked_twice_counts_once() {
        let one = Replica { field: Some(("$.a", 10, 0)), ..PLAIN };
        let other = Replica { field: Some(("$.b", 4, 0)), ..PLAIN };
        let third = Replica { field: Some(("$.a", 5, 3)), began: 5, ..PLAIN };
        let books = vec![book("1", &one), book("2", &other), book("3", &third), book("2", &other)];
        let merged = merge(books);
        assert!(merged.apart.is_empty());
        let [account] = &merged.accounts[..] else { panic!("one mirror on one route") };
        assert_eq!((account.pairs(), account.epoch.began), (300, at(0)));
        assert_eq!(account.tally.as_ref().map(|tally| tally.contents), Some(300));
        let told: Vec<_> = account.groups.iter().map(|of| (of.field.as_str(), of.count, of.rank)).collect();
        // Of the third the response that it was found by does not count.
        assert_eq!(told, [("$.a", 14, 0), ("$.b", 4, 1)]);
        assert_eq!(account.epoch.marks[0].counted.pairs(), 150);
        assert_eq!(account.epoch.marks[0].number, 3);
    }

    #[test]
    fn what_clients_got_and_fields_are_added_up_and_who_does_not_tell_is_named_and_counted_for_the_rest() {
        let schema = |n: u64| {
            let text = format!(
                r#"{{"pairs":{n},"looked":{n},"fields":{{"$":{{"parent":null,"sides":[[0,0,{n},0,0,0,0,0],[0,0,{n},0,0,0,0,0]]}}}},"hidden":0}}"#
            );
            serde_json::from_str::<CountedSchema>(&text).unwrap()
        };
        let got = |n: u64| Got { requests: n, refused: 1, failed: 2, times: vec![(1_000, n)].into() };
        let with = |name: &str, share: u32, n: u64| {
            let mut one = book(name, &PLAIN);
            one.1.accounts[0].clients = Some(Clients { share, copied: got(n), spared: got(9 * n) });
            one.1.accounts[0].schema = Some(schema(n));
            one
        };
        let mut earlier = book("old", &PLAIN);
        earlier.1.format = 1;
        let mut full = with("full", 10, 5);
        (full.1.is_without_schemas, full.1.accounts[0].schema) = (true, None);
        let merged =
            merge(vec![with("own", 10, 3), with("alike", 10, 4), with("more", 20, 7), earlier, full]);
        assert!(merged.apart.is_empty());
        let [account] = &merged.accounts[..] else { panic!("one mirror on one route") };
        assert_eq!(account.pairs(), 500, "of all");
        let clients = account.clients.as_ref().unwrap();
        assert_eq!((clients.share, clients.copied.requests, clients.spared.failed), (10, 12, 6));
        assert_eq!(clients.spared.times.count(), 108);
        assert_eq!(account.schema, Some(schema(14)));
        let named: Vec<_> =
            merged.in_part.iter().map(|((name, _), (why, _))| (name.as_str(), *why)).collect();
        assert_eq!(named, [("full", Silent::Full), ("more", Silent::Share), ("old", Silent::Earlier)]);
        // Where nothing of it is known here, nothing is missed.
        let mut earlier = book("old", &PLAIN);
        earlier.1.format = 1;
        assert!(merge(vec![book("own", &PLAIN), earlier]).in_part.is_empty());
    }

    #[test]
    fn pairs_that_were_left_out_are_added_up_and_who_does_not_tell_is_named_where_there_are_any() {
        let with = |name: &str, unread: u64| {
            let mut one = book(name, &PLAIN);
            one.1.accounts[0].counted.end_unread = unread;
            one.1.accounts[0].counted.less_time = 1;
            one
        };
        let mut earlier = book("old", &PLAIN);
        earlier.1.format = 2;
        let merged = merge(vec![with("own", 4), with("other", 5), earlier.clone()]);
        let counted = &merged.accounts[0].counted;
        assert_eq!((counted.pairs(), counted.end_unread, counted.less_time), (300, 9, 2));
        let named: Vec<_> =
            merged.in_part.iter().map(|((name, _), (why, _))| (name.as_str(), *why)).collect();
        assert_eq!(named, [("old", Silent::LeftOut)]);
        assert!(merge(vec![book("own", &PLAIN), earlier]).in_part.is_empty());
    }

    #[test]
    fn what_answers_another_question_or_is_of_another_epoch_is_named_and_not_added() {
        let rows = [
            (Replica { question: "p", ..PLAIN }, Some(Apart::Rules)),
            (Replica { version: Some("3"), ..PLAIN }, Some(Apart::Version)),
            (Replica { version: Some("2"), ..PLAIN }, None),
            // A process that started later, or earlier, is of the same epoch.
            (Replica { began: 5_000, ..PLAIN }, None),
        ];
        for (row, why) in rows {
            let merged = merge(vec![book("1", &Replica { version: Some("2"), ..PLAIN }), book("2", &row)]);
            let apart = merged.apart.get(&("2".to_owned(), "v2".to_owned())).map(|(why, _)| *why);
            assert_eq!(apart, why);
            assert_eq!(merged.accounts[0].pairs(), if why.is_some() { 100 } else { 200 });
        }
        let anew = Replica { began: 600, is_begun_by_hand: true, pairs: 7, ..PLAIN };
        for order in [[&PLAIN, &anew], [&anew, &PLAIN]] {
            let merged = merge(vec![book("1", order[0]), book("2", order[1])]);
            assert_eq!(merged.accounts[0].pairs(), 7, "what came before does not count");
            assert_eq!(merged.apart.values().map(|(why, _)| *why).collect::<Vec<_>>(), [Apart::Epoch]);
        }
        let (name, _) = book("2", &PLAIN);
        let merged = merge(vec![book("1", &PLAIN), (name, book_of("2", Vec::new()))]);
        assert_eq!(merged.apart.values().map(|(why, _)| *why).collect::<Vec<_>>(), [Apart::Unknown]);
    }
}
