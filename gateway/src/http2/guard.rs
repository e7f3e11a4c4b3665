//! The cost that a peer may cause: the limits of a session with their defaults, and an account for each of HTTP/2's known
//! floods. Every account has a name under which it is counted where it runs out; then the connection ends with
//! ENHANCE_YOUR_CALM.

/// Resets of a client's streams beyond those that its answered requests pay for (CVE-2023-44487). It counts the peer that
/// provoked a reset, not the one that sent it (CVE-2025-8671). The streams themselves stay counted until their exchanges have
/// ended.
pub const RESETS_MAX: i64 = 100;

/// Requests answered for each further reset: clients that cancel one in five have their reasons.
pub const ANSWERED_PER_RESET: u32 = 4;

/// Answers to PING and SETTINGS that wait in `out` (CVE-2019-9512, -9515): a peer that does not read our bytes gets no more.
pub const ANSWERS_UNSENT_MAX: u32 = 16;

/// SETTINGS within [`SETTINGS_PERIOD_MS`]; each may touch every stream's window.
pub const SETTINGS_MAX: i64 = 8;
pub const SETTINGS_PERIOD_MS: i64 = 10_000;

/// Frames of one block of fields (CVE-2024-27316); eight of them hold eight times the largest usual head.
pub const BLOCK_FRAMES_MAX: u32 = 8;

/// Bytes of idle frames: PRIORITY, extensions, acknowledgements, empty DATA, frames of streams that are over (blocks of fields
/// by their decoded size), increments of windows. Requests and content that is sent refill it, and time does.
pub const IDLE_BYTES_MAX: i64 = 64 * 1024;
pub const IDLE_BYTES_PER_SECOND: i64 = 4 * 1024;

/// A request pays this in: a few PRIORITY and WINDOW_UPDATE belong to it.
const IDLE_BYTES_PER_REQUEST: i64 = 128;

/// A DATA frame that we send pays this in, for increments that follow it: two frames, and one for each 512 bytes.
const IDLE_BYTES_PER_DATA: i64 = 26;
const DATA_BYTES_PER_IDLE_BYTE: i64 = 40;

/// The cost of each DATA frame beside its content (RUSTSEC-2026-0258). Counted in bytes against the stream's own budget: a count
/// of frames alone would end honest streams of ten thousand small messages (hyper #4164).
pub const DATA_FRAME_COST: u64 = 32;

/// Interim responses before a final one.
pub use crate::limits::INTERIM_RESPONSES_MAX;

/// Bounds that an operator sets, or that follow from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams at once. Of the peer (server): more are refused, and may be sent again. Of our own (client): a caller waits.
    pub streams_max: usize,
    /// Streams over the connection's life; then it drains, so that load spreads anew now and then.
    pub streams_total_max: u64,
    /// A head as the peer counts it: names, values and 32 for each field. More is answered 431; four times as much ends
    /// the connection.
    pub head_bytes_max: usize,
    /// Fields of a head or of trailers; crumbs of cookies are fields (CVE-2026-49975).
    pub fields_max: usize,
    /// The most that one stream may send: content, and [`DATA_FRAME_COST`] for each frame of it.
    pub stream_bytes_max: u64,
    /// The most that one stream may send before it is taken; at least HTTP/2's default, which a peer may use before it knows
    /// better.
    pub stream_window_bytes: u32,
    /// Content queued on one stream beyond which [`super::session::Session::has_room`] says no. A connection holds at most
    /// `streams_max` times this and one block each.
    pub queued_bytes_max: usize,
    /// Preface and SETTINGS, and each block of fields, from the first byte to the last.
    pub head_ms_max: u64,
    /// A stream whose peer takes none of the queued bytes (a zero window keeps answers in memory).
    pub write_ms_max: u64,
    /// Bytes that earn such a stream a second beyond that, from when something began to wait for its peer; 0 asks for none.
    pub bytes_per_second_min: u64,
    /// A connection without streams.
    pub idle_ms_max: u64,
    /// Silence with streams open, after which a PING asks whether the peer is there; 0: never.
    pub ping_after_ms: u64,
    /// Until that PING is answered.
    pub ping_ms_max: u64,
    /// See [`RESETS_MAX`].
    pub resets_max: u32,
    /// See [`ANSWERED_PER_RESET`].
    pub answered_per_reset: u32,
    /// See [`ANSWERS_UNSENT_MAX`].
    pub answers_unsent_max: u32,
    /// See [`SETTINGS_MAX`].
    pub settings_max: u32,
    /// See [`BLOCK_FRAMES_MAX`].
    pub block_frames_max: u32,
    /// See [`IDLE_BYTES_MAX`].
    pub idle_bytes_max: u64,
    /// See [`IDLE_BYTES_PER_SECOND`].
    pub idle_bytes_per_second: u64,
    /// Server: clients are told that they may ask for tunnels by extended CONNECT (RFC 8441).
    pub offers_connect: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_max: 128,
            streams_total_max: 1_000_000,
            head_bytes_max: 16 * 1024,
            fields_max: 100,
            stream_bytes_max: u64::MAX,
            stream_window_bytes: 65_536,
            queued_bytes_max: 64 * 1024,
            head_ms_max: 10_000,
            write_ms_max: 30_000,
            bytes_per_second_min: 0,
            idle_ms_max: 75_000,
            ping_after_ms: 15_000,
            ping_ms_max: 10_000,
            resets_max: RESETS_MAX as u32,
            answered_per_reset: ANSWERED_PER_RESET,
            answers_unsent_max: ANSWERS_UNSENT_MAX,
            settings_max: SETTINGS_MAX as u32,
            block_frames_max: BLOCK_FRAMES_MAX,
            idle_bytes_max: IDLE_BYTES_MAX as u64,
            idle_bytes_per_second: IDLE_BYTES_PER_SECOND as u64,
            offers_connect: false,
        }
    }
}

/// The account that ran out: why a connection ended with ENHANCE_YOUR_CALM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// [`RESETS_MAX`].
    Resets,
    /// [`ANSWERS_UNSENT_MAX`].
    AnswersUnsent,
    /// [`SETTINGS_MAX`].
    Settings,
    /// [`BLOCK_FRAMES_MAX`], or an empty CONTINUATION.
    Continuations,
    /// A block encoded in more than four times [`Limits::head_bytes_max`].
    BlockBytes,
    /// A block that means more than that.
    Fields,
    /// [`IDLE_BYTES_MAX`].
    IdleFrames,
    /// [`Limits::head_ms_max`] for preface and SETTINGS, or for a block.
    Slow,
}

impl Flood {
    pub const ALL: [Self; 8] = [
        Self::Resets,
        Self::AnswersUnsent,
        Self::Settings,
        Self::Continuations,
        Self::BlockBytes,
        Self::Fields,
        Self::IdleFrames,
        Self::Slow,
    ];

    /// The label it is counted under.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::AnswersUnsent => "answers_unsent",
            Self::Settings => "settings",
            Self::Continuations => "continuations",
            Self::BlockBytes => "block_bytes",
            Self::Fields => "fields",
            Self::IdleFrames => "idle_frames",
            Self::Slow => "slow",
        }
    }
}

/// An amount that time gives back.
#[derive(Debug, Clone, Copy)]
struct Account {
    left: i64,
    max: i64,
    /// Given back in a second.
    per_second: i64,
    /// Thousandths not yet given back.
    rest: i64,
    seen_ms: u64,
}

impl Account {
    fn new(max: i64, per_second: i64, now_ms: u64) -> Self {
        Self { left: max, max, per_second, rest: 0, seen_ms: now_ms }
    }

    /// Says whether there was enough.
    fn spend(&mut self, cost: i64, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(std::mem::replace(&mut self.seen_ms, now_ms));
        let gained = i64::try_from(passed)
            .unwrap_or(i64::MAX)
            .saturating_mul(self.per_second)
            .saturating_add(self.rest);
        self.rest = gained % 1000;
        self.gain(gained / 1000);
        self.left -= cost;
        self.left >= 0
    }

    fn gain(&mut self, amount: i64) {
        self.left = self.left.saturating_add(amount).min(self.max);
    }
}

/// The accounts of one connection.
#[derive(Debug)]
pub struct Guard {
    resets_left: i64,
    resets_max: i64,
    answered: u32,
    answered_per_reset: u32,
    answers_unsent: u32,
    answers_unsent_max: u32,
    /// In thousandths of a SETTINGS.
    settings: Account,
    idle: Account,
    /// Bytes that may cross resets of ours: the allowance of the streams when we gave them up. Eaten before `idle` is.
    forgiven: i64,
    forgiven_max: i64,
}

impl Guard {
    /// `crossing_max`: bytes that a peer may have on its way to streams that we give up, all of them together.
    pub fn new(limits: &Limits, crossing_max: i64, now_ms: u64) -> Self {
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let settings = i64::from(limits.settings_max);
        let per_second = settings * 1_000_000 / SETTINGS_PERIOD_MS;
        Self {
            resets_left: limits.resets_max.into(),
            resets_max: limits.resets_max.into(),
            answered: 0,
            answered_per_reset: limits.answered_per_reset,
            answers_unsent: 0,
            answers_unsent_max: limits.answers_unsent_max,
            settings: Account::new(settings * 1000, per_second, now_ms),
            idle: Account::new(bytes(limits.idle_bytes_max), bytes(limits.idle_bytes_per_second), now_ms),
            forgiven: 0,
            forgiven_max: crossing_max,
        }
    }

    /// We give a stream up for reasons of our own, on which so many bytes may still come.
    pub fn forgive(&mut self, bytes: i64) {
        self.forgiven = self.forgiven.saturating_add(bytes).min(self.forgiven_max);
    }

    /// A frame of a stream that is over, with so many bytes that may have crossed our reset.
    pub fn crossed(&mut self, bytes: u32, cost: u32, now_ms: u64) -> Result<(), Flood> {
        if bytes > 0 && i64::from(bytes) <= self.forgiven {
            self.forgiven -= i64::from(bytes);
            return Ok(());
        }
        self.idle_frame(cost, now_ms)
    }

    /// Counts a stream that was reset by the peer, or by us for the peer's fault.
    pub fn reset(&mut self) -> Result<(), Flood> {
        self.resets_left -= 1;
        if self.resets_left < 0 { Err(Flood::Resets) } else { Ok(()) }
    }

    /// A request was answered whole.
    pub fn answered(&mut self) {
        self.answered += 1;
        if self.answered >= self.answered_per_reset {
            self.answered = 0;
            self.resets_left = (self.resets_left + 1).min(self.resets_max);
        }
    }

    /// An answer to PING or SETTINGS goes into `out`.
    pub fn answer(&mut self) -> Result<(), Flood> {
        self.answers_unsent += 1;
        if self.answers_unsent > self.answers_unsent_max { Err(Flood::AnswersUnsent) } else { Ok(()) }
    }

    /// Answers in `out`.
    pub fn answers_unsent(&self) -> u32 {
        self.answers_unsent
    }

    /// The writer took `out`: its last bytes have been written.
    pub fn out_was_taken(&mut self) {
        self.answers_unsent = 0;
    }

    pub fn settings(&mut self, now_ms: u64) -> Result<(), Flood> {
        if self.settings.spend(1000, now_ms) { Ok(()) } else { Err(Flood::Settings) }
    }

    /// A frame that asks for nothing.
    #[inline]
    pub fn idle_frame(&mut self, bytes: u32, now_ms: u64) -> Result<(), Flood> {
        if self.idle.spend(i64::from(bytes), now_ms) { Ok(()) } else { Err(Flood::IdleFrames) }
    }

    pub fn request(&mut self) {
        self.idle.gain(IDLE_BYTES_PER_REQUEST);
    }

    pub fn data_sent(&mut self, bytes: usize) {
        self.idle.gain(IDLE_BYTES_PER_DATA + bytes as i64 / DATA_BYTES_PER_IDLE_BYTE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered_requests_pay_for_resets_and_no_more_than_a_hundred_are_kept() {
        let mut guard = Guard::new(&Limits::default(), 1 << 20, 0);
        assert!((0..RESETS_MAX).all(|_| guard.reset().is_ok()));
        assert_eq!(guard.reset(), Err(Flood::Resets));
        let mut guard = Guard::new(&Limits::default(), 1 << 20, 0);
        (0..10_000).for_each(|_| guard.answered());
        assert_eq!((0..).take_while(|_| guard.reset().is_ok()).count() as i64, RESETS_MAX);
        // A cancellation of one in five is allowed for ever.
        let mut guard = Guard::new(&Limits::default(), 1 << 20, 0);
        for _ in 0..10_000 {
            (0..4).for_each(|_| guard.answered());
            assert!(guard.reset().is_ok());
        }
    }

    #[test]
    fn what_crosses_our_resets_costs_nothing_as_far_as_it_was_allowed_and_then_what_idle_frames_do() {
        let mut guard = Guard::new(&Limits::default(), 1000, 0);
        (0..10).for_each(|_| guard.forgive(400));
        assert!((0..1000).all(|_| guard.crossed(1, 1 << 30, 0).is_ok()));
        assert_eq!(guard.crossed(1, IDLE_BYTES_MAX as u32 + 1, 0), Err(Flood::IdleFrames));
        let mut guard = Guard::new(&Limits::default(), 1000, 0);
        guard.forgive(1000);
        assert_eq!(
            (0..).take_while(|_| guard.crossed(0, 1024, 0).is_ok()).count(),
            64,
            "no bytes cross nothing"
        );
    }

    #[test]
    fn time_gives_back_what_it_promises_and_not_more() {
        let mut guard = Guard::new(&Limits::default(), 1 << 20, 0);
        assert_eq!((0..).take_while(|_| guard.settings(0).is_ok()).count(), 8);
        let mut guard = Guard::new(&Limits::default(), 1 << 20, 0);
        assert!((0..1000).all(|n| guard.settings(n * 1250).is_ok()));
        let mut guard = Guard::new(&Limits::default(), 1 << 20, 0);
        let taken = (0..100_000).take_while(|n| guard.idle_frame(13, *n / 1000).is_ok()).count();
        assert!((5041..5100).contains(&taken), "{taken}");
    }
}
