//! The engine's face towards the tasks that make connections and read answers from them. Plain functions, as all of it.

use std::ops::Range;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;
use h2::client::SendRequest;

use super::engine::Engine;
use super::outcome::{End, Outcome};
use super::request::Opening;
use super::slot::{Asked, Rest, Slot, Way};
use crate::io::WriteHalf;
use crate::link::Link;
use crate::os;

impl Engine {
    /// The slots of a connection.
    pub fn slots_of(&self, group: usize) -> Range<usize> {
        let streams = self.options.streams();
        group * streams..(group + 1) * streams
    }

    /// The target of the mix that a connection goes to.
    pub fn target_of(&self, group: usize) -> usize {
        group % self.mix.targets.len()
    }

    /// The slot has a connection now; sends the request it was made for, or waits for one.
    pub fn attach(&mut self, index: usize, fd: RawFd, writer: WriteHalf, rests: &mut Vec<(usize, Rest)>) {
        self.connected(index, Way::Socket { fd, writer: Some(writer) }, rests);
    }

    /// As `attach`, under TLS.
    pub fn attach_covered(&mut self, index: usize, link: Rc<Link>, rests: &mut Vec<(usize, Rest)>) {
        self.connected(index, Way::Covered(link), rests);
    }

    /// As `attach`, for all streams of a connection.
    pub fn attach_streams(
        &mut self,
        group: usize,
        sender: &SendRequest<Bytes>,
        link: &Rc<Link>,
        rests: &mut Vec<(usize, Rest)>,
    ) {
        self.made[group] += 1;
        // Entries of the connection before would be valid again, and give this one more than its turn.
        let (own, target) = (self.slots_of(group), self.target_of(group));
        self.targets[target].forget(&own);
        for index in own {
            self.connected(index, Way::Stream { sender: sender.clone(), link: link.clone() }, rests);
        }
    }

    pub(super) fn connected(&mut self, index: usize, way: Way, rests: &mut Vec<(usize, Rest)>) {
        let slot = &mut self.slots[index];
        slot.way = way;
        if slot.is_asking || slot.asked.is_some() {
            // The task that still reads from the connection before frees the slot.
        } else if slot.current.is_some() {
            rests.extend(self.write(index).map(|rest| (index, rest)));
        } else {
            self.free(index, rests);
        }
    }

    /// The connection ended. A request that was on it ends with `outcome`.
    pub fn detach(&mut self, index: usize, outcome: Outcome, rests: &mut Vec<(usize, Rest)>) {
        let slot = &mut self.slots[index];
        if let Way::Socket { fd, writer: None } = slot.way {
            // A task is still writing on it; without this it would go on to a connection without a reader.
            os::shutdown(fd);
        }
        if slot.current.is_some() {
            self.finish(index, End::new(outcome, 0));
        }
        self.slots[index].way = Way::None;
        self.free(index, rests);
    }

    /// The request that opens a tunnel on a connection.
    pub fn opening(&self, group: usize) -> &Opening {
        let target = self.target_of(group);
        let of_target = self.mix.templates.iter().filter(|template| template.target == target);
        // invariant: a run that opens tunnels has templates with an opening for each target.
        of_target.filter_map(|template| template.opening.as_ref()).next().expect("an opening")
    }

    /// Answers a ping, unless a message is being written or there is no room for it: the next ping will be.
    pub fn pong(&mut self, index: usize, frame: &[u8]) {
        if self.is_writing(index) {
            return;
        }
        match &mut self.slots[index].way {
            Way::None | Way::Stream { .. } => {}
            // A part of a frame would be the beginning of the next.
            Way::Socket { fd, .. } => match os::send_now(*fd, frame) {
                Ok(sent) if sent > 0 && sent < frame.len() => os::shutdown(*fd),
                Ok(_) | Err(_) => {}
            },
            Way::Covered(link) => drop(link.write(frame)),
            Way::Tunnel { stream, .. } => {
                // A frame beyond the peer's windows would wait here: a peer that pings and opens none would fill the memory.
                stream.reserve_capacity(frame.len());
                if stream.capacity() >= frame.len() {
                    drop(stream.send_data(Bytes::copy_from_slice(frame), false));
                }
            }
        }
    }

    /// For a task that reads a tunnel: the echo it waits for is waited for no longer.
    pub fn is_late(&mut self, index: usize, waker: &Waker) -> bool {
        let slot = &mut self.slots[index];
        slot.waker = Some(waker.clone());
        self.stopping || slot.current.is_some_and(|current| current.timed_out)
    }

    /// Whether a request was on the connection of these streams.
    pub fn was_asked(&self, group: usize) -> bool {
        self.slots[self.slots_of(group)].iter().any(|slot| slot.asked_on == self.made[group])
    }

    /// The connection of these streams ended; the tasks that read answers from it are told by their streams.
    pub fn detach_streams(&mut self, group: usize, went_away: bool, rests: &mut Vec<(usize, Rest)>) {
        self.went_away[group] = went_away;
        for index in self.slots_of(group) {
            self.slots[index].way = Way::None;
            if self.slots[index].current.is_none() {
                self.free(index, rests);
            }
        }
    }

    /// The connection could not be made: requests that wait for it end with `outcome`.
    pub fn give_up(&mut self, group: usize, outcome: Outcome) {
        for index in self.slots_of(group) {
            if self.slots[index].is_unsent() {
                self.finish(index, End::new(outcome, 0));
            }
        }
    }

    /// As `give_up`; the slots can take others.
    pub fn fail(&mut self, group: usize, outcome: Outcome, rests: &mut Vec<(usize, Rest)>) {
        self.give_up(group, outcome);
        for index in self.slots_of(group) {
            if self.slots[index].current.is_none() {
                self.free(index, rests);
            }
        }
    }

    /// How a request ended whose stream failed so.
    pub fn outcome_of(&mut self, index: usize, error: &h2::Error) -> Outcome {
        match Outcome::of_http2(error) {
            outcome @ Outcome::StreamReset => outcome,
            // Streams that GOAWAY left alone are told of the connection's end only.
            outcome @ (Outcome::ClosedEarly | Outcome::Reset) => {
                self.lose(index);
                if self.went_away[self.slots[index].group] { Outcome::GoAway } else { outcome }
            }
            outcome => {
                self.lose(index);
                outcome
            }
        }
    }

    /// The connection that the slot's last request was on takes no more of them.
    fn lose(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.asked_on == self.made[slot.group] {
            slot.way = Way::None;
        }
    }

    /// For a task without a connection: `Some(true)` there is a request, `Some(false)` it is over, `None` wait.
    pub fn wanted(&mut self, group: usize, waker: &Waker) -> Option<bool> {
        if self.stopping {
            return Some(false);
        }
        if self.slots[self.slots_of(group)].iter().any(Slot::is_unsent) {
            return Some(true);
        }
        self.connectors[group] = Some(waker.clone());
        None
    }

    /// For a task that reads answers: `Some(None)` it is over, `None` wait.
    pub fn asked(&mut self, index: usize, waker: &Waker) -> Option<Option<Asked>> {
        let slot = &mut self.slots[index];
        slot.is_asking = false;
        if self.stopping {
            return Some(None);
        }
        if let Some(asked) = slot.asked.take() {
            slot.is_asking = true;
            return Some(Some(asked));
        }
        slot.waker = Some(waker.clone());
        None
    }

    /// For the same task while it reads: true if the answer is waited for no longer.
    pub fn is_given_up(&mut self, index: usize, waker: &Waker) -> bool {
        let slot = &mut self.slots[index];
        slot.waker = Some(waker.clone());
        self.stopping || slot.current.is_none_or(|current| current.timed_out)
    }
}
