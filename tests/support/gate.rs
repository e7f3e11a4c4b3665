//! A gate that a scripted peer waits at until the test opens it, so that nothing has to guess at times.

use std::sync::{Arc, Condvar, Mutex};

/// Closed when made; once open it stays open. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn closed() -> Self {
        Self::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().expect("gate") = true;
        self.0.1.notify_all();
    }

    /// Waits until the gate is open.
    pub fn pass(&self) {
        let mut open = self.0.0.lock().expect("gate");
        while !*open {
            open = self.0.1.wait(open).expect("gate");
        }
    }
}
