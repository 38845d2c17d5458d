//! TLS towards clients: a listener's certificates and settings.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::version::{TLS12, TLS13};
use umay_core::model::{ClientAuth, ListenerTls};
use umay_core::reason::Reason;

use super::certificate::CertificateInfo;
use super::keyring::Keyring;
use super::problem::{Severity, TlsProblem, both, broken};
use super::{files, provider};
use crate::conn::unix_now;

/// A listener's certificates and settings, shared by all workers. On a reload what has not changed stays, down to
/// the single certificate. Ticket keys stay as long as each name that had a certificate still has one, so that
/// renewing one of many does not end all sessions; where clients show certificates there are none.
pub struct ServerTls {
    /// What it was made for.
    model: ListenerTls,
    streams: bool,
    /// A hash of the files of the client authorities.
    authorities: u64,
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
        let count = self.certificates().len();
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
    pub fn load(
        tls: &ListenerTls,
        alpn: &[&[u8]],
        streams: bool,
    ) -> Result<Arc<Self>, Vec<TlsProblem>> {
        Self::load_on(None, tls, alpn, streams)
    }

    /// The same, to take the place of this one: only files that have changed are read, and settings and ticket keys
    /// stay if none has.
    ///
    /// A pair that was served and does not fit now, since it is half written, say, is kept as it was; one that a
    /// directory has and that was not there before is left out then. [`ServerTls::warnings`] says so.
    pub fn succeed(
        self: &Arc<Self>,
        tls: &ListenerTls,
        alpn: &[&[u8]],
        streams: bool,
    ) -> Result<Arc<Self>, Vec<TlsProblem>> {
        Self::load_on(Some(self), tls, alpn, streams)
    }

    fn load_on(
        old: Option<&Arc<Self>>,
        tls: &ListenerTls,
        alpn: &[&[u8]],
        streams: bool,
    ) -> Result<Arc<Self>, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        // Before they are read: what changes in between is seen the next time.
        let authorities = hash_of_authorities(tls);
        let keyring = Keyring::read(tls, old.map(|old| &*old.keyring), &mut problems);
        let verifier = tls.client_auth.as_ref().map(client_verifier).transpose();
        let verifier = verifier.map_err(|more| problems.extend(more)).ok();
        let is_broken = problems.iter().any(|p| p.severity == Severity::Error);
        if let (true, Some(keyring)) = (is_broken, &keyring) {
            let now = unix_now();
            problems.extend(keyring.infos().filter_map(|info| info.warning(now)));
        }
        let (Some(keyring), Some(verifier), false) = (keyring, verifier, is_broken) else {
            return Err(problems);
        };
        let keyring = Arc::new(keyring);
        let protocols: Vec<Vec<u8>> = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let is_same = |old: &&Arc<Self>| {
            (&old.model, old.streams, old.authorities) == (tls, streams, authorities)
                && old.config.alpn_protocols == protocols
                && old.keyring.is(&keyring)
        };
        let (config, without_alpn) = match old.filter(is_same) {
            // With what was noted of the files, so that these need not be read the next time.
            Some(old) => (Arc::clone(&old.config), old.without_alpn.clone()),
            None => {
                let tickets = old.and_then(|old| old.tickets(&keyring));
                let config = config(tls, &keyring, verifier, tickets);
                let mut config = config.map_err(|error| vec![broken(&error)])?;
                let without_alpn = streams && !alpn.is_empty();
                let without_alpn = without_alpn.then(|| Arc::new(config.clone()));
                config.alpn_protocols = protocols;
                (Arc::new(config), without_alpn)
            }
        };
        Ok(Arc::new(Self {
            model: tls.clone(),
            streams,
            authorities,
            keyring,
            config,
            without_alpn,
            warnings: problems,
        }))
    }

    /// The ticket keys, if who takes its place with these certificates may go on with the sessions.
    fn tickets(&self, keyring: &Keyring) -> Option<Arc<dyn ProducesTickets>> {
        let go_on =
            self.model.client_auth.is_none() && self.keyring.names.are_all_in(&keyring.names);
        go_on.then(|| Arc::clone(&self.config.ticketer))
    }

    /// Chooses for a client, by the server name and the application protocols in its hello.
    pub fn choose(&self, sni: Option<&str>, alpn: &[Vec<u8>]) -> Choice<'_> {
        let Some(certificate) = self.keyring.pick(sni).find(|c| c.is_usable()) else {
            return self.refuse(sni);
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

    /// There is no certificate for this name, or none with a key that can be used.
    fn refuse(&self, sni: Option<&str>) -> Choice<'_> {
        match self.keyring.pick(sni).next() {
            Some(broken) => Choice::Refuse {
                reason: Reason::CertificateUnusable,
                alert: fatal(INTERNAL_ERROR),
                detail: format!("the key in {} is damaged", broken.info.key_file.display()),
            },
            None => Choice::Refuse {
                reason: Reason::UnknownServerName,
                alert: fatal(UNRECOGNIZED_NAME),
                detail: format!(
                    "no certificate for {}",
                    sni.unwrap_or_default().escape_debug()
                ),
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
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &CertificateInfo> {
        self.keyring.infos()
    }

    /// True if it is known of all keys whether they can sign. Where there are few that is so from the start.
    pub fn is_proven(&self) -> bool {
        self.keyring.is_proven()
    }

    /// Finds out whether all keys can sign; a key takes tens of microseconds, with RSA hundreds. Returns how many
    /// cannot. Ends early at `stop`.
    pub fn prove(&self, stop: &AtomicBool) -> usize {
        self.keyring.prove(stop)
    }

    /// The same on all cores, for those who wait for it. Returns what is wrong with those that cannot.
    pub fn prove_at_once(&self) -> Vec<TlsProblem> {
        self.keyring.prove_at_once();
        self.keyring.damaged().collect()
    }

    /// All that cannot be served as it is in its files: [`ServerTls::warnings`], and keys that are known to be damaged.
    pub fn unfit(&self) -> impl Iterator<Item = TlsProblem> {
        self.warnings.iter().cloned().chain(self.keyring.damaged())
    }

    /// Pairs that could not be used as they are now: for each what is wrong, and what is served in its place.
    pub fn warnings(&self) -> &[TlsProblem] {
        &self.warnings
    }
}

/// `internal_error` (RFC 8446 section 6.2).
const INTERNAL_ERROR: u8 = 80;
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
    tickets: Option<Arc<dyn ProducesTickets>>,
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
        config.ticketer = tickets.map_or_else(Ticketer::new, Ok)?;
    }
    Ok(config)
}

/// A hash of what is in the files of the client authorities; one that cannot be read counts as empty.
fn hash_of_authorities(tls: &ListenerTls) -> u64 {
    let auth = tls.client_auth.iter();
    let mut hasher = DefaultHasher::new();
    for file in auth.flat_map(|auth| std::iter::once(&auth.ca).chain(&auth.crl)) {
        std::fs::read(file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
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
