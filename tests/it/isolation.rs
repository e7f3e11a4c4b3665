//! Whatever a mirror does, the client does not feel it.
