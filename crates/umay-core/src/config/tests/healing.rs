//! What happens when an endpoint is ill or busy.

use super::*;
use crate::model::{Hedge, Outlier, Retry, UpstreamLimits};

#[test]
fn when_one_is_ejected() {
    let outlier = |text: &str| upstream(text).outlier;
    assert_eq!(
        outlier(
            "[upstream.app.outlier]\nconsecutive = 3\nsuccess_rate = 80\nmin_requests = 100\nwindow = \"30s\"\nbase = \"1s\"\nmax = \"1m\"\nmax_ejected = 30\n"
        ),
        Outlier {
            consecutive: 3,
            success_rate: 80,
            min_requests: 100,
            window: ms(30_000),
            base: ms(1000),
            max: ms(60_000),
            max_ejected: 30,
        }
    );
    let off = Outlier {
        consecutive: 0,
        success_rate: 0,
        ..Outlier::default()
    };
    assert_eq!(outlier("outlier = \"off\"\n"), off);
    let both = "outlier.consecutive = 0\noutlier.success_rate = 0\n";
    assert_eq!(outlier(both), off);
    assert_eq!(outlier("outlier = {}\n"), Outlier::default());
    // Both sides of each bound.
    assert_eq!(outlier("outlier.consecutive = 10000\n").consecutive, 10_000);
    assert_eq!(outlier("outlier.success_rate = 100\n").success_rate, 100);
    assert_eq!(outlier("outlier.min_requests = 1\n").min_requests, 1);
    assert_eq!(outlier("outlier.max_ejected = 1\n").max_ejected, 1);
    assert_eq!(outlier("outlier.max_ejected = 100\n").max_ejected, 100);
    // The longest follows the first, if it is not told.
    let long = outlier("outlier.base = \"10m\"\n");
    assert_eq!((long.base, long.max), (ms(600_000), ms(600_000)));
    assert_eq!(
        outlier("outlier = { base = \"1m\", max = \"1m\" }\n").max,
        ms(60_000)
    );
}

#[test]
fn mistakes_in_ejection() {
    wrong(&[
        ("outlier = \"on\"\n", "5:11 expected `off` or a table"),
        (
            "outlier = false\n",
            "5:11 expected `off` or a table, found true or false (as in outlier = \"off\")",
        ),
        (
            "outlier.consecutive = 10001\n",
            "5:23 this has to be from 0 to 10000",
        ),
        (
            "outlier.success_rate = 101\n",
            "5:24 this has to be from 0 to 100",
        ),
        (
            "outlier.min_requests = 0\n",
            "5:24 this has to be from 1 to 1000000",
        ),
        (
            "outlier.max_ejected = 0\n",
            "5:23 this has to be from 1 to 100",
        ),
        (
            "outlier.max_ejected = 101\n",
            "5:23 this has to be from 1 to 100",
        ),
        (
            "outlier.window = \"0s\"\n",
            "5:18 `upstream.NAME.outlier.window` cannot be zero",
        ),
        (
            "outlier.base = \"0s\"\n",
            "5:16 `upstream.NAME.outlier.base` cannot be zero",
        ),
        (
            "outlier = { base = \"2m\", max = \"1m\" }\n",
            "5:26 `max` is shorter than `base` (raise max, or lower base)",
        ),
        (
            "outlier.max = \"9s\"\n",
            "5:9 `max` is shorter than `base` (raise max, or lower base)",
        ),
        (
            "outlier = { success_rate = 0, window = \"1s\" }\n",
            "5:31 `window` has no effect while `success_rate` is 0 (take it out)",
        ),
        (
            "outlier = { success_rate = 0, min_requests = 1 }\n",
            "5:31 `min_requests` has no effect while `success_rate` is 0 (take it out)",
        ),
        (
            "outlier = { success_rate = 0, consecutive = 0, max = \"1m\" }\n",
            "5:48 `max` has no effect while nothing is ejected (raise consecutive or success_rate, or write outlier = \"off\")",
        ),
        (
            "outlier.consecutiv = 1\n",
            "5:9 there is no key `upstream.NAME.outlier.consecutiv` (did you mean `consecutive`?)",
        ),
    ]);
}

#[test]
fn when_a_request_is_tried_elsewhere() {
    let retry = |text: &str| upstream(text).retry;
    assert_eq!(
        retry(
            "[upstream.app.retry]\nattempts = 4\nstatuses = [429, 503]\nbackoff = \"0s\"\nbudget = 10\nfloor = 1\n"
        ),
        Retry {
            attempts: 4,
            statuses: vec![429, 503],
            backoff: ms(0),
            budget: 10,
            floor: 1,
        }
    );
    let off = Retry {
        attempts: 1,
        ..Retry::default()
    };
    assert_eq!(retry("retry = \"off\"\n"), off);
    assert_eq!(retry("retry.attempts = 1\n"), off);
    assert_eq!(retry("retry.attempts = 10\n").attempts, 10);
    assert!(retry("retry.statuses = []\n").statuses.is_empty());
    assert_eq!(retry("retry.statuses = 599\n").statuses, [599]);
    assert_eq!(retry("retry.statuses = [400]\n").statuses, [400]);
    assert_eq!(retry("retry.budget = 0\n").budget, 0);
    assert_eq!(retry("retry.budget = 100\nretry.floor = 0\n").floor, 0);
    assert_eq!(retry("retry.floor = 10000\n").floor, 10_000);
    assert_eq!(
        retry("retry = { attempts = 3, backoff = \"1s\" }\n").backoff,
        ms(1000)
    );
    wrong(&[
        ("retry = \"never\"\n", "5:9 expected `off` or a table"),
        (
            "retry = 2\n",
            "5:9 expected `off` or a table, found a number (as in retry = \"off\")",
        ),
        ("retry.attempts = 0\n", "5:18 this has to be from 1 to 10"),
        ("retry.attempts = 11\n", "5:18 this has to be from 1 to 10"),
        (
            "retry.statuses = [200]\n",
            "5:19 this has to be from 400 to 599",
        ),
        (
            "retry.statuses = [503, 600]\n",
            "5:24 this has to be from 400 to 599",
        ),
        (
            "retry.statuses = [\"5xx\"]\n",
            "5:19 expected a number, found text (as in statuses = [502, 503])",
        ),
        ("retry.budget = 101\n", "5:16 this has to be from 0 to 100"),
        (
            "retry.floor = 10001\n",
            "5:15 this has to be from 0 to 10000",
        ),
        (
            "retry = { budget = 0, floor = 0 }\n",
            "5:11 with `budget` and `floor` at 0, nothing is ever tried again (raise one of them, or write retry = \"off\")",
        ),
        (
            "retry = { attempts = 1, statuses = [503] }\n",
            "5:25 `statuses` has no effect with one attempt (raise attempts, or write retry = \"off\")",
        ),
        (
            "retry = { attempts = 1, budget = 0 }\n",
            "5:25 `budget` has no effect with one attempt (raise attempts, or write retry = \"off\")",
        ),
        (
            "retry = { attempts = 2, backoff = \"1s\" }\n",
            "5:25 `backoff` has no effect with two attempts (the first retry does not wait; take it out)",
        ),
        (
            "retry.tries = 1\n",
            "5:7 there is no key `upstream.NAME.retry.tries`",
        ),
    ]);
}

#[test]
fn when_a_request_is_asked_twice() {
    let hedge = |text: &str| upstream(text).hedge;
    assert_eq!(hedge("hedge = {}\n"), Some(Hedge::default()));
    let with = |quantile| {
        Some(Hedge {
            quantile,
            ..Hedge::default()
        })
    };
    assert_eq!(hedge("hedge.quantile = 50\n"), with(50.0));
    assert_eq!(hedge("hedge.quantile = 99.9\n"), with(99.9));
    assert_eq!(hedge("hedge.quantile = 97.5\n"), with(97.5));
    let at_once = hedge("hedge.min_delay = \"0s\"\n").unwrap();
    assert_eq!(at_once.min_delay, ms(0));
    let bounds = |at: &str| format!("{at} this has to be from 50 to 99.9");
    for value in ["49.99", "99.91", "100", "-50", "nan", "inf", "9999999999"] {
        check(
            &format!("{APP}hedge.quantile = {value}\n"),
            &[&bounds("5:18")],
        );
    }
    wrong(&[
        (
            "hedge = true\n",
            "5:9 expected a table, found true or false",
        ),
        (
            "hedge.quantile = \"95\"\n",
            "5:18 expected a number, found text (as in quantile = 99.5)",
        ),
        (
            "hedge.delay = \"1s\"\n",
            "5:7 there is no key `upstream.NAME.hedge.delay`",
        ),
    ]);
}

#[test]
fn what_endpoints_are_spared() {
    let limits = |text: &str| upstream(&format!("[upstream.app.limits]\n{text}")).limits;
    assert_eq!(
        limits(
            "endpoint_connections = 1\nendpoint_requests = 2\nrequests = 100000000\nqueue = 0\nadaptive = true\n"
        ),
        UpstreamLimits {
            endpoint_connections: Some(1),
            endpoint_requests: Some(2),
            requests: Some(100_000_000),
            queue: 0,
            adaptive: true,
            ..UpstreamLimits::default()
        }
    );
    for cap in [
        "requests = 1\n",
        "endpoint_requests = 1\n",
        "endpoint_connections = 1\n",
        "adaptive = true\n",
    ] {
        let limits = limits(&format!("{cap}queue = 1000000\nqueue_timeout = \"1s\"\n"));
        assert_eq!((limits.queue, limits.queue_timeout), (1_000_000, ms(1000)));
    }
    let hint = "(add requests, endpoint_requests, endpoint_connections or adaptive = true)";
    wrong(&[
        (
            "limits.queue = 1\n",
            &format!("5:8 `queue` has no effect without a cap that is waited for {hint}"),
        ),
        (
            "limits = { queue_timeout = \"1s\", adaptive = false }\n",
            &format!("5:12 `queue_timeout` has no effect without a cap that is waited for {hint}"),
        ),
        (
            "limits = { requests = 1, queue = 0, queue_timeout = \"1s\" }\n",
            "5:37 `queue_timeout` has no effect while `queue` is 0 (take it out)",
        ),
        (
            "limits.requests = 0\n",
            "5:19 this has to be from 1 to 100000000",
        ),
        (
            "limits.requests = 100000001\n",
            "5:19 this has to be from 1 to 100000000",
        ),
        (
            "limits = { requests = 1, queue = 1000001 }\n",
            "5:34 this has to be from 0 to 1000000",
        ),
        (
            "limits = { requests = 1, queue_timeout = \"0s\" }\n",
            "5:42 `upstream.NAME.limits.queue_timeout` cannot be zero",
        ),
        (
            "limits.adaptive = 1\n",
            "5:19 expected true or false, found a number (as in adaptive = true)",
        ),
        (
            "limits.connections = 1\n",
            "5:8 there is no key `upstream.NAME.limits.connections` (there is `limits.connections`)",
        ),
    ]);
    let each =
        |each: u32| format!("{APP}limits = {{ requests = 10, endpoint_requests = {each} }}\n");
    check_warnings(&each(9), &[]);
    check_warnings(
        &each(10),
        &[
            "5:27 one endpoint may have as much as all together, so this caps nothing (lower endpoint_requests, or take it out)",
        ],
    );
}
