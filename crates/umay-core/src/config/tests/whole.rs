//! What parts of a document make of each other, both sides of each check.

use super::*;

const SECURE: &str = "[[listener]]\nlisten = \"127.0.0.1:1\"\ncert = \"a\"\nkey = \"a\"\n";

fn route(text: &str) -> String {
    format!("{LISTEN}[[route]]\n{text}")
}

#[test]
fn what_a_route_matches_its_endpoints_serve() {
    let http = "route `route-1` can never be taken: it matches HTTP, and upstream `route-1` carries raw streams";
    let http_hint = "write its endpoints as host:port or http://";
    let raw = "route `route-1` carries raw streams, and upstream `route-1` speaks only HTTP";
    let raw_hint = "write its endpoints as host:port or tcp://";
    for (rest, good, bad, error, hint) in [
        ("path = \"/a\"\n", "http://a", "tcp://a:1", http, http_hint),
        (
            "host = \"a.example\"\n",
            "a:1",
            "tls://a:1",
            http,
            http_hint,
        ),
        ("protocol = \"http\"\n", "a:1", "tcp://a:1", http, http_hint),
        ("protocol = \"mqtt\"\n", "a:1", "http://a", raw, raw_hint),
        (
            "protocol = \"tcp\"\n",
            "tls://a:1",
            "https://a",
            raw,
            raw_hint,
        ),
        (
            "passthrough = true\n",
            "tcp://a:1",
            "https://a",
            raw,
            raw_hint,
        ),
    ] {
        check(&route(&format!("{rest}to = \"{good}\"\n")), &[]);
        // One endpoint that serves is enough.
        check(
            &route(&format!("{rest}to = [\"{good}\", \"{bad}\"]\n")),
            &[],
        );
        check(
            &route(&format!("{rest}to = \"{bad}\"\n")),
            &[&format!("2:1 {error} ({hint})")],
        );
    }
}

#[test]
fn raw_streams_have_nothing_of_http() {
    let matched = "2:1 route `route-1` carries raw streams, which have no host, path, method or header to match (match by sni, protocol, listeners or client_cert)";
    for text in [
        "protocol = \"tcp\"\nhost = \"a.example\"\n",
        "protocol = \"mqtt\"\npath = \"/a\"\n",
        "passthrough = true\nhost = \"a.example\"\n",
        "protocol = \"tcp\"\nmethods = [\"GET\"]\n",
        "protocol = \"tcp\"\nheaders = { a = true }\n",
        "protocol = \"tcp\"\nallow_connect = true\n",
    ] {
        check(&route(&format!("{text}to = \"a:1\"\n")), &[matched]);
    }
    check(
        &route("protocol = \"tcp\"\nhost = \"*\"\nsni = \"a.example\"\nto = \"a:1\"\n"),
        &[],
    );
    let changed = "2:1 route `route-1` carries raw streams, in which no header, path or body can be told apart (take the changes out (or max_body), or write its endpoints as http://)";
    for text in [
        "to = \"tcp://a:1\"\nset_host = \"b\"\n",
        "to = \"a:1\"\nprotocol = \"mqtt\"\nmax_body = 1\n",
        "to = \"a:1\"\npassthrough = true\nresponse_headers.remove = [\"server\"]\n",
    ] {
        check(&route(text), &[changed]);
    }
    check(&route("to = \"a:1\"\nset_host = \"b\"\n"), &[]);
    let answers = "2:1 route `route-1` answers in HTTP, which no raw stream understands (let it go `to` endpoints)";
    check(&route("protocol = \"tcp\"\nrespond = {}\n"), &[answers]);
    check(
        &route("passthrough = true\nredirect = \"https\"\n"),
        &[answers],
    );
    check(&route("protocol = \"http\"\nrespond = {}\n"), &[]);
}

#[test]
fn an_answer_of_umays_own_has_no_endpoint() {
    let error = "2:1 route `route-1` changes what its endpoints see, but answers without an endpoint (take rewrite_prefix, set_host, request_headers and allow_connect out)";
    for text in [
        "set_host = \"a\"\n",
        "request_headers.remove = [\"a\"]\n",
        "path = \"/a\"\nrewrite_prefix = \"/b\"\n",
        "allow_connect = true\n",
    ] {
        check(&route(&format!("respond = {{}}\n{text}")), &[error]);
        check(&route(&format!("redirect = \"https\"\n{text}")), &[error]);
    }
    check(
        &route("respond = {}\nresponse_headers.set = { a = \"b\" }\n"),
        &[],
    );
}

#[test]
fn what_is_passed_through_is_not_seen() {
    let base = |text: &str| {
        format!(
            "{SECURE}client_auth = {{ ca = \"a\" }}\n[[route]]\nto = \"a:1\"\nsni = \"a.example\"\n{text}"
        )
    };
    check(&base("passthrough = true\n"), &[]);
    check(&base("passthrough = true\nprotocol = \"tcp\"\n"), &[]);
    let unseen = "6:1 route `route-1` passes TLS through unopened, so it sees no client certificate (take client_cert or passthrough out)";
    check(
        &base("passthrough = true\nclient_cert.cn = \"a\"\n"),
        &[unseen],
    );
    check(&base("client_cert.cn = \"a\"\n"), &[]);
    let inside = "6:1 route `route-1` passes TLS through unopened, so it does not see the protocol inside (take protocol or passthrough out)";
    for protocol in ["http", "mqtt"] {
        check(
            &base(&format!("passthrough = true\nprotocol = \"{protocol}\"\n")),
            &[inside],
        );
    }
    let twice = "2:1 route `route-1` passes TLS through unopened, and `tls://` puts a second TLS around it (write its endpoints as host:port or tcp://)";
    check_warnings(&route("passthrough = true\nto = \"tls://a:1\"\n"), &[twice]);
    check_warnings(&route("passthrough = true\nto = \"tcp://a:1\"\n"), &[]);
}

#[test]
fn listeners_can_show_what_a_route_asks_for() {
    let cert = "route `route-1` can never be taken: no listener of it asks for certificates (add client_auth to its listener)";
    check(
        &route("to = \"a:1\"\nclient_cert = {}\n"),
        &[&format!("2:1 {cert}")],
    );
    let with_cert = format!("{SECURE}client_auth = {{ ca = \"a\" }}\n");
    // One listener that can is enough, unless the route names another.
    let text = format!(
        "{with_cert}[[listener]]\nname = \"b\"\nlisten = \"127.0.0.1:2\"\n[[route]]\nto = \"a:1\"\nclient_cert = {{}}\n[[route]]\nto = \"b:1\"\n"
    );
    check(&text, &[]);
    check(
        &text.replacen("client_cert", "listeners = [\"b\"]\nclient_cert", 1),
        &[&format!("9:1 {cert}")],
    );
    let sni = "route `route-1` can never be taken: it matches by sni, and no listener of it has TLS (add cert and key to its listener, or match by host)";
    check(
        &route("to = \"http://a\"\nsni = \"a.example\"\n"),
        &[&format!("2:1 {sni}")],
    );
    check(
        &format!("{SECURE}[[route]]\nto = \"http://a\"\nsni = \"a.example\"\n"),
        &[],
    );
    // TLS that is not opened is a raw stream with a name.
    check(&route("to = \"tcp://a:1\"\nsni = \"a.example\"\n"), &[]);
    let hsts = "2:1 `hsts` of route `route-1` has no effect: no listener of it has TLS (add cert and key to its listener)";
    check_warnings(&route("to = \"http://a\"\nhsts = true\n"), &[hsts]);
    check_warnings(
        &format!("{SECURE}[[route]]\nto = \"http://a\"\nhsts = true\n"),
        &[],
    );
}

#[test]
fn listeners_have_routes_and_addresses_of_their_own() {
    let two = "[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\n[[listener]]\nname = \"b\"\nlisten = \"127.0.0.1:2\"\n";
    check(
        &format!("{two}[[route]]\nlisteners = [\"a\"]\nto = \"a:1\"\n"),
        &["4:1 listener `b` has no route (add a route for it)"],
    );
    check(&format!("{two}[[route]]\nto = \"a:1\"\n"), &[]);
    let admin = "1:10 listener `127.0.0.1:8080` is where the admin listener is (give admin.bind another address, or \"off\")";
    check(
        &format!("{BASE}admin.bind = \"127.0.0.1:8080\"\n"),
        &[admin],
    );
    check(&format!("{BASE}admin.bind = \"127.0.0.1:8081\"\n"), &[]);
    check(
        "listen = \"127.0.0.1:0\"\nto = \"a:1\"\nadmin.bind = \"127.0.0.1:0\"\n",
        &[],
    );
    // What could not be read is not missed a second time.
    check(
        &format!("{LISTEN}[[route]]\nto = \"a\"\n"),
        &["3:6 there is no upstream `a` (an endpoint is written as host:port)"],
    );
}

#[test]
fn tls_settings_without_tls() {
    let app = |to: &str| {
        format!("{LISTEN}to = \"app\"\n[upstream.app]\nto = \"{to}\"\ntls.ca = \"ca.pem\"\n")
    };
    let error = "3:11 upstream `app` says how to speak TLS, but all its endpoints are in plaintext (write them as https://, h2:// or tls://)";
    check(&app("10.0.0.1:443"), &[error]);
    check(&app("http://a"), &[error]);
    check(&app("https://a"), &[]);
    check(&app("tls://a:1"), &[]);
}

#[test]
fn what_is_of_no_use_is_a_warning() {
    let unused = "3:11 no route goes to upstream `app` (name it in a route's `to`, or take it out)";
    check_warnings(&format!("{BASE}[upstream.app]\nto = \"a:1\"\n"), &[unused]);
    let late = |text: &str| format!("{LISTEN}[[route]]\n{text}[[route]]\nto = \"b:1\"\n");
    let never = "4:1 route `route-2` is never taken: route `route-1` matches the same and comes first (let them match different things)";
    check_warnings(&late("to = \"a:1\"\n"), &[never]);
    let respond = "4:1 route `route-2` is never taken";
    // HTTP goes to one and all else to the other; plaintext to one and TLS to the other.
    for text in [
        "to = \"http://a\"\n",
        "respond = {}\n",
        "redirect = \"https\"\n",
        "path = \"/a\"\nto = \"a:1\"\n",
    ] {
        check_warnings(&late(text), &[]);
    }
    let both = late("respond = {}\n").replace("b:1", "http://b");
    let told: Vec<_> = loaded(&both).warnings.iter().map(told).collect();
    assert!(told.len() == 1 && told[0].starts_with(respond), "{told:?}");
    check_warnings(
        &format!("{BASE}[[route]]\nto = \"a:1\"\n"),
        &[
            "2:6 route `default` is never taken: route `route-1` matches the same and comes first (let them match different things)",
        ],
    );
}
