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
fn one_source_is_asked_for_what_it_knows() {
    for (text, errors) in [
        (
            "",
            &["4:1 this asks nobody for endpoints (add srv, file, consul or etcd)"][..],
        ),
        (
            "srw = \"a\"\n",
            &[
                "4:1 this asks nobody for endpoints (add srv, file, consul or etcd)",
                "5:1 there is no key `upstream.NAME.discover.srw` (did you mean `srv`?)",
            ],
        ),
        (
            "file = \"a\"\nsrv = \"a\"\n",
            &["5:8 `file` stands beside `srv`, and one source is asked (take one of them out)"],
        ),
        (
            "srv = \"a\"\ntag = \"a\"\n",
            &["6:1 `tag` belongs to `consul`, and `srv` is asked (take it out)"],
        ),
        (
            "consul = \"a\"\nmembers = \"http://a\"\n",
            &["6:1 `members` belongs to `etcd`, and `consul` is asked (take it out)"],
        ),
        (
            "etcd = \"a\"\nagents = \"http://a\"\ndatacenter = \"a\"\ntoken_file = \"a\"\n",
            &[
                "6:1 `agents` belongs to `consul`, and `etcd` is asked (take it out)",
                "7:1 `datacenter` belongs to `consul`, and `etcd` is asked (take it out)",
                "8:1 `token_file` belongs to `consul`, and `etcd` is asked (take it out)",
            ],
        ),
        (
            "file = \"a\"\nuser = \"a\"\npassword_file = \"a\"\n",
            &[
                "6:1 `user` belongs to `etcd`, and `file` is asked (take it out)",
                "7:1 `password_file` belongs to `etcd`, and `file` is asked (take it out)",
            ],
        ),
        (
            "file = \"a\"\ntls.ca = \"a\"\n",
            &[
                "6:1 `tls` belongs to `consul` and `etcd`, and `file` is asked (TLS to the endpoints stands in [upstream.NAME.tls])",
            ],
        ),
        (
            "consul = \"a\"\ntls.ca = \"a\"\n",
            &[
                "6:1 this says how to speak TLS to `consul`, which is asked in plaintext (write its agents as https://)",
            ],
        ),
        (
            "etcd = \"a\"\nmembers = \"http://127.0.0.1\"\ntls.ca = \"a\"\n",
            &[
                "7:1 this says how to speak TLS to `etcd`, which is asked in plaintext (write its members as https://)",
            ],
        ),
        (
            "etcd = \"a\"\nmembers = [\"http://127.0.0.1\", \"https://a\"]\ntls.ca = \"a\"\n",
            &[],
        ),
    ] {
        check(&format!("{DISCOVER}{text}"), errors);
    }
    check(
        &format!("{APP}discover = \"a\"\n"),
        &["4:12 expected a table, found text"],
    );
}

#[test]
fn mistakes_in_what_is_asked() {
    for (text, error) in [
        (
            "srv = \"10.0.0.1\"\n",
            "5:7 `10.0.0.1` is an address, which has no SRV records",
        ),
        ("srv = \"\"\n", "5:7 `` is no host name"),
        ("file = \"\"\n", "5:8 this names no file"),
        ("consul = \"\"\n", "5:10 \"\" is no name"),
        ("etcd = \"\"\n", "5:8 \"\" is no name"),
        (
            "srv = \"a\"\nscheme = \"ftp\"\n",
            "6:10 expected `http` or `https` or `h2c` or `h2` or `tcp` or `tls`",
        ),
        (
            "consul = \"a\"\nagents = []\n",
            "6:10 this is empty (leave the key out if it is on this machine)",
        ),
        (
            "consul = \"a\"\nagents = \"127.0.0.1:8500\"\n",
            "6:10 a registry speaks HTTP; write \"http://127.0.0.1:8500\" or \"https://127.0.0.1:8500\"",
        ),
        (
            "etcd = \"a\"\nmembers = [\"http://a\", \"http://A:80\"]\n",
            "6:24 `http://A:80` is here twice",
        ),
        (
            "etcd = \"a\"\nuser = \"a\"\n",
            "6:8 `user` and `password_file` need each other",
        ),
        (
            "etcd = \"a\"\npassword_file = \"a\"\n",
            "6:17 `user` and `password_file` need each other",
        ),
        (
            "etcd = \"a\"\nmembers = \"https://a\"\ntls.cert = \"a\"\n",
            "7:1 `cert` and `key` need each other",
        ),
    ] {
        check(&format!("{DISCOVER}{text}"), &[error]);
    }
}

#[test]
fn secrets_do_not_leave_in_plaintext_unseen() {
    for (host, here) in [
        ("http://127.0.0.1:1", true),
        ("http://127.9.9.9", true),
        ("http://[::1]", true),
        ("http://localhost", true),
        ("https://a.internal", true),
        ("http://a.internal", false),
        ("http://10.0.0.1", false),
    ] {
        let name = host.trim_start_matches("http://");
        for (text, what, column) in [
            (
                format!("consul = \"a\"\nagents = \"{host}\"\n\ntoken_file = \"a\"\n"),
                "token",
                14,
            ),
            (
                format!(
                    "etcd = \"a\"\nmembers = \"{host}\"\nuser = \"a\"\npassword_file = \"a\"\n"
                ),
                "password",
                17,
            ),
        ] {
            let warning = format!(
                "8:{column} the {what} goes to `{name}` in plaintext: anybody on the way can read it (write it as https://)"
            );
            let warnings: &[&str] = if here { &[] } else { &[&warning] };
            check_warnings(&format!("{DISCOVER}{text}"), warnings);
        }
    }
    // Without a secret, there is none to be read.
    check_warnings(
        &format!("{DISCOVER}consul = \"a\"\nagents = \"http://a.internal\"\n"),
        &[],
    );
    check_warnings(
        &format!(
            "{DISCOVER}consul = \"a\"\nagents = \"https://a\"\ntls.dangerous_accept_any_certificate = true\n"
        ),
        &[
            "7:1 registries are not verified: anybody on the way can read and change everything (name the authority with ca = \"FILE\" instead, if you can)",
        ],
    );
}

#[test]
fn files_of_discovery_keep_their_places() {
    let text = format!("{DISCOVER}file = \"endpoints.toml\"\n");
    let files = loaded(&text).files;
    let place = &files[&PathBuf::from("/etc/umay/endpoints.toml")];
    assert_eq!(place.to_string(), "/etc/umay/umay.toml:5:8");
}

#[test]
fn tls_to_endpoints_that_are_discovered() {
    let tls = |text: &str| format!("{DISCOVER}{text}[upstream.app.tls]\nca = \"ca\"\n");
    check(&tls("srv = \"a\"\nscheme = \"https\"\n"), &[]);
    check(
        &tls("srv = \"a\"\nscheme = \"http\"\n"),
        &[
            "3:11 upstream `app` says how to speak TLS, but all its endpoints are in plaintext (add scheme = \"https\" (or h2, or tls) to its `discover`)",
        ],
    );
    // These can say it of each endpoint.
    for source in ["file", "consul", "etcd"] {
        check(&tls(&format!("{source} = \"a\"\n")), &[]);
    }
}
