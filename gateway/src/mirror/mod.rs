//! The copy: decided (`sample`), taken (`tee`), held (`ring`, `lane`), sent (`shipper`), and accounted for (`ledger`).
//!
//! The way to the primary meets this room in `tee` alone, whose methods neither wait nor fail. Everything that waits on
//! a mirror is in `shipper`, on connections, timeouts and budgets of its own.

pub mod sample;
pub mod ledger;
pub mod ring;
pub mod lane;
pub mod tee;
pub mod shipper;
