//! What an upstream is told, and what would come of it.

use super::*;
use crate::model::Balance;

/// What is written behind it begins in line 5.
const APP: &str = "listen = \"127.0.0.1:8080\"\nto = \"app\"\n[upstream.app]\nto = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n";

/// What only requests in HTTP have, at raw streams.
#[test]
fn raw_streams_are_not_told_what_they_do_not_have() {
    let document = |route: &str, to: &str, text: &str| {
        format!(
            "[[listener]]\nlisten = \"127.0.0.1:1\"\ncert = \"a\"\nkey = \"a\"\n[[route]]\n{route}to = \"app\"\n[upstream.app]\nto = \"{to}\"\n{text}"
        )
    };
    for (text, key, lack, hint) in [
        ("sticky = \"a\"\n", "sticky", "cookies", "take it out"),
        (
            "hedge = {}\n",
            "hedge",
            "answer that could be late",
            "take it out",
        ),
        (
            "retry.statuses = [503]\n",
            "retry.statuses",
            "statuses",
            "take it out",
        ),
    ] {
        check(&document("", "a:1", text), &[]);
        check(&document("protocol = \"http\"\n", "a:1", text), &[]);
        let told = |line: u32| {
            let column = if key.contains('.') { 18 } else { 1 };
            format!(
                "{line}:{column} `{key}` has no effect: only raw streams go to upstream `app`, and they have no {lack} ({hint})"
            )
        };
        check(&document("", "tcp://a:1", text), &[&told(9)]);
        check(
            &document("protocol = \"mqtt\"\n", "a:1", text),
            &[&told(10)],
        );
        check(
            &document("sni = \"a\"\npassthrough = true\n", "a:1", text),
            &[&told(11)],
        );
        // One route in HTTP is enough.
        let both = format!(
            "{}[[route]]\npath = \"/a\"\nto = \"app\"\n",
            document("protocol = \"mqtt\"\n", "a:1", text)
        );
        check(&both, &[]);
    }
    // Attempts elsewhere are for raw streams, too.
    check(&document("", "tcp://a:1", "retry.attempts = 2\n"), &[]);
    if Balance::named("consistent_hash").is_none() {
        return;
    }
    let hash = |by: &str| format!("balance = \"consistent_hash\"\nhash_by = \"{by}\"\n");
    for by in ["client_ip", "sni"] {
        check(&document("", "tcp://a:1", &hash(by)), &[]);
    }
    for by in ["path", "header:a", "cookie:a"] {
        check(&document("", "a:1", &hash(by)), &[]);
        check(
            &document("", "tcp://a:1", &hash(by)),
            &[
                "10:1 `hash_by` has no effect: only raw streams go to upstream `app`, and they have no paths, headers or cookies (hash by client_ip or sni)",
            ],
        );
    }
    let plain = format!(
        "{LISTEN}to = \"app\"\n[upstream.app]\nto = \"http://a\"\n{}",
        hash("sni")
    );
    check(
        &plain,
        &[
            "6:1 `hash_by` has no effect: no listener whose requests go to upstream `app` has TLS, so there is no server name (add cert and key to the listener, or hash by client_ip)",
        ],
    );
    check(&document("", "http://a", &hash("sni")), &[]);
}

#[test]
fn what_can_never_happen_is_a_warning() {
    let off = "outlier = \"off\"\n";
    check_warnings(&format!("{APP}panic = 50\n"), &[]);
    check_warnings(&format!("{APP}panic = 0\n{off}"), &[]);
    check_warnings(&format!("{APP}panic = 50\n{off}probe = {{}}\n"), &[]);
    check_warnings(
        &format!("{APP}panic = 50\n{off}"),
        &[
            "5:1 `panic` has no effect: nothing finds out that an endpoint is ill (add a probe, or let `outlier` on)",
        ],
    );
    let hedged = |to: &str| format!("{LISTEN}to = \"app\"\n[upstream.app]\n{to}\nhedge = {{}}\n");
    check_warnings(
        &hedged("to = \"http://127.0.0.1\""),
        &[
            "5:1 `hedge` has no effect: there is no second endpoint to ask (add one, or take it out)",
        ],
    );
    // A name may have several addresses.
    check_warnings(&hedged("to = \"http://a\""), &[]);
    check_warnings(
        &hedged("to = [\"http://127.0.0.1\", \"http://127.0.0.2\"]"),
        &[],
    );
    check_warnings(
        &hedged("to = \"http://127.0.0.1\"\ndiscover.srv = \"a\""),
        &[],
    );
    // Verified by the probe alone, as it has to be where TLS is passed through.
    let tls = format!("{LISTEN}to = \"app\"\n[upstream.app]\nto = \"a:1\"\ntls.ca = \"ca\"\n");
    check(&format!("{tls}probe.kind = \"tls\"\n"), &[]);
    check(
        &format!("{tls}probe.kind = \"tcp\"\n"),
        &[
            "3:11 upstream `app` says how to speak TLS, but all its endpoints are in plaintext (write them as https://, h2:// or tls://)",
        ],
    );
}
