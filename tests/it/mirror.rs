//! Copies: exactly one, faithful, bounded, counted.
