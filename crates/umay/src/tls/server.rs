//! TLS towards clients: a listener's certificates and settings.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use umay_core::model::{CertificatePair, CertificateSource, ClientAuth, ListenerTls};
use umay_core::reason::Reason;

use super::files::{self, Certificate, CertificateInfo};
use super::names::{Id, Names};
use super::problem::{Severity, TlsProblem, both, broken};
use super::{dir, provider};
use crate::conn::unix_now;

/// A listener's certificates and settings, shared by all workers. Made anew on a reload, and then
/// with new ticket keys: no session outlives the certificates and authorities it was made with.
pub struct ServerTls {
    keyring: Arc<Keyring>,
    /// Takes part in ALPN if the listener does.
    config: Arc<ServerConfig>,
    /// Takes no part in ALPN: for clients that want a protocol only a stream's endpoint knows.
    without_alpn: Option<Arc<ServerConfig>>,
    warnings: Vec<TlsProblem>,
}

/// What is to be done with a client, after its hello.
pub enum Choice<'a> {
    /// Handshake.
    Accept {
        /// The settings to do it with.
        config: &'a Arc<ServerConfig>,
        /// The certificate it will get. One of another key type may be served in its place, if the
        /// listener has that for the same name and the client takes nothing else.
        certificate: &'a CertificateInfo,
    },
    /// Close, after the alert.
    Refuse {
        /// Why.
        reason: Reason,
        /// A TLS record to send: a fatal alert.
        alert: [u8; 7],
        /// Why, for people.
        detail: String,
    },
}

// Neither keys nor twenty thousand certificates are to be printed.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.keyring.certificates.len();
        f.debug_struct("ServerTls")
            .field("certificates", &count)
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads a listener's files. `alpn` has the application protocols that are spoken on it, the
    /// most wanted first. If it serves `streams`, then clients that offer only other protocols are
    /// let through without one, for their endpoint may know it (as with `mqtt`); if not, they are
    /// refused (RFC 7301 section 3.2).
    ///
    /// Fails with all that is wrong, warnings included.
    pub fn load(tls: &ListenerTls, alpn: &[&[u8]], streams: bool) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        let keyring = Keyring::read(tls, &mut problems);
        let verifier = tls.client_auth.as_ref().map(client_verifier).transpose();
        let verifier = verifier.map_err(|more| problems.extend(more)).ok();
        let is_broken = problems.iter().any(|p| p.severity == Severity::Error);
        let (Some(keyring), Some(verifier), false) = (keyring, verifier, is_broken) else {
            return Err(problems);
        };
        let keyring = Arc::new(keyring);
        let mut config = config(tls, &keyring, verifier).map_err(|error| vec![broken(&error)])?;
        let without_alpn = (streams && !alpn.is_empty()).then(|| Arc::new(config.clone()));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self {
            keyring,
            config: Arc::new(config),
            without_alpn,
            warnings: problems,
        })
    }

    /// Chooses for a client, by the server name and the application protocols in its hello.
    pub fn choose(&self, sni: Option<&str>, alpn: &[Vec<u8>]) -> Choice<'_> {
        let Some(certificate) = self.keyring.pick(sni).next() else {
            let name = sni.unwrap_or_default().escape_debug();
            return Choice::Refuse {
                reason: Reason::UnknownServerName,
                alert: fatal(UNRECOGNIZED_NAME),
                detail: format!("no certificate for {name}"),
            };
        };
        let known = &self.config.alpn_protocols;
        let shares = known.is_empty() || alpn.is_empty() || alpn.iter().any(|p| known.contains(p));
        let config = if shares {
            Some(&self.config)
        } else {
            self.without_alpn.as_ref()
        };
        match config {
            Some(config) => Choice::Accept {
                config,
                certificate: &certificate.info,
            },
            None => Choice::Refuse {
                reason: Reason::NoApplicationProtocol,
                alert: fatal(NO_APPLICATION_PROTOCOL),
                detail: format!("the client offers only {}", listed(alpn)),
            },
        }
    }

    /// True if a request for `host` (without port) may come over a connection whose hello had this
    /// server name; if not, it is misdirected and to be answered with 421 (RFC 9110 section 15.5.20).
    ///
    /// It may if the certificate of the connection covers the host, or if the host has the same
    /// one. It also may if there is nothing to compare: without a server name, or for an address.
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        self.keyring.names.covers(sni, host)
    }

    /// The certificates, in the order of the configuration.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateInfo> {
        self.keyring.certificates.iter().map(|c| &c.info)
    }

    /// What is questionable but did not keep the files from being used.
    pub fn warnings(&self) -> &[TlsProblem] {
        &self.warnings
    }
}

/// `unrecognized_name` (RFC 6066 section 3).
const UNRECOGNIZED_NAME: u8 = 112;
/// `no_application_protocol` (RFC 7301 section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// A record with a fatal alert (RFC 8446 section 6), in the clear as all before the server's hello.
fn fatal(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

/// The first few of the protocols that a client offers.
fn listed(alpn: &[Vec<u8>]) -> String {
    let first = alpn.iter().take(4);
    let first: Vec<String> = first.map(|p| p.escape_ascii().to_string()).collect();
    first.join(", ")
}

fn config(
    tls: &ListenerTls,
    keyring: &Arc<Keyring>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = if tls.only_tls13 {
        &[&TLS13]
    } else {
        &[&TLS13, &TLS12]
    };
    let resumes = verifier.is_none();
    let verifier = verifier.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(keyring) as Arc<dyn ResolvesServerCert>);
    // Tickets keep sessions with the client; a store here would cost memory and a lock.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A resumed session shows no certificate anew: one that has expired or was revoked since would
    // still open the door. Clients with certificates therefore always do the whole handshake.
    if resumes {
        config.ticketer = Ticketer::new()?;
    }
    Ok(config)
}

fn client_verifier(auth: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, Vec<TlsProblem>> {
    let crl = auth.crl.as_deref();
    let ((roots, _), lists) = both(files::authorities(&auth.ca), files::revocations(crl))?;
    // What is revoked is refused; what no list speaks of is not, and an old list still counts.
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .with_crls(lists)
        .allow_unknown_revocation_status();
    let builder = if auth.required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    let verifier = builder.build();
    verifier.map_err(|error| vec![files::bad_revocations(crl, &error)])
}

/// A listener's certificates.
#[derive(Debug)]
struct Keyring {
    /// In the order of the configuration.
    certificates: Vec<Certificate>,
    names: Names,
}

impl Keyring {
    /// Reads all certificates that can be read; `None` if there is none.
    fn read(tls: &ListenerTls, problems: &mut Vec<TlsProblem>) -> Option<Self> {
        let pairs = pairs(tls, problems);
        if pairs.is_empty() && problems.is_empty() {
            let what = "a TLS listener has no certificate";
            problems.push(TlsProblem::new(what, "give it a certificate and its key"));
        }
        let now = unix_now();
        let mut certificates = Vec::with_capacity(pairs.len());
        let mut nameless = 0;
        for pair in &pairs {
            match Certificate::read(pair) {
                Ok(certificate) => {
                    if tls.default.as_ref() == Some(pair) {
                        nameless = certificates.len();
                    }
                    problems.extend(certificate.warning(now));
                    certificates.push(certificate);
                }
                Err(more) => problems.extend(more),
            }
        }
        let mut names = Names::new(nameless, tls.default.is_some());
        for id in by_preference(&certificates, now) {
            if let Some(certificate) = certificates.get(id) {
                names.add(id, &certificate.info.names);
            }
        }
        let is_empty = certificates.is_empty();
        (!is_empty).then_some(Self {
            certificates,
            names,
        })
    }

    /// The certificates for a server name, the most wanted first.
    fn pick(&self, sni: Option<&str>) -> impl Iterator<Item = &Certificate> {
        let ids = self.names.pick(sni).unwrap_or_default();
        ids.iter().filter_map(|id| self.certificates.get(*id))
    }
}

impl ResolvesServerCert for Keyring {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fits = |c: &&Certificate| c.key.key.choose_scheme(schemes).is_some();
        // If none fits, the handshake fails with the words for that.
        let fitting = self.pick(hello.server_name()).find(fits);
        let chosen = fitting.or_else(|| self.pick(hello.server_name()).next());
        chosen.map(|certificate| Arc::clone(&certificate.key))
    }
}

/// All pairs, in the order of the configuration, none twice.
fn pairs(tls: &ListenerTls, problems: &mut Vec<TlsProblem>) -> Vec<CertificatePair> {
    let mut pairs = Vec::new();
    for source in &tls.certificates {
        match source {
            CertificateSource::Pair(pair) => pairs.push(pair.clone()),
            CertificateSource::Dir(path) => match dir::pairs(path) {
                Ok(found) => pairs.extend(found),
                Err(more) => problems.extend(more),
            },
        }
    }
    pairs.extend(tls.default.clone());
    let mut seen = HashSet::new();
    pairs.retain(|pair| seen.insert((pair.cert.clone(), pair.key.clone())));
    pairs
}

/// Certificates, those first that are wanted most for a name they share: good now, then with
/// the cheaper key (a signature with ECDSA costs a tenth of one with RSA), then good for longest.
fn by_preference(certificates: &[Certificate], now: u64) -> Vec<Id> {
    let rank = |certificate: &Certificate| {
        let info = &certificate.info;
        let is_good = (info.not_before..=info.not_after).contains(&now);
        let is_rsa = info.key_type == "rsa";
        (!is_good, is_rsa, u64::MAX - info.not_after)
    };
    let mut ranked: Vec<_> = certificates.iter().map(rank).zip(0..).collect();
    ranked.sort();
    ranked.into_iter().map(|(_, id)| id).collect()
}
