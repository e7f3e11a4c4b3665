//! Privileges of this process beyond its user's, which are next to none: the rest is given up before anything else happens,
//! for good, and for all that it starts.

use std::fmt::{self, Display};
use std::io;

use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// The one that a gateway has a use for: ports below 1024, now and in a successor.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// The privileges that are left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Privileges {
    binds_low_ports: bool,
    is_root: bool,
}

/// Gives up every capability (capabilities(7)) but [`KEPT`], and the way to get any back: no program that is started, this
/// one included, gains by set-user-id or by a file's capabilities. Call it while there is one thread: others keep theirs.
///
/// # Errors
/// The kernel, or a filter of system calls, refuses.
pub(crate) fn give_up() -> io::Result<Privileges> {
    let had = thread::capabilities(None)?;
    // Out of the bounding set, or the next program started as root would have them all again.
    if had.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(KEPT).iter() {
            // A capability that this kernel does not know cannot be held either.
            let _ = thread::remove_capability_from_bounding_set(capability);
        }
    }
    let kept = had.permitted.intersection(KEPT);
    thread::set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
    if !kept.is_empty() {
        // A user other than root keeps it over the start of a successor only so.
        let _ = thread::configure_capability_in_ambient_set(KEPT, true);
    }
    thread::set_no_new_privs(true)?;
    Ok(Privileges { binds_low_ports: !kept.is_empty(), is_root: rustix::process::geteuid().is_root() })
}

impl Display for Privileges {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.binds_low_ports { "ports below 1024" } else { "none" };
        let who = if self.is_root { "; running as root, which it does not need" } else { "" };
        write!(out, "{what}, no new ones{who}")
    }
}
