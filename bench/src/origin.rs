//! Healthy origins with one fixed answer: nginx with one worker for raw speed, or our own, which reads all of a request
//! before it answers. Knows nothing of gateways or faults.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::http;
use crate::process::Process;
use crate::tools::Tools;
use crate::wires::{Wires, make_keys};

/// Longest answer that fits into nginx's configuration; longer ones are a file.
const INLINE_MAX: usize = 2048;

pub struct Origin {
    pub addr: SocketAddr,
    pub count: RequestCount,
    _process: Process,
}

/// Asks an origin how many requests it has had; may be asked while it is under load.
#[derive(Clone)]
pub enum RequestCount {
    /// Where its `stub_status` is.
    Nginx(SocketAddr),
    /// Where `loadgen serve` is controlled, and the port's name there.
    Loadgen(SocketAddr, String),
}

impl Origin {
    pub fn start(
        tools: &Tools,
        name: &str,
        response_bytes: usize,
        connections: usize,
        tls: bool,
        dir: &Path,
    ) -> Result<Self> {
        let dir = dir.join(name);
        fs::create_dir_all(&dir)?;
        let [addr, status] = free_addrs()?;
        let answer = if response_bytes <= INLINE_MAX {
            format!("return 200 \"{}\";", "x".repeat(response_bytes))
        } else {
            fs::write(dir.join("answer"), vec![b'x'; response_bytes])?;
            format!("root {}; open_file_cache max=8; sendfile on; rewrite ^ /answer break;", dir.display())
        };
        let ssl = nginx_tls(tls, &dir)?;
        let listen = if tls { " ssl" } else { "" };
        let conf = format!(
            "worker_processes 1;\n{}http {{\n{HTTP}client_body_buffer_size 1m;\n\
             server {{ listen {addr} backlog=4096{listen}; {ssl} client_max_body_size 100m; location / {{ {answer} }} }}\n\
             server {{ listen {status}; location / {{ stub_status; }} }}\n}}\n",
            nginx_main(connections)
        );
        let mut process = start_nginx(tools, name, &conf, &dir)?;
        process.wait_accepting(addr)?;
        Ok(Self { addr, count: RequestCount::Nginx(status), _process: process })
    }

    /// `loadgen serve`: answers when it has the whole content, as applications do and nginx's `return` does not.
    pub fn start_reading(
        tools: &Tools,
        name: &str,
        response_bytes: usize,
        wires: &Wires,
        dir: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(&tools.loadgen);
        let tls = if wires.tls_upstream { ",tls" } else { "" };
        // A gRPC call is echoed, message by message.
        let answer =
            wires.grpc_messages.map_or_else(|| format!("size={response_bytes}"), |_| "echo".to_string());
        command.args(["serve", "--threads", "1", "--port", &format!("{name}=0,{answer}{tls}")]);
        let mut process = Process::start(name, command, dir, true)?;
        let addr = process.wait_line(|line| served_port(line, name))?;
        let control = process.wait_line(|line| served_port(line, "control"))?;
        Ok(Self { addr, count: RequestCount::Loadgen(control, name.to_string()), _process: process })
    }
}

impl RequestCount {
    /// Since its start.
    pub fn read(&self) -> Result<u64> {
        match self {
            Self::Nginx(status) => {
                let text = http::get(*status, "/")?;
                let counts = text.lines().nth(2).unwrap_or("");
                let third = counts.split_whitespace().nth(2).and_then(|n| n.parse().ok());
                third.with_context(|| format!("nginx's stub_status reads unlike what we know: {text}"))
            }
            Self::Loadgen(control, name) => {
                let text = http::get(*control, &format!("/ports/{name}/counters"))?;
                let counters: serde_json::Value = serde_json::from_str(&text)?;
                let requests = counters.get("requests").and_then(serde_json::Value::as_u64);
                requests.with_context(|| format!("loadgen's counters read unlike what we know: {text}"))
            }
        }
    }

    /// Requests that asking for the count adds to it.
    pub fn own(&self) -> u64 {
        match self {
            Self::Nginx(_) => 1,
            Self::Loadgen(..) => 0,
        }
    }
}

/// The address in the line that `loadgen serve` prints for a port, if the line is that port's.
pub fn served_port(line: &str, name: &str) -> Option<SocketAddr> {
    let port: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_it = port.get("name")?.as_str()? == name;
    port.get("addr")?.as_str()?.parse().ok().filter(|_| is_it)
}

/// Directives of every nginx's `http` block, origin or peer.
pub const HTTP: &str = "access_log off; keepalive_requests 100000000; keepalive_timeout 300s; \
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n";

/// Directives of a `server` that speaks TLS, and its keys in `dir`; nothing without.
pub fn nginx_tls(tls: bool, dir: &Path) -> Result<String> {
    if !tls {
        return Ok(String::new());
    }
    make_keys(dir)?;
    let dir = dir.display();
    Ok(format!(
        "ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key; ssl_protocols TLSv1.2 TLSv1.3; \
         ssl_session_cache shared:tls:10m;"
    ))
}

/// The configuration before the `http` block. A proxy needs two connections for each client, and some to spare.
pub fn nginx_main(connections: usize) -> String {
    let connections = 8192.max(4 * connections);
    format!(
        "daemon off; pid nginx.pid; error_log stderr error;\n\
         worker_rlimit_nofile {connections};\nevents {{ worker_connections {connections}; }}\n"
    )
}

/// nginx's worker is another user when root starts it, and needs to come in.
pub fn readable(dir: &Path) -> Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

pub fn start_nginx(tools: &Tools, name: &str, conf: &str, dir: &Path) -> Result<Process> {
    readable(dir)?;
    let file = dir.join("nginx.conf");
    fs::write(&file, conf)?;
    let mut command = Command::new(tools.nginx()?);
    command.arg("-p").arg(dir).arg("-c").arg(&file).args(["-e", "stderr"]);
    Process::start(name, command, dir, false)
}

/// Unused loopback addresses, for servers that cannot choose for themselves. Below the range that outgoing
/// connections draw from, so that ten thousand of those do not take one before its server starts.
pub fn free_addrs<const N: usize>() -> Result<[SocketAddr; N]> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let (low, high) = (12_000_u16, 31_000_u16);
    let start = (std::process::id() % u32::from(high - low)) as u16;
    let mut held = Vec::new();
    for _ in low..high {
        let offset =
            (u32::from(start) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(high - low);
        let addr = SocketAddr::from(([127, 0, 0, 1], low + offset as u16));
        if let Ok(listener) = TcpListener::bind(addr) {
            held.push((addr, listener));
        }
        if held.len() == N {
            let addrs: Vec<SocketAddr> = held.into_iter().map(|(addr, _)| addr).collect();
            return addrs.try_into().map_err(|_| anyhow::anyhow!("port count"));
        }
    }
    bail!("no free ports from {low} to {high} on 127.0.0.1")
}
