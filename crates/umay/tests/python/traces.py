"""A client, an endpoint and a collector as OpenTelemetry's own library has them, around Umay:
`traces.py UMAY ENDPOINT COLLECTOR PROTOCOL`. Says "all is well" or fails."""

import gzip
import http.server
import sys
import threading
import time
import urllib.request
from concurrent import futures

import grpc
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

UMAY, ENDPOINT, COLLECTOR, PROTOCOL = sys.argv[1:]
FORMATS = {
    "/w3c": TraceContextTextMapPropagator(),
    "/b3": B3SingleFormat(),
    "/multi": B3MultiFormat(),
}

came = {}  # What the endpoint was told, by path.
spans = {}  # Spans by path and kind.
resources = []


def place(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def take(request):
    for told in request.resource_spans:
        resources.append({pair.key: pair.value.string_value for pair in told.resource.attributes})
        for scope in told.scope_spans:
            for span in scope.spans:
                values = {pair.key: pair.value.string_value for pair in span.attributes}
                path = values.get("url.path") or "/" + values["url.full"].rsplit("/", 1)[1]
                spans[path, span.kind] = span


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        carrier = {name.lower(): value for name, value in self.headers.items()}
        told = FORMATS[self.path].extract(carrier)
        baggages = baggage.get_all(W3CBaggagePropagator().extract(carrier))
        came[self.path] = (trace.get_current_span(told).get_span_context(), dict(baggages))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Http(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        assert self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        take(messages.ExportTraceServiceRequest.FromString(body))
        answer = messages.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Grpc(services.TraceServiceServicer):
    def Export(self, request, _):
        take(request)
        return messages.ExportTraceServiceResponse()


def serve(address, handler):
    server = http.server.ThreadingHTTPServer(place(address), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def start_collector():
    if PROTOCOL == "http/protobuf":
        serve(COLLECTOR, Http)
        return None
    server = grpc.server(futures.ThreadPoolExecutor(2), compression=grpc.Compression.NoCompression)
    services.add_TraceServiceServicer_to_server(Grpc(), server)
    server.add_insecure_port(COLLECTOR)
    server.start()
    return server


def ask(tracer, path):
    with tracer.start_as_current_span("client") as span:
        carrier = {}
        here = baggage.set_baggage("user", "a b", context.get_current())
        FORMATS[path].inject(carrier, here)
        W3CBaggagePropagator().inject(carrier, here)
        request = urllib.request.Request(f"http://{UMAY}{path}", headers=carrier)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
        return span.get_span_context()


def check(path, client):
    server, attempt = spans[path, 2], spans[path, 3]
    trace_id = client.trace_id.to_bytes(16, "big")
    assert server.trace_id == attempt.trace_id == trace_id
    assert server.parent_span_id == client.span_id.to_bytes(8, "big")
    assert attempt.parent_span_id == server.span_id
    told, baggages = came[path]
    assert told.trace_id == client.trace_id
    assert told.span_id.to_bytes(8, "big") == attempt.span_id
    assert told.trace_flags.sampled
    assert baggages == {"user": "a b"}, baggages
    now = time.time_ns()
    assert now - 60e9 < server.start_time_unix_nano <= server.end_time_unix_nano <= now


def main():
    serve(ENDPOINT, Endpoint)
    collector = start_collector()
    tracer = TracerProvider().get_tracer("test")
    clients = {path: ask(tracer, path) for path in FORMATS}
    deadline = time.monotonic() + 20
    while len(spans) < 2 * len(FORMATS):
        assert time.monotonic() < deadline, spans
        time.sleep(0.02)
    for path, client in clients.items():
        check(path, client)
    assert resources[0]["service.name"] == "umay", resources
    if collector:
        collector.stop(0)
    print("all is well")


main()
