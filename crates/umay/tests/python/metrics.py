"""A collector as OpenTelemetry's own packages have it, a client and an endpoint around Umay:
`metrics.py UMAY ADMIN ENDPOINT COLLECTOR PROTOCOL HISTOGRAMS`. Says "all is well" or fails."""

import gzip
import http.server
import math
import re
import sys
import threading
import time
import urllib.request
from concurrent import futures

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_services
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.semconv._incubating.metrics import process_metrics

UMAY, ADMIN, ENDPOINT, COLLECTOR, PROTOCOL, HISTOGRAMS = sys.argv[1:]
CUMULATIVE = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
DELAYS = [0.002, 0.03, 0.12]
UNITS = {"s": "seconds", "By": "bytes"}
# Those have the names of OpenTelemetry's conventions, not ours.
PROCESS = {
    process_metrics.PROCESS_CPU_TIME,
    process_metrics.PROCESS_MEMORY_USAGE,
    process_metrics.PROCESS_UNIX_FILE_DESCRIPTOR_COUNT,
}

pushes = []  # Requests as they came, with when.
traces = set()  # Ids of traces that spans came from.


def place(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def take_metrics(request):
    pushes.append((time.time_ns(), request))


def take_spans(request):
    for told in request.resource_spans:
        for scope in told.scope_spans:
            traces.update(span.trace_id for span in scope.spans)


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/metrics":
            take_metrics(messages.ExportMetricsServiceRequest.FromString(body))
        else:
            take_spans(trace_messages.ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Metrics(services.MetricsServiceServicer):
    def Export(self, request, _):
        take_metrics(request)
        return messages.ExportMetricsServiceResponse()


class Traces(trace_services.TraceServiceServicer):
    def Export(self, request, _):
        take_spans(request)
        return trace_messages.ExportTraceServiceResponse()


def serve(address, handler):
    server = http.server.ThreadingHTTPServer(place(address), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def start_collector():
    if PROTOCOL == "http/protobuf":
        serve(COLLECTOR, Http)
        return None
    server = grpc.server(futures.ThreadPoolExecutor(4))
    services.add_MetricsServiceServicer_to_server(Metrics(), server)
    trace_services.add_TraceServiceServicer_to_server(Traces(), server)
    server.add_insecure_port(COLLECTOR)
    server.start()
    return server


def fetch(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


def wait(what, ask):
    deadline = time.monotonic() + 20
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def exposed():
    """The series of the page, by name and labels."""
    series = {}
    for line in fetch(f"http://{ADMIN}/metrics").splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.match(r"(\w+)(?:\{(.*?)\})? (\S+)", line).groups()
        pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
        series[name, frozenset(pairs)] = float(value)
    return series


def translated(metric, monotonic):
    """The name that a collector gives it for Prometheus."""
    words = re.findall(r"[a-zA-Z0-9]+", metric.name)
    unit = UNITS.get(metric.unit, "")
    assert unit or metric.unit == "" or metric.unit.startswith("{"), metric.unit
    if unit and unit not in words:
        words.append(unit)
    if monotonic:
        words.append("total")
    return "_".join(words)


def labels(point):
    return frozenset((pair.key, pair.value.string_value) for pair in point.attributes)


def bounds(point):
    """The buckets of a histogram that were used: above, up to, how many."""
    if HISTOGRAMS == "explicit":
        edges = [-math.inf, *point.explicit_bounds, math.inf]
        rows = list(zip(edges, edges[1:], point.bucket_counts))
    else:
        assert point.scale == 3
        base = 2.0 ** 2.0**-point.scale
        first = point.positive.offset
        rows = [(0.0, point.zero_threshold, point.zero_count)]
        for index, count in enumerate(point.positive.bucket_counts, first):
            rows.append((base**index, base ** (index + 1), count))
    assert sum(count for *_, count in rows) == point.count
    return [row for row in rows if row[2]]


def read(request, came):
    """The series of a push as Prometheus would have them, and its histograms."""
    series, histograms = {}, {}
    [told] = request.resource_metrics
    resource = {pair.key: pair.value.string_value for pair in told.resource.attributes}
    assert resource["service.name"] == "edge", resource
    [scope] = told.scope_metrics
    for metric in scope.metrics:
        kind = metric.WhichOneof("data")
        data = getattr(metric, kind)
        if kind != "gauge":
            assert data.aggregation_temporality == CUMULATIVE, metric
        monotonic = kind == "sum" and data.is_monotonic
        name = translated(metric, monotonic)
        assert metric.description
        for point in data.data_points:
            assert came - 60e9 < point.time_unix_nano <= came
            if kind != "gauge":
                assert 0 < point.start_time_unix_nano < point.time_unix_nano, metric
            if "histogram" in kind:
                expected = "histogram" if HISTOGRAMS == "explicit" else "exponential_histogram"
                assert kind == expected, kind
                series[name + "_count", labels(point)] = point.count
                series[name + "_sum", labels(point)] = point.sum
                histograms[metric.name, labels(point)] = point
                continue
            value = getattr(point, point.WhichOneof("value"))
            key = (metric.name if metric.name in PROCESS else name, labels(point))
            assert key not in series, key
            series[key] = value
    assert all((name, frozenset()) in series for name in PROCESS), series
    return series, histograms


def check(first, last, series):
    same = 0
    for (name, pairs), value in first.items():
        if name.endswith("_bucket") or last.get((name, pairs)) != value:
            continue
        if name in ("process_open_fds", "process_resident_memory_bytes", "process_cpu_seconds_total", "target_info"):
            continue
        assert series[name, pairs] == value, (name, pairs, value)
        same += 1
    assert same > 60, same


def main():
    serve(ENDPOINT, Endpoint)
    collector = start_collector()
    for delay in DELAYS:
        assert fetch(f"http://{UMAY}/{delay}") == "ok"
    idle = ("umay_http_requests_in_flight", frozenset())
    wait("an idle proxy", lambda: exposed()[idle] == 0)
    first, asked = exposed(), time.time_ns()

    def later():
        return next((push for push in pushes if push[0] > asked + 100e6), None)

    came, request = wait("a push", later)
    last = exposed()
    series, histograms = read(request, came)
    check(first, last, series)
    point = histograms["umay.http.request.duration", frozenset({("route", "default")})]
    # Each took as long as the endpoint did, or longer; all together what the buckets allow.
    used = bounds(point)
    for number, delay in enumerate(DELAYS):
        slow = sum(count for _, high, count in used if high >= delay)
        assert slow >= len(DELAYS) - number, (delay, used)
    assert sum(low * count for low, _, count in used) <= point.sum
    assert point.sum <= sum(high * count for _, high, count in used)
    wait("spans", lambda: len(traces) == len(DELAYS))
    exemplars = set()
    for _, request in pushes:
        _, histograms = read(request, time.time_ns())
        for point in histograms.values():
            for exemplar in point.exemplars:
                exemplars.add(exemplar.trace_id)
                value = exemplar.as_double
                near = [low < value + 1e-9 and high > value - 1e-9 for low, high, _ in bounds(point)]
                assert any(near), (value, bounds(point))
                assert exemplar.time_unix_nano <= point.time_unix_nano
    assert exemplars == traces, (exemplars, traces)
    if collector:
        collector.stop(0)
    print("all is well")


main()
