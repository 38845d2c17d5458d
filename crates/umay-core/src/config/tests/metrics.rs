//! `[metrics]`, and the variables that OpenTelemetry's SDKs read.

use super::*;
use crate::inventory::{Kind, inventory};
use crate::model::{Histograms, Otlp, Push};

/// What these variables and this text below a whole document say.
fn loaded(text: &str, env: &[(&str, &str)]) -> Loaded {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sources = Sources {
        env: env.collect(),
        ..file(&format!("{BASE}{text}"))
    };
    load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn push(text: &str, env: &[(&str, &str)]) -> Option<Push> {
    loaded(text, env).model.push
}

/// Where metrics go.
fn place(push: &Push) -> String {
    let collector = &push.collector;
    let endpoint = &collector.endpoint;
    format!("{}:{}{}", endpoint.host, endpoint.port, collector.path)
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/");

const TRACING: &str = "[tracing]\nendpoint = \"https://c:4318/base/v1/traces?a=b\"\ncompression = \"gzip\"\n\
    headers = { x-key = \"1\" }\ntls = { ca = \"ca.pem\" }\nservice_name = \"edge\"\nattributes = { a = \"b\" }\n";

#[test]
fn nothing_is_pushed_unless_told() {
    assert_eq!(push("", &[]), None);
    assert_eq!(push("metrics.endpoint = \"off\"\n", &[ENDPOINT]), None);
    assert_eq!(push(TRACING, &[]), None);
    for env in [
        &[
            ("OTEL_SERVICE_NAME", "a"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1"),
        ][..],
        &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
        &[ENDPOINT, ("OTEL_METRICS_EXPORTER", "none")],
        &[ENDPOINT, ("OTEL_METRICS_EXPORTER", "prometheus")],
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a")],
        &[("OTEL_TRACES_EXPORTER", "otlp")],
    ] {
        let loaded = loaded("", env);
        assert_eq!(loaded.model.push, None, "{env:?}");
        assert!(loaded.warnings.is_empty(), "{env:?}");
    }
}

#[test]
fn defaults_are_those_of_the_list() {
    let push = push("metrics.endpoint = \"http://a:1\"\n", &[]).unwrap();
    let list = |path: &str| KEYS.iter().find(|key| key.path == path).unwrap().default();
    let text = |path: &str| list(path).trim_matches('"').to_owned();
    assert_eq!(
        scalar::duration(&text("metrics.interval")),
        Ok(push.interval)
    );
    assert_eq!(
        scalar::duration(&text("metrics.timeout")),
        Ok(push.collector.timeout)
    );
    assert_eq!(
        (text("metrics.histograms").as_str(), push.histograms),
        ("explicit", Histograms::Explicit)
    );
    assert_eq!(
        (text("metrics.protocol").as_str(), push.collector.protocol),
        ("http/protobuf", Otlp::Http)
    );
    assert!(list("metrics.service_name").ends_with("else \"umay\""));
    assert_eq!(
        (&*push.service_name, place(&push).as_str()),
        ("umay", "a:1/v1/metrics")
    );
}

#[test]
fn the_collector_of_spans_need_not_be_written_twice() {
    let text = format!("{TRACING}[metrics]\nendpoint = \"tracing\"\n");
    let model = loaded(&text, &[]).model;
    let (spans, push) = (model.tracing.unwrap(), model.push.unwrap());
    assert_eq!(place(&push), "c:4318/base/v1/metrics?a=b");
    let mut same = push.collector.clone();
    same.path.clone_from(&spans.collector.path);
    assert_eq!(same, spans.collector);
    assert_eq!(push.service_name, "edge");
    assert_eq!(push.attributes, spans.attributes);
    // What stands there counts; tables as a whole.
    let own = "compression = \"none\"\nheaders = { y = \"2\" }\nservice_name = \"own\"\nattributes = {}\n";
    let push = self::push(&format!("{text}{own}"), &[]).unwrap();
    assert!(!push.collector.gzip && push.collector.tls.ca.is_some());
    assert_eq!(push.collector.headers, [("y".to_owned(), "2".to_owned())]);
    assert_eq!((&*push.service_name, push.attributes), ("own", Vec::new()));
    // Somebody else gets neither its headers nor anything else of it, but is told by the same name.
    let elsewhere = format!("{TRACING}[metrics]\nendpoint = \"http://d:1\"\n");
    let push = self::push(&elsewhere, &[]).unwrap();
    assert!(push.collector.headers.is_empty() && !push.collector.gzip);
    assert_eq!((push.collector.tls.ca, &*push.service_name), (None, "edge"));
    // gRPC has no path of its own.
    let grpc = "[tracing]\nendpoint = \"http://c:4317/odd\"\nprotocol = \"grpc\"\n[metrics]\nendpoint = \"tracing\"\n";
    assert_eq!(
        self::push(grpc, &[]).unwrap().collector.protocol,
        Otlp::Grpc
    );
}

#[test]
fn the_variables_of_opentelemetry_count_last() {
    let env = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=1"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-key=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "30000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "Cumulative",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
        ("OTEL_SERVICE_NAME", "edge"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b"),
    ];
    let all = loaded("", &env);
    let plain = |problem: &Problem| problem.message.contains("in plaintext");
    assert!(all.warnings.iter().all(plain), "{:?}", all.warnings);
    let (spans, push) = (all.model.tracing.unwrap(), all.model.push.unwrap());
    assert_eq!(place(&push), "collector:4318/base/v1/metrics");
    assert_eq!(
        push.collector.headers,
        [("x-key".to_owned(), "2".to_owned())]
    );
    assert!(push.collector.gzip && !spans.collector.gzip);
    assert_eq!(push.collector.timeout.as_millis(), 2500);
    assert_eq!(push.interval.as_secs(), 15);
    assert_eq!(push.histograms, Histograms::Exponential);
    assert_eq!(
        (&*push.service_name, &push.attributes),
        ("edge", &spans.attributes)
    );
    // The file comes first, of either.
    let named = "[tracing]\nservice_name = \"file\"\n[metrics]\ninterval = \"1s\"\n";
    let push = self::push(named, &env).unwrap();
    assert_eq!((&*push.service_name, push.interval.as_secs()), ("file", 1));
    // Without spans, metrics alone are told of who tells.
    let alone = [&env[..], &[("OTEL_TRACES_EXPORTER", "none")]].concat();
    let model = loaded("", &alone).model;
    assert_eq!(model.tracing, None);
    assert_eq!(model.push.unwrap().service_name, "edge");
    let longer = [
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "500"),
    ];
    let push = self::push("", &longer).unwrap();
    assert_eq!(place(&push), "localhost:4318/v1/metrics");
    assert_eq!(push.collector.timeout.as_millis(), 500);
}

#[test]
fn the_collector_of_spans_is_told_once_of_what_variables_say_of_all() {
    let text = "[tracing]\nendpoint = \"http://c\"\nheaders = { own = \"1\" }\n[metrics]\nendpoint = \"tracing\"\n";
    let env = [ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "more=2")];
    let model = loaded(text, &env).model;
    let headers = model.tracing.unwrap().collector.headers;
    assert_eq!(headers.len(), 2);
    assert_eq!(model.push.unwrap().collector.headers, headers);
}

#[test]
fn secrets_are_not_shown_and_the_place_is_listed() {
    let sources = file(&format!(
        "{BASE}[metrics]\nendpoint = \"http://127.0.0.1:1\"\nheaders = {{ tenant = \"s3cret\" }}\n"
    ));
    let loaded = load(&sources).unwrap();
    assert!(!format!("{:?}", loaded.model).contains("s3cret"));
    let shown = Shown::new(&sources, &loaded.model).to_toml(true);
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("tenant = \"[redacted]\""), "{shown}");
    let places: Vec<_> = inventory(&loaded.model)
        .into_iter()
        .filter(|entry| entry.kind == Kind::Metrics)
        .map(|entry| entry.place)
        .collect();
    assert_eq!(places.len(), 2);
    assert_eq!(places[1], "the collector at 127.0.0.1, port 1");
}
