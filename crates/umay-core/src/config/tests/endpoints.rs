//! Endpoints as text and as tables, wherever they may stand, and the original destination.

use super::*;
use crate::model::{Discovery, Source, UpstreamTls};

const APP: &str = "listen = \"127.0.0.1:8080\"\nto = \"app\"\n[upstream.app]\n";

fn only(model: &Model) -> &[Endpoint] {
    let upstreams: Vec<_> = model.upstreams.values().collect();
    assert_eq!(upstreams.len(), 1);
    &upstreams[0].endpoints
}

#[test]
fn a_table_says_more_wherever_endpoints_stand() {
    let all = "to = [\"a:1\", { to = \"https://b\", weight = 3, priority = 1, zone = \"z\" }]\n";
    let b = Endpoint {
        weight: 3,
        priority: 1,
        zone: Some("z".to_owned()),
        ..Endpoint::new(Scheme::Https, "b", 443)
    };
    let wanted = [Endpoint::new(Scheme::Detected, "a", 1), b];
    for before in [
        LISTEN.to_owned(),
        format!("{LISTEN}[[route]]\n"),
        APP.to_owned(),
    ] {
        assert_eq!(only(&model(&format!("{before}{all}"))), wanted, "{before}");
    }
    // One table stands for a list of one, also as TOML's own kind of list.
    let one = [Endpoint {
        weight: 0,
        ..Endpoint::new(Scheme::Detected, "a", 1)
    }];
    for text in [
        "to = { to = \"a:1\", weight = 0 }\n",
        "[[upstream.app.to]]\nto = \"a:1\"\nweight = 0\n",
    ] {
        assert_eq!(only(&model(&format!("{APP}{text}"))), one);
    }
}

#[test]
fn mistakes_in_tables_of_endpoints() {
    for (text, errors) in [
        (
            "{ weight = 3 }",
            &["4:6 this endpoint has no `to` (write { to = \"127.0.0.1:3000\", weight = 3 })"][..],
        ),
        (
            "{ to = 1 }",
            &["4:13 expected text, found a number (as in to = \"http://10.0.0.1:3000\")"],
        ),
        (
            "{ to = \"a\" }",
            &["4:13 `a` has no port, as in \"a:3000\""],
        ),
        (
            "{ to = \"a:1\", weigth = 3 }",
            &["4:20 there is no key `to.weigth` (did you mean `weight`?)"],
        ),
        (
            "{ to = \"a:1\", weight = 1001 }",
            &["4:29 this has to be from 0 to 1000"],
        ),
        (
            "{ to = \"a:1\", weight = -1 }",
            &["4:29 this has to be from 0 to 1000"],
        ),
        (
            "{ to = \"a:1\", priority = 16 }",
            &["4:31 this has to be from 0 to 15"],
        ),
        ("{ to = \"a:1\", zone = \"\" }", &["4:27 \"\" is no name"]),
        (
            "{ endpoint = \"a:1\" }",
            &[
                "4:6 this endpoint has no `to` (write { to = \"127.0.0.1:3000\", weight = 3 })",
                "4:8 there is no key `to.endpoint` (it is called `to` here)",
            ],
        ),
        // What it is known by is scheme, host and port.
        (
            "[\"a:1\", { to = \"A:1\", weight = 2 }]",
            &["4:14 `A:1` is here twice"],
        ),
        (
            "[{ to = \"a:1\", weight = 2 }, { to = \"a:1\", zone = \"z\" }]",
            &["4:35 `a:1` is here twice"],
        ),
    ] {
        check(&format!("{APP}to = {text}\n"), errors);
    }
    for (key, at) in [("weight", "3"), ("priority", "1"), ("zone", "\"eu-1a\"")] {
        for (before, path) in [
            (format!("{LISTEN}[[route]]\nto = \"a:1\"\n"), "route"),
            (format!("{APP}to = \"a:1\"\n"), "upstream.NAME"),
        ] {
            let line = before.lines().count() + 1;
            let hint =
                format!("tell it of an endpoint: to = [{{ to = \"HOST:PORT\", {key} = {at} }}]");
            check(
                &format!("{before}{key} = {at}\n"),
                &[&format!("{line}:1 there is no key `{path}.{key}` ({hint})")],
            );
        }
    }
    let most = model(&format!(
        "{APP}to = {{ to = \"a:1\", weight = 1000, priority = 15 }}\n"
    ));
    assert_eq!((only(&most)[0].weight, only(&most)[0].priority), (1000, 15));
}

#[test]
fn files_and_registries_tell_endpoints_by_the_same_rules() {
    let plain = Endpoint::new(Scheme::Http, "a", 80);
    assert_eq!(endpoint("http://A"), Ok(plain.clone()));
    assert_eq!(
        endpoint("a"),
        Err("`a` has no port, as in \"a:3000\"".to_owned())
    );
    let with = |weight, priority, zone| endpoint_with("http://a", weight, priority, zone);
    assert_eq!(with(None, None, None), Ok(plain.clone()));
    let full = Endpoint {
        weight: 1000,
        priority: 15,
        zone: Some("z".to_owned()),
        ..plain
    };
    assert_eq!(with(Some(1000), Some(15), Some("z")), Ok(full));
    assert!(with(Some(0), Some(0), None).is_ok());
    for (read, sentence) in [
        (with(Some(1001), None, None), "a weight is from 0 to 1000"),
        (
            with(Some(u64::MAX), None, None),
            "a weight is from 0 to 1000",
        ),
        (with(None, Some(16), None), "a priority is from 0 to 15"),
        (with(None, None, Some("")), "\"\" is no zone"),
        (with(None, None, Some("a\nb")), "\"a\\nb\" is no zone"),
        (
            endpoint_with("a", Some(1), None, None),
            "`a` has no port, as in \"a:3000\"",
        ),
    ] {
        assert_eq!(read, Err(sentence.to_owned()));
    }
}

#[test]
fn the_original_destination_stands_for_endpoints() {
    let original = Discovery {
        source: Source::OriginalDestination,
        scheme: Scheme::Detected,
        tls: UpstreamTls::default(),
    };
    let secure = "[[listener]]\nlisten = \"127.0.0.1:1\"\ncert = \"a\"\nkey = \"a\"\n";
    for (before, name) in [
        (LISTEN.to_owned(), "default"),
        (format!("{LISTEN}[[route]]\n"), "route-1"),
        (format!("{LISTEN}[[route]]\npath = \"/a\"\n"), "route-1"),
        (
            format!("{LISTEN}[[route]]\nprotocol = \"tcp\"\n"),
            "route-1",
        ),
        (
            format!("{secure}[[route]]\nsni = \"a\"\npassthrough = true\n"),
            "route-1",
        ),
        (APP.to_owned(), "app"),
    ] {
        let loaded = loaded(&format!("{before}to = \"original-destination\"\n"));
        assert_eq!(loaded.warnings, []);
        let upstream = &loaded.model.upstreams[name];
        assert_eq!(upstream.endpoints, []);
        assert_eq!(upstream.discovery.as_ref(), Some(&original));
    }
    check(&format!("{LISTEN}to = [\"original-destination\"]\n"), &[]);
}

#[test]
fn the_original_destination_stands_alone() {
    let alone = "`original-destination` stands alone (a connection goes either there or to endpoints; make two routes of it)";
    let list = "to = [\"a:1\", \"original-destination\"]\n";
    check(&format!("{LISTEN}{list}"), &[&format!("2:14 {alone}")]);
    check(&format!("{APP}{list}"), &[&format!("4:14 {alone}")]);
    let nothing = |key: &str| {
        format!(
            "`{key}` has nothing to work on: connections go where clients were headed (take it out, or name endpoints)"
        )
    };
    let word = crate::model::Balance::default().as_str();
    check(
        &format!("{LISTEN}to = \"original-destination\"\nbalance = \"{word}\"\n"),
        &[&format!("3:11 {}", nothing("balance"))],
    );
    for (key, value) in [
        ("balance", format!("\"{word}\"")),
        ("sticky", "\"a\"".to_owned()),
        ("slow_start", "\"1s\"".to_owned()),
        ("panic", "1".to_owned()),
        ("probe", "{}".to_owned()),
        ("outlier", "\"off\"".to_owned()),
        ("hedge", "{}".to_owned()),
        ("discover", "{ srv = \"a\" }".to_owned()),
        ("tls", "{ sni = \"a\" }".to_owned()),
    ] {
        check(
            &format!("{APP}to = \"original-destination\"\n{key} = {value}\n"),
            &[&format!("5:1 {}", nothing(key))],
        );
    }
    let hashing = problems(&format!(
        "{APP}to = \"original-destination\"\nhash_by = \"path\"\n"
    ));
    assert_eq!(told(&hashing[0]), format!("5:1 {}", nothing("hash_by")));
    for text in ["retry = \"off\"\n", "limits.requests = 1\n"] {
        check(&format!("{APP}to = \"original-destination\"\n{text}"), &[]);
    }
    check(
        &format!(
            "{LISTEN}to = \"original-destination\"\n[upstream.original-destination]\nto = \"a:1\"\n"
        ),
        &[
            "3:11 `original-destination` means where the client was headed (name the upstream otherwise)",
        ],
    );
    check(
        &format!("{LISTEN}to = \"original_destination\"\n"),
        &["2:6 there is no upstream `original_destination` (did you mean `original-destination`?)"],
    );
}

#[test]
fn zones_need_each_other() {
    let with = |top: &str, zone: &str| format!("{LISTEN}{top}to = {{ to = \"a:1\"{zone} }}\n");
    check_warnings(&with("zone = \"a\"\n", ", zone = \"b\""), &[]);
    check_warnings(&with("", ""), &[]);
    check_warnings(
        &with("", ", zone = \"b\""),
        &[
            "2:27 zones of endpoints have no effect: Umay does not know its own (add zone = \"NAME\" at the top (or UMAY_ZONE), or take them out)",
        ],
    );
    check_warnings(
        &with("zone = \"a\"\n", ""),
        &["2:8 `zone` has no effect: no endpoint has one (add zones to endpoints, or take it out)"],
    );
    // Whoever is asked may tell zones.
    check_warnings(&format!("zone = \"a\"\n{APP}discover.file = \"a\"\n"), &[]);
    // What is told wrongly is not missed besides.
    let wrong: Vec<_> = problems(&with("zone = 1\n", ", zone = \"b\""))
        .iter()
        .map(told)
        .collect();
    assert_eq!(
        wrong,
        ["2:8 expected text, found a number (as in zone = \"eu-1a\")"]
    );
    assert_eq!(
        model(&with("zone = \"a\"\n", ", zone = \"b\""))
            .zone
            .as_deref(),
        Some("a")
    );
}
