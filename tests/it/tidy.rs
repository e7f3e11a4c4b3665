//! House rules of the source tree.
