//! Seeing what happened: what an exchange and its copies came to, told to whoever watches.

pub mod record;
