//! The customers: a few connections, each with a request every so often, one route after the other.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{HOST, USER_AGENT};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::shop::ROUTES;

const CUSTOMERS: u64 = 8;

/// From a customer's request to its next: 320 a second of all.
const ASKS_EVERY: Duration = Duration::from_millis(25);

/// Things there are of each kind.
const THINGS: u64 = 500;

/// For a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest answer of the shop.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Pause of a customer after an error.
const SULKS: Duration = Duration::from_millis(500);

const AGENT: &str = concat!("umbra-demo/", env!("CARGO_PKG_VERSION"));

/// Waits until the shop opens, and comes for the rest of the process's life.
pub(super) async fn come(opened: oneshot::Receiver<SocketAddr>) -> io::Result<()> {
    let Ok(gateway) = opened.await else { return std::future::pending().await };
    let mut customers = JoinSet::new();
    for first in 0..CUSTOMERS {
        customers.spawn(customer(gateway, first));
    }
    match customers.join_next().await {
        Some(Err(error)) => Err(io::Error::other(error)),
        Some(Ok(())) | None => Err(io::Error::other("a customer is gone")),
    }
}

async fn customer(gateway: SocketAddr, first: u64) {
    let mut asked = first;
    loop {
        // A connection ends between two requests, or with the gateway: neither is news.
        let _ = visit(gateway, &mut asked).await;
        sleep(SULKS).await;
    }
}

/// Asks on one connection as long as it is answered.
async fn visit(gateway: SocketAddr, asked: &mut u64) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = timeout(PATIENCE, TcpStream::connect(gateway)).await.map_err(late)??;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let asking = async {
        let mut turns = interval(ASKS_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let request = request(gateway, *asked)?;
            *asked += CUSTOMERS + 1;
            let answered = async {
                let response = sender.send_request(request).await.map_err(io::Error::other)?;
                axum::body::to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX)
                    .await
                    .map_err(io::Error::other)
            };
            timeout(PATIENCE, answered).await.map_err(late)??;
        }
    };
    tokio::select! {
        ended = connection => ended.map_err(io::Error::other),
        ended = asking => ended,
    }
}

/// The request with this number.
fn request(gateway: SocketAddr, number: u64) -> io::Result<Request<Body>> {
    let route = ROUTES.iter().cycle().nth((number % ROUTES.len() as u64) as usize).unwrap_or(&ROUTES[0]);
    Request::get(format!("/{route}/{}", number / ROUTES.len() as u64 % THINGS))
        .header(HOST, gateway.to_string())
        .header(USER_AGENT, AGENT)
        .body(Body::empty())
        .map_err(io::Error::other)
}
