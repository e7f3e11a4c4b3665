//! The wires of a soak: those that clients speak, and those that upstreams are reached by. Values only.

/// Streams at once on each HTTP/2 connection of a client.
const STREAMS: usize = 4;

/// A client's wire, and the use that is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    Http1,
    Http1Tls,
    /// By prior knowledge.
    Http2Clear,
    Http2,
    /// Calls over HTTP/2 under TLS: messages each way, a status in the trailers.
    Grpc,
    WebSocket,
    WebSocketTls,
    /// By extended CONNECT (RFC 8441), under TLS.
    WebSocketHttp2,
}

impl Wire {
    pub const ALL: [Self; 8] = [
        Self::Http1,
        Self::Http1Tls,
        Self::Http2Clear,
        Self::Http2,
        Self::Grpc,
        Self::WebSocket,
        Self::WebSocketTls,
        Self::WebSocketHttp2,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http1Tls => "http1-tls",
            Self::Http2Clear => "h2c",
            Self::Http2 => "h2",
            Self::Grpc => "grpc",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
            Self::WebSocketHttp2 => "wss-h2",
        }
    }

    pub fn is_covered(self) -> bool {
        match self {
            Self::Http1 | Self::Http2Clear | Self::WebSocket => false,
            Self::Http1Tls | Self::Http2 | Self::Grpc | Self::WebSocketTls | Self::WebSocketHttp2 => true,
        }
    }

    pub fn is_http2(self) -> bool {
        match self {
            Self::Http1 | Self::Http1Tls | Self::WebSocket | Self::WebSocketTls => false,
            Self::Http2Clear | Self::Http2 | Self::Grpc | Self::WebSocketHttp2 => true,
        }
    }

    pub fn is_websocket(self) -> bool {
        match self {
            Self::Http1 | Self::Http1Tls | Self::Http2Clear | Self::Http2 | Self::Grpc => false,
            Self::WebSocket | Self::WebSocketTls | Self::WebSocketHttp2 => true,
        }
    }

    /// Exchanges at once on a connection.
    pub fn at_once(self) -> usize {
        if self.is_http2() { STREAMS } else { 1 }
    }

    /// Upstreams that can answer it: a call's status has no place in HTTP/1.1.
    pub fn can_reach(self, upstream: Upstream) -> bool {
        self != Self::Grpc || upstream.is_http2()
    }
}

/// How v1, v2 and v3 of one route are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    Plain,
    Tls,
    Http2Clear,
    Http2,
}

impl Upstream {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Tls, Self::Http2Clear, Self::Http2];

    /// Of its route, and of its servers behind `v1-`, `v2-` and `v3-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::Http2Clear => "h2c",
            Self::Http2 => "h2",
        }
    }

    pub fn is_covered(self) -> bool {
        match self {
            Self::Plain | Self::Http2Clear => false,
            Self::Tls | Self::Http2 => true,
        }
    }

    pub fn is_http2(self) -> bool {
        match self {
            Self::Plain | Self::Tls => false,
            Self::Http2Clear | Self::Http2 => true,
        }
    }
}
