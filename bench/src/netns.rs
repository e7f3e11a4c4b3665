//! A network namespace of its own for a peer, behind a pair of virtual Ethernet devices: frames of 1,500 bytes and a stack of
//! its own, where loopback has segments of 64 KiB and one stack for all.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The namespace and its devices; they end when this is dropped.
pub struct Namespace {
    name: String,
    /// The address in the namespace.
    pub address: Ipv4Addr,
}

impl Namespace {
    /// Errors: no root, or no `ip` of iproute2.
    pub fn new() -> Result<Self> {
        let own = std::process::id();
        let name = format!("umbra-bench-{own}");
        // 16,384 networks of two hosts in 10.213.0.0/16, by the process.
        let network = own % (1 << 14);
        let host = |n: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 213, 0, 0)) + 4 * network + n);
        let (here, address) = (host(1), host(2));
        let (near, far) = (format!("ub{network}a"), format!("ub{network}b"));
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name, address };
        let name = &namespace.name;
        ip(&format!("link add {near} type veth peer name {far} netns {name}"))?;
        ip(&format!("addr add {here}/30 dev {near}"))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("-n {name} addr add {address}/30 dev {far}"))?;
        ip(&format!("-n {name} link set {far} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(namespace)
    }

    /// A command that runs `program` there.
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its devices go with it.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("ip, of iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    ensure!(output.status.success(), "ip {arguments}: {said}; a network namespace takes root");
    Ok(())
}
