//! Following one kind of object: listed, then watched from there; listed again where the watch cannot go on.
//!
//! Each kind has its own task and its own pauses: trouble with one holds up no other. A list counts only when it is whole.
//! Without an API server the objects that were read last stay.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::AbortHandle;

use super::Cluster;
use super::api::{Api, Events, Trouble};
use super::keep::stripped;
use super::kinds::Kind;

const PAUSE_MIN: Duration = Duration::from_millis(800);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A kind that is not served is asked for again so often: its definition may be installed.
const ABSENT_PAUSE: Duration = Duration::from_secs(10);

/// Objects of a kind that is not served any more are kept so long: an API server that starts knows no custom kinds for moments.
const ABSENT_AFTER: Duration = Duration::from_secs(60);

/// A watch ends by itself after its time; one that says nothing for longer than that is dead.
const SILENCE: Duration = Duration::from_secs(5);

/// A watch that ends sooner is trouble.
const SHORT: Duration = Duration::from_secs(1);

/// Longer and longer pauses between tries.
#[derive(Debug, Default)]
struct Pauses {
    tries: u32,
}

impl Pauses {
    fn reset(&mut self) {
        self.tries = 0;
    }

    /// After this trouble; jittered, so that many do not come at once.
    fn next(&mut self, trouble: Option<&Trouble>) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.tries.min(6)).min(PAUSE_MAX);
        self.tries += 1;
        let pause = jittered(pause);
        match trouble {
            Some(Trouble::Status { retry_after: Some(after), .. }) => pause.max((*after).min(PAUSE_MAX)),
            Some(_) | None => pause,
        }
    }
}

/// Between a half and the whole of it.
fn jittered(pause: Duration) -> Duration {
    // A fresh state is a fresh random number.
    let thousandths = RandomState::new().hash_one(0) % 500;
    pause.mul_f64(0.5 + thousandths as f64 / 1000.0)
}

/// After so many failed watches in a row the kind is listed anew, and after each further failure again, until a watch holds.
const FAILURES_MAX: u32 = 4;

/// How a watch ends.
enum End {
    /// The API server closed the watch: the next one continues from the same version.
    Again,
    /// The API server has forgotten that version: the kind is listed anew.
    Gone,
    Trouble(Trouble),
}

/// Follows all objects of a kind in a scope for the rest of the process's life.
pub(super) async fn follow(api: Api, cluster: Cluster, kind: Kind, scope: Option<String>) {
    let mut pauses = Pauses::default();
    let mut absent_since: Option<Instant> = None;
    // Of watches in a row. They outlast a list: until a watch holds, each that fails is made up for by one.
    let mut failures = 0;
    loop {
        let (version, mut from) = match list(&api, kind, scope.as_deref()).await {
            Ok((version, items, from)) => {
                absent_since = None;
                // The pauses stay as they are until a watch holds: a list that is asked for again and again is dear.
                cluster.listed(kind, scope.as_deref(), items);
                (version, from)
            }
            Err(trouble) => {
                let pause = match trouble.code() {
                    Some(404) => {
                        let since = *absent_since.get_or_insert_with(Instant::now);
                        if cluster.has(kind, scope.as_deref()) && since.elapsed() > ABSENT_AFTER {
                            cluster.listed(kind, scope.as_deref(), Vec::new());
                        }
                        cluster.missing(kind, scope.as_deref());
                        jittered(ABSENT_PAUSE)
                    }
                    Some(401 | 403) if !kind.facts().needed => {
                        cluster.failed(kind, scope.as_deref(), &trouble);
                        cluster.missing(kind, scope.as_deref());
                        pauses.next(Some(&trouble))
                    }
                    Some(_) | None => {
                        cluster.failed(kind, scope.as_deref(), &trouble);
                        pauses.next(Some(&trouble))
                    }
                };
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        loop {
            let (began, before) = (Instant::now(), from.clone());
            let end = watch(&api, &cluster, kind, scope.as_deref(), version, &mut from, &mut pauses).await;
            if from != before {
                failures = 0;
            }
            match end {
                End::Again if began.elapsed() > SHORT => {
                    failures = 0;
                    pauses.reset();
                    // A new list may find room for objects that were not taken.
                    if cluster.is_full(kind) {
                        break;
                    }
                }
                End::Again => {
                    failures += 1;
                    tokio::time::sleep(pauses.next(None)).await;
                }
                End::Gone => {
                    tokio::time::sleep(pauses.next(None)).await;
                    break;
                }
                End::Trouble(trouble) => {
                    cluster.failed(kind, scope.as_deref(), &trouble);
                    failures += 1;
                    tokio::time::sleep(pauses.next(Some(&trouble))).await;
                }
            }
            if failures >= FAILURES_MAX {
                break;
            }
        }
    }
}

/// Lists them once.
pub(super) async fn list_once(
    api: &Api,
    cluster: &Cluster,
    kind: Kind,
    scope: Option<&str>,
) -> Result<(), String> {
    match list(api, kind, scope).await {
        Ok((_, items, _)) => cluster.listed(kind, scope, items),
        Err(trouble) if trouble.code() == Some(404) => cluster.missing(kind, scope),
        Err(trouble) => {
            return Err(format!("{} of the cluster cannot be read: {trouble}", kind.facts().plural));
        }
    }
    Ok(())
}

/// All of them, by the newest version that is served.
async fn list(
    api: &Api,
    kind: Kind,
    scope: Option<&str>,
) -> Result<(&'static str, Vec<Value>, String), Trouble> {
    let mut absent = None;
    for version in kind.facts().versions {
        let kept = |item: Value| stripped(kind, named(kind, version, item));
        match api.list(&kind.path(version, scope), kind.metadata_only(), kept).await {
            Ok(listed) => return Ok((version, listed.items, listed.version)),
            Err(trouble) if trouble.code() == Some(404) => absent = Some(trouble),
            Err(trouble) => return Err(trouble),
        }
    }
    Err(absent.unwrap_or_else(|| Trouble::Lost("no version of it is known".to_owned())))
}

/// Adds `apiVersion` and `kind`, which members of a list lack.
fn named(kind: Kind, version: &str, mut item: Value) -> Value {
    if let Some(object) = item.as_object_mut() {
        object.insert("apiVersion".to_owned(), kind.api_version(version).into());
        object.insert("kind".to_owned(), kind.facts().name.into());
    }
    item
}

/// One watch, until it ends. `from` is the version of the last event.
async fn watch(
    api: &Api,
    cluster: &Cluster,
    kind: Kind,
    scope: Option<&str>,
    version: &str,
    from: &mut String,
    pauses: &mut Pauses,
) -> End {
    let seconds = kind.facts().watch_seconds;
    let path = kind.path(version, scope);
    let events = match api.watch(&path, kind.metadata_only(), from, seconds).await {
        Ok(events) => events,
        // As an API server says it, and as others do.
        Err(trouble) if matches!(trouble.code(), Some(404 | 410)) => return End::Gone,
        Err(trouble) => return End::Trouble(trouble),
    };
    let followed = each(events, cluster, kind, (scope, version), from, pauses);
    match tokio::time::timeout(Duration::from_secs(seconds) + SILENCE, followed).await {
        Ok(end) => end,
        Err(_) => End::Trouble(Trouble::Lost("a watch did not end in its time".to_owned())),
    }
}

async fn each(
    mut events: Events,
    cluster: &Cluster,
    kind: Kind,
    (scope, version): (Option<&str>, &str),
    from: &mut String,
    pauses: &mut Pauses,
) -> End {
    loop {
        let mut event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return End::Again,
            Err(trouble) => return End::Trouble(trouble),
        };
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        let at = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "ADDED" | "MODIFIED" => cluster.changed(kind, scope, named(kind, version, object), false),
            "DELETED" => cluster.changed(kind, scope, named(kind, version, object), true),
            "BOOKMARK" => cluster.heard(kind),
            // Whatever the error is, a new list is the way out.
            "ERROR" => {
                let code =
                    object.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
                let message = object.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
                let trouble = Trouble::Status { code: code.unwrap_or(500), message, retry_after: None };
                if trouble.code() != Some(410) {
                    cluster.failed(kind, scope, &trouble);
                }
                return End::Gone;
            }
            other => tracing::debug!("a watch says {other:?}, which is not known"),
        }
        pauses.reset();
        if let Some(at) = at {
            *from = at;
        }
    }
}

/// Follows the Pods of namespaces where subsets ask for labels, and ConfigMaps that are named, and no others.
pub(super) async fn wanted(api: Api, cluster: Cluster) {
    let mut tasks: BTreeMap<(Kind, String), AbortHandle> = BTreeMap::new();
    loop {
        let wanted = cluster.scopes_wanted();
        tasks.retain(|id, task| {
            let stays = wanted.contains(id);
            if !stays {
                task.abort();
                cluster.forget(id.0, &id.1);
            }
            stays
        });
        for id in wanted {
            tasks.entry(id).or_insert_with_key(|(kind, scope)| {
                let scope = Some(scope.clone());
                tokio::spawn(follow(api.clone(), cluster.clone(), *kind, scope)).abort_handle()
            });
        }
        cluster.0.news.wanted.notified().await;
    }
}
