//! Routes: what they match, what they change, and where they go.

use super::*;
use crate::model::{
    Filter, HeaderEdit, HeaderMatch, HostPattern, Part, PathPattern, Protocol, Redirect, Respond,
    Route, Template, Var,
};

const ROUTE: &str = "listen = \"127.0.0.1:8080\"\n[[route]]\nto = \"a:1\"\n";

#[track_caller]
fn route(text: &str) -> Route {
    model(&format!("{ROUTE}{text}")).routes.remove(0)
}

#[track_caller]
fn action(text: &str) -> Action {
    model(&format!("{LISTEN}[[route]]\n{text}"))
        .routes
        .remove(0)
        .action
}

/// Holds a route that has these lines after `to` to one error.
#[track_caller]
fn wrong(text: &str, error: &str) {
    check(&format!("{ROUTE}{text}"), &[error]);
}

#[test]
fn what_a_route_matches() {
    let route = route(
        "name = \"api\"\nhost = [\"a.example\", \"*.B.example\"]\nhosts = \"*\"\npath = \"/api/\"\npaths = [\"=/\"]\n\
         methods = [\"GET\", \"M-SEARCH\"]\nheaders = { X-Canary = \"1\", authorization = true }\n\
         protocol = \"http\"\n",
    );
    assert_eq!(route.name, "api");
    let matches = route.matches;
    assert_eq!(
        matches.hosts,
        [
            HostPattern::Exact("a.example".to_owned()),
            HostPattern::Wildcard("b.example".to_owned()),
            HostPattern::Any,
        ]
    );
    assert_eq!(
        matches.paths,
        [
            PathPattern::Prefix("/api".to_owned()),
            PathPattern::Exact("/".to_owned())
        ]
    );
    assert_eq!(matches.methods, ["GET", "M-SEARCH"]);
    let header = |name: &str, value: Option<&str>| HeaderMatch {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    assert_eq!(
        matches.headers,
        [header("x-canary", Some("1")), header("authorization", None)]
    );
    assert_eq!(matches.protocol, Some(Protocol::Http));
    assert_eq!(
        (matches.client_cert, matches.listeners, matches.sni),
        (None, vec![], vec![])
    );
}

#[test]
fn what_a_client_certificate_must_prove() {
    let secure = "[[listener]]\nlisten = \"127.0.0.1:1\"\ncert = \"a\"\nkey = \"a\"\nclient_auth = { ca = \"a\" }\n";
    let of = |text: &str| format!("{secure}[[route]]\nto = \"a:1\"\nclient_cert = {text}\n");
    let colons = ["AB"; 32].join(":");
    let text = of(&format!(
        "{{ cn = \"c\", san = \"s\", sha256 = \"{colons}\" }}"
    ));
    let asked = model(&text).routes.remove(0).matches.client_cert.unwrap();
    assert_eq!(asked.common_name.as_deref(), Some("c"));
    assert_eq!(asked.san.as_deref(), Some("s"));
    assert_eq!(asked.sha256, Some("ab".repeat(32)));
    let any = model(&of("{}")).routes.remove(0).matches.client_cert;
    assert_eq!(any, Some(crate::model::ClientCertMatch::default()));
    check(
        &of("{ sha256 = \"ab\" }"),
        &["8:15 `sha256` is not 64 hexadecimal digits"],
    );
    check(
        &of("{ common_name = \"c\" }"),
        &["8:17 there is no key `route.client_cert.common_name`"],
    );
}

#[test]
fn where_a_route_goes() {
    assert_eq!(
        action("redirect = \"https\"\n"),
        Action::Redirect(Redirect::to_https())
    );
    assert_eq!(
        action(
            "redirect = { scheme = \"http\", host = \"B.example\", port = 81, path = \"/x\", status = 302 }\n"
        ),
        Action::Redirect(Redirect {
            scheme: Some("http".to_owned()),
            host: Some("b.example".to_owned()),
            port: Some(81),
            path: Some("/x".to_owned()),
            status: 302,
        })
    );
    assert_eq!(
        action("respond = { status = 404, body = \"no\", content_type = \"text/html\" }\n"),
        Action::Respond(Respond {
            status: 404,
            body: "no".to_owned(),
            content_type: "text/html".to_owned(),
        })
    );
    assert_eq!(action("to = \"a:1\"\n").to_string(), "upstream route-1");
    assert_eq!(
        action("to = \"web\"\n[upstream.web]\nto = \"a:1\"\n").to_string(),
        "upstream web"
    );
    let model = model(&format!("{ROUTE}balance = \"least_connections\"\n"));
    let balance = model.upstreams["route-1"].balance;
    assert_eq!(balance.as_str(), "least_connections");
}

#[test]
fn every_kind_of_balance_has_its_word() {
    let words: Vec<_> = crate::model::Balance::all()
        .map(|kind| kind.as_str())
        .collect();
    for word in &words {
        let model = model(&format!("{ROUTE}balance = \"{word}\"\n"));
        assert_eq!(model.upstreams["route-1"].balance.as_str(), *word);
    }
    let all = format!("`{}`", words.join("` or `"));
    wrong("balance = \"best\"\n", &format!("4:11 expected {all}"));
}

#[test]
fn what_a_route_changes() {
    let route = route(
        "path = [\"/a\", \"/a/b\", \"=/c\"]\nrewrite_prefix = \"/new/\"\nset_host = \"app:8080\"\nhsts = true\nmax_body = \"1KiB\"\n\
         allow_connect = true\n\
         [route.request_headers]\nremove = [\"Cookie\"]\nset = { X-Cn = \"{{{tls.client.cn}}}\" }\nadd = { Via = \"umay\" }\n\
         [route.response_headers]\nset = { X-R = \"{route}\" }\n",
    );
    let rewrite = |from: &str| Filter::RewritePrefix {
        from: from.to_owned(),
        to: "/new".to_owned(),
    };
    let set = |name: &str, parts| (name.to_owned(), Template(parts));
    let text = |text: &str| Part::Text(text.to_owned());
    let request = HeaderEdit {
        remove: vec!["cookie".to_owned()],
        set: vec![set(
            "X-Cn",
            vec![text("{"), Part::Var(Var::ClientCommonName), text("}")],
        )],
        add: vec![set("Via", vec![text("umay")])],
    };
    let response = HeaderEdit {
        set: vec![set("X-R", vec![Part::Var(Var::Route)])],
        ..HeaderEdit::default()
    };
    assert_eq!(
        route.filters,
        [
            // The longest prefix is tried first.
            rewrite("/a/b"),
            rewrite("/a"),
            Filter::SetHost("app:8080".to_owned()),
            Filter::RequestHeaders(request),
            Filter::ResponseHeaders(response),
            Filter::Hsts("max-age=31536000".to_owned()),
        ]
    );
    assert_eq!(route.max_body, Some(1024));
    assert!(route.allow_connect);
}

#[test]
fn rewriting_and_hsts_in_their_other_forms() {
    let filters = |text: &str| route(text).filters;
    let table = filters("rewrite_prefix = { from = \"/old/\", to = \"/\" }\n");
    let (from, to) = ("/old".to_owned(), String::new());
    assert_eq!(table, [Filter::RewritePrefix { from, to }]);
    assert_eq!(filters("hsts = false\n"), []);
    let text = "max-age=1; includeSubDomains".to_owned();
    assert_eq!(
        filters(&format!("hsts = \"{text}\"\n")),
        [Filter::Hsts(text)]
    );
}

#[test]
fn mistakes_in_what_is_changed() {
    let a_year = "write true for a year, or as in \"max-age=31536000; includeSubDomains\"";
    for (text, error) in [
        (
            "rewrite_prefix = \"/b\"\n",
            "4:18 this route has no path prefix to rewrite (add path, or write rewrite_prefix = { from = \"/a\", to = \"/b\" })".to_owned(),
        ),
        (
            "rewrite_prefix = \"=/b\"\n",
            "4:18 `=` belongs to paths that are matched; write \"/b\"".to_owned(),
        ),
        ("rewrite_prefix = { from = \"/a\" }\n", "4:18 `from` and `to` need each other".to_owned()),
        (
            "rewrite_prefix = { from = \"/a\", to = \"b\" }\n",
            "4:38 the path `b` has to begin with `/`, or with `=/` to match exactly".to_owned(),
        ),
        (
            "set_host = \"http://app\"\n",
            "4:12 `http://app` is more than a host; write it as \"app.internal\" or \"app.internal:8080\"".to_owned(),
        ),
        ("hsts = \"true\"\n", format!("4:8 `true` has no max-age ({a_year})")),
        ("hsts = 1\n", "4:8 expected true, false or text, found a number (as in hsts = \"max-age=31536000; includeSubDomains\")".to_owned()),
        (
            "request_headers.set = { Content-Length = \"1\" }\n",
            "4:25 `Content-Length` cannot be changed (it follows the body)".to_owned(),
        ),
        ("request_headers.remove = [\"Host\"]\n", "4:27 `Host` cannot be changed (use set_host)".to_owned()),
        ("response_headers.add = { \"a:\" = \"1\" }\n", "4:26 `a:` is no name of a header".to_owned()),
        (
            "response_headers.set = { X-A = \"1\", x-a = \"2\" }\n",
            "4:37 `x-a` is here twice (the case of a header's name makes no difference)".to_owned(),
        ),
        (
            "request_headers.set = { X = \"{client.ipp}\" }\n",
            "4:29 there is no variable `{client.ipp}`; did you mean `{client.ip}`?".to_owned(),
        ),
        (
            "request_headers.set = { X = \"{client.ip\" }\n",
            "4:29 this `{` has no `}`; for a brace itself write `{{`".to_owned(),
        ),
        (
            "request_headers.set = { X = \"a\\nb\" }\n",
            "4:29 a header cannot hold a control character".to_owned(),
        ),
        (
            "request_headers.sett = { X = \"a\" }\n",
            "4:17 there is no key `route.request_headers.sett` (did you mean `set`?)".to_owned(),
        ),
        ("max_body = \"big\"\n", "4:12 `big` is no size; write it as 1024, \"32KiB\" or \"10MiB\"".to_owned()),
    ] {
        wrong(text, &error);
    }
}
