//! A place for one request at a time: a connection of its own, or one of a connection's streams. Chooses no request.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};

use super::request::Message;
use crate::io::WriteHalf;
use crate::link::Link;

/// The list that a place waits in. An entry in another list is stale: the connection died while it was idle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    No,
    Idle,
    Cold,
}

/// How a request leaves.
pub enum Way {
    /// There is no connection.
    None,
    Socket {
        fd: RawFd,
        /// Gone while a task writes a rest.
        writer: Option<WriteHalf>,
    },
    Covered(Rc<Link>),
    Tunnel {
        stream: SendStream<Bytes>,
        link: Rc<Link>,
    },
    Stream {
        sender: SendRequest<Bytes>,
        link: Rc<Link>,
    },
}

/// A request on a stream of its own, or why it could not be put there.
pub type Asked = Result<(ResponseFuture, SendStream<Bytes>), h2::Error>;

pub struct Slot {
    pub target: usize,
    /// The connection that it belongs to.
    pub group: usize,
    pub parked: Parked,
    pub way: Way,
    pub current: Option<Current>,
    pub number: u64,
    /// Streams only: sent, and not yet taken by the task that reads the answer.
    pub asked: Option<Asked>,
    /// Streams only: on which of its connections, counted from one.
    pub asked_on: u64,
    /// Streams only: that task has it.
    pub is_asking: bool,
    /// Streams only: of that task.
    pub waker: Option<Waker>,
}

#[derive(Clone, Copy)]
pub struct Current {
    pub intended_ns: u64,
    pub started_ns: u64,
    pub template: u32,
    pub timed_out: bool,
}

/// Rest to write after a send that did not take all.
pub struct Rest {
    pub writer: WriteHalf,
    pub bytes: Bytes,
    pub number: u64,
}

impl Slot {
    pub fn new(target: usize, group: usize) -> Self {
        Self {
            target,
            group,
            parked: Parked::No,
            way: Way::None,
            current: None,
            number: 0,
            asked: None,
            asked_on: 0,
            is_asking: false,
            waker: None,
        }
    }

    pub fn is_connected(&self) -> bool {
        match self.way {
            Way::None => false,
            Way::Socket { .. } | Way::Covered(_) | Way::Stream { .. } | Way::Tunnel { .. } => true,
        }
    }

    /// The descriptor of its connection.
    pub fn fd(&self) -> Option<RawFd> {
        match &self.way {
            Way::None => None,
            Way::Socket { fd, .. } => Some(*fd),
            Way::Covered(link) | Way::Stream { link, .. } | Way::Tunnel { link, .. } => Some(link.fd()),
        }
    }

    pub fn link(&self) -> Option<&Rc<Link>> {
        match &self.way {
            Way::None | Way::Socket { .. } => None,
            Way::Covered(link) | Way::Stream { link, .. } | Way::Tunnel { link, .. } => Some(link),
        }
    }

    /// Has a request that is on no connection yet.
    pub fn is_unsent(&self) -> bool {
        self.current.is_some() && !self.is_asking && self.asked.is_none()
    }

    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Puts a request on a stream; its content leaves as the peer's windows allow.
pub fn ask(sender: &mut SendRequest<Bytes>, message: &Message) -> Asked {
    let (response, mut stream) = sender.send_request(message.request.clone(), message.parts.is_empty())?;
    for (index, part) in message.parts.iter().enumerate() {
        stream.send_data(part.clone(), index + 1 == message.parts.len())?;
    }
    Ok((response, stream))
}
