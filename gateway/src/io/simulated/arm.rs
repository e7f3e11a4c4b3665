//! A simulated end as a wire: the operations of the kernel's wire with owned buffers, over bytes in memory.

use std::io;
use std::net::Shutdown;

use monoio::buf::IoBuf;

use super::End;
use crate::io::Gather;

pub(crate) struct Arm(pub(crate) End);

impl Arm {
    pub(in crate::io) async fn read(&self, mut buf: Vec<u8>, room: usize) -> (io::Result<usize>, Vec<u8>) {
        let result = self.0.read(&mut buf, room).await;
        (result, buf)
    }

    pub(in crate::io) async fn read_cancelable(
        &self,
        buf: Vec<u8>,
        room: usize,
    ) -> (io::Result<usize>, Vec<u8>) {
        self.0.unpark();
        self.read(buf, room).await
    }

    pub(in crate::io) fn park(&self) {
        self.0.park();
    }

    pub(in crate::io) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await;
        Ok(())
    }

    pub(in crate::io) async fn write<B: IoBuf>(
        &self,
        buf: B,
        at: usize,
        to: usize,
    ) -> (io::Result<usize>, B) {
        // SAFETY: the buffer has so many initialized bytes, and stands still while `buf` is here.
        let bytes = unsafe { std::slice::from_raw_parts(buf.read_ptr(), buf.bytes_init()) };
        let result = self.0.write(&bytes[at..to]).await;
        (result, buf)
    }

    pub(in crate::io) async fn write_gathered(&self, gather: Gather) -> (io::Result<usize>, Gather) {
        let result = self.0.write(&gather.rest()).await;
        (result, gather)
    }

    pub(in crate::io) fn is_silent(&self) -> bool {
        self.0.is_quiet()
    }

    pub(in crate::io) fn read_now(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.0.read_now(buf)
    }

    pub(in crate::io) fn write_now(&self, bytes: &[u8]) {
        self.0.write_at_once(bytes);
    }

    pub(in crate::io) fn shut(&self, how: Shutdown) {
        match how {
            Shutdown::Read => self.0.shut(),
            Shutdown::Write => self.0.finish(),
            Shutdown::Both => self.0.shut_both(),
        }
    }

    /// A line holds little anyhow.
    pub(in crate::io) fn limit_unread(&self, _: usize) {}

    /// A line holds nothing back.
    pub(in crate::io) fn acknowledge(&self) {}

    pub(in crate::io) fn reset_on_close(&self, does: bool) {
        self.0.set_reset_on_close(does);
    }
}
