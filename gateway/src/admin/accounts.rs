//! Accounts: this process's evidence on each mirror of each route, in a form that it can judge, keep for the next process and
//! hand to the gateways beside it.

use std::collections::{BTreeMap, HashMap};

use super::epoch::{self, Counted, looked};
use super::outcomes::{self, Pairing};
use crate::compare::{Group, Tally};
use crate::control::{Account, Book, ConfigStore, FORMAT, Looked, Snapshot};

/// The evidence without schemas, which are large and not judged: one account of each mirror on each route that has an epoch.
pub(super) fn accounts(store: &ConfigStore, snapshot: &Snapshot) -> Vec<Account> {
    let all = outcomes::pairings(snapshot, &outcomes::Chosen::default());
    let mut known = looked(store, snapshot, &all);
    known.retain(|of| store.epochs.of(of.route, of.mirror).is_none());
    if !known.is_empty() {
        // Mirrors that no look has seen have no epoch yet: it begins with this one.
        epoch::look(store);
    }
    let tallies = store.findings.tallies();
    let tallies: HashMap<_, _> = tallies.iter().map(|t| ((t.route.as_str(), t.mirror.as_str()), t)).collect();
    let mut groups: BTreeMap<(String, String), Vec<Group>> = BTreeMap::new();
    for judged in store.findings.groups() {
        let place = (judged.group.route.clone(), judged.group.mirror.clone());
        groups.entry(place).or_default().push(judged.group.without_samples());
    }
    let one = |pairing: &Pairing<'_>| {
        let counted = Counted::of(store, pairing);
        let (route, mirror) = (pairing.route, pairing.mirror.name.as_str());
        let counts = counted.all();
        let clients = epoch::clients(snapshot, pairing).map(|of| {
            // Counted since the epoch began, with its first look.
            counted.epoch.as_ref().map_or_else(|| of.clone(), |epoch| epoch.clients(&of))
        });
        Some(Account {
            clients,
            gateways: 1,
            schema: None,
            route: route.to_owned(),
            mirror: mirror.to_owned(),
            epoch: counted.epoch?,
            counted: counts,
            tally: tallies.get(&(route, mirror)).map(|tally| (*tally).clone()),
            groups: groups.remove(&(route.to_owned(), mirror.to_owned())).unwrap_or_default(),
        })
    };
    all.iter().filter_map(one).collect()
}

/// The same as this process hands it on, without schemas.
pub(super) fn book(store: &ConfigStore) -> Book {
    let accounts = accounts(store, &store.open());
    Book { boot: store.boot.clone(), format: FORMAT, is_without_schemas: false, accounts }
}

/// All that is known, to be kept and to be handed on.
pub(crate) fn whole_book(store: &ConfigStore) -> Book {
    let mut book = book(store);
    let mut schemas = store.findings.counted_schemas();
    for account in &mut book.accounts {
        account.schema = schemas.remove(&(account.route.clone(), account.mirror.clone()));
    }
    book
}

/// Takes up the accounts of an earlier process, of mirrors that are still configured and still asked the same; returns how many.
pub(crate) fn restore(store: &ConfigStore, book: Book) -> usize {
    let snapshot = store.open();
    let all = outcomes::pairings(&snapshot, &outcomes::Chosen::default());
    let asked = looked(store, &snapshot, &all);
    let by_name: HashMap<(&str, &str), &Looked<'_>> =
        asked.iter().map(|of| ((of.route, of.mirror), of)).collect();
    let mut restored = 0;
    for account in book.accounts {
        let known = by_name.get(&(account.route.as_str(), account.mirror.as_str()));
        let Some(known) = known.filter(|of| of.question == account.epoch.question) else { continue };
        let (route, mirror) = (known.route.to_owned(), known.mirror.to_owned());
        if let Some(tally) = account.tally {
            // Its own words on whose it is count for nothing.
            let named = |group: Group| Group { route: route.clone(), mirror: mirror.clone(), ..group };
            let groups = account.groups.into_iter().map(named).collect();
            store.findings.restore(Tally { route, mirror, ..tally }, groups);
        }
        if let Some(schema) = account.schema {
            store.findings.restore_schema(known.route, known.mirror, schema);
        }
        let counted = (account.counted, account.clients);
        store.epochs.restore(known.route, known.mirror, account.epoch, counted);
        restored += 1;
    }
    restored
}
