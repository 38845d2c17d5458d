//! Upstreams: endpoints with a name, and TLS towards them.

use super::*;
use crate::model::{CertificatePair, UpstreamTls};

const APP: &str = "listen = \"127.0.0.1:8080\"\nto = \"app\"\n[upstream.app]\n";

#[test]
fn an_upstream_in_full() {
    let text = format!(
        "{APP}to = [\"https://a\", \"https://b:8443\"]\nbalance = \"round_robin\"\n\
         [upstream.app.tls]\nca = \"ca.pem\"\ncrl = \"ca.crl\"\nsni = \"App.internal\"\ncert = \"c.pem\"\nkey = \"c.key\"\n"
    );
    let loaded = loaded(&text);
    assert_eq!(loaded.warnings, []);
    let app = &loaded.model.upstreams["app"];
    assert_eq!((app.name.as_str(), app.endpoints.len()), ("app", 2));
    assert_eq!(app.balance.as_str(), "round_robin");
    let path = |name: &str| PathBuf::from("/etc/umay").join(name);
    assert_eq!(
        app.tls,
        UpstreamTls {
            ca: Some(path("ca.pem")),
            crl: Some(path("ca.crl")),
            sni: Some("app.internal".to_owned()),
            client: Some(CertificatePair {
                cert: path("c.pem"),
                key: path("c.key"),
            }),
            accept_any: false,
        }
    );
    assert_eq!(loaded.files.len(), 4);
}

#[test]
fn to_verify_nothing_is_possible_and_told() {
    check_warnings(
        &format!("{APP}to = \"https://a\"\ntls.dangerous_accept_any_certificate = true\n"),
        &[
            "5:1 endpoints are not verified: anybody on the way can read and change everything (name the authority with ca = \"FILE\" instead, if you can)",
        ],
    );
    check_warnings(
        &format!("{APP}to = \"https://a\"\ntls.dangerous_accept_any_certificate = false\n"),
        &[],
    );
}

#[test]
fn mistakes_in_upstreams() {
    for (text, error) in [
        (
            "",
            "3:11 upstream `app` has no endpoints (add to = [\"127.0.0.1:3000\"])",
        ),
        (
            "to = []\n",
            "3:11 upstream `app` has no endpoints (add to = [\"127.0.0.1:3000\"])",
        ),
        (
            "to = \"htp://a:1\"\n",
            "4:6 `htp://` is no way to speak to an endpoint; there are http://, https://, h2c://, h2://, tcp:// and tls://",
        ),
        (
            "to = \"https://a\"\nweight = 1\n",
            "5:1 there is no key `upstream.NAME.weight` (tell it of an endpoint: to = [{ to = \"HOST:PORT\", weight = 3 }])",
        ),
        (
            "to = \"https://a\"\ntls = true\n",
            "5:7 expected a table, found true or false",
        ),
        (
            "to = \"https://a\"\ntls.cert = \"a\"\n",
            "5:1 `cert` and `key` need each other",
        ),
        (
            "to = \"https://a\"\ntls.sni = \"*.a\"\n",
            "5:11 this has to be one name",
        ),
        (
            "to = \"https://a\"\ntls.sni = \"https://a\"\n",
            "5:11 `https://a` is a URL; a host is only its name",
        ),
        (
            "to = \"https://a\"\ntls.sny = \"a\"\n",
            "5:5 there is no key `upstream.NAME.tls.sny` (did you mean `sni`?)",
        ),
        (
            "to = \"https://a\"\ntls.dangerous_accept_any_certificate = 1\n",
            "5:40 expected true or false, found a number",
        ),
    ] {
        check(&format!("{APP}{text}"), &[error]);
    }
    for (name, error) in [
        ("\"\"", "3:11 an upstream needs a name"),
        (
            "\"a:1\"",
            "3:11 `a:1` could be taken for an endpoint; a name has no `:`, `,` or `/`",
        ),
    ] {
        check(
            &format!("{BASE}[upstream.{name}]\nto = \"a:1\"\n"),
            &[error],
        );
    }
    check(
        &format!("{BASE}[upstream]\nto = \"a:1\"\n"),
        &["4:6 expected a table, found text"],
    );
}
