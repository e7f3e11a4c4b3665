//! What primaries may answer, and what the client then gets.
