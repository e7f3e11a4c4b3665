//! nginx's configuration: its `mirror` directive as its documentation shows it.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::{Gateway, Targets, pool, route_prefix};
use crate::origin::{HTTP, free_addrs, nginx_main, nginx_tls, start_nginx};
use crate::scenario::Setup;
use crate::tools::Tools;

const TO_UPSTREAM: &str = "proxy_http_version 1.1; proxy_set_header Connection \"\";";
/// As its documentation shows it for WebSockets.
const TO_WEBSOCKET: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                            proxy_set_header Connection \"upgrade\"; proxy_read_timeout 300s;";

pub(super) fn start(setup: &Setup, targets: &Targets, tools: &Tools, dir: &Path) -> Result<Gateway> {
    let [addr] = free_addrs()?;
    let mut http = String::new();
    for (index, target) in std::iter::once(&targets.primary).chain(&targets.mirrors).enumerate() {
        writeln!(
            http,
            "upstream v{} {{ server {target}; keepalive {}; keepalive_requests 100000000; }}",
            index + 1,
            pool(setup)
        )?;
    }
    let wires = &setup.wires;
    let ssl = nginx_tls(wires.is_tls(), dir)?;
    let listen = format!(
        "{}{}",
        if wires.is_tls() { " ssl" } else { "" },
        if wires.streams.is_some() { " http2" } else { "" }
    );
    writeln!(http, "server {{ listen {addr} backlog=4096{listen}; {ssl} client_max_body_size 100m;")?;
    let pass = match (wires.grpc_messages.is_some(), wires.tls_upstream) {
        (true, true) => "grpc_pass grpcs://v",
        (true, false) => "grpc_pass grpc://v",
        (false, true) => "proxy_pass https://v",
        (false, false) => "proxy_pass http://v",
    };
    let to_upstream = if wires.websocket { TO_WEBSOCKET } else { TO_UPSTREAM };
    let mirrors: String =
        (0..targets.mirrors.len()).map(|index| format!("mirror /mirror-{index}; ")).collect();
    for route in 0..setup.routes {
        let prefix = route_prefix(setup, route);
        writeln!(http, "location {prefix} {{ {mirrors}{pass}1; {to_upstream} }}")?;
    }
    for index in 0..targets.mirrors.len() {
        writeln!(
            http,
            "location = /mirror-{index} {{ internal; {pass}{}$request_uri; {TO_UPSTREAM} }}",
            index + 2
        )?;
    }
    let conf = format!(
        "worker_processes {};\n{}http {{\n{HTTP}{http}}}\n}}\n",
        setup.workers,
        nginx_main(setup.connections * wires.at_once()),
    );
    let mut process = start_nginx(tools, "nginx", &conf, dir)?;
    process.wait_accepting(addr)?;
    Ok(Gateway { addr, others: Vec::new(), admin: None, process })
}
