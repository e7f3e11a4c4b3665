//! The carrier of a connection's bytes, and the operations that every carrier has. One `match` each: a further carrier is one
//! more arm here, and nothing elsewhere.

use std::io;
use std::net::Shutdown;

use monoio::buf::IoBuf;

use super::Gather;
#[cfg(test)]
use super::simulated;
use super::tcp::Tcp;
use crate::address::Address;

/// A stream of bytes each way. All operations take `&self`: one read and one write may be pending at the same time.
pub(super) enum Wire {
    Tcp(Tcp),
    #[cfg(test)]
    Simulated(simulated::Arm),
}

/// The same operation of whichever wire it is.
macro_rules! on {
    ($wire:expr, $arm:ident => $operation:expr) => {
        match $wire {
            Wire::Tcp($arm) => $operation,
            #[cfg(test)]
            Wire::Simulated($arm) => $operation,
        }
    };
}

impl Wire {
    /// A new connection; dropping the pending operation drops its socket.
    pub(super) async fn connect(address: Address) -> io::Result<Self> {
        super::in_world!(world => Ok(Self::Simulated(simulated::Arm(world.connect(address).await?))));
        match address {
            Address::Ip(address) => Tcp::connect(address).await.map(Self::Tcp),
            Address::Unix(path) => Tcp::connect_unix(path).await.map(Self::Tcp),
        }
    }

    /// Appends at most `room` (≥ 1) bytes to `buf`; `Ok(0)` is the peer's end.
    pub(super) async fn read(&self, buf: Vec<u8>, room: usize) -> (io::Result<usize>, Vec<u8>) {
        on!(self, arm => arm.read(buf, room).await)
    }

    /// Like `read`; `park` ends it, and then nothing is read and nothing lost: `Ok(None)`.
    pub(super) async fn read_until_parked(
        &self,
        buf: Vec<u8>,
        room: usize,
    ) -> (io::Result<Option<usize>>, Vec<u8>) {
        let (result, buf) = on!(self, arm => arm.read_cancelable(buf, room).await);
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => (Ok(None), buf),
            other => (other.map(Some), buf),
        }
    }

    /// Ends a pending `read_until_parked`.
    pub(super) fn park(&self) {
        on!(self, arm => arm.park());
    }

    /// Until a read would find something. Consumes nothing, so dropping it loses nothing.
    pub(super) async fn readable(&self) -> io::Result<()> {
        on!(self, arm => arm.readable().await)
    }

    /// Writes as much of `buf[at..to]` as is taken at once.
    pub(super) async fn write<B: IoBuf>(&self, buf: B, at: usize, to: usize) -> (io::Result<usize>, B) {
        on!(self, arm => arm.write(buf, at, to).await)
    }

    /// Writes as much of a sealed `Gather` as is taken at once.
    pub(super) async fn write_gathered(&self, gather: Gather) -> (io::Result<usize>, Gather) {
        on!(self, arm => arm.write_gathered(gather).await)
    }

    /// Appends bytes that are there without waiting, some kilobytes at most; `WouldBlock` where there are none. Not beside a
    /// pending read.
    pub(super) fn read_now(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        on!(self, arm => arm.read_now(buf))
    }

    /// Writes `bytes` if that can be done without waiting, all or not at all as far as the wire can; for last words. Not
    /// beside a pending write.
    pub(super) fn write_now(&self, bytes: &[u8]) {
        on!(self, arm => arm.write_now(bytes));
    }

    /// Open, and the peer has said nothing that was not read. Does not wait.
    pub(super) fn is_silent(&self) -> bool {
        on!(self, arm => arm.is_silent())
    }

    /// Ends one way or both; a pending operation there completes.
    pub(super) fn shut(&self, how: Shutdown) {
        on!(self, arm => arm.shut(how));
    }

    /// Bounds the peer's unread bytes that are kept for us, about.
    pub(super) fn limit_unread(&self, bytes: usize) {
        on!(self, arm => arm.limit_unread(bytes));
    }

    /// Lets a peer go on that waits for an acknowledgement.
    pub(super) fn acknowledge(&self) {
        on!(self, arm => arm.acknowledge());
    }

    /// Whether the close of the connection is a reset, whenever and however it comes.
    pub(super) fn reset_on_close(&self, does: bool) {
        on!(self, arm => arm.reset_on_close(does));
    }
}
