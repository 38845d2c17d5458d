//! No document makes the reader panic, and every place can be shown.

use proptest::prelude::*;

use super::*;

/// Pieces of documents, right and wrong, so that random ones get further than to their first byte.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(
        KEYS.iter()
            .map(|key| key.path.replace("NAME", "n"))
            .chain(["route", "listener", "upstream", "x", "\u{fc}"].map(str::to_owned))
            .collect::<Vec<_>>(),
    );
    let value = prop::sample::select(
        KEYS.iter()
            .map(|key| key.example)
            .chain([
                "1",
                "-1",
                "1.5",
                "true",
                "[]",
                "{}",
                "\"\"",
                "\"\u{fc}{\"",
                "[[1]]",
                "[",
                "99999999999999999999",
                "\"99999999999999999ms\"",
            ])
            .collect::<Vec<_>>(),
    );
    prop_oneof![
        8 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        1 => prop::sample::select(vec!["[[route]]\n", "[[listener]]\n", "[upstream.n]\n", "[route]\n", "\r\n"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,12}\n",
    ]
}

proptest! {
    #[test]
    fn no_file_panics(lines in prop::collection::vec(line(), 0..12)) {
        let sources = file(&lines.concat());
        if let Err(problems) = load(&sources) {
            prop_assert!(!problems.is_empty());
            let text = render(&problems, &sources, false);
            for problem in &problems {
                prop_assert!(text.contains(&problem.message.lines().next().unwrap_or_default().to_owned()) || !problem.message.is_ascii());
            }
            prop_assert_eq!(to_json(&problems).as_array().map(Vec::len), Some(problems.len()));
        }
    }

    #[test]
    fn no_variable_panics(
        vars in prop::collection::vec(
            ("UMAY_(LISTENER|ROUTE|UPSTREAM|TO|LISTEN|CERTS|LOG)?(__([0-2]|TO|N|LISTEN|TLS|SET|A-B)){0,4}", "\\PC{0,12}"),
            0..6,
        ),
    ) {
        let sources = Sources { env: vars, ..file(BASE) };
        let _ = load(&sources);
    }
}
