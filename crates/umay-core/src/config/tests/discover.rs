//! Discovery: who is asked, what belongs to whom, and secrets on the way.

use super::*;
use crate::model::{Consul, Discovery, Etcd, Source, UpstreamTls};

const APP: &str = "listen = \"127.0.0.1:8080\"\nto = \"app\"\n[upstream.app]\n";
/// Its keys begin at line 5.
const DISCOVER: &str =
    "listen = \"127.0.0.1:8080\"\nto = \"app\"\n[upstream.app]\n[upstream.app.discover]\n";

#[track_caller]
fn discovery(text: &str) -> Discovery {
    let loaded = loaded(&format!("{DISCOVER}{text}"));
    assert_eq!(loaded.warnings, []);
    let upstream = &loaded.model.upstreams["app"];
    assert_eq!(upstream.endpoints, []);
    upstream.discovery.clone().unwrap()
}

#[test]
fn each_source_in_short() {
    let plain = |source| Discovery {
        source,
        scheme: Scheme::Detected,
        tls: UpstreamTls::default(),
    };
    let srv = Source::Srv("_http._tcp.app.internal".to_owned());
    assert_eq!(discovery("srv = \"_http._tcp.App.internal\"\n"), plain(srv));
    let file = Source::File(PathBuf::from("/etc/umay/endpoints.toml"));
    assert_eq!(discovery("file = \"endpoints.toml\"\n"), plain(file));
    let consul = Source::Consul(Consul::new("web"));
    assert_eq!(discovery("consul = \"web\"\n"), plain(consul));
    let etcd = Source::Etcd(Etcd::new("/services/web/"));
    assert_eq!(discovery("etcd = \"/services/web/\"\n"), plain(etcd));
    for (word, scheme) in [
        ("http", Scheme::Http),
        ("https", Scheme::Https),
        ("h2c", Scheme::H2c),
        ("h2", Scheme::H2),
        ("tcp", Scheme::Tcp),
        ("tls", Scheme::Tls),
    ] {
        let text = format!("srv = \"a\"\nscheme = \"{word}\"\n");
        assert_eq!(discovery(&text).scheme, scheme);
    }
}

#[test]
fn registries_in_full() {
    let path = |name: &str| PathBuf::from("/etc/umay").join(name);
    let consul = discovery(
        "consul = \"web\"\nagents = [\"https://c.internal\", \"http://[::1]:8500\"]\ntag = \"v2\"\ndatacenter = \"eu\"\ntoken_file = \"token\"\n\
         tls.ca = \"ca.pem\"\n",
    );
    assert_eq!(
        consul.source,
        Source::Consul(Consul {
            service: "web".to_owned(),
            agents: vec![
                Endpoint::new(Scheme::Https, "c.internal", 443),
                Endpoint::new(Scheme::Http, "::1", 8500),
            ],
            tag: Some("v2".to_owned()),
            datacenter: Some("eu".to_owned()),
            token_file: Some(path("token")),
        })
    );
    assert_eq!(consul.tls.ca, Some(path("ca.pem")));
    let etcd = discovery(
        "etcd = \"/a/\"\nmembers = \"https://e:2379\"\nuser = \"u\"\npassword_file = \"p\"\n",
    );
    assert_eq!(
        etcd.source,
        Source::Etcd(Etcd {
            prefix: "/a/".to_owned(),
            members: vec![Endpoint::new(Scheme::Https, "e", 2379)],
            login: Some(("u".to_owned(), path("p"))),
        })
    );
    // Endpoints of one's own may stand beside.
    let both = model(&format!("{APP}to = \"a:1\"\ndiscover.srv = \"a\"\n"));
    let app = &both.upstreams["app"];
    assert!(app.endpoints.len() == 1 && app.discovery.is_some());
}

#[test]
fn files_of_discovery_keep_their_places() {
    let text = format!("{DISCOVER}file = \"endpoints.toml\"\n");
    let files = loaded(&text).files;
    let place = &files[&PathBuf::from("/etc/umay/endpoints.toml")];
    assert_eq!(place.to_string(), "/etc/umay/umay.toml:5:8");
}
