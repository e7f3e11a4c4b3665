//! Keep-alive connections that make one request and then rest. Blocking, a few at a time; no load and no measurement.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::os;

const WAIT_MAX: Duration = Duration::from_secs(10);
/// One in so many is asked again by `probe`.
const PROBE_STEP: usize = 97;

pub struct Clients {
    addr: SocketAddr,
    response_bytes: usize,
    /// Connections whose one request is under way at the same time.
    together: usize,
    open: Vec<TcpStream>,
}

impl Clients {
    pub fn new(addr: SocketAddr, response_bytes: usize, together: usize) -> Self {
        Self { addr, response_bytes, together, open: Vec::new() }
    }

    /// Opens connections until there are `count`, and has each make its request.
    pub fn open(&mut self, count: usize) -> Result<()> {
        while self.open.len() < count {
            ensure!(!os::interrupted(), "interrupted");
            let from = self.open.len();
            for _ in 0..self.together.min(count - from) {
                let mut client = TcpStream::connect_timeout(&self.addr, WAIT_MAX)
                    .with_context(|| format!("connection {} was refused", self.open.len() + 1))?;
                client.set_read_timeout(Some(WAIT_MAX))?;
                ask(&mut client)?;
                self.open.push(client);
            }
            for (index, client) in self.open[from..].iter_mut().enumerate() {
                answer(client, self.response_bytes)
                    .with_context(|| format!("connection {} got no answer", from + index + 1))?;
            }
        }
        Ok(())
    }

    /// Whether some of them can still be used.
    pub fn probe(&mut self) -> Result<()> {
        for client in self.open.iter_mut().step_by(PROBE_STEP) {
            ask(client)
                .and_then(|()| answer(client, self.response_bytes))
                .context("an idle connection was no longer usable")?;
        }
        Ok(())
    }
}

fn ask(client: &mut TcpStream) -> Result<()> {
    Ok(client.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")?)
}

/// Reads one answer of known length.
fn answer(client: &mut TcpStream, response_bytes: usize) -> Result<()> {
    let mut got = Vec::new();
    let mut piece = [0u8; 4096];
    loop {
        let head = got.windows(4).position(|w| w == b"\r\n\r\n");
        if head.is_some_and(|at| got.len() >= at + 4 + response_bytes) {
            break;
        }
        match client.read(&mut piece)? {
            0 => bail!("the connection was closed"),
            read => got.extend_from_slice(&piece[..read]),
        }
    }
    ensure!(got.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&got[..got.len().min(40)]));
    Ok(())
}
