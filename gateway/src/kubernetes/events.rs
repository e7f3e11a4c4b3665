//! The outcomes of objects as Events on them, where `kubectl describe` shows them. The status of Istio's objects is not ours to
//! write; the Gateway API's objects have a status, and their Events add the problems that it has no condition for.
//!
//! The holder of the Lease alone writes Events, each once for a generation: an Event's name follows from its content, so that
//! no replica writes an Event a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use config::manifest::State;
use serde_json::{Value, json};
use xxhash_rust::xxh64::Xxh64;

use super::Cluster;
use super::api::{Api, Trouble};
use super::kinds::Kind;
use super::lease;
use super::objects::uid;
use super::report;
use super::store::{Key, Store};
use super::translation::Outcome;

/// Between two Events.
const WRITE_EVERY: Duration = Duration::from_millis(200);

/// Between two Events of one object with one reason; changes in between are not told.
const SAME_EVERY: Duration = Duration::from_secs(10);

/// After trouble with one.
const PAUSE: Duration = Duration::from_secs(30);

/// Bytes of a message; the API server refuses longer ones.
const MESSAGE_MAX: usize = 1024;

/// The reporting component of the Events.
const COMPONENT: &str = "umbra";

/// One Event to write.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    kind: Kind,
    key: Key,
    uid: String,
    name: String,
    reason: &'static str,
    is_warning: bool,
    message: String,
}

/// The last Event of each object and reason: its name, and when it was written.
type Recorded = BTreeMap<(Kind, Key, &'static str), (String, Instant)>;

/// Writes for the rest of the process's life.
pub(super) async fn write(api: Api, cluster: Cluster) {
    let mut recorded = Recorded::new();
    let mut again = None;
    loop {
        let news = cluster.0.news.events.notified();
        match again.take() {
            Some(after) => drop(tokio::time::timeout(after, news).await),
            None => news.await,
        }
        if !cluster.0.counters.leads.load(Relaxed) || !cluster.is_synced() {
            continue;
        }
        let this = cluster.clone();
        let Ok((store, all)) = tokio::task::spawn_blocking(move || this.events()).await else { continue };
        recorded.retain(|(kind, key, _), _| store.get(*kind, &key.0, &key.1).is_some());
        let mut closed = BTreeSet::new();
        for event in all {
            let id = (event.kind, event.key.clone(), event.reason);
            match recorded.get(&id) {
                Some((name, _)) if *name == event.name => continue,
                Some((_, at)) if at.elapsed() < SAME_EVERY => {
                    again = Some(SAME_EVERY);
                    continue;
                }
                Some(_) | None => {}
            }
            let object = store.get(event.kind, &event.key.0, &event.key.1);
            let Some(object) = object.filter(|object| uid(object) == event.uid) else { continue };
            let namespace = namespace(&event.key).to_owned();
            if closed.contains(&namespace) {
                continue;
            }
            let path = format!("/api/v1/namespaces/{namespace}/events");
            match api.create(&path, &written(&event, object, SystemTime::now())).await {
                Ok(_) => {}
                // The Event exists: another replica has written it, or this process before its restart.
                Err(Trouble::Status { code: 409, .. }) => {}
                Err(trouble) => {
                    cluster.unsaid(&event, &trouble);
                    let asked = match &trouble {
                        Trouble::Status { retry_after, .. } => *retry_after,
                        Trouble::Lost(_) => None,
                    };
                    again = Some(asked.unwrap_or(PAUSE).clamp(WRITE_EVERY, PAUSE));
                    match trouble.code() {
                        // The API server refuses this Event alone: the others go on.
                        Some(400 | 404 | 422) => {}
                        // The namespace is being deleted, or its quota is full: other namespaces may still take Events.
                        Some(403) => {
                            closed.insert(namespace);
                            tokio::time::sleep(WRITE_EVERY).await;
                            continue;
                        }
                        Some(_) | None => break,
                    }
                }
            }
            recorded.insert(id, (event.name, Instant::now()));
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }
}

impl Cluster {
    /// Every Event that the configuration in force asks for.
    fn events(&self) -> (Store, Vec<Event>) {
        let (store, served) = {
            let state = self.lock();
            (state.store.routing(), state.served.clone())
        };
        let all = served.iter().flat_map(events).collect();
        (store, all)
    }

    fn unsaid(&self, event: &Event, trouble: &Trouble) {
        if self.lock().report.may_complain(event.kind, ("", "events"), trouble.code()) {
            let (namespace, name) = &event.key;
            tracing::warn!(
                "an Event of {} {namespace}/{name} cannot be written: {trouble}",
                event.kind.text()
            );
        }
    }
}

/// The Events for one outcome; none for an accepted object of the Gateway API, whose status already says so.
fn events(outcome: &Outcome) -> Vec<Event> {
    let is_istios = match outcome.kind {
        Kind::VirtualService | Kind::DestinationRule | Kind::ServiceEntry | Kind::IstioGateway => true,
        Kind::HttpRoute | Kind::GrpcRoute | Kind::ApiGateway | Kind::BackendTlsPolicy => false,
        _other => return Vec::new(),
    };
    let said = report::lines(outcome);
    let mut events = Vec::new();
    if is_istios && outcome.state == State::Accepted {
        events.push(event(outcome, "Applied", false, "served by umbra".to_owned()));
    }
    if !said.is_empty() {
        let is_rejected = matches!(outcome.state, State::Rejected(_) | State::Partial(_));
        let reason = if is_rejected { "Rejected" } else { "Ignored" };
        events.push(event(outcome, reason, true, joined(&said)));
    }
    events
}

fn event(outcome: &Outcome, reason: &'static str, is_warning: bool, message: String) -> Event {
    let mut hash = Xxh64::new(0);
    let generation = outcome.generation.unwrap_or_default().to_string();
    for part in [outcome.kind.text(), &outcome.uid, &generation, reason, &message] {
        hash.write(part.as_bytes());
        hash.write(&[0]);
    }
    // A name has at most 253 characters.
    let object: String = outcome.key.1.chars().take(230).collect();
    let name = format!("{}.{:016x}", object.trim_end_matches(['.', '-']), hash.finish());
    Event {
        kind: outcome.kind,
        key: outcome.key.clone(),
        uid: outcome.uid.clone(),
        name,
        reason,
        is_warning,
        message,
    }
}

/// As many as there is room for.
fn joined(lines: &[String]) -> String {
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let more = format!("; and {} more", lines.len() - at);
        if text.len() + line.len() + 2 + more.len() > MESSAGE_MAX {
            if text.is_empty() {
                let whole =
                    line.char_indices().take_while(|(at, c)| at + c.len_utf8() + more.len() <= MESSAGE_MAX);
                text = whole.map(|(_, c)| c).collect();
                continue;
            }
            text.push_str(&more);
            break;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(line);
    }
    text
}

/// Where an Event of it is.
fn namespace(key: &Key) -> &str {
    if key.0.is_empty() { "default" } else { &key.0 }
}

fn written(event: &Event, object: &Value, now: SystemTime) -> Value {
    let now = lease::seconds(now);
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": event.name, "namespace": namespace(&event.key)},
        "involvedObject": {
            "apiVersion": object["apiVersion"], "kind": event.kind.facts().name,
            "namespace": event.key.0, "name": event.key.1, "uid": uid(object),
        },
        "reason": event.reason,
        "message": event.message,
        "type": if event.is_warning { "Warning" } else { "Normal" },
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": COMPONENT},
    })
}

#[cfg(test)]
mod tests {
    use config::check::Problem;

    use super::*;

    fn outcome(kind: Kind, state: State, generation: u64) -> Outcome {
        let key = ("n".to_owned(), "shop".to_owned());
        Outcome {
            kind,
            key,
            uid: "1".to_owned(),
            generation: Some(generation),
            state,
            warnings: Vec::new(),
            serves_earlier: false,
        }
    }

    fn rejected(messages: &[String]) -> State {
        let problem = |message: &String| Problem { message: message.clone(), ..Problem::default() };
        State::Rejected(messages.iter().map(problem).collect())
    }

    #[test]
    fn each_generation_is_told_once_and_what_is_said_of_another_object_has_another_name() {
        let of = |kind, state, generation| events(&outcome(kind, state, generation));
        let applied = of(Kind::VirtualService, State::Accepted, 1);
        assert_eq!((applied.len(), applied[0].reason, applied[0].is_warning), (1, "Applied", false));
        assert_eq!(applied, of(Kind::VirtualService, State::Accepted, 1));
        assert_ne!(applied[0].name, of(Kind::VirtualService, State::Accepted, 2)[0].name);
        assert_ne!(applied[0].name, of(Kind::DestinationRule, State::Accepted, 1)[0].name);
        let anew = Outcome { uid: "2".to_owned(), ..outcome(Kind::VirtualService, State::Accepted, 1) };
        assert_ne!(applied[0].name, events(&anew)[0].name);
        let refused = of(Kind::HttpRoute, rejected(&["no".to_owned()]), 1);
        assert_eq!((refused[0].reason, refused[0].message.as_str()), ("Rejected", "rejected: no"));
        // A status that says it already needs no Event.
        assert_eq!(of(Kind::HttpRoute, State::Accepted, 1), []);
        assert_eq!(of(Kind::Service, rejected(&["no".to_owned()]), 1), []);
        let warnings = vec![Problem { message: "is ignored".to_owned(), ..Problem::default() }];
        let told = events(&Outcome { warnings, ..outcome(Kind::VirtualService, State::Accepted, 1) });
        assert_eq!(told.iter().map(|one| one.reason).collect::<Vec<_>>(), ["Applied", "Ignored"]);
    }

    #[test]
    fn a_message_is_never_longer_than_an_api_server_takes() {
        for length in [10, 300, 1000, 1023, 1024, 5000] {
            let messages: Vec<String> = (0..40).map(|n| format!("{n}{}", "ö".repeat(length))).collect();
            let said = events(&outcome(Kind::VirtualService, rejected(&messages), 1)).remove(0);
            assert!(said.message.len() <= MESSAGE_MAX, "{length}: {}", said.message.len());
            assert!(
                said.message.starts_with("rejected: 0") && said.message.ends_with(" more"),
                "{}",
                said.message
            );
        }
    }
}
