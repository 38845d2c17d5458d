//! What files and registries write.

use umay_core::model::Scheme;

use super::super::consul::instances;
use super::super::document::{Kind, read};
use super::super::entry::{self, Gathered, brief, located, scale};
use super::super::etcd::{self, message};

#[test]
fn weights_are_scaled_in_proportion() {
    for (weight, most, scaled) in [
        (0, 0, 1),
        (0, 10, 1),
        (10, 10, 10),
        (1000, 1000, 1000),
        (1001, 1001, 1000),
        (65_535, 65_535, 1000),
        (32_768, 65_535, 500),
        (1, 65_535, 1),
        (u64::MAX, u64::MAX, 1000),
        (u64::MAX / 2, u64::MAX, 499),
    ] {
        assert_eq!(scale(weight, most), scaled, "{weight} of {most}");
    }
}

/// A registry cannot smuggle in anything but a host where a host belongs.
#[test]
fn a_host_is_nothing_but_a_host() {
    for (host, fine) in [
        ("10.0.0.1", true),
        ("::1", true),
        ("a.example", true),
        ("a_b.example", true),
        ("https://a.example", false),
        ("a.example:80", false),
        ("a.example/x", false),
        ("u@a.example", false),
        ("a.example#", false),
        ("a b", false),
        ("a\r\nX: y", false),
        ("a\0", false),
        ("a\u{202e}", false),
        ("unix:/run/x", false),
        ("/run/x", false),
        ("10.0.0.999", false),
        ("", false),
        ("[::1", false),
        ("0.0.0.0", false),
        ("::", false),
        ("255.255.255.255", false),
        ("224.0.0.1", false),
    ] {
        let found = located(host, 80, Scheme::Tcp);
        assert_eq!(found.is_ok(), fine, "{host:?}: {found:?}");
        if let Ok(endpoint) = found {
            assert_eq!(
                (endpoint.scheme, endpoint.host.as_str()),
                (Scheme::Tcp, host)
            );
        }
    }
    assert!(located("a.example", 0, Scheme::Tcp).is_err());
}

#[test]
fn quotes_are_short_and_tame() {
    assert_eq!(
        brief("a\u{1b}[31m\u{202e}\n`b`"),
        "a\\u{1b}[31m\\u{202e}\\u{a}`b`"
    );
    assert!(brief(&"x".repeat(10_000)).len() < 300);
}

#[test]
fn what_can_be_used_is_used() {
    let mut gathered = Gathered::default();
    let fine = || Ok(entry::Wanted::new(super::http("a.test", 1)));
    gathered.add("one", fine());
    gathered.add("two", Err("no port".to_owned()));
    gathered.add("three", Err("no host".to_owned()));
    let (wanted, complaint) = gathered.end().unwrap();
    assert_eq!(wanted.len(), 1);
    let complaint = complaint.unwrap();
    assert_eq!(
        complaint,
        "2 entries cannot be used, the first: two: no port"
    );
    let mut gathered = Gathered::default();
    gathered.add("two", Err("no port".to_owned()));
    assert_eq!(
        gathered.end().unwrap_err(),
        "an entry cannot be used: two: no port"
    );
    assert_eq!(Gathered::default().end(), Ok((Vec::new(), None)));
}

#[test]
fn memory_is_not_for_the_asking() {
    let many = format!("[{}0]", "[],".repeat(600_000));
    assert!(entry::json(many.as_bytes()).unwrap_err().contains("values"));
    let deep = "[".repeat(100_000);
    assert!(entry::json(deep.as_bytes()).is_err());
}

#[test]
fn values_in_etcd_have_many_forms() {
    let read = |value: &str| {
        let endpoint = etcd::endpoint(value.as_bytes(), Scheme::H2c).ok()?.endpoint;
        let (weight, zone) = (endpoint.weight, endpoint.zone.unwrap_or_default());
        Some(format!(
            "{:?} {}:{} {weight} {} {zone}",
            endpoint.scheme, endpoint.host, endpoint.port, endpoint.priority
        ))
    };
    for (value, expected) in [
        ("a.test:80", Some("H2c a.test:80 1 0 ")),
        (" https://a.test\n", Some("Https a.test:443 1 0 ")),
        (
            r#"{"to":"a.test:80","weight":9,"zone":"z","more":1}"#,
            Some("H2c a.test:80 9 0 z"),
        ),
        (
            r#"{"Addr":"a.test:80","Metadata":{"x":[1]}}"#,
            Some("H2c a.test:80 1 0 "),
        ),
        (r#"{"Op":1,"Addr":"[::1]:80"}"#, Some("H2c ::1:80 1 0 ")),
        (r#"{"to":"a.test:80","weight":1001}"#, None),
        (r#"{"to":"a.test:80","weight":-1}"#, None),
        (r#"{"to":"a.test:80","weight":1e300}"#, None),
        (r#"{"to":"a.test:80","zone":"a\u0000"}"#, None),
        (r#"{"to":7}"#, None),
        ("{}", None),
        ("{", None),
        ("", None),
        ("a.test", None),
        ("a.test:0", None),
    ] {
        assert_eq!(read(value).as_deref(), expected, "{value}");
    }
    assert!(etcd::endpoint(b"\xff:80", Scheme::Http).is_err());
    let long = format!("{}:80", "a".repeat(10_000));
    assert!(etcd::endpoint(long.as_bytes(), Scheme::Http).is_err());
}

#[test]
fn documents_list_endpoints() {
    let toml = r#"
        endpoints = [
            "127.0.0.1:80",
            { to = "https://a.test", weight = 2, priority = 1, zone = "a" },
        ]"#;
    let json = r#"{"endpoints": ["127.0.0.1:80",
        {"to": "https://a.test", "weight": 2, "priority": 1, "zone": "a"}]}"#;
    let toml = read(toml.as_bytes(), Kind::Toml, Scheme::Tcp).unwrap();
    let json = read(json.as_bytes(), Kind::Json, Scheme::Tcp).unwrap();
    assert_eq!(toml, json);
    let [first, second] = &toml[..] else { panic!() };
    assert_eq!(first.endpoint.scheme, Scheme::Tcp);
    assert_eq!(second.endpoint.scheme, Scheme::Https);
    assert_eq!((second.endpoint.weight, second.endpoint.priority), (2, 1));
    assert_eq!(second.endpoint.zone.as_deref(), Some("a"));
    assert!(
        read(b"endpoints = []", Kind::Toml, Scheme::Tcp)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn problems_in_documents_have_a_place() {
    for (kind, text, place, what) in [
        (Kind::Toml, "", (1, 1), "missing"),
        (Kind::Toml, "endpoints = [", (1, 14), "not TOML"),
        (Kind::Toml, "endpoints = 7", (1, 13), "a list"),
        (
            Kind::Toml,
            "endpoints = []\nmore = 1",
            (2, 1),
            "`more` is unknown",
        ),
        (
            Kind::Toml,
            "endpoints = [\n  \"a:1\",\n  \"b\"]",
            (3, 3),
            "no port",
        ),
        (Kind::Toml, "endpoints = [1.5]", (1, 14), "text or a table"),
        (
            Kind::Toml,
            "endpoints = [{ to = \"a:1\", wieght = 2 }]",
            (1, 14),
            "`wieght`",
        ),
        (
            Kind::Toml,
            "endpoints = [{ to = \"a:1\", weight = 0x7fff }]",
            (1, 14),
            "0 to 1000",
        ),
        (
            Kind::Toml,
            "endpoints = [{ weight = 1 }]",
            (1, 14),
            "`to` is missing",
        ),
        (Kind::Json, "", (1, 1), "not JSON"),
        (Kind::Json, "[]", (1, 1), "missing"),
        (Kind::Json, "{\"more\":1}", (1, 1), "`more`"),
        (
            Kind::Json,
            "{\"endpoints\":[\n \"a:1\",\n }",
            (3, 2),
            "not JSON",
        ),
        (
            Kind::Json,
            "{\"endpoints\" : [ \"a[\\\":1\" ]}",
            (1, 18),
            "no host name",
        ),
        (
            Kind::Json,
            "{\"endpoints\":[\"a:1\", {\"to\": \"a:1\", \"zone\": [1, 2]}]}",
            (1, 22),
            "`zone`",
        ),
        (
            Kind::Json,
            "{\"endpoints\":[{\"to\":\"a:1\"},{\"to\":\"é:1\"}]}",
            (1, 28),
            "xn--",
        ),
    ] {
        let problem = read(text.as_bytes(), kind, Scheme::Http).unwrap_err();
        assert_eq!(problem.place, place, "{text}: {}", problem.what);
        assert!(problem.what.contains(what), "{text}: {}", problem.what);
    }
    let problem = read(b"endpoints = [\n\"\xff\"]", Kind::Toml, Scheme::Http).unwrap_err();
    assert_eq!(problem.place, (2, 2));
    assert_eq!(problem.at("/a/b".as_ref()), "/a/b:2:2: this is not UTF-8");
}

#[test]
fn a_prefix_is_a_range_of_keys() {
    for (prefix, first, end) in [
        ("", "AA==", "AA=="),
        ("a", "YQ==", "Yg=="),
        ("/a/", "L2Ev", "L2Ew"),
    ] {
        let keys = message::Keys::below(prefix);
        assert_eq!((keys.first(), keys.end()), (first.into(), end.into()));
        assert!(keys.have(format!("{prefix}x").as_bytes()));
        assert!(keys.have(b"b") == prefix.is_empty());
    }
}

/// Good documents with a few bytes changed, cut or doubled, each in ten thousand ways: all are read or
/// refused, none does anything else.
#[test]
fn damage_is_refused_or_harmless() {
    let consul = br#"[{"Node":{"Address":"10.0.0.1"},"Service":{"ID":"a","Address":"","Port":80,
        "Meta":{"zone":"z"},"Weights":{"Passing":7}}},{"Service":{"Address":"::1","Port":65535}}]"#;
    let event =
        br#"{"result":{"header":{"revision":"8"},"events":[{"type":"DELETE","kv":{"key":"L2Ev"}},
        {"kv":{"key":"L2Ev","value":"eyJ0byI6ImE6MSJ9"}}]}}"#;
    let value = br#"{"to":"https://a.test:443","weight":7,"priority":1,"zone":"z"}"#;
    let json = br#"{"endpoints":["a:1",{"to":"[::1]:2","weight":0}]}"#;
    let toml = b"endpoints = [\n  'a:1', # one\n  { to = \"[::1]:2\", weight = 0x7 },\n]";
    let mut seed = 0x5eed_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    for _ in 0..10_000 {
        let mut damage = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                    1 => bytes[at] = br#"{}[]",:\\0-"#[random(11)],
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes.extend_from_within(at..),
                }
            }
            bytes
        };
        for wanted in instances(&damage(consul), Scheme::Http)
            .into_iter()
            .flat_map(|read| read.0)
        {
            check(&wanted);
        }
        message::said(&damage(event)).ok();
        if let Ok(wanted) = etcd::endpoint(&damage(value), Scheme::Http) {
            check(&wanted);
        }
        for (kind, text) in [(Kind::Json, &json[..]), (Kind::Toml, &toml[..])] {
            match read(&damage(text), kind, Scheme::Http) {
                Ok(list) => list.iter().for_each(check),
                Err(problem) => assert!(problem.place.0 >= 1 && problem.place.1 >= 1),
            }
        }
    }
}

/// What every endpoint is, wherever it comes from.
fn check(wanted: &entry::Wanted) {
    let endpoint = &wanted.endpoint;
    assert!(endpoint.port > 0 && endpoint.weight <= 1000 && endpoint.priority <= 1000);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    assert!(
        endpoint.host.bytes().all(legal) && !endpoint.host.is_empty(),
        "{endpoint:?}"
    );
    let zone = endpoint.zone.as_deref().unwrap_or("a");
    assert!(!zone.is_empty() && !zone.chars().any(char::is_control));
}
