//! The small languages of upstreams, with the sentence for each mistake.

use super::super::scalar;
use super::scalars::table;
use super::*;
use crate::model::HashBy;

#[test]
fn keys_of_hashing() {
    let nothing = |text: &str| {
        format!(
            "`{text}` is nothing to hash by; there are client_ip, path, sni, header:NAME and cookie:NAME"
        )
    };
    table(
        scalar::hash_by,
        vec![
            ("client_ip", HashBy::ClientIp),
            ("path", HashBy::Path),
            ("sni", HashBy::Sni),
            ("header:X-Tenant", HashBy::Header("x-tenant".to_owned())),
            // Unlike those of headers, their case matters.
            ("cookie:Id", HashBy::Cookie("Id".to_owned())),
        ],
        &[
            ("", &nothing("")),
            ("ip", &nothing("ip")),
            ("path:/a", &nothing("path:/a")),
            ("header", "`header` needs its name, as in \"header:NAME\""),
            ("cookie", "`cookie` needs its name, as in \"cookie:NAME\""),
            ("header:", "`` is no name of a header"),
            ("header:a b", "`a b` is no name of a header"),
            ("cookie:", "`` is no name of a cookie"),
            ("cookie:a=b", "`a=b` is no name of a cookie"),
            ("cookie:a;b", "`a;b` is no name of a cookie"),
        ],
    );
}

#[test]
fn names_with_srv_records() {
    let name = |text: &str| text.to_owned();
    table(
        scalar::srv,
        vec![
            ("_http._tcp.App.internal", name("_http._tcp.app.internal")),
            ("web.service.consul.", name("web.service.consul.")),
        ],
        &[
            ("", "`` is no host name"),
            ("a b", "`a b` is no host name"),
            (
                "10.0.0.1",
                "`10.0.0.1` is an address, which has no SRV records",
            ),
            (
                "a:53",
                "`a:53` is more than a name; the records tell hosts and ports",
            ),
            (
                "http://a",
                "`http://a` is more than a name; the records tell hosts and ports",
            ),
        ],
    );
}

#[test]
fn registries() {
    table(
        scalar::registry,
        vec![
            ("http://a", Endpoint::new(Scheme::Http, "a", 80)),
            (
                "https://[::1]:8501",
                Endpoint::new(Scheme::Https, "::1", 8501),
            ),
        ],
        &[
            (
                "a:8500",
                "a registry speaks HTTP; write \"http://a:8500\" or \"https://a:8500\"",
            ),
            (
                "tcp://a:1",
                "`tcp://a:1`: a registry is asked over http:// or https://",
            ),
            (
                "h2://a",
                "`h2://a`: a registry is asked over http:// or https://",
            ),
            ("https://u:p@a", "an endpoint has no user name or password"),
        ],
    );
}

#[test]
fn servers_of_dns() {
    let at = |text: &str| text.parse().unwrap();
    let no = |text: &str| {
        format!("`{text}` is no address, as in \"10.0.0.53\" or \"[2001:db8::53]:53\"")
    };
    table(
        scalar::resolver,
        vec![
            ("10.0.0.53", at("10.0.0.53:53")),
            ("10.0.0.53:1", at("10.0.0.53:1")),
            ("::1", at("[::1]:53")),
            ("[::1]", at("[::1]:53")),
            ("[::1]:65535", at("[::1]:65535")),
        ],
        &[
            ("", &no("")),
            ("localhost", &no("localhost")),
            ("dns.example:53", &no("dns.example:53")),
            ("10.0.0.53:65536", &no("10.0.0.53:65536")),
            ("10.0.0.53:0", "port 0 is no place to ask"),
            ("[::1]:0", "port 0 is no place to ask"),
        ],
    );
}

#[test]
fn ranges_of_statuses() {
    let no = |text: &str| {
        format!("`{text}` is no status and no range of them, as in 200 or \"200-299\"")
    };
    let outside = |text: &str| format!("`{text}`: an answer ends with a status from 200 to 599");
    table(
        scalar::statuses,
        vec![
            ("200", (200, 200)),
            ("599", (599, 599)),
            ("200-299", (200, 299)),
            ("200 - 599", (200, 599)),
            ("404-404", (404, 404)),
        ],
        &[
            ("", &no("")),
            ("2xx", &no("2xx")),
            ("+200", &no("+200")),
            ("0200", &no("0200")),
            ("-5", &no("-5")),
            ("200-", &no("200-")),
            ("199", &outside("199")),
            ("600", &outside("600")),
            ("200-600", &outside("200-600")),
            ("299-200", "`299-200` is empty; write \"200-299\""),
        ],
    );
}

#[test]
fn paths_that_are_asked_for() {
    table(
        scalar::target,
        vec![("/", "/".to_owned()), ("/a?b=c", "/a?b=c".to_owned())],
        &[
            ("", "the path `` has to begin with `/`"),
            ("a", "the path `a` has to begin with `/`"),
            (
                "/a b",
                "the path `/a b` has a character that no path has; escape it as %XX",
            ),
            (
                "/#a",
                "the path `/#a` has a character that no path has; escape it as %XX",
            ),
        ],
    );
}
