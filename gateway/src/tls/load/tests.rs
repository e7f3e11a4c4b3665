//! The words about files.
