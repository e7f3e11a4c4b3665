//! The end of a connection, and the bounds that connections of every protocol have.

/// Echoed bodies above this are answered 413.
pub const ECHO_BYTES_MAX: usize = 64 << 20;
/// Slow reading and writing moves this often.
pub const SLOW_TICKS_PER_S: u64 = 20;

/// The connection is over; nothing more can be said on it.
pub struct Over;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
