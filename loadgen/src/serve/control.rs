//! The control URL: shows counters and logs, switches faults and behaviours while the server runs. Own thread, own
//! runtime; touches no connection under test.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault;
use super::port::Plan;
use super::supervisor::Supervisor;

type Control = State<Arc<Supervisor>>;
type Answer = Result<Response, (StatusCode, String)>;

/// Binds and serves in the background; returns the bound address.
pub fn start(addr: SocketAddr, supervisor: Arc<Supervisor>) -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    if let Err(error) = axum::serve(listener, router(supervisor)).await {
                        eprintln!("loadgen serve: control URL lost: {error}");
                    }
                }
                Err(error) => eprintln!("loadgen serve: no control URL: {error}"),
            }
        });
    })?;
    Ok(bound)
}

fn router(supervisor: Arc<Supervisor>) -> Router {
    Router::new()
        .route("/", get(help))
        .route("/ports", get(list))
        .route("/ports/{name}", get(show))
        .route("/ports/{name}/fault", put(set_fault).get(get_fault))
        .route("/ports/{name}/behavior", put(set_behavior))
        .route("/ports/{name}/counters", get(counters))
        .route("/ports/{name}/log", get(log).delete(clear_log))
        .with_state(supervisor)
}

async fn help() -> String {
    format!(
        "GET /ports\nGET /ports/NAME\nPUT /ports/NAME/fault\nPUT /ports/NAME/behavior\nGET /ports/NAME/counters\n\
         GET /ports/NAME/log?from=N\nDELETE /ports/NAME/log\n\nfaults: {}\n",
        fault::NAMES
    )
}

fn find(supervisor: &Supervisor, name: &str) -> Result<usize, (StatusCode, String)> {
    supervisor.find(name).ok_or_else(|| (StatusCode::NOT_FOUND, format!("no port `{name}`\n")))
}

fn describe(supervisor: &Supervisor, index: usize) -> Value {
    let port = &supervisor.ports[index].port;
    let plan = port.plan();
    json!({
        "name": port.name,
        "addr": port.addr.to_string(),
        "fault": plan.fault.to_string(),
        "behavior": plan.behavior.to_string(),
        "log_entries": port.log_len(),
        "counters": port.totals(),
    })
}

async fn list(State(supervisor): Control) -> Json<Vec<Value>> {
    Json((0..supervisor.ports.len()).map(|index| describe(&supervisor, index)).collect())
}

async fn show(State(supervisor): Control, Path(name): Path<String>) -> Answer {
    let index = find(&supervisor, &name)?;
    Ok(Json(describe(&supervisor, index)).into_response())
}

async fn get_fault(State(supervisor): Control, Path(name): Path<String>) -> Answer {
    let index = find(&supervisor, &name)?;
    Ok(format!("{}\n", supervisor.ports[index].port.plan().fault).into_response())
}

async fn set_fault(State(supervisor): Control, Path(name): Path<String>, body: String) -> Answer {
    let index = find(&supervisor, &name)?;
    let fault = body.parse().map_err(|e| (StatusCode::BAD_REQUEST, format!("{e}\n")))?;
    let plan = supervisor.ports[index].port.plan();
    change(&supervisor, index, Plan { fault, ..(*plan).clone() })
}

async fn set_behavior(State(supervisor): Control, Path(name): Path<String>, body: String) -> Answer {
    let index = find(&supervisor, &name)?;
    let mut plan = (*supervisor.ports[index].port.plan()).clone();
    plan.behavior.apply(&body).map_err(|e| (StatusCode::BAD_REQUEST, format!("{e}\n")))?;
    change(&supervisor, index, plan)
}

fn change(supervisor: &Arc<Supervisor>, index: usize, plan: Plan) -> Answer {
    // Waits for the workers, which takes a turn of theirs; this thread has no other task.
    supervisor.apply(index, plan).map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")))?;
    Ok(Json(describe(supervisor, index)).into_response())
}

async fn counters(State(supervisor): Control, Path(name): Path<String>) -> Answer {
    let index = find(&supervisor, &name)?;
    Ok(Json(supervisor.ports[index].port.totals()).into_response())
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: usize,
}

async fn log(State(supervisor): Control, Path(name): Path<String>, Query(from): Query<From>) -> Answer {
    let index = find(&supervisor, &name)?;
    Ok(Json(supervisor.ports[index].port.log_from(from.from)).into_response())
}

async fn clear_log(State(supervisor): Control, Path(name): Path<String>) -> Answer {
    let index = find(&supervisor, &name)?;
    supervisor.ports[index].port.clear_log();
    Ok(StatusCode::NO_CONTENT.into_response())
}
