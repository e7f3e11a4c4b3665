//! The admin listener: liveness, readiness, metrics, the configuration in force.
//!
//! The room reads the counters and the phase of the process; changes are only asked for here (`changes`). It knows no
//! connection, no exchange and no worker; of the path of a request it names only `metrics`.

mod asked;
mod again;
mod accounts;
mod dashboard;
mod changes;
mod guard;
mod state;
mod standing;
mod status;
mod diffs;
mod schema;
mod epoch;
mod exposition;
mod fleet;
mod heard;
mod live;
mod logs;
mod openapi;
mod outcomes;
mod places;
pub(crate) mod outgoing;
mod histograms;
mod process;
mod verdict;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) use accounts::{restore, whole_book};
use exposition::Exposition;
pub use guard::Guard;
use histograms::Histograms;
use live::Live;
use places::Places;
use standing::Standing;
use state::{AdminState, Judging, Peer};

use crate::control::{Ask, ConfigStore, Health, Phase};
use crate::limits::{ADMIN_CONNECTIONS_MAX, AGAIN_AT_ONCE_MAX};
use crate::metrics::Shard;
use crate::tls::Listening;
use outgoing::Outgoing;

/// From accept, or the last answer, to the end of the next request's head.
const HEAD_MAX: Duration = Duration::from_secs(15);

/// However busy, a connection is closed after this long.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// Request line and fields of an admin request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Pause after an accept that failed, most likely for want of descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Anybody may ask by a policy of their own, and none takes as much.
const POLICY_BYTES_MAX: usize = 64 * 1024;

fn of_a_policy() -> DefaultBodyLimit {
    DefaultBodyLimit::max(POLICY_BYTES_MAX)
}

const INDEX: &str = "\
Umbra admin (in a browser: the dashboard)
  /healthz   200 while every worker turns; else 503 and which do not
  /readyz    200 while requests are welcome; 503 while starting or draining
  /status    the process, its routes, and what is wrong now with since when and how much, JSON
  /metrics   counters of all workers, OpenMetrics text
  /routes    what is in force, JSON; PATCH /routes/NAME {\"weights\": {\"v1\": 90, \"v2\": 10}}
  /mirrors   what is in force, JSON; PATCH /mirrors/NAME {\"percent\": 5}, ?route=NAME for one route
  /live      the last five minutes by the second, JSON; ?after=SEQ for what is new
             &seconds=86400 for up to a day, in longer steps
  /live/routes   requests, errors and copies lost of each route in sixty steps, JSON; ?seconds=
  /live/distributions   both sides' times since the start, JSON; ?route=NAME for one route
  /histograms  distributions of times, JSON; ?route= &mirror= &name=route|primary|paired|mirror|slower|faster|lag
             &seconds=60 for how long the interval is &format=hgrm|hlog
  /outcomes  v1's and v2's answers to the same requests: statuses, times, sizes, JSON; ?route= &mirror=
  /schema    which fields v1's and v2's answers have, of which types, how often null or left out, JSON
  /diffs     what v2 says differently, in groups, JSON; /diffs/ID with samples; ?format=jsonl; DELETE forgets
  /diffs/ID/again  POST {\"request_id\": \"…\"}: v1 and v2 are asked once more for a sample's request, GET or HEAD
  /verdict   is v2 ready: promote, hold or reject, and why, JSON; POST a policy, TOML; ?mirror= ?format=text
             &since=600 for what came in about so many seconds &all=true for every rule
             &scope=own for this gateway alone, where it has peers
  /verdict/begin  POST: evidence begins anew, of all peers too; ?mirror= &scope=own
  /evidence  what this gateway counted, for those beside it, JSON
  /openapi.json  all of this for machines, OpenAPI 3.1
  /verdict/gate  the same as a status, for rollout controllers: POST is 200 for promote, else 409; ?passes=promote,hold
  /changes   what was changed, from what, to what and by whom, JSON; ?after=NUMBER
  /logs      the last lines of the gateway's own log and of its access log, JSON; ?source=gateway|access &level=warn
             &route=NAME &after=NUMBER &lines=COUNT
  /reload    POST: the files are read again, as after SIGHUP
  /config    what is in force, TOML; PUT a whole one, a bad one changes nothing
";

/// The state that pages of figures read.
#[derive(Debug)]
struct Pages {
    exposition: Exposition,
    health: watch::Receiver<Health>,
    outgoing: Arc<Outgoing>,
}

/// The admin API, for listeners at any address and under any guard.
#[derive(Debug)]
pub struct Admin {
    pages: Arc<Pages>,
    live: Arc<Live>,
    histograms: Arc<Histograms>,
    standing: Arc<Standing>,
    store: Arc<ConfigStore>,
    asks: mpsc::Sender<Ask>,
    judging: Judging,
    started: SystemTime,
    again: Arc<Semaphore>,
    /// The first listener starts the task that looks at the counters every second.
    looks: Once,
}

/// An admin listener at work.
#[derive(Debug)]
pub struct Serving {
    accepts: AbortHandle,
    /// The TLS of new connections; `None` where they speak plaintext.
    tls: watch::Sender<Option<Arc<Listening>>>,
    /// Dropped, it ends every connection with the response under way.
    _open: watch::Sender<()>,
}

impl Serving {
    /// Connections that come from now on shake hands with `tls`.
    pub fn secure(&self, tls: Option<&Arc<Listening>>) {
        self.tls.send_replace(tls.map(Arc::clone));
    }

    /// Takes no more connections, and no more requests on those that are open.
    pub fn close(self) {
        self.accepts.abort();
    }
}

impl Admin {
    pub fn new(
        store: &Arc<ConfigStore>,
        shards: &[Arc<Shard>],
        started: SystemTime,
        health: watch::Receiver<Health>,
        asks: mpsc::Sender<Ask>,
    ) -> Self {
        let outgoing = Arc::new(Outgoing::new(Arc::clone(&store.answers_cut)));
        let standing = Arc::<Standing>::default();
        let exposition = Exposition::new(Arc::clone(store), shards.to_vec(), started, Arc::clone(&standing));
        Self {
            pages: Arc::new(Pages { exposition, health, outgoing }),
            live: Live::new(Arc::clone(store), shards.to_vec(), started),
            histograms: Histograms::new(Arc::clone(store)),
            standing,
            store: Arc::clone(store),
            asks,
            judging: Judging::default(),
            started,
            again: Arc::new(Semaphore::new(AGAIN_AT_ONCE_MAX)),
            looks: Once::new(),
        }
    }

    /// Serves at a socket that listens and does not block, until the result is closed. Inside a runtime.
    ///
    /// # Errors
    /// The runtime cannot wait for the socket.
    pub fn serve(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        guard: Guard,
        tls: Option<&Arc<Listening>>,
    ) -> io::Result<Serving> {
        let listener = TcpListener::from_std(listener)?;
        self.looks.call_once(|| {
            tokio::spawn(Arc::clone(&self.live).watch());
            tokio::spawn(Arc::clone(&self.histograms).watch());
            tokio::spawn(Arc::clone(&self.standing).watch(Arc::new(self.state(&guard))));
        });
        let (open, closing) = watch::channel(());
        let (tls, secured) = watch::channel(tls.map(Arc::clone));
        let accepts = tokio::spawn(accept(listener, secured, self.router(guard), closing)).abort_handle();
        Ok(Serving { accepts, tls, _open: open })
    }

    fn state(&self, guard: &Guard) -> AdminState {
        AdminState {
            store: Arc::clone(&self.store),
            asks: self.asks.clone(),
            guard: guard.clone(),
            judging: self.judging.clone(),
            health: self.pages.health.clone(),
            again: Arc::clone(&self.again),
            started: self.started,
        }
    }

    fn router(&self, guard: Guard) -> Router {
        let state = self.state(&guard);
        router(&self.pages, &self.live, &self.histograms, state, guard)
    }
}

fn router(
    pages: &Arc<Pages>,
    live: &Arc<Live>,
    histograms: &Arc<Histograms>,
    state: AdminState,
    guard: Guard,
) -> Router {
    let outgoing = Arc::clone(&pages.outgoing);
    let asking = Router::new()
        .route("/routes", get(changes::routes))
        .route("/routes/{*name}", patch(changes::patch_route))
        .route("/mirrors", get(changes::mirrors))
        .route("/mirrors/{*name}", patch(changes::patch_mirror))
        .route("/status", get(status::status))
        .route("/reload", post(changes::reload))
        .route("/changes", get(changes::changes))
        .route("/logs", get(logs::logs))
        .route("/config", put(changes::put_config).get(changes::config))
        .route("/outcomes", get(outcomes::outcomes))
        .route("/verdict", get(verdict::by_default).post(verdict::by_policy).layer(of_a_policy()))
        .route("/verdict/gate", post(verdict::gate).layer(of_a_policy()))
        .route("/verdict/begin", post(verdict::begin))
        .route("/evidence", get(fleet::evidence))
        .route("/diffs", get(diffs::diffs).delete(diffs::forget))
        .route("/diffs/{id}", get(diffs::diff))
        .route("/schema", get(schema::schema))
        .route("/diffs/{id}/again", post(again::again))
        .with_state(Arc::new(state));
    let live = Router::new()
        .route("/live", get(live::live))
        .route("/live/routes", get(live::trends))
        .route("/live/distributions", get(live::distributions))
        .with_state(Arc::clone(live));
    let histograms =
        Router::new().route("/histograms", get(histograms::histograms)).with_state(Arc::clone(histograms));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(pages))
        .merge(asking)
        .merge(live)
        .merge(histograms)
        .route("/openapi.json", get(openapi::openapi))
        .merge(dashboard::router(INDEX))
        .fallback(asked::unknown)
        .method_not_allowed_fallback(asked::unfit)
        .layer(from_fn_with_state(outgoing, outgoing::weighed))
        .layer(from_fn_with_state(guard, guard::answered))
        .layer(map_response(dashboard::careful))
}

/// Takes connections for as long as its task lives; `closing` ends with the listener.
async fn accept(
    listener: TcpListener,
    secured: watch::Receiver<Option<Arc<Listening>>>,
    router: Router,
    closing: watch::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    let mut places = Places::default();
    loop {
        let (stream, of) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("admin: cannot accept: {error}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let place = tokio::select! {
            biased;
            place = Arc::clone(&room).acquire_owned() => place,
            // Its place is free as soon as its task has been dropped.
            () = places.free_one() => Arc::clone(&room).acquire_owned().await,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { return };
        let tls = secured.borrow().clone();
        let connection = covered(stream, of, tls, router.clone(), closing.clone());
        let task = tokio::spawn(async move {
            let _ = tokio::time::timeout(CONNECTION_MAX, connection).await;
            drop(place);
        });
        places.take(of.ip(), task.abort_handle());
    }
}

/// Serves a connection, from its handshake on where it has one.
async fn covered(
    stream: TcpStream,
    of: SocketAddr,
    tls: Option<Arc<Listening>>,
    router: Router,
    closing: watch::Receiver<()>,
) {
    let Some(tls) = tls else { return connection(stream, of, router, closing).await };
    let shaken = TlsAcceptor::from(Arc::clone(tls.config())).accept(stream);
    match tokio::time::timeout(HEAD_MAX, shaken).await {
        Ok(Ok(stream)) => connection(stream, of, router, closing).await,
        Ok(Err(error)) => tracing::debug!("admin: handshake: {error}"),
        Err(_) => tracing::debug!("admin: a handshake took longer than {} s", HEAD_MAX.as_secs()),
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    of: SocketAddr,
    router: Router,
    mut closing: watch::Receiver<()>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(of));
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        // The channel carries no value: it ends with the listener.
        _ = closing.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!("admin: connection: {error}");
    }
}

async fn healthz(State(pages): State<Arc<Pages>>) -> Response {
    let health = pages.health.borrow();
    if health.stuck.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("workers not turning: {:?}\n", health.stuck)).into_response()
}

async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    let phase = pages.health.borrow().phase;
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{}\n", phase.text())).into_response()
}

async fn metrics(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    match pages.exposition.text() {
        Ok(text) if exposition::classic::is_wanted(accept) => {
            let text = exposition::classic::of(&text);
            ([(CONTENT_TYPE, exposition::classic::CONTENT_TYPE)], text).into_response()
        }
        Ok(text) => ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        // Writing to a string fails only where the encoder refuses our metrics.
        Err(std::fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::control::budget::tests::config;

    pub(super) async fn started() -> (SocketAddr, watch::Sender<Health>) {
        let config = Arc::new(config());
        let store = ConfigStore::new(&config);
        let (health, seen) = watch::channel(Health::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let admin = Admin::new(&store, &[Arc::default()], SystemTime::now(), seen, mpsc::channel(1).0);
        let serving = Arc::new(admin).serve(listener, Guard::Local, None).unwrap();
        // For as long as the test's runtime.
        std::mem::forget(serving);
        (address, health)
    }

    pub(super) async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    #[tokio::test]
    async fn ready_is_told_from_starting_and_draining() {
        let (address, health) = started().await;
        for (phase, status, word) in [
            (Phase::Starting, 503, "starting"),
            (Phase::Ready, 200, "ready"),
            (Phase::Draining, 503, "draining"),
        ] {
            health.send_modify(|h| h.phase = phase);
            let (got, answer) = ask(address, "GET", "/readyz").await;
            assert_eq!(got, status);
            assert!(answer.ends_with(&format!("\r\n\r\n{word}\n")), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_stuck_worker_is_unhealthy_and_named() {
        let (address, health) = started().await;
        assert_eq!(ask(address, "GET", "/healthz").await.0, 200);
        health.send_modify(|h| h.stuck = vec![1]);
        let (status, answer) = ask(address, "GET", "/healthz").await;
        assert_eq!(status, 503);
        assert!(answer.ends_with("workers not turning: [1]\n"), "{answer}");
    }

    #[tokio::test]
    async fn metrics_come_as_openmetrics() {
        let (address, _health) = started().await;
        let (status, answer) = ask(address, "GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(
            answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
        );
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn only_its_pages_and_only_to_read() {
        let (address, _health) = started().await;
        assert_eq!(ask(address, "GET", "/").await.0, 200);
        assert_eq!(ask(address, "HEAD", "/metrics").await.0, 200);
        assert_eq!(ask(address, "POST", "/metrics").await.0, 405);
        assert_eq!(ask(address, "GET", "/routes").await.0, 200);
        assert_eq!(ask(address, "GET", "/elsewhere").await.0, 404);
        assert_eq!(ask(address, "DELETE", "/mirrors/v2").await.0, 405);
    }

    #[tokio::test]
    async fn whoever_holds_the_most_places_makes_room_for_whoever_comes() {
        let (address, _health) = started().await;
        let hold = async |own: &str| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
            let mut held = socket.connect(address).await.unwrap();
            let head = "POST /verdict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
            held.write_all(head.as_bytes()).await.unwrap();
            held
        };
        let mut lone = hold("127.0.0.2").await;
        let mut held = Vec::new();
        for _ in 1..ADMIN_CONNECTIONS_MAX {
            held.push(hold("127.0.0.3").await);
        }
        assert_eq!(ask(address, "GET", "/healthz").await.0, 200);
        // The oldest of the many is gone, the lone one still has its place.
        assert_eq!(held[0].read(&mut [0]).await.unwrap_or(0), 0);
        lone.write_all(b"         ").await.unwrap();
        let mut answer = [0; 12];
        lone.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}
