//! Who is believed, and what the endpoint is told.

use proptest::prelude::*;

use super::*;
use crate::message::Request;

const TRUSTED: &[&str] = &["10.0.0.0/8", "2001:db8:ffff::/48"];

fn request(fields: &[(&str, &str)]) -> Request {
    let mut request = Request::default();
    request.authority = request.fields.store(b"shop.example");
    for (name, value) in fields {
        request.fields.push(name.as_bytes(), value.as_bytes());
    }
    request
}

fn decide(peer: &str, forwarded: bool, secure: bool, fields: &[(&str, &str)]) -> Forwarded {
    let trusted: Vec<_> = TRUSTED.iter().map(|net| net.parse().unwrap()).collect();
    let trusted = &trusted[..];
    let policy = Policy { trusted, forwarded };
    let peer = std::net::SocketAddr::new(peer.parse().unwrap(), 4711);
    policy.decide(peer, secure, &request(fields), 0xabc)
}

fn written(forwarded: &Forwarded, authority: &[u8]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    forwarded.write(authority, &mut |name, value| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        out.push((text(name), text(value)));
    });
    out
}

fn value<'a>(written: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = written.iter().find(|(have, _)| have == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn an_untrusted_peer_is_the_client() {
    let said = decide(
        "192.0.2.7",
        true,
        true,
        &[
            ("X-Forwarded-For", "10.0.0.1, 203.0.113.9"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "for=203.0.113.9"),
            ("X-Request-Id", "mine"),
        ],
    );
    assert_eq!(said.client_ip.to_string(), "192.0.2.7");
    assert!(said.secure);
    let id = "00000000000000000000000000000abc";
    let pairs = [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Request-Id", id),
        (
            "Forwarded",
            "for=192.0.2.7;host=\"shop.example\";proto=https",
        ),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(written(&said, b"shop.example"), pairs);
}

#[test]
fn without_a_host_none_is_claimed() {
    let out = written(&decide("192.0.2.7", true, false, &[]), b"");
    assert_eq!(value(&out, "X-Forwarded-Host"), None);
    assert_eq!(value(&out, "Forwarded"), Some("for=192.0.2.7;proto=http"));
}

#[test]
fn the_list_is_walked_from_the_right() {
    let check = |lists: &[&str], client: &str, sent: &str| {
        let fields: Vec<_> = lists
            .iter()
            .map(|list| ("X-Forwarded-For", *list))
            .collect();
        let said = decide("10.0.0.1", false, false, &fields);
        assert_eq!(said.client_ip.to_string(), client, "{lists:?}");
        let out = written(&said, b"h");
        assert_eq!(value(&out, "X-Forwarded-For"), Some(sent), "{lists:?}");
    };
    check(&[], "10.0.0.1", "10.0.0.1");
    check(&[""], "10.0.0.1", "10.0.0.1");
    check(&["203.0.113.9"], "203.0.113.9", "203.0.113.9, 10.0.0.1");
    check(
        &["6.6.6.6, 203.0.113.9,10.9.9.9 "],
        "203.0.113.9",
        "6.6.6.6, 203.0.113.9,10.9.9.9 , 10.0.0.1",
    );
    check(
        &["6.6.6.6, 203.0.113.9", "10.9.9.9"],
        "203.0.113.9",
        "6.6.6.6, 203.0.113.9, 10.9.9.9, 10.0.0.1",
    );
    check(
        &["10.1.1.1, 10.2.2.2"],
        "10.1.1.1",
        "10.1.1.1, 10.2.2.2, 10.0.0.1",
    );
    check(
        &["6.6.6.6, unknown, 10.2.2.2"],
        "10.2.2.2",
        "6.6.6.6, unknown, 10.2.2.2, 10.0.0.1",
    );
    check(
        &["6.6.6.6, nonsense"],
        "10.0.0.1",
        "6.6.6.6, nonsense, 10.0.0.1",
    );
    check(
        &["203.0.113.9:8080"],
        "203.0.113.9",
        "203.0.113.9:8080, 10.0.0.1",
    );
    check(
        &["[2001:db8::1]:443,"],
        "2001:db8::1",
        "[2001:db8::1]:443,, 10.0.0.1",
    );
    check(&["2001:db8::1"], "2001:db8::1", "2001:db8::1, 10.0.0.1");
    check(
        &["::ffff:203.0.113.9"],
        "203.0.113.9",
        "::ffff:203.0.113.9, 10.0.0.1",
    );
}

#[test]
fn a_mapped_peer_is_known_by_its_ipv4_address() {
    let said = decide(
        "::ffff:10.0.0.1",
        false,
        false,
        &[("X-Forwarded-For", "192.0.2.1")],
    );
    assert_eq!(said.client_ip.to_string(), "192.0.2.1");
    let out = written(&said, b"h");
    assert_eq!(value(&out, "X-Forwarded-For"), Some("192.0.2.1, 10.0.0.1"));
}

#[test]
fn a_trusted_proxy_says_scheme_and_host() {
    for (proto, secure) in [
        ("https", true),
        ("HTTPS", true),
        ("http", false),
        ("ws", false),
    ] {
        let fields = [
            ("X-Forwarded-Proto", proto),
            ("X-Forwarded-Host", "a.example"),
        ];
        let said = decide("10.0.0.1", false, false, &fields);
        assert_eq!(said.secure, secure, "{proto}");
        let out = written(&said, b"h");
        let sent = if secure { "https" } else { "http" };
        assert_eq!(value(&out, "X-Forwarded-Proto"), Some(sent));
        assert_eq!(value(&out, "X-Forwarded-Host"), Some("a.example"));
        assert_eq!(value(&out, "Forwarded"), None);
    }
}

#[test]
fn forwarded_is_read_when_it_stands_alone() {
    let check = |list: &str, client: &str, secure: bool| {
        let said = decide("10.0.0.1", true, false, &[("Forwarded", list)]);
        assert_eq!(said.client_ip.to_string(), client, "{list}");
        assert_eq!(said.secure, secure, "{list}");
        written(&said, b"h")
    };
    let out = check(
        "for=192.0.2.1;proto=https;host=\"a.example:8443\"",
        "192.0.2.1",
        true,
    );
    assert_eq!(value(&out, "X-Forwarded-For"), Some("192.0.2.1, 10.0.0.1"));
    assert_eq!(value(&out, "X-Forwarded-Host"), Some("a.example:8443"));
    let sent =
        "for=192.0.2.1;proto=https;host=\"a.example:8443\", for=10.0.0.1;host=\"h\";proto=http";
    assert_eq!(value(&out, "Forwarded"), Some(sent));
    check(
        "for=6.6.6.6, For=\"[2001:db8::1]:47011\" ; proto=HTTPS",
        "2001:db8::1",
        true,
    );
    check(
        "for=192.0.2.1;proto=https, for=10.2.2.2;proto=http",
        "192.0.2.1",
        true,
    );
    check("for=6.6.6.6, for=_hidden;proto=https", "10.0.0.1", true);
    check("for=6.6.6.6, for=unknown", "10.0.0.1", false);
    check(
        "for=192.0.2.1;ext=\"a,b;for=\\\"6.6.6.6\\\"\"",
        "192.0.2.1",
        false,
    );
    check("for=192.0.2.1;host=\"a", "10.0.0.1", false);
    check("for=192.0.2.1;nonsense", "10.0.0.1", false);
    check("", "10.0.0.1", false);
}

#[test]
fn x_forwarded_for_counts_before_forwarded() {
    let fields = [
        ("Forwarded", "for=6.6.6.6"),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    let said = decide("10.0.0.1", false, false, &fields);
    assert_eq!(said.client_ip.to_string(), "192.0.2.1");
    assert_eq!(value(&written(&said, b"h"), "Forwarded"), None);
}

#[test]
fn forwarded_tells_of_the_client_of_a_proxy_that_does_not_send_it() {
    let fields = [
        ("X-Forwarded-For", "2001:db8::1"),
        ("X-Forwarded-Proto", "https"),
    ];
    let out = written(&decide("10.0.0.1", true, false, &fields), b"h\"");
    let sent = "for=\"[2001:db8::1]\";proto=https, for=10.0.0.1;host=\"h\\\"\";proto=http";
    assert_eq!(value(&out, "Forwarded"), Some(sent));
}

#[test]
fn a_request_id_is_taken_from_trusted_peers_if_it_is_fit() {
    let long = "a".repeat(128);
    let longer = "a".repeat(129);
    for (sent, taken) in [
        ("a", true),
        ("Az09._-", true),
        (long.as_str(), true),
        (longer.as_str(), false),
        ("", false),
        ("a b", false),
        ("a,b", false),
        ("\u{e9}", false),
    ] {
        let said = decide("10.0.0.1", false, false, &[("X-Request-Id", sent)]);
        assert_eq!(said.request_id.as_str() == sent, taken, "{sent}");
    }
    let id = RequestId::new(u128::MAX - 0xe).to_string();
    assert_eq!(id, "fffffffffffffffffffffffffffffff1");
    let id = RequestId::new(0x0123_4567_89ab_cdef_0000_0000_0000_9a90);
    assert_eq!(id.as_str(), "0123456789abcdef0000000000009a90");
    assert_eq!(id.as_bytes(), id.as_str().as_bytes());
}

#[test]
fn impostors_are_replaced() {
    let untrusted = decide("192.0.2.1", false, false, &[]);
    let trusted = decide("10.0.0.1", false, false, &[]);
    for (name, from_untrusted, from_trusted) in [
        ("X-Forwarded-For", true, true),
        ("x-forwarded-host", true, true),
        ("X-Forwarded-Proto", true, true),
        ("Forwarded", true, true),
        ("X-Request-Id", true, true),
        ("X-Real-IP", true, false),
        ("X-Forwarded-Port", true, false),
        ("X_Forwarded_For", true, false),
        ("x-forwarded_for", true, false),
        ("x_real_ip", true, false),
        ("x_request_id", true, false),
        ("x_request_idle", false, false),
        ("x-real-ip-not", false, false),
        ("x-forward", false, false),
        ("x-other", false, false),
        ("x", false, false),
        ("host", false, false),
    ] {
        let id = FieldId::of(name.as_bytes());
        assert_eq!(
            untrusted.replaces(id, name.as_bytes()),
            from_untrusted,
            "{name}"
        );
        assert_eq!(
            trusted.replaces(id, name.as_bytes()),
            from_trusted,
            "{name}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_sent_can_be_read_back(
        client in any::<std::net::IpAddr>(),
        host in "[!-~]{1,20}",
    ) {
        let first = written(&decide(&client.to_string(), true, true, &[]), host.as_bytes());
        let sent = value(&first, "Forwarded").unwrap();
        let behind = decide("10.0.0.1", false, false, &[("Forwarded", sent)]);
        prop_assert_eq!(behind.client_ip, client.to_canonical());
        prop_assert!(behind.secure);
        let second = written(&behind, b"h");
        prop_assert_eq!(value(&second, "X-Forwarded-Host"), Some(host.as_str()));
    }

    #[test]
    fn garbage_from_a_trusted_peer_never_panics(values in prop::collection::vec("[ -~]{0,40}", 0..6)) {
        const NAMES: [&str; 3] = ["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto"];
        let named = values.iter().zip(NAMES.iter().cycle());
        let fields: Vec<_> = named.map(|(value, name)| (*name, value.as_str())).collect();
        written(&decide("10.0.0.1", true, false, &fields), b"h");
    }
}
