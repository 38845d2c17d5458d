//! Certificates by the thousand, in a directory as a listener's `certs` names it.

use std::fs;
use std::ops::Range;
use std::path::Path;

use rcgen::{KeyPair, PKCS_RSA_SHA256};

use crate::Certs;

/// The keys of many certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// A key of P-256 for each.
    Ecdsa,
    /// The same, but every second one has an RSA key of 2048 bits. That is one and the same key, since making one takes
    /// as long as making a thousand of the other kind; whoever reads them cannot know.
    Mixed,
}

impl Certs {
    /// Writes `NUMBER.crt`, with the authority's certificate behind the own one, and `NUMBER.key` for each of these
    /// numbers. They are for `NUMBER.test` and `www.NUMBER.test`.
    pub fn fill(&self, dir: &Path, numbers: Range<usize>, keys: Keys) {
        let rsa = (keys == Keys::Mixed).then(|| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        let ca = fs::read_to_string(self.ca()).unwrap();
        for number in numbers {
            let own = KeyPair::generate().unwrap();
            let key = rsa.as_ref().filter(|_| number % 2 == 1).unwrap_or(&own);
            let names = [format!("{number}.test"), format!("www.{number}.test")];
            let cert = self.certify(key, &names.each_ref().map(String::as_str));
            fs::write(dir.join(format!("{number}.crt")), cert + &ca).unwrap();
            fs::write(dir.join(format!("{number}.key")), key.serialize_pem()).unwrap();
        }
    }
}
