//! Troubles: subjects that have one, since when and how much, told once at the change and once when it is over.
//!
//! Pure: the signs of a look at the counters come in with their moment, lines for the log go out. A subject is said to be in
//! trouble once a minute at most, however often it flaps, and no more subjects are kept than are worth reading.

mod look;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

pub use look::{Aside, Look};

/// Subjects that are kept: in trouble, or lately so. Further ones are in the metrics alone. Troubles that clients feel have as
/// many places as all others together: however many mirrors fail, none of theirs is a primary's.
const CASES_MAX: usize = 256;

/// From one warning of a subject to its next.
const REPEAT_EVERY: Duration = Duration::from_secs(60);

/// Lines of one look; further ones wait for the next.
const LINES_MAX: usize = 16;

/// Troubles that are over and remembered.
const OVER_MAX: usize = 32;

/// Losses that are not certain by themselves count as trouble from so many on, and from one in [`SHARE_PARTS`].
const LOSSES_MIN: u64 = 5;
const SHARE_PARTS: u64 = 10;

/// Less than one loss in so many is none.
const RARE_PARTS: u64 = 100;

/// Kinds of trouble, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    WorkerStuck,
    PrimaryUnavailable,
    ClientsTurnedAway,
    EndpointsUnhealthy,
    EndpointsEjected,
    CertificateEnds,
    ClusterSurplus,
    MirrorUnreachable,
    RingFull,
    CopiesGivenUp,
    ShareLowered,
}

impl Kind {
    pub fn text(self) -> &'static str {
        match self {
            Self::WorkerStuck => "worker_stuck",
            Self::PrimaryUnavailable => "primary_unavailable",
            Self::ClientsTurnedAway => "clients_turned_away",
            Self::EndpointsUnhealthy => "endpoints_unhealthy",
            Self::EndpointsEjected => "endpoints_ejected",
            Self::CertificateEnds => "certificate_ends",
            Self::ClusterSurplus => "cluster_surplus",
            Self::MirrorUnreachable => "mirror_unreachable",
            Self::RingFull => "ring_full",
            Self::CopiesGivenUp => "copies_given_up",
            Self::ShareLowered => "share_lowered",
        }
    }

    /// The room that finds it logs it itself, with facts that only it has.
    fn is_said_elsewhere(self) -> bool {
        match self {
            Self::WorkerStuck | Self::EndpointsUnhealthy | Self::CertificateEnds | Self::ClusterSurplus => {
                true
            }
            Self::PrimaryUnavailable
            | Self::ClientsTurnedAway
            | Self::EndpointsEjected
            | Self::MirrorUnreachable
            | Self::RingFull
            | Self::CopiesGivenUp
            | Self::ShareLowered => false,
        }
    }

    /// Clients feel it.
    fn is_felt(self) -> bool {
        match self {
            Self::WorkerStuck | Self::PrimaryUnavailable | Self::ClientsTurnedAway => true,
            Self::EndpointsUnhealthy
            | Self::EndpointsEjected
            | Self::CertificateEnds
            | Self::ClusterSurplus
            | Self::MirrorUnreachable
            | Self::RingFull
            | Self::CopiesGivenUp
            | Self::ShareLowered => false,
        }
    }

    /// Looks without a loss until it is over: a trouble that comes in bursts is over when they stay away.
    fn quiet_looks(self) -> u32 {
        match self {
            Self::ClientsTurnedAway | Self::RingFull | Self::CopiesGivenUp => 5,
            Self::WorkerStuck
            | Self::PrimaryUnavailable
            | Self::EndpointsUnhealthy
            | Self::EndpointsEjected
            | Self::CertificateEnds
            | Self::ClusterSurplus
            | Self::MirrorUnreachable
            | Self::ShareLowered => 1,
        }
    }
}

/// A kind of trouble, and the name of the subject that has it.
pub type Subject = (Kind, String);

/// How often something happened, by its reason.
pub type Whys = Vec<(&'static str, u64)>;

/// The sign of one subject in one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sign {
    /// Where the subject is, as an operator wrote it; empty where that says nothing.
    pub place: String,
    /// Losses since the look before, by reason.
    pub losses: Whys,
    /// Successes since then.
    pub good: u64,
    /// A single loss makes it certain.
    pub is_certain: bool,
    /// A state, and no count: in trouble with these words, or not.
    pub level: Option<String>,
    pub is_level: bool,
    /// An operator wants nothing of it now.
    pub is_paused: bool,
}

impl Sign {
    fn lost(&self) -> u64 {
        self.losses.iter().map(|(_, n)| n).sum()
    }
}

/// A subject that is in trouble, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub kind: Kind,
    pub subject: String,
    /// Since the Unix epoch.
    pub since: Duration,
    /// `None` while it lasts.
    pub until: Option<Duration>,
    pub losses: Whys,
    /// A sentence.
    pub text: String,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub is_over: bool,
    pub text: String,
}

/// The memory of one subject.
#[derive(Debug, Default)]
struct Case {
    place: String,
    since: Option<Duration>,
    losses: Whys,
    /// Copies, tries that went well while it lasted.
    good: u64,
    /// Some did in the newest look that showed a loss.
    is_in_part: bool,
    level: String,
    /// Losses and successes lately, each look's weighing less the older it is.
    lately: (u64, u64),
    quiet: u32,
    /// The present trouble was said.
    is_said: bool,
    said_at: Option<Duration>,
    /// Troubles of its that began and ended unsaid since.
    unsaid: u32,
}

/// How a trouble ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Paused,
    Gone,
}

/// All subjects.
#[derive(Debug, Default)]
pub struct Desk {
    cases: BTreeMap<Subject, Case>,
    over: Vec<Trouble>,
}

impl Desk {
    /// Takes the signs of a look, `at` since the Unix epoch; returns the lines to be logged.
    pub fn take(&mut self, signs: &BTreeMap<Subject, Sign>, at: Duration) -> Vec<Line> {
        let mut lines = Vec::new();
        let felt = self.cases.keys().filter(|(kind, _)| kind.is_felt()).count();
        let mut places = [CASES_MAX.saturating_sub(felt), CASES_MAX.saturating_sub(self.cases.len() - felt)];
        for (subject, sign) in signs {
            let is_news = sign.lost() > 0 || sign.level.is_some();
            let left = &mut places[usize::from(!subject.0.is_felt())];
            if is_news && *left > 0 && !self.cases.contains_key(subject) {
                self.cases.insert(subject.clone(), Case::default());
                *left -= 1;
            }
        }
        let mut over = Vec::new();
        for (subject, case) in &mut self.cases {
            let ends = match signs.get(subject) {
                Some(sign) => case.see(subject.0, sign, at),
                None => case.since.map(|_| End::Gone),
            };
            if let Some(end) = ends {
                over.extend(case.end(subject, end, at, &mut lines));
            } else if lines.len() < LINES_MAX && case.may_say(subject.0, at) {
                lines.push(Line { is_over: false, text: words::begun(subject, case) });
                (case.is_said, case.said_at, case.unsaid) = (true, Some(at), 0);
            }
        }
        self.over.extend(over);
        self.over.drain(..self.over.len().saturating_sub(OVER_MAX));
        self.cases.retain(|subject, case| {
            let is_recent = case.said_at.is_some_and(|said| at.saturating_sub(said) < REPEAT_EVERY);
            case.since.is_some() || is_recent || (signs.contains_key(subject) && case.lately.0 > 0)
        });
        lines
    }

    /// Troubles of now, the worst first; behind them those that are over, the latest first.
    pub fn troubles(&self) -> Vec<Trouble> {
        let open = self.cases.iter().filter_map(|(subject, case)| {
            let text = words::begun(subject, case);
            let losses = case.losses.clone();
            Some(Trouble {
                kind: subject.0,
                subject: subject.1.clone(),
                since: case.since?,
                until: None,
                losses,
                text,
            })
        });
        open.chain(self.over.iter().rev().cloned()).collect()
    }
}

impl Case {
    /// Takes one look's sign; says how a trouble ends by it.
    fn see(&mut self, kind: Kind, sign: &Sign, at: Duration) -> Option<End> {
        let lost = sign.lost();
        if !sign.place.is_empty() {
            self.place.clone_from(&sign.place);
        }
        let fades = |of: u64, new: u64| (of - of.div_ceil(8)).saturating_add(new);
        self.lately = (fades(self.lately.0, lost), fades(self.lately.1, sign.good));
        let is_bad = match (sign.is_level, self.since) {
            (true, _) => sign.level.is_some(),
            (false, None) => {
                let is_much = |(bad, good): (u64, u64)| {
                    bad >= LOSSES_MIN && bad.saturating_mul(SHARE_PARTS) >= bad.saturating_add(good)
                };
                lost > 0 && (sign.is_certain || is_much((lost, sign.good)) || is_much(self.lately))
            }
            (false, Some(_)) => {
                let is_rare = lost.saturating_mul(RARE_PARTS) < lost.saturating_add(sign.good);
                lost > 0 && (sign.is_certain || !is_rare)
            }
        };
        if let Some(level) = &sign.level {
            self.level.clone_from(level);
        }
        if self.since.is_none() && is_bad {
            *self = Self {
                since: Some(at),
                place: std::mem::take(&mut self.place),
                level: std::mem::take(&mut self.level),
                lately: self.lately,
                said_at: self.said_at,
                unsaid: self.unsaid,
                ..Self::default()
            };
        }
        self.since?;
        add(&mut self.losses, &sign.losses);
        self.good = self.good.saturating_add(sign.good);
        if lost > 0 {
            self.is_in_part = sign.good > 0;
        }
        if is_bad {
            self.quiet = 0;
            return None;
        }
        if sign.is_paused {
            return Some(End::Paused);
        }
        // Silence proves nothing, where something else than time has to show that it is well again.
        let proves = sign.is_level || sign.good > 0 || kind.quiet_looks() > 1;
        self.quiet += u32::from(proves);
        (self.quiet >= kind.quiet_looks()).then_some(End::Well)
    }

    fn may_say(&self, kind: Kind, at: Duration) -> bool {
        let is_long_ago = self.said_at.is_none_or(|said| at.saturating_sub(said) >= REPEAT_EVERY);
        self.since.is_some() && !self.is_said && is_long_ago && !kind.is_said_elsewhere()
    }

    fn end(&mut self, subject: &Subject, end: End, at: Duration, lines: &mut Vec<Line>) -> Option<Trouble> {
        let text = words::over(subject, self, end, at);
        let since = self.since.take()?;
        let losses = std::mem::take(&mut self.losses);
        (self.good, self.quiet, self.lately) = (0, 0, (0, 0));
        if std::mem::take(&mut self.is_said) {
            lines.push(Line { is_over: true, text: text.clone() });
        } else {
            self.unsaid += 1;
        }
        Some(Trouble { kind: subject.0, subject: subject.1.clone(), since, until: Some(at), losses, text })
    }
}

fn add(to: &mut Whys, more: &Whys) {
    for (why, n) in more.iter().filter(|(_, n)| *n > 0) {
        match to.iter_mut().find(|(known, _)| known == why) {
            Some((_, all)) => *all = all.saturating_add(*n),
            None => to.push((why, *n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "v2";

    fn sign(losses: &[(&'static str, u64)], good: u64, is_certain: bool) -> Sign {
        Sign { losses: losses.to_vec(), good, is_certain, place: "10.0.0.2:80".to_owned(), ..Sign::default() }
    }

    fn looked(kind: Kind, sign: Sign) -> BTreeMap<Subject, Sign> {
        BTreeMap::from([((kind, V2.to_owned()), sign)])
    }

    fn said(desk: &mut Desk, signs: &BTreeMap<Subject, Sign>, second: u64) -> Vec<String> {
        desk.take(signs, Duration::from_secs(second)).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn an_outage_is_one_line_at_its_beginning_and_one_at_its_end_with_who_since_when_and_how_much() {
        let mut desk = Desk::default();
        let lost = looked(Kind::MirrorUnreachable, sign(&[("unreachable", 30), ("closed", 2)], 0, true));
        let well = looked(Kind::MirrorUnreachable, sign(&[], 50, false));
        let silent = looked(Kind::MirrorUnreachable, sign(&[], 0, false));
        assert!(said(&mut desk, &well, 100).is_empty());
        assert_eq!(
            said(&mut desk, &lost, 101),
            ["mirror v2 (10.0.0.2:80) gets no copies, clients are not affected: lost since 00:01:41Z: 32 \
              (unreachable 30, closed 2)"]
        );
        assert!((102..300).all(|second| said(&mut desk, &lost, second).is_empty()));
        assert!(said(&mut desk, &silent, 300).is_empty(), "nobody asked: nothing is known");
        let open = &desk.troubles()[0];
        assert_eq!(
            (open.since.as_secs(), open.until, open.losses[0]),
            (101, None, ("unreachable", 199 * 30))
        );
        assert_eq!(
            said(&mut desk, &well, 301),
            ["mirror v2 (10.0.0.2:80) gets its copies again after 3 min 20 s: lost since 00:01:41Z: 6368 \
              (unreachable 5970, closed 398)"]
        );
        assert_eq!(desk.troubles()[0].until, Some(Duration::from_secs(301)));
    }

    #[test]
    fn what_flaps_is_told_twice_a_minute_at_most_and_how_often_it_flapped() {
        let mut desk = Desk::default();
        let lost = looked(Kind::MirrorUnreachable, sign(&[("unreachable", 1)], 0, true));
        let well = looked(Kind::MirrorUnreachable, sign(&[], 1, false));
        let lines: Vec<String> = (0..600)
            .flat_map(|second| said(&mut desk, if second % 2 == 0 { &lost } else { &well }, second))
            .collect();
        assert_eq!(lines.len(), 20, "{lines:#?}");
        assert!(lines[2].contains("it came and went 29 times since"), "{}", lines[2]);
        assert_eq!(desk.troubles().len(), OVER_MAX);
    }

    #[test]
    fn a_trouble_that_was_held_back_and_lasts_is_said_when_its_minute_is_over() {
        let mut desk = Desk::default();
        let lost = looked(Kind::MirrorUnreachable, sign(&[("unreachable", 1)], 0, true));
        let well = looked(Kind::MirrorUnreachable, sign(&[], 1, false));
        assert_eq!([said(&mut desk, &lost, 0).len(), said(&mut desk, &well, 1).len()], [1, 1]);
        assert!((2..60).all(|second| said(&mut desk, &lost, second).is_empty()));
        assert!(said(&mut desk, &lost, 60)[0].contains("since 00:00:02Z"));
    }

    #[test]
    fn one_answer_that_broke_among_many_is_no_trouble_and_many_are() {
        let mut desk = Desk::default();
        let few = looked(Kind::MirrorUnreachable, sign(&[("closed", 1)], 200, false));
        assert!((0..100).all(|second| said(&mut desk, &few, second).is_empty()));
        let many = looked(Kind::MirrorUnreachable, sign(&[("timeout", 100)], 200, false));
        let lines = said(&mut desk, &many, 100);
        assert!(lines.len() == 1 && lines[0].contains("loses copies"), "{lines:?}");
        assert!(lines[0].ends_with(": 100 (timeout 100), 200 went well meanwhile"), "{lines:?}");
        // A few that go on breaking keep nothing alive.
        assert_eq!(said(&mut desk, &few, 101).len(), 1);
    }

    #[test]
    fn what_is_wrong_now_is_told_as_it_is_now_and_not_as_it_began() {
        let mut desk = Desk::default();
        let now = |desk: &Desk| desk.troubles()[0].text.clone();
        // The mirror died within a second that had begun well.
        let dies = looked(Kind::MirrorUnreachable, sign(&[("unreachable", 31)], 19, true));
        assert!(said(&mut desk, &dies, 0)[0].contains("loses copies"));
        let dead = looked(Kind::MirrorUnreachable, sign(&[("unreachable", 50)], 0, true));
        assert!(said(&mut desk, &dead, 1).is_empty());
        assert!(now(&desk).contains("mirror v2 (10.0.0.2:80) gets no copies"), "{}", now(&desk));
        assert!(now(&desk).ends_with(": 81 (unreachable 81)"), "{}", now(&desk));
        // A mirror that takes copies and never answers.
        let mut desk = Desk::default();
        let hangs = looked(Kind::MirrorUnreachable, sign(&[("timeout", 50)], 0, false));
        assert!(
            said(&mut desk, &hangs, 0)[0]
                .contains("mirror v2 (10.0.0.2:80) answers no copies, clients are not")
        );
        let well = looked(Kind::MirrorUnreachable, sign(&[], 50, false));
        assert!(said(&mut desk, &well, 9)[0].contains("answers its copies again after 9 s"));
        // A primary of which an endpoint is dead.
        let mut desk = Desk::default();
        let part = looked(Kind::PrimaryUnavailable, sign(&[("connect", 10)], 20, true));
        assert!(said(&mut desk, &part, 0)[0].ends_with("10 (connect 10), 20 went well meanwhile"));
    }

    #[test]
    fn bursts_are_over_when_they_stay_away() {
        let mut desk = Desk::default();
        let full = looked(Kind::RingFull, sign(&[("ring_bytes", 9)], 0, true));
        let room = looked(Kind::RingFull, sign(&[], 0, true));
        let mut lines = 0;
        for second in 0..50 {
            lines += said(&mut desk, if second % 4 == 0 { &full } else { &room }, second).len();
        }
        assert_eq!(lines, 1);
        lines += (50..60).map(|second| said(&mut desk, &room, second).len()).sum::<usize>();
        assert_eq!(lines, 2);
    }

    #[test]
    fn who_is_paused_or_gone_is_in_trouble_no_more() {
        for (signs, word) in [
            (looked(Kind::MirrorUnreachable, Sign { is_paused: true, ..sign(&[], 0, false) }), "is paused"),
            (BTreeMap::new(), "is not configured any more"),
        ] {
            let mut desk = Desk::default();
            let lost = looked(Kind::MirrorUnreachable, sign(&[("unreachable", 1)], 0, true));
            assert_eq!(said(&mut desk, &lost, 0).len(), 1);
            let lines = said(&mut desk, &signs, 1);
            assert!(lines.len() == 1 && lines[0].contains(word), "{lines:?}");
        }
    }

    #[test]
    fn ten_thousand_subjects_in_trouble_are_a_few_lines_a_look_and_a_few_hundred_kept() {
        let mut desk = Desk::default();
        let signs: BTreeMap<Subject, Sign> = (0..10_000)
            .map(|n| ((Kind::MirrorUnreachable, format!("v{n}")), sign(&[("unreachable", 1)], 0, true)))
            .collect();
        let lines: Vec<usize> = (0..100).map(|second| said(&mut desk, &signs, second).len()).collect();
        assert_eq!((lines[0], lines.iter().sum::<usize>()), (LINES_MAX, CASES_MAX));
        assert_eq!(desk.troubles().len(), CASES_MAX);
    }

    #[test]
    fn however_many_mirrors_are_in_trouble_a_primarys_is_kept_and_said() {
        let mut desk = Desk::default();
        let mut signs: BTreeMap<Subject, Sign> = (0..1000)
            .map(|n| ((Kind::MirrorUnreachable, format!("v{n}")), sign(&[("unreachable", 1)], 0, true)))
            .collect();
        assert!(!said(&mut desk, &signs, 0).is_empty());
        signs.insert((Kind::PrimaryUnavailable, "v1".to_owned()), sign(&[("refused", 9)], 0, false));
        let lines = said(&mut desk, &signs, 1);
        assert!(lines[0].contains("primary v1 (10.0.0.2:80) is unavailable"), "{lines:?}");
        assert_eq!(desk.troubles()[0].kind, Kind::PrimaryUnavailable);
        assert_eq!(desk.troubles().len(), CASES_MAX + 1);
    }

    #[test]
    fn what_others_say_is_listed_and_not_said_again() {
        let mut desk = Desk::default();
        let unhealthy =
            Sign { is_level: true, level: Some("1 of 2 endpoints fail".to_owned()), ..Sign::default() };
        assert!(said(&mut desk, &looked(Kind::EndpointsUnhealthy, unhealthy), 0).is_empty());
        assert_eq!(desk.troubles()[0].text, "primary v2: 1 of 2 endpoints fail since 00:00:00Z");
    }
}
