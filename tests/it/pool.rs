//! Kept connections: reused only when proven clean, retried only when nothing can happen twice.
