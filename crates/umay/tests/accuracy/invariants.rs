//! What has to be true of every page, whatever was done: sums that agree with each other.

use umay_test::scrape::Scrape;

/// What is not as it should be on a page at rest, on which `lost` requests found no route.
pub(crate) fn broken(page: &Scrape, lost: f64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut agree = |what: &str, one: f64, other: f64| {
        if one != other {
            wrong.push(format!("{what}: {one} and {other}"));
        }
    };
    let sum = |name: &str| page.sum(name, &[]);
    agree(
        "answers, and requests with and without a route",
        sum("umay_http_responses_total"),
        sum("umay_http_requests_total") + lost,
    );
    for (histogram, counter) in [
        (
            "umay_protocol_detection_seconds",
            "umay_protocol_detected_total",
        ),
        (
            "umay_tcp_connection_duration_seconds",
            "umay_tcp_connections_total",
        ),
        (
            "umay_http_request_duration_seconds",
            "umay_http_requests_total",
        ),
        (
            "umay_upstream_connect_duration_seconds",
            "umay_upstream_connections_opened_total",
        ),
    ] {
        let count = sum(&format!("{histogram}_count"));
        agree(histogram, count, sum(counter));
    }
    agree(
        "handshakes that were timed, and that went well",
        sum("umay_tls_handshake_duration_seconds_count"),
        page.sum("umay_tls_handshakes_total", &[("result", "ok")]),
    );
    agree(
        "handshakes that failed, and their reasons",
        page.sum("umay_tls_handshakes_total", &[("result", "failed")]),
        sum("umay_tls_failures_total"),
    );
    for (route, requests) in page.by("umay_http_requests_total", "route") {
        let timed = page.sum(
            "umay_http_request_duration_seconds_count",
            &[("route", route)],
        );
        agree(route, requests, timed);
    }
    by_class(page, lost, &mut wrong);
    to_endpoints(page, &mut wrong);
    within(page, &mut wrong);
    wrong
}

/// What found no route is the difference between answers by status and requests by class.
fn by_class(page: &Scrape, lost: f64, wrong: &mut Vec<String>) {
    let mut left = lost;
    for class in ["1xx", "2xx", "3xx", "4xx", "5xx"] {
        let answers: f64 = page
            .by("umay_http_responses_total", "code")
            .into_iter()
            .filter(|(code, _)| code.starts_with(&class[..1]))
            .map(|(_, count)| count)
            .sum();
        let requests = page.sum("umay_http_requests_total", &[("code_class", class)]);
        if answers < requests {
            wrong.push(format!("{class}: {answers} answers, {requests} requests"));
        }
        left -= answers - requests;
    }
    if left != 0.0 {
        wrong.push(format!(
            "{left} requests without a route and without a class"
        ));
    }
}

/// What was given to endpoints has ended in some way, and each attempt belongs to a request.
fn to_endpoints(page: &Scrape, wrong: &mut Vec<String>) {
    let picks = page.by("umay_endpoint_picks_total", "upstream");
    for (upstream, picks) in &picks {
        let labels = [("upstream", *upstream)];
        let ended = page.sum("umay_upstream_attempts_total", &labels);
        let open = page.sum("umay_endpoint_in_flight", &labels);
        if *picks != ended + open {
            wrong.push(format!(
                "{upstream}: {picks} picks, {ended} ended, {open} not"
            ));
        }
        let failed = page.sum("umay_endpoint_failures_total", &labels);
        if failed > *picks {
            wrong.push(format!("{upstream}: {failed} of {picks} failed"));
        }
        let answers = "umay_upstream_request_duration_seconds_count";
        if page.sum(answers, &labels) > *picks {
            wrong.push(format!("{upstream}: more answers than requests"));
        }
    }
    // Who was beaten to the last room is picked for again.
    let beaten = page.sum("umay_upstream_attempts_total", &[("outcome", "queue_full")]);
    let picks: f64 = picks.values().sum();
    let retries = page.sum("umay_retries_total", &[]);
    let requests = page.sum("umay_upstream_requests_total", &[]);
    let without: f64 = ["no_endpoint", "queue_full", "queue_timeout"]
        .map(|reason| page.sum("umay_refusals_total", &[("reason", reason)]))
        .iter()
        .sum();
    if picks - beaten - retries > requests || picks - beaten - retries < requests - without {
        wrong.push(format!(
            "{requests} requests, of which {without} got no endpoint, and {retries} retries, but {picks} picks"
        ));
    }
    let bought = page.sum("umay_upstream_retries_total", &[("result", "retried")]);
    if bought > retries {
        wrong.push(format!("{bought} retries were paid for, {retries} made"));
    }
}

/// What is counted twice, in all and in part, is no more in part.
fn within(page: &Scrape, wrong: &mut Vec<String>) {
    let refusals = page.by("umay_refusals_total", "reason");
    for (part, label) in [
        ("umay_tcp_connections_total", "close_reason"),
        ("umay_tls_failures_total", "reason"),
    ] {
        for (reason, count) in page.by(part, label) {
            let all = refusals.get(reason).copied().unwrap_or_default();
            if reason != "ok" && count > all {
                wrong.push(format!("{part}: {count} {reason} of {all}"));
            }
        }
    }
    for (less, more) in [
        (
            "umay_connections_refused_total",
            "umay_connections_accepted_total",
        ),
        (
            "umay_upstream_connections_closed_total",
            "umay_upstream_connections_opened_total",
        ),
        ("umay_access_log_dropped_total", "umay_http_responses_total"),
    ] {
        let (less_count, more_count) = (page.sum(less, &[]), page.sum(more, &[]));
        if less_count > more_count {
            wrong.push(format!("{less} is {less_count}, {more} {more_count}"));
        }
    }
}
