//! A directory of certificates.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use umay_core::model::CertificatePair;

use super::problem::TlsProblem;
use super::x509;

/// How chain and key are called in a subdirectory.
const SUBDIRECTORY: [(&str, &str); 2] = [("fullchain.pem", "privkey.pem"), ("tls.crt", "tls.key")];

/// Lists the pairs in a directory, by name: each `NAME.crt`, `NAME.pem` or `NAME.cert` with
/// `NAME.key` beside it or the key in the same file, and each subdirectory with
/// `fullchain.pem`/`privkey.pem` or `tls.crt`/`tls.key`.
///
/// Passed over are hidden entries (Kubernetes keeps old mounts there) and files without a key whose
/// first certificate is an authority's, such as the `ca.crt` of a mounted secret. Half of a pair is
/// a problem: it may be in the middle of being written.
pub(super) fn pairs(dir: &Path) -> Result<Vec<CertificatePair>, Vec<TlsProblem>> {
    let entries = entries(dir).map_err(|problem| vec![problem])?;
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for entry in &entries {
        match pair(entry) {
            Ok(pair) => found.extend(pair),
            Err(problem) => problems.push(problem),
        }
    }
    if found.is_empty() && problems.is_empty() {
        let hint = "put NAME.crt and NAME.key into it, or NAME/fullchain.pem and NAME/privkey.pem";
        problems.push(TlsProblem::in_file(dir, "has no certificate in it", hint));
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

/// What is in a directory and not hidden, sorted.
fn entries(dir: &Path) -> Result<BTreeSet<PathBuf>, TlsProblem> {
    let unreadable = |error: std::io::Error| {
        let hint = "check the path, and that Umay's user may read it";
        TlsProblem::in_file(dir, format!("cannot be read: {error}"), hint)
    };
    let mut entries = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.insert(entry.path());
        }
    }
    Ok(entries)
}

fn pair(entry: &Path) -> Result<Option<CertificatePair>, TlsProblem> {
    if entry.is_dir() {
        return Ok(in_subdirectory(entry));
    }
    let extension = entry.extension().and_then(|e| e.to_str());
    if !matches!(extension, Some("crt" | "pem" | "cert")) {
        return Ok(None);
    }
    let cert = entry.to_owned();
    let key = entry.with_extension("key");
    if key.exists() {
        return Ok(Some(CertificatePair { cert, key }));
    }
    // If it cannot be read, that is found out and told when the pair is read.
    let bytes = std::fs::read(entry).unwrap_or_default();
    if bytes.is_empty() || has_key(&bytes) {
        let key = cert.clone();
        return Ok(Some(CertificatePair { cert, key }));
    }
    if is_authority(&bytes) {
        return Ok(None);
    }
    let what = format!("has no key in it, and there is no {} either", key.display());
    let hint = "put the key there, or move the certificate out of the directory";
    Err(TlsProblem::in_file(entry, what, hint))
}

fn in_subdirectory(dir: &Path) -> Option<CertificatePair> {
    SUBDIRECTORY.iter().find_map(|(cert, key)| {
        let (cert, key) = (dir.join(cert), dir.join(key));
        (cert.exists() || key.exists()).then_some(CertificatePair { cert, key })
    })
}

fn has_key(pem: &[u8]) -> bool {
    memchr::memmem::find(pem, b"PRIVATE KEY-----").is_some()
}

fn is_authority(pem: &[u8]) -> bool {
    let first = CertificateDer::from_pem_slice(pem).ok();
    first
        .and_then(|der| x509::leaf(&der))
        .is_some_and(|leaf| leaf.is_ca)
}
