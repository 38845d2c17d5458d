//! Handshakes with clients: versions, groups, certificates by name, protocols, resumption.

use rustls::version::{TLS12, TLS13};
use umay_core::reason::Reason;

use super::*;
use crate::telemetry::metrics::TlsVersion;
use crate::tls::{Choice, PeerFacts, accept_reason};

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

fn config<'a>(server: &'a ServerTls, sni: Option<&str>, alpn: &[&[u8]]) -> &'a Arc<ServerConfig> {
    let alpn: Vec<Vec<u8>> = alpn.iter().map(|p| p.to_vec()).collect();
    match server.choose(sni, &alpn) {
        Choice::Accept { config, .. } => config,
        Choice::Refuse { detail, .. } => panic!("{detail}"),
    }
}

fn refusal(server: &ServerTls, sni: Option<&str>, alpn: &[&[u8]]) -> (Reason, [u8; 7], String) {
    let alpn: Vec<Vec<u8>> = alpn.iter().map(|p| p.to_vec()).collect();
    match server.choose(sni, &alpn) {
        Choice::Accept { .. } => panic!("accepted"),
        Choice::Refuse {
            reason,
            alert,
            detail,
        } => (reason, alert, detail),
    }
}

/// What a client makes of bytes that come in place of the server's hello.
fn heard(bytes: &[u8]) -> Error {
    let config = Arc::new(client(&Authority::new("CA"), BOTH));
    let name = ServerName::try_from("a.example").unwrap();
    let mut client = ClientConnection::new(config, name).unwrap();
    client.read_tls(&mut &bytes[..]).unwrap();
    client.process_new_packets().unwrap_err()
}

/// One certificate for `a.example`.
fn simple(ca: &Authority, dir: &Scratch) -> ListenerTls {
    listener([dir.pair("a", &ca.issue(&["a.example"], |_| {}))])
}

#[test]
fn speaks_both_versions_with_the_best_group() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let server = load(&simple(&ca, &dir));
    let config = config(&server, Some("a.example"), &[]);
    for (versions, version, group) in [
        (BOTH, TlsVersion::Tls13, "X25519MLKEM768"),
        (&[&TLS13], TlsVersion::Tls13, "X25519MLKEM768"),
        (&[&TLS12], TlsVersion::Tls12, "X25519"),
    ] {
        let client = Arc::new(client(&ca, versions));
        let ends = handshake(&client, "a.example", config).unwrap();
        let facts = PeerFacts::of(&ends.server);
        assert_eq!((facts.version, facts.group), (version, group));
        assert!(facts.suite.contains("AES_128_GCM"), "{}", facts.suite);
        assert_eq!(facts.sni.as_deref(), Some("a.example"));
        assert_eq!((facts.alpn, facts.client_cert), (None, None));
        assert!(!facts.resumed);
    }
}

#[test]
fn refuses_tls12_if_told_to() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let mut tls = simple(&ca, &dir);
    tls.only_tls13 = true;
    let server = load(&tls);
    let config = config(&server, Some("a.example"), &[]);
    assert!(handshake(&Arc::new(client(&ca, BOTH)), "a.example", config).is_ok());
    let old = Arc::new(client(&ca, &[&TLS12]));
    let failed = handshake(&old, "a.example", config).unwrap_err();
    let (reason, detail) = accept_reason(&failed.server.unwrap());
    assert_eq!(reason, Reason::HandshakeFailed);
    assert!(detail.contains("version of TLS"), "{detail}");
}

#[test]
fn picks_the_certificate_by_name() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let first = ca.issue(&["first.example"], |_| {});
    let wild = ca.issue(&["*.w.example"], |_| {});
    let exact = ca.issue(&["a.w.example"], |_| {});
    let default = ca.issue(&["fallback.test"], |_| {});
    let mut tls = listener([
        dir.pair("first", &first),
        dir.pair("wild", &wild),
        dir.pair("exact", &exact),
    ]);
    let client = Arc::new(client(&ca, BOTH));
    let server = load(&tls);
    for (name, issued) in [
        ("first.example", &first),
        ("a.w.example", &exact),
        ("b.w.example", &wild),
    ] {
        let ends = handshake(&client, name, config(&server, Some(name), &[])).unwrap();
        assert_eq!(shown(&ends), der(&issued.cert), "{name}");
    }
    let Choice::Accept { certificate, .. } = server.choose(None, &[]) else {
        panic!("no name is to be served");
    };
    assert_eq!(certificate.names, ["first.example"]);

    let (reason, alert, detail) = refusal(&server, Some("a.b.w.example"), &[]);
    assert_eq!(reason, Reason::UnknownServerName);
    assert!(detail.contains("a.b.w.example"), "{detail}");
    let unrecognized = rustls::AlertDescription::UnrecognisedName;
    assert_eq!(heard(&alert), Error::AlertReceived(unrecognized));

    tls.default = Some(dir.pair("default", &default));
    let server = load(&tls);
    for sni in [None, Some("x.y.test")] {
        let Choice::Accept { certificate, .. } = server.choose(sni, &[]) else {
            panic!("the default is to be served");
        };
        assert_eq!(certificate.names, ["fallback.test"]);
    }
    assert!(server.covers(Some("a.w.example"), "a.w.example"));
    assert!(!server.covers(Some("a.w.example"), "b.w.example"));
}

#[test]
fn prefers_the_certificate_that_is_good_for_longest() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let until = |to| ca.issue(&["a.example"], move |params| dates(params, -50, to));
    let (short, long, past) = (until(10), until(90), until(-1));
    let pairs = [("short", &short), ("long", &long), ("past", &past)];
    let server = load(&listener(
        pairs.map(|(name, issued)| dir.pair(name, issued)),
    ));
    let config = config(&server, Some("a.example"), &[]);
    let ends = handshake(&Arc::new(client(&ca, BOTH)), "a.example", config).unwrap();
    assert_eq!(shown(&ends), der(&long.cert));
}

#[test]
fn picks_the_key_that_the_client_can_verify() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let rsa = ca.issue_rsa(&["a.example"]);
    let ec = ca.issue(&["a.example"], |_| {});
    let tls = listener([dir.pair("rsa", &rsa), dir.pair("ec", &ec)]);
    let server = load(&tls);
    let config = config(&server, Some("a.example"), &[]);
    let both = Arc::new(client(&ca, BOTH));
    let ends = handshake(&both, "a.example", config).unwrap();
    assert_eq!(shown(&ends), der(&ec.cert));

    // A client with RSA suites of TLS 1.2 only, as old ones are.
    let mut old = rustls::crypto::CryptoProvider::clone(&provider());
    let is_rsa = |suite: &rustls::SupportedCipherSuite| format!("{suite:?}").contains("_RSA_");
    old.cipher_suites.retain(is_rsa);
    let old = ClientConfig::builder_with_provider(Arc::new(old))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(ca.roots())
        .with_no_client_auth();
    let ends = handshake(&Arc::new(old), "a.example", config).unwrap();
    assert_eq!(shown(&ends), der(&rsa.cert));
}

#[test]
fn agrees_on_a_protocol() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let tls = simple(&ca, &dir);
    let load = |alpn, streams| ServerTls::load(&tls, alpn, streams).unwrap();
    let http = load(&[b"http/1.1"], false);
    let mixed = load(&[b"http/1.1"], true);
    let opaque = load(&[], true);
    for (server, offered, agreed) in [
        (
            &http,
            &[b"h2".as_slice(), b"http/1.1"][..],
            Some(b"http/1.1".as_slice()),
        ),
        (&http, &[], None),
        (&mixed, &[b"h2", b"http/1.1"], Some(b"http/1.1")),
        (&mixed, &[b"mqtt"], None),
        (&mixed, &[], None),
        (&opaque, &[b"h2"], None),
    ] {
        let mut client = client(&ca, BOTH);
        client.alpn_protocols = offered.iter().map(|p| p.to_vec()).collect();
        let config = config(server, Some("a.example"), offered);
        let ends = handshake(&Arc::new(client), "a.example", config).unwrap();
        assert_eq!(
            PeerFacts::of(&ends.server).alpn.as_deref(),
            agreed,
            "{offered:?}"
        );
    }

    let (reason, alert, detail) = refusal(&http, Some("a.example"), &[b"h2", b"mq\ntt"]);
    assert_eq!(reason, Reason::NoApplicationProtocol);
    assert_eq!(detail, "the client offers only h2, mq\\ntt");
    let none = rustls::AlertDescription::NoApplicationProtocol;
    assert_eq!(heard(&alert), Error::AlertReceived(none));
}

#[test]
fn resumes_sessions() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let tls = listener([dir.pair("ab", &ca.issue(&["a.example", "b.example"], |_| {}))]);
    let server = ServerTls::load(&tls, &[b"http/1.1"], true).unwrap();
    let restarted = load(&tls);
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(client(&ca, &[version]));
        let resumed = |server: &Arc<ServerConfig>, name: &str| {
            let ends = handshake(&client, name, server).unwrap();
            PeerFacts::of(&ends.server).resumed
        };
        let with_alpn = config(&server, Some("a.example"), &[]);
        let without = config(&server, Some("a.example"), &[b"mqtt"]);
        assert!(!resumed(with_alpn, "a.example"));
        assert!(resumed(with_alpn, "a.example"), "{version:?}");
        // All settings of a listener share the keys of its tickets.
        assert!(resumed(without, "a.example"), "{version:?}");
        assert!(!resumed(with_alpn, "b.example"), "{version:?}");
        // A reload makes new ones.
        let anew = config(&restarted, Some("a.example"), &[]);
        assert!(!resumed(anew, "a.example"), "{version:?}");
    }
}

#[test]
fn prints_no_key() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let printed = format!("{:?}", load(&simple(&ca, &dir)));
    assert_eq!(printed, "ServerTls { certificates: 1, .. }");
}
