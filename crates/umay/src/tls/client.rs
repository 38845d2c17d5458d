//! TLS towards endpoints.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use umay_core::model::{Endpoint, UpstreamTls};

use super::certificate::{Certificate, CertificateInfo};
use super::problem::{TlsProblem, both, broken};
use super::verify::{AcceptAny, Verifier};
use super::{files, provider};

/// How TLS is spoken to the endpoints of one upstream, shared by all workers. Sessions with up to
/// 256 names are resumed; they are never shared with another upstream or kept over a reload.
#[derive(Clone)]
pub struct ClientTls {
    /// By what they offer, in the order of [`Offer`].
    configs: [Arc<ClientConfig>; 4],
    sni: Option<ServerName<'static>>,
    /// What is shown to endpoints.
    certificate: Option<CertificateInfo>,
    /// A hash of the files that it is made from.
    files: u64,
}

// No key is to be printed.
impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("sni", &self.sni)
            .finish_non_exhaustive()
    }
}

/// The application protocols that an endpoint is offered (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// None: what follows is not HTTP.
    Nothing,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2, or else HTTP/1.1.
    Either,
}

impl Offer {
    const ALL: [Self; 4] = [Self::Nothing, Self::Http1, Self::Http2, Self::Either];

    fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Nothing => &[],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Either => &[b"h2", b"http/1.1"],
        }
    }
}

impl ClientTls {
    /// Reads an upstream's files. To be called only for upstreams that have an endpoint with TLS,
    /// since without authorities of its own it reads those of the system, once in the life of the
    /// process. Fails with all that is wrong.
    pub fn load(tls: &UpstreamTls) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Vec::new();
        // Before they are read: what changes in between is seen the next time.
        let files = hash_of_files(tls);
        let sni = tls.sni.as_deref().and_then(|name| {
            let parsed = server_name(name);
            parsed.map_err(|problem| problems.push(problem)).ok()
        });
        let verifier = verifier(tls);
        let verifier = verifier.map_err(|more| problems.extend(more)).ok();
        let read = |pair| {
            let certificate = Certificate::read(pair, None)?;
            certificate.is_usable();
            match certificate.damage() {
                Some(problem) => Err(vec![problem]),
                None => Ok(certificate),
            }
        };
        let client = tls.client.as_ref().map(read).transpose();
        let client = client.map_err(|more| problems.extend(more)).ok();
        let (Some(verifier), Some(client), true) = (verifier, client, problems.is_empty()) else {
            return Err(problems);
        };
        let config = config(verifier, client.as_deref()).map_err(|error| vec![broken(&error)])?;
        let configs = Offer::ALL.map(|offer| {
            let mut config = config.clone();
            let protocols = offer.protocols().iter();
            config.alpn_protocols = protocols.map(|name| name.to_vec()).collect();
            Arc::new(config)
        });
        Ok(Self {
            configs,
            sni,
            certificate: client.map(|certificate| certificate.info.clone()),
            files,
        })
    }

    /// True if the files that it was made from are as they were.
    pub fn is_fresh(&self, tls: &UpstreamTls) -> bool {
        self.files == hash_of_files(tls)
    }

    /// True if both were made from the same files.
    pub fn has_files_of(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// The settings to handshake with.
    pub fn config(&self, offer: Offer) -> &Arc<ClientConfig> {
        let [nothing, http1, http2, either] = &self.configs;
        match offer {
            Offer::Nothing => nothing,
            Offer::Http1 => http1,
            Offer::Http2 => http2,
            Offer::Either => either,
        }
    }

    /// The name to ask an endpoint for and to verify: the configured one, else the endpoint's host.
    /// Fails if the host is neither a DNS name nor an address.
    pub fn server_name(&self, endpoint: &Endpoint) -> Result<ServerName<'static>, TlsProblem> {
        self.name_at(&endpoint.host)
    }

    /// The same for a host.
    pub fn name_at(&self, host: &str) -> Result<ServerName<'static>, TlsProblem> {
        match &self.sni {
            Some(name) => Ok(name.clone()),
            None => server_name(host),
        }
    }

    /// The certificate that is shown to endpoints, if there is one.
    pub fn certificate(&self) -> Option<&CertificateInfo> {
        self.certificate.as_ref()
    }
}

/// A hash of what is in an upstream's files, to tell that they have changed; one that cannot be read counts as empty.
fn hash_of_files(tls: &UpstreamTls) -> u64 {
    let pair = tls.client.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    let mut hasher = DefaultHasher::new();
    for file in tls.ca.iter().chain(&tls.crl).chain(pair) {
        std::fs::read(file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsProblem> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    ServerName::try_from(bare.to_owned()).map_err(|_| {
        let what = format!("`{}` is not a server name", name.escape_debug());
        TlsProblem::new(what, "give a DNS name or an IP address as `sni`")
    })
}

fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    client: Option<&Certificate>,
) -> Result<ClientConfig, rustls::Error> {
    // The verifiers here are the usual one in a thin coat, and the one that was asked for by name.
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match client {
        Some(certificate) => {
            let key = SingleCertAndKey::from(Arc::clone(&certificate.key));
            builder.with_client_cert_resolver(Arc::new(key))
        }
        None => builder.with_no_client_auth(),
    })
}

fn verifier(tls: &UpstreamTls) -> Result<Arc<dyn ServerCertVerifier>, Vec<TlsProblem>> {
    if tls.accept_any {
        return Ok(Arc::new(AcceptAny));
    }
    let crl = tls.crl.as_deref();
    let ((roots, given), lists) = both(authorities(tls), files::revocations(crl))?;
    // What is revoked is refused; what no list speaks of is not, and an old list still counts.
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .with_crls(lists)
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| vec![files::bad_revocations(crl, &error)])?;
    Ok(Arc::new(Verifier { inner, given }))
}

/// Whom to trust, and which of them the configuration gives itself.
fn authorities(
    tls: &UpstreamTls,
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), TlsProblem> {
    match &tls.ca {
        Some(file) => files::authorities(file),
        None => Ok((system_roots()?, Vec::new())),
    }
}

/// The authorities that the system trusts. One that cannot be parsed is passed over, since nobody
/// here can repair it; that there are none at all is told each time.
fn system_roots() -> Result<Arc<RootCertStore>, TlsProblem> {
    static ROOTS: LazyLock<(Arc<RootCertStore>, String)> = LazyLock::new(|| {
        let loaded = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(loaded.certs);
        let errors = loaded.errors.iter().map(|error| format!(" ({error})"));
        (Arc::new(store), errors.collect())
    });
    let (store, errors) = &*ROOTS;
    if store.is_empty() {
        let what = format!("the system has no certificate authorities{errors}");
        let hint = "install the package `ca-certificates`, or give `ca` with a file of your own";
        return Err(TlsProblem::new(what, hint));
    }
    Ok(Arc::clone(store))
}
