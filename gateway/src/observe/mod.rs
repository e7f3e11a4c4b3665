//! Observing exchanges: an exchange and its copies joined to one outcome (`pairing`), answers kept for comparison (`keep`), and
//! a record of it all (`record`) on its way to another thread (`tap`), which hands it to its readers (`observer`).
//!
//! On a worker this room never waits, and gives an exchange no reason to wait or to fail.

pub mod pairing;
pub mod keep;
pub mod tap;
pub mod record;
pub mod trace;
pub mod disclosure;
pub mod access_log;
pub mod spans;
pub mod observer;
