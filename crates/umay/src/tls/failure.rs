//! What a handshake died of: a reason word, and a detail for people.

use std::error::Error as StdError;
use std::io;

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible,
};
use umay_core::reason::Reason;

use super::verify::SelfSignedError;
use super::x509;

/// Why a handshake with a client failed, from the error that it ended with.
pub fn accept_reason(error: &io::Error) -> (Reason, String) {
    let Some(tls) = tls_error(error) else {
        return (Reason::HandshakeFailed, lost(error, "client"));
    };
    match tls {
        Error::NoCertificatesPresented => (
            Reason::ClientCertificateMissing,
            "the client sent no certificate".to_owned(),
        ),
        Error::InvalidCertificate(certificate) => (
            Reason::ClientCertificateInvalid,
            certificate_detail(certificate),
        ),
        Error::InvalidCertRevocationList(_) => (Reason::ClientCertificateInvalid, tls.to_string()),
        Error::NoApplicationProtocol => (Reason::NoApplicationProtocol, tls.to_string()),
        _ => (Reason::HandshakeFailed, protocol_detail(tls, "client")),
    }
}

/// Why a handshake with an endpoint failed, from the error that it ended with.
pub fn connect_reason(error: &io::Error) -> (Reason, String) {
    connect_reason_of(error, "endpoint")
}

/// The same for another peer than an endpoint: who it is to be called.
pub fn connect_reason_of(error: &io::Error, peer: &str) -> (Reason, String) {
    let Some(tls) = tls_error(error) else {
        return (Reason::UpstreamTlsFailed, lost(error, peer));
    };
    match tls {
        Error::InvalidCertificate(certificate) => {
            let reason = certificate_reason(certificate);
            (reason, certificate_detail(certificate))
        }
        Error::InvalidCertRevocationList(_) | Error::NoCertificatesPresented => {
            (Reason::UpstreamTlsBadCertificate, tls.to_string())
        }
        _ => (Reason::UpstreamTlsFailed, protocol_detail(tls, peer)),
    }
}

/// The error of the TLS library inside of one of input or output.
fn tls_error(error: &io::Error) -> Option<&Error> {
    let mut source: Option<&(dyn StdError + 'static)> = match error.get_ref() {
        Some(inner) => Some(inner),
        None => None,
    };
    while let Some(inner) = source {
        if let Some(tls) = inner.downcast_ref() {
            return Some(tls);
        }
        source = match inner.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => inner.source(),
        };
    }
    None
}

fn lost(error: &io::Error, peer: &str) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("the {peer} closed in the middle of the handshake"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            format!("the {peer} reset the connection in the middle of the handshake")
        }
        _ => error.to_string(),
    }
}

fn certificate_reason(error: &CertificateError) -> Reason {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Reason::UpstreamTlsExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Reason::UpstreamTlsNotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Reason::UpstreamTlsWrongName
        }
        CertificateError::UnknownIssuer => Reason::UpstreamTlsUnknownIssuer,
        CertificateError::Revoked => Reason::UpstreamTlsRevoked,
        CertificateError::Other(OtherError(inner)) if inner.is::<SelfSignedError>() => {
            Reason::UpstreamTlsSelfSigned
        }
        _ => Reason::UpstreamTlsBadCertificate,
    }
}

fn certificate_detail(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!(
                "the certificate expired on {}",
                x509::day(not_after.as_secs())
            )
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let day = x509::day(not_before.as_secs());
            format!("the certificate is not valid before {day}")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names = presented_names(presented);
            format!(
                "the certificate is valid for {names}, not {}",
                expected.to_str()
            )
        }
        CertificateError::UnknownIssuer => {
            "the certificate's issuer is not one of the trusted authorities".to_owned()
        }
        CertificateError::Revoked => "the certificate was revoked".to_owned(),
        CertificateError::Other(OtherError(inner)) => inner.to_string(),
        other => other.to_string(),
    }
}

/// At most three of a certificate's names, which the peer wrote; some have hundreds.
fn presented_names(presented: &[String]) -> String {
    let some: Vec<String> = presented
        .iter()
        .take(3)
        .map(|name| bare(name).escape_debug().to_string())
        .collect();
    match (some.is_empty(), presented.len().saturating_sub(3)) {
        (true, _) => "no name at all (a common name does not count)".to_owned(),
        (_, 0) => some.join(", "),
        (_, more) => format!("{} and {more} more", some.join(", ")),
    }
}

/// A name out of the form that the TLS library puts it in: `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

/// The failures that have nothing to do with certificates, in words where words help.
fn protocol_detail(error: &Error, peer: &str) -> String {
    match error {
        Error::AlertReceived(alert) => alert_detail(*alert, peer),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            format!("the {peer} does not speak TLS here")
        }
        Error::PeerIncompatible(why) => match why {
            PeerIncompatible::NoCipherSuitesInCommon => {
                format!("the {peer} shares no cipher suite with us")
            }
            PeerIncompatible::NoKxGroupsInCommon => {
                format!("the {peer} shares no key exchange group with us")
            }
            PeerIncompatible::NoSignatureSchemesInCommon => {
                format!("the {peer} takes no signature that our certificate's key can make")
            }
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
                format!("the {peer} shares no version of TLS with us")
            }
            why => format!("the {peer} is incompatible: {why:?}"),
        },
        other => other.to_string(),
    }
}

fn alert_detail(alert: AlertDescription, peer: &str) -> String {
    let what = match alert {
        AlertDescription::UnknownCA => "does not know the issuer of our certificate",
        AlertDescription::CertificateExpired => "says that our certificate has expired",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "does not accept our certificate"
        }
        AlertDescription::CertificateRevoked => "says that our certificate was revoked",
        AlertDescription::CertificateRequired => "requires a certificate from us",
        AlertDescription::UnrecognisedName => "does not know the server name that we asked for",
        AlertDescription::ProtocolVersion => "shares no version of TLS with us",
        AlertDescription::HandshakeFailure => "shares no parameters with us, or refuses us",
        _ => return format!("the {peer} sent the alert {alert:?}"),
    };
    format!("the {peer} {what}")
}
