//! What is wrong with a process, read from its status document: what, why, and what to do.
//!
//! `umay status`, `umay top` and the page for people tell the same, in this order: what concerns everybody comes
//! first, and errors before warnings.

use serde_json::{Value, json};

/// Certificates with fewer days left are told about.
const SOON: i64 = 21;

/// Endpoints that are told by name, of one upstream.
const NAMED: usize = 3;

/// Certificates that are told one by one.
const CERTIFICATES: usize = 5;

/// All that is wrong.
pub(super) fn problems(status: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    stage(status, &mut found);
    config(status, &mut found);
    for upstream in list(status, "upstreams") {
        discovery(upstream, &mut found);
        endpoints(upstream, &mut found);
        queue(upstream, &mut found);
    }
    certificates(status, &mut found);
    unfit(status, &mut found);
    files(status, &mut found);
    found.sort_by_key(|problem| problem.severity);
    found.iter().map(Problem::told).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Error,
    Warning,
}

struct Problem {
    severity: Severity,
    about: String,
    what: String,
    hint: &'static str,
}

impl Problem {
    fn told(&self) -> Value {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        json!({ "severity": severity, "about": self.about, "what": self.what, "hint": self.hint })
    }
}

fn error(about: &str, what: impl Into<String>, hint: &'static str) -> Problem {
    Problem {
        severity: Severity::Error,
        about: about.to_owned(),
        what: what.into(),
        hint,
    }
}

fn warning(about: &str, what: impl Into<String>, hint: &'static str) -> Problem {
    Problem {
        severity: Severity::Warning,
        ..error(about, what, hint)
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let list = value.get(name).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or(0)
}

fn stage(status: &Value, found: &mut Vec<Problem>) {
    found.extend(match text(status, "/stage") {
        "starting" => Some(error(
            "process",
            "it is starting, and not all listeners accept connections yet",
            "wait; if it lasts, its event log says for what it waits",
        )),
        "draining" => Some(error(
            "process",
            "it is shutting down, and finishes what is open",
            "nothing, if somebody wanted it to end",
        )),
        _ => None,
    });
}

fn config(status: &Value, found: &mut Vec<Problem>) {
    let why = text(status, "/config/refused");
    if !why.is_empty() {
        found.push(error(
            "configuration",
            format!("the last one was refused, so the one before is served: {why}"),
            "`umay check FILE` says where; correct it, then `umay reload` or SIGHUP",
        ));
    }
}

fn discovery(upstream: &Value, found: &mut Vec<Problem>) {
    let about = format!("upstream {}", text(upstream, "/name"));
    let why = text(upstream, "/discovery/problem");
    let known = upstream.pointer("/discovery/known") != Some(&Value::Bool(false));
    let hint = "check what is asked (name server, registry or file), and that it can be reached";
    if !why.is_empty() {
        found.push(match known {
            true => warning(
                &about,
                format!("endpoints are those of the last good answer: {why}"),
                hint,
            ),
            false => error(&about, format!("no endpoints are known: {why}"), hint),
        });
    } else if !known {
        found.push(warning(
            &about,
            "discovery has not answered yet",
            "wait a moment",
        ));
    }
}

/// Who rests has asked for it, and who drains was told to: neither is wrong.
fn endpoints(upstream: &Value, found: &mut Vec<Problem>) {
    let about = format!("upstream {}", text(upstream, "/name"));
    let all = list(upstream, "endpoints");
    let known = upstream.pointer("/discovery/known") != Some(&Value::Bool(false));
    if all.is_empty() {
        // Where clients are headed is nobody's list.
        let asked = upstream
            .pointer("/discovery/age_s")
            .is_some_and(|age| !age.is_null());
        if known && asked {
            found.push(error(
                &about,
                "it has no endpoints, so all its requests are refused",
                "see what its names, file or registry list",
            ));
        }
        return;
    }
    let is = |endpoint: &&Value, words: &[&str]| words.contains(&text(endpoint, "/standing"));
    let bad = |endpoint: &&Value| is(endpoint, &["ill", "ejected", "failing"]);
    let wrong: Vec<_> = all.iter().filter(bad).collect();
    let usable = all
        .iter()
        .filter(|endpoint| is(endpoint, &["well", "resting"]))
        .count();
    let mut names: Vec<_> = wrong.iter().take(NAMED).map(|e| named(e)).collect();
    if wrong.len() > NAMED {
        names.push(format!("and {} more", wrong.len() - NAMED));
    }
    let names = names.join("; ");
    let hint = "see whether it runs and can be reached from here; it is used again when it is well";
    if usable == 0 && !wrong.is_empty() {
        found.push(error(
            &about,
            format!("none of its {} endpoints is well: {names}", all.len()),
            hint,
        ));
    } else if !wrong.is_empty() {
        found.push(warning(
            &about,
            match wrong.len() {
                1 => format!("1 of its {} endpoints is not well: {names}", all.len()),
                many => format!(
                    "{many} of its {} endpoints are not well: {names}",
                    all.len()
                ),
            },
            hint,
        ));
    } else if usable == 0 {
        found.push(error(
            &about,
            "all its endpoints are draining, so all its requests are refused",
            "`umay endpoint undrain` ends that",
        ));
    }
}

fn named(endpoint: &Value) -> String {
    let (address, standing) = (text(endpoint, "/address"), text(endpoint, "/standing"));
    match text(endpoint, "/why") {
        "" => format!("{address} is {standing}"),
        why => format!("{address} is {standing} ({why})"),
    }
}

fn queue(upstream: &Value, found: &mut Vec<Problem>) {
    let waiting = number(upstream, "/waiting");
    if waiting > 0 {
        found.push(warning(
            &format!("upstream {}", text(upstream, "/name")),
            format!("{waiting} requests wait for room: as many are in flight as may be"),
            "add endpoints, or raise its limits if they can bear more",
        ));
    }
}

fn certificates(status: &Value, found: &mut Vec<Problem>) {
    let days = |certificate: &Value| certificate.get("days_left").and_then(Value::as_i64);
    let mut ending: Vec<_> = list(status, "certificates")
        .iter()
        .filter_map(|certificate| Some((days(certificate)?, certificate)))
        .filter(|(days, _)| *days < SOON)
        .collect();
    ending.sort_by_key(|(days, _)| *days);
    for (days, certificate) in ending.iter().take(CERTIFICATES) {
        let (first, more) = match list(certificate, "names") {
            [] => ("", 0),
            [first, rest @ ..] => (first.as_str().unwrap_or_default(), rest.len()),
        };
        let about = match more {
            0 => format!("certificate for {first}"),
            _ => format!("certificate for {first} and {more} more"),
        };
        let when = match days {
            ..0 => "it has expired, and clients refuse it".to_owned(),
            0 => "it expires within a day".to_owned(),
            1 => "it expires in 1 day".to_owned(),
            days => format!("it expires in {days} days"),
        };
        let file = text(certificate, "/files/0");
        let what = format!("{when} ({file})");
        let hint = "renew it; the file is read again when it changes, or by `umay reload`";
        found.push(match days {
            ..0 => error(&about, what, hint),
            _ => warning(&about, what, hint),
        });
    }
    if ending.len() > CERTIFICATES {
        let more = ending.len() - CERTIFICATES;
        found.push(warning(
            "certificates",
            format!("{more} more expire within {SOON} days or have expired"),
            "the list is in /status",
        ));
    }
}

/// Pairs that are not served as they are on the disk.
fn unfit(status: &Value, found: &mut Vec<Problem>) {
    let unfit = list(status, "certificates_unfit");
    for why in unfit.iter().take(CERTIFICATES) {
        found.push(warning(
            "certificates",
            why.as_str().unwrap_or_default().to_owned(),
            "what was read before is served; the files are read again when they change",
        ));
    }
}

fn files(status: &Value, found: &mut Vec<Problem>) {
    let (open, most) = (
        number(status, "/process/open_fds"),
        number(status, "/process/max_fds"),
    );
    if most > 0 && open >= most.saturating_mul(9) / 10 {
        found.push(warning(
            "process",
            format!(
                "{open} of {most} file descriptors are open; without more, connections are refused"
            ),
            "raise the limit (LimitNOFILE= of systemd, ulimit -n)",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong, as `severity about: what`.
    fn told(status: &Value) -> Vec<String> {
        let line = |problem: &Value| {
            assert!(!text(problem, "/hint").is_empty());
            let words = ["/severity", "/about", "/what"].map(|part| text(problem, part));
            format!("{} {}: {}", words[0], words[1], words[2])
        };
        problems(status).iter().map(line).collect()
    }

    fn upstream(standings: &[(&str, &str)]) -> Value {
        let endpoints: Vec<_> = standings
            .iter()
            .enumerate()
            .map(|(n, (standing, why))| json!({ "address": format!("e{n}"), "standing": standing, "why": why }))
            .collect();
        json!({ "upstreams": [{ "name": "app", "endpoints": endpoints }] })
    }

    #[test]
    fn nothing_is_wrong_with_what_is_well() {
        for status in [
            json!({}),
            json!(null),
            json!({ "stage": "ready", "config": { "refused": null } }),
            upstream(&[("well", ""), ("resting", "Retry-After"), ("draining", "")]),
            upstream(&[]),
            json!({ "certificates": [{ "names": ["a"], "days_left": 21 }] }),
            json!({ "process": { "open_fds": 899, "max_fds": 1000 } }),
        ] {
            assert_eq!(told(&status), [""; 0], "{status}");
        }
    }

    #[test]
    fn endpoints_that_are_not_well_are_told_with_why() {
        let check = |standings: &[(&str, &str)], what: &str| {
            assert_eq!(told(&upstream(standings)), [what]);
        };
        check(
            &[("well", ""), ("ill", "refused")],
            "warning upstream app: 1 of its 2 endpoints is not well: e1 is ill (refused)",
        );
        check(
            &[("ejected", "5 in a row"), ("draining", "")],
            "error upstream app: none of its 2 endpoints is well: e0 is ejected (5 in a row)",
        );
        check(
            &[("draining", "")],
            "error upstream app: all its endpoints are draining, so all its requests are refused",
        );
        check(
            &[
                ("ill", "x"),
                ("ill", ""),
                ("failing", "y"),
                ("ill", "z"),
                ("ill", "z"),
            ],
            "error upstream app: none of its 5 endpoints is well: e0 is ill (x); e1 is ill; e2 is failing (y); and 2 more",
        );
    }

    #[test]
    fn errors_come_first() {
        let status = json!({
            "stage": "draining",
            "config": { "refused": "line 3" },
            "upstreams": [
                { "name": "a", "discovery": { "known": true, "problem": "no answer", "age_s": 3 },
                  "endpoints": [{ "standing": "well" }], "waiting": 2 },
                { "name": "b", "discovery": { "known": false, "problem": "no such name", "age_s": null }, "endpoints": [] },
                { "name": "c", "discovery": { "known": true, "problem": null, "age_s": 0 }, "endpoints": [] },
            ],
            "certificates": [
                { "names": ["x", "y"], "days_left": 20, "files": ["x.pem", "x.key"] },
                { "names": ["z"], "days_left": -1, "files": ["z.pem", "z.key"] },
            ],
            "process": { "open_fds": 900, "max_fds": 1000 },
        });
        let about = |line: &String| line.split(':').next().unwrap().to_owned();
        assert_eq!(
            told(&status).iter().map(about).collect::<Vec<_>>(),
            [
                "error process",
                "error configuration",
                "error upstream b",
                "error upstream c",
                "error certificate for z",
                "warning upstream a",
                "warning upstream a",
                "warning certificate for x and 1 more",
                "warning process",
            ]
        );
    }
}
