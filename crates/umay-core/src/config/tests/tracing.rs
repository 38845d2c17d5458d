//! `[tracing]`, and the variables that OpenTelemetry's SDKs read.

use super::*;
use crate::model::{Otlp, Tracing};

/// Tracing by these variables and this text below a whole document.
fn tracing(text: &str, env: &[(&str, &str)]) -> Option<Tracing> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sources = Sources {
        env: env.collect(),
        ..file(&format!("{BASE}{text}"))
    };
    let loaded = load(&sources);
    loaded
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .model
        .tracing
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/");

#[test]
fn nothing_is_traced_unless_told() {
    assert_eq!(tracing("", &[]), None);
    for env in [
        &[("OTEL_SERVICE_NAME", "a"), ("OTEL_PROPAGATORS", "b3")][..],
        &[ENDPOINT, ("OTEL_SDK_DISABLED", "True")],
        &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
        &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a")],
    ] {
        assert_eq!(tracing("", env), None, "{env:?}");
    }
    assert_eq!(tracing("tracing.endpoint = \"off\"\n", &[ENDPOINT]), None);
}

#[test]
fn defaults_are_those_of_the_list() {
    let tracing = tracing("tracing.endpoint = \"http://a:1\"\n", &[]).unwrap();
    let list = |path: &str| KEYS.iter().find(|key| key.path == path).unwrap().default();
    let text = |path: &str| list(path).trim_matches('"').to_owned();
    assert_eq!(list("tracing.ratio"), tracing.sampler.ratio.to_string());
    assert_eq!(
        scalar::size(&text("tracing.queue")),
        Ok(tracing.queue as u64)
    );
    assert_eq!(
        scalar::duration(&text("tracing.interval")),
        Ok(tracing.interval)
    );
    assert_eq!(
        scalar::duration(&text("tracing.timeout")),
        Ok(tracing.collector.timeout)
    );
    assert_eq!(text("tracing.service_name"), tracing.service_name);
    assert_eq!(
        (text("tracing.trusted").as_str(), tracing.sampler.follow),
        ("follow", true)
    );
    assert_eq!(
        (
            text("tracing.untrusted").as_str(),
            tracing.sampler.continues
        ),
        ("continue", true)
    );
    assert_eq!(
        (text("tracing.compression").as_str(), tracing.collector.gzip),
        ("none", false)
    );
    assert_eq!(tracing.collector.protocol, Otlp::Http);
    assert!(!tracing.streams);
    let all = list("tracing.propagators");
    let told = super::super::load(&file(&format!(
        "{BASE}tracing.endpoint = \"http://a:1\"\ntracing.propagators = {all}\n"
    )));
    assert_eq!(told.unwrap().model.tracing, Some(tracing));
}

#[test]
fn the_variables_of_opentelemetry_count_last() {
    let env = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20a%3Db, x-key = 1",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "unused.pem"),
        ("OTEL_SERVICE_NAME", "edge"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=lost,deployment.environment.name=a%20b",
        ),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_PROPAGATORS", "b3multi,baggage"),
    ];
    let found = tracing("", &env).unwrap();
    let collector = &found.collector;
    assert_eq!(
        (&*collector.endpoint.host, collector.endpoint.port),
        ("collector", 4318)
    );
    assert_eq!(collector.path, "/base/v1/traces");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = [pair("authorization", "Bearer a=b"), pair("x-key", "1")];
    assert_eq!(collector.headers, headers);
    assert_eq!(collector.timeout.as_millis(), 2500);
    assert!(collector.gzip && collector.tls.ca.is_none());
    assert_eq!(found.service_name, "edge");
    assert_eq!(
        found.attributes,
        [pair("deployment.environment.name", "a b")]
    );
    assert_eq!((found.sampler.ratio, found.sampler.follow), (0.25, true));
    let propagators = found.sampler.propagators;
    assert!(propagators.baggage && propagators.formats == propagators.first);
    assert!(propagators.first.b3_multi && !propagators.first.w3c);

    let text = "[tracing]\nservice_name = \"file\"\nheaders = { Authorization = \"own\" }\n";
    let over = tracing(
        text,
        &[&env[..], &[("UMAY_TRACING__RATIO", "0.75")]].concat(),
    )
    .unwrap();
    assert_eq!((&*over.service_name, over.sampler.ratio), ("file", 0.75));
    assert_eq!(
        over.collector.headers,
        [pair("Authorization", "own"), pair("x-key", "1")]
    );
}

#[test]
fn endpoints_of_the_variables_are_read_as_the_standard_says() {
    let at = |env: &[(&str, &str)]| {
        let collector = tracing("", env).unwrap().collector;
        format!(
            "{}:{}{}",
            collector.endpoint.host, collector.endpoint.port, collector.path
        )
    };
    let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    assert_eq!(at(&[(traces, "http://a:4318/own"), ENDPOINT]), "a:4318/own");
    assert_eq!(at(&[(traces, "http://a:4318")]), "a:4318/");
    assert_eq!(
        at(&[("OTEL_TRACES_EXPORTER", "otlp")]),
        "localhost:4318/v1/traces"
    );
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert_eq!(
        at(&[("OTEL_TRACES_EXPORTER", "otlp"), grpc]),
        "localhost:4317/v1/traces"
    );
    let found = tracing("", &[(traces, "http://a:4317"), grpc]).unwrap();
    assert_eq!(found.collector.protocol, Otlp::Grpc);
    let secure = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a");
    let files = [secure, ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/ca.pem")];
    let found = tracing("", &files).unwrap().collector;
    assert_eq!(
        (found.endpoint.port, found.tls.ca),
        (443, Some(PathBuf::from("/ca.pem")))
    );
}

#[test]
fn secrets_are_not_shown_and_origins_are() {
    let sources = Sources {
        env: vec![
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
                "http://127.0.0.1:1".to_owned(),
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
                "tenant=s3cret".to_owned(),
            ),
        ],
        ..file(BASE)
    };
    let loaded = load(&sources).unwrap();
    assert!(!format!("{:?}", loaded.model).contains("s3cret"));
    let shown = Shown::new(&sources, &loaded.model).to_toml(true);
    assert!(!shown.contains("s3cret"), "{shown}");
    let origin = "endpoint = \"http://127.0.0.1:1/v1/traces\"  # environment variable OTEL_EXPORTER_OTLP_ENDPOINT";
    assert!(shown.contains(origin), "{shown}");
    assert!(shown.contains("tenant = \"[redacted]\""), "{shown}");
}
