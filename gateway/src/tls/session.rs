//! A TLS connection as bytes: ciphertext in, plaintext out, and back. The session owns no socket and waits for nothing.
//!
//! The face is that of rustls 0.24 (the caller owns both buffers) over the buffered connection of 0.23, so that the inside
//! can be replaced. Reading never has to write behind the handshake: an answer to KeyUpdate goes out with the next data
//! (RFC 8446 §4.6.3), and tickets are the server's own.

use std::io::{BufRead, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::alpn;
use super::fault::Fault;
use super::tickets::Tickets;
use crate::limits::{TLS_NOISE_BYTES_MAX, TLS_RECORD_BYTES, TLS_TICKETS_MAX};
use crate::metrics::Handshake;

/// Content types that a peer's first record can have: a handshake, or an alert instead of one (RFC 8446 §5.1).
const FIRST_TYPES: [u8; 2] = [22, 21];

/// Bytes of a record's header: type, version, and length of the fragment (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// Content of one record (RFC 8446 §5.1).
const RECORD_CONTENT_BYTES_MAX: usize = 1 << 14;

/// An end of a TLS connection.
pub struct Session {
    tls: Connection,
    /// Ciphertext that has not been opened, because the plaintext before it is not taken yet.
    unopened: Unopened,
    /// The peer's first byte has been looked at.
    is_known_tls: bool,
    /// The fault that it failed by.
    broken: Option<Fault>,
    /// The wire ended.
    is_cut: bool,
    /// Something was sent: a server's flight, with its signature.
    has_spoken: bool,
    /// A server that looks at its client's certificate.
    authenticates: bool,
    /// Where a client's tickets go.
    tickets: Option<Arc<Tickets>>,
    /// Bytes that came behind the handshake.
    came: Came,
}

/// A queue of bytes. Its front moves without moving the rest.
#[derive(Debug, Default)]
struct Unopened {
    bytes: Vec<u8>,
    from: usize,
}

impl Unopened {
    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    fn push(&mut self, cipher: &[u8]) {
        // Opened bytes go once they are the larger part, so that a byte moves once.
        if self.from > self.rest().len() {
            self.bytes.drain(..self.from);
            self.from = 0;
        }
        self.bytes.extend_from_slice(cipher);
    }

    /// Gives the memory back with the last byte.
    fn advance(&mut self, n: usize) {
        self.from += n;
        debug_assert!(self.from <= self.bytes.len(), "no more is opened than came");
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

/// The amounts that came, by kind.
#[derive(Debug, Default)]
struct Came {
    records: Records,
    /// Bytes of records.
    cipher: u64,
    /// Bytes of content that were in them.
    plain: u64,
    /// Bytes of records since the last that had any.
    noise: u64,
    /// Content that is not taken yet.
    waiting: usize,
    tickets: u64,
}

/// How many records came, by their headers, wherever reads split them (RFC 8446 §5.1).
#[derive(Debug, Default)]
struct Records {
    begun: u64,
    /// Bytes of the header that have come.
    header: usize,
    /// Bytes of the record's fragment that have not come; while the header comes, the part of the length that has.
    left: usize,
}

impl Records {
    fn came(&mut self, mut cipher: &[u8]) {
        while let Some((first, rest)) = cipher.split_first() {
            if self.header == RECORD_HEADER_BYTES {
                let n = self.left.min(cipher.len());
                (self.left, cipher) = (self.left - n, &cipher[n..]);
            } else {
                // The last two bytes are the length.
                self.left = (self.left << 8 | usize::from(*first)) & 0xffff;
                self.begun += u64::from(self.header == 0);
                (self.header, cipher) = (self.header + 1, rest);
            }
            if self.header == RECORD_HEADER_BYTES && self.left == 0 {
                self.header = 0;
            }
        }
    }
}

impl Came {
    fn took(&mut self, cipher: u64, plain: u64) {
        self.cipher += cipher;
        self.plain += plain;
        self.noise = if plain > 0 { 0 } else { self.noise + cipher };
    }

    /// A record costs, however few bytes of content it holds; its padding does not (RFC 8446 §5.4).
    fn overhead(&self) -> u64 {
        self.cipher.saturating_sub(self.plain).min(self.records.begun.saturating_mul(TLS_RECORD_BYTES))
    }

    /// A peer that says nothing, at such length, is not one to listen to.
    fn is_noise(&self) -> bool {
        self.noise > TLS_NOISE_BYTES_MAX || self.tickets > TLS_TICKETS_MAX + self.plain / 1024
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys and content are never shown.
        f.debug_struct("Session").field("is_handshaking", &self.is_handshaking()).finish_non_exhaustive()
    }
}

impl Session {
    pub fn server(config: &Arc<ServerConfig>, authenticates: bool) -> Result<Self, Fault> {
        let tls = ServerConnection::new(Arc::clone(config)).map_err(|e| Fault::of(&e))?;
        Ok(Self { authenticates, ..Self::of(tls.into()) })
    }

    /// `tickets` is the store that `config` keeps its tickets in.
    pub fn client(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        tickets: Option<&Arc<Tickets>>,
    ) -> Result<Self, Fault> {
        let tls = ClientConnection::new(Arc::clone(config), name.clone()).map_err(|e| Fault::of(&e))?;
        Ok(Self { tickets: tickets.map(Arc::clone), ..Self::of(tls.into()) })
    }

    fn of(mut tls: Connection) -> Self {
        // Sealed bytes are taken out at once, and callers bound the bytes that they seal.
        tls.set_buffer_limit(None);
        Self {
            tls,
            unopened: Unopened::default(),
            broken: None,
            is_known_tls: false,
            is_cut: false,
            has_spoken: false,
            authenticates: false,
            tickets: None,
            came: Came::default(),
        }
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Opens in place: `buf[from..]` is ciphertext that has just come, and plaintext afterwards. Plaintext never takes
    /// more room than the ciphertext that came with it; the rest waits for [`Session::take`].
    pub fn open(&mut self, buf: &mut Vec<u8>, from: usize) -> Result<(), Fault> {
        if !self.unopened.is_empty() {
            // In order: behind the bytes that wait already.
            self.unopened.push(&buf[from..]);
            buf.truncate(from);
            return Ok(());
        }
        let (mut written, mut opened) = (from, from);
        let result = loop {
            // Free the room in front of the ciphertext that is not opened yet.
            written += self.take_into(&mut buf[written..opened]);
            if opened == buf.len() || self.has_plaintext() {
                break Ok(());
            }
            match self.feed(&buf[opened..]) {
                // Behind close_notify nothing counts (RFC 8446 §6.1).
                Ok(0) => {
                    opened = buf.len();
                    break Ok(());
                }
                Ok(n) => opened += n,
                Err(fault) => {
                    // Bytes before it are the caller's.
                    written += self.take_into(&mut buf[written..]);
                    opened = buf.len();
                    break Err(fault);
                }
            }
        };
        self.unopened.push(&buf[opened..]);
        buf.truncate(written);
        result
    }

    /// Takes in ciphertext that has come; its plaintext is for [`Session::take`].
    pub fn push(&mut self, cipher: &[u8]) -> Result<(), Fault> {
        let mut rest = cipher;
        while self.unopened.is_empty() && !rest.is_empty() && !self.has_plaintext() {
            match self.feed(rest)? {
                0 => return Ok(()),
                n => rest = &rest[n..],
            }
        }
        self.unopened.push(rest);
        Ok(())
    }

    /// A server's session that no client has said anything on.
    pub fn waits_for_first(&self) -> bool {
        matches!(self.tls, Connection::Server(_)) && !self.is_known_tls
    }

    /// Whether the next flight may cost a signature, of ours or to be verified.
    pub fn is_next_dear(&self) -> bool {
        match &self.tls {
            // A retry request costs nothing, and the flight with the certificate is still to come (RFC 8446 §4.1.4).
            Connection::Server(_) => !self.has_spoken || self.authenticates || self.has_retried(),
            Connection::Client(_) => true,
        }
    }

    fn has_retried(&self) -> bool {
        self.tls.handshake_kind() == Some(rustls::HandshakeKind::FullWithHelloRetryRequest)
    }

    /// Appends plaintext that waits, at most `room`. None of it is 0.
    pub fn take(&mut self, buf: &mut Vec<u8>, room: usize) -> Result<usize, Fault> {
        let mut taken = 0;
        loop {
            if let Ok(chunk) = self.tls.reader().into_first_chunk()
                && !chunk.is_empty()
            {
                let n = chunk.len().min(room - taken);
                buf.extend_from_slice(&chunk[..n]);
                self.tls.reader().consume(n);
                self.came.waiting = self.came.waiting.saturating_sub(n);
                taken += n;
                if taken == room {
                    return Ok(taken);
                }
                continue;
            }
            match self.broken {
                // Bytes before it were the caller's, which asks again.
                Some(fault) if taken == 0 => return Err(fault),
                Some(_) => return Ok(taken),
                None if self.unopened.is_empty() => return Ok(taken),
                None => {}
            }
            let mut unopened = std::mem::take(&mut self.unopened);
            match self.feed(unopened.rest()) {
                Ok(n @ 1..) => unopened.advance(n),
                // Behind the end nothing counts; a fault is said when all that came before it is taken.
                Ok(0) | Err(_) => unopened = Unopened::default(),
            }
            self.unopened = unopened;
        }
    }

    /// Whether plaintext waits to be taken.
    pub fn has_plaintext(&mut self) -> bool {
        matches!(self.tls.reader().into_first_chunk(), Ok(chunk) if !chunk.is_empty())
    }

    /// The peer has said that nothing follows, and all that came before it was taken.
    pub fn is_ended(&mut self) -> bool {
        matches!(self.tls.reader().into_first_chunk(), Ok([]))
    }

    /// The wire has ended. The session is [`Session::is_ended`], or truncated.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether nothing came that is a message: no content and no end. Tickets and KeyUpdates are neither.
    pub fn is_quiet(&mut self) -> bool {
        !self.is_cut
            && self.broken.is_none()
            && self.unopened.is_empty()
            && matches!(self.tls.reader().into_first_chunk(), Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    /// Appends `pieces` in their order to `out`, behind all that must be sent first: as records of at most 16 KiB each, across
    /// the borders of pieces. `Err` where the session is broken.
    pub fn seal(&mut self, pieces: &[IoSlice<'_>], out: &mut Vec<u8>) -> Result<(), Fault> {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let written = self.tls.writer().write_vectored(pieces).map_err(|_| Fault::Protocol)?;
        debug_assert!(written == bytes, "without a limit all of it is taken");
        // At once, or sealed records would be moved as more follow.
        out.reserve(bytes + (bytes / RECORD_CONTENT_BYTES_MAX + 1) * TLS_RECORD_BYTES as usize);
        self.send(out);
        Ok(())
    }

    /// Appends the session's own messages: flights of the handshake, alerts.
    pub fn send(&mut self, out: &mut Vec<u8>) {
        while self.tls.wants_write() {
            // A Vec takes all that it is given.
            if !matches!(self.tls.write_tls(out), Ok(1..)) {
                return;
            }
            self.has_spoken = true;
        }
    }

    /// Appends close_notify: nothing follows from us (RFC 8446 §6.1). The peer can still be read.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.tls.send_close_notify();
        self.send(out);
    }

    /// Bytes that came behind the handshake and were no content, padding not counted.
    pub fn overhead(&self) -> u64 {
        self.came.overhead()
    }

    /// The fault by which the peer has broken it.
    pub fn broken(&self) -> Option<Fault> {
        self.broken
    }

    /// The peer's certificate; none is a peer that has not authenticated itself.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// The name that the client asked for.
    pub fn name(&self) -> Option<&str> {
        match &self.tls {
            Connection::Server(server) => server.server_name(),
            Connection::Client(_) => None,
        }
    }

    pub fn facts(&self) -> Facts {
        let is = |version| self.tls.protocol_version() == Some(version);
        Facts {
            is_tls13: is(rustls::ProtocolVersion::TLSv1_3),
            is_resumed: self.tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            is_http2: self.tls.alpn_protocol() == Some(alpn::HTTP2),
            names_protocol: self.tls.alpn_protocol().is_some(),
        }
    }

    /// Takes as much of `cipher` as there is room for its plaintext; 0 behind the peer's close_notify.
    fn feed(&mut self, cipher: &[u8]) -> Result<usize, Fault> {
        let fed = self.feed_unless_broken(cipher);
        self.broken = fed.err();
        fed
    }

    fn feed_unless_broken(&mut self, cipher: &[u8]) -> Result<usize, Fault> {
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        if !self.is_known_tls
            && let Some(first) = cipher.first()
        {
            if !FIRST_TYPES.contains(first) {
                return Err(Fault::NotTls);
            }
            self.is_known_tls = true;
        }
        let mut rest = cipher;
        // A read that the plaintext's bound refuses comes again when that is taken; one that is no record's fails below.
        let n = self.tls.read_tls(&mut rest).map_err(|_| Fault::Protocol)?;
        let was_handshaking = self.tls.is_handshaking();
        let tickets = self.tickets.as_ref().map_or(0, |tickets| tickets.came());
        let state = self.tls.process_new_packets().map_err(|error| Fault::of(&error))?;
        let came = &mut self.came;
        // From the first one on: where one begins is known by all those before it.
        came.records.came(&cipher[..n]);
        came.tickets += self.tickets.as_ref().map_or(0, |now| now.came().saturating_sub(tickets));
        // A handshake is bounded by its time, and by the size of its messages.
        if !was_handshaking {
            came.took(n as u64, state.plaintext_bytes_to_read().saturating_sub(came.waiting) as u64);
        }
        came.waiting = state.plaintext_bytes_to_read();
        if came.is_noise() { Err(Fault::Noise) } else { Ok(n) }
    }

    fn take_into(&mut self, room: &mut [u8]) -> usize {
        let mut taken = 0;
        while taken < room.len() {
            match self.tls.reader().read(&mut room[taken..]) {
                Ok(n @ 1..) => taken += n,
                Ok(0) | Err(_) => break,
            }
        }
        self.came.waiting = self.came.waiting.saturating_sub(taken);
        taken
    }
}

/// How a handshake came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Version 1.3 rather than 1.2.
    pub is_tls13: bool,
    pub is_resumed: bool,
    /// ALPN chose HTTP/2.
    pub is_http2: bool,
    /// ALPN chose something.
    pub names_protocol: bool,
}

impl Facts {
    pub fn kind(self) -> Handshake {
        if self.is_resumed { Handshake::Resumed } else { Handshake::Full }
    }
}

#[cfg(test)]
mod tests;
