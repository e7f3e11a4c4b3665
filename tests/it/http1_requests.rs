//! What clients may send, and what every wire then carries.
