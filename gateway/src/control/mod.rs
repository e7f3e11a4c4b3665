//! State shared by the control plane's rooms: the configuration in force and its counters, the health of the process, the cost
//! of a configuration, and the types of changes and their results.
//!
//! `server` writes here and `admin` reads; neither knows the other's files. Nothing here waits, and no worker sees it.

mod account;
mod clients;
mod change;
mod changes;
mod epoch;
mod merge;
mod health;
mod store;
mod trouble;
pub(crate) mod budget;

pub use account::{Account, BOOK_BYTES_MAX, Book, FORMAT, Unreadable};
pub use change::{Applied, Ask, Change, Refused};
pub use changes::{By, ChangeCounts, Changes, Difference, Made, key_part};
pub use clients::{Clients, Got};
pub use epoch::{Cause, Counts, Epoch, Epochs, Looked, Mark};
pub use health::{Health, Phase, Watchdog};
pub use merge::{Apart, Merged, Silent, merge};
pub use store::{ConfigStore, Snapshot};
pub use trouble::{Aside, Desk, Kind, Line, Look, Sign, Subject, Trouble, Whys};
