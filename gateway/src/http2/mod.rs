//! HTTP/2
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod frame;
pub mod hpack;
pub mod fields;
pub mod flow;
pub mod guard;
pub mod session;
