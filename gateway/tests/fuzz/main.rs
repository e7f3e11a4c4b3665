//! Absurd texts, by the hundred thousand: whatever comes, the pure rooms keep their promises.
//!
//! Each test runs for `UMBRA_FUZZ_SECONDS` (2 without it) from `UMBRA_FUZZ_SEED` (drawn and printed without it). A case
//! depends on its own number alone, so that `UMBRA_FUZZ_SEED=S UMBRA_FUZZ_CASE=N` runs just the one that failed.
//! The check is never "it does not crash" alone: a second, simpler reader (`strict`) reads the meaning of the bytes.

mod content;
// The guided fuzzer (`tests/guided`) has these cases too, and uses items that these runs do not.
#[allow(dead_code)]
mod dice;
mod heads;
mod http2;
mod json;
mod strict;
mod written;
