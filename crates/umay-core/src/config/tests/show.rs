//! `config show` and `config schema`: what is shown gives the same model, and says where it came from.

use proptest::prelude::*;

use super::keys::{can_be, document_with};
use super::*;

#[track_caller]
fn shown_again(sources: &Sources) {
    let Ok(loaded) = load(sources) else { return };
    let shown = Shown::new(sources, &loaded.model);
    for origin in [false, true] {
        let text = shown.to_toml(origin);
        let mut again = Sources {
            file: Some((PathBuf::from("shown.toml"), text.clone())),
            ..Sources::default()
        };
        again.complete(|_| Ok(Vec::new()), |_| Ok("value".to_owned()));
        let reloaded = load(&again);
        let reloaded =
            reloaded.unwrap_or_else(|problems| panic!("{}", render(&problems, &again, false)));
        assert_eq!(reloaded.model, loaded.model, "{text}");
    }
}

fn complete(mut sources: Sources) -> Sources {
    sources.complete(|_| Ok(Vec::new()), |_| Ok("value".to_owned()));
    sources
}

#[test]
fn what_is_shown_gives_the_same_model() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // Beside them are those of other programs.
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let sources = complete(file(&text));
        assert!(load(&sources).is_ok());
        shown_again(&sources);
    }
    for key in KEYS.iter().filter(|key| can_be(key)) {
        shown_again(&complete(file(&document_with(key.path, key.example))));
    }
    let env = [
        ("UMAY_LISTEN", "127.0.0.1:1, 127.0.0.1:2"),
        ("UMAY_TO", "app"),
        ("UMAY_CERTS", "one,/two"),
        ("UMAY_WORKERS", "3"),
        ("UMAY_LIMITS__HEAD", "2048"),
        ("UMAY_DNS__MIN_TTL", "1m"),
        ("UMAY_LOG__ACCESS", "./a.log"),
        ("UMAY_UPSTREAM__APP__TO", "http://a,http://b"),
        ("UMAY_UPSTREAM__APP__HEDGE__QUANTILE", "97.5"),
        ("UMAY_UPSTREAM__APP__PROBE__EXPECT", "200,300-399"),
        ("UMAY_UPSTREAM__APP__RETRY__STATUSES", "502,503"),
        ("UMAY_UPSTREAM__APP__LIMITS__ADAPTIVE", "true"),
        ("UMAY_ROUTE__0__TO", "c:1"),
        ("UMAY_ROUTE__0__NAME", "7"),
        ("UMAY_ROUTE__0__HSTS", "true"),
        ("UMAY_ROUTE__0__HEADERS__X_ANY", "true"),
        ("UMAY_ROUTE__0__METHODS", "GET,PUT"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sources = Sources {
        env: env.to_vec(),
        ..Sources::default()
    };
    assert!(load(&sources).is_ok(), "{:?}", load(&sources));
    shown_again(&sources);
}

proptest! {
    #[test]
    fn what_is_shown_of_random_documents_gives_the_same_model(
        picked in prop::sample::subsequence((0..KEYS.len()).collect::<Vec<_>>(), 1..6),
        one in 0..KEYS.len(),
    ) {
        // The settings of some keys beside a document for one.
        let mut text = String::new();
        for at in picked {
            let key = &KEYS[at];
            let table = key.path.rsplit_once('.').map_or("", |(table, _)| table);
            if ["timeouts", "limits", "http2", "dns", "log"].contains(&table) {
                text.push_str(&format!("{} = {}\n", key.path, key.example));
            }
        }
        text.push_str(&document_with(KEYS[one].path, KEYS[one].example));
        shown_again(&complete(file(&text)));
    }
}

#[test]
fn every_value_says_where_it_came_from() {
    let text = "listen = \"127.0.0.1:1\"\n[[route]]\nto = \"http://a\"\nheaders = { x-key = \"a\", x-api-key = \"s3cret\" }\n[timeouts]\nbody = \"1m\"\n[route.request_headers.set]\nAuthorization = \"Bearer s3cret\"\nX-Other = { file = \"key\" }\n";
    let sources = Sources {
        env: vec![("UMAY_TIMEOUTS__SEND".to_owned(), "9s".to_owned())],
        flags: vec![("to".to_owned(), "b:1".to_owned(), "--to".to_owned())],
        ..file(
            &text
                .replace("[timeouts]\nbody = \"1m\"\n", "")
                .replace("[[route]]", "timeouts.body = \"1m\"\n[[route]]"),
        )
    };
    let sources = complete(sources);
    let loaded =
        load(&sources).unwrap_or_else(|problems| panic!("{}", render(&problems, &sources, false)));
    let shown = Shown::new(&sources, &loaded.model);
    let text = shown.to_toml(true);
    for line in [
        "listen = \"127.0.0.1:1\"  # /etc/umay/umay.toml:1:10",
        "body = \"1m\"  # /etc/umay/umay.toml:2:17",
        "send = \"9s\"  # environment variable UMAY_TIMEOUTS__SEND",
        "connect = \"3s\"  # default",
        "to = \"b:1\"  # flag --to",
        "# allow_connect = false  # default",
        "x-api-key = \"[redacted]\"  # /etc/umay/umay.toml:5:38",
        "X-Other = { file = \"/etc/umay/key\" }  # /etc/umay/umay.toml:8:11",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
    let json = shown.to_json(true);
    let row = |key: &str| {
        let rows = json.as_array().unwrap().iter();
        rows.clone()
            .find(|row| row["key"] == key)
            .unwrap_or_else(|| panic!("{key}: {json:#}"))
            .clone()
    };
    assert_eq!(
        row("timeouts.send")["origin"],
        "environment variable UMAY_TIMEOUTS__SEND"
    );
    assert_eq!(row("route.0.hsts")["origin"], "default");
    assert_eq!(shown.to_json(false)["timeouts"]["body"], "1m");
}

#[test]
fn every_setting_of_the_whole_is_shown() {
    let loaded = loaded(BASE);
    let shown = Shown::new(&file(BASE), &loaded.model).to_json(false);
    for key in KEYS {
        let Some((table, name)) = key.path.split_once('.') else {
            continue;
        };
        let global = ["admin", "log", "timeouts", "limits", "http2", "dns"].contains(&table);
        // A table in a table is of what may not be there; what has no value has none here.
        let global = global && !name.contains('.');
        if global && super::super::schema::literal(&key.default()).is_ok() {
            assert!(!shown[table][name].is_null(), "{} is not shown", key.path);
        }
    }
}

#[test]
fn the_schema_knows_every_key() {
    let schema = schema();
    for key in KEYS {
        let mut at = match key.path.strip_prefix("to.") {
            Some(_) => &schema["$defs"]["endpoint"],
            None => &schema,
        };
        let path = key.path.strip_prefix("to.").unwrap_or(key.path);
        for part in path.split('.') {
            // Where a key has several kinds, the table is the last of them.
            while at.get("properties").is_none()
                && at
                    .get("additionalProperties")
                    .is_none_or(|more| !more.is_object())
            {
                let kinds = at["anyOf"]
                    .as_array()
                    .unwrap_or_else(|| panic!("{}: {at}", key.path));
                at = kinds.last().unwrap();
            }
            at = match part {
                "NAME" => &at["additionalProperties"],
                part => &at["properties"][part],
            };
            assert!(!at.is_null(), "{} at {part}", key.path);
        }
        assert_eq!(at["description"], key.what(), "{}", key.path);
    }
}
