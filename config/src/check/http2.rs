//! Rules of HTTP/2: the protocols of a listener, and the bounds on the cost of a client's connection.

use std::time::Duration;

use super::{ANY, Check, in_memory};
use crate::file;
use crate::reader::{Key, List};
use crate::units::{GIB, KIB, MIB};
use crate::{Http2, Protocol, Protocols};

impl Check<'_> {
    pub(super) fn protocols(&mut self, written: &Key<List<Protocol>>, has_tls: bool) -> Protocols {
        let Some(list) = written.given() else {
            return if has_tls { Protocols::BOTH } else { Protocols::HTTP1 };
        };
        if list.value.is_empty() {
            let message =
                r#"a listener speaks something: "h2", "http1" or both; leave the key out for its default"#;
            self.report.error(&list.at, message);
        }
        let mut protocols = Protocols { http2: false, http1: false };
        for entry in list.value.iter().filter_map(Key::given) {
            let said = match entry.value {
                Protocol::Http2 => &mut protocols.http2,
                Protocol::Http1 => &mut protocols.http1,
            };
            if std::mem::replace(said, true) {
                self.report.error(&entry.at, format!("{:?} stands here twice", entry.value.as_str()));
            }
        }
        protocols
    }

    pub(super) fn http2(&mut self, written: &file::Http2) -> Http2 {
        // In u32: the bounds of each say so.
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Http2 {
            streams_max: in_memory(self.count(&written.streams_max, 128, 1..=65_536)),
            streams_per_address_max: in_memory(self.count(&written.streams_per_address_max, ANY, 1..=ANY)),
            // Less than HTTP/2's own default a client need not know of before it sends.
            stream_window_bytes: small(self.size(
                &written.stream_window_bytes,
                64 * KIB,
                64 * KIB..=16 * MIB,
            )),
            stream_bytes_max: written.stream_bytes_max.given().and_then(|given| given.value.0),
            queued_bytes_max: in_memory(self.size(&written.queued_bytes_max, 64 * KIB, 16 * KIB..=16 * MIB)),
            block_frames_max: small(self.count(&written.block_frames_max, 8, 1..=1024)),
            resets_max: small(self.count(&written.resets_max, 100, 0..=1_000_000)),
            requests_per_reset: small(self.count(&written.requests_per_reset, 4, 1..=1_000_000)),
            settings_max: small(self.count(&written.settings_max, 8, 1..=10_000)),
            answers_unsent_max: small(self.count(&written.answers_unsent_max, 16, 1..=10_000)),
            idle_bytes_max: self.size(&written.idle_bytes_max, 64 * KIB, KIB..=GIB),
            idle_bytes_per_second: self.size(&written.idle_bytes_per_second, 4 * KIB, 0..=GIB),
            ping_after: self.period(&written.ping_after, Duration::from_secs(15)),
            ping_timeout: self.period(&written.ping_timeout, Duration::from_secs(10)),
        }
    }
}
