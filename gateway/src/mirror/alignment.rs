//! Whether a mirror's connection is in step with the copies written on it. Pure: events come in.
//!
//! A response that answers no copy, and comes behind the next copy, cannot be told from that copy's: from then on each response
//! is paired with the request before its own. Silence shows alignment: a connection without a copy under way that stays silent
//! for longer than its responses take is in step. Until then the responses on it are in doubt.

use std::sync::Arc;

use crate::limits::{IN_STEP_BATCHES_MAX, SILENCE_MS_MAX};
use crate::metrics::MirrorCounters;

/// Accounts of responses in doubt: more of them ask for silence sooner.
const ACCOUNTS_MAX: usize = 64;

/// A connection's responses since it was last known to be in alignment.
#[derive(Debug, Default)]
pub struct Alignment {
    doubtful: Vec<(Arc<MirrorCounters>, u64)>,
    batches: u64,
    /// The longest time from a batch's write to its first response, in microseconds; of batches before the last silence, less with
    /// each. A connection that is out of step answers at once, which says nothing of how long its responses take.
    longest_us: u64,
}

impl Alignment {
    /// A copy of this account was answered.
    pub fn answered(&mut self, account: &Arc<MirrorCounters>) {
        match self.doubtful.iter_mut().rev().find(|(known, _)| Arc::ptr_eq(known, account)) {
            Some((_, responses)) => *responses += 1,
            None => self.doubtful.push((Arc::clone(account), 1)),
        }
    }

    /// A batch was answered; its first response began so long after it was written.
    pub fn batch(&mut self, first_us: u64) {
        self.batches += 1;
        self.longest_us = self.longest_us.max(first_us);
    }

    /// For how long the connection has to be silent to be in step, in milliseconds.
    pub fn silence_ms(&self) -> u64 {
        (self.longest_us * 2).div_ceil(1000).clamp(2, SILENCE_MS_MAX)
    }

    /// Whether so much is in doubt that the next batch waits for that silence.
    pub fn wants_silence(&self) -> bool {
        self.batches >= IN_STEP_BATCHES_MAX || self.doubtful.len() >= ACCOUNTS_MAX
    }

    /// Whether anything is in doubt.
    pub fn is_in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Notes that the connection was silent for long enough: no response is in doubt any more.
    pub fn is_known(&mut self) {
        *self = Self { longest_us: self.longest_us - self.longest_us / 4, ..Self::default() };
    }

    /// Notes a response that no request had asked for: pairs in doubt may be of two requests, and are counted so.
    pub fn is_lost(&mut self) {
        for (account, responses) in std::mem::take(self).doubtful {
            account.suspect.add(responses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_since_the_last_silence_is_suspect_when_step_is_lost() {
        let [a, b] = [Arc::<MirrorCounters>::default(), Arc::default()];
        let mut alignment = Alignment::default();
        alignment.answered(&a);
        alignment.batch(3_000);
        assert!(alignment.is_in_doubt() && !alignment.wants_silence());
        assert_eq!(alignment.silence_ms(), 6);
        alignment.is_known();
        assert!(!alignment.is_in_doubt());
        for account in [&a, &b, &a] {
            alignment.answered(account);
            alignment.batch(100);
        }
        assert_eq!(alignment.silence_ms(), 5, "a response may take as long as it did before");
        (0..9).for_each(|_| alignment.is_known());
        assert_eq!(alignment.silence_ms(), 2, "a tick of the runtime is a millisecond");
        for account in [&a, &b, &a] {
            alignment.answered(account);
        }
        alignment.is_lost();
        assert_eq!((a.suspect.get(), b.suspect.get()), (2, 1));
        assert!(!alignment.is_in_doubt());
        alignment.batch(u64::MAX / 4);
        assert_eq!(alignment.silence_ms(), SILENCE_MS_MAX);
    }

    #[test]
    fn many_batches_and_many_accounts_ask_for_silence() {
        let account = Arc::default();
        let mut alignment = Alignment::default();
        (0..IN_STEP_BATCHES_MAX).for_each(|_| {
            assert!(!alignment.wants_silence());
            alignment.answered(&account);
            alignment.batch(10);
        });
        assert!(alignment.wants_silence());
        alignment.is_known();
        (0..ACCOUNTS_MAX).for_each(|_| alignment.answered(&Arc::default()));
        assert!(alignment.wants_silence());
    }
}
