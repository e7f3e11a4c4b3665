//! The copy: decided (`policy`, `sample`, `rate`, `governor`), taken (`tee`, `pending`), held (`copy`, `ring`, `lane`), rid of
//! secrets (`redact`), sent (`shipper`), and accounted for (`ledger`).
//!
//! The way to the primary meets this room in `tee` alone, whose methods neither wait nor fail. Everything that waits on
//! a mirror is in `shipper`, on connections, timeouts and budgets of its own.

pub mod sample;
pub mod governor;
pub mod spread;
pub mod proof;
pub mod redact;
pub mod source;
pub mod policy;
pub mod ledger;
pub mod copy;
pub mod ring;
pub mod endpoint;
pub mod alignment;
pub mod lane;
pub mod pacer;
pub mod feed;
pub mod tee;
pub mod watch;
mod pending;
mod response;
mod streams;
pub mod shipper;
