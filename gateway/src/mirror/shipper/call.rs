//! How a shipper gets a connection, and the protocol on it.

use config::UpstreamProtocol;

use super::{Connection, Shipper, http2};
use crate::io::{NotCalled, Stream, Turn};
use crate::limits::{MIRROR_CONNECT_BYTES, MIRROR_HANDSHAKE_BYTES, MIRROR_UNREAD_BYTES, TICK_MS};
use crate::mirror::alignment::Alignment;
use crate::time::Millis;
use crate::tls::fault::Fault;

/// A connection that was just made, by its protocol.
pub(super) enum Connected {
    Http1(Connection),
    Http2(http2::Connected),
}

impl Shipper {
    /// Connects to the next endpoint that may be tried; a refusal is remembered by the endpoint.
    pub(super) async fn connect(&self) -> Option<Connected> {
        let lane = &self.lane;
        let protocol = lane.protocol();
        let endpoint = lane.pick(self.sweeper.now_ms())?;
        let probes = endpoint.is_refusing();
        if probes && lane.probing.replace(true) {
            return None;
        }
        lane.counters.connects.inc();
        self.pay(MIRROR_CONNECT_BYTES);
        self.make_way().await;
        let (callee, within) = (endpoint.callee.as_ref(), self.settings.connect_timeout);
        let by_ms = self.sweeper.now_ms().saturating_add(Millis::from(within).0).saturating_add(TICK_MS);
        let called = Stream::call(endpoint.address, callee, Turn::Mirror, within, &self.sweeper);
        // Boxed because it is rare and large: every shipper's task would carry a handshake's size.
        let called = Box::pin(called).await;
        let called = called.and_then(|(stream, facts)| match (protocol, facts) {
            (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Alpn, None) => Ok((stream, facts, false)),
            (UpstreamProtocol::Http2, None) => Ok((stream, facts, true)),
            (UpstreamProtocol::Http2, Some(chosen)) if !chosen.is_http2 => {
                Err(NotCalled::Tls(Fault::NoCommonProtocol))
            }
            (UpstreamProtocol::Http2 | UpstreamProtocol::Alpn, Some(chosen)) => {
                Ok((stream, facts, chosen.is_http2))
            }
        });
        let is_http2 = called.as_ref().is_ok_and(|(_, _, is_http2)| *is_http2);
        if probes && !is_http2 {
            lane.probing.set(false);
        }
        let has_shaken =
            called.as_ref().map_or_else(|why| why.tls().is_some(), |(_, facts, _)| facts.is_some());
        lane.spend(if has_shaken { MIRROR_HANDSHAKE_BYTES } else { 0 }, self.sweeper.now_ms());
        called.iter().for_each(|(stream, _, _)| stream.limit_unread(MIRROR_UNREAD_BYTES));
        match called {
            Ok((stream, facts, true)) => {
                facts.iter().for_each(|facts| lane.counters.tls.done.inc(facts.kind()));
                Some(Connected::Http2(http2::Connected { stream, endpoint, by_ms, probes }))
            }
            Ok((stream, facts, false)) => {
                facts.iter().for_each(|facts| lane.counters.tls.done.inc(facts.kind()));
                endpoint.connected();
                lane.counters.connections.add(1);
                let (used_ms, alignment) = (self.sweeper.now_ms(), Alignment::default());
                let connection = Connection { stream, endpoint, answers: 0, batches: 0, used_ms, alignment };
                Some(Connected::Http1(connection))
            }
            Err(why) => {
                lane.counters.connect_failures.inc();
                why.tls().iter().for_each(|fault| lane.counters.tls.failures.inc(*fault));
                endpoint.refused(self.sweeper.now_ms());
                lane.flush_if_unreachable(self.sweeper.now_ms());
                None
            }
        }
    }
}
