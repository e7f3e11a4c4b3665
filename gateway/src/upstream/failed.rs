//! How long an endpoint that could not be called comes last, and whether it is called at all meanwhile. Pure: time is the
//! worker's coarse milliseconds, handed in.

use std::cell::Cell;

use crate::limits::ENDPOINT_FAILED_MS;
use crate::tls::fault::Fault;

/// The last failed call of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Failed {
    until_ms: Cell<u64>,
    /// Why no handshake with it can succeed.
    in_vain: Cell<Option<Fault>>,
}

impl Failed {
    /// A call came to nothing.
    pub(super) fn begins(&self, why: Option<Fault>, now_ms: u64) {
        self.until_ms.set(now_ms + ENDPOINT_FAILED_MS);
        self.in_vain.set(why.filter(|fault| fault.is_lasting()));
    }

    /// A call was answered.
    pub(super) fn is_over(&self) {
        self.until_ms.set(0);
        self.in_vain.set(None);
    }

    pub(super) fn lasts(&self, now_ms: u64) -> bool {
        self.until_ms.get() > now_ms
    }

    /// Why it is not to be called now: a moment ago no handshake with it could succeed. A refused connect costs little and may
    /// be tried for each request; a handshake costs much, and would be in vain. One call at a time sees whether that has
    /// changed: the caller that gets `None` makes it.
    pub(super) fn is_in_vain(&self, now_ms: u64) -> Option<Fault> {
        let fault = self.in_vain.get()?;
        if self.lasts(now_ms) {
            return Some(fault);
        }
        self.until_ms.set(now_ms + ENDPOINT_FAILED_MS);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_shake_hands_is_called_once_in_a_while_and_who_refuses_for_each_request() {
        let failed = Failed::default();
        failed.begins(None, 0);
        assert!(failed.lasts(0) && failed.is_in_vain(0).is_none());
        failed.begins(Some(Fault::Closed), 0);
        assert!(failed.is_in_vain(0).is_none());
        failed.begins(Some(Fault::NoCommonProtocol), 0);
        let calls = |from: u64| (from..from + 5_000).filter(|now| failed.is_in_vain(*now).is_none()).count();
        assert_eq!(calls(0), 4, "one look a second, whoever asks");
        failed.is_over();
        assert!(!failed.lasts(5_000));
        assert_eq!(calls(5_000), 5_000);
    }
}
