//! A certificate with its key: read from its files, kept while they stay as they are, and held against the calendar.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey};
use umay_core::expiry::Step;
use umay_core::model::CertificatePair;

use super::key::LazyKey;
use super::problem::{TlsProblem, both};
use super::{files, x509};
use crate::conn::unix_now;
use crate::stamp::{Stamp, is_settled, stamp};

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
    lazy: Arc<LazyKey>,
    pub(super) info: CertificateInfo,
    /// Of the chain's file and of the key's, from before they were read; nothing if they could not tell a change.
    stamps: Option<[Stamp; 2]>,
}

// The key stays out of whatever is printed.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}

impl Certificate {
    /// Reads a chain and its key, and checks that they belong together, unless their files are as they were when
    /// `old` was read from them.
    pub(super) fn read(
        pair: &CertificatePair,
        old: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Vec<TlsProblem>> {
        let (stamps, now) = ([stamp(&pair.cert), stamp(&pair.key)], unix_now());
        if let Some(old) = old.filter(|old| old.stamps == Some(stamps)) {
            return Ok(Arc::clone(old));
        }
        let is_settled = stamps.iter().all(|stamp| is_settled(*stamp, now));
        let stamps = is_settled.then_some(stamps);
        let (chain, key) = both(files::chain(&pair.cert), files::key(&pair.key))?;
        // Another time, or another place, but the same content.
        let same = old.filter(|old| old.key.cert == chain && old.lazy.is(&key));
        if let Some(old) = same {
            let mut new = Self::clone(old);
            new.stamps = stamps;
            new.info.key_file.clone_from(&pair.key);
            return Ok(Arc::new(new));
        }
        let leaf = chain.first().and_then(|der| x509::leaf(der));
        let leaf = leaf.ok_or_else(|| vec![unparsable(&pair.cert)])?;
        let spki = chain.first().map(|der| public_key(der, pair)).transpose();
        let spki = spki.map_err(|problem| vec![problem])?.unwrap_or_default();
        let lazy = match LazyKey::fitting(key, &spki, &pair.key) {
            Ok(lazy) => lazy,
            Err(key) => {
                let of = |problem| vec![problem];
                let ready = files::signing_key(&pair.key, &key).map_err(of)?;
                check_match(&chain, ready.as_ref(), pair).map_err(of)?;
                LazyKey::ready(key, ready, &pair.key)
            }
        };
        let lazy = Arc::new(lazy);
        let info = CertificateInfo {
            names: leaf.names,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            key_type: key_type(lazy.algorithm()),
            cert_file: pair.cert.clone(),
            key_file: pair.key.clone(),
        };
        let key = CertifiedKey::new(chain, Arc::clone(&lazy) as Arc<dyn SigningKey>);
        Ok(Arc::new(Self {
            key: Arc::new(key),
            lazy,
            info,
            stamps,
        }))
    }

    /// True if it was read from this pair of files.
    pub(super) fn is_of(&self, pair: &CertificatePair) -> bool {
        (&self.info.cert_file, &self.info.key_file) == (&pair.cert, &pair.key)
    }

    /// True if both are the same chain and key, read once.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key)
    }

    /// True if its key can sign; the first call takes tens of microseconds, with RSA hundreds.
    pub(super) fn is_usable(&self) -> bool {
        self.lazy.is_usable()
    }

    /// True if it is known whether its key can sign.
    pub(super) fn is_proven(&self) -> bool {
        self.lazy.is_known_to_work().is_some()
    }

    /// Finds out whether its key can sign, without keeping what that takes. True if it can.
    pub(super) fn prove(&self) -> bool {
        self.lazy.prove()
    }

    /// What is wrong with its key, as far as that is known.
    pub(super) fn damage(&self) -> Option<TlsProblem> {
        let is_damaged = self.lazy.is_known_to_work() == Some(false);
        let hint = "copy it again from where it came from, or get a new certificate";
        let file = &self.info.key_file;
        is_damaged.then(|| TlsProblem::in_file(file, "has a key that is damaged", hint))
    }
}

impl CertificateInfo {
    /// What its peers complain about, or soon will: it has expired or is about to, or is not good yet. `now` is Unix
    /// time in seconds.
    pub fn warning(&self, now: u64) -> Option<TlsProblem> {
        let (what, hint) = if now < self.not_before {
            let what = format!("is not good before {}", x509::day(self.not_before));
            (what, "check the clock, or wait")
        } else {
            let day = x509::day(self.not_after);
            let left = match self.not_after.saturating_sub(now) / 86_400 {
                0 => "today".to_owned(),
                1 => "in 1 day".to_owned(),
                days => format!("in {days} days"),
            };
            let hint = "renew it, for its peers will refuse it";
            match Step::at(self.not_after, now)? {
                Step::Over => (
                    format!("expired on {day}"),
                    "renew it, for its peers refuse it",
                ),
                Step::Weeks | Step::Week | Step::Day => (format!("expires {left}, on {day}"), hint),
            }
        };
        let what = format!("{what}{}", self.whom());
        Some(TlsProblem::in_file(&self.cert_file, what, hint).into_warning())
    }

    /// The first few of its names, for people.
    fn whom(&self) -> String {
        const MOST: usize = 3;
        let first: Vec<&str> = self.names.iter().take(MOST).map(String::as_str).collect();
        match (first.as_slice(), self.names.len().saturating_sub(MOST)) {
            ([], _) => String::new(),
            (first, 0) => format!(" (for {})", first.join(", ")),
            (first, more) => format!(" (for {} and {more} more)", first.join(", ")),
        }
    }
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
    let is_of = |der: &CertificateDer<'_>| Ok(public_key(der, pair)? == public.as_ref());
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

/// A certificate's public key (a `SubjectPublicKeyInfo`).
fn public_key(der: &CertificateDer<'_>, pair: &CertificatePair) -> Result<Vec<u8>, TlsProblem> {
    let parsed = ParsedCertificate::try_from(der).map_err(|_| unparsable(&pair.cert))?;
    Ok(parsed.subject_public_key_info().to_vec())
}

fn unparsable(file: &Path) -> TlsProblem {
    let what = "has no valid certificate (X.509, version 3) first";
    TlsProblem::in_file(file, what, "get it again from its issuer")
}

fn key_type(algorithm: SignatureAlgorithm) -> &'static str {
    match algorithm {
        SignatureAlgorithm::RSA => "rsa",
        SignatureAlgorithm::ED25519 => "ed25519",
        _ => "ecdsa",
    }
}
