//! The bytes of one accepted connection, in the clear or under TLS. Knows nothing of HTTP.

use std::io;
use std::os::fd::RawFd;

use bytes::Bytes;

use crate::io::{Buffer, Stream};
use crate::link::Duplex;
use crate::os;

pub enum Wire {
    Plain(Stream),
    Covered(Box<Duplex>),
}

impl Wire {
    pub fn fd(&self) -> RawFd {
        match self {
            Self::Plain(stream) => stream.fd(),
            Self::Covered(duplex) => duplex.link.fd(),
        }
    }

    pub fn speaks_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Covered(duplex) => duplex.link.speaks_http2(),
        }
    }

    pub fn into_duplex(self) -> Duplex {
        match self {
            Self::Plain(stream) => Duplex::new(stream, None),
            Self::Covered(duplex) => *duplex,
        }
    }

    pub async fn fill(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        self.fill_at_most(buffer, usize::MAX).await
    }

    pub async fn fill_at_most(&mut self, buffer: &mut Buffer, bytes_max: usize) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.fill_at_most(buffer, bytes_max).await,
            Self::Covered(duplex) => duplex.fill_at_most(buffer, bytes_max).await,
        }
    }

    pub async fn write_all(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Covered(duplex) => {
                duplex.link.write(&bytes)?;
                duplex.link.written().await
            }
        }
    }

    /// Waits until the written bytes have left, or can no more.
    pub async fn written(&self) {
        if let Self::Covered(duplex) = self {
            let _ = duplex.link.written().await;
        }
    }

    /// Ends this direction in order: close_notify under TLS, then FIN.
    pub async fn finish(&self) {
        if let Self::Covered(duplex) = self {
            duplex.link.say_goodbye();
            self.written().await;
        }
        os::shutdown_write(self.fd());
    }
}
