//! A directory of certificates.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use umay_core::model::CertificatePair;

use super::problem::TlsProblem;
use super::x509;
use crate::stamp::stamp;

/// How chain and key are called in a subdirectory.
const SUBDIRECTORY: [(&str, &str); 2] = [("fullchain.pem", "privkey.pem"), ("tls.crt", "tls.key")];

/// How the name of a file with a chain ends.
const CHAINS: [&str; 3] = ["crt", "pem", "cert"];

/// A pair, or half of one: the file of its chain, and what is wrong.
pub(super) type Found = Result<CertificatePair, (PathBuf, TlsProblem)>;

/// Lists the pairs in a directory, by name: each `NAME.crt`, `NAME.pem` or `NAME.cert` with
/// `NAME.key` beside it or the key in the same file, and each subdirectory with
/// `fullchain.pem`/`privkey.pem` or `tls.crt`/`tls.key`.
///
/// Passed over are hidden entries (Kubernetes keeps old mounts there) and files without a key whose
/// first certificate is an authority's, such as the `ca.crt` of a mounted secret. Half of a pair is
/// a problem: it may be in the middle of being written.
pub(super) fn pairs(dir: &Path) -> Result<Vec<Found>, TlsProblem> {
    let entries = entries(dir).map_err(|error| {
        let hint = "check the path, and that Umay's user may read it";
        TlsProblem::in_file(dir, format!("cannot be read: {error}"), hint)
    })?;
    let pair = |(name, is_dir): (&OsString, &bool)| match is_dir {
        true => in_subdirectory(&dir.join(name)).map(Ok),
        false => pair(&dir.join(name), &entries),
    };
    let found: Vec<Found> = entries.iter().filter_map(pair).collect();
    if found.is_empty() {
        let hint = "put NAME.crt and NAME.key into it, or NAME/fullchain.pem and NAME/privkey.pem";
        return Err(TlsProblem::in_file(dir, "has no certificate in it", hint));
    }
    Ok(found)
}

/// How the files of a directory of certificates are, as one number that is another when one of them is another, and
/// the subdirectories that may have a pair. Files that no pair can be made of do not count.
pub(crate) fn state(dir: &Path) -> (u64, Vec<PathBuf>) {
    let mut subdirectories = Vec::new();
    let mut sum = 0_u64;
    // The order in which a directory is listed means nothing, so it must not count.
    let mut count = |path: &Path| {
        let mut hasher = DefaultHasher::new();
        (path, stamp(path)).hash(&mut hasher);
        sum = sum.wrapping_add(hasher.finish());
    };
    let Ok(entries) = entries(dir) else {
        return (0, subdirectories);
    };
    for (name, is_dir) in entries {
        let path = dir.join(name);
        if is_dir {
            for (cert, key) in SUBDIRECTORY {
                count(&path.join(cert));
                count(&path.join(key));
            }
            subdirectories.push(path);
        } else if has_extension(&path, &CHAINS) || has_extension(&path, &["key"]) {
            count(&path);
        }
    }
    // That there is nothing is not the same as that it cannot be read.
    (sum.wrapping_add(1), subdirectories)
}

/// What is in a directory and not hidden, sorted, and whether it is a directory.
fn entries(dir: &Path) -> io::Result<BTreeMap<OsString, bool>> {
    let mut entries = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type()?;
        // A link counts as what it leads to.
        let is_dir = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        entries.insert(name, is_dir);
    }
    Ok(entries)
}

fn has_extension(path: &Path, which: &[&str]) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|extension| which.contains(&extension))
}

fn pair(entry: &Path, entries: &BTreeMap<OsString, bool>) -> Option<Found> {
    if !has_extension(entry, &CHAINS) {
        return None;
    }
    let cert = entry.to_owned();
    let key = entry.with_extension("key");
    if key.file_name().is_some_and(|key| entries.contains_key(key)) {
        return Some(Ok(CertificatePair { cert, key }));
    }
    // If it cannot be read, that is found out and told when the pair is read.
    let bytes = std::fs::read(entry).unwrap_or_default();
    if bytes.is_empty() || has_key(&bytes) {
        let key = cert.clone();
        return Some(Ok(CertificatePair { cert, key }));
    }
    if is_authority(&bytes) {
        return None;
    }
    let what = format!("has no key in it, and there is no {} either", key.display());
    let hint = "put the key there, or move the certificate out of the directory";
    let problem = TlsProblem::in_file(entry, what, hint);
    Some(Err((cert, problem)))
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
