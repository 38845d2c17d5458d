//! `[log]` and `privacy`: where logs go, what they look like and what is left out of them.

use std::path::PathBuf;
use std::time::Duration;

use super::probe::statuses;
use super::section::{Reader, Section};
use super::settings::duration;
use super::tree::{Node, Value, nearest};
use super::{scalar, tls};
use crate::log_template::LogTemplateError;
use crate::model::{
    AccessLog, Addresses, EVERY, EventFormat, Log, LogField, LogFormat, LogTemplate, Privacy,
    Rotate, Syslog, UpstreamTls,
};

/// Where the syslog of the system listens.
const DEV_LOG: &str = "/dev/log";

pub(super) fn log(reader: &mut Reader, top: &mut Section<'_>) -> Log {
    let mut log = Log::default();
    let Some(mut section) = top.section(reader, "log") else {
        return log;
    };
    if let Some(node) = section.take("access") {
        log.access = access(reader, node);
    }
    secure(reader, &mut section, &mut log.access);
    if let Some(node) = section.take("format") {
        log.format = format(reader, node);
    }
    if let Some(node) = section.take("sample")
        && let Some(share) = reader.fraction(node, 0.0, 1.0)
    {
        // From 0 to a million: the cast cannot cut.
        log.sample = (share * f64::from(EVERY)).round() as u32;
    }
    duration(reader, &mut section, "slow", &mut log.slow, true);
    if let Some(node) = section.take("skip") {
        log.skip = skip(reader, node);
    }
    if let Some(node) = section.take("rotate") {
        log.rotate = rotate(reader, node);
    }
    let events = [("text", EventFormat::Text), ("json", EventFormat::Json)];
    if let Some(node) = section.take("events")
        && let Some(events) = reader.word(node, &events)
    {
        log.events = events;
    }
    if let Some(node) = section.take("level")
        && let Some(level) = reader.text(node)
    {
        reader.ok(node, scalar::filter(level));
        level.clone_into(&mut log.level);
    }
    section.finish(reader);
    log
}

fn access(reader: &mut Reader, node: &Node) -> AccessLog {
    match reader.text(node) {
        Some("off") => AccessLog::Off,
        Some("stdout") | None => AccessLog::Stdout,
        Some("syslog") => AccessLog::Syslog(Syslog::Unix(PathBuf::from(DEV_LOG))),
        Some(text) if text.starts_with("syslog:") => match syslog(text) {
            Ok(syslog) => AccessLog::Syslog(syslog),
            Err(why) => {
                let hint = "there are syslog, syslog:PATH, syslog:udp://HOST:PORT, syslog:tcp://HOST:PORT and syslog:tls://HOST:PORT";
                reader.error(node, why, hint);
                AccessLog::Off
            }
        },
        // `stderr`, `none` or `Off` would become files.
        Some(word) if !word.is_empty() && !word.contains(['.', '/']) => {
            let message = format!("`{word}` is none of `stdout`, `off` and `syslog`");
            reader.error(node, message, format!("a file is written as \"./{word}\""));
            AccessLog::Off
        }
        Some(_) => AccessLog::File(reader.path(node).unwrap_or_default()),
    }
}

/// How TLS is spoken to a syslog, for one that it is spoken to.
fn secure(reader: &mut Reader, section: &mut Section<'_>, access: &mut AccessLog) {
    let place = section.place_of("tls");
    let Some(table) = section.section(reader, "tls") else {
        return;
    };
    let read = tls::read(reader, table, "syslogs");
    match (access, place) {
        (AccessLog::Syslog(Syslog::Tls(.., tls)), _) => **tls = read,
        // What is off for a while may stay as it is.
        (AccessLog::Off, _) | (_, None) => {}
        (_, Some(place)) => {
            let message = "this says how to speak TLS to a syslog, and the access log goes to none that it is spoken to";
            let hint = "write access = \"syslog:tls://HOST:PORT\", or take it out";
            reader.error_at(place, message, hint);
        }
    }
}

/// `syslog:PATH`, `syslog:udp://HOST:PORT`, `syslog:tcp://HOST:PORT`, `syslog:tls://HOST:PORT`.
fn syslog(text: &str) -> Result<Syslog, String> {
    let rest = text.strip_prefix("syslog:").unwrap_or(text);
    if rest.starts_with('/') {
        return Ok(Syslog::Unix(PathBuf::from(rest)));
    }
    let (scheme, place) = rest
        .split_once("://")
        .ok_or_else(|| format!("`{text}` names no syslog"))?;
    // Usual ports: RFC 5426 section 3.3, RFC 6587 section 3.2 (601 is assigned to syslog over TCP), RFC 5425
    // section 4.1.
    let usual = match scheme {
        "udp" => 514,
        "tcp" => 601,
        "tls" => 6514,
        _ => return Err(format!("`{scheme}://` is no way to speak to a syslog")),
    };
    let (host, port) = scalar::host_and_port(place)?;
    let port = port.unwrap_or(usual);
    if port == 0 {
        return Err("port 0 is no place to send to".to_owned());
    }
    Ok(match scheme {
        "udp" => Syslog::Udp(host, port),
        "tls" => Syslog::Tls(host, port, Box::<UpstreamTls>::default()),
        _ => Syslog::Tcp(host, port),
    })
}

fn format(reader: &mut Reader, node: &Node) -> LogFormat {
    let text = match reader.text(node) {
        Some("auto") | None => return LogFormat::Auto,
        Some("json") => return LogFormat::Json,
        Some("text") => return LogFormat::Text,
        Some(text) => text,
    };
    if !text.contains(['{', '}', ' ']) {
        let message = format!("`{text}` is none of `auto`, `json` and `text`");
        let near = nearest(text, ["auto", "json", "text"].into_iter());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a line of one's own has fields in braces, as in \"{method} {path} {status}\""
                .to_owned(),
        };
        reader.error(node, message, hint);
        return LogFormat::Auto;
    }
    match LogTemplate::parse(text) {
        Ok(template) => LogFormat::Custom(template),
        Err(error) => {
            let hint = match &error {
                LogTemplateError::UnknownField(name) => {
                    let names = LogField::ALL.iter().map(|(name, _)| *name);
                    nearest(name, names)
                        .map_or_else(String::new, |near| format!("did you mean `{{{near}}}`?"))
                }
                _ => String::new(),
            };
            reader.error(node, error.to_string(), hint);
            LogFormat::Auto
        }
    }
}

fn skip(reader: &mut Reader, node: &Node) -> Vec<(u16, u16)> {
    let read = statuses(reader, node, "a status or a range such as \"200-299\"");
    let mut ranges = Vec::new();
    for (node, (first, last)) in read {
        if last >= 500 {
            let message = "what is 500 and more is an error, and no error is left out";
            reader.error(&node, message, "end at 499");
        }
        ranges.push((first, last));
    }
    ranges
}

fn rotate(reader: &mut Reader, node: &Node) -> Rotate {
    const LEAST: u64 = 1024;
    match &node.value {
        Value::Text(text) | Value::Untyped(text) if text == "off" => Rotate::Off,
        Value::Text(text) | Value::Untyped(text) if text == "daily" => Rotate::Daily,
        Value::Text(text) | Value::Untyped(text)
            if text.starts_with(|c: char| c.is_ascii_alphabetic()) =>
        {
            let message = format!("`{text}` is neither `off` nor `daily`, and no size");
            reader.error(node, message, "as in rotate = \"daily\"");
            Rotate::Off
        }
        _ => {
            let size = reader.size(node, LEAST, u64::MAX);
            size.map_or(Rotate::Off, Rotate::Size)
        }
    }
}

pub(super) fn privacy(reader: &mut Reader, top: &mut Section<'_>) -> Privacy {
    let mut privacy = Privacy::default();
    let modes = [("off", false), ("gdpr", true)];
    let Some(node) = top.take("privacy") else {
        return privacy;
    };
    let mut section = match &node.value {
        Value::Text(_) | Value::Untyped(_) => {
            privacy.gdpr = reader.word(node, &modes).unwrap_or_default();
            return privacy;
        }
        Value::Table(_) => match Section::open(reader, node, "privacy") {
            Some(section) => section,
            None => return privacy,
        },
        _ => {
            reader.expected(node, "`off`, `gdpr` or a table");
            return privacy;
        }
    };
    let mode = section.take("mode");
    let mode = mode.and_then(|node| reader.word(node, &modes));
    privacy.gdpr = mode.unwrap_or(true);
    let addresses = [("truncate", Addresses::Truncate), ("hash", Addresses::Hash)];
    if let Some(node) = section.take("addresses")
        && let Some(shown) = reader.word(node, &addresses)
    {
        privacy.addresses = shown;
    }
    if let Some(node) = section.take("headers") {
        privacy.headers.clear();
        for (node, name) in reader.texts(node) {
            if !scalar::is_token(&name) {
                reader.error(&node, format!("`{name}` is no name of a header"), "");
            }
            privacy.headers.push(name.to_ascii_lowercase());
        }
    }
    if let Some(node) = section.take("retention") {
        const DAY: Duration = Duration::from_secs(86_400);
        privacy.retention = reader.duration(node);
        if privacy.retention.is_some_and(|time| time < DAY) {
            let message = "`privacy.retention` has to be a day or more";
            reader.error(node, message, "files are put aside once a day");
        }
    }
    if !privacy.gdpr {
        for key in ["addresses", "headers"] {
            if let Some(place) = section.place_of(key) {
                let message = format!("`{key}` has no effect while `mode` is `off`");
                reader.error_at(place, message, "take it out, or write mode = \"gdpr\"");
            }
        }
    }
    section.finish(reader);
    privacy
}

/// What the two make of each other: who limits how long lines are kept wants files to be put aside.
pub(super) fn together(reader: &mut Reader, top: &Section<'_>, log: &mut Log, privacy: &Privacy) {
    let at = |table: &str, key: &str| {
        let (.., node) = top.entries().iter().find(|(have, ..)| have == table)?;
        let Value::Table(table) = &node.value else {
            return None;
        };
        let found = table.iter().find(|(have, ..)| have == key);
        found.map(|(_, place, _)| place)
    };
    if privacy.gdpr
        && tells_all(&log.level)
        && let Some(place) = at("log", "level")
    {
        let message = "at this level the libraries that Umay uses tell what clients send, whatever `privacy` says";
        reader.warn(place, message, "as in level = \"info,umay=debug\"");
    }
    let (rotate, retention) = (at("log", "rotate"), at("privacy", "retention"));
    if !matches!(log.access, AccessLog::File(_)) {
        for (place, key) in [(rotate, "log.rotate"), (retention, "privacy.retention")] {
            if let Some(place) = place.filter(|_| key != "log.rotate" || log.rotate != Rotate::Off)
            {
                let message = format!("`{key}` has no effect: the access log is no file");
                reader.warn(place, message, "whoever takes the lines has to see to it");
            }
        }
        return;
    }
    if privacy.retention.is_some() && log.rotate == Rotate::Off {
        if let Some(place) = rotate {
            let message = "`privacy.retention` deletes what was put aside, and `log.rotate` is off";
            reader.error_at(place, message, "write rotate = \"daily\", or take it out");
        }
        log.rotate = Rotate::Daily;
    }
}

/// True for a filter that lets others than Umay itself tell details.
fn tells_all(filter: &str) -> bool {
    filter.split(',').map(str::trim).any(|part| {
        let (target, level) = part.split_once('=').unwrap_or(("", part));
        let detailed = ["debug", "trace"]
            .iter()
            .any(|word| level.trim().eq_ignore_ascii_case(word));
        detailed && !target.trim().starts_with("umay")
    })
}

/// What holds of logs and privacy, by its key.
pub(super) fn settings(log: &Log, privacy: &Privacy) -> Vec<(&'static str, Value)> {
    let text = Value::Text;
    let mode = if privacy.gdpr { "gdpr" } else { "off" };
    vec![
        ("log.access", text(written_target(&log.access))),
        ("log.format", text(written_format(&log.format))),
        ("log.sample", written_sample(log.sample)),
        ("log.skip", Value::List(Vec::new())),
        ("log.rotate", text(written_rotate(log.rotate))),
        ("log.events", text(written_events(log.events).to_owned())),
        ("log.level", text(log.level.clone())),
        ("privacy", text(mode.to_owned())),
    ]
}

/// The target as it is written in a document.
fn written_target(access: &AccessLog) -> String {
    match access {
        AccessLog::Off => "off".to_owned(),
        AccessLog::Stdout => "stdout".to_owned(),
        AccessLog::File(path) => path.display().to_string(),
        AccessLog::Syslog(syslog) => written_syslog(syslog),
    }
}

/// A syslog as it is written in a document.
pub fn written_syslog(syslog: &Syslog) -> String {
    match syslog {
        Syslog::Unix(path) => format!("syslog:{}", path.display()),
        Syslog::Udp(host, port) => format!("syslog:udp://{}:{port}", bracketed(host)),
        Syslog::Tcp(host, port) => format!("syslog:tcp://{}:{port}", bracketed(host)),
        Syslog::Tls(host, port, _) => format!("syslog:tls://{}:{port}", bracketed(host)),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn written_format(format: &LogFormat) -> String {
    match format {
        LogFormat::Auto => "auto".to_owned(),
        LogFormat::Json => "json".to_owned(),
        LogFormat::Text => "text".to_owned(),
        LogFormat::Custom(template) => template.to_string(),
    }
}

fn written_sample(sample: u32) -> Value {
    match sample {
        0 => Value::Integer(0),
        EVERY => Value::Integer(1),
        part => Value::Fraction(f64::from(part) / f64::from(EVERY)),
    }
}

fn written_rotate(rotate: Rotate) -> String {
    match rotate {
        Rotate::Off => "off".to_owned(),
        Rotate::Daily => "daily".to_owned(),
        Rotate::Size(size) => size.to_string(),
    }
}

fn written_events(events: EventFormat) -> &'static str {
    match events {
        EventFormat::Text => "text",
        EventFormat::Json => "json",
    }
}
