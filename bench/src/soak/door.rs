//! The way to the gateway: its listeners, and the authority that vouches for it. Knows nothing of HTTP but its names in ALPN.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use loadgen::tls::client::Settings;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::FORGOTTEN;
use super::request::Failure;
use super::wire::Wire;

/// Longer than any patience of the gateway: a client that runs into it was forgotten.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client's end of a connection.
pub(super) trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}
pub(super) type Stream = Box<dyn Both>;

pub(super) struct Door {
    clear: SocketAddr,
    covered: Option<Covered>,
}

struct Covered {
    addr: SocketAddr,
    name: ServerName<'static>,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Door {
    pub(super) fn new(clear: SocketAddr, covered: Option<SocketAddr>, authority: &Path) -> Result<Self> {
        let settings = |http2| Settings { ca: Some(authority.to_path_buf()), http2, ..Settings::default() };
        let connector = |http2| Ok::<_, anyhow::Error>(Arc::new(settings(http2).config()?).into());
        let covered = covered.map(|addr| {
            let name = settings(false).server_name("localhost")?;
            Ok::<_, anyhow::Error>(Covered { addr, name, http1: connector(false)?, http2: connector(true)? })
        });
        Ok(Self { clear, covered: covered.transpose().context("TLS of the clients")? })
    }

    pub(super) async fn open(&self, wire: Wire) -> Result<Stream, Failure> {
        patiently(async {
            let covered = self.covered.as_ref().filter(|_| wire.is_covered());
            let stream = TcpStream::connect(covered.map_or(self.clear, |covered| covered.addr)).await?;
            stream.set_nodelay(true)?;
            let Some(covered) = covered else { return Ok::<Stream, std::io::Error>(Box::new(stream)) };
            let connector = if wire.is_http2() { &covered.http2 } else { &covered.http1 };
            Ok(Box::new(connector.connect(covered.name.clone(), stream).await?))
        })
        .await
    }
}

/// The result of `work`, unless a client would have to say that it was forgotten.
pub(super) async fn patiently<T, E: Into<Failure>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Failure::new(FORGOTTEN)),
    }
}
