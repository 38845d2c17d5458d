//! Files: kinds of keys, directories, and what is said of broken ones.

use super::*;
use crate::tls::{Severity, TlsProblem};

/// Loads, and returns what is wrong as text.
fn problems(tls: &ListenerTls) -> Vec<TlsProblem> {
    ServerTls::load(tls, &[], false).unwrap_err()
}

fn check(tls: &ListenerTls, words: &[&str]) {
    let problems = problems(tls);
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}");
    };
    let line = problem.to_string();
    assert_eq!(problem.severity, Severity::Error);
    for word in words {
        assert!(line.contains(word), "{line} lacks {word}");
    }
    assert!(!line.contains("MII"), "{line}");
}

#[test]
fn reads_every_form_of_key() {
    let ca = Authority::new("CA");
    let dir = Scratch::new();
    let ec = dir.pair("ec", &ca.issue(&["a.example"], |_| {}));
    let rsa = dir.pair("rsa", &ca.issue_rsa(&["a.example"]));
    let sec1 = dir.path("sec1.key");
    let pkcs1 = dir.path("pkcs1.key");
    openssl(&["ec", "-in", text(&ec.key), "-out", text(&sec1)]);
    #[rustfmt::skip]
    openssl(&["rsa", "-in", text(&rsa.key), "-traditional", "-out", text(&pkcs1)]);
    for (pair, key, label, kind) in [
        (&ec, &ec.key, "BEGIN PRIVATE KEY", "ecdsa"),
        (&ec, &sec1, "BEGIN EC PRIVATE KEY", "ecdsa"),
        (&rsa, &rsa.key, "BEGIN PRIVATE KEY", "rsa"),
        (&rsa, &pkcs1, "BEGIN RSA PRIVATE KEY", "rsa"),
    ] {
        let pem = std::fs::read_to_string(key).unwrap();
        assert!(pem.contains(label), "{}", key.display());
        let pair = CertificatePair {
            cert: pair.cert.clone(),
            key: key.clone(),
        };
        let server = load(&listener([pair]));
        let info = server.certificates().next().unwrap();
        assert_eq!(info.key_type, kind);
        assert_eq!(info.names, ["a.example"]);
    }
}

#[test]
fn says_what_is_wrong_with_a_pair() {
    let ca = Authority::new("CA");
    let dir = Scratch::new();
    let a = dir.pair("a", &ca.issue(&["a.example"], |_| {}));
    let b = dir.pair("b", &ca.issue(&["b.example"], |_| {}));
    let with = |cert: &Path, key: &Path| {
        listener([CertificatePair {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }])
    };
    check(
        &with(&a.cert, &b.key),
        &["a.crt", "not for the key", "b.key"],
    );
    check(
        &with(&a.key, &a.key),
        &["a.key has no certificate", "BEGIN CERTIFICATE"],
    );
    check(&with(&a.cert, &a.cert), &["a.crt has no private key"]);
    check(
        &with(&dir.path("no.crt"), &a.key),
        &["no.crt cannot be read", "check the path"],
    );

    let ca_first = ca.pem() + &std::fs::read_to_string(&a.cert).unwrap();
    let ca_first = dir.write("ca-first.crt", &ca_first);
    check(
        &with(&ca_first, &a.key),
        &["ca-first.crt", "first, its issuer second"],
    );

    let (locked, old) = (dir.path("locked.key"), dir.path("old.key"));
    #[rustfmt::skip]
    openssl(&["pkey", "-in", text(&a.key), "-aes128", "-passout", "pass:x", "-out", text(&locked)]);
    #[rustfmt::skip]
    openssl(&["ec", "-in", text(&a.key), "-aes128", "-passout", "pass:x", "-out", text(&old)]);
    check(
        &with(&a.cert, &locked),
        &["locked.key", "passphrase", "openssl pkey"],
    );
    check(&with(&a.cert, &old), &["old.key", "passphrase"]);

    let binary = dir.path("a.der");
    #[rustfmt::skip]
    openssl(&["x509", "-in", text(&a.cert), "-outform", "der", "-out", text(&binary)]);
    check(&with(&binary, &a.key), &["a.der has no certificate", "DER"]);

    let torn = std::fs::read_to_string(&a.cert).unwrap();
    let torn = dir.write("torn.crt", &torn[..torn.len() / 2]);
    check(&with(&torn, &a.key), &["torn.crt is not good PEM"]);
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let junk = dir.write("junk.crt", junk);
    check(&with(&junk, &a.key), &["junk.crt has no valid certificate"]);
    let weak = dir.path("weak.key");
    openssl(&["genrsa", "-out", text(&weak), "1024"]);
    check(&with(&a.cert, &weak), &["weak.key", "2048"]);
    check(&listener([]), &["no certificate"]);
}

#[test]
fn says_everything_at_once() {
    let ca = Authority::new("CA");
    let dir = Scratch::new();
    let old = ca.issue(&["old.example"], |params| dates(params, -20, -10));
    let early = ca.issue(&["early.example"], |params| dates(params, 10, 20));
    let (old, early) = (dir.pair("old", &old), dir.pair("early", &early));
    let missing = CertificatePair {
        cert: dir.path("x.crt"),
        key: dir.path("x.key"),
    };
    let all = problems(&listener([old.clone(), missing, early.clone()]));
    let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for (line, word) in lines
        .iter()
        .zip(["x.crt", "x.key", "expired on 20", "not good before 20"])
    {
        assert!(line.contains(word), "{line} lacks {word}");
    }
    assert_eq!(all[0].severity, Severity::Error);
    assert_eq!(all[2].severity, Severity::Warning);
    assert_eq!(all[2].file.as_deref(), Some(old.cert.as_path()));

    // Those that are not good now are served all the same.
    let server = load(&listener([old, early]));
    assert_eq!(server.certificates().count(), 2);
    assert!(server.warnings().is_empty());
}

#[test]
fn reads_a_directory() {
    let ca = Authority::new("CA");
    let dir = Scratch::new();
    let issue = |name: &str| ca.issue(&[name], |_| {});
    dir.pair("certs/b", &issue("b.example"));
    let both = issue("a.example");
    dir.write("certs/a.pem", &(both.key.clone() + &both.cert));
    let cert = issue("c.example");
    dir.write("certs/c.cert", &cert.cert);
    dir.write("certs/c.key", &cert.key);
    for (name, files) in [
        ("d", ["fullchain.pem", "privkey.pem"]),
        ("e", ["tls.crt", "tls.key"]),
    ] {
        let issued = issue(&format!("{name}.example"));
        dir.write(&format!("certs/{name}/{}", files[0]), &issued.cert);
        dir.write(&format!("certs/{name}/{}", files[1]), &issued.key);
    }
    // None of these is a pair.
    dir.write("certs/ca.crt", &ca.pem());
    dir.write("certs/README", "certificates");
    dir.write("certs/.hidden.crt", "");
    dir.write("certs/..data/tls.crt", "");
    dir.write("certs/empty/notes.txt", "");
    let mut tls = listener([]);
    tls.certificates = vec![CertificateSource::Dir(dir.path("certs"))];
    let server = load(&tls);
    let names: Vec<&str> = server.certificates().map(|c| c.names[0].as_str()).collect();
    assert_eq!(
        names,
        [
            "a.example",
            "b.example",
            "c.example",
            "d.example",
            "e.example"
        ]
    );

    // Half of a pair is told, in both places where it can be.
    std::fs::remove_file(dir.path("certs/b.key")).unwrap();
    std::fs::remove_file(dir.path("certs/e/tls.key")).unwrap();
    let lines: Vec<String> = problems(&tls).iter().map(ToString::to_string).collect();
    assert!(
        lines[0].contains("b.crt has no key") && lines[0].contains("b.key"),
        "{lines:?}"
    );
    std::fs::remove_file(dir.path("certs/b.crt")).unwrap();
    check(&tls, &["e/tls.key cannot be read"]);

    tls.certificates = vec![CertificateSource::Dir(dir.path("certs/empty"))];
    check(&tls, &["empty has no certificate", "NAME.crt"]);
    tls.certificates = vec![CertificateSource::Dir(dir.path("none"))];
    check(&tls, &["none cannot be read"]);
}

#[test]
fn says_what_is_wrong_with_authorities() {
    let ca = Authority::new("CA");
    let dir = Scratch::new();
    let mut tls = listener([dir.pair("a", &ca.issue(&["a.example"], |_| {}))]);
    let mut with = |ca: PathBuf, crl: Option<PathBuf>, words: &[&str]| {
        tls.client_auth = Some(umay_core::model::ClientAuth {
            ca,
            crl,
            required: true,
        });
        check(&tls, words);
    };
    let good = dir.write("ca.pem", &ca.pem());
    let empty = dir.write("empty.pem", "");
    with(empty.clone(), None, &["empty.pem has no certificate"]);
    with(dir.path("no.pem"), None, &["no.pem cannot be read"]);
    with(
        good.clone(),
        Some(empty),
        &["empty.pem has no revocation list", "X509 CRL"],
    );
    let junk = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let junk = dir.write("junk.crl", junk);
    with(
        good,
        Some(junk),
        &["junk.crl has a revocation list that cannot be used"],
    );
}

#[test]
fn takes_the_common_name_only_without_other_names() {
    let ca = Authority::new("CA");
    let dir = Scratch::new();
    for (sans, common_name, names) in [
        (
            &["A.example", "10.1.2.3", "::1"][..],
            "b.example",
            &["a.example", "10.1.2.3", "::1"][..],
        ),
        (&[], "B.example", &["b.example"]),
        (&[], "Ada Lovelace", &[]),
    ] {
        let issued = ca.issue(sans, |params| {
            params
                .distinguished_name
                .push(DnType::CommonName, common_name);
        });
        let server = load(&listener([dir.pair("x", &issued)]));
        assert_eq!(server.certificates().next().unwrap().names, names);
    }
}
