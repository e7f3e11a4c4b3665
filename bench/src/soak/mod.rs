//! Hours of trouble in small: peers that break and come back while clients whose every answer is their own look on.

pub mod clients;
pub mod trouble;
