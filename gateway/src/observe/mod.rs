//! Seeing what happened: an exchange and its copies joined to what they came to together (`pairing`), answers kept to be
//! compared (`keep`), and a record of it all (`record`) on its way to another thread (`tap`),
//! which hands it to its readers (`observer`).
//!
//! On a worker nothing here waits, and nothing here is a reason for an exchange to wait or to fail.

pub mod pairing;
pub mod keep;
pub mod tap;
pub mod record;
pub mod trace;
pub mod disclosure;
pub mod access_log;
pub mod spans;
pub mod observer;
