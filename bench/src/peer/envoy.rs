//! Envoy's configuration, as JSON, which it reads like YAML: one listener, `request_mirror_policies`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Gateway, Targets, pool, route_prefix};
use crate::origin::free_addrs;
use crate::process::Process;
use crate::scenario::Setup;
use crate::tools::Tools;
use crate::variant::Program;

const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const DOWNSTREAM_TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const UPSTREAM_TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const PROTOCOLS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
/// Envoy's circuit breakers let 1,024 connections and requests through by default. They stay as they are until so many
/// clients alone might trip them.
const CLIENTS_UNDER_DEFAULT_BREAKERS: usize = 512;

pub(super) fn start(setup: &Setup, targets: &Targets, tools: &Tools, dir: &Path) -> Result<Gateway> {
    let [addr, admin] = free_addrs()?;
    let file = dir.join("envoy.json");
    fs::write(&file, serde_json::to_vec_pretty(&configuration(setup, targets, addr, admin, dir))?)?;
    let mut command = Command::new(tools.program(Program::Envoy)?);
    command.arg("-c").arg(&file).args(["--concurrency", &setup.workers.to_string()]).args([
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]);
    let mut process = Process::start("envoy", command, dir, false)?;
    process.wait_accepting(addr)?;
    Ok(Gateway { addr, others: Vec::new(), admin: None, process })
}

fn configuration(setup: &Setup, targets: &Targets, addr: SocketAddr, admin: SocketAddr, dir: &Path) -> Value {
    let policy = |index: usize| {
        let fraction = json!({"default_value": {"numerator": setup.percent, "denominator": "HUNDRED"}});
        let cluster = format!("v{}", index + 2);
        match setup.percent {
            100 => json!({"cluster": cluster}),
            _ => json!({"cluster": cluster, "runtime_fraction": fraction}),
        }
    };
    let policies: Vec<Value> = (0..targets.mirrors.len()).map(policy).collect();
    let route = |index: usize| {
        json!({
            "match": {"prefix": route_prefix(setup, index)},
            "route": {"cluster": "v1", "request_mirror_policies": policies},
        })
    };
    let routes: Vec<Value> = (0..setup.routes).map(route).collect();
    let manager = json!({
        "@type": MANAGER,
        "stat_prefix": "in",
        "codec_type": if setup.wires.streams.is_some() { "HTTP2" } else { "HTTP1" },
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    });
    let filter = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
    let mut chain = json!({"filters": [filter]});
    if setup.wires.is_tls() {
        let pair = json!({
            "certificate_chain": {"filename": dir.join("server.pem")},
            "private_key": {"filename": dir.join("server.key")},
        });
        let protocol = if setup.wires.streams.is_some() { "h2" } else { "http/1.1" };
        let common = json!({"tls_certificates": [pair], "alpn_protocols": [protocol]});
        chain["transport_socket"] = tls(&json!({"@type": DOWNSTREAM_TLS, "common_tls_context": common}));
    }
    let targets = std::iter::once(&targets.primary).chain(&targets.mirrors);
    let clusters: Vec<Value> =
        targets.enumerate().map(|(index, target)| cluster(setup, index, *target)).collect();
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [{"name": "l", "address": socket(addr), "filter_chains": [chain]}],
            "clusters": clusters,
        },
    })
}

fn cluster(setup: &Setup, index: usize, target: SocketAddr) -> Value {
    let name = format!("v{}", index + 1);
    let endpoint = json!({"endpoint": {"address": socket(target)}});
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if setup.wires.tls_upstream {
        cluster["transport_socket"] = tls(&json!({"@type": UPSTREAM_TLS, "sni": "localhost"}));
    }
    if setup.wires.http2_upstream {
        let options = json!({
            "@type": format!("type.googleapis.com/{PROTOCOLS}"),
            "explicit_http_config": {"http2_protocol_options": {}},
        });
        cluster["typed_extension_protocol_options"] = json!({PROTOCOLS: options});
    }
    if setup.busy * setup.wires.at_once() >= CLIENTS_UNDER_DEFAULT_BREAKERS {
        let most = 4 * pool(setup);
        let thresholds =
            json!([{"max_connections": most, "max_pending_requests": most, "max_requests": most}]);
        cluster["circuit_breakers"] = json!({"thresholds": thresholds});
    }
    cluster
}

fn tls(context: &Value) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

fn socket(addr: SocketAddr) -> Value {
    json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}})
}
