//! Labels of counters that plays come to for certain, seldom or never.

/// Labels that no play can reach, and why.
pub(super) const NEVER_REACHED: [(&str, &str); 8] = [
    ("completed 1xx", "a mirror's answer is complete with its final head, and 101 is a failure"),
    (
        "dropped worker_busy",
        "time passes there only while a worker waits, so it is never late: a_busy_worker_gives_up_copies_and_serves_its_clients",
    ),
    ("lowered worker_busy", "the same"),
    ("rejected misdirected", "no listener has TLS there, so no certificate has names"),
    ("rejected no_upstream", "only a manifest can name a primary that nobody knows"),
    ("rejected upgrade", "no listener there says that it takes extended CONNECT"),
    ("rejected tunnels", "no route there takes a tunnel"),
    ("skipped upgrade", "the same"),
];

/// Labels that only one play in tens of thousands reaches, so that a run of a minute may miss them.
pub(super) const SELDOM_REACHED: [&str; 2] = [
    // A copy that is to be sent once more while its lane closes.
    "failed drain",
    // A governor that looks just when its mirror's ring is full.
    "lowered ring",
];

/// Plays of a run that is long enough for everything that can happen.
pub(super) const ALL_IN_PLAYS: usize = 10_000;

/// Labels that a run of a few seconds reaches for certain.
pub(super) const ALWAYS_REACHED: [&str; 44] = [
    "client aborted",
    "shed all",
    "completed 2xx",
    "completed 3xx",
    "dropped body_too_large",
    "dropped ring_bytes",
    "failed closed",
    "failed protocol",
    "failed reset",
    "failed timeout",
    "lane cut",
    "rejected bad_request",
    "rejected body_too_large",
    "rejected head_timeout",
    "rejected head_too_large",
    "rejected primary_closed",
    "rejected primary_protocol",
    "rejected primary_timeout",
    "rejected uri_too_long",
    "skipped aborted",
    "goaway flow_control_error",
    "goaway idle",
    "goaway protocol_error",
    "goaway requests",
    "rejected malformed",
    "stream refused",
    "stream reset client",
    "stream reset gateway",
    "stream reset malformed",
    "primary answered",
    "primary cut",
    "primary goaway",
    "primary interim",
    "primary malformed",
    "primary refused",
    "primary reset",
    "primary trailers",
    "primary unread",
    "primary zero window",
    "upstream connect",
    "upstream refused",
    "upstream retry",
    "upstream reuse",
    "upstream stale",
];
