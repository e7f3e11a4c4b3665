//! Bad files: all errors at once, each with its key and line, before anything serves.
