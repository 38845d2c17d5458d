//! Lines for people and lines of one's own, what privacy hides in all of them, and what is kept.

use umay_core::model::{Addresses, EVERY, LogField, LogTemplate};

use super::*;

fn custom(format: &str) -> Log {
    Log {
        format: LogFormat::Custom(LogTemplate::parse(format).unwrap()),
        ..Log::default()
    }
}

fn gdpr() -> Privacy {
    Privacy {
        gdpr: true,
        ..Privacy::default()
    }
}

fn tcp() -> TcpEntry<'static> {
    TcpEntry {
        conn_id: 0xabc,
        wanted: true,
        trace: None,
        downstream: bare().downstream,
        proto: "mqtt",
        alpn: Some(b"mqtt"),
        route: Some("iot"),
        reason: Some(Reason::IdleTimeout),
        detail: "no byte in 1h",
        bytes_in: 1,
        bytes_out: 2,
        duration: Duration::from_secs(3600),
        attempts: request().attempts,
    }
}

fn both(log: &AccessLog) {
    log.http(&request());
    log.http(&bare());
    log.tcp(&tcp());
}

/// What JSON says of a field, a line of one's own says as well, and there is no other field.
#[test]
fn every_form_says_the_same() {
    for privacy in [Privacy::default(), gdpr()] {
        let json = logged_as(&json_log(), &privacy, both).values();
        let mut known = 0;
        for (name, _) in LogField::ALL {
            let format = custom(&format!("\"{{{name}}}\""));
            let text = logged_as(&format, &privacy, both).text();
            for (line, json) in text.lines().zip(&json) {
                let expected = match &json[*name] {
                    Value::Null => "-".to_owned(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let said = line.trim_matches('"');
                match *name {
                    "ts" => assert_eq!(said.len(), expected.len()),
                    // JSON's own numbers are shortened by who reads them.
                    _ if name.ends_with("_ms") && said != "-" => {
                        let (said, expected): (f64, f64) =
                            (said.parse().unwrap(), expected.parse().unwrap());
                        assert_eq!(said.to_bits(), expected.to_bits(), "{name}");
                    }
                    _ => assert_eq!(said, expected, "{name}"),
                }
                known += usize::from(!json[*name].is_null());
            }
        }
        let members = json.iter().map(|line| line.as_object().unwrap().len());
        assert_eq!(known, members.sum::<usize>());
    }
}

#[test]
fn text_is_for_people() {
    let log = Log {
        format: LogFormat::Text,
        ..Log::default()
    };
    let text = logged_as(&log, &Privacy::default(), both).text();
    let lines: Vec<_> = text.lines().map(|line| &line[25..]).collect();
    let expected = [
        "203.0.113.7 GET https://a.example:8443/x?q=1&token=*** 502 1234.567ms in=0 out=18446744073709551615 \
         route=app endpoint=10.1.0.9:80 reason=connect_refused \"10.1.0.9:80 refused\"",
        "2001:db8::1 GET https://a.example:8443/x 502 1234.567ms in=0 out=18446744073709551615",
        "2001:db8::1 mqtt 3600000.000ms in=1 out=2 route=iot endpoint=10.1.0.9:80 reason=idle_timeout \
         \"no byte in 1h\"",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn no_line_of_text_can_be_forged() {
    let format = custom("{client_ip} {user_agent} \"{user_agent}\" {status}");
    let text = Log {
        format: LogFormat::Text,
        ..Log::default()
    };
    for agent in [
        "a 200",
        "a\" 200 \"",
        "a\n10.0.0.1 b \"b\" 200",
        "\u{1b}[2J\u{9b}31m\u{202e}",
        "\\\" 200",
    ] {
        let entry = HttpEntry {
            user_agent: Some(agent.as_bytes()),
            detail: agent,
            host: agent.as_bytes(),
            ..bare()
        };
        for log in [&format, &text] {
            let told = logged_as(log, &Privacy::default(), |log| log.http(&entry)).text();
            assert_eq!(told.lines().count(), 1, "{told}");
            let hidden = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!told.contains(hidden), "{told:?}");
        }
        let told = logged_as(&format, &Privacy::default(), |log| log.http(&entry)).text();
        // The columns are where they are: the second has no space, the last is the status.
        let (first, rest) = told.trim_end().split_once(' ').unwrap();
        let (second, rest) = rest.split_once(' ').unwrap();
        assert_eq!(first, "2001:db8::1");
        assert!(!second.is_empty() && rest.starts_with('"'), "{told}");
        assert!(rest.ends_with("\" 502"), "{told}");
    }
}

#[test]
fn privacy_hides_what_identifies() {
    let lines = logged_as(&json_log(), &gdpr(), both).values();
    let [full, _, stream] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(full["client_ip"], "203.0.113.0");
    assert_eq!(full["peer"], "10.0.0.0");
    assert_eq!(full["query"], "q=***&token=***");
    assert_eq!(
        (&full["user_agent"], &full["referer"]),
        (&"***".into(), &"***".into())
    );
    assert_eq!(stream["client_ip"], "2001:db8::");
    assert!(lines.iter().all(|line| line.get("client_port").is_none()));
    let kept = Privacy {
        headers: Vec::new(),
        ..gdpr()
    };
    let line = &logged_as(&json_log(), &kept, both).values()[0];
    assert_eq!(line["user_agent"], "curl/8");
    assert_eq!(line["referer"], "https://b.example/?code=***");
}

#[test]
fn addresses_can_be_hashed() {
    let privacy = Privacy {
        addresses: Addresses::Hash,
        ..gdpr()
    };
    let with = |client: &str| {
        let entry = HttpEntry {
            downstream: Downstream {
                client: client.parse().unwrap(),
                ..downstream()
            },
            ..request()
        };
        let line = logged_as(&json_log(), &privacy, |log| log.http(&entry)).values();
        line[0]["client_ip"].as_str().unwrap().to_owned()
    };
    let hash = with("203.0.113.7");
    assert!(
        hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
        "{hash}"
    );
    // Another end of another log: a reload keeps the key. And a mapped address is the same client.
    assert_eq!(hash, with("::ffff:203.0.113.7"));
    assert_ne!(hash, with("203.0.113.8"));
}

#[test]
fn what_went_well_may_be_left_out() {
    let fine = HttpEntry {
        status: 200,
        duration: Duration::from_millis(1),
        ..bare()
    };
    let log = Log {
        sample: 0,
        ..json_log()
    };
    let lines = logged_as(&log, &Privacy::default(), |log| {
        log.http(&fine);
        log.tcp(&TcpEntry {
            reason: None,
            ..tcp()
        });
        // A tunnel is as long as its peers want.
        log.http(&HttpEntry {
            status: 101,
            duration: Duration::from_secs(3600),
            ..bare()
        });
        log.http(&HttpEntry {
            status: 500,
            ..fine
        });
        log.http(&HttpEntry {
            reason: Some(Reason::NoRoute),
            status: 404,
            ..fine
        });
        log.http(&HttpEntry {
            duration: Duration::from_secs(2),
            ..fine
        });
        log.tcp(&tcp());
    })
    .values();
    let told: Vec<_> = lines.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(told, [json!(500), json!(404), json!(200), Value::Null]);
    assert!(lines.iter().all(|line| line.get("sample").is_none()));

    let half = Log {
        sample: EVERY / 2,
        ..json_log()
    };
    let lines = logged_as(&half, &Privacy::default(), |log| {
        for _ in 0..1000 {
            log.http(&fine);
        }
    })
    .values();
    // So far from the half it is once in 10^20.
    assert!((350..650).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().all(|line| line["sample"] == 0.5));
    let unwanted = logged(|log| {
        log.http(&HttpEntry {
            wanted: false,
            ..fine
        });
    });
    assert!(unwanted.is_empty());
}

/// Whatever is sent, there is one line for each entry, with as many columns as the format has.
#[test]
fn hostile_values_stay_in_their_columns() {
    const ROUNDS: usize = 1000;
    let own = custom("{host} {path} {query} {user_agent} {referer} {detail} {sni} {status}");
    let text = Log {
        format: LogFormat::Text,
        ..Log::default()
    };
    for (log, privacy) in [
        (&own, Privacy::default()),
        (&own, gdpr()),
        (&text, Privacy::default()),
    ] {
        let mut random = Random(0x5eed_0f00_dcaf_e002);
        let told = logged_as(log, &privacy, |log| {
            for _ in 0..ROUNDS {
                let values: [Vec<u8>; 6] = std::array::from_fn(|_| random.bytes());
                let [host, path, query, agent, referer, detail] = &values;
                let detail = String::from_utf8_lossy(detail);
                log.http(&HttpEntry {
                    host,
                    path,
                    query: Some(query),
                    user_agent: Some(agent),
                    referer: Some(referer),
                    detail: &detail,
                    downstream: Downstream {
                        sni: Some(&detail),
                        ..downstream()
                    },
                    ..request()
                });
            }
        })
        .text();
        assert_eq!(told.lines().count(), ROUNDS);
        let hidden = |c: char| c != '\n' && (c.is_control() || c == '\u{2028}');
        assert!(!told.contains(hidden));
        if log == &own {
            for line in told.lines() {
                let columns: Vec<_> = line.split(' ').collect();
                assert!(columns.len() == 8 && columns[7] == "502", "{line}");
            }
        }
    }
}
