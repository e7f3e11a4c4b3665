//! The gateways beside this one: what each of them knows, asked for when somebody asks for a verdict. Nothing is replicated and
//! nobody leads; whoever is asked asks the others.
//!
//! `GET /evidence` is what it answers to them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use config::{Config, Endpoint, Host};
use serde::Deserialize;
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::accounts::{accounts, book};
use super::asked::refusal;
use super::state::AdminState;
use crate::ask;
use crate::control::{Account, BOOK_BYTES_MAX, Book, Merged, merge};
use crate::verdict::{Aside, Fleet, Missing};

/// From the name to the last byte.
const PEER_MAX: Duration = Duration::from_secs(2);

/// Asked at once.
const AT_ONCE: usize = 8;

/// Gateways that are asked; of more, the first by their addresses.
const PEERS_MAX: usize = 64;

/// Whose evidence is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// That of all gateways; of this one alone where it knows no other.
    Fleet,
    Own,
}

/// What the others answered.
#[derive(Debug, Default)]
pub(super) struct Answered {
    books: Vec<(String, Book)>,
    missing: Vec<Missing>,
}

impl Answered {
    /// What all know together.
    pub(super) fn merged(self, state: &AdminState) -> (Vec<Account>, Fleet) {
        let own =
            Book { boot: state.store.boot.clone(), accounts: accounts(&state.store, &state.store.open()) };
        let mut books = vec![("this gateway".to_owned(), own)];
        books.extend(self.books);
        let replicas = books.iter().map(|(_, book)| book.boot.as_str()).collect::<BTreeSet<_>>().len();
        let Merged { accounts, apart } = merge(books);
        let one = |((replica, mirror), (why, route))| Aside { replica, mirror, route, why: format!("{why}") };
        let fleet = Fleet { replicas, missing: self.missing, apart: apart.into_iter().map(one).collect() };
        (accounts, fleet)
    }
}

/// Asks the gateways beside this one for what they know; `None` where there is none, or none is to be asked.
pub(super) async fn asked(state: &AdminState, scope: Option<Scope>) -> Option<Answered> {
    let config = state.store.open().config;
    if scope == Some(Scope::Own) || config.judging.peers.is_empty() {
        return None;
    }
    let mut all = Answered::default();
    for (name, told) in
        each(state, &config, |admin| admin.get_within("/evidence", PEER_MAX, BOOK_BYTES_MAX)).await
    {
        let book = told.and_then(|text| Book::of_json(text.as_bytes()).map_err(|why| why.to_string()));
        match book {
            Ok(book) => all.books.push((name, book)),
            Err(why) => all.missing.push(Missing { replica: name, why }),
        }
    }
    Some(all)
}

/// Tells the gateways beside this one that evidence begins anew. Returns who did not hear it.
pub(super) async fn begun(state: &AdminState, mirror: Option<&str>) -> Vec<Missing> {
    let config = state.store.open().config;
    let mirror = mirror.map(|name| {
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        format!("&mirror={name}")
    });
    let path = format!("/verdict/begin?scope=own{}", mirror.unwrap_or_default());
    let told = each(state, &config, move |admin| admin.post_within(&path, "", PEER_MAX)).await;
    told.into_iter().filter_map(|(replica, told)| Some(Missing { replica, why: told.err()? })).collect()
}

type Told = Result<String, String>;

/// Asks each of them, a few at once, by `ask`, which may wait.
async fn each(
    state: &AdminState,
    config: &Config,
    ask: impl Fn(&ask::Admin) -> Told + Clone + Send + 'static,
) -> Vec<(String, Told)> {
    let mut found: BTreeSet<SocketAddr> = BTreeSet::new();
    let mut all: Vec<(String, Told)> = Vec::new();
    for peer in &config.judging.peers {
        match addresses(peer).await {
            Ok(addresses) => found.extend(addresses),
            Err(why) => all.push((peer.to_string(), Err(why))),
        }
    }
    for address in found.iter().skip(PEERS_MAX) {
        all.push((address.to_string(), Err(format!("it was not asked: {PEERS_MAX} were, and no more are"))));
    }
    let turn = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    for address in found.into_iter().take(PEERS_MAX) {
        let (ask, turn) = (ask.clone(), Arc::clone(&turn));
        let admin = state.peer(config, address);
        asking.spawn(async move {
            // It is never closed.
            let _turn = turn.acquire_owned().await;
            let told = tokio::task::spawn_blocking(move || ask(&admin)).await;
            let told = told.unwrap_or_else(|_| Err("asking it failed here: see the log".to_owned()));
            (address.to_string(), told)
        });
    }
    while let Some(one) = asking.join_next().await {
        all.extend(one);
    }
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

async fn addresses(peer: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let name = match &peer.host {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, peer.port)]),
        Host::Name(name) => name,
    };
    match timeout(PEER_MAX, lookup_host((name.as_str(), peer.port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(format!("its name has no address: {error}")),
        Err(_) => Err(format!("its name had no address after {} s", PEER_MAX.as_secs())),
    }
}

impl AdminState {
    /// How another gateway's admin listener is asked: it is configured as this one's is.
    fn peer(&self, config: &Config, address: SocketAddr) -> ask::Admin {
        let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
        ask::Admin {
            url: format!("{scheme}://{address}"),
            token: config.admin.token.clone(),
            ca: config.judging.peers_ca.clone(),
            cert: None,
            key: None,
        }
    }
}

/// `GET /evidence`: all that this gateway knows of its mirrors, for those beside it. It quotes responses.
pub(super) async fn evidence(State(state): State<Arc<AdminState>>, headers: HeaderMap) -> Response {
    if let Some(refusal) = state.refuses(&headers) {
        return refusal;
    }
    let told = tokio::task::spawn_blocking(move || book(&state.store).to_page(BOOK_BYTES_MAX)).await;
    match told {
        Ok(Some(page)) => ([(CONTENT_TYPE, "application/json")], page).into_response(),
        Ok(None) => {
            let why = format!("it would take more than {BOOK_BYTES_MAX} bytes");
            refusal(StatusCode::INSUFFICIENT_STORAGE, why)
        }
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "it could not be put together: see the log"),
    }
}
