//! The gateways beside this one: each is asked for its evidence when a client asks for a verdict. Nothing is replicated and
//! there is no leader; the gateway that is asked asks the others.
//!
//! `GET /evidence` is the page by which it answers them.
//!
//! Any client may ask for a verdict, and each question takes memory and a thread: the others are asked once at a time, clients
//! that wait get the same answers, and these are good for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
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

use super::accounts::whole_book;
use super::asked::refusal;
use super::heard::Answered;
use super::state::AdminState;
use crate::ask;
use crate::control::{BOOK_BYTES_MAX, Book};
use crate::verdict::Missing;

/// From the name to the last byte.
const PEER_MAX: Duration = Duration::from_secs(2);

/// Asked at once: each may hold [`BOOK_BYTES_MAX`].
const AT_ONCE: usize = 4;

/// Bytes of all answers together; a gateway whose answer would exceed them is missing.
const ALL_BYTES_MAX: usize = 64 << 20;

/// Characters told of why a gateway is missing, which may be its own answer.
const WHY_MAX: usize = 300;

/// Gateways that are asked; of more, the first by their addresses.
const PEERS_MAX: usize = 64;

/// The gateways whose evidence is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// All gateways; this one alone where it knows no other.
    Fleet,
    /// This gateway alone.
    Own,
}

/// Asks the gateways beside this one for their evidence; `None` where there are none, or none are to be asked.
pub(super) async fn asked(state: &Arc<AdminState>, scope: Option<Scope>) -> Option<Arc<Answered>> {
    let config = state.store.open().config;
    if scope == Some(Scope::Own) || config.judging.peers.is_empty() {
        return None;
    }
    let ask = ask_all(Arc::clone(state), Arc::clone(&config));
    Some(state.judging.heard.or(&config, ask).await)
}

async fn ask_all(state: Arc<AdminState>, config: Arc<Config>) -> Answered {
    let mut all = Answered::default();
    let reading = Arc::new(Reading::of(&config));
    for (name, told) in each(&state, &config, move |admin| reading.ask(admin)).await {
        match told {
            Ok(book) => all.books.push((name, book)),
            Err(why) => all.missing.push(missing(name, &why)),
        }
    }
    all
}

fn missing(replica: String, why: &str) -> Missing {
    Missing { replica, why: why.chars().take(WHY_MAX).collect() }
}

/// How the others' answers are read: one at a time, without mirrors that this gateway does not judge.
#[derive(Debug)]
struct Reading {
    /// Mirrors of each route.
    known: BTreeMap<String, BTreeSet<String>>,
    /// Bytes that may still come.
    room: AtomicUsize,
    turn: std::sync::Mutex<()>,
}

impl Reading {
    fn of(config: &Config) -> Self {
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for route in &config.routes {
            let mirrors = known.entry(route.name.clone()).or_default();
            mirrors.extend(route.mirrors.iter().map(|mirror| mirror.name.clone()));
        }
        Self { known, room: AtomicUsize::new(ALL_BYTES_MAX), turn: std::sync::Mutex::default() }
    }

    fn ask(&self, admin: &ask::Admin) -> Result<Book, String> {
        self.read(&admin.get_within("/evidence", PEER_MAX, BOOK_BYTES_MAX)?)
    }

    fn read(&self, text: &str) -> Result<Book, String> {
        let taken = self.room.fetch_update(Relaxed, Relaxed, |room| room.checked_sub(text.len()));
        taken.map_err(|_| format!("all answers together take more than {ALL_BYTES_MAX} bytes"))?;
        // A parsed book takes several times the memory of its text, until accounts of no mirror here are dropped.
        let _turn = self.turn.lock();
        let mut book = Book::of_json(text.as_bytes()).map_err(|why| why.to_string())?;
        book.accounts.retain(|of| self.known.get(&of.route).is_some_and(|all| all.contains(&of.mirror)));
        book.accounts.shrink_to_fit();
        Ok(book)
    }
}

/// Tells the gateways beside this one that evidence begins anew. Returns those that could not be told.
pub(super) async fn begun(state: &AdminState, mirror: Option<&str>) -> Vec<Missing> {
    let config = state.store.open().config;
    let mirror = mirror.map(|name| {
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        format!("&mirror={name}")
    });
    let path = format!("/verdict/begin?scope=own{}", mirror.unwrap_or_default());
    let told = each(state, &config, move |admin| admin.post_within(&path, "", PEER_MAX)).await;
    told.into_iter().filter_map(|(replica, told)| Some(missing(replica, &told.err()?))).collect()
}

/// Asks each of them, a few at once, by `ask`, which may wait.
async fn each<T: Send + 'static>(
    state: &AdminState,
    config: &Config,
    ask: impl Fn(&ask::Admin) -> Result<T, String> + Clone + Send + 'static,
) -> Vec<(String, Result<T, String>)> {
    let mut found: BTreeSet<SocketAddr> = BTreeSet::new();
    let mut all: Vec<(String, Result<T, String>)> = Vec::new();
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
            // The semaphore is never closed.
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
        Host::Unix(_) => return Err("it is a socket of this machine".to_owned()),
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
    let told = tokio::task::spawn_blocking(move || whole_book(&state.store).to_page(BOOK_BYTES_MAX)).await;
    match told {
        Ok(Some(page)) => ([(CONTENT_TYPE, "application/json")], page).into_response(),
        Ok(None) => {
            let why = format!("it would take more than {BOOK_BYTES_MAX} bytes");
            refusal(StatusCode::INSUFFICIENT_STORAGE, why)
        }
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "it could not be put together: see the log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::budget::tests::config;

    #[test]
    fn what_all_answer_keeps_to_its_bytes() {
        let reading = Reading { room: AtomicUsize::new(50), ..Reading::of(&config()) };
        let text = r#"{"boot":"1","accounts":[]}"#;
        assert_eq!(reading.read(text).unwrap().boot, "1");
        assert!(reading.read(text).unwrap_err().contains("all answers together"));
        let wide = " ".repeat(10);
        assert!(reading.read(&wide).unwrap_err().contains("malformed"), "there is room for this");
    }
}
