//! HTTP/2 with clients as metrics: connections, streams, and why either was ended.

use std::fmt;

use super::{Families, Shards};
use crate::metrics::{Goaway, Label, StreamReset};

impl Shards<'_> {
    pub(super) fn http2(&self, out: &mut Families<'_>) -> fmt::Result {
        out.counter(
            "umbra_http2_connections",
            "Connections of clients on which HTTP/2 was spoken",
            self.total(|s| s.http2.connections.get()),
        )?;
        out.counter(
            "umbra_http2_streams",
            "HTTP/2 streams of clients that were opened: requests, those among them that were answered at once",
            self.total(|s| s.http2.streams.get()),
        )?;
        out.counter(
            "umbra_http2_streams_refused",
            "HTTP/2 streams beyond http2.streams_max, which a client may send again",
            self.total(|s| s.http2.refused.get()),
        )?;
        out.counters(
            "umbra_http2_streams_reset",
            "HTTP/2 streams of clients that were reset before their response was whole, by whom or for what",
            StreamReset::ALL.iter().map(|l| ([("by", l.text())], self.total(|s| s.http2.resets.get(*l)))),
        )?;
        out.counters(
            "umbra_http2_goaways",
            "HTTP/2 connections of clients that were ended by GOAWAY, by reason: accounts of [http2] that ran out among them",
            Goaway::ALL.iter().map(|l| ([("reason", l.text())], self.total(|s| s.http2.goaways.get(*l)))),
        )
    }
}
