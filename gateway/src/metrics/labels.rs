//! The closed sets of values that counters are told apart by: outcomes, and the reasons for them.

use super::Counter;

/// A closed set of label values, so that a family of counters is an array and its cardinality a constant.
pub trait Label: Copy + 'static {
    const ALL: &'static [Self];
    /// A counter for each.
    type Counters: AsRef<[Counter]> + std::fmt::Debug;
    fn zeroes() -> Self::Counters;
    fn index(self) -> usize;
    fn text(self) -> &'static str;
}

macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }
        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            type Counters = [Counter; [$($text),+].len()];
            fn zeroes() -> Self::Counters { std::array::from_fn(|_| Counter::default()) }
            fn index(self) -> usize { self as usize }
            fn text(self) -> &'static str { match self { $(Self::$variant => $text),+ } }
        }
    };
}

labels! {
    /// Why an eligible request was not copied although it was drawn.
    SkipReason {
        /// The request already carries the mirror mark: it is itself a copy.
        Loop = "loop",
        /// The client or its upload went away before the request was complete.
        Aborted = "aborted",
        /// The primary never got the request.
        PrimaryUnavailable = "primary_unavailable",
        /// The primary's answer is not like the mirror wants it.
        Response = "response",
        /// The request asks for a tunnel: the bytes there are no request.
        Upgrade = "upgrade",
    }
}

labels! {
    /// Why an answer of a mirror was not read to its end: its status counts.
    CutReason {
        /// The answer is longer than `response_bytes_max`.
        TooLong = "too_long",
        /// The lane's budget for long answers is spent, and all facts that matter of this one were known.
        Budget = "budget",
    }
}

labels! {
    /// Why a copy was given up before any byte of it was sent.
    DropReason {
        BodyTooLarge = "body_too_large",
        RingEntries = "ring_entries",
        RingBytes = "ring_bytes",
        /// Pushed out by a newer copy under `drop = "oldest"`.
        Oldest = "oldest",
        /// Every endpoint of the mirror is in connect back-off.
        Unreachable = "unreachable",
        /// The worker is late on its own loop: mirror work is given up first.
        WorkerBusy = "worker_busy",
        /// More than `rate_max`.
        Rate = "rate",
        /// The copy waited longer than `ttl`.
        Stale = "stale",
        /// Its content could not be searched for secrets.
        Redaction = "redaction",
        /// Three quarters of `limits.exchanges_max` are under way: mirror work is given up first.
        Exchanges = "exchanges",
        Drain = "drain",
    }
}

labels! {
    /// Why a governor lowered its mirror's share.
    LowerReason {
        Failures = "failures",
        /// The mirror's answers take too long.
        Slow = "slow",
        /// The ring is nearly full.
        Ring = "ring",
        WorkerBusy = "worker_busy",
    }
}

labels! {
    /// How a sent copy ended without a complete answer.
    FailReason {
        Timeout = "timeout",
        Reset = "reset",
        /// The mirror closed the connection before answering.
        Closed = "closed",
        /// The answer was not HTTP/1.1 we accept.
        Protocol = "protocol",
        Drain = "drain",
    }
}

labels! {
    /// Why a pair is evidence of neither side.
    LeftOut {
        /// The copy of a call had less time than its original, and that time was up.
        LessTime = "less_time",
        /// The call's status lies behind the part of a response that is read.
        EndUnread = "end_unread",
    }
}

labels! {
    /// Status class of a mirror's complete answer.
    Class { C1 = "1xx", C2 = "2xx", C3 = "3xx", C4 = "4xx", C5 = "5xx" }
}

labels! {
    /// Why the gateway answered by itself or hung up.
    RejectReason {
        BadRequest = "bad_request",
        UriTooLong = "uri_too_long",
        HeadTooLarge = "head_too_large",
        BodyTooLarge = "body_too_large",
        Version = "version",
        Connect = "connect_method",
        Upgrade = "upgrade",
        Trace = "trace",
        MaxForwards = "max_forwards",
        Expectation = "expectation",
        NoRoute = "no_route",
        /// The route's primary is a service that does not exist.
        NoUpstream = "no_upstream",
        HeadTimeout = "head_timeout",
        BodyTimeout = "body_timeout",
        PrimaryConnect = "primary_connect",
        PrimaryConnectTimeout = "primary_connect_timeout",
        /// No TLS with it.
        PrimaryTls = "primary_tls",
        PrimaryTimeout = "primary_timeout",
        PrimaryProtocol = "primary_protocol",
        PrimaryClosed = "primary_closed",
        /// The upstream's own bound on exchanges is reached.
        PrimaryOverflow = "primary_overflow",
        /// More requests at once than `limits.exchanges_max`.
        Exchanges = "exchanges",
        /// More tunnels at once than `limits.tunnels_max`.
        Tunnels = "tunnels",
        /// More requests a second than `limits.requests_per_second_max`.
        RequestRate = "request_rate",
        /// The request names a host that the connection's certificates are not for.
        Misdirected = "misdirected",
        /// A TLS client on a listener without TLS.
        NotPlaintext = "tls_on_plaintext",
        /// The same, of one address.
        AddressRate = "address_rate",
        /// More requests at once than `http2.streams_per_address_max`.
        AddressStreams = "address_streams",
        /// An HTTP/2 request that breaks the rules of its form: its stream was reset.
        Malformed = "malformed",
    }
}

labels! {
    /// The holder of too many connections.
    Shed {
        /// All clients'.
        All = "all",
        /// Handshakes of one address.
        Address = "address",
    }
}

labels! {
    /// The beginning of a TLS handshake.
    Handshake {
        Full = "full",
        /// A ticket: no certificate was shown.
        Resumed = "resumed",
    }
}

labels! {
    /// The side, or the reason, by which a client's HTTP/2 stream was reset before its response was whole.
    StreamReset {
        Client = "client",
        /// The client broke the protocol.
        Malformed = "malformed",
        /// The client took none of the queued bytes.
        Stalled = "stalled",
        /// Its response could not be brought to its end.
        Gateway = "gateway",
    }
}

labels! {
    /// How a tunnel ended.
    TunnelEnd {
        /// Both ends said that no more comes.
        Closed = "closed",
        /// The client's connection or stream broke.
        Client = "client",
        /// The primary's did.
        Primary = "primary",
        /// No byte moved for `timeouts.tunnel_idle`.
        Idle = "idle",
        /// The gateway, or the listener, goes.
        Drain = "drain",
    }
}

labels! {
    /// The direction of bytes in a tunnel.
    TunnelWay {
        Up = "to_primary",
        Down = "to_client",
    }
}

labels! {
    /// Why an HTTP/2 connection of a client was ended by GOAWAY.
    Goaway {
        /// The gateway, or the listener, goes.
        Drain = "drain",
        Idle = "idle",
        /// `limits.requests_per_connection_max`.
        Requests = "requests",
        /// `limits.connection_age_max`.
        Age = "age",
        /// No answer to a PING.
        Lifeless = "lifeless",
        Protocol = "protocol_error",
        FlowControl = "flow_control_error",
        FrameSize = "frame_size_error",
        Compression = "compression_error",
        StreamClosed = "stream_closed",
        Resets = "resets",
        AnswersUnsent = "answers_unsent",
        Settings = "settings",
        Continuations = "continuations",
        BlockBytes = "block_bytes",
        Fields = "fields",
        IdleFrames = "idle_frames",
        /// Preface, SETTINGS or a head took too long.
        Slow = "slow",
    }
}

labels! {
    /// How an attempt on a primary endpoint failed.
    UpstreamFailure {
        Connect = "connect",
        ConnectTimeout = "connect_timeout",
        /// The TLS handshake came to nothing.
        Tls = "tls",
        /// A pooled connection turned out closed; the request was tried again where that cannot repeat anything.
        Stale = "stale",
        Reset = "reset",
        Closed = "closed",
        Protocol = "protocol",
        Timeout = "timeout",
        /// No connection was tried: the upstream's own bound is reached.
        Overflow = "overflow",
        /// The upstream said that it did not look at the request (HTTP/2's REFUSED_STREAM, or its GOAWAY).
        Refused = "refused",
    }
}

labels! {
    /// Why a TLS session, or its handshake, came to nothing.
    TlsFault {
        /// The first bytes are no TLS: a client that speaks in plaintext.
        NotTls = "not_tls",
        /// No version, cipher, group, signature or protocol that both sides have.
        NoCommonProtocol = "no_common_protocol",
        /// The peer's certificate is revoked or broken.
        BadCertificate = "bad_certificate",
        /// The peer's certificate has expired, or is not valid yet.
        Expired = "expired",
        /// The peer's certificate is for other names than the one it was called by.
        WrongName = "wrong_name",
        /// The peer's certificate comes from no authority that we were told to trust.
        UnknownCa = "unknown_ca",
        /// The peer shows no certificate, and must.
        NoCertificate = "no_certificate",
        /// The peer does not trust our certificate: it said so by an alert.
        Distrusted = "distrusted",
        /// Another alert of the peer's.
        Alert = "alert",
        /// The peer's bytes break the protocol.
        Protocol = "protocol",
        /// The peer sent records without content, and too many of them.
        Noise = "noise",
        /// The peer went away in the middle.
        Closed = "closed",
        /// The handshake took too long.
        Timeout = "timeout",
        /// Too many were under way.
        Pending = "pending",
        /// Its address asked for too many.
        Rate = "rate",
    }
}
