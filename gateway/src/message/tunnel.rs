//! The four ends of a tunnel: bytes come from a [`Source`] and go to a [`Sink`], of a client or of an upstream, on whichever
//! wire. One arm for each wire; the bytes are not looked at.

pub use super::conversation::{Broken, Chunk};
use super::{http1, http2};
use crate::time::Millis;

/// Where bytes of a tunnel come from. While none come it holds no buffer.
pub enum Source<'a> {
    Http1(http1::tunnel::Source<'a>),
    Http2Client(http2::tunnel::ClientSource<'a>),
    Http2Upstream(http2::tunnel::UpstreamSource<'a>),
}

/// Where they go to. It holds no more than its wire takes, and one block.
pub enum Sink<'a> {
    Http1(http1::tunnel::Sink<'a>),
    Http2Client(http2::tunnel::ClientSink<'a>),
    Http2Upstream(http2::tunnel::UpstreamSink<'a>),
}

/// The same operation of whichever end it is.
macro_rules! on_end {
    ($end:expr, $arm:ident => $operation:expr) => {
        match $end {
            Self::Http1($arm) => $operation,
            Self::Http2Client($arm) => $operation,
            Self::Http2Upstream($arm) => $operation,
        }
    };
}

impl Source<'_> {
    /// The next bytes; `None` when the peer has said that no more come.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Broken> {
        on_end!(self, arm => arm.next().await)
    }
}

impl Sink<'_> {
    /// Sends all of a chunk, however long its peer takes.
    pub async fn write(&mut self, chunk: Chunk) -> Result<(), Broken> {
        on_end!(self, arm => arm.write(chunk).await)
    }

    /// Says that no more come; the peer is still heard.
    pub async fn finish(&mut self, within: Millis) -> Result<(), Broken> {
        on_end!(self, arm => arm.finish(within).await)
    }

    /// The tunnel is over for reasons of ours.
    pub fn leave(&self) {
        on_end!(self, arm => arm.leave());
    }

    /// The tunnel has broken elsewhere: its peer must not take what it got for all there was.
    pub fn cut(&self) {
        on_end!(self, arm => arm.cut());
    }
}
