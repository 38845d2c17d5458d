//! The test kit: an authority, files, and handshakes in memory.

mod files;
mod rotation;
mod server;
mod server_clients;
mod upstream;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use umay_core::model::{CertificatePair, CertificateSource, ListenerTls};

use super::{ServerTls, provider};

const DAY: Duration = Duration::from_secs(86_400);

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("umay-tls-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes `NAME.crt` and `NAME.key`.
    fn pair(&self, name: &str, issued: &Issued) -> CertificatePair {
        CertificatePair {
            cert: self.write(&format!("{name}.crt"), &issued.cert),
            key: self.write(&format!("{name}.key"), &issued.key),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, as PEM.
struct Issued {
    cert: String,
    key: String,
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues for names, and lets the certificate be bent before it is signed.
    fn issue(&self, names: &[&str], bend: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.certify(&KeyPair::generate().unwrap(), names, bend)
    }

    fn issue_rsa(&self, names: &[&str]) -> Issued {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        self.certify(&key, names, |_| {})
    }

    fn certify(
        &self,
        key: &KeyPair,
        names: &[&str],
        bend: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut params = params(names);
        bend(&mut params);
        Issued {
            cert: params.signed_by(key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A list that revokes a serial number; the list itself was to be replaced yesterday.
    fn revoke(&self, serial: u64) -> String {
        let now = SystemTime::now();
        let list = CertificateRevocationListParams {
            this_update: (now - 2 * DAY).into(),
            next_update: (now - DAY).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: (now - 2 * DAY).into(),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

/// Sets a certificate's dates, in days from today.
fn dates(params: &mut CertificateParams, from: i64, to: i64) {
    let at = |days: i64| {
        let distance = DAY * u32::try_from(days.abs()).unwrap();
        let now = SystemTime::now();
        if days < 0 {
            now - distance
        } else {
            now + distance
        }
    };
    params.not_before = at(from).into();
    params.not_after = at(to).into();
}

fn listener(pairs: impl IntoIterator<Item = CertificatePair>) -> ListenerTls {
    ListenerTls {
        certificates: pairs.into_iter().map(CertificateSource::Pair).collect(),
        default: None,
        client_auth: None,
        only_tls13: false,
    }
}

fn load(tls: &ListenerTls) -> Arc<ServerTls> {
    ServerTls::load(tls, &[], false).unwrap()
}

/// A client that trusts the authority.
fn client(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth()
}

/// Both ends of a handshake.
#[derive(Debug)]
struct Ends {
    client: ClientConnection,
    server: ServerConnection,
}

/// What the ends say of a handshake that failed.
#[derive(Debug)]
struct Failed {
    client: Option<io::Error>,
    server: Option<io::Error>,
}

/// Shakes hands in memory, tickets included.
fn handshake(
    client: &Arc<ClientConfig>,
    name: &str,
    server: &Arc<ServerConfig>,
) -> Result<Ends, Failed> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut failed = Failed {
        client: None,
        server: None,
    };
    loop {
        let mut is_idle = true;
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        if failed.server.is_none() && !wire.is_empty() {
            is_idle = false;
            failed.server = feed(&wire, |bytes| {
                server.read_tls(bytes).unwrap();
                server.process_new_packets().map(|_| ())
            });
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        if failed.client.is_none() && !wire.is_empty() {
            is_idle = false;
            failed.client = feed(&wire, |bytes| {
                client.read_tls(bytes).unwrap();
                client.process_new_packets().map(|_| ())
            });
        }
        if is_idle {
            break;
        }
    }
    match failed {
        Failed {
            client: None,
            server: None,
        } => Ok(Ends { client, server }),
        failed => Err(failed),
    }
}

/// Feeds bytes until they are gone or refused; the error comes as it does over a socket.
fn feed(
    mut wire: &[u8],
    mut take: impl FnMut(&mut &[u8]) -> Result<(), Error>,
) -> Option<io::Error> {
    while !wire.is_empty() {
        if let Err(error) = take(&mut wire) {
            return Some(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    None
}

/// The certificate that the client was shown, as PEM would have it.
fn shown(ends: &Ends) -> Vec<u8> {
    ends.client.peer_certificates().unwrap()[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes());
    der.unwrap().to_vec()
}

fn openssl(args: &[&str]) {
    let output = Command::new("openssl").args(args).output();
    let output = output.expect("openssl is to be installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {errors}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
