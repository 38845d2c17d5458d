//! Private keys that are taken apart when the first client needs them.
//!
//! Making a key ready to sign costs ten to a hundred times what reading its file does, so it waits until a client asks for
//! the certificate. That the key belongs to it is seen before, by the public part that stands in nearly every file
//! of a private key. What that does not show (a private part that is damaged) is found out by [`LazyKey::prove`].

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::provider;

/// A private key, as it stands in its file and, once it was needed, ready to sign.
pub(super) struct LazyKey {
    der: PrivateKeyDer<'static>,
    algorithm: SignatureAlgorithm,
    file: Box<Path>,
    /// Nothing if it cannot be used.
    ready: OnceLock<Option<Arc<dyn SigningKey>>>,
    /// It was taken apart, and nothing was wrong.
    proven: AtomicBool,
}

// The key stays out of whatever is printed.
impl fmt::Debug for LazyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LazyKey").field(&self.file).finish()
    }
}

impl LazyKey {
    /// A key that is for the certificate with this public key (a `SubjectPublicKeyInfo`), as far as can be seen without
    /// taking it apart. If nothing can be, the key is given back.
    pub(super) fn fitting(
        der: PrivateKeyDer<'static>,
        spki: &[u8],
        file: &Path,
    ) -> Result<Self, PrivateKeyDer<'static>> {
        let public = of_certificate(spki).filter(|public| of_key(&der).as_ref() == Some(public));
        match public.and_then(|public| public.algorithm()) {
            Some(algorithm) => Ok(Self {
                der,
                algorithm,
                file: file.into(),
                ready: OnceLock::new(),
                proven: AtomicBool::new(false),
            }),
            None => Err(der),
        }
    }

    /// A key that was taken apart already.
    pub(super) fn ready(
        der: PrivateKeyDer<'static>,
        key: Arc<dyn SigningKey>,
        file: &Path,
    ) -> Self {
        Self {
            der,
            algorithm: key.algorithm(),
            file: file.into(),
            ready: OnceLock::from(Some(key)),
            proven: AtomicBool::new(true),
        }
    }

    /// True if both are the same key.
    pub(super) fn is(&self, der: &PrivateKeyDer<'_>) -> bool {
        self.der == *der
    }

    /// Whether it can sign, as far as that is known.
    pub(super) fn is_known_to_work(&self) -> Option<bool> {
        let ready = self.ready.get().map(Option::is_some);
        ready.or_else(|| self.proven.load(Relaxed).then_some(true))
    }

    /// True if it can sign, which is found out now unless it is known.
    pub(super) fn is_usable(&self) -> bool {
        self.key().is_some()
    }

    /// The same, and what was needed to find out is given up again: to look at keys that nobody may ever need.
    pub(super) fn prove(&self) -> bool {
        if self.proven.load(Relaxed) {
            return true;
        }
        let is_good = match self.ready.get() {
            Some(ready) => ready.is_some(),
            // If it is bad, that is told, and stays known.
            None => self.load().is_some() || self.is_usable(),
        };
        self.proven.store(is_good, Relaxed);
        is_good
    }

    fn key(&self) -> Option<&Arc<dyn SigningKey>> {
        let ready = self.ready.get_or_init(|| {
            let key = self.load();
            if key.is_none() {
                let file = self.file.display();
                tracing::error!(
                    "{file} has a key that is damaged, its certificate cannot be served: copy the key again from where \
                     it came from, or get a new certificate"
                );
            }
            key
        });
        ready.as_ref()
    }

    fn load(&self) -> Option<Arc<dyn SigningKey>> {
        let der = self.der.clone_key();
        provider().key_provider.load_private_key(der).ok()
    }
}

impl SigningKey for LazyKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.key()?.choose_scheme(offered)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

/// A public key, by the parts that tell it from others.
#[derive(PartialEq, Eq)]
enum Public<'a> {
    /// Modulus and exponent.
    Rsa(&'a [u8], &'a [u8]),
    /// The curve's identifier and the point.
    Curve(&'a [u8], &'a [u8]),
}

impl Public<'_> {
    /// Its kind; `None` if it is not one that is certain to be usable.
    fn algorithm(&self) -> Option<SignatureAlgorithm> {
        match self {
            Self::Rsa(modulus, _) => RSA_BYTES
                .contains(&modulus.len())
                .then_some(SignatureAlgorithm::RSA),
            Self::Curve(curve, _) => CURVES.contains(curve).then_some(SignatureAlgorithm::ECDSA),
        }
    }
}

/// Lengths of an RSA modulus, from 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

// Identifiers, as they are encoded (RFC 8017 appendix A.1, RFC 5480 section 2.1.1).
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x2b\x81\x04\x00\x22";
const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
const CURVES: [&[u8]; 3] = [P256, P384, P521];

// Tags of DER (ITU-T X.690).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]` and `[1]`, constructed.
const FIRST: u8 = 0xa0;
const SECOND: u8 = 0xa1;

/// The public key of a certificate (RFC 5280 section 4.1, RFC 3279, RFC 5480).
fn of_certificate(spki: &[u8]) -> Option<Public<'_>> {
    let mut info = Der(spki).inside(SEQUENCE)?;
    let mut kind = info.inside(SEQUENCE)?;
    let (kind, more) = (kind.take(OBJECT)?, kind);
    let bits = info.take(BIT_STRING)?.strip_prefix(&[0])?;
    public(kind, more, bits)
}

fn public<'a>(kind: &[u8], mut more: Der<'a>, bits: &'a [u8]) -> Option<Public<'a>> {
    if kind == RSA {
        let mut key = Der(bits).inside(SEQUENCE)?;
        return Some(Public::Rsa(key.number()?, key.number()?));
    }
    let curve = (kind == EC).then(|| more.take(OBJECT))??;
    Some(Public::Curve(curve, bits))
}

/// The public part of a private key, where it stands in it.
fn of_key<'a>(key: &'a PrivateKeyDer<'_>) -> Option<Public<'a>> {
    match key {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => curve(key.secret_sec1_der(), None),
        PrivateKeyDer::Pkcs8(key) => {
            // RFC 5208 section 5.
            let mut key = Der(key.secret_pkcs8_der()).inside(SEQUENCE)?;
            key.take(INTEGER)?;
            let mut kind = key.inside(SEQUENCE)?;
            let (kind, mut more) = (kind.take(OBJECT)?, kind);
            let inner = key.take(OCTET_STRING)?;
            match kind {
                RSA => rsa(inner),
                EC => curve(inner, more.take(OBJECT)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// RFC 8017 appendix A.1.2.
fn rsa(key: &[u8]) -> Option<Public<'_>> {
    let mut key = Der(key).inside(SEQUENCE)?;
    key.take(INTEGER)?;
    Some(Public::Rsa(key.number()?, key.number()?))
}

/// RFC 5915 section 3. The curve stands in it or, in PKCS#8, around it.
fn curve<'a>(key: &'a [u8], around: Option<&'a [u8]>) -> Option<Public<'a>> {
    let mut key = Der(key).inside(SEQUENCE)?;
    key.take(INTEGER)?;
    key.take(OCTET_STRING)?;
    let inside = key.inside(FIRST).and_then(|mut curve| curve.take(OBJECT));
    let bits = key.inside(SECOND)?.take(BIT_STRING)?.strip_prefix(&[0])?;
    Some(Public::Curve(around.or(inside)?, bits))
}

/// Reads elements of DER, one after the other. What it does not understand it does not take.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, if that has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81 | 0x82 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let add = |sum: usize, byte: &u8| sum * 256 + usize::from(*byte);
                (length.iter().fold(0, add), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        if *found != tag {
            return None;
        }
        self.0 = rest;
        Some(content)
    }

    fn inside(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }

    /// A number without the zero that keeps it from being negative.
    fn number(&mut self) -> Option<&'a [u8]> {
        let number = self.take(INTEGER)?;
        Some(number.strip_prefix(&[0]).unwrap_or(number))
    }
}
