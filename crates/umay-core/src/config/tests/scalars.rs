//! The small languages inside of values, with the sentence for each mistake.

use std::fmt::Debug;
use std::time::Duration;

use super::super::scalar;
use super::*;
use crate::model::{HostPattern, PathPattern};

#[track_caller]
pub(super) fn table<T: Debug + PartialEq>(
    read: impl Fn(&str) -> Result<T, String>,
    good: Vec<(&str, T)>,
    bad: &[(&str, &str)],
) {
    for (text, value) in good {
        assert_eq!(read(text), Ok(value), "{text}");
    }
    for (text, sentence) in bad {
        assert_eq!(read(text), Err((*sentence).to_owned()), "{text}");
    }
}

#[test]
fn durations() {
    let s = Duration::from_secs;
    let ms = Duration::from_millis;
    table(
        scalar::duration,
        vec![
            ("300ms", ms(300)),
            ("0s", s(0)),
            ("15s", s(15)),
            ("15 s", s(15)),
            ("2m", s(120)),
            ("1h", s(3600)),
            ("7d", s(7 * 86_400)),
            ("366d", s(366 * 86_400)),
            ("31622400000ms", s(366 * 86_400)),
        ],
        &[
            (
                "",
                "`` is no duration; write it as \"300ms\", \"15s\", \"2m\" or \"1h\"",
            ),
            (
                "-5s",
                "`-5s` is no duration; write it as \"300ms\", \"15s\", \"2m\" or \"1h\"",
            ),
            (
                "soon",
                "`soon` is no duration; write it as \"300ms\", \"15s\", \"2m\" or \"1h\"",
            ),
            ("5", "`5` needs a unit, as in \"5s\" or \"5ms\""),
            ("5S", "`S` is no unit of time; there are ms, s, m, h and d"),
            (
                "5 seconds",
                "`seconds` is no unit of time; there are ms, s, m, h and d",
            ),
            (
                "1h30m",
                "`h30m` is no unit of time; there are ms, s, m, h and d",
            ),
            (
                "1.5s",
                "`1.5s` is no whole number; there are ms, s, m, h and d",
            ),
            ("367d", "`367d` is more than a year"),
            ("31622400001ms", "`31622400001ms` is more than a year"),
            (
                "18446744073709551615ms",
                "`18446744073709551615ms` is more than a year",
            ),
            (
                "18446744073709551615d",
                "`18446744073709551615d` is more than a year",
            ),
        ],
    );
}

#[test]
fn sizes() {
    table(
        scalar::size,
        vec![
            ("0", 0),
            ("1024", 1024),
            ("7B", 7),
            ("32KiB", 32 << 10),
            ("32 kib", 32 << 10),
            ("10MiB", 10 << 20),
            ("10m", 10 << 20),
            ("1g", 1 << 30),
            ("17179869183GiB", 17_179_869_183 << 30),
        ],
        &[
            (
                "",
                "`` is no size; write it as 1024, \"32KiB\" or \"10MiB\"",
            ),
            (
                "-1",
                "`-1` is no size; write it as 1024, \"32KiB\" or \"10MiB\"",
            ),
            (
                "KiB",
                "`KiB` is no size; write it as 1024, \"32KiB\" or \"10MiB\"",
            ),
            ("1MB", "`MB` means two things; write KiB, MiB or GiB"),
            (
                "1TiB",
                "`TiB` is no unit of size; there are KiB, MiB and GiB",
            ),
            (
                "1.5MiB",
                "`1.5MiB` is no whole number; there are KiB, MiB and GiB",
            ),
            ("17179869184GiB", "`17179869184GiB` is too large"),
        ],
    );
}

#[test]
fn addresses() {
    let at = |text: &str| text.parse().unwrap();
    table(
        scalar::address,
        vec![
            ("127.0.0.1:8443", at("127.0.0.1:8443")),
            ("127.0.0.1:0", at("127.0.0.1:0")),
            (":443", at("0.0.0.0:443")),
            ("[::]:443", at("[::]:443")),
            ("[::1]:65535", at("[::1]:65535")),
        ],
        &[
            (
                "443",
                "`443` is a port without an address; write \":443\" for all addresses",
            ),
            (
                "127.0.0.1",
                "`127.0.0.1` has no port, as in \"0.0.0.0:443\" or \"[::]:443\"",
            ),
            (
                "::1",
                "`::1` has no port, as in \"0.0.0.0:443\" or \"[::]:443\"",
            ),
            (
                "*:443",
                "for all addresses write \":443\", or \"[::]:443\" for IPv6 too",
            ),
            (
                "localhost:80",
                "`localhost:80` has a name for an address; write the address, as in \"127.0.0.1:443\"",
            ),
            (
                "http://0.0.0.0:80",
                "`http://0.0.0.0:80` is a URL; a listener has an address and a port, as in \"0.0.0.0:443\"",
            ),
            (
                "127.0.0.1:65536",
                "`127.0.0.1:65536` is no address and port, as in \"0.0.0.0:443\", \"[::]:443\" or \":443\"",
            ),
            (
                ":",
                "`:` is no address and port, as in \"0.0.0.0:443\", \"[::]:443\" or \":443\"",
            ),
            (
                "",
                "`` is no address and port, as in \"0.0.0.0:443\", \"[::]:443\" or \":443\"",
            ),
        ],
    );
}

#[test]
fn endpoints() {
    let to = |scheme, host: &str, port| Endpoint::new(scheme, host, port);
    table(
        scalar::endpoint,
        vec![
            ("127.0.0.1:3000", to(Scheme::Detected, "127.0.0.1", 3000)),
            (
                "App_1.Internal:1",
                to(Scheme::Detected, "app_1.internal", 1),
            ),
            (
                "[2001:DB8::1]:65535",
                to(Scheme::Detected, "2001:db8::1", 65_535),
            ),
            ("http://a", to(Scheme::Http, "a", 80)),
            ("http://a:3000/", to(Scheme::Http, "a", 3000)),
            ("https://[::1]", to(Scheme::Https, "::1", 443)),
            ("tcp://a:1883", to(Scheme::Tcp, "a", 1883)),
            ("tls://a:8883", to(Scheme::Tls, "a", 8883)),
        ],
        &[],
    );
    let long = format!("{}.example", "a".repeat(64));
    assert!(scalar::endpoint(&format!("{long}:1")).is_err());
    assert!(scalar::endpoint(&format!("{}:1", &long[1..])).is_ok());
}

#[test]
fn mistakes_in_endpoints() {
    table(
        scalar::endpoint,
        vec![],
        &[
            ("", "`` names no host, as in \"127.0.0.1:3000\""),
            (":3000", "`:3000` names no host, as in \"127.0.0.1:3000\""),
            ("http://", "`` names no host, as in \"127.0.0.1:3000\""),
            ("a", "`a` has no port, as in \"a:3000\""),
            ("tcp://a", "`tcp://a` has no port, as in \"tcp://a:3000\""),
            ("tls://a/", "`tls://a` has no port, as in \"tls://a:3000\""),
            ("a:0", "port 0 is no place to connect to"),
            ("a:65536", "`65536` is no port"),
            ("a:+80", "`+80` is no port"),
            ("a:", "`` is no port"),
            (
                "a:1,b:2",
                "`a:1,b:2` has a comma; several endpoints are a list: [\"a:1\", \"b:2\"]",
            ),
            (
                "::1:80",
                "an IPv6 address needs brackets: \"[::1:80]:PORT\"",
            ),
            ("[::1:80", "a `]` is missing"),
            ("[a]:80", "`a` is no IPv6 address"),
            ("[::1]80", "`80` is not expected behind the host"),
            ("a b:80", "`a b` is no host name"),
            (
                "-:80/x",
                "an endpoint has no path; to change paths, use rewrite_prefix in a route",
            ),
            (
                "http://a/api",
                "an endpoint has no path; to change paths, use rewrite_prefix in a route",
            ),
            ("http://u:p@a", "an endpoint has no user name or password"),
            ("256.0.0.1:80", "`256.0.0.1` is no IPv4 address"),
            ("10.0.0:80", "`10.0.0` is no IPv4 address"),
            (
                "b\u{fc}cher.example:80",
                "`b\u{fc}cher.example` has to be written in its ASCII form, which begins with xn--",
            ),
            (
                "ftp://a",
                "`ftp://` is no way to speak to an endpoint; there are http://, https://, h2c://, h2://, tcp:// and tls://",
            ),
            ("wss://a", "`wss://` goes over `https://`; write that"),
            ("mqtts://a", "`mqtts://` goes over `tls://`; write that"),
            ("grpc://a", "`grpc://` goes over `h2c://`; write that"),
            (
                "unix:/run/a",
                "sockets in the file system cannot be endpoints yet",
            ),
            (
                "/run/a",
                "sockets in the file system cannot be endpoints yet",
            ),
        ],
    );
}

#[test]
fn hosts() {
    let exact = |name: &str| HostPattern::Exact(name.to_owned());
    table(
        scalar::host,
        vec![
            ("*", HostPattern::Any),
            ("A.example", exact("a.example")),
            ("a.example.", exact("a.example")),
            (
                "*.Example.com",
                HostPattern::Wildcard("example.com".to_owned()),
            ),
            ("10.0.0.1", exact("10.0.0.1")),
            ("[2001:DB8:0::1]", exact("2001:db8::1")),
            ("xn--bcher-kva.example", exact("xn--bcher-kva.example")),
        ],
        &[
            ("", "`` is no host name"),
            (
                "https://a.example",
                "`https://a.example` is a URL; a host is only its name",
            ),
            (
                "a.example:443",
                "a host has no port here; write `a.example`",
            ),
            (
                "a*.example",
                "`a*.example`: a `*` can only be the whole first label, as in *.example.com",
            ),
            (
                "a.*",
                "`a.*`: a `*` can only be the whole first label, as in *.example.com",
            ),
            ("*.*.example", "`*.example` is no host name"),
            ("a..example", "`a..example` is no host name"),
            ("a.example/x", "`a.example/x` is no host name"),
            ("1.2.3", "`1.2.3` is no IPv4 address"),
        ],
    );
    table(
        scalar::server_name,
        vec![("a.example", exact("a.example")), ("*", HostPattern::Any)],
        &[(
            "10.0.0.1",
            "`10.0.0.1` is an address, and a TLS hello names none; leave sni out to match without a name",
        )],
    );
    table(
        scalar::authority,
        vec![("app.internal", ()), ("app:8080", ()), ("[::1]:80", ())],
        &[
            (
                "http://app",
                "`http://app` is more than a host; write it as \"app.internal\" or \"app.internal:8080\"",
            ),
            (
                "app/",
                "`app/` is more than a host; write it as \"app.internal\" or \"app.internal:8080\"",
            ),
            ("", "`` names no host, as in \"127.0.0.1:3000\""),
            ("a b", "`a b` is no host name"),
        ],
    );
}

#[test]
fn paths() {
    let prefix = |path: &str| PathPattern::Prefix(path.to_owned());
    let exact = |path: &str| PathPattern::Exact(path.to_owned());
    table(
        scalar::path,
        vec![
            ("/", prefix("")),
            ("/api", prefix("/api")),
            ("/api/", prefix("/api")),
            ("=/", exact("/")),
            ("=/api/", exact("/api/")),
            ("/a%20b", prefix("/a%20b")),
        ],
        &[
            (
                "api",
                "the path `api` has to begin with `/`, or with `=/` to match exactly",
            ),
            (
                "",
                "the path `` has to begin with `/`, or with `=/` to match exactly",
            ),
            (
                "=",
                "the path `=` has to begin with `/`, or with `=/` to match exactly",
            ),
            (
                "/a?b",
                "the path `/a?b` has a character that no path has; escape it as %XX",
            ),
            (
                "/a b",
                "the path `/a b` has a character that no path has; escape it as %XX",
            ),
            (
                "/\u{fc}",
                "the path `/\u{fc}` has a character that no path has; escape it as %XX",
            ),
            (
                "/a/*",
                "the path `/a/*` has a `*`, which matches only itself; `/a` matches all below /a already",
            ),
            (
                "/a/../b",
                "the path `/a/../b` has dot segments, which no request has",
            ),
            (
                "/a/%2e%2e",
                "the path `/a/%2e%2e` has dot segments, which no request has",
            ),
        ],
    );
    table(
        scalar::plain_path,
        vec![("/", ()), ("/a", ())],
        &[
            ("=/a", "`=` belongs to paths that are matched; write \"/a\""),
            (
                "a",
                "the path `a` has to begin with `/`, or with `=/` to match exactly",
            ),
        ],
    );
}

#[test]
fn levels_of_the_log() {
    table(
        scalar::filter,
        vec![
            ("info", ()),
            ("WARN", ()),
            ("off", ()),
            ("info,umay=debug", ()),
            ("info, umay::tls=trace", ()),
            ("umay[conn{peer=1}]=debug", ()),
        ],
        &[
            (
                "verbose",
                "`verbose` is no level; there are off, error, warn, info, debug and trace",
            ),
            (
                "umay=loud",
                "`loud` is no level; there are off, error, warn, info, debug and trace",
            ),
            (
                "",
                "`` is no level; there are off, error, warn, info, debug and trace",
            ),
            (
                "info,",
                "`` is no level; there are off, error, warn, info, debug and trace",
            ),
        ],
    );
}
