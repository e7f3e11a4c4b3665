//! The gateway's configuration for a soak: its listeners, and a route for each way to reach the peers. Starts nothing.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::trouble::{Peers, SERVERS, name};

/// Patience is short, so that an hour holds many ends of it. In `keys` are the servers' certificate, which is the gateway's
/// too, and its authority.
pub fn configuration(peers: &Peers, driver: &str, is_covered: bool, keys: &Path) -> Result<String> {
    let mut out = String::from("[[listener]]\nbind = \"127.0.0.1:0\"\n");
    if is_covered {
        let (cert, key) = (keys.join("server.pem"), keys.join("server.key"));
        write!(
            out,
            "protocols = [\"h2\", \"http1\"]\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
             tls = {{ certificates = [{{ cert = {cert:?}, key = {key:?} }}] }}\n"
        )?;
    }
    write!(
        out,
        "[admin]\nbind = \"127.0.0.1:0\"\n\
         [workers]\ncount = 2\npin = false\ndriver = \"{driver}\"\n\
         [timeouts]\nconnect = \"500ms\"\nresponse_head = \"1s\"\nresponse_body = \"1s\"\nwrite = \"1s\"\n\
         upstream_idle = \"2s\"\nclient_idle = \"5s\"\n"
    )?;
    for upstream in &peers.upstreams {
        for server in SERVERS {
            let name = name(server, *upstream);
            writeln!(out, "[upstream.{name}]\nendpoints = [\"{}\"]", peers.addr(&name)?)?;
            if upstream.is_covered() {
                writeln!(out, "tls = {{ ca = {:?} }}", keys.join("ca.pem"))?;
            }
            if upstream.is_http2() {
                writeln!(out, "protocol = \"h2\"")?;
            }
        }
        let [v1, v2, v3] = SERVERS.map(|server| name(server, *upstream));
        write!(
            out,
            "[[route]]\nname = \"{0}\"\npath_prefix = \"/{0}/\"\nprimary = \"{v1}\"\nupgrade = [\"websocket\"]\n\
             mirrors = [{{ upstream = \"{v2}\", timeout = \"1s\", compare = {{}} }}, {{ upstream = \"{v3}\" }}]\n",
            upstream.name()
        )?;
    }
    Ok(out)
}
