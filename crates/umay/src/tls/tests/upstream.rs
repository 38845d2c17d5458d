//! Handshakes with endpoints: each way to be distrusted has its reason.

use rustls::version::{TLS12, TLS13};
use umay_core::model::{ClientAuth, Endpoint, Scheme, UpstreamTls};
use umay_core::reason::Reason;

use super::*;
use crate::tls::{Choice, ClientTls, Offer, PeerFacts, accept_reason, connect_reason, self_signed};

fn upstream(ca: Option<PathBuf>) -> UpstreamTls {
    UpstreamTls {
        ca,
        ..UpstreamTls::default()
    }
}

fn endpoint(host: &str) -> Endpoint {
    Endpoint::new(Scheme::Https, host, 443)
}

/// An endpoint that has this certificate for every name.
fn serve(dir: &Scratch, issued: &Issued) -> Arc<ServerTls> {
    let mut tls = listener([]);
    tls.default = Some(dir.pair("endpoint", issued));
    load(&tls)
}

fn connect(tls: &UpstreamTls, host: &str, server: &ServerTls) -> Result<Ends, Failed> {
    let client = ClientTls::load(tls).unwrap();
    let name = client.server_name(&endpoint(host)).unwrap();
    let Choice::Accept { config, .. } = server.choose(None, &[]) else {
        panic!("refused");
    };
    handshake(client.config(Offer::Http1), &name.to_str(), config)
}

fn check(tls: &UpstreamTls, dir: &Scratch, issued: &Issued, reason: Reason, word: &str) {
    let failed = connect(tls, "a.example", &serve(dir, issued)).unwrap_err();
    let (found, detail) = connect_reason(&failed.client.unwrap());
    assert_eq!(found, reason, "{detail}");
    assert!(detail.contains(word), "{detail} lacks {word}");
}

/// The certificate that one command makes: signed by itself, and marked as an authority.
fn handmade(dir: &Scratch) -> Issued {
    let (cert, key) = (dir.path("hand.crt"), dir.path("hand.key"));
    #[rustfmt::skip]
    openssl(&[
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example",
        "-keyout", text(&key), "-out", text(&cert),
    ]);
    Issued {
        cert: std::fs::read_to_string(cert).unwrap(),
        key: std::fs::read_to_string(key).unwrap(),
    }
}

#[test]
fn trusts_what_is_right() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let tls = upstream(Some(dir.write("ca.pem", &ca.pem())));
    let server = serve(&dir, &ca.issue(&["a.example", "127.0.0.1"], |_| {}));
    for host in ["a.example", "a.example.", "A.Example", "127.0.0.1"] {
        let ends = connect(&tls, host, &server).unwrap();
        let facts = PeerFacts::of(&ends.server);
        assert_eq!(facts.group, "X25519MLKEM768");
        let named = (host != "127.0.0.1").then_some("a.example");
        assert_eq!(facts.sni.as_deref(), named);
        assert_eq!(facts.alpn, None);
    }
    let by_name = UpstreamTls {
        sni: Some("a.example".to_owned()),
        ..tls
    };
    assert!(connect(&by_name, "10.0.0.1", &server).is_ok());
}

#[test]
fn each_failure_has_its_reason() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let mut tls = upstream(Some(dir.write("ca.pem", &ca.pem())));
    tls.crl = Some(dir.write("ca.crl", &ca.revoke(66)));
    let bent = |bend: fn(&mut CertificateParams)| ca.issue(&["a.example"], bend);
    let stranger = Authority::new("Stranger").issue(&["a.example"], |_| {});
    let own = self_signed(&["a.example"]).unwrap();
    let own = Issued {
        cert: own.cert,
        key: own.key,
    };
    for (issued, reason, word) in [
        (
            bent(|p| dates(p, -9, -3)),
            Reason::UpstreamTlsExpired,
            "expired on 20",
        ),
        (
            bent(|p| dates(p, 3, 9)),
            Reason::UpstreamTlsNotYetValid,
            "not valid before 20",
        ),
        (
            ca.issue(&["b.example", "c.example"], |_| {}),
            Reason::UpstreamTlsWrongName,
            "valid for b.example, c.example, not a.example",
        ),
        (stranger, Reason::UpstreamTlsUnknownIssuer, "issuer"),
        (own, Reason::UpstreamTlsSelfSigned, "signed by itself"),
        (
            handmade(&dir),
            Reason::UpstreamTlsSelfSigned,
            "signed by itself",
        ),
        (
            bent(|p| p.serial_number = Some(SerialNumber::from(66))),
            Reason::UpstreamTlsRevoked,
            "revoked",
        ),
        (
            bent(|p| p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]),
            Reason::UpstreamTlsBadCertificate,
            "key usage",
        ),
    ] {
        check(&tls, &dir, &issued, reason, word);
        // Whoever asks for it gets no verification.
        let any = UpstreamTls {
            accept_any: true,
            ..upstream(None)
        };
        assert!(connect(&any, "a.example", &serve(&dir, &issued)).is_ok());
    }
}

#[test]
fn a_demo_certificate_is_good_for_a_month() {
    let dir = Scratch::new();
    let made = self_signed(&["localhost", "127.0.0.1"]).unwrap();
    let issued = Issued {
        cert: made.cert,
        key: made.key,
    };
    let tls = upstream(Some(dir.write("demo.pem", &issued.cert)));
    let server = serve(&dir, &issued);
    for host in ["localhost", "127.0.0.1"] {
        assert!(connect(&tls, host, &server).is_ok());
    }
    let info = server.certificates().next().unwrap();
    assert_eq!(info.names, ["localhost", "127.0.0.1"]);
    assert_eq!(info.not_after - info.not_before, 30 * DAY.as_secs());
    assert!(server.warnings().is_empty());
    assert!(self_signed(&["not ä name"]).is_err());
}

#[test]
fn many_names_are_cut_short() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let tls = upstream(Some(dir.write("ca.pem", &ca.pem())));
    let names = ["1.test", "2.test", "3.test", "4.test", "5.test"];
    let issued = ca.issue(&names, |_| {});
    let words = "valid for 1.test, 2.test, 3.test and 2 more, not a.example";
    check(&tls, &dir, &issued, Reason::UpstreamTlsWrongName, words);
    let none = ca.issue(&[], |_| {});
    check(
        &tls,
        &dir,
        &none,
        Reason::UpstreamTlsWrongName,
        "no name at all",
    );
    let address = ca.issue(&["10.0.0.1"], |_| {});
    check(
        &tls,
        &dir,
        &address,
        Reason::UpstreamTlsWrongName,
        "valid for 10.0.0.1, not",
    );
}

#[test]
fn a_given_certificate_is_trusted_for_its_name() {
    let dir = Scratch::new();
    let issued = handmade(&dir);
    let tls = upstream(Some(dir.write("own.pem", &issued.cert)));
    let server = serve(&dir, &issued);
    assert!(connect(&tls, "a.example", &server).is_ok());
    let failed = connect(&tls, "b.example", &server).unwrap_err();
    let (reason, detail) = connect_reason(&failed.client.unwrap());
    assert_eq!(reason, Reason::UpstreamTlsWrongName, "{detail}");
    // Another one with the same subject is not.
    check(
        &tls,
        &dir,
        &handmade(&dir),
        Reason::UpstreamTlsSelfSigned,
        "itself",
    );
}

#[test]
fn shows_its_certificate() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let ca_file = dir.write("ca.pem", &ca.pem());
    let mut wants = listener([dir.pair("endpoint", &ca.issue(&["a.example"], |_| {}))]);
    wants.client_auth = Some(ClientAuth {
        ca: ca_file.clone(),
        crl: None,
        required: true,
    });
    let server = load(&wants);
    let mut tls = upstream(Some(ca_file));
    let failed = connect(&tls, "a.example", &server).unwrap_err();
    let (reason, detail) = connect_reason(&failed.client.unwrap());
    assert_eq!(reason, Reason::UpstreamTlsFailed);
    assert_eq!(detail, "the endpoint requires a certificate from us");

    let own = ca.issue(&["umay.example"], |params| dates(params, -3, 3));
    tls.client = Some(dir.pair("umay", &own));
    let ends = connect(&tls, "a.example", &server).unwrap();
    let facts = PeerFacts::of(&ends.server).client_cert.unwrap();
    assert_eq!(facts.sans, ["umay.example"]);
}

#[test]
fn resumes_sessions() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let tls = upstream(Some(dir.write("ca.pem", &ca.pem())));
    let issued = ca.issue(&["a.example"], |_| {});
    let server = serve(&dir, &issued);
    let client = ClientTls::load(&tls).unwrap();
    let Choice::Accept { config, .. } = server.choose(None, &[]) else {
        panic!("refused");
    };
    for resumed in [false, true, true] {
        let ends = handshake(client.config(Offer::Http1), "a.example", config).unwrap();
        assert_eq!(PeerFacts::of(&ends.server).resumed, resumed);
    }
}

#[test]
fn says_what_is_wrong_with_the_files() {
    let dir = Scratch::new();
    let tls = UpstreamTls {
        ca: Some(dir.path("no-ca.pem")),
        crl: Some(dir.path("no.crl")),
        sni: Some("not a name".to_owned()),
        client: Some(CertificatePair {
            cert: dir.path("no.crt"),
            key: dir.path("no.key"),
        }),
        accept_any: false,
    };
    let problems = ClientTls::load(&tls).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let words = ["`not a name`", "no-ca.pem", "no.crl", "no.crt", "no.key"];
    assert_eq!(lines.len(), words.len(), "{lines:#?}");
    for (line, word) in lines.iter().zip(words) {
        assert!(line.contains(word), "{line} lacks {word}");
    }
    let any = UpstreamTls {
        accept_any: true,
        ..upstream(None)
    };
    let client = ClientTls::load(&any).unwrap();
    assert!(client.server_name(&endpoint("a b")).is_err());
    assert!(client.server_name(&endpoint("::1")).is_ok());
}

#[test]
fn trusts_the_system_and_nobody_else() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    match ClientTls::load(&upstream(None)) {
        Ok(_) => {
            let issued = ca.issue(&["a.example"], |_| {});
            let reason = Reason::UpstreamTlsUnknownIssuer;
            check(&upstream(None), &dir, &issued, reason, "issuer");
        }
        // A system without any says so.
        Err(problems) => assert!(problems[0].hint.contains("ca-certificates")),
    }
}

#[test]
fn tells_what_is_no_tls_and_who_left() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let config = Arc::new(client(&ca, &[&TLS13, &TLS12]));
    let name = ServerName::try_from("a.example").unwrap();
    let mut client = ClientConnection::new(config, name).unwrap();
    let error = feed(b"HTTP/1.1 400 Bad Request\r\n\r\n", |bytes| {
        client.read_tls(bytes).unwrap();
        client.process_new_packets().map(|_| ())
    });
    let (reason, detail) = connect_reason(&error.unwrap());
    assert_eq!(reason, Reason::UpstreamTlsFailed);
    assert_eq!(detail, "the endpoint does not speak TLS here");

    let left = io::Error::from(io::ErrorKind::UnexpectedEof);
    assert!(connect_reason(&left).1.contains("endpoint closed"));
    assert!(accept_reason(&left).1.contains("client closed"));
    assert_eq!(accept_reason(&left).0, Reason::HandshakeFailed);
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert!(accept_reason(&reset).1.contains("client reset"));

    // A client that does not trust us says so.
    let stranger = Arc::new(super::client(&Authority::new("Other"), &[&TLS13]));
    let server = serve(&dir, &ca.issue(&["a.example"], |_| {}));
    let Choice::Accept { config, .. } = server.choose(None, &[]) else {
        panic!("refused");
    };
    let failed = handshake(&stranger, "a.example", config).unwrap_err();
    let (reason, detail) = accept_reason(&failed.server.unwrap());
    assert_eq!(reason, Reason::HandshakeFailed);
    assert!(detail.contains("issuer of our certificate"), "{detail}");
}
