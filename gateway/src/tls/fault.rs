//! Why a TLS session failed, in few words: the counter's label, and an operator's remedy. Pure.

use rustls::{AlertDescription, CertificateError, Error};

use crate::metrics::Label;

pub use crate::metrics::TlsFault as Fault;

impl Fault {
    /// The label of its counter.
    pub fn as_str(self) -> &'static str {
        self.text()
    }

    pub fn of(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::NoCommonProtocol,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => Self::UnknownCa,
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Self::Expired,
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::WrongName,
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

    /// An operator's remedy, for the log; of a client's handshake with us.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotTls => {
                "a client speaks plaintext to a listener with tls: let it call https, or give plaintext a listener without tls"
            }
            Self::NoCommonProtocol => {
                "a client has no version, cipher or protocol in common with the listener: see min_version, and whether it insists on a protocol that protocols has not"
            }
            Self::BadCertificate => "a client's certificate is revoked or broken",
            Self::Expired => "a client's certificate has expired or is not valid yet",
            Self::WrongName => "a client's certificate is for another name",
            Self::UnknownCa => "a client's certificate comes from a CA that is not in client_ca",
            Self::NoCertificate => "a client shows no certificate, and client_auth is \"required\"",
            Self::Distrusted => {
                "a client does not trust the listener's certificate: give it the CA, and send the whole chain in cert"
            }
            Self::Alert => "a client gave up the handshake",
            Self::Protocol => "a client broke the protocol",
            Self::Noise => "a client sends records without content",
            Self::Closed => "a client went away in its handshake",
            Self::Timeout => "a client's handshake took longer than timeouts.tls_handshake",
            Self::Pending => "more handshakes were under way than limits.tls_handshakes_pending_max",
            Self::Rate => {
                "an address asked for more handshakes than limits.tls_handshakes_per_second_per_address_max"
            }
        }
    }
}

impl Fault {
    /// An operator's remedy for an upstream that is called in vain, for the log.
    pub const fn hint_of_upstream(self) -> &'static str {
        match self {
            Self::NotTls => {
                "it does not speak TLS: take tls away from the upstream, or name the port where it does"
            }
            Self::NoCommonProtocol => {
                "it has no version, cipher or protocol in common with the gateway: see min_version, and whether it speaks http/1.1"
            }
            Self::BadCertificate => "its certificate is revoked or broken",
            Self::Expired => "its certificate has expired or is not valid yet",
            Self::WrongName => {
                "its certificate is not for the name that it is called by, its endpoint's: give the other one as server_name"
            }
            Self::UnknownCa => {
                "its certificate's issuer is unknown: give its CA as ca, or let the server send the whole chain"
            }
            Self::NoCertificate => "it asks for a certificate: give one as cert and key",
            Self::Distrusted => "it does not accept the certificate in cert",
            Self::Alert => "it gave up the handshake",
            Self::Protocol => "it broke the protocol",
            Self::Noise => "it sends tickets or other records without content, and hardly anything else",
            Self::Closed => "it closed in the handshake",
            Self::Timeout => "its handshake took longer than connect_timeout",
            Self::Pending => "more handshakes were under way than may be",
            Self::Rate => "more handshakes were asked for than may be",
        }
    }

    /// The fault that broke an operation on a covered connection, if one did.
    pub fn within(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// Whether the next connection will fail the same way: the cause lies in the settings of the two sides, and not in this
    /// connection.
    pub const fn is_lasting(self) -> bool {
        match self {
            Self::NotTls
            | Self::NoCommonProtocol
            | Self::BadCertificate
            | Self::Expired
            | Self::WrongName
            | Self::UnknownCa
            | Self::NoCertificate
            | Self::Distrusted
            | Self::Alert
            | Self::Protocol => true,
            // A server that starts or is full does so too.
            Self::Closed | Self::Timeout => false,
            Self::Noise | Self::Pending | Self::Rate => false,
        }
    }

    /// Whether the fault is counted as TLS's though it comes after the handshake. In TLS 1.3 a client's certificate goes out
    /// last (RFC 8446 §4.4.2), so that its refusal is heard later; and a peer may send nothing but noise.
    pub const fn comes_late(self) -> bool {
        match self {
            Self::NoCommonProtocol | Self::NoCertificate | Self::Distrusted | Self::Noise => true,
            Self::NotTls
            | Self::BadCertificate
            | Self::Expired
            | Self::WrongName
            | Self::UnknownCa
            | Self::Alert
            | Self::Protocol
            | Self::Closed
            | Self::Timeout
            | Self::Pending
            | Self::Rate => false,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for std::io::Error {
    fn from(fault: Fault) -> Self {
        // As the rooms above know failures: a peer that left, one that was late, and one that cannot be understood.
        let kind = match fault {
            Fault::Closed => std::io::ErrorKind::UnexpectedEof,
            Fault::Timeout => std::io::ErrorKind::TimedOut,
            Fault::NotTls
            | Fault::NoCommonProtocol
            | Fault::BadCertificate
            | Fault::Expired
            | Fault::WrongName
            | Fault::UnknownCa
            | Fault::NoCertificate
            | Fault::Distrusted
            | Fault::Alert
            | Fault::Protocol
            | Fault::Noise
            | Fault::Pending
            | Fault::Rate => std::io::ErrorKind::InvalidData,
        };
        Self::new(kind, fault)
    }
}
