//! What endpoints are told, and whose word counts.

use umay_test::collector::Collector;
use umay_test::{Message, umay};

use super::{SPAN, Seeing, TRACE, before, get, parent, told};

#[test]
fn without_tracing_nothing_is_added_and_nothing_is_taken_away() {
    let endpoint = Seeing::ok();
    let umay = before(&[endpoint.server.addr()], "");
    get(&umay, "/none", "");
    let request = endpoint.last();
    for name in ["traceparent", "tracestate", "baggage", "b3"] {
        assert_eq!(request.get(name), None);
    }
    assert_eq!(umay.wait_path("/none")["trace_id"], serde_null());
    let odd = format!(
        "{}{}tracestate: ?\r\nbaggage: \"\r\nb3: x\r\n",
        parent(),
        parent()
    );
    get(&umay, "/odd", &odd);
    let request = endpoint.last();
    assert_eq!(request.all("traceparent").len(), 2);
    assert_eq!(request.get("tracestate"), Some("?"));
    assert_eq!(
        (request.get("baggage"), request.get("b3")),
        (Some("\""), Some("x"))
    );
    // The log can be looked up by a trace that somebody else has begun.
    get(&umay, "/theirs", &parent());
    let line = umay.wait_path("/theirs");
    assert_eq!(
        (&line["trace_id"], &line["span_id"]),
        (&TRACE.into(), &serde_null())
    );
    assert_eq!(umay.wait_path("/odd")["trace_id"], serde_null());
}

fn serde_null() -> umay_test::Value {
    umay_test::Value::Null
}

#[test]
fn a_trace_begins_or_goes_on() {
    let (endpoint, collector) = (Seeing::ok(), Collector::http());
    let umay = before(&[endpoint.server.addr()], &collector.toml());
    get(&umay, "/new", "");
    let (new, span, sampled) = told(&endpoint.last());
    assert!(new != TRACE && span != SPAN && sampled);
    let line = umay.wait_path("/new");
    assert_eq!(line["trace_id"], new.as_str());
    assert_ne!(
        line["span_id"],
        span.as_str(),
        "that of the request, not of the attempt"
    );
    let fields = format!(
        "{}tracestate: a=1\r\ntracestate: b=2\r\nbaggage: k=v\r\n",
        parent()
    );
    get(&umay, "/on", &fields);
    let request = endpoint.last();
    let (trace, span, sampled) = told(&request);
    assert!(trace == TRACE && span != SPAN && sampled);
    assert_eq!(request.all("tracestate"), ["a=1", "b=2"]);
    assert_eq!(request.get("baggage"), Some("k=v"));
    let spans = collector.path("/on", 2);
    assert_eq!(spans[0].state, "a=1,b=2");
}

#[test]
fn b3_is_answered_in_b3() {
    let (endpoint, collector) = (Seeing::ok(), Collector::http());
    let umay = before(&[endpoint.server.addr()], &collector.toml());
    get(&umay, "/b3", &format!("b3: {TRACE}-{SPAN}-0\r\n"));
    let request = endpoint.last();
    let b3 = request.get("b3").unwrap();
    assert!(b3.starts_with(TRACE) && b3.ends_with("-1") && !b3.contains(SPAN));
    assert_eq!(request.get("traceparent"), None);
    let multi =
        format!("X-B3-TraceId: 8448eb211c80319c\r\nX-B3-SpanId: {SPAN}\r\nX-B3-Sampled: 0\r\n");
    get(&umay, "/multi", &multi);
    let request = endpoint.last();
    assert_eq!(request.get("x-b3-traceid"), Some("8448eb211c80319c"));
    assert_ne!(request.get("x-b3-spanid"), Some(SPAN));
    assert_eq!(request.get("x-b3-sampled"), Some("1"));
    let spans = collector.path("/multi", 2);
    assert_eq!(spans[0].trace_id, "00000000000000008448eb211c80319c");
    assert_eq!(spans[0].parent_id, SPAN);
    assert_eq!(request.get("x-b3-spanid"), Some(&*spans[1].span_id));
}

#[test]
fn outsiders_do_not_decide_what_is_recorded() {
    let (endpoint, collector) = (Seeing::ok(), Collector::http());
    let ratio = |ratio: &str| collector.toml().replace("ratio = 1", ratio);
    let outside = before(&[endpoint.server.addr()], &ratio("ratio = 0"));
    for fields in [
        parent(),
        "b3: d\r\n".to_owned(),
        "X-B3-Flags: 1\r\n".to_owned(),
    ] {
        get(&outside, "/forced", &fields);
        let request = endpoint.last();
        let text = format!("{:?}", request.fields);
        let recorded = [request.get("traceparent"), request.get("b3")];
        assert!(
            !recorded
                .iter()
                .flatten()
                .any(|v| v.ends_with("-01") || v.ends_with("-1") || v.ends_with("-d")),
            "{text}"
        );
        assert!(request.get("x-b3-flags").is_none(), "{text}");
    }
    // The id of the trace is theirs to choose: it makes no difference to chance.
    let restarts = format!("{}tracing.untrusted = \"restart\"\n", ratio("ratio = 0"));
    let other = before(&[endpoint.server.addr()], &restarts);
    get(&other, "/anew", &format!("{}tracestate: a=1\r\n", parent()));
    assert_ne!(told(&endpoint.last()).0, TRACE);
    assert_eq!(endpoint.last().get("tracestate"), None);
    // A proxy that is trusted decides, either way.
    let trusted = |ratio: &str| {
        let to = endpoint.server.addr();
        umay!(
            "to = \"http://{to}\"\n{ratio}\n[[listener]]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = \"127.0.0.0/8\"\n"
        )
    };
    let never = trusted(&ratio("ratio = 0"));
    get(&never, "/wanted", &parent());
    assert!(told(&endpoint.last()).2);
    let spans = collector.path("/wanted", 2);
    assert_eq!((&*spans[0].trace_id, &*spans[0].parent_id), (TRACE, SPAN));
    let always = trusted(&ratio("ratio = 1"));
    get(&always, "/unwanted", &parent().replace("-01", "-00"));
    assert!(!told(&endpoint.last()).2);
    let alone = format!("{}tracing.trusted = \"ignore\"\n", ratio("ratio = 0"));
    get(&trusted(&alone), "/unheard", &parent());
    assert!(!told(&endpoint.last()).2);
    get(&outside, "/last", "");
    drop((outside, never, always));
    assert!(
        collector
            .spans()
            .iter()
            .all(|span| span.get("url.path") == "/wanted" || span.kind == 3)
    );
}

#[test]
fn hostile_fields_do_no_harm() {
    let (endpoint, collector) = (Seeing::ok(), Collector::http());
    let more = format!("{}limits.fields = 1000\n", collector.toml());
    let umay = before(&[endpoint.server.addr()], &more);
    let entries: Vec<_> = (0..1000).map(|n| format!("k{n}=1")).collect();
    let huge = "a=1,".repeat(5000);
    let twice = format!("{}{}", parent(), parent());
    for (fields, keeps_trace) in [
        (
            format!("{}tracestate: {}\r\n", parent(), entries.join(",")),
            true,
        ),
        (
            format!("{}{}", parent(), "tracestate: a=1\r\n".repeat(200)),
            true,
        ),
        (format!("{}baggage: {huge}\r\n", parent()), true),
        (
            format!("{}baggage: a=\u{fc}\r\ntracestate: a=\u{fc}\r\n", parent()),
            true,
        ),
        (twice, false),
        (format!("traceparent: 00-{TRACE}-{SPAN}-01-x\r\n"), false),
        (
            format!("traceparent: 00-{}-{SPAN}-01\r\n", "0".repeat(32)),
            false,
        ),
        (format!("traceparent: {}\r\n", "0".repeat(8000)), false),
        ("traceparent: \r\n".to_owned(), false),
    ] {
        let answer = get(
            &umay,
            "/hostile",
            &format!("{fields}User-Agent: \u{fc}\r\n"),
        );
        assert_eq!(answer.status(), 200, "{fields}");
        let request: Message = endpoint.last();
        assert_eq!(told(&request).0 == TRACE, keeps_trace, "{fields}");
        assert_eq!(
            (request.get("tracestate"), request.get("baggage")),
            (None, None)
        );
    }
    // A control byte is no part of any field.
    let answer = get(&umay, "/control", "tracestate: a=\u{1}\r\n");
    assert_eq!(answer.status(), 400);
    let all = |path: &str| {
        collector
            .spans()
            .iter()
            .filter(|s| s.get("url.path") == path)
            .count()
    };
    umay_test::eventually("all spans", || (all("/hostile") == 9).then_some(()));
    assert_eq!(umay.metric("umay_trace_spans_dropped_total", &[]), 0.0);
}

#[test]
fn a_filter_has_the_last_word() {
    let (endpoint, collector) = (Seeing::ok(), Collector::http());
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{}[[route]]\nto = \"http://{}\"\nrequest_headers.remove = [\"traceparent\"]\n",
        collector.toml(),
        endpoint.server.addr()
    );
    get(&umay, "/", &parent());
    assert_eq!(endpoint.last().get("traceparent"), None);
}
