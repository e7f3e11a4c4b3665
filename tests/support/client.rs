//! A client that writes exactly the bytes it is given and reads answers strictly.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::message::{Read, Response};
use crate::{PATIENCE, show};

/// A client's connection.
pub struct Client {
    pub stream: TcpStream,
    /// Received and not yet taken as a response.
    pub inbox: Vec<u8>,
    closed: bool,
    reset: bool,
}

/// How a request's bytes are cut into segments.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    Whole,
    /// A byte at a time.
    Bytes,
    /// In two, after this many bytes.
    At(usize),
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE).expect("connect"))
    }

    /// From another address of this machine, such as 127.0.0.2.
    #[track_caller]
    pub fn connect_from(own: &str, address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        let own: SocketAddr = format!("{own}:0").parse().expect("an IPv4 address");
        socket.bind(&own.into()).expect("an address of this machine");
        socket.connect(&address.into()).expect("connect");
        Self::over(socket.into())
    }

    #[track_caller]
    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        // A peer that never reads on fails a test instead of hanging it.
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        Self { stream, inbox: Vec::new(), closed: false, reset: false }
    }

    /// Writes all of `bytes`; a peer that hangs up in the middle is no error here, the response will tell.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    pub fn send_cut(&mut self, bytes: impl AsRef<[u8]>, cut: Cut) -> &mut Self {
        let bytes = bytes.as_ref();
        match cut {
            Cut::Whole => self.send(bytes),
            Cut::At(n) => {
                let (a, b) = bytes.split_at(n.min(bytes.len()));
                self.send(a);
                std::thread::sleep(Duration::from_millis(2));
                self.send(b)
            }
            Cut::Bytes => {
                bytes.chunks(1).for_each(|byte| {
                    self.send(byte);
                });
                self
            }
        }
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(bytes).response()
    }

    /// The next response; panics if none comes.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response(false).unwrap_or_else(|why| panic!("no response: {why}\n{}", show(&self.inbox)))
    }

    #[track_caller]
    pub fn response_to_head(&mut self) -> Response {
        self.try_response(true).unwrap_or_else(|why| panic!("no response: {why}\n{}", show(&self.inbox)))
    }

    /// The next response, or why there is none: the connection closed first, time ran out, or it was no HTTP.
    pub fn try_response(&mut self, to_head: bool) -> Result<Response, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Response::read(&self.inbox, to_head, self.closed) {
                Read::Complete(response, used) => {
                    self.inbox.drain(..used);
                    return Ok(response);
                }
                Read::Invalid(why) => return Err(format!("invalid: {why}")),
                Read::Partial if self.closed => return Err("closed before a complete response".into()),
                Read::Partial if Instant::now() > deadline => return Err("timed out".into()),
                Read::Partial => self.receive(),
            }
        }
    }

    /// Whether the connection ends (by FIN or RST) with nothing more to read.
    pub fn is_closed(&mut self) -> bool {
        self.is_ended() && self.inbox.is_empty()
    }

    /// Whether the connection ends; earlier bytes stay in the inbox.
    pub fn is_ended(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.closed && Instant::now() < deadline {
            self.receive();
        }
        self.closed
    }

    /// Whether its end has been read.
    pub fn has_ended(&self) -> bool {
        self.closed
    }

    /// Whether it ended with a reset.
    pub fn was_reset(&self) -> bool {
        self.reset
    }

    /// Whether anything arrives within `wait`.
    pub fn hears_within(&mut self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        while self.inbox.is_empty() && !self.closed && Instant::now() < deadline {
            self.receive();
        }
        !self.inbox.is_empty()
    }

    /// Ends our side; answers can still be read.
    pub fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Reads once, waiting at most 50 ms.
    pub fn receive(&mut self) {
        let mut block = [0; 64 * 1024];
        match self.stream.read(&mut block) {
            Ok(0) => self.closed = true,
            Ok(n) => self.inbox.extend_from_slice(&block[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                self.closed = true;
                self.reset = error.kind() == ErrorKind::ConnectionReset;
            }
        }
    }
}
