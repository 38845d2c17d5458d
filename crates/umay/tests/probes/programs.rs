//! Probes of real programs.

use umay_core::model::{ProbeKind, Scheme};
use umay_test::programs::{
    mosquitto, mosquitto_with, nginx, nginx_that_listens, python_endpoint, python_endpoint_with,
};
use umay_test::{Certs, Pair};

use super::{ask, ask_tls, get, health, probe, told};

const SERVER: &str = "location = /healthz { return 204; } location = /ill { return 503; }";

#[test]
fn nginx_is_well() {
    let nginx = nginx(SERVER, &[("large", &[0; 1 << 20])]);
    for (path, words) in [
        ("/healthz", "well"),
        ("/large", "well"),
        ("/ill", "GET /ill: status 503, expected 200-299"),
        ("/none", "GET /none: status 404, expected 200-299"),
    ] {
        let outcome = ask(&probe(get(path)), Scheme::Http, nginx.addr);
        assert_eq!(told(outcome), words);
    }
    // It was told good-bye.
    let log = std::fs::read_to_string(nginx.dir.path().join("stderr")).unwrap();
    assert!(!log.contains("reset"), "{log}");
}

#[test]
fn nginx_is_well_over_tls_and_http2() {
    let certs = Certs::new();
    let pair = certs.issue(&["a.test"]);
    let tls = format!("{SERVER} {}", tls_of(&pair));
    for options in ["ssl", "ssl http2"] {
        let nginx = nginx_that_listens(options, &tls, &[]);
        for (path, words) in [
            ("/healthz", "well"),
            ("/ill", "GET /ill: status 503, expected 200-299"),
        ] {
            let outcome = ask_tls(&probe(get(path)), Scheme::Https, nginx.addr, &certs);
            assert_eq!(told(outcome), words, "{options}");
        }
        let outcome = ask_tls(&probe(ProbeKind::Tls), Scheme::Https, nginx.addr, &certs);
        assert_eq!(told(outcome), "well");
        let strange = ask_tls(&probe(get("/")), Scheme::Https, nginx.addr, &Certs::new());
        assert!(told(strange).starts_with("TLS with a.test: the certificate's issuer"));
    }
    let clear = nginx_that_listens("http2", SERVER, &[]);
    let outcome = ask(&probe(get("/healthz")), Scheme::H2c, clear.addr);
    assert_eq!(told(outcome), "well");
}

fn tls_of(pair: &Pair) -> String {
    let (cert, key) = (pair.cert.display(), pair.key.display());
    format!("ssl_certificate {cert}; ssl_certificate_key {key};")
}

#[test]
fn mosquitto_is_well() {
    let broker = mosquitto();
    let outcome = ask(&probe(ProbeKind::Tcp), Scheme::Tcp, broker.addr);
    assert_eq!(told(outcome), "well");
    // It waits for a client to say something, and does not speak HTTP.
    let outcome = ask(&probe(get("/")), Scheme::Http, broker.addr);
    assert!(told(outcome).starts_with("GET /: the endpoint "));
}

#[test]
fn mosquitto_is_well_over_tls() {
    let certs = Certs::new();
    let pair = certs.issue(&["a.test"]);
    let (cert, key) = (pair.cert.display(), pair.key.display());
    let tls = format!("certfile {cert}\nkeyfile {key}\n");
    let broker = mosquitto_with(&tls);
    let outcome = ask_tls(&probe(ProbeKind::Tls), Scheme::Tls, broker.addr, &certs);
    assert_eq!(told(outcome), "well");
    let ca = certs.ca();
    let strict = format!("{tls}cafile {}\nrequire_certificate true\n", ca.display());
    let broker = mosquitto_with(&strict);
    let outcome = ask_tls(&probe(ProbeKind::Tls), Scheme::Tls, broker.addr, &certs);
    let words = "TLS with a.test: the endpoint requires a certificate from us";
    assert_eq!(told(outcome), words);
}

#[test]
fn googles_health_service_is_understood() {
    let certs = Certs::new();
    let pair = certs.issue(&["a.test"]);
    let files = [&pair.cert, &pair.key].map(|file| file.to_str().unwrap());
    let clear = python_endpoint("health.py");
    let secure = python_endpoint_with("health.py", &files);
    for (service, words) in [
        ("", "well"),
        ("up.Service", "well"),
        ("down.Service", "NOT_SERVING"),
        ("odd.Service", "UNKNOWN"),
        ("lost.Service", "SERVICE_UNKNOWN"),
        ("no.Service", "grpc-status 5 (NOT_FOUND)"),
    ] {
        let asked = probe(health(service));
        for outcome in [
            ask(&asked, Scheme::H2c, clear.addr),
            ask_tls(&asked, Scheme::H2, secure.addr, &certs),
        ] {
            let outcome = told(outcome);
            let of = format!("grpc.health.v1.Health/Check of {service}: ");
            assert_eq!(outcome.trim_start_matches(&of), words);
        }
    }
}

#[test]
fn a_grpc_endpoint_without_health_says_so() {
    let endpoint = python_endpoint("endpoint.py");
    let outcome = told(ask(&probe(health("")), Scheme::H2c, endpoint.addr));
    assert!(
        outcome.contains("grpc-status 12 (UNIMPLEMENTED)"),
        "{outcome}"
    );
}
