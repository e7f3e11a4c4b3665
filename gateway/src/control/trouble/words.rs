//! The sentences of troubles: one line that a person understands at three in the morning. Pure.

use std::time::Duration;

use super::{Case, End, Kind, Subject, Whys};

/// The line for a trouble that lasts.
pub(super) fn begun((kind, name): &Subject, case: &Case) -> String {
    let (who, since) = (who(*kind, name, &case.place), since(case));
    let losses = losses(case);
    let text = match kind {
        Kind::WorkerStuck => format!("{who} does not turn{since}; only a new process helps"),
        Kind::PrimaryUnavailable => {
            format!("{who} is unavailable, clients get 502, 503 or 504: tries failed{since}: {losses}")
        }
        Kind::ClientsTurnedAway => {
            format!("clients are turned away by the gateway's own limits{since}: {losses}")
        }
        Kind::EndpointsUnhealthy => format!("{who}: {}{since}", case.level),
        Kind::EndpointsEjected => format!("{who}: {}{since}", case.level),
        Kind::CertificateEnds => format!("{who} {}", case.level),
        Kind::ClusterSurplus => format!("{who}: {}{since}", case.level),
        Kind::MirrorUnreachable => {
            let what = match (case.is_in_part, is_reached(case)) {
                (true, _) => "loses copies",
                (false, true) => "answers no copies",
                (false, false) => "gets no copies",
            };
            format!("{who} {what}, clients are not affected: lost{since}: {losses}")
        }
        Kind::RingFull => {
            format!(
                "{who} is too slow for its copies and its ring is full, clients are not affected: dropped{since}: {losses}"
            )
        }
        Kind::CopiesGivenUp => {
            format!(
                "copies for {who} are given up, this machine has no time for them: dropped{since}: {losses}"
            )
        }
        Kind::ShareLowered => format!("{who} {}{since}", case.level),
    };
    match case.unsaid {
        0 => text,
        n => format!("{text} (it came and went {n} times since this was said last)"),
    }
}

/// The line for a trouble that is over.
pub(super) fn over((kind, name): &Subject, case: &Case, end: End, at: Duration) -> String {
    let who = who(*kind, name, &case.place);
    let lasted = span(at.saturating_sub(case.since.unwrap_or(at)));
    let since = since(case);
    let losses = counted(&case.losses);
    match end {
        End::Gone => return format!("{who} is not configured any more; it was in trouble for {lasted}"),
        End::Paused => return format!("{who} is paused; it was in trouble for {lasted}: {losses}"),
        End::Well => {}
    }
    match kind {
        Kind::WorkerStuck => format!("{who} turns again after {lasted}"),
        Kind::PrimaryUnavailable => {
            format!("{who} is available again after {lasted}: tries that failed{since}: {losses}")
        }
        Kind::ClientsTurnedAway => {
            format!("clients are not turned away any more after {lasted}: turned away{since}: {losses}")
        }
        Kind::EndpointsUnhealthy => format!("{who}: every endpoint is healthy again after {lasted}"),
        Kind::EndpointsEjected => format!("{who}: every endpoint is back after {lasted}"),
        Kind::CertificateEnds => format!("{who} was renewed"),
        Kind::ClusterSurplus => format!("{who}: every object is taken again after {lasted}"),
        Kind::MirrorUnreachable => {
            let verb = if is_reached(case) { "answers" } else { "gets" };
            format!("{who} {verb} its copies again after {lasted}: lost{since}: {losses}")
        }
        Kind::RingFull => {
            format!("{who}: its ring has room again after {lasted}: dropped{since}: {losses}")
        }
        Kind::CopiesGivenUp => {
            format!("copies for {who} are not given up any more after {lasted}: dropped{since}: {losses}")
        }
        Kind::ShareLowered => format!("{who} has its whole share again after {lasted}"),
    }
}

/// The subject, with its address where that is known.
fn who(kind: Kind, name: &str, place: &str) -> String {
    let at = if place.is_empty() { String::new() } else { format!(" ({place})") };
    match kind {
        Kind::WorkerStuck => format!("worker {name}"),
        Kind::PrimaryUnavailable | Kind::EndpointsUnhealthy | Kind::EndpointsEjected => {
            format!("primary {name}{at}")
        }
        Kind::ClientsTurnedAway => String::new(),
        Kind::CertificateEnds => format!("certificate {name}"),
        Kind::ClusterSurplus => format!("{name} of the cluster"),
        Kind::MirrorUnreachable | Kind::RingFull | Kind::CopiesGivenUp | Kind::ShareLowered => {
            format!("mirror {name}{at}")
        }
    }
}

/// Whether copies reached it: it took connections, whatever followed.
fn is_reached(case: &Case) -> bool {
    case.losses.iter().all(|(why, _)| *why != "unreachable")
}

/// The losses, and the successes beside them.
fn losses(case: &Case) -> String {
    let losses = counted(&case.losses);
    if case.is_in_part { format!("{losses}, {} went well meanwhile", case.good) } else { losses }
}

fn since(case: &Case) -> String {
    case.since.map_or_else(String::new, |since| format!(" since {}", clock(since)))
}

/// Time of day, in UTC.
fn clock(at: Duration) -> String {
    let seconds = at.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `37 (unreachable 35, closed 2)`.
fn counted(losses: &Whys) -> String {
    let all: u64 = losses.iter().map(|(_, n)| n).sum();
    let by: Vec<String> = losses.iter().map(|(why, n)| format!("{why} {n}")).collect();
    format!("{all} ({})", by.join(", "))
}

/// In the two largest units.
fn span(of: Duration) -> String {
    let s = of.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_plain() {
        assert_eq!(clock(Duration::from_secs(86_400 * 3 + 3 * 3600 + 7)), "03:00:07Z");
        let spans = [5, 65, 3_660, 90_000].map(|s| span(Duration::from_secs(s)));
        assert_eq!(spans, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(counted(&vec![("unreachable", 3), ("closed", 1)]), "4 (unreachable 3, closed 1)");
    }
}
