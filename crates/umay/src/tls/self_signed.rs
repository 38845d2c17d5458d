//! A certificate for the demo: signed by itself, trusted by nobody.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, KeyPair};

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct SelfSigned {
    /// The certificate.
    pub cert: String,
    /// Its key (PKCS#8). A secret.
    pub key: String,
}

const DAY: Duration = Duration::from_secs(86_400);

/// Makes a P-256 certificate for these DNS names and IP addresses, valid from yesterday (clocks
/// differ) for 30 days. Fails if a name is none.
pub fn self_signed(names: &[&str]) -> Result<SelfSigned, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Umay demo");
    let start = SystemTime::now() - DAY;
    params.not_before = start.into();
    params.not_after = (start + 30 * DAY).into();
    let key = KeyPair::generate()?;
    Ok(SelfSigned {
        cert: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}
