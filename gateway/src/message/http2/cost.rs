//! The cost that a configuration allows an HTTP/2 connection, whichever end of it is ours. Pure.

use config::Config;

use crate::http2::guard::Limits;
use crate::time::Millis;

/// The accounts of `[http2]`, and the bounds that both roles have in common. The bounds of heads, streams and silence are each
/// role's own: these are a client's, which is offered CONNECT where any route takes it into a tunnel.
pub fn limits(config: &Config, offers_connect: bool) -> Limits {
    Limits { offers_connect, ..accounts(config) }
}

fn accounts(config: &Config) -> Limits {
    let (limits, timeouts, http2) = (&config.limits, &config.timeouts, &config.http2);
    let ms = |duration| Millis::from(duration).0;
    Limits {
        streams_max: http2.streams_max,
        streams_total_max: limits.requests_per_connection_max,
        head_bytes_max: limits.request_head_bytes_max,
        fields_max: limits.fields_max,
        stream_bytes_max: http2.stream_bytes_max.unwrap_or(u64::MAX),
        stream_window_bytes: http2.stream_window_bytes,
        queued_bytes_max: http2.queued_bytes_max,
        head_ms_max: ms(timeouts.request_head),
        write_ms_max: ms(timeouts.write),
        bytes_per_second_min: limits.response_bytes_per_second_min,
        idle_ms_max: ms(timeouts.client_idle),
        ping_after_ms: ms(http2.ping_after),
        ping_ms_max: ms(http2.ping_timeout),
        resets_max: http2.resets_max,
        answered_per_reset: http2.requests_per_reset,
        answers_unsent_max: http2.answers_unsent_max,
        settings_max: http2.settings_max,
        block_frames_max: http2.block_frames_max,
        idle_bytes_max: http2.idle_bytes_max,
        idle_bytes_per_second: http2.idle_bytes_per_second,
        offers_connect: false,
    }
}

/// SETTINGS of a primary within ten seconds: one that tunes its windows by what it measures sends one for each step.
const PRIMARY_SETTINGS_MAX: u32 = 64;

/// Of a connection to a primary of this upstream.
pub fn limits_to(config: &Config, upstream: &config::Upstream) -> Limits {
    let ms = |duration| Millis::from(duration).0;
    let of_clients = accounts(config);
    Limits {
        streams_total_max: upstream.requests_per_connection_max,
        head_bytes_max: config.limits.response_head_bytes_max,
        // A response may be as long as it likes: its client takes it, or it waits.
        stream_bytes_max: u64::MAX,
        head_ms_max: ms(config.timeouts.response_head),
        // The pace is asked of clients; a primary that takes slowly makes its client send slowly.
        bytes_per_second_min: 0,
        idle_ms_max: ms(upstream.idle_timeout),
        settings_max: of_clients.settings_max.max(PRIMARY_SETTINGS_MAX),
        ..of_clients
    }
}
