//! The kinds of fields: those that we read, those that stop at this hop, and those that pass (RFC 9110 §7.6.1).

/// The meaning of a field to a gateway. Names are matched without regard to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Passes unchanged.
    EndToEnd,
    /// Stops here: concerns one connection only.
    HopByHop,
    Connection,
    ContentLength,
    TransferEncoding,
    Host,
    Expect,
    Upgrade,
    Via,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    /// `Forwarded`, `X-Real-IP` and the other `X-Forwarded-…`: claims of a client about itself, where it is believed.
    Claim,
    /// A name that only we give, spelt in any way that some servers take for it: `_` for `-` is one name to CGI and WSGI.
    Ours,
    RequestId,
    /// `traceparent` of W3C Trace Context.
    TraceParent,
    TraceState,
    /// `X-Umbra-Mirror`: the request is itself a copy.
    MirrorMark,
    /// `X-Umbra-Proof`: which gateway made the copy, to gateways that have its key.
    MirrorProof,
    /// Passes, and a Connection option may not remove it (RFC 9110 §7.6.1: a sender MUST NOT nominate such fields).
    Protected,
    /// Passes as those do.
    ContentType,
    Date,
    /// Counted down on OPTIONS (RFC 9110 §7.6.2).
    MaxForwards,
}

impl Kind {
    /// Whether a `Connection` option of the same name may remove the field. A client must not delete framing and routing
    /// fields, credentials, and fields that proxies add.
    pub fn may_be_nominated(self) -> bool {
        match self {
            Self::EndToEnd | Self::HopByHop | Self::Upgrade | Self::Expect | Self::Date => true,
            Self::Connection
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Host
            | Self::Via
            | Self::ForwardedFor
            | Self::ForwardedProto
            | Self::ForwardedHost
            | Self::Claim
            | Self::Ours
            | Self::RequestId
            | Self::TraceParent
            | Self::TraceState
            | Self::MirrorMark
            | Self::MirrorProof
            | Self::MaxForwards
            | Self::Protected
            | Self::ContentType => false,
        }
    }
}

/// Classifies a field by its name.
#[inline]
pub fn kind(name: &[u8]) -> Kind {
    match (name.len(), name.first().map(u8::to_ascii_lowercase)) {
        (2, Some(b't')) if is(name, b"te") => Kind::HopByHop,
        (3, Some(b'v')) if is(name, b"via") => Kind::Via,
        (4, Some(b'h')) if is(name, b"host") => Kind::Host,
        (9, Some(b'f')) if is(name, b"forwarded") => Kind::Claim,
        (9, Some(b'x')) if is(name, b"x-real-ip") => Kind::Claim,
        (12, Some(b'x')) if is(name, b"x-umbra-copy") => Kind::Ours,
        (22, Some(b'x')) if is(name, b"x-umbra-primary-status") => Kind::Ours,
        (24, Some(b'x')) if is(name, b"x-umbra-primary-duration") => Kind::Ours,
        (4, Some(b'd')) if is(name, b"date") => Kind::Date,
        (6, Some(b'e')) if is(name, b"expect") => Kind::Expect,
        (6, Some(b'c')) if is(name, b"cookie") => Kind::Protected,
        (7, Some(b'u')) if is(name, b"upgrade") => Kind::Upgrade,
        (10, Some(b'c')) if is(name, b"connection") => Kind::Connection,
        (10, Some(b'k')) if is(name, b"keep-alive") => Kind::HopByHop,
        (10, Some(b't')) if is(name, b"tracestate") => Kind::TraceState,
        (11, Some(b't')) if is(name, b"traceparent") => Kind::TraceParent,
        (12, Some(b'x')) if is(name, b"x-request-id") => Kind::RequestId,
        (12, Some(b'c')) if is(name, b"content-type") => Kind::ContentType,
        (12, Some(b'm')) if is(name, b"max-forwards") => Kind::MaxForwards,
        (13, Some(b'a')) if is(name, b"authorization") => Kind::Protected,
        (14, Some(b'c')) if is(name, b"content-length") => Kind::ContentLength,
        (13, Some(b'x')) if is(name, b"x-umbra-proof") => Kind::MirrorProof,
        (14, Some(b'x')) if is(name, b"x-umbra-mirror") => Kind::MirrorMark,
        (15, Some(b'x')) if is(name, b"x-forwarded-for") => Kind::ForwardedFor,
        (16, Some(b'p')) if is(name, b"proxy-connection") => Kind::HopByHop,
        (16, Some(b'x')) if is(name, b"x-forwarded-host") => Kind::ForwardedHost,
        (17, Some(b't')) if is(name, b"transfer-encoding") => Kind::TransferEncoding,
        (17, Some(b'x')) if is(name, b"x-forwarded-proto") => Kind::ForwardedProto,
        (18, Some(b'p')) if is(name, b"proxy-authenticate") => Kind::HopByHop,
        (19, Some(b'p')) if is(name, b"proxy-authorization") => Kind::HopByHop,
        (12.., Some(b'x'))
            if name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-")) =>
        {
            Kind::Claim
        }
        (9.., Some(b'x')) if name.contains(&b'_') => spelt_otherwise(name),
        _ => Kind::EndToEnd,
    }
}

/// Whether a name is `known`, whatever its case. `known` is in lower case. Eight bytes at a time, as this runs for each field
/// of each message.
#[inline(always)]
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    let Some(name) = name.first_chunk::<N>().filter(|_| name.len() == N) else { return false };
    let mut differs = 0;
    let mut at = 0;
    while at + 8 <= N {
        differs |= apart(word(name, at), word(known, at));
        at += 8;
    }
    if N >= 8 {
        // The last eight, some of them once more.
        return differs | apart(word(name, N - 8), word(known, N - 8)) == 0;
    }
    name.eq_ignore_ascii_case(known)
}

/// Eight bytes from `at`.
#[inline(always)]
fn word<const N: usize>(of: &[u8; N], at: usize) -> u64 {
    of.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u64::from_le_bytes)
}

/// The bits in which eight bytes of a name differ from those of a known one, but for letters' case.
#[inline(always)]
fn apart(name: u64, known: u64) -> u64 {
    // Known are letters and `-`: of these, letters have the bit of 0x40, and are lower case by that of 0x20.
    let letters = (known & 0x4040_4040_4040_4040) >> 1;
    (name | letters) ^ known
}

/// The longest name that only we give.
const NAME_OF_OURS_MAX: usize = 24;

/// A name with underscores that is one of ours without them must not pass beside it: behind us both are one.
fn spelt_otherwise(name: &[u8]) -> Kind {
    let mut plain = [0; NAME_OF_OURS_MAX];
    // Of a longer one the beginning tells.
    let start = name.get(..NAME_OF_OURS_MAX).unwrap_or(name);
    let Some(plain) = plain.get_mut(..start.len()) else { return Kind::EndToEnd };
    plain.copy_from_slice(start);
    plain.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
    match kind(plain) {
        Kind::Claim => Kind::Ours,
        _ if name.len() > NAME_OF_OURS_MAX => Kind::EndToEnd,
        Kind::ForwardedFor
        | Kind::ForwardedProto
        | Kind::ForwardedHost
        | Kind::Ours
        | Kind::RequestId
        | Kind::MirrorMark
        | Kind::MirrorProof => Kind::Ours,
        Kind::EndToEnd
        | Kind::HopByHop
        | Kind::Connection
        | Kind::ContentLength
        | Kind::TransferEncoding
        | Kind::Host
        | Kind::Expect
        | Kind::Upgrade
        | Kind::Via
        | Kind::TraceParent
        | Kind::TraceState
        | Kind::Protected
        | Kind::ContentType
        | Kind::Date
        | Kind::MaxForwards => Kind::EndToEnd,
    }
}

/// The options that `Connection` fields ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    pub close: bool,
    pub keep_alive: bool,
    /// The field names other fields, which then stop here too.
    pub nominates: bool,
    /// Options in all; more than [`crate::limits::CONNECTION_OPTIONS_MAX`] are refused, because each is compared with each field.
    pub count: usize,
}

impl ConnectionOptions {
    pub fn add(&mut self, value: &[u8]) {
        // Most say no more than this.
        if is(value, b"keep-alive") {
            self.count += 1;
            self.keep_alive = true;
            return;
        }
        for option in list(value) {
            self.count += 1;
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if is(option, b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.nominates = true;
            }
        }
    }
}

/// Elements of a comma-separated list, trimmed, empty ones left out (RFC 9110 §5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}

/// Names that never pass in a trailer section: framing, routing, credentials, connection control (RFC 9110 §6.5.1).
pub fn forbidden_in_trailers(name: &[u8]) -> bool {
    kind(name) != Kind::EndToEnd
        || [b"trailer".as_slice(), b"set-cookie", b"content-encoding", b"content-range", b"cache-control"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_name_counts_and_its_case_does_not() {
        fn check<const N: usize>(known: &[u8; N]) {
            assert!(is(known, known) && is(&known.to_ascii_uppercase(), known) && !is(&known[1..], known));
            for at in 0..N {
                let mut other = *known;
                other[at] ^= 1;
                assert!(!is(&other, known), "{}", other.escape_ascii());
            }
        }
        check(b"te");
        check(b"upgrade");
        check(b"trailers");
        check(b"x-forwarded-for");
        check(b"transfer-encoding");
        check(b"x-umbra-primary-duration");
        check(b"access-control-expose-headers");
    }

    #[test]
    fn names_are_classified_without_regard_to_case() {
        for (name, expect) in [
            ("Host", Kind::Host),
            ("CONTENT-LENGTH", Kind::ContentLength),
            ("Content_Length", Kind::EndToEnd),
            ("transfer-encoding", Kind::TransferEncoding),
            ("TE", Kind::HopByHop),
            ("Proxy-Authorization", Kind::HopByHop),
            ("X-Umbra-Mirror", Kind::MirrorMark),
            ("x-umbra-proof", Kind::MirrorProof),
            ("X_Umbra_Proof", Kind::Ours),
            ("X-Anything", Kind::EndToEnd),
            ("", Kind::EndToEnd),
        ] {
            assert_eq!(kind(name.as_bytes()), expect, "{name}");
        }
    }

    #[test]
    fn connection_options_add_up_over_lines() {
        let mut options = ConnectionOptions::default();
        options.add(b" close , X-Secret,,");
        options.add(b"Keep-Alive");
        assert_eq!(options, ConnectionOptions { close: true, keep_alive: true, nominates: true, count: 3 });
    }

    /// Every name that means something to a gateway.
    const KNOWN: [(&str, Kind); 27] = [
        ("te", Kind::HopByHop),
        ("via", Kind::Via),
        ("host", Kind::Host),
        ("forwarded", Kind::Claim),
        ("x-real-ip", Kind::Claim),
        ("x-umbra-copy", Kind::Ours),
        ("x-umbra-primary-status", Kind::Ours),
        ("x-umbra-primary-duration", Kind::Ours),
        ("date", Kind::Date),
        ("expect", Kind::Expect),
        ("cookie", Kind::Protected),
        ("upgrade", Kind::Upgrade),
        ("connection", Kind::Connection),
        ("keep-alive", Kind::HopByHop),
        ("tracestate", Kind::TraceState),
        ("traceparent", Kind::TraceParent),
        ("x-request-id", Kind::RequestId),
        ("content-type", Kind::ContentType),
        ("max-forwards", Kind::MaxForwards),
        ("authorization", Kind::Protected),
        ("content-length", Kind::ContentLength),
        ("x-umbra-mirror", Kind::MirrorMark),
        ("x-umbra-proof", Kind::MirrorProof),
        ("proxy-connection", Kind::HopByHop),
        ("transfer-encoding", Kind::TransferEncoding),
        ("proxy-authenticate", Kind::HopByHop),
        ("proxy-authorization", Kind::HopByHop),
    ];

    #[test]
    fn each_known_name_is_known_in_any_case_and_a_name_like_it_is_not() {
        for (name, expect) in KNOWN {
            assert_eq!(kind(name.as_bytes()), expect, "{name}");
            assert_eq!(kind(name.to_uppercase().as_bytes()), expect, "{name} in capitals");
            // As long, with the same first byte: only the whole name may decide.
            let other = format!("{}q", &name[..name.len() - 1]);
            assert_eq!(kind(other.as_bytes()), Kind::EndToEnd, "{other}");
        }
        for (name, expect) in [
            ("X-Forwarded-For", Kind::ForwardedFor),
            ("X-Forwarded-Host", Kind::ForwardedHost),
            ("X-Forwarded-Proto", Kind::ForwardedProto),
            ("X-Forwarded-Foq", Kind::Claim),
            ("X-Forwarded-Hosq", Kind::Claim),
            ("X-Forwarded-Protq", Kind::Claim),
            ("X-Forwarded-", Kind::Claim),
            ("X-Forwarded-Client-Cert", Kind::Claim),
            ("X-Forwarded", Kind::EndToEnd),
            ("X-Forwardes-For-Nobody", Kind::EndToEnd),
        ] {
            assert_eq!(kind(name.as_bytes()), expect, "{name}");
        }
    }

    #[test]
    fn trailers_bring_nothing_that_frames_routes_or_authenticates() {
        for name in [
            "Host",
            "content-length",
            "Trailer",
            "SET-COOKIE",
            "content-encoding",
            "content-range",
            "cache-control",
        ] {
            assert!(forbidden_in_trailers(name.as_bytes()), "{name}");
        }
        for name in ["x-checksum", "grpc-status", "set-cookies"] {
            assert!(!forbidden_in_trailers(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_name_of_ours_spelt_with_underscores_is_ours_and_no_other_is() {
        for name in [
            "x_real_ip",
            "X_Forwarded_For",
            "x_forwarded_host",
            "x_forwarded-proto",
            "x_forwarded_prefix",
            "x_forwarded_client_certificate_chain",
            "x_request_id",
            "x-request_id",
            "x_umbra_mirror",
            "x_umbra_copy",
            "x_umbra_primary_status",
            // As long as a name of ours can be.
            "x_umbra_primary_duration",
        ] {
            assert_eq!(kind(name.as_bytes()), Kind::Ours, "{name}");
        }
        for name in
            ["x_anything_else", "x_umbra_primary_durations", "x_umbra_mirrors", "content_length_x", "x_a"]
        {
            assert_eq!(kind(name.as_bytes()), Kind::EndToEnd, "{name}");
        }
    }
}
