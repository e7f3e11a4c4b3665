//! The meaning of one attempt's end at the primary: the report on the endpoint, the counters, and whether the
//! exchange goes on. Pure: the room that waits obeys it.

use super::SLOW_CONTENT;
use super::relay::{RelayFailed, Relayed};
use super::seen::Tried;
use crate::error::Failure;
use crate::grpc::Status;
use crate::http1::head::Fault;
use crate::message::client::NotWritten;
use crate::metrics::{RejectReason, SkipReason, UpstreamFailure};
use crate::tls;
use crate::upstream::eject::Report;

/// How one attempt ended.
pub(super) enum Attempt {
    /// Without a connection.
    NoConnection(Failure),
    /// Before the beginning of the request was written.
    NotWritten(NotWritten),
    Relayed(Result<Relayed, RelayFailed>),
}

impl Attempt {
    /// The fault by which the upstream refused the connection's handshake, heard only behind it. One without a connection is
    /// counted where it was not made.
    pub(super) fn refused_handshake(&self) -> Option<tls::fault::Fault> {
        match self {
            Self::NotWritten(NotWritten { failure, .. })
            | Self::Relayed(Err(RelayFailed::NoAnswer(failure))) => failure.tls(),
            Self::NoConnection(_) | Self::Relayed(_) => None,
        }
    }

    /// Something was waited for that did not come in time.
    fn is_late(&self) -> bool {
        match self {
            Self::NoConnection(failure) => matches!(failure, Failure::ConnectTimeout | Failure::Overflow),
            Self::NotWritten(NotWritten { failure, .. })
            | Self::Relayed(Err(RelayFailed::NoAnswer(failure) | RelayFailed::BadAnswer(failure))) => {
                *failure == Failure::Timeout
            }
            Self::Relayed(_) => false,
        }
    }
}

/// The facts of the exchange when an attempt ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The connection had carried an exchange before, and none of this exchange's attempts was repeated for that yet.
    pub(super) may_be_stale: bool,
    /// No attempt of this exchange was repeated beside the route's retries yet.
    pub(super) may_repeat: bool,
    pub(super) is_idempotent: bool,
    /// All of the request had come: it can be sent again as it is.
    pub(super) is_whole: bool,
    /// All of it was written to the primary.
    pub(super) is_forwarded: bool,
    /// The client's content is waited for.
    pub(super) waits_for_client: bool,
    /// The time that the client itself gave the exchange is over.
    pub(super) ends_by_client: bool,
    /// The failures for which the route grants another try.
    pub(super) retries_connect: bool,
    pub(super) retries_reset: bool,
}

/// The judgement of one attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// The attempt's report on its endpoint.
    pub(super) report: Option<Report>,
    /// The failure that is counted of the upstream.
    pub(super) failure: Option<UpstreamFailure>,
    pub(super) after: After,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The peer was closing its kept connection: the request goes out once more, on a new one.
    Fresh,
    /// A retry of the route's, if one is left and there is time for it.
    Retry {
        /// `None` where it did not reach the primary.
        tried: Option<Tried>,
        /// If there is no retry.
        or: End,
    },
    End(End),
}

/// How the exchange ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client got all of a response with this status.
    Answered(u16),
    /// The client got nothing yet, and gets this fault. `is_read`: no part of its request is unread.
    Refused { fault: Fault, skip: SkipReason, is_read: bool },
    /// The client got a part, or went away itself (`is_abandoned`).
    Broken { is_abandoned: bool },
}

const OUT_OF_TIME: Fault =
    Fault::new(504, RejectReason::PrimaryTimeout, "the time that the caller gave is over");

const NOT_OPENED: Fault = Fault::new(502, RejectReason::Upgrade, "the upstream opened no tunnel");

/// Judges an attempt.
pub(super) fn judge(attempt: &Attempt, known: &Known) -> Judged {
    let unavailable = |failure: Failure, is_read| End::Refused {
        fault: failure.fault(),
        skip: SkipReason::PrimaryUnavailable,
        is_read,
    };
    let retry = |granted: bool, tried, or| if granted { After::Retry { tried, or } } else { After::End(or) };
    let stale = Judged { report: None, failure: Some(UpstreamFailure::Stale), after: After::Fresh };
    let refused = Judged { report: None, failure: Some(UpstreamFailure::Refused), after: After::Fresh };
    match attempt {
        // The client sets this time, and may set one that no server could answer in: it says nothing of the primary.
        _ if known.ends_by_client && attempt.is_late() => {
            let or =
                End::Refused { fault: OUT_OF_TIME, skip: SkipReason::Aborted, is_read: known.is_forwarded };
            Judged { report: None, failure: None, after: After::End(or) }
        }
        // A request that was not processed can be sent once more, whatever its method (RFC 9113 §8.7).
        Attempt::NotWritten(NotWritten { failure: Failure::Refused, any_sent: false })
            if known.may_repeat =>
        {
            refused
        }
        Attempt::Relayed(Err(RelayFailed::NoAnswer(Failure::Refused)))
            if known.may_repeat && known.is_whole =>
        {
            refused
        }
        Attempt::NoConnection(failure) => Judged {
            report: None,
            failure: None,
            // An exchange that waited in vain for a connection would only wait again.
            after: retry(
                *failure != Failure::Overflow && known.retries_connect,
                None,
                unavailable(*failure, known.is_whole),
            ),
        },
        // A kept connection may be closing just now. A request that its peer did not see, or may see twice, is sent once more.
        Attempt::NotWritten(NotWritten { failure, any_sent })
            if known.may_be_stale
                && (known.is_idempotent || !any_sent)
                && !matches!(failure, Failure::Protocol(_)) =>
        {
            stale
        }
        Attempt::NotWritten(NotWritten { failure, .. }) => Judged {
            report: Some(Report::Failed),
            failure: Some(failure.on_primary()),
            after: retry(known.retries_reset, Some(None), unavailable(*failure, known.is_whole)),
        },
        Attempt::Relayed(Ok(relayed)) => Judged {
            report: report(relayed.status, relayed.grpc),
            failure: None,
            after: After::End(End::Answered(relayed.status)),
        },
        Attempt::Relayed(Err(failed)) => match failed {
            RelayFailed::NoAnswer(Failure::Closed | Failure::Reset)
                if known.may_be_stale && known.is_whole && known.is_idempotent =>
            {
                stale
            }
            // A client that takes its time with its content leaves the primary none for an answer.
            RelayFailed::NoAnswer(Failure::Timeout) | RelayFailed::BadAnswer(Failure::Timeout)
                if known.waits_for_client =>
            {
                let or = End::Refused { fault: SLOW_CONTENT, skip: SkipReason::Aborted, is_read: false };
                Judged { report: None, failure: None, after: After::End(or) }
            }
            RelayFailed::NoAnswer(failure) => Judged {
                report: Some(Report::Failed),
                failure: Some(failure.on_primary()),
                after: retry(
                    known.is_whole
                        && (known.retries_reset || (*failure == Failure::Refused && known.retries_connect)),
                    Some(None),
                    unavailable(*failure, known.is_forwarded),
                ),
            },
            RelayFailed::BadAnswer(failure) => Judged {
                report: Some(Report::Failed),
                failure: Some(failure.on_primary()),
                after: After::End(unavailable(*failure, known.is_forwarded)),
            },
            // The primary has answered: that the client asked for a tunnel is not its fault.
            RelayFailed::NoTunnel(status) => Judged {
                report: Some(Report::Status(*status)),
                failure: None,
                after: After::End(End::Refused {
                    fault: NOT_OPENED,
                    skip: SkipReason::Upgrade,
                    is_read: known.is_forwarded,
                }),
            },
            RelayFailed::Unwanted(status, grpc) => Judged {
                report: report(*status, *grpc),
                failure: None,
                // No retry was offered that is not there to be had; but a deadline ends the last try too.
                after: retry(
                    true,
                    Some(Some((*status, *grpc))),
                    unavailable(Failure::Timeout, known.is_forwarded),
                ),
            },
            RelayFailed::Cut(failure) => Judged {
                report: Some(Report::Failed),
                failure: Some(failure.on_primary()),
                after: After::End(End::Broken { is_abandoned: false }),
            },
            RelayFailed::ClientGone | RelayFailed::Late => {
                Judged { report: None, failure: None, after: After::End(End::Broken { is_abandoned: true }) }
            }
        },
    }
}

/// A response's report on its endpoint: one that answers calls with UNAVAILABLE fails them, though HTTP's status is 200.
fn report(status: u16, grpc: Option<Status>) -> Option<Report> {
    match grpc {
        None => Some(Report::Status(status)),
        Some(status) => (!status.is_for_callers_to_cause()).then(|| Report::Status(status.as_http())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known {
        may_be_stale: false,
        may_repeat: false,
        is_idempotent: true,
        is_whole: true,
        is_forwarded: true,
        waits_for_client: false,
        ends_by_client: false,
        retries_connect: false,
        retries_reset: false,
    };
    const STALE: Known = Known { may_be_stale: true, ..KNOWN };
    const RETRIES: Known = Known { retries_connect: true, retries_reset: true, ..KNOWN };

    fn no_answer(failure: Failure) -> Attempt {
        Attempt::Relayed(Err(RelayFailed::NoAnswer(failure)))
    }

    fn not_written(any_sent: bool) -> Attempt {
        Attempt::NotWritten(NotWritten { failure: Failure::Reset, any_sent })
    }

    /// In short: the report, the counter, and the next step.
    fn said(attempt: &Attempt, known: Known) -> String {
        let judged = judge(attempt, &known);
        let report = match judged.report {
            None => "-".to_owned(),
            Some(Report::Failed) => "failed".to_owned(),
            Some(Report::Status(status)) => status.to_string(),
        };
        let end = |end: End| match end {
            End::Answered(status) => format!("answered {status}"),
            End::Refused { fault, skip, is_read } => {
                format!("{} {skip:?}{}", fault.status, if is_read { "" } else { ", unread" })
            }
            End::Broken { is_abandoned } => format!("broken{}", if is_abandoned { " by it" } else { "" }),
        };
        let after = match judged.after {
            After::Fresh => "fresh".to_owned(),
            After::Retry { tried, or } => format!("retry after {tried:?} or {}", end(or)),
            After::End(at) => end(at),
        };
        format!("{report} / {:?} / {after}", judged.failure)
    }

    #[test]
    fn what_follows_an_attempt_depends_on_what_the_primary_may_have_seen() {
        let unwritten = Known { is_whole: false, is_forwarded: false, ..KNOWN };
        let once = Known { is_idempotent: false, ..STALE };
        let relayed = |failed| Attempt::Relayed(Err(failed));
        let rows: &[(Attempt, Known, &str)] = &[
            (Attempt::NoConnection(Failure::Connect), KNOWN, "- / None / 503 PrimaryUnavailable"),
            (
                Attempt::NoConnection(Failure::Connect),
                RETRIES,
                "- / None / retry after None or 503 PrimaryUnavailable",
            ),
            (Attempt::NoConnection(Failure::Overflow), RETRIES, "- / None / 503 PrimaryUnavailable"),
            (
                Attempt::NoConnection(Failure::ConnectTimeout),
                unwritten,
                "- / None / 504 PrimaryUnavailable, unread",
            ),
            (not_written(true), STALE, "- / Some(Stale) / fresh"),
            (not_written(false), once, "- / Some(Stale) / fresh"),
            (not_written(true), once, "failed / Some(Reset) / 502 PrimaryUnavailable"),
            (
                not_written(true),
                RETRIES,
                "failed / Some(Reset) / retry after Some(None) or 502 PrimaryUnavailable",
            ),
            (no_answer(Failure::Refused), Known { may_repeat: true, ..once }, "- / Some(Refused) / fresh"),
            (no_answer(Failure::Refused), once, "failed / Some(Refused) / 503 PrimaryUnavailable"),
            (
                no_answer(Failure::Refused),
                Known { may_repeat: true, ..unwritten },
                "failed / Some(Refused) / 503 PrimaryUnavailable, unread",
            ),
            (
                no_answer(Failure::Refused),
                RETRIES,
                "failed / Some(Refused) / retry after Some(None) or 503 PrimaryUnavailable",
            ),
            (no_answer(Failure::Closed), STALE, "- / Some(Stale) / fresh"),
            // A stream that its peer reset was looked at.
            (no_answer(Failure::StreamReset), STALE, "failed / Some(Reset) / 502 PrimaryUnavailable"),
            (
                no_answer(Failure::StreamReset),
                RETRIES,
                "failed / Some(Reset) / retry after Some(None) or 502 PrimaryUnavailable",
            ),
            (no_answer(Failure::Closed), once, "failed / Some(Closed) / 502 PrimaryUnavailable"),
            (no_answer(Failure::Timeout), STALE, "failed / Some(Timeout) / 504 PrimaryUnavailable"),
            (
                no_answer(Failure::Reset),
                RETRIES,
                "failed / Some(Reset) / retry after Some(None) or 502 PrimaryUnavailable",
            ),
            (
                no_answer(Failure::Reset),
                Known { is_whole: false, is_forwarded: false, ..RETRIES },
                "failed / Some(Reset) / 502 PrimaryUnavailable, unread",
            ),
            (
                no_answer(Failure::Timeout),
                Known { waits_for_client: true, ..unwritten },
                "- / None / 408 Aborted, unread",
            ),
            (
                no_answer(Failure::Timeout),
                Known { ends_by_client: true, ..RETRIES },
                "- / None / 504 Aborted",
            ),
            (
                Attempt::NoConnection(Failure::ConnectTimeout),
                Known { ends_by_client: true, ..RETRIES },
                "- / None / 504 Aborted",
            ),
            // A failure that the primary caused is its own, however little time there was.
            (
                no_answer(Failure::Reset),
                Known { ends_by_client: true, ..KNOWN },
                "failed / Some(Reset) / 502 PrimaryUnavailable",
            ),
            (relayed(RelayFailed::NoTunnel(200)), RETRIES, "200 / None / 502 Upgrade"),
            (
                relayed(RelayFailed::BadAnswer(Failure::Protocol("x"))),
                RETRIES,
                "failed / Some(Protocol) / 502 PrimaryUnavailable",
            ),
            (
                relayed(RelayFailed::Unwanted(503, None)),
                RETRIES,
                "503 / None / retry after Some(Some((503, None))) or 504 PrimaryUnavailable",
            ),
            (
                relayed(RelayFailed::Unwanted(200, Some(Status::of(14)))),
                RETRIES,
                "503 / None / retry after Some(Some((200, Some(Status(14))))) or 504 PrimaryUnavailable",
            ),
            (relayed(RelayFailed::Cut(Failure::Closed)), RETRIES, "failed / Some(Closed) / broken"),
            (relayed(RelayFailed::ClientGone), RETRIES, "- / None / broken by it"),
            (relayed(RelayFailed::Late), RETRIES, "- / None / broken by it"),
        ];
        for (attempt, known, expect) in rows {
            assert_eq!(said(attempt, *known), *expect, "{known:?}");
        }
    }
}
