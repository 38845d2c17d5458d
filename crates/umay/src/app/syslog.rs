//! TLS to a syslog that the access log goes to, and what to do when it does not come about.

use std::io;

use umay_core::model::{AccessLog, Model, Syslog};
use umay_core::reason::Reason;

use crate::telemetry::access::SyslogTls;
use crate::tls::{ClientTls, Offer, TlsProblem, connect_reason_of};

/// What TLS to a syslog is made of, with what it was made from.
pub(super) struct ToSyslog {
    /// For who writes the log.
    pub(super) settings: SyslogTls,
    files: ClientTls,
}

impl ToSyslog {
    /// Reads the files; `None` if no syslog is spoken to over TLS. Fails with all that is wrong.
    pub(super) fn load(model: &Model) -> Result<Option<Self>, Vec<TlsProblem>> {
        let AccessLog::Syslog(Syslog::Tls(host, _, tls)) = &model.log.access else {
            return Ok(None);
        };
        let files = ClientTls::load(tls)?;
        let settings = SyslogTls {
            config: files.config(Offer::Nothing).clone(),
            name: files.name_at(host).map_err(|problem| vec![problem])?,
            explain,
        };
        Ok(Some(Self { settings, files }))
    }

    /// True if both were made from the same files.
    pub(super) fn has_files_of(&self, other: &Self) -> bool {
        self.files.has_files_of(&other.files)
    }
}

/// Why a handshake with a syslog failed or its end came, and what to do.
fn explain(error: &io::Error) -> String {
    let (reason, detail) = connect_reason_of(error, "syslog");
    let hint = match reason {
        Reason::UpstreamTlsUnknownIssuer | Reason::UpstreamTlsSelfSigned => {
            "name its authority with log.tls.ca = \"FILE\""
        }
        Reason::UpstreamTlsWrongName => {
            "write the name that its certificate has, there or as log.tls.sni"
        }
        Reason::UpstreamTlsExpired
        | Reason::UpstreamTlsNotYetValid
        | Reason::UpstreamTlsRevoked
        | Reason::UpstreamTlsBadCertificate => "it needs another certificate",
        _ if detail.contains("certificate") => {
            "show it another with log.tls.cert and log.tls.key, or let it trust this one"
        }
        _ => "is that its port for TLS? One without is written as syslog:tcp://HOST:PORT",
    };
    format!("{detail}: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

    #[test]
    fn whoever_reads_it_knows_what_to_do() {
        let of = |error: Error| explain(&io::Error::new(io::ErrorKind::InvalidData, error));
        let certificate = |error: CertificateError| of(Error::InvalidCertificate(error));
        let alert = |alert: AlertDescription| of(Error::AlertReceived(alert));
        let late = explain(&io::Error::new(io::ErrorKind::TimedOut, "late"));
        for (told, hint) in [
            (certificate(CertificateError::UnknownIssuer), "log.tls.ca"),
            (
                certificate(CertificateError::NotValidForName),
                "log.tls.sni",
            ),
            (certificate(CertificateError::Expired), "needs another"),
            (alert(AlertDescription::CertificateRequired), "log.tls.cert"),
            (alert(AlertDescription::UnknownCA), "log.tls.cert"),
            (alert(AlertDescription::HandshakeFailure), "its port"),
            (
                of(Error::InvalidMessage(InvalidMessage::InvalidContentType)),
                "syslog:tcp://",
            ),
            (late, "its port for TLS?"),
        ] {
            assert!(told.contains(hint), "{told}");
            assert!(!told.contains("endpoint"), "{told}");
        }
    }
}
