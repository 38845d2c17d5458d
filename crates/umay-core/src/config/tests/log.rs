//! Logs and privacy: what is written where, and what is kept and told.

use super::*;
use crate::inventory::{Kind, inventory};
use crate::model::{
    Addresses, CertificatePair, EVERY, EventFormat, Log, LogFormat, LogTemplate, Privacy, Rotate,
    Syslog, UpstreamTls,
};

fn log(text: &str) -> Log {
    let loaded = loaded(&format!("{BASE}{text}"));
    assert_eq!(loaded.warnings, []);
    loaded.model.log
}

fn privacy(text: &str) -> Privacy {
    model(&format!("{BASE}{text}")).privacy
}

#[test]
fn a_log_in_full() {
    let log = log(
        "[log]\naccess = \"/var/log/a.log\"\nformat = \"{method} {status}\"\nsample = 0.01\nslow = \"250ms\"\n\
         skip = [304, \"200-299\"]\nrotate = \"100MiB\"\nevents = \"json\"\nlevel = \"debug\"\n",
    );
    let template = LogTemplate::parse("{method} {status}").unwrap();
    let expected = Log {
        access: AccessLog::File("/var/log/a.log".into()),
        format: LogFormat::Custom(template),
        sample: EVERY / 100,
        slow: ms(250),
        skip: vec![(304, 304), (200, 299)],
        rotate: Rotate::Size(100 << 20),
        events: EventFormat::Json,
        level: "debug".to_owned(),
    };
    assert_eq!(log, expected);
}

#[test]
fn a_syslog_over_tls_in_full() {
    let table = "tls = { ca = \"/ca.pem\", crl = \"/crl.pem\", sni = \"a.example\", cert = \"/c.pem\", key = \"/k.pem\" }\n";
    let tls = UpstreamTls {
        ca: Some("/ca.pem".into()),
        crl: Some("/crl.pem".into()),
        sni: Some("a.example".to_owned()),
        client: Some(CertificatePair {
            cert: "/c.pem".into(),
            key: "/k.pem".into(),
        }),
        accept_any: false,
    };
    let access = |target: &str| log(&format!("[log]\naccess = \"{target}\"\n{table}")).access;
    let expected = Syslog::Tls("logs".to_owned(), 6514, Box::new(tls));
    assert_eq!(access("syslog:tls://logs"), AccessLog::Syslog(expected));
    // For a while it may be off.
    assert_eq!(access("off"), AccessLog::Off);
}

#[test]
fn values_of_logs() {
    let access = |text: &str| log(&format!("log.access = \"{text}\"\n")).access;
    let host = |host: &str| host.to_owned();
    let tls = || Box::new(UpstreamTls::default());
    for (text, syslog) in [
        ("syslog", Syslog::Unix("/dev/log".into())),
        ("syslog:/run/log", Syslog::Unix("/run/log".into())),
        ("syslog:udp://logs", Syslog::Udp(host("logs"), 514)),
        ("syslog:udp://[::1]:5514", Syslog::Udp(host("::1"), 5514)),
        ("syslog:tcp://logs", Syslog::Tcp(host("logs"), 601)),
        ("syslog:tcp://10.0.0.1:1", Syslog::Tcp(host("10.0.0.1"), 1)),
        ("syslog:tls://logs", Syslog::Tls(host("logs"), 6514, tls())),
        ("syslog:tls://[::1]:1", Syslog::Tls(host("::1"), 1, tls())),
    ] {
        assert_eq!(access(text), AccessLog::Syslog(syslog.clone()), "{text}");
        // As it is shown, it is read again.
        let shown = written_syslog(&syslog);
        assert_eq!(access(&shown), AccessLog::Syslog(syslog), "{shown}");
    }
    let sample = |text: &str| log(&format!("log.sample = {text}\n")).sample;
    for (text, of_a_million) in [("0", 0), ("1", EVERY), ("0.5", 500_000), ("0.000001", 1)] {
        assert_eq!(sample(text), of_a_million, "{text}");
    }
    let format = |text: &str| log(&format!("log.format = \"{text}\"\n")).format;
    for (text, read) in [
        ("auto", LogFormat::Auto),
        ("json", LogFormat::Json),
        ("text", LogFormat::Text),
    ] {
        assert_eq!(format(text), read, "{text}");
    }
}

#[test]
fn privacy_is_a_word_or_a_table() {
    assert_eq!(privacy("privacy = \"off\"\n"), Privacy::default());
    let gdpr = Privacy {
        gdpr: true,
        ..Privacy::default()
    };
    assert_eq!(privacy("privacy = \"gdpr\"\n"), gdpr);
    assert_eq!(privacy("[privacy]\n"), gdpr);
    let full = privacy(
        "log.access = \"a.log\"\n[privacy]\naddresses = \"hash\"\nheaders = \"Referer\"\nretention = \"30d\"\n",
    );
    assert_eq!(
        full,
        Privacy {
            gdpr: true,
            addresses: Addresses::Hash,
            headers: vec!["referer".to_owned()],
            retention: Some(Duration::from_secs(30 * 86_400)),
        }
    );
    assert!(full.hides("referer") && !full.hides("user-agent"));
    let off = privacy("log.access = \"a.log\"\nprivacy = { mode = \"off\", retention = \"1d\" }\n");
    assert!(!off.gdpr && off.retention.is_some() && !off.hides("referer"));
    assert_eq!(off.shown(), Addresses::Whole);
}

#[test]
fn retention_puts_files_aside() {
    let rotate = |text: &str| log(&format!("log.access = \"a.log\"\n{text}")).rotate;
    assert_eq!(rotate(""), Rotate::Off);
    assert_eq!(rotate("privacy.retention = \"30d\"\n"), Rotate::Daily);
    let size = "log.rotate = \"1MiB\"\nprivacy.retention = \"30d\"\n";
    assert_eq!(rotate(size), Rotate::Size(1 << 20));
    let off = "log.access = \"a.log\"\nlog.rotate = \"off\"\nprivacy.retention = \"30d\"\n";
    let error = "4:5 `privacy.retention` deletes what was put aside, and `log.rotate` is off (write rotate = \"daily\", or take it out)";
    check(&format!("{BASE}{off}"), &[error]);
    check_warnings(
        &format!("{BASE}privacy.retention = \"30d\"\nlog.rotate = \"daily\"\n"),
        &[
            "3:9 `privacy.retention` has no effect: the access log is no file (whoever takes the lines has to see to it)",
            "4:5 `log.rotate` has no effect: the access log is no file (whoever takes the lines has to see to it)",
        ],
    );
}

#[test]
fn levels_that_tell_what_clients_send_are_warned_of() {
    let warning = "4:5 at this level the libraries that Umay uses tell what clients send, whatever `privacy` says (as in level = \"info,umay=debug\")";
    for (level, warns) in [
        ("info", false),
        ("info,umay=trace", false),
        ("warn,umay::http=debug", false),
        ("debug", true),
        ("info,h2=TRACE", true),
    ] {
        let warnings: &[&str] = if warns { &[warning] } else { &[] };
        check_warnings(
            &format!("{BASE}privacy = \"gdpr\"\nlog.level = \"{level}\"\n"),
            warnings,
        );
        check_warnings(&format!("{BASE}log.level = \"{level}\"\n"), &[]);
    }
}

#[test]
fn the_report_has_what_the_configuration_has() {
    let all = |text: &str| inventory(&model(text));
    let kinds = |text: &str| all(text).iter().map(|entry| entry.kind).collect::<Vec<_>>();
    let least = format!("{LISTEN}to = \"tcp://127.0.0.1:1\"\nlog.access = \"off\"\n");
    let always = [Kind::EventLog, Kind::Metrics, Kind::Endpoints, Kind::Memory];
    assert_eq!(kinds(&least), always);
    let most = "[[listener]]\nlisten = \"127.0.0.1:1\"\ncert = \"a\"\nkey = \"a\"\n\
         [[route]]\nhost = \"a.example\"\nto = \"app\"\nrequest_headers.set = { X-Client = \"{client.ip}\" }\n\
         [[route]]\nto = \"original-destination\"\n\
         [upstream.app]\nto = \"https://a.example\"\nsticky = \"umay\"\nbalance = \"consistent_hash\"\n\
         [privacy]\naddresses = \"hash\"\n\
         [tracing]\nendpoint = \"http://collector:4318\"\n";
    let mut found = kinds(most);
    found.dedup();
    assert_eq!(found, Kind::ALL);
}

#[test]
fn the_report_says_how_data_is_protected() {
    let log = |text: &str| {
        let model = model(&format!("{BASE}{text}"));
        let mut all = inventory(&model).into_iter();
        all.find(|entry| entry.kind == Kind::AccessLog).unwrap()
    };
    let open = log("");
    assert_eq!(open.place, "standard output");
    assert!(open.data.contains("queries") && open.data.contains("user agents"));
    assert!(open.protection.contains("addresses are whole"));
    let closed = log("log.access = \"/a.log\"\n[privacy]\nretention = \"30d\"\n");
    assert_eq!((&*closed.place, &*closed.kept), ("/a.log", "30 d at most"));
    assert!(!closed.data.contains("queries") && !closed.data.contains("user agents"));
    assert!(closed.protection.contains("shortened to /24 and /48"));
    let hashed = log("privacy.addresses = \"hash\"\nlog.access = \"syslog\"\n");
    assert_eq!(hashed.place, "syslog:/dev/log");
    assert!(hashed.protection.contains("hashed"));
    for (way, told) in [
        ("/dev/log", ""),
        ("udp://a", "not encrypted"),
        ("tcp://a", "not encrypted"),
        ("tls://a", "TLS, verified"),
    ] {
        let protection = log(&format!("log.access = \"syslog:{way}\"\n")).protection;
        assert!(protection.contains(told), "{way}");
        let open = told == "not encrypted";
        assert_eq!(protection.contains("not encrypted"), open, "{way}");
    }
}
