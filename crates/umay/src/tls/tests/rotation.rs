//! Certificates that change: what stays, what is read again, what is kept of pairs that do not fit, and keys that
//! turn out to be damaged.

use std::sync::atomic::AtomicBool;

use umay_core::reason::Reason;

use super::*;
use crate::tls::{Choice, Severity};

fn directory(dir: &Scratch) -> ListenerTls {
    let mut tls = listener([]);
    tls.certificates = vec![CertificateSource::Dir(dir.path("certs"))];
    tls
}

fn again(server: &Arc<ServerTls>, tls: &ListenerTls) -> Arc<ServerTls> {
    server.succeed(tls, &[], false).unwrap()
}

/// The chains that are served, by the first of their names.
fn names(server: &ServerTls) -> Vec<&str> {
    server.certificates().map(|c| c.names[0].as_str()).collect()
}

fn settings<'a>(server: &'a ServerTls, name: &str) -> &'a Arc<ServerConfig> {
    match server.choose(Some(name), &[]) {
        Choice::Accept { config, .. } => config,
        Choice::Refuse { detail, .. } => panic!("{detail}"),
    }
}

/// True if nothing has changed for who asks for `a.example`.
fn is_same(one: &ServerTls, other: &ServerTls) -> bool {
    Arc::ptr_eq(settings(one, "a.example"), settings(other, "a.example"))
}

/// What a client that asks for a name is shown.
fn served(ca: &Authority, server: &ServerTls, name: &str) -> Vec<u8> {
    let client = Arc::new(client(ca, rustls::DEFAULT_VERSIONS));
    let ends = handshake(&client, name, settings(server, name)).unwrap();
    shown(&ends).to_vec()
}

#[test]
fn what_has_not_changed_stays_the_same() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let issue = |name: &str| dir.pair(name, &ca.issue(&["a.example"], |_| {}));
    let pair = issue("certs/a");
    let tls = directory(&dir);
    let first = load(&tls);
    assert!(is_same(&first, &again(&first, &tls)));
    // Written anew with what was in it.
    std::fs::write(&pair.cert, std::fs::read(&pair.cert).unwrap()).unwrap();
    assert!(is_same(&first, &again(&first, &tls)));
    // Another setting, another certificate, another one beside it.
    let mut stricter = tls.clone();
    stricter.only_tls13 = true;
    assert!(!is_same(&first, &again(&first, &stricter)));
    let with = |alpn: &[&[u8]], streams| first.succeed(&tls, alpn, streams).unwrap();
    assert!(!is_same(&first, &with(&[b"h2"], false)));
    assert!(!is_same(&first, &with(&[], true)));
    issue("certs/a");
    let second = again(&first, &tls);
    assert!(!is_same(&first, &second));
    assert_ne!(
        served(&ca, &first, "a.example"),
        served(&ca, &second, "a.example")
    );
}

#[test]
fn client_authorities_count_by_what_is_in_their_files() {
    let (ca, other, dir) = (
        Authority::new("CA"),
        Authority::new("other"),
        Scratch::new(),
    );
    let mut tls = listener([dir.pair("a", &ca.issue(&["a.example"], |_| {}))]);
    tls.client_auth = Some(umay_core::model::ClientAuth {
        ca: dir.write("ca.pem", &ca.pem()),
        crl: None,
        required: true,
    });
    let first = load(&tls);
    dir.write("ca.pem", &ca.pem());
    assert!(is_same(&first, &again(&first, &tls)));
    dir.write("ca.pem", &other.pem());
    assert!(!is_same(&first, &again(&first, &tls)));
}

#[test]
fn sessions_live_as_long_as_all_names_do() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let issue = |name: &str| {
        let host = format!("{name}.example");
        dir.pair(&format!("certs/{name}"), &ca.issue(&[&host], |_| {}))
    };
    let (_, b) = (issue("a"), issue("b"));
    let tls = directory(&dir);
    let first = load(&tls);
    let client = Arc::new(client(&ca, rustls::DEFAULT_VERSIONS));
    let resumed = |server: &ServerTls, name: &str| {
        let ends = handshake(&client, name, settings(server, name)).unwrap();
        crate::tls::PeerFacts::of(&ends.server).resumed
    };
    assert!(!resumed(&first, "a.example"));
    assert!(resumed(&first, "a.example"));
    // Another one is renewed, and a third one comes.
    issue("b");
    issue("c");
    let second = again(&first, &tls);
    assert!(resumed(&second, "a.example"));
    // A name of one certificate opens no session of another.
    assert!(!resumed(&second, "b.example"));
    // One goes: nobody goes on with what it was promised.
    std::fs::remove_file(&b.cert).unwrap();
    std::fs::remove_file(&b.key).unwrap();
    let third = again(&second, &tls);
    assert_eq!(names(&third), ["a.example", "c.example"]);
    assert!(!resumed(&third, "a.example"));
    assert!(resumed(&third, "a.example"));
    // Once clients have to show certificates, no session goes on.
    let mut strict = tls.clone();
    strict.client_auth = Some(umay_core::model::ClientAuth {
        ca: dir.write("ca.pem", &ca.pem()),
        crl: None,
        required: false,
    });
    let fourth = again(&third, &strict);
    assert!(!resumed(&fourth, "a.example"));
    assert!(!resumed(&fourth, "a.example"));
    assert!(!resumed(&again(&fourth, &tls), "a.example"));
}

#[test]
fn a_pair_that_does_not_fit_keeps_nobody_from_changing() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let issued = |name: &str| ca.issue(&[&format!("{name}.example")], |_| {});
    let write = |name: &str| dir.pair(&format!("certs/{name}"), &issued(name));
    let (a, b) = (write("a"), write("b"));
    write("c");
    let tls = directory(&dir);
    let first = load(&tls);
    let old = served(&ca, &first, "a.example");
    // Of one pair only half is new, of another one half is gone, a third one has only come by half, a fourth is new.
    let new = issued("a");
    dir.write("certs/a.crt", &new.cert);
    std::fs::remove_file(&b.cert).unwrap();
    dir.write("certs/d.crt", &issued("d").cert);
    write("e");
    dir.pair("certs/c", &issued("c"));
    let second = again(&first, &tls);
    assert_eq!(
        names(&second),
        ["a.example", "b.example", "c.example", "e.example"]
    );
    assert_eq!(served(&ca, &second, "a.example"), old);
    assert_ne!(
        served(&ca, &second, "c.example"),
        served(&ca, &first, "c.example")
    );
    let lines: Vec<String> = second.warnings().iter().map(ToString::to_string).collect();
    let [x, y, z] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    for (line, words) in [
        (x, ["d.crt has no key", "it is not served"]),
        (
            y,
            [
                "b.crt is gone",
                "the one that was read before is still served",
            ],
        ),
        (
            z,
            [
                "a.crt begins with a certificate that is not for the key",
                "is still served",
            ],
        ),
    ] {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert!(
        second
            .warnings()
            .iter()
            .all(|p| p.severity == Severity::Warning)
    );
    assert_eq!(second.unfit().count(), 3);
    // It stays so for as long as it stays so.
    assert!(is_same(&second, &again(&second, &tls)));
    // The other halves come or go.
    std::fs::write(&a.key, &new.key).unwrap();
    std::fs::remove_file(&b.key).unwrap();
    std::fs::remove_file(dir.path("certs/d.crt")).unwrap();
    let third = again(&second, &tls);
    assert_eq!(names(&third), ["a.example", "c.example", "e.example"]);
    assert_eq!(served(&ca, &third, "a.example"), der(&new.cert));
    assert!(third.warnings().is_empty());
    // A first start with half a pair fails.
    std::fs::remove_file(&a.key).unwrap();
    assert!(ServerTls::load(&tls, &[], false).is_err());
}

#[test]
fn a_pair_with_names_of_its_own_is_kept_but_another_one_is_refused() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    let pair = dir.pair("a", &ca.issue(&["a.example"], |_| {}));
    let tls = listener([pair.clone()]);
    let first = load(&tls);
    dir.write("a.crt", "");
    let second = again(&first, &tls);
    assert_eq!(
        (names(&second), second.warnings().len()),
        (vec!["a.example"], 1)
    );
    // The configuration says something else now: it is wrong, not half written.
    let other = listener([CertificatePair {
        key: dir.path("other.key"),
        ..pair
    }]);
    let problems = first.succeed(&other, &[], false).unwrap_err();
    assert!(problems.iter().any(|p| p.severity == Severity::Error));
    // Nothing is left at all.
    let gone = directory(&dir);
    assert!(first.succeed(&gone, &[], false).is_err());
}

/// A key that belongs to its certificate by what it says, but cannot sign for it.
fn damage(pem: &str) -> String {
    let label = "-----BEGIN PRIVATE KEY-----\n";
    let (head, rest) = pem.split_once(label).unwrap();
    assert_eq!(head, "");
    let text: String = rest
        .lines()
        .take_while(|line| !line.starts_with('-'))
        .collect();
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let mut bytes = engine.decode(text).unwrap();
    // In the private number, or for RSA in one of the primes; both are in front of the middle's end.
    let at = if bytes.len() > 500 {
        bytes.len() / 2
    } else {
        50
    };
    bytes[at] ^= 0x55;
    format!(
        "{label}{}\n-----END PRIVATE KEY-----\n",
        engine.encode(bytes)
    )
}

#[test]
fn a_damaged_key_is_told_and_refused() {
    let (ca, dir) = (Authority::new("CA"), Scratch::new());
    for issued in [
        ca.issue(&["bad.example"], |_| {}),
        ca.issue_rsa(&["bad.example"]),
    ] {
        let damaged = Issued {
            key: damage(&issued.key),
            ..issued
        };
        let pair = dir.pair("bad", &damaged);
        // Of few certificates it is known at once.
        let problems = ServerTls::load(&listener([pair.clone()]), &[], false).unwrap_err();
        let line = problems[0].to_string();
        assert!(line.contains("bad.key has a key that is damaged"), "{line}");
        // Of many it is not, and somebody may ask for it before it is.
        let many =
            std::iter::repeat_with(|| dir.pair("good", &ca.issue(&["good.example"], |_| {})));
        let many = many.take(1).chain((0..500).map(|n| {
            let (cert, key) = (format!("{n}.crt"), format!("{n}.key"));
            std::fs::copy(dir.path("good.crt"), dir.path(&cert)).unwrap();
            std::fs::copy(dir.path("good.key"), dir.path(&key)).unwrap();
            CertificatePair {
                cert: dir.path(&cert),
                key: dir.path(&key),
            }
        }));
        let tls = listener(many.chain([pair]).collect::<Vec<_>>());
        let server = load(&tls);
        assert!(!server.is_proven());
        served(&ca, &server, "good.example");
        let Choice::Refuse {
            reason,
            alert,
            detail,
        } = server.choose(Some("bad.example"), &[])
        else {
            panic!("a damaged key was accepted");
        };
        assert_eq!(reason, Reason::CertificateUnusable);
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 80]);
        assert!(detail.contains("bad.key"), "{detail}");
        // Or it is found before, by whoever looks at all of them.
        let server = load(&tls);
        assert_eq!(server.prove(&AtomicBool::new(true)), 0);
        assert_eq!(server.prove(&AtomicBool::new(false)), 1);
        assert!(server.is_proven());
        assert_eq!(
            (server.unfit().count(), load(&tls).prove_at_once().len()),
            (1, 1)
        );
        // It is no new fault for the next one that takes its place, and does not hold up anything.
        assert!(Arc::ptr_eq(
            settings(&server, "good.example"),
            settings(&again(&server, &tls), "good.example")
        ));
    }
}
