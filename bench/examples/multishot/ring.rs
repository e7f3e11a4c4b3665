//! The kernel's ring with blocks for received bytes, in three ways of use. The only file here with `unsafe`: a block is the
//! kernel's or ours, and the kernel's blocks are never read.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};

/// How the ring is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As monoio 0.2.4: a receive is asked for by an entry of its own, into a block of its connection.
    OneShot,
    /// An entry for all receives of a connection, into blocks that the kernel takes from a ring of them.
    Multishot,
    /// The same; connections and the ring itself are named by their places in registered tables.
    Registered,
}

/// Entries of the submission queue, as the gateway's default has it.
const ENTRIES: u32 = 1024;
pub(crate) const BLOCKS: u16 = 1024;
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Sockets that may be registered.
const PLACES: u32 = 512;
const GROUP: u16 = 0;
/// Kernel constants that the crate does not name.
const REGISTER_RING_FDS: libc::c_uint = 20;
const ENTER_GETEVENTS: libc::c_uint = 1;
const ENTER_REGISTERED_RING: libc::c_uint = 1 << 4;

/// The operation, as it comes back with its completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) what: What,
    /// The asker's number.
    pub(crate) number: u32,
    /// The block that it was asked with, if any.
    block: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum What {
    Accept,
    Receive,
    Send,
}

impl Asked {
    fn pack(self) -> u64 {
        (self.what as u64) << 48 | u64::from(self.block) << 32 | u64::from(self.number)
    }

    fn unpack(packed: u64) -> Self {
        let what = match packed >> 48 {
            0 => What::Accept,
            1 => What::Receive,
            _ => What::Send,
        };
        Self { what, number: packed as u32, block: (packed >> 32) as u16 }
    }
}

/// A completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) asked: Asked,
    pub(crate) result: i32,
    /// The block that holds the received bytes.
    pub(crate) block: u16,
    /// More will come without being asked for.
    pub(crate) more: bool,
}

/// Counts since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) enters: u64,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
}

/// A connection as the ring names it.
pub(crate) struct Socket {
    stream: TcpStream,
    place: Option<u32>,
}

/// Memory of the blocks, and whose each is.
struct Blocks {
    memory: *mut u8,
    are_ours: Vec<bool>,
}

pub(crate) struct Ring {
    uring: IoUring,
    way: Way,
    /// The name that `enter` calls the ring by, and the flag for the kind of name.
    name: libc::c_uint,
    kind: libc::c_uint,
    blocks: Blocks,
    /// Entries of the ring of blocks, a page at least, and how many were ever given to it.
    given: *mut BufRingEntry,
    tail: u16,
    places: Vec<u32>,
    done: Vec<Done>,
    pub(crate) counts: Counts,
}

fn pages(bytes: usize) -> io::Result<*mut u8> {
    let (how, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, of no address that anything else has.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, how, kind, -1, 0) };
    if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(memory.cast()) }
}

impl Ring {
    pub(crate) fn new(way: Way) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        // The flags that the gateway sets through monoio.
        builder.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun();
        let uring = builder.setup_cqsize(4 * ENTRIES).build(ENTRIES)?;
        let name = uring.as_raw_fd() as libc::c_uint;
        let memory = pages(usize::from(BLOCKS) * BLOCK_BYTES)?;
        let given = pages(usize::from(BLOCKS) * size_of::<BufRingEntry>())?.cast();
        let blocks = Blocks { memory, are_ours: vec![true; usize::from(BLOCKS)] };
        let mut ring = Self {
            uring,
            way,
            name,
            kind: 0,
            blocks,
            given,
            tail: 0,
            places: Vec::new(),
            done: Vec::new(),
            counts: Counts::default(),
        };
        if way != Way::OneShot {
            // SAFETY: whole pages that are never unmapped.
            unsafe { ring.uring.submitter().register_buf_ring(given as u64, BLOCKS, GROUP) }?;
            (0..BLOCKS).for_each(|block| ring.give(block));
        }
        if way == Way::Registered {
            ring.uring.submitter().register_files_sparse(PLACES)?;
            ring.places = (0..PLACES).collect();
            ring.register_itself()?;
        }
        Ok(ring)
    }

    fn register_itself(&mut self) -> io::Result<()> {
        // struct io_uring_rsrc_update: offset (any), reserved, data (the descriptor).
        let mut update = [u64::from(u32::MAX), u64::from(self.name)];
        // SAFETY: the kernel reads and writes one such struct, which lives for the call.
        let done = unsafe {
            libc::syscall(libc::SYS_io_uring_register, self.name, REGISTER_RING_FDS, update.as_mut_ptr(), 1)
        };
        if done != 1 {
            return Err(io::Error::last_os_error());
        }
        (self.name, self.kind) = (update[0] as libc::c_uint, ENTER_REGISTERED_RING);
        Ok(())
    }

    /// Takes a connection in.
    pub(crate) fn socket(&mut self, stream: TcpStream) -> io::Result<Socket> {
        let place = match self.way {
            Way::OneShot | Way::Multishot => None,
            Way::Registered => {
                let place = self.places.pop().ok_or(io::ErrorKind::QuotaExceeded)?;
                self.uring.submitter().register_files_update(place, &[stream.as_raw_fd()])?;
                Some(place)
            }
        };
        Ok(Socket { stream, place })
    }

    /// Ends a connection; pending operations on it complete.
    pub(crate) fn shut(&self, socket: &Socket) {
        let _ = socket.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Closes it, when nothing is asked for on it any more.
    pub(crate) fn close(&mut self, socket: Socket) {
        if let Some(place) = socket.place {
            let _ = self.uring.submitter().register_files_update(place, &[-1]);
            self.places.push(place);
        }
    }

    pub(crate) fn accept(&mut self, listener: &TcpListener) {
        let asked = Asked { what: What::Accept, number: 0, block: 0 };
        let fd = Fd(listener.as_raw_fd());
        self.push(opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut()).build(), asked);
    }

    /// The connection that an accept brought.
    pub(crate) fn accepted(done: Done) -> Option<TcpStream> {
        // SAFETY: a descriptor that the kernel has just made for us, without another owner.
        (done.result >= 0).then(|| unsafe { TcpStream::from_raw_fd(done.result) })
    }

    /// Into `block`, where receives are asked for one by one; else into any, again and again.
    pub(crate) fn receive(&mut self, socket: &Socket, number: u32, block: u16) {
        let asked = Asked { what: What::Receive, number, block };
        let fd = Fd(socket.stream.as_raw_fd());
        let entry = match (self.way, socket.place) {
            (Way::OneShot, _) => {
                self.blocks.are_ours[usize::from(block)] = false;
                opcode::Recv::new(fd, self.blocks.at(block), BLOCK_BYTES as u32).build()
            }
            (_, Some(place)) => opcode::RecvMulti::new(Fixed(place), GROUP).build(),
            (_, None) => opcode::RecvMulti::new(fd, GROUP).build(),
        };
        self.push(entry, asked);
    }

    /// A part of a block that is ours, and that stays ours until this is done.
    pub(crate) fn send(&mut self, socket: &Socket, number: u32, block: u16, part: Range<usize>) {
        let (start, len) = (part.start, self.bytes(block, part).len() as u32);
        let asked = Asked { what: What::Send, number, block };
        // SAFETY: within the block, by the line above.
        let from = unsafe { self.blocks.at(block).add(start) };
        let entry = match socket.place {
            Some(place) => opcode::Send::new(Fixed(place), from, len).flags(libc::MSG_NOSIGNAL).build(),
            None => {
                opcode::Send::new(Fd(socket.stream.as_raw_fd()), from, len).flags(libc::MSG_NOSIGNAL).build()
            }
        };
        self.push(entry, asked);
    }

    pub(crate) fn bytes(&self, block: u16, part: Range<usize>) -> &[u8] {
        assert!(
            self.blocks.are_ours[usize::from(block)] && part.start <= part.end && part.end <= BLOCK_BYTES
        );
        // SAFETY: within a block that is ours: the kernel writes to none of those, and we write to none at all.
        unsafe { std::slice::from_raw_parts(self.blocks.at(block).add(part.start), part.len()) }
    }

    /// Gives a block back to the ring that the kernel takes them from.
    pub(crate) fn give(&mut self, block: u16) {
        assert!(std::mem::replace(&mut self.blocks.are_ours[usize::from(block)], false), "given once");
        // SAFETY: as many entries as there are blocks, and each block stands in it once at most; the kernel reads none before
        // the tail says so.
        unsafe {
            let entry = &mut *self.given.add(usize::from(self.tail % BLOCKS));
            entry.set_addr(self.blocks.at(block) as u64);
            entry.set_len(BLOCK_BYTES as u32);
            entry.set_bid(block);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry of the ring, aligned for it, and the kernel reads it as such an atomic.
        let tail = unsafe { &*BufRingEntry::tail(self.given).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn push(&mut self, entry: squeue::Entry, asked: Asked) {
        let entry = entry.user_data(asked.pack());
        loop {
            // SAFETY: the memory that it points to lives until its completion: blocks and registered places live as long as the
            // ring, and a socket is closed when no operation on it is pending any more.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full of entries that were not submitted yet.
            self.enter(0).expect("submits");
        }
    }

    fn enter(&mut self, wait: libc::c_uint) -> io::Result<()> {
        let waiting = self.uring.submission().len();
        let flags = self.kind | ENTER_GETEVENTS;
        // SAFETY: a ring of ours by its descriptor or its registered place; no argument beyond.
        let entered = unsafe {
            let nothing = std::ptr::null::<libc::c_void>();
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.name,
                waiting as libc::c_uint,
                wait,
                flags,
                nothing,
                0_usize,
            )
        };
        self.counts.enters += 1;
        match entered {
            0.. => self.counts.submitted += entered as u64,
            _ => {
                let error = io::Error::last_os_error();
                if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Submits all that was asked for and waits for a completion: one call into the kernel for each turn.
    pub(crate) fn turn(&mut self) -> io::Result<Vec<Done>> {
        self.enter(1)?;
        let mut all = std::mem::take(&mut self.done);
        all.clear();
        for entry in self.uring.completion() {
            let asked = Asked::unpack(entry.user_data());
            let chosen = cqueue::buffer_select(entry.flags());
            let block = chosen.unwrap_or(asked.block);
            if asked.what == What::Receive && (chosen.is_some() || self.way == Way::OneShot) {
                self.blocks.are_ours[usize::from(block)] = true;
            }
            all.push(Done { asked, result: entry.result(), block, more: cqueue::more(entry.flags()) });
        }
        self.counts.completed += all.len() as u64;
        Ok(all)
    }

    /// The list of a turn, to be used again.
    pub(crate) fn take_back(&mut self, all: Vec<Done>) {
        self.done = all;
    }
}

impl Blocks {
    fn at(&self, block: u16) -> *mut u8 {
        assert!(block < BLOCKS);
        // SAFETY: there are so many blocks, in one piece of memory.
        unsafe { self.memory.add(usize::from(block) * BLOCK_BYTES) }
    }
}
