//! The same relay on monoio, with the flags that the gateway asks it for: a task for each client, an operation for each read and write.

use std::io;
use std::net::{SocketAddr, TcpListener};

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, RuntimeBuilder};

use super::head::message_len;
use super::ring::BLOCK_BYTES;

/// As the gateway's default has it.
const ENTRIES: u32 = 1024;

pub(crate) fn serve(listener: TcpListener, origin: SocketAddr) -> io::Result<()> {
    let mut flags = io_uring::IoUring::builder();
    flags.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun().setup_cqsize(4 * ENTRIES);
    let mut runtime =
        RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).uring_builder(flags).build()?;
    runtime.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            monoio::spawn(async move {
                // A client that leaves is no error.
                let _ = converse(client, origin).await;
            });
        }
    })
}

async fn converse(mut client: TcpStream, origin: SocketAddr) -> io::Result<()> {
    let mut origin = TcpStream::connect_addr(origin).await?;
    client.set_nodelay(true)?;
    origin.set_nodelay(true)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    loop {
        block = pass(&mut client, &mut origin, block).await?;
        block = pass(&mut origin, &mut client, block).await?;
    }
}

/// Passes a message on.
async fn pass(from: &mut TcpStream, to: &mut TcpStream, mut block: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut left = None;
    while left != Some(0) {
        block.clear();
        let (read, filled) = from.read(block).await;
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let whole = left.or_else(|| message_len(&filled)).ok_or(io::ErrorKind::InvalidData)?;
        left = Some(whole.checked_sub(filled.len()).ok_or(io::ErrorKind::InvalidData)?);
        let (written, sent) = to.write_all(filled).await;
        written?;
        block = sent;
    }
    Ok(block)
}
