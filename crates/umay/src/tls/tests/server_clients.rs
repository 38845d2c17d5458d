//! Clients that show a certificate, or do not.

use rcgen::SanType;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use umay_core::model::ClientAuth;
use umay_core::reason::Reason;

use super::*;
use crate::tls::{Choice, PeerFacts, accept_reason, connect_reason};

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS13], &[&TLS12]];

struct World {
    dir: Scratch,
    servers: Authority,
    clients: Authority,
    tls: ListenerTls,
}

impl World {
    fn new(required: bool) -> Self {
        let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
        let dir = Scratch::new();
        let mut tls = listener([dir.pair("a", &servers.issue(&["a.example"], |_| {}))]);
        tls.client_auth = Some(ClientAuth {
            ca: dir.write("clients.pem", &clients.pem()),
            crl: None,
            required,
        });
        Self {
            dir,
            servers,
            clients,
            tls,
        }
    }

    fn client(
        &self,
        shown: Option<&Issued>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let Some(shown) = shown else {
            return Arc::new(client(&self.servers, versions));
        };
        let chain = vec![CertificateDer::from(der(&shown.cert))];
        let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.servers.roots())
            .with_client_auth_cert(chain, key);
        Arc::new(config.unwrap())
    }

    fn meet(&self, client: &Arc<ClientConfig>) -> Result<Ends, Failed> {
        let server = load(&self.tls);
        let Choice::Accept { config, .. } = server.choose(Some("a.example"), &[]) else {
            panic!("refused");
        };
        handshake(client, "a.example", config)
    }
}

#[test]
fn required_and_optional() {
    for (required, versions) in [(true, VERSIONS), (false, VERSIONS)]
        .into_iter()
        .flat_map(|(required, list)| list.map(|versions| (required, versions)))
    {
        let world = World::new(required);
        let known = world.clients.issue(&["device-1"], |_| {});
        let ends = world.meet(&world.client(Some(&known), versions)).unwrap();
        let facts = PeerFacts::of(&ends.server).client_cert.unwrap();
        assert_eq!(facts.sans, ["device-1"]);

        // Who shows a certificate must show a good one, even if none is required.
        let stranger = Authority::new("Strangers").issue(&["device-1"], |_| {});
        let failed = world.meet(&world.client(Some(&stranger), versions));
        let (reason, detail) = accept_reason(&failed.unwrap_err().server.unwrap());
        assert_eq!(reason, Reason::ClientCertificateInvalid, "{detail}");

        let met = world.meet(&world.client(None, versions));
        if !required {
            assert_eq!(PeerFacts::of(&met.unwrap().server).client_cert, None);
            continue;
        }
        let failed = met.unwrap_err();
        let (reason, detail) = accept_reason(&failed.server.unwrap());
        assert_eq!(reason, Reason::ClientCertificateMissing, "{detail}");
        let (reason, _) = connect_reason(&failed.client.unwrap());
        assert_eq!(reason, Reason::UpstreamTlsFailed);
    }
}

#[test]
fn revoked_and_expired_are_refused() {
    let mut world = World::new(true);
    let numbered = |serial: u64| {
        let number = SerialNumber::from(serial);
        let bend = move |params: &mut CertificateParams| params.serial_number = Some(number);
        world.clients.issue(&["device"], bend)
    };
    let (revoked, good) = (numbered(66), numbered(77));
    let expired = world.clients.issue(&["device"], |p| dates(p, -9, -3));
    let list = world.dir.write("clients.crl", &world.clients.revoke(66));
    world.tls.client_auth.as_mut().unwrap().crl = Some(list);
    for (issued, word) in [(&revoked, "revoked"), (&expired, "expired on 20")] {
        let failed = world.meet(&world.client(Some(issued), VERSIONS[0]));
        let (reason, detail) = accept_reason(&failed.unwrap_err().server.unwrap());
        assert_eq!(reason, Reason::ClientCertificateInvalid);
        assert!(detail.contains(word), "{detail}");
    }
    assert!(world.meet(&world.client(Some(&good), VERSIONS[0])).is_ok());
}

#[test]
fn each_connection_shows_its_certificate() {
    let world = World::new(true);
    let known = world.clients.issue(&["device"], |_| {});
    let server = load(&world.tls);
    let Choice::Accept { config, .. } = server.choose(Some("a.example"), &[]) else {
        panic!("refused");
    };
    for versions in VERSIONS {
        let client = world.client(Some(&known), versions);
        for _ in 0..2 {
            let ends = handshake(&client, "a.example", config).unwrap();
            assert!(!PeerFacts::of(&ends.server).resumed);
        }
    }
}

#[test]
fn tells_who_it_is() {
    let world = World::new(true);
    let issued = world.clients.issue(&["one.example"], |params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "GB");
        name.push(DnType::OrganizationName, "Example, Inc.");
        name.push(DnType::CommonName, "Ada");
        // A type without a short name.
        name.push(DnType::CustomDnType(vec![2, 5, 4, 41]), "x");
        let uri = "spiffe://example/one".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        let email = "ada@example.org".try_into().unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name(email));
    });
    let file = world.dir.write("ada.crt", &issued.cert);
    let ends = world.meet(&world.client(Some(&issued), VERSIONS[0]));
    let facts = PeerFacts::of(&ends.unwrap().server).client_cert.unwrap();
    assert_eq!(facts.common_name.as_deref(), Some("Ada"));
    assert_eq!(
        facts.sans,
        ["one.example", "spiffe://example/one", "ada@example.org"]
    );
    assert_eq!(
        facts.subject,
        "2.5.4.41=#0c0178,CN=Ada,O=Example\\, Inc.,C=GB"
    );

    let print = Command::new("openssl")
        .args([
            "x509",
            "-noout",
            "-fingerprint",
            "-sha256",
            "-in",
            text(&file),
        ])
        .output()
        .unwrap();
    let print = String::from_utf8(print.stdout).unwrap();
    let (_, print) = print.trim().split_once('=').unwrap();
    assert_eq!(facts.sha256, print.replace(':', "").to_ascii_lowercase());
}
