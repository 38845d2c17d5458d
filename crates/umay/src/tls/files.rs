//! PEM files: certificates with their keys, authorities, revocation lists.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::SigningKey;

use super::problem::{TlsProblem, broken};
use super::provider;

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
pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let bytes = read(file)?;
    let chain = sections(file, &bytes)?;
    if chain.is_empty() {
        return Err(nothing_in(file, &bytes, "certificate", "CERTIFICATE"));
    }
    Ok(chain)
}

/// Reads a private key, as it is in its file.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let bytes = read(file)?;
    if is_encrypted(&bytes) {
        let hint = "decrypt it with `openssl pkey`, and let only Umay's user read the result";
        let what = "has a key that is locked by a passphrase";
        return Err(TlsProblem::in_file(file, what, hint));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound => nothing_in(file, &bytes, "private key", "PRIVATE KEY"),
        error => malformed(file, &error),
    })
}

/// Makes a private key ready to sign.
pub(super) fn signing_key(
    file: &Path,
    key: &PrivateKeyDer<'static>,
) -> Result<Arc<dyn SigningKey>, TlsProblem> {
    let key = key.clone_key();
    provider().key_provider.load_private_key(key).map_err(|_| {
        let hint = "give an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits or more) key";
        TlsProblem::in_file(file, "has a key of a kind that cannot be used", hint)
    })
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
    let has = |mark: &str| memchr::memmem::find(pem, mark.as_bytes()).is_some();
    has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED")
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
