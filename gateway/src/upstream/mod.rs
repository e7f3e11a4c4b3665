//! Connections to primaries: which endpoint, a kept connection or a new one, and how many at once.
//!
//! Knows nothing of clients, exchanges or mirrors; a mirror's shippers use [`crate::io`] with connections of their own.

pub mod balance;
mod channels;
pub mod eject;
mod failed;
pub mod gate;
pub mod health;
pub mod pool;
