//! A worker's view of one port, and the counts that hold however a connection or a request ends. Reads no byte.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::answer::Answer;
use super::fault::Fault;
use super::port::{Counters, Plan, Port, bump, unbump};
use crate::io::{Alarm, Notify};

/// A worker's view of one port.
pub struct PortLocal {
    pub port: Arc<Port>,
    pub worker: usize,
    pub plan: RefCell<Rc<LocalPlan>>,
    pub changed: Notify,
    pub live: RefCell<slab::Slab<RawFd>>,
    pub random: RefCell<fastrand::Rng>,
    pub alarm: Alarm,
    pub pattern: Bytes,
    pub next_connection: Cell<u64>,
}

/// A plan with its answer prepared, where all answers are the same.
pub struct LocalPlan {
    pub plan: Arc<Plan>,
    pub constant: Option<Bytes>,
}

impl LocalPlan {
    pub fn new(plan: Arc<Plan>, pattern: &Bytes) -> Self {
        let constant = plan.behavior.is_constant().then(|| {
            let mut random = fastrand::Rng::with_seed(0);
            Answer::new(&plan.behavior, &mut random, Bytes::new(), false, false).render(pattern)
        });
        Self { plan, constant }
    }
}

impl PortLocal {
    pub fn counters(&self) -> &Counters {
        &self.port.counters[self.worker]
    }

    pub fn plan(&self) -> Rc<LocalPlan> {
        self.plan.borrow().clone()
    }

    pub fn fault(&self) -> Fault {
        self.plan.borrow().plan.fault
    }
}

/// Keeps the list of live connections true, however the connection ends.
pub struct Live {
    local: Rc<PortLocal>,
    key: usize,
}

impl Live {
    pub fn new(local: &Rc<PortLocal>, fd: RawFd) -> Self {
        bump(&local.counters().connections, 1);
        bump(&local.counters().connections_open, 1);
        let key = local.live.borrow_mut().insert(fd);
        Self { local: local.clone(), key }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.local.live.borrow_mut().remove(self.key);
        unbump(&self.local.counters().connections_open);
    }
}

/// Counts a request as being worked on, however that ends.
pub struct InFlight<'a>(&'a Counters);

impl<'a> InFlight<'a> {
    pub fn new(counters: &'a Counters) -> Self {
        bump(&counters.in_flight, 1);
        Self(counters)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        unbump(&self.0.in_flight);
    }
}
