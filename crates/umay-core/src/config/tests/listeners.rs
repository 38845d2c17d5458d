//! Listeners: addresses, certificates, client certificates, proxies in front.

use super::*;
use crate::model::{CertificatePair, ClientAuth};

const TO: &str = "to = \"127.0.0.1:1\"\n";
const SECURE: &str = "[[listener]]\nlisten = \"127.0.0.1:1\"\ncert = \"a\"\nkey = \"a\"\n";

fn pair(cert: &str, key: &str) -> CertificatePair {
    let path = |name: &str| PathBuf::from("/etc/umay").join(name);
    CertificatePair {
        cert: path(cert),
        key: path(key),
    }
}

#[test]
fn a_listener_in_full() {
    let text = format!(
        "{TO}[[listener]]\nname = \"public\"\nlisten = \":443\"\ncert = [\"a.pem\", \"b.pem\"]\nkey = [\"a.key\", \"b.pem\"]\n\
         certs = [\"certs\", {{ cert = \"c.pem\", key = \"c.key\" }}]\ntls_min = \"1.3\"\nforwarded = true\ntransparent = true\n\
         trusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\"]\n\
         [listener.default_cert]\ncert = \"d.pem\"\nkey = \"d.key\"\n\
         [listener.client_auth]\nca = \"ca.pem\"\ncrl = \"ca.crl\"\nmode = \"optional\"\n\
         [[listener]]\nlisten = \"127.0.0.1:80\"\n"
    );
    let model = model(&text);
    let public = &model.listeners["public"];
    assert_eq!(public.bind.to_string(), "0.0.0.0:443");
    assert!(public.forwarded && public.transparent);
    let nets: Vec<_> = public
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(nets, ["10.0.0.0/8", "2001:db8::1/128"]);
    let tls = public.tls.as_ref().unwrap();
    assert!(tls.only_tls13);
    assert_eq!(tls.default, Some(pair("d.pem", "d.key")));
    assert_eq!(
        tls.client_auth,
        Some(ClientAuth {
            ca: PathBuf::from("/etc/umay/ca.pem"),
            crl: Some(PathBuf::from("/etc/umay/ca.crl")),
            required: false,
        })
    );
    assert_eq!(
        tls.certificates,
        [
            CertificateSource::Pair(pair("a.pem", "a.key")),
            CertificateSource::Pair(pair("b.pem", "b.pem")),
            CertificateSource::Dir(PathBuf::from("/etc/umay/certs")),
            CertificateSource::Pair(pair("c.pem", "c.key")),
        ]
    );
    let plain = &model.listeners["127.0.0.1:80"];
    assert!(plain.tls.is_none() && plain.trusted_proxies.is_empty());
    assert!(!plain.forwarded && !plain.transparent);
}

#[test]
fn what_is_left_out_is_strict() {
    let model = model(&format!("{TO}{SECURE}client_auth = {{ ca = \"ca\" }}\n"));
    let tls = model.listeners["127.0.0.1:1"].tls.as_ref().unwrap();
    assert!(tls.client_auth.as_ref().unwrap().required);
    assert!(!tls.only_tls13);
}

#[test]
fn the_admin_listener_and_the_logs() {
    let admin = |value: &str| model(&format!("{BASE}admin.bind = {value}\n")).admin;
    assert_eq!(admin("\"off\""), None);
    assert_eq!(admin("\":1\""), Some("0.0.0.0:1".parse().unwrap()));
    let access = |value: &str| model(&format!("{BASE}log.access = {value}\n")).log.access;
    assert_eq!(access("\"off\""), AccessLog::Off);
    assert_eq!(access("\"stdout\""), AccessLog::Stdout);
    let at = |path: &str| AccessLog::File(PathBuf::from(path));
    assert_eq!(access("\"access.log\""), at("/etc/umay/access.log"));
    assert_eq!(access("\"/dev/stderr\""), at("/dev/stderr"));
    for (text, error) in [
        (
            "admin.bind = \"Off\"\n",
            "3:14 `Off` is no address and port, as in \"0.0.0.0:443\", \"[::]:443\" or \":443\"",
        ),
        (
            "admin.bind = false\n",
            "3:14 expected text, found true or false (as in bind = \"off\")",
        ),
        (
            "admin.listen = \"off\"\n",
            "3:7 there is no key `admin.listen` (it is called `bind` here)",
        ),
        (
            "log.access = \"stderr\"\n",
            "3:14 `stderr` is none of `stdout`, `off` and `syslog` (a file is written as \"./stderr\")",
        ),
        (
            "log.access = \"Off\"\n",
            "3:14 `Off` is none of `stdout`, `off` and `syslog` (a file is written as \"./Off\")",
        ),
        ("log.access = \"\"\n", "3:14 this names no file"),
        (
            "log.level = \"verbose\"\n",
            "3:13 `verbose` is no level; there are off, error, warn, info, debug and trace",
        ),
        (
            "timeouts.header = \"0s\"\n",
            "3:19 `timeouts.header` cannot be zero",
        ),
        (
            "timeouts.header = 5\n",
            "3:19 a duration needs its unit (write \"5s\" or \"5ms\")",
        ),
        (
            "limits.head = 1023\n",
            "3:15 this has to be from 1024 to 1048576",
        ),
        (
            "limits.head = \"2MiB\"\n",
            "3:15 this has to be from 1024 to 1048576",
        ),
        (
            "limits.fields = \"1KiB\"\n",
            "3:17 expected a number, found text (as in fields = 200)",
        ),
        (
            "limits.connections = 0\n",
            "3:22 this has to be from 1 to 100000000",
        ),
        ("limits.body = -1\n", "3:15 this has to be 0 or more"),
        ("workers = 1025\n", "3:11 this has to be from 1 to 1024"),
        (
            "workers = 99999999999999999999\n",
            "3:11 expected a number, found a number that is too large (as in workers = 2)",
        ),
    ] {
        check(&format!("{BASE}{text}"), &[error]);
    }
    let text = "timeouts.drain = \"0s\"\nlimits.pool = 0\nlimits.body = 0\nlimits.head = \"1MiB\"\nworkers = 1024\n";
    let model = model(&format!("{BASE}{text}"));
    assert!(model.timeouts.drain.is_zero());
    assert_eq!((model.limits.pool, model.limits.body), (0, Some(0)));
}

#[test]
fn the_socket_for_what_changes_state() {
    let socket = |value: &str| model(&format!("{BASE}admin.socket = \"{value}\"\n")).admin_socket;
    assert_eq!(socket("off"), None);
    assert_eq!(
        socket("/run/umay.sock"),
        Some(PathBuf::from("/run/umay.sock"))
    );
    let at = |name: &str| Some(PathBuf::from("/etc/umay").join(name));
    assert_eq!(socket("umay.sock"), at("umay.sock"));
    // What counts is where it comes to lie, in bytes.
    let before = "/etc/umay/".len();
    let longest = "s".repeat(107 - before);
    assert_eq!(socket(&longest), at(&longest));
    for name in [
        "s".repeat(108 - before),
        format!("s{}", "\u{fc}".repeat(49)),
    ] {
        let bytes = name.len() + before;
        check(
            &format!("{BASE}admin.socket = \"{name}\"\n"),
            &[&format!(
                "3:16 the path of this socket has {bytes} bytes, and no socket can have more than 107 (put it nearer to the root, as in \"/run/umay.sock\")"
            )],
        );
    }
    check(
        &format!("{BASE}admin.socket = \"\"\n"),
        &["3:16 this names no file"],
    );
}

#[test]
fn how_names_are_resolved() {
    let dns = |text: &str| model(&format!("{BASE}[dns]\n{text}")).dns;
    let s = std::time::Duration::from_secs;
    let full = dns(
        "servers = [\"10.0.0.53\", \"[::1]:5353\"]\nmin_ttl = \"5s\"\nmax_ttl = \"5s\"\ntimeout = \"1s\"\ngrace = \"0s\"\n",
    );
    let servers: Vec<_> = full.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.53:53", "[::1]:5353"]);
    assert_eq!((full.min_ttl, full.max_ttl), (s(5), s(5)));
    assert_eq!((full.timeout, full.grace), (s(1), s(0)));
    // The longest follows the shortest, if it is not told.
    let long = dns("min_ttl = \"1m\"\n");
    assert_eq!((long.min_ttl, long.max_ttl), (s(60), s(60)));
    for (text, error) in [
        (
            "servers = []\n",
            "4:11 this is empty (leave the key out to ask the system's servers)",
        ),
        (
            "servers = [\"10.0.0.53\", \"dns.example\"]\n",
            "4:25 `dns.example` is no address, as in \"10.0.0.53\" or \"[2001:db8::53]:53\"",
        ),
        ("min_ttl = \"0s\"\n", "4:11 `dns.min_ttl` cannot be zero"),
        ("timeout = \"0s\"\n", "4:11 `dns.timeout` cannot be zero"),
        (
            "min_ttl = \"6s\"\nmax_ttl = \"5s\"\n",
            "5:1 `max_ttl` is shorter than `min_ttl` (raise max_ttl, or lower min_ttl)",
        ),
        (
            "server = \"a\"\n",
            "4:1 there is no key `dns.server` (did you mean `servers`?)",
        ),
    ] {
        check(&format!("{BASE}[dns]\n{text}"), &[error]);
    }
}

#[test]
fn a_whole_request_has_a_deadline_only_if_asked_for() {
    let total = |text: &str| model(&format!("{BASE}{text}")).timeouts.total;
    assert_eq!(total(""), None);
    assert_eq!(
        total("timeouts.total = \"5m\"\n"),
        Some(std::time::Duration::from_secs(300))
    );
    check(
        &format!("{BASE}timeouts.total = \"0s\"\n"),
        &["3:18 `timeouts.total` cannot be zero"],
    );
}

#[test]
fn all_addresses_have_the_port_of_each() {
    let listen = |a: &str, b: &str| {
        format!("listen = [\"{a}\", \"{b}\"]\nto = \"a:1\"\nadmin.bind = \"off\"\n")
    };
    for (a, b) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::1]:1", "[::]:1")] {
        let told = problems(&listen(a, b));
        assert_eq!(told.len(), 1);
        let expected = format!("{b} and {a} of listener `{a}` are one port");
        assert!(told[0].message.starts_with(&expected), "{}", told[0]);
    }
    for (a, b) in [
        ("0.0.0.0:1", "[::]:1"),
        ("0.0.0.0:1", "[::1]:1"),
        ("0.0.0.0:1", "127.0.0.1:2"),
        ("0.0.0.0:0", "127.0.0.1:0"),
        ("127.0.0.2:1", "127.0.0.1:1"),
    ] {
        check(&listen(a, b), &[]);
    }
    let admin = "listen = \"0.0.0.0:1\"\nto = \"a:1\"\nadmin.bind = \"127.0.0.1:1\"\n";
    check(
        admin,
        &[
            "1:10 listener `0.0.0.0:1` is where the admin listener is (give admin.bind another address, or \"off\")",
        ],
    );
}
