//! PEM files: certificates with their keys, authorities, revocation lists.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{RootCertStore, SignatureAlgorithm};
use umay_core::model::CertificatePair;

use super::problem::{TlsProblem, both, broken};
use super::{provider, x509};

/// A certificate that a listener serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The DNS names and addresses that it is for, in lower case.
    pub names: Vec<String>,
    /// From when it is good: Unix time in seconds.
    pub not_before: u64,
    /// Until when it is good: Unix time in seconds.
    pub not_after: u64,
    /// `ecdsa`, `ed25519` or `rsa`.
    pub key_type: &'static str,
    /// The file of the chain.
    pub cert_file: PathBuf,
    /// The file of the key.
    pub key_file: PathBuf,
}

/// A certificate chain and its key, ready to be served.
#[derive(Clone)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) info: CertificateInfo,
}

// The key stays out of whatever is printed.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}

impl Certificate {
    /// Reads a chain and its key, and checks that they belong together.
    pub(super) fn read(pair: &CertificatePair) -> Result<Self, Vec<TlsProblem>> {
        let (chain, key) = both(chain(&pair.cert), signing_key(&pair.key))?;
        let leaf = chain.first().and_then(|der| x509::leaf(der));
        let leaf = leaf.ok_or_else(|| vec![unparsable(&pair.cert)])?;
        check_match(&chain, key.as_ref(), pair).map_err(|problem| vec![problem])?;
        let info = CertificateInfo {
            names: leaf.names,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            key_type: key_type(key.algorithm()),
            cert_file: pair.cert.clone(),
            key_file: pair.key.clone(),
        };
        let key = Arc::new(CertifiedKey::new(chain, key));
        Ok(Self { key, info })
    }

    /// What peers will complain about: a certificate that is not good now.
    pub(super) fn warning(&self, now: u64) -> Option<TlsProblem> {
        let info = &self.info;
        let (what, hint) = if now > info.not_after {
            let what = format!("expired on {}", x509::day(info.not_after));
            (what, "renew it, for clients will refuse it")
        } else if now < info.not_before {
            let what = format!("is not good before {}", x509::day(info.not_before));
            (what, "check the clock, or wait")
        } else {
            return None;
        };
        Some(TlsProblem::in_file(&info.cert_file, what, hint).into_warning())
    }
}

/// Reads certificate authorities: the store that trusts them, and each as it is in the file.
pub(super) fn authorities(
    file: &Path,
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), TlsProblem> {
    let list = chain(file)?;
    let mut store = RootCertStore::empty();
    for (place, der) in list.iter().enumerate() {
        store.add(der.clone()).map_err(|error| {
            let what = format!("has a bad certificate at place {}: {error}", place + 1);
            TlsProblem::in_file(file, what, "remove or replace it")
        })?;
    }
    Ok((Arc::new(store), list))
}

/// Reads revocation lists; none without a file.
pub(super) fn revocations(
    file: Option<&Path>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsProblem> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let bytes = read(file)?;
    let lists = sections(file, &bytes)?;
    if lists.is_empty() {
        return Err(nothing_in(file, &bytes, "revocation list", "X509 CRL"));
    }
    Ok(lists)
}

/// A verifier could not be built. Its authorities are good by then, so it is the lists.
pub(super) fn bad_revocations(file: Option<&Path>, error: &impl fmt::Display) -> TlsProblem {
    let Some(file) = file else {
        return broken(error);
    };
    let what = format!("has a revocation list that cannot be used: {error}");
    TlsProblem::in_file(file, what, "get a new list from the authority")
}

/// Reads certificates: at least one.
fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let bytes = read(file)?;
    let chain = sections(file, &bytes)?;
    if chain.is_empty() {
        return Err(nothing_in(file, &bytes, "certificate", "CERTIFICATE"));
    }
    Ok(chain)
}

fn signing_key(file: &Path) -> Result<Arc<dyn SigningKey>, TlsProblem> {
    let bytes = read(file)?;
    if is_encrypted(&bytes) {
        let hint = "decrypt it with `openssl pkey`, and let only Umay's user read the result";
        let what = "has a key that is locked by a passphrase";
        return Err(TlsProblem::in_file(file, what, hint));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound => nothing_in(file, &bytes, "private key", "PRIVATE KEY"),
        error => malformed(file, &error),
    })?;
    provider().key_provider.load_private_key(key).map_err(|_| {
        let hint = "give an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits or more) key";
        TlsProblem::in_file(file, "has a key of a kind that cannot be used", hint)
    })
}

/// Fails unless the key is that of the chain's first certificate.
fn check_match(
    chain: &[CertificateDer<'_>],
    key: &dyn SigningKey,
    pair: &CertificatePair,
) -> Result<(), TlsProblem> {
    let Some(public) = key.public_key() else {
        return Ok(());
    };
    let is_of = |der: &CertificateDer<'_>| {
        let parsed = ParsedCertificate::try_from(der).map_err(|_| unparsable(&pair.cert))?;
        Ok(parsed.subject_public_key_info() == public)
    };
    let (leaf, issuers) = chain.split_first().ok_or_else(|| unparsable(&pair.cert))?;
    if is_of(leaf)? {
        return Ok(());
    }
    let hint = if issuers.iter().any(|der| is_of(der) == Ok(true)) {
        "put the certificate of that key first, its issuer second"
    } else {
        "give the key that the certificate was requested with"
    };
    let key = pair.key.display();
    let what = format!("begins with a certificate that is not for the key in {key}");
    Err(TlsProblem::in_file(&pair.cert, what, hint))
}

fn key_type(algorithm: SignatureAlgorithm) -> &'static str {
    match algorithm {
        SignatureAlgorithm::RSA => "rsa",
        SignatureAlgorithm::ED25519 => "ed25519",
        _ => "ecdsa",
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsProblem> {
    std::fs::read(file).map_err(|error| {
        let hint = "check the path, and that Umay's user may read it";
        TlsProblem::in_file(file, format!("cannot be read: {error}"), hint)
    })
}

/// All sections of a kind; those of other kinds are passed over.
fn sections<T: PemObject>(file: &Path, bytes: &[u8]) -> Result<Vec<T>, TlsProblem> {
    T::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(file, &error))
}

fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// The DER form of all of these is a SEQUENCE of more than 255 bytes, or nearly so.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x81 | 0x82, ..])
}

fn nothing_in(file: &Path, bytes: &[u8], what: &str, label: &str) -> TlsProblem {
    let hint = if is_der(bytes) {
        "it seems to be DER: convert it to PEM with `openssl`".to_owned()
    } else {
        format!("give a PEM file with `-----BEGIN {label}-----` in it")
    };
    TlsProblem::in_file(file, format!("has no {what} in it"), hint)
}

fn malformed(file: &Path, error: &PemError) -> TlsProblem {
    let what = format!("is not good PEM: {error}");
    TlsProblem::in_file(file, what, "copy it again from where it came from")
}

fn unparsable(file: &Path) -> TlsProblem {
    let hint = "get it again from its issuer";
    TlsProblem::in_file(
        file,
        "has no valid certificate (X.509, version 3) first",
        hint,
    )
}
