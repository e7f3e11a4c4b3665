//! Keep-alive connections that make one request and then rest. Blocking, a few at a time; no load and no measurement.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use loadgen::tls::client::Settings;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::os;

const WAIT_MAX: Duration = Duration::from_secs(10);
/// `probe` asks one connection in so many again.
const PROBE_STEP: usize = 97;

pub struct Clients {
    addr: SocketAddr,
    response_bytes: usize,
    /// Connections whose one request is under way at the same time.
    together: usize,
    tls: Option<Arc<ClientConfig>>,
    open: Vec<Client>,
}

enum Client {
    Plain(TcpStream),
    Covered(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Covered(stream) => stream.read(into),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Covered(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Covered(stream) => stream.flush(),
        }
    }
}

impl Clients {
    pub fn new(addr: SocketAddr, response_bytes: usize, together: usize) -> Self {
        Self { addr, response_bytes, together, tls: None, open: Vec::new() }
    }

    /// The same over TLS, each with a full handshake; certificates are not checked.
    pub fn over_tls(mut self) -> Result<Self> {
        let settings = Settings { insecure: true, never_resume: true, ..Settings::default() };
        self.tls = Some(Arc::new(settings.config()?));
        Ok(self)
    }

    /// Opens connections until there are `count`, and has each make its request.
    pub fn open(&mut self, count: usize) -> Result<()> {
        while self.open.len() < count {
            ensure!(!os::interrupted(), "interrupted");
            let from = self.open.len();
            for _ in 0..self.together.min(count - from) {
                let stream = TcpStream::connect_timeout(&self.addr, WAIT_MAX)
                    .with_context(|| format!("connection {} was refused", self.open.len() + 1))?;
                stream.set_read_timeout(Some(WAIT_MAX))?;
                let mut client = match &self.tls {
                    None => Client::Plain(stream),
                    Some(config) => {
                        let name = Settings::default().server_name("localhost")?;
                        let session = ClientConnection::new(config.clone(), name)?;
                        Client::Covered(Box::new(StreamOwned::new(session, stream)))
                    }
                };
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

fn ask(client: &mut Client) -> Result<()> {
    Ok(client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")?)
}

/// Reads one answer of known length.
fn answer(client: &mut Client, response_bytes: usize) -> Result<()> {
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
