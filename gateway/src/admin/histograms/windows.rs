//! The last minutes' distributions, ten seconds at a time. The room knows no clock: the caller hands the time in.

use std::collections::VecDeque;
use std::time::Duration;

use super::series::Key;
use crate::metrics::Slots;

/// Length of a window; longer where looking takes long.
pub(super) const LENGTH: Duration = Duration::from_secs(10);

/// Kept at most: five minutes.
const WINDOWS_MAX: usize = 30;

/// Slots of all windows together, 16 bytes each. Beyond it the oldest windows go.
const SLOTS_MAX: usize = 1 << 20;

/// The distributions of one stretch of time.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Since the Unix epoch.
    pub(super) from: Duration,
    pub(super) length: Duration,
    pub(super) series: Vec<(Key, Slots)>,
}

impl Window {
    fn slots(&self) -> usize {
        self.series.iter().map(|(_, slots)| slots.len()).sum()
    }
}

/// The windows, and the look at which the newest ended.
#[derive(Debug, Default)]
pub(super) struct Windows {
    kept: VecDeque<Window>,
    slots: usize,
    last: Option<(Duration, Vec<(Key, Slots)>)>,
}

/// Looks at the same series stand in the same order until the configuration changes, so the next is nearly always the
/// one that is sought.
fn find<'a>(of: &'a [(Key, Slots)], key: &Key, hint: usize) -> Option<&'a Slots> {
    let near = of.get(hint).filter(|(other, _)| other == key);
    near.or_else(|| of.iter().find(|(other, _)| other == key)).map(|(_, slots)| slots)
}

impl Windows {
    /// Since the Unix epoch, the end of the newest window; none before the first look.
    pub(super) fn until(&self) -> Option<Duration> {
        self.last.as_ref().map(|(at, _)| *at)
    }

    /// A look at everything since the start, `now` after the Unix epoch.
    pub(super) fn look(&mut self, now: Duration, series: Vec<(Key, Slots)>) {
        if let Some((from, before)) = &self.last {
            let came = |(at, (key, slots)): (usize, &(Key, Slots))| {
                let new = find(before, key, at).map_or_else(|| slots.clone(), |then| slots.since(then));
                (!new.is_empty()).then(|| (key.clone(), new))
            };
            let series = series.iter().enumerate().filter_map(came).collect();
            let window = Window { from: *from, length: now.saturating_sub(*from), series };
            self.slots += window.slots();
            self.kept.push_back(window);
        }
        while self.kept.len() > WINDOWS_MAX || (self.slots > SLOTS_MAX && self.kept.len() > 1) {
            self.slots -= self.kept.pop_front().map_or(0, |window| window.slots());
        }
        self.last = Some((now, series));
    }

    /// The newest windows that together are at least `length`, or all, from old to new.
    pub(super) fn newest(&self, length: Duration) -> impl Iterator<Item = &Window> {
        let (mut covered, mut n) = (Duration::ZERO, 0);
        for window in self.kept.iter().rev() {
            if covered >= length {
                break;
            }
            covered += window.length;
            n += 1;
        }
        self.kept.iter().skip(self.kept.len() - n)
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::Name;
    use super::*;
    use crate::metrics::Histogram;

    fn key(route: &str) -> Key {
        Key { name: Name::Route, route: route.to_owned(), upstream: None, mirror: None }
    }

    #[test]
    fn a_window_has_what_came_in_it_and_old_ones_go() {
        let (a, b) = (Histogram::default(), Histogram::default());
        let mut windows = Windows::default();
        let at = |n: usize| LENGTH * u32::try_from(n).unwrap();
        a.record(5);
        windows.look(at(0), vec![(key("a"), Slots::of([&a]))]);
        assert_eq!(windows.newest(LENGTH).count(), 0, "what came before the first look is in no window");
        a.record(9);
        b.record(7);
        // Another order, as after a change of configuration.
        windows.look(at(1), vec![(key("b"), Slots::of([&b])), (key("a"), Slots::of([&a]))]);
        let window = windows.newest(LENGTH).next().unwrap();
        let told: Vec<_> =
            window.series.iter().map(|(key, slots)| (key.route.as_str(), slots.iter().collect())).collect();
        assert_eq!(told, [("b", vec![(7, 1)]), ("a", vec![(9, 1)])]);
        for n in 2..WINDOWS_MAX + 5 {
            windows.look(at(n), vec![(key("a"), Slots::of([&a]))]);
        }
        assert_eq!((windows.newest(Duration::MAX).count(), windows.slots), (WINDOWS_MAX, 0));
        assert_eq!(windows.newest(LENGTH * 3).count(), 3);
        assert_eq!(windows.newest(LENGTH * 3).last().unwrap().from, at(WINDOWS_MAX + 3));
    }
}
