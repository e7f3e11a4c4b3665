//! Umbra: forward every request to the primary, answer from it, and send a copy to the mirrors.
//!
//! Modules in reading order; `exchange` is the heart. First the data plane from the whole to its parts, then the control
//! plane.

pub mod buffer;
pub mod context;
pub mod downstream;
pub mod error;
pub mod exchange;
pub mod http1;
pub mod io;
pub mod limits;
pub mod metrics;
pub mod mirror;
pub mod route;
pub mod runtime;
pub mod task;
pub mod upstream;
pub mod worker;

pub mod admin;
pub mod banner;
pub mod cli;
pub mod logging;
pub mod sample;
pub mod server;
