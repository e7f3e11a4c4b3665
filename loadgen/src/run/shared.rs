//! The parts that the tasks of one thread share: the engine with its unfinished writes, and the reading end of a connection.

use std::cell::RefCell;
use std::rc::Rc;

use super::engine::Engine;
use super::slot::Rest;
use crate::io::{self, Buffer, ReadHalf};
use crate::link::Duplex;

pub type Shared = Rc<RefCell<Engine>>;

/// Runs `act` on the engine and starts a task for every write it could not finish.
pub fn with_rests<T>(engine: &Shared, act: impl FnOnce(&mut Engine, &mut Vec<(usize, Rest)>) -> T) -> T {
    let mut rests = Vec::new();
    let result = act(&mut engine.borrow_mut(), &mut rests);
    spawn_rests(engine, rests);
    result
}

pub fn spawn_rests(engine: &Shared, rests: Vec<(usize, Rest)>) {
    for (index, mut rest) in rests {
        let engine = engine.clone();
        io::spawn(async move {
            let count = rest.bytes.len() as u64;
            // A failed write ends the connection, which its reader sees and names.
            if rest.writer.write_all(rest.bytes).await.is_ok() {
                engine.borrow_mut().written(index, rest.number, count, rest.writer);
            }
        });
    }
}

/// Where answers are read from.
pub(super) enum Reader<'a> {
    Plain(&'a mut ReadHalf),
    Covered(&'a mut Duplex),
}

impl Reader<'_> {
    /// Reads more; returns the bytes to be counted here: a covered connection counts its own.
    pub(super) async fn fill(&mut self, buffer: &mut Buffer) -> std::io::Result<Option<u64>> {
        let (count, counted) = match self {
            Self::Plain(reader) => {
                let count = reader.fill(buffer).await?;
                (count, count as u64)
            }
            Self::Covered(duplex) => (duplex.fill_at_most(buffer, usize::MAX).await?, 0),
        };
        Ok((count > 0).then_some(counted))
    }
}
