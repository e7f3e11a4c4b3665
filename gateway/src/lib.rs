//! Umbra: forward every request to the primary, answer from it, and send a copy to the mirrors.
//!
//! Modules in reading order; `exchange` is the heart. First the data plane from the whole to its parts, then the control
//! plane.

pub mod exchange;
pub mod downstream;
pub mod message;
pub mod http1;
pub mod http2;
pub mod grpc;
pub mod field_lines;
pub mod asked;
pub mod matcher;
pub mod route;
pub mod plan;
pub mod format;
pub mod upstream;
pub mod mirror;
pub mod observe;
pub mod capture;
pub mod compare;
pub mod verdict;
pub mod prepared;
pub mod generation;
pub mod worker;
pub mod context;
pub mod runtime;
pub mod io;
pub mod time;
pub mod tls;
pub mod task;
pub mod buffer;
pub mod visible;
pub mod address;
pub mod portable;
pub mod mix;
pub mod admission;
pub mod tunnels;
pub mod websocket;
pub mod rate;
pub mod random;
pub mod strata;
pub(crate) mod memory;
pub mod error;
pub mod limits;
pub mod metrics;

pub mod cli;
pub mod explain;
pub mod ask;
pub mod server;
pub mod control;
pub mod errand;
pub mod discovery;
pub mod kubernetes;
pub(crate) mod os;
pub mod banner;
pub mod admin;
pub mod sample;
pub mod demo;
pub mod logging;
pub mod recent;
