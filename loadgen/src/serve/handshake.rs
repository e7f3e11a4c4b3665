//! TLS at the start of an accepted connection, or a fault in its place. Knows nothing of HTTP.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConnection;

use super::fault::Fault;
use super::local::PortLocal;
use super::over::Over;
use super::port::bump;
use super::wire::Wire;
use crate::io::{self, Buffer, Stream};
use crate::link::Duplex;
use crate::tls::server::Shown;

/// A client that takes longer is let go.
const LIMIT: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 16 * 1024;

/// The connection as requests come over it.
pub async fn cover(mut stream: Stream, local: &Rc<PortLocal>) -> Result<Wire, Over> {
    let Some(tls) = &local.port.tls else { return Ok(Wire::Plain(stream)) };
    let shown = match local.fault() {
        Fault::HandshakeStall(bytes) => return stall(stream, local, bytes).await,
        Fault::HandshakeGarbage => {
            let text = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(Bytes::from_static(text.as_bytes())).await;
            return swallow(stream).await;
        }
        Fault::BadCertificate(shown) => shown,
        _ => Shown::Good,
    };
    while local.fault().forbids_reading() {
        local.changed.notified().await;
    }
    let session = ServerConnection::new(tls.config(shown)).map_err(|_| Over)?;
    let mut duplex = Duplex::new(stream, Some(session.into()));
    match io::within(LIMIT, duplex.handshake()).await {
        Ok(()) => {
            bump(&local.counters().handshakes, 1);
            Ok(Wire::Covered(Box::new(duplex)))
        }
        Err(_) => {
            bump(&local.counters().handshakes_failed, 1);
            // An alert may still be on its way.
            let _ = duplex.link.written().await;
            Err(Over)
        }
    }
}

/// Says the first bytes of the first flight and no more, until the client is gone.
async fn stall(mut stream: Stream, local: &Rc<PortLocal>, bytes: u64) -> Result<Wire, Over> {
    let Some(tls) = &local.port.tls else { return Err(Over) };
    if bytes == 0 {
        return swallow(stream).await;
    }
    let mut session = ServerConnection::new(tls.config(Shown::Good)).map_err(|_| Over)?;
    let mut buffer = Buffer::new(BUFFER_BYTES);
    while !session.wants_write() {
        if !matches!(stream.fill(&mut buffer).await, Ok(count) if count > 0) {
            return Err(Over);
        }
        let used = session.read_tls(&mut buffer.bytes()).map_err(|_| Over)?;
        buffer.consume(used);
        session.process_new_packets().map_err(|_| Over)?;
    }
    let mut flight = Vec::new();
    while session.wants_write() && session.write_tls(&mut flight).is_ok() {}
    flight.truncate(bytes as usize);
    stream.write_all(flight.into()).await.map_err(|_| Over)?;
    swallow(stream).await
}

/// Reads and forgets until the client is gone.
async fn swallow(mut stream: Stream) -> Result<Wire, Over> {
    let mut buffer = Buffer::new(BUFFER_BYTES);
    while matches!(stream.fill(&mut buffer).await, Ok(count) if count > 0) {
        buffer.clear();
    }
    Err(Over)
}
