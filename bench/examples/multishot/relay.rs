//! The relay on the bare ring: each client has a connection to the origin, messages pass in turn, and received bytes are sent
//! from where they lie. One loop for all ways of use; only the asking for receives differs.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use super::head::message_len;
use super::ring::{BLOCKS, Done, Ring, Socket, Way, What};

/// The client's side and the origin's.
const CLIENT: usize = 0;
const ORIGIN: usize = 1;

/// Bytes received from one side and not yet sent to the other.
struct Piece {
    block: u16,
    sent: usize,
    len: usize,
}

struct Side {
    socket: Socket,
    /// Bytes that came from it.
    pieces: VecDeque<Piece>,
    /// Bytes of the message under way that are still to come from it.
    left: usize,
    /// Sends and receives asked for on it.
    asked: u32,
}

struct Conversation {
    sides: [Side; 2],
    /// The side whose message is under way.
    speaks: usize,
    is_over: bool,
}

struct Relay<'a> {
    ring: Ring,
    way: Way,
    listener: TcpListener,
    origin: SocketAddr,
    conversations: Vec<Option<Conversation>>,
    open: usize,
    requests: u64,
    /// Where the counts are written when the last client has gone.
    counts: &'a Path,
}

pub(crate) fn serve(way: Way, listener: TcpListener, origin: SocketAddr, counts: &Path) -> io::Result<()> {
    let (ring, conversations) = (Ring::new(way)?, Vec::new());
    let mut relay = Relay { ring, way, listener, origin, conversations, open: 0, requests: 0, counts };
    relay.ring.accept(&relay.listener);
    loop {
        let all = relay.ring.turn()?;
        for done in &all {
            relay.completed(*done)?;
        }
        relay.ring.take_back(all);
    }
}

impl Relay<'_> {
    fn completed(&mut self, done: Done) -> io::Result<()> {
        if done.asked.what == What::Accept {
            self.ring.accept(&self.listener);
            return Ring::accepted(done).map_or(Ok(()), |client| self.begin(client));
        }
        let (at, side) = (done.asked.number as usize / 2, done.asked.number as usize % 2);
        let Some(mut conversation) = self.conversations[at].take() else { return Ok(()) };
        if !done.more {
            conversation.sides[side].asked -= 1;
        }
        let goes_on = match done.asked.what {
            What::Send if conversation.is_over => false,
            What::Send => self.sent(&mut conversation, (at, side), done),
            What::Receive | What::Accept => self.received(&mut conversation, (at, side), done),
        };
        if !goes_on && !conversation.is_over {
            conversation.is_over = true;
            conversation.sides.iter().for_each(|side| self.ring.shut(&side.socket));
        }
        if conversation.is_over && conversation.sides.iter().all(|side| side.asked == 0) {
            return self.end(conversation);
        }
        self.conversations[at] = Some(conversation);
        Ok(())
    }

    fn begin(&mut self, client: TcpStream) -> io::Result<()> {
        let origin = TcpStream::connect(self.origin)?;
        let mut side = |stream: TcpStream| {
            stream.set_nodelay(true)?;
            io::Result::Ok(Side {
                socket: self.ring.socket(stream)?,
                pieces: VecDeque::new(),
                left: 0,
                asked: 0,
            })
        };
        let sides = [side(client)?, side(origin)?];
        let mut conversation = Conversation { sides, speaks: CLIENT, is_over: false };
        let free = self.conversations.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.conversations.push(None);
            self.conversations.len() - 1
        });
        assert!(2 * at + 1 < usize::from(BLOCKS), "a relay to measure by, of few connections");
        self.receive(&mut conversation, (at, CLIENT));
        if self.way != Way::OneShot {
            self.receive(&mut conversation, (at, ORIGIN));
        }
        self.open += 1;
        self.conversations[at] = Some(conversation);
        Ok(())
    }

    fn receive(&mut self, conversation: &mut Conversation, (at, side): (usize, usize)) {
        let number = (2 * at + side) as u32;
        let side = &mut conversation.sides[side];
        side.asked += 1;
        // Its own block, where each has one.
        self.ring.receive(&side.socket, number, number as u16);
    }

    /// Whether the conversation goes on.
    fn received(&mut self, conversation: &mut Conversation, (at, side): (usize, usize), done: Done) -> bool {
        let asks_again = !done.more && self.way != Way::OneShot && !conversation.is_over;
        let Ok(len @ 1..) = usize::try_from(done.result) else {
            let is_short_of_blocks = done.result == -libc::ENOBUFS && asks_again;
            if is_short_of_blocks {
                self.receive(conversation, (at, side));
            }
            return is_short_of_blocks;
        };
        if asks_again {
            self.receive(conversation, (at, side));
        }
        let Some(left) = self.left_behind(conversation, side, &done, len) else {
            self.give(done.block);
            return false;
        };
        let from = &mut conversation.sides[side];
        from.left = left;
        from.pieces.push_back(Piece { block: done.block, sent: 0, len });
        if from.pieces.len() == 1 {
            self.send(conversation, (at, 1 - side));
        }
        if left == 0 {
            conversation.speaks = 1 - side;
        }
        true
    }

    /// How much of the message under way comes behind these bytes; `None` where they are not of it.
    fn left_behind(
        &self,
        conversation: &Conversation,
        side: usize,
        done: &Done,
        len: usize,
    ) -> Option<usize> {
        if conversation.is_over || conversation.speaks != side {
            return None;
        }
        match conversation.sides[side].left {
            // A message begins, and its head is to be whole.
            0 => message_len(self.ring.bytes(done.block, 0..len))?.checked_sub(len),
            left => left.checked_sub(len),
        }
    }

    /// The first piece from the one side, to `side`.
    fn send(&mut self, conversation: &mut Conversation, (at, side): (usize, usize)) {
        let [client, origin] = &mut conversation.sides;
        let (to, from) = if side == CLIENT { (client, origin) } else { (origin, client) };
        if let Some(piece) = from.pieces.front() {
            to.asked += 1;
            self.ring.send(&to.socket, (2 * at + side) as u32, piece.block, piece.sent..piece.len);
        }
    }

    fn sent(&mut self, conversation: &mut Conversation, (at, side): (usize, usize), done: Done) -> bool {
        let other = 1 - side;
        let from = &mut conversation.sides[other];
        let (Ok(len @ 1..), Some(piece)) = (usize::try_from(done.result), from.pieces.front_mut()) else {
            return false;
        };
        piece.sent += len;
        if piece.sent == piece.len {
            from.pieces.pop_front();
            self.give(done.block);
        }
        let is_whole = from.left == 0 && from.pieces.is_empty();
        let is_empty = from.pieces.is_empty();
        self.requests += u64::from(is_whole && side == CLIENT);
        if !is_empty {
            self.send(conversation, (at, side));
        } else if self.way == Way::OneShot {
            // As a task would: the next read when the write before it is done.
            self.receive(conversation, (at, if is_whole { side } else { other }));
        }
        true
    }

    fn give(&mut self, block: u16) {
        if self.way != Way::OneShot {
            self.ring.give(block);
        }
    }

    fn end(&mut self, conversation: Conversation) -> io::Result<()> {
        for side in conversation.sides {
            side.pieces.iter().for_each(|piece| self.give(piece.block));
            self.ring.close(side.socket);
        }
        self.open -= 1;
        if self.open == 0 {
            let counts = self.ring.counts;
            let line =
                format!("{} {} {} {}", self.requests, counts.enters, counts.submitted, counts.completed);
            std::fs::write(self.counts, line)?;
        }
        Ok(())
    }
}
