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
