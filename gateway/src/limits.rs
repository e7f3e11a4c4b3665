//! Bounds that no operator needs to change, each with its reason. Those that one does stand in `config::Limits`.

use std::time::Duration;

/// Fields in one head that the parser's table on the stack holds; `limits.fields_max` may be lower, never higher.
pub const FIELDS_CEILING: usize = 256;

/// Options in the Connection fields of one head: each is compared with each field's name, so the product is bounded.
pub const CONNECTION_OPTIONS_MAX: usize = 64;

/// Chunk extensions of one message, together (hyper's bound; without one Go had CVE-2023-39326).
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// Trailer section of one message: it is held until the last chunk, so it is kept as small as a head.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Trailer fields of one message.
pub const TRAILER_FIELDS_MAX: usize = 64;

/// Interim (1xx) answers before a final one; a primary that sends more is broken or hostile.
pub const INTERIM_RESPONSES_MAX: usize = 16;

/// Room for a head that is rendered, or for a short answer of our own.
pub const HEAD_BUFFER_BYTES: usize = 4 * 1024;

/// First read of a request: its head, and content of some kilobytes behind it, come in one.
pub const REQUEST_READ_BYTES: usize = 8 * 1024;

/// Read size of a handshake: a flight with a chain of certificates fits.
pub const HANDSHAKE_READ_BYTES: usize = 8 * 1024;

/// Sessions that a worker keeps of an upstream to resume by, eight tickets to a name of its endpoints.
pub const TLS_SESSIONS_MAX: usize = 256;

/// Tickets that a server may send before it says anything, and one more for each KiB of content: each costs as much as a
/// thousand bytes of it. OpenSSL sends two.
pub const TLS_TICKETS_MAX: u64 = 64;

/// Bytes of a connection's records since the last that had content: tickets, KeyUpdates, records of nothing. Padding around
/// content does not count, as any record may be padded to 16 KiB (RFC 8446 §5.4).
pub const TLS_NOISE_BYTES_MAX: u64 = 64 * 1024;

/// Bytes around the content of a record, padding not counted: header, type and tag are 22, a nonce of TLS 1.2 adds 8.
pub const TLS_RECORD_BYTES: u64 = 32;

/// Content of a batch of copies that is sealed before it is sent; a batch of small ones is one send.
pub const SEALED_BYTES_MAX: usize = 256 * 1024;

/// Bytes that a TLS session holds while its connection is open, as measured; the buffer that it reads into is not its own.
pub const TLS_SESSION_BYTES: u64 = 8 * 1024;

/// Reads of 4 KiB that a look at an idle connection takes to be tickets and nothing else; OpenSSL sends two, of 250 bytes.
pub const QUIET_READS_MAX: usize = 4;

/// Lines of the gateway's own log that are kept for `GET /logs`: some thousands, which are days of an ordinary gateway.
pub const RECENT_LOG_BYTES_MAX: usize = 1 << 20;

/// Lines of the access log that are kept for it, where there is one: about eight thousand.
pub const RECENT_ACCESS_BYTES_MAX: usize = 4 << 20;

/// Paths of Unix domain sockets that configurations may name over the life of a process: each is kept for ever, a hundred
/// bytes of it.
pub const UNIX_PATHS_MAX: usize = 4096;

/// Read size of a response's first piece.
pub const RESPONSE_BUFFER_BYTES: usize = 16 * 1024;

/// Read size while content streams.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// Read size while content fills its blocks: a quarter of the system calls and of the wakes.
pub const LARGE_BLOCK_BYTES: usize = 256 * 1024;

/// Streams of content that have large blocks at a time, on one worker, and large blocks that it keeps for reuse; 64 × 256 KiB =
/// 16 MiB of each at most. The others go on with [`BLOCK_BYTES`].
pub const LARGE_BLOCKS_MAX: usize = 64;

/// Buffers of one size, but for large blocks, that a worker keeps for reuse; 256 × 64 KiB = 16 MiB at most.
pub const FREE_BUFFERS_MAX: usize = 256;

/// A piece of content smaller than this share of its block is copied into the mirror's copy instead of pinning the block.
pub const SHARE_MIN_BYTES: usize = BLOCK_BYTES / 2;

/// Resolution of timeouts: the sweeper's period.
pub const TICK_MS: u64 = 100;

/// A tick this late, with the core ours all the while, says that the worker's own turns are too long.
pub const BUSY_LATE_MS: u64 = 50;

/// How long we keep reading (and discarding) after the last byte of an answer, so that the client can read it.
pub const LINGER_MS: u64 = 1_000;

/// After SIGTERM a client connection without a request under way may stay idle this long before it is closed.
pub const DRAIN_IDLE_MS: u64 = 500;

/// A client connection that sends nothing for this long gives its buffer and most of its memory back.
pub const PARK_MS: u64 = 100;

/// Until the client of `Expect: 100-continue` is told to go on if the primary says nothing.
pub const CONTINUE_MS: u64 = 1_000;

/// How long the end, or the first byte, of an HTTP/2 request's content is waited for where there is usually none: on HTTP/1.1 its
/// head has to say. Clients that send the end in a frame of its own send it at once.
pub const FRAMING_MS: u64 = 100;

/// Connections taken in one go before others on the worker get a turn: a flood of them would otherwise be all it does.
pub const ACCEPTS_PER_TURN: u32 = 16;

/// Connections that the kernel may hold for one listening socket until they are accepted, where `net.core.somaxconn` allows so many.
pub const LISTEN_QUEUE_MAX: u32 = 4096;

/// Addresses without a connection whose requests of the last second a worker remembers; about 100 bytes each.
pub const ADDRESSES_MAX: usize = 65_536;

/// Open connections of the admin listener: a handful of scrapers and people. Beyond, the oldest of the address with the most
/// is closed.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Bytes of the admin listener's answers that wait for their readers: where a new one finds no room, the one that has waited
/// longest is cut. A lone answer may be larger.
pub const ADMIN_ANSWERS_BYTES_MAX: usize = 64 << 20;

/// The control plane's memory of the last day: steps of so many seconds, and how many of each: five minutes, an hour, a
/// day. A look takes the place of the oldest of its length.
pub const HISTORY_STEPS: [(u64, usize); 3] = [(1, 300), (10, 360), (120, 720)];

/// From one time that it is written to its file to the next: so much of it a restart costs.
pub const HISTORY_SAVE_SECONDS: u64 = 30;

/// Bytes of that file; a longer one is neither written nor read.
pub const HISTORY_FILE_BYTES_MAX: usize = 16 << 20;

/// Bytes of one step without its mirrors and rings: 64 workers' among them.
pub const HISTORY_STEP_BYTES: usize = 1_024;

/// Bytes of one mirror's, or one ring's, part of a step without its name; told apart are 16 of each.
pub const HISTORY_PART_BYTES: usize = 160;
pub const HISTORY_PARTS_MAX: usize = 16;

/// Steps of each route that are remembered of each length of time, and routes that are told apart there; of further ones only
/// the counters are known.
pub const HISTORY_TREND_STEPS: usize = 60;
pub const HISTORY_ROUTES_MAX: usize = 1_024;

/// Samples whose requests people send again at once: more are refused.
pub const AGAIN_AT_ONCE_MAX: usize = 2;

/// From the question to the end of both answers, in milliseconds.
pub const AGAIN_MS_MAX: u64 = 10_000;

/// Bytes of one response to it, its head aside; those behind them are not compared.
pub const AGAIN_BYTES_MAX: usize = 1 << 20;

/// Pause of an accept loop that ran out of descriptors or memory.
pub const ACCEPT_BACKOFF_MS: u64 = 20;

/// Longest pause between connect attempts to a mirror endpoint that refuses.
pub const MIRROR_BACKOFF_MS_MAX: u64 = 1_000;

/// A mirror's connection that carries nothing is closed after this long.
pub const MIRROR_IDLE_MS: u64 = 30_000;

/// How often a copy is begun at most: a mirror that says again and again that it did not look at it must not make us send it
/// for ever.
pub const COPY_TRIES_MAX: u32 = 3;

/// Connections in a row that a mirror may end without an answer before it is called seldom.
pub const HANG_UPS_MAX: u32 = 256;

/// How long an endpoint that answered pipelined copies out of step gets one copy at a time.
pub const PIPELINE_PENALTY_MS: u64 = 30_000;

/// Every so many batches a connection sends one copy alone, however many wait: only such an answer's time is its own, and
/// verdicts rest on them. It costs a busy lane a sixteenth of its writes.
pub const LONE_EVERY: u64 = 16;

/// After so many batches a mirror's connection has to be silent for as long as its responses take before the next: a response
/// too many is found then. It costs a busy connection about one batch in so many.
pub const IN_STEP_BATCHES_MAX: u64 = 64;

/// The longest silence that is waited for.
pub const SILENCE_MS_MAX: u64 = 1000;

/// An answer of a mirror is long beyond this, its heads and pieces counted. Most are short, and are read whatever they cost.
pub const ANSWER_SHORT_BYTES: u64 = 64 * 1024;

/// The cost of each piece of a response's content beside its bytes, in bytes: a chunk of one byte is ten times as dear as a
/// byte among many.
pub const ANSWER_PIECE_BYTES: u64 = 32;

/// Bytes that one lane reads of long responses in a second: about a thirtieth of the core, which is the primary's. A mirror that
/// floods would otherwise have up to `response_bytes_max` of each answer read on it.
pub const ANSWER_BYTES_PER_SECOND: u32 = 128 * 1024 * 1024;

/// Bytes that one lane reads of long responses in a millisecond; four times as much of short ones that come in full reads. Four
/// reads of it: some 30 µs, about a thirtieth of the time.
pub const ANSWER_BYTES_PER_MS: u64 = 64 * 1024;

/// A byte of a long answer costs as much as so many of a short one.
pub const ANSWER_LONG_TIMES: u64 = 4;

/// The longest that a shipper waits because much was read.
pub const PACE_DEBT_MS_MAX: u64 = 500;

/// The cost of a connection to a mirror, in bytes of a long response: the kernel's part of making and closing one is 60 µs. A
/// lane makes so no more than a thousand a second.
pub const MIRROR_CONNECT_BYTES: u64 = 64 * 1024;

/// Bytes that the kernel keeps of a mirror's response that is not read yet, about: closing a connection throws them away, in
/// our time.
pub const MIRROR_UNREAD_BYTES: usize = 256 * 1024;

/// The cost of a read that brought PING or SETTINGS of a mirror, in bytes of a long response: that of its answer's write.
pub const MIRROR_PING_BYTES: u64 = 16 * 1024;

/// The cost of a byte of records around a mirror's content, in bytes of a long response: opening one that holds a single byte is
/// as dear as reading a thousand.
pub const ANSWER_OVERHEAD_TIMES: u64 = 64;

/// The cost of a TLS handshake with a mirror, in bytes of a long response: it is as dear as ten copies or more. A mirror that
/// closes after each answer is so called 128 times a second, and no more.
pub const MIRROR_HANDSHAKE_BYTES: u64 = 1024 * 1024;

/// The cost of closing a connection in the middle of a response, in bytes that could be read meanwhile: those that the kernel has
/// taken in already (twice [`MIRROR_UNREAD_BYTES`]) and throws away, and as many that the mirror sent in vain.
pub const ANSWER_CUT_BYTES: u64 = 1024 * 1024;

/// Bytes of one write that carries several copies. With 64 KiB, eight connections to a mirror carry eight large copies in
/// a turn in which 32 clients send 32: two fifths were dropped (`bench/runs`, peers-batches).
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A ring fuller than this, by entries or bytes, has its governed mirrors lowered: the next copies would be dropped.
pub const GOVERNOR_RING_PERCENT: u64 = 80;

/// Containers in containers of a JSON body that is searched; a body nested deeper is no message, but an attack on one.
pub const JSON_DEPTH_MAX: usize = 128;

/// Bytes of a body searched in one turn of a worker: about 50 µs.
pub const REDACT_TURN_BYTES: usize = 16 * 1024;

/// Copies past their `ttl` given up by one push: two keep a ring of them shrinking, and no push pays for all.
pub const EXPIRED_PER_PUSH: usize = 2;

/// How long a primary's connection must stay silent behind an answer that declared content it must not have (to HEAD, 204,
/// 304), before it serves again: two of the sweeper's periods, one at least.
pub const WATCH_MS: u64 = 2 * TICK_MS;

/// A primary endpoint that refused a connection is tried last for this long.
pub const ENDPOINT_FAILED_MS: u64 = 1_000;

/// Longest ejection of an endpoint, unless its shortest is longer (Envoy's `max_ejection_time`).
pub const EJECTION_MAX: Duration = Duration::from_secs(300);

/// Copies that one turn of a worker hands to a capture.
pub const CAPTURED_PER_TURN: usize = 64;

/// Captured copies of one lane that wait for the capture's writer; more wait in the lane's ring.
pub const CAPTURED_MAX: usize = 1024;

/// Bytes that they may keep alive before the next stays in the lane's ring.
pub const CAPTURED_BYTES_MAX: usize = 4 << 20;

/// Bytes of answers that all workers together keep to be compared, from the first byte read to the end of the comparison.
pub const KEPT_ANSWERS_BYTES_MAX: usize = 64 << 20;

// How the bounds hang together; a change of one that breaks another does not build.
const _: () = assert!(REQUEST_READ_BYTES <= RESPONSE_BUFFER_BYTES);
const _: () = assert!(HEAD_BUFFER_BYTES <= RESPONSE_BUFFER_BYTES && RESPONSE_BUFFER_BYTES <= BLOCK_BYTES);
const _: () = assert!(SHARE_MIN_BYTES <= BLOCK_BYTES);
// A batch holds a block at least, and a copy that shares one.
const _: () = assert!(BATCH_BYTES_MAX >= BLOCK_BYTES);
// A trailer section and a chunk's extensions fit into one read.
const _: () = assert!(TRAILER_BYTES_MAX <= BLOCK_BYTES && CHUNK_EXTENSION_BYTES_MAX <= BLOCK_BYTES);
const _: () = assert!(TRAILER_FIELDS_MAX <= FIELDS_CEILING && CONNECTION_OPTIONS_MAX <= FIELDS_CEILING);
// A deadline is up to two ticks late, and must still be told from none.
const _: () = assert!(LINGER_MS >= 2 * TICK_MS && CONTINUE_MS >= 2 * TICK_MS && DRAIN_IDLE_MS >= 2 * TICK_MS);
const _: () = assert!(PARK_MS <= TICK_MS && WATCH_MS >= 2 * TICK_MS);
const _: () = assert!(MIRROR_BACKOFF_MS_MAX >= 2 * TICK_MS && PIPELINE_PENALTY_MS > MIRROR_BACKOFF_MS_MAX);
// The part of a long response that is read before it is looked at again is less than the cost of cutting it.
const _: () =
    assert!(RESPONSE_BUFFER_BYTES as u64 <= ANSWER_SHORT_BYTES && ANSWER_SHORT_BYTES <= ANSWER_CUT_BYTES);
const _: () = assert!(REDACT_TURN_BYTES <= BLOCK_BYTES);
// A read fits into a millisecond, and the kernel's buffer into several.
const _: () =
    assert!(RESPONSE_BUFFER_BYTES as u64 <= ANSWER_BYTES_PER_MS && MIRROR_UNREAD_BYTES >= BLOCK_BYTES);
