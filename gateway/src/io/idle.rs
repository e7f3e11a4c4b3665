//! Reads on a connection that may stay silent for long: they hold no buffer, or give it back when nothing has come for a while.

use std::io;

use super::sweeper::NEVER;
use super::{ReadHalf, Socket};
use crate::time::Millis;

/// How a wait for the next request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// So many bytes were appended; 0 is the peer's end.
    Read(usize),
    /// No byte came for a while.
    Parked,
}

impl ReadHalf {
    /// Like `read`, for the wait between requests: a drain may end it early, and after `park` it ends by itself as
    /// [`Idle::Parked`] with nothing read, so that a connection that stays idle can give its buffer back.
    pub async fn read_idle(
        &mut self,
        buf: Vec<u8>,
        room: usize,
        within: Millis,
        park: Millis,
    ) -> (io::Result<Idle>, Vec<u8>) {
        let Socket { sweeper, deadlines, .. } = &*self.0;
        deadlines.begin_idle(sweeper.deadline(within), sweeper.deadline(park));
        self.read_until_parked(buf, room).await
    }

    /// Like `read_idle`, of a connection on which more than requests may come: no drain ends it, and it has no deadline.
    pub async fn read_or_park(
        &mut self,
        buf: Vec<u8>,
        room: usize,
        park: Millis,
    ) -> (io::Result<Idle>, Vec<u8>) {
        let Socket { sweeper, deadlines, .. } = &*self.0;
        deadlines.begin_parkable(sweeper.deadline(park));
        self.read_until_parked(buf, room).await
    }

    async fn read_until_parked(&mut self, buf: Vec<u8>, room: usize) -> (io::Result<Idle>, Vec<u8>) {
        let socket = &self.0;
        let (result, buf) = match socket.cover.get() {
            None => socket.wire.read_until_parked(buf, room).await,
            Some(cover) => cover.read_until_parked(&socket.wire, buf, room).await,
        };
        socket.deadlines.end_idle();
        let result = socket.outcome(result).map(|read| read.map_or(Idle::Parked, Idle::Read));
        (result, buf)
    }

    /// Waits as `readable_idle`, without a deadline, and no drain ends it.
    pub async fn readable(&mut self) -> io::Result<()> {
        let socket = &self.0;
        socket.begin_read(Millis::FOREVER);
        let result = match socket.cover.get() {
            None => socket.wire.readable().await,
            Some(cover) => cover.readable(&socket.wire).await,
        };
        socket.deadlines.end_read();
        socket.outcome(result)
    }

    /// Waits, holding no buffer, until a read would find something: bytes, the end, or a passed deadline.
    pub async fn readable_idle(&mut self, within: Millis) -> io::Result<()> {
        let socket = &self.0;
        socket.deadlines.begin_idle(socket.sweeper.deadline(within), NEVER);
        let result = match socket.cover.get() {
            None => socket.wire.readable().await,
            Some(cover) => cover.readable(&socket.wire).await,
        };
        socket.deadlines.end_idle();
        socket.outcome(result)
    }
}
