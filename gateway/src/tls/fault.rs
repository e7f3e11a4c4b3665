//! Why a TLS session failed, in few words: what is counted, and what an operator could do about it. Pure.

use rustls::{AlertDescription, CertificateError, Error};

use crate::metrics::Label;

/// Why a session, or its handshake, came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The first bytes are no TLS: a client that speaks in plaintext.
    NotTls,
    /// No version, cipher, group, signature or protocol that both sides have.
    NoCommonProtocol,
    /// The peer's certificate is expired, revoked, of another name, or broken.
    BadCertificate,
    /// The peer's certificate comes from nobody that we were told to trust.
    UnknownCa,
    /// The peer shows no certificate, and must.
    NoCertificate,
    /// The peer does not trust our certificate: it said so by an alert.
    Distrusted,
    /// Another alert of the peer's.
    Alert,
    /// What came breaks the protocol.
    Protocol,
    /// The peer went away in the middle.
    Closed,
    /// It took too long.
    Timeout,
    /// Too many were under way.
    Pending,
    /// Its address asked for too many.
    Rate,
}

impl Label for Fault {
    const ALL: &'static [Self] = &[
        Self::NotTls,
        Self::NoCommonProtocol,
        Self::BadCertificate,
        Self::UnknownCa,
        Self::NoCertificate,
        Self::Distrusted,
        Self::Alert,
        Self::Protocol,
        Self::Closed,
        Self::Timeout,
        Self::Pending,
        Self::Rate,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn text(self) -> &'static str {
        self.as_str()
    }
}

impl Fault {
    /// The label of its counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::NoCommonProtocol => "no_common_protocol",
            Self::BadCertificate => "bad_certificate",
            Self::UnknownCa => "unknown_ca",
            Self::NoCertificate => "no_certificate",
            Self::Distrusted => "distrusted",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Pending => "pending",
            Self::Rate => "rate",
        }
    }

    pub fn of(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::NoCommonProtocol,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => Self::UnknownCa,
            Error::InvalidCertificate(_) => Self::BadCertificate,
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            // Not ours to match exhaustively: the crate may learn of more.
            _ => Self::Protocol,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown => Self::Distrusted,
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Self::NoCertificate,
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol => Self::NoCommonProtocol,
            _ => Self::Alert,
        }
    }

    /// What an operator could do, for the log; of a client's handshake with us.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotTls => {
                "a client speaks plaintext to a listener with tls: let it call https, or give plaintext a listener without tls"
            }
            Self::NoCommonProtocol => {
                "a client has no version, cipher or protocol in common with the listener: see min_version, and whether it insists on a protocol that protocols has not"
            }
            Self::BadCertificate => "a client's certificate is expired, revoked or broken",
            Self::UnknownCa => "a client's certificate comes from a CA that is not in client_ca",
            Self::NoCertificate => "a client shows no certificate, and client_auth is \"required\"",
            Self::Distrusted => {
                "a client does not trust the listener's certificate: give it the CA, and send the whole chain in cert"
            }
            Self::Alert => "a client gave up the handshake",
            Self::Protocol => "a client broke the protocol",
            Self::Closed => "a client went away in its handshake",
            Self::Timeout => "a client's handshake took longer than timeouts.tls_handshake",
            Self::Pending => "more handshakes were under way than limits.tls_handshakes_pending_max",
            Self::Rate => {
                "an address asked for more handshakes than limits.tls_handshakes_per_second_per_address_max"
            }
        }
    }
}

impl From<Fault> for std::io::Error {
    fn from(fault: Fault) -> Self {
        // As the rooms above know failures: a peer that left, one that was late, and one that cannot be understood.
        let kind = match fault {
            Fault::Closed => std::io::ErrorKind::UnexpectedEof,
            Fault::Timeout => std::io::ErrorKind::TimedOut,
            Fault::NotTls
            | Fault::NoCommonProtocol
            | Fault::BadCertificate
            | Fault::UnknownCa
            | Fault::NoCertificate
            | Fault::Distrusted
            | Fault::Alert
            | Fault::Protocol
            | Fault::Pending
            | Fault::Rate => std::io::ErrorKind::InvalidData,
        };
        Self::new(kind, fault.as_str())
    }
}
