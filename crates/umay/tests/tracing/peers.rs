//! OpenTelemetry's own library, in Python: as the client that begins a trace, as the endpoint that is told
//! of it, and as what reads OTLP.

use umay_test::programs::python;
use umay_test::{umay, unique_address};

#[test]
fn opentelemetry_understands_us_and_we_understand_it() {
    for (protocol, compression) in [
        ("http/protobuf", "none"),
        ("http/protobuf", "gzip"),
        ("grpc", "none"),
        ("grpc", "gzip"),
    ] {
        let (endpoint, collector) = (unique_address(), unique_address());
        let umay = umay!(
            "listen = \"127.0.0.1:0\"\nto = \"http://{endpoint}\"\n[tracing]\nendpoint = \"http://{collector}\"\n\
             protocol = \"{protocol}\"\ncompression = \"{compression}\"\nratio = 1\ninterval = \"10ms\"\n"
        );
        let addresses = [umay.addr(), endpoint, collector].map(|addr| addr.to_string());
        let args = addresses.iter().map(String::as_str).chain([protocol]);
        let told = python("traces.py", &args.collect::<Vec<_>>());
        assert_eq!(told, "all is well\n", "{protocol} {compression}");
        assert_eq!(umay.metric("umay_trace_spans_dropped_total", &[]), 0.0);
    }
}
