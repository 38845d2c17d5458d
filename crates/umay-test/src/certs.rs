//! A certificate authority of a test's own, with everything it issued in files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::tools::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

/// An authority and the directory of what it issued.
#[derive(Debug)]
pub struct Certs {
    dir: TempDir,
    issuer: Issuer,
    next: AtomicU64,
}

struct Issuer(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The chain.
    pub cert: PathBuf,
    /// The key, in PKCS#8.
    pub key: PathBuf,
    serial: u64,
}

impl Certs {
    /// A new authority.
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        // Two authorities of one name would be told apart by their signatures only.
        let name = format!("Umay Test CA {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer(CertifiedIssuer::self_signed(params, key).unwrap());
        let dir = TempDir::new();
        dir.write("ca.pem", issuer.0.pem());
        Self {
            dir,
            issuer,
            next: AtomicU64::new(1),
        }
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The directory that all files are in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Issues for these names (or IP addresses).
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_with(names, |_| {})
    }

    /// The same, bent before it is signed.
    pub fn issue_with(&self, names: &[&str], bend: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let (params, serial) = self.params(names, bend);
        let cert = params.signed_by(&key, &self.issuer.0).unwrap();
        self.save(&cert.pem(), &key, serial)
    }

    /// A certificate for this key, as PEM; it is in no file.
    pub(crate) fn certify(&self, key: &KeyPair, names: &[&str]) -> String {
        let (params, _) = self.params(names, |_| {});
        params.signed_by(key, &self.issuer.0).unwrap().pem()
    }

    /// A certificate that expired yesterday.
    pub fn expired(&self, names: &[&str]) -> Pair {
        self.issue_with(names, |params| {
            params.not_before = (SystemTime::now() - 30 * DAY).into();
            params.not_after = (SystemTime::now() - DAY).into();
        })
    }

    /// A certificate that will be valid tomorrow.
    pub fn not_yet_valid(&self, names: &[&str]) -> Pair {
        self.issue_with(names, |params| {
            params.not_before = (SystemTime::now() + DAY).into();
            params.not_after = (SystemTime::now() + 30 * DAY).into();
        })
    }

    /// A certificate that nobody but itself stands for.
    pub fn self_signed(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let (params, serial) = self.params(names, |_| {});
        let cert = params.self_signed(&key).unwrap();
        self.save(&cert.pem(), &key, serial)
    }

    /// A certificate for a client: this common name, and this DNS name as its only alternative one.
    pub fn client(&self, common_name: &str, san: &str) -> Pair {
        self.issue_with(&[san], |params| {
            params
                .distinguished_name
                .push(DnType::CommonName, common_name);
        })
    }

    /// A revocation list with these certificates in it.
    pub fn revoke(&self, pairs: &[&Pair]) -> PathBuf {
        let now = SystemTime::now();
        let revoked = |pair: &&Pair| RevokedCertParams {
            serial_number: SerialNumber::from(pair.serial),
            revocation_time: (now - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: (now - DAY).into(),
            next_update: (now + 7 * DAY).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: pairs.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(&self.issuer.0).unwrap().pem().unwrap();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.write(&format!("{number}.crl"), pem)
    }

    fn params(
        &self,
        names: &[&str],
        bend: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateParams, u64) {
        let serial = self.next.fetch_add(1, Ordering::Relaxed);
        let mut params = params(names);
        params.serial_number = Some(SerialNumber::from(serial));
        bend(&mut params);
        (params, serial)
    }

    fn save(&self, cert: &str, key: &KeyPair, serial: u64) -> Pair {
        Pair {
            cert: self.dir.write(&format!("{serial}.crt"), cert),
            key: self
                .dir
                .write(&format!("{serial}.key"), key.serialize_pem()),
            serial,
        }
    }

    /// What a server of this certificate needs.
    pub fn server(&self, pair: &Pair) -> Arc<ServerConfig> {
        self.server_with(pair, &[])
    }

    /// The same with application protocols (ALPN).
    pub fn server_with(&self, pair: &Pair, alpn: &[&str]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(pair.chain(), pair.private_key())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// The same for one that requires a client certificate of this authority.
    pub fn mutual_server(&self, pair: &Pair) -> Arc<ServerConfig> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider())
                .build()
                .unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(pair.chain(), pair.private_key())
            .unwrap();
        Arc::new(config)
    }

    /// What a client that trusts this authority needs.
    pub fn trusting(&self) -> Arc<ClientConfig> {
        self.trusting_with(rustls::DEFAULT_VERSIONS, None, &[])
    }

    /// The same with these versions, a certificate to show, and application protocols (ALPN).
    pub fn trusting_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        show: Option<&Pair>,
        alpn: &[&str],
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots());
        let mut config = match show {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(pair.chain(), pair.private_key())
                .unwrap(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.0.der().clone()).unwrap();
        roots
    }
}

impl Default for Certs {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer")
    }
}

impl Pair {
    /// The chain, decoded.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = CertificateDer::pem_file_iter(&self.cert).unwrap();
        chain.collect::<Result<_, _>>().unwrap()
    }

    /// The key, decoded.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).unwrap()
    }

    /// Two lines of a configuration that name the files: `cert = …` and `key = …`.
    pub fn toml(&self) -> String {
        format!("cert = {:?}\nkey = {:?}\n", self.cert, self.key)
    }

    /// The same as an inline table.
    pub fn inline(&self) -> String {
        format!("{{ cert = {:?}, key = {:?} }}", self.cert, self.key)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conn, Server, ok};

    #[test]
    fn a_client_trusts_what_the_authority_issued_and_nothing_else() {
        let certs = Certs::new();
        let check = |pair: &Pair, name: &str| {
            let server = Server::https(certs.server(pair), |_| ok("hi"));
            let mut conn = Conn::connect_tls(server.addr(), &certs.trusting(), name)?;
            Ok::<_, std::io::Error>(conn.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")?.text())
        };
        let good = certs.issue(&["a.test", "127.0.0.1"]);
        assert_eq!(check(&good, "a.test").unwrap(), "hi");
        assert_eq!(check(&good, "127.0.0.1").unwrap(), "hi");
        for (bad, word) in [
            (&good, "NotValidForName"),
            (&certs.expired(&["b.test"]), "Expired"),
            (&certs.not_yet_valid(&["b.test"]), "NotValidYet"),
            (&certs.self_signed(&["b.test"]), "UnknownIssuer"),
            (&Certs::new().issue(&["b.test"]), "UnknownIssuer"),
        ] {
            let error = format!("{:?}", check(bad, "b.test").unwrap_err());
            assert!(error.contains(word), "{error} instead of {word}");
        }
    }

    #[test]
    fn a_mutual_server_asks_for_a_certificate() {
        let certs = Certs::new();
        let tls = certs.mutual_server(&certs.issue(&["a.test"]));
        let server = Server::https(tls, |_| ok("hi"));
        let shown = certs.client("c", "c.test");
        let config = certs.trusting_with(rustls::DEFAULT_VERSIONS, Some(&shown), &[]);
        let mut conn = Conn::connect_tls(server.addr(), &config, "a.test").unwrap();
        assert_eq!(
            conn.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap()
                .text(),
            "hi"
        );
        // In TLS 1.3 the refusal comes after the client's handshake is over.
        let refused = Conn::connect_tls(server.addr(), &certs.trusting(), "a.test")
            .and_then(|mut conn| conn.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(refused.is_err(), "{refused:?}");
    }
}
