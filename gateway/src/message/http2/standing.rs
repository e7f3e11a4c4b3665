//! One connection to an upstream tells the tally of all of them its state.

use super::channel::Channel;
use super::tally::Standing;

impl Channel {
    /// It is one of its upstream's connections from now on.
    pub fn counts(&self) {
        self.part.counts();
        self.has_changed();
    }

    pub(super) fn has_changed(&self) {
        self.part.tally().has_changed();
        self.say_standing();
    }

    pub(super) fn say_standing(&self) {
        let is_idle = self.is_idle() && self.takes_more();
        self.part.say(Standing { is_open: !self.is_over(), places: self.capacity(), is_idle });
    }
}
