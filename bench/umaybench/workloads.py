"""What is measured: one row each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Requests of one kind."""

    name: str
    what: str
    # Which of a proxy's listeners takes it: "http", "https", "tcp", "tls-tcp", "grpc" or "ws".
    front: str
    # Which of the endpoint's answers is asked for.
    path: str
    connections: int
    # A new connection for every request.
    close: bool = False
    # Which generator makes it: "wrk", "handshakes", "h2load", "ws", "rate" or "idle".
    load: str = "wrk"
    # Requests under way on each connection.
    streams: int = 1
    # What CPU time is divided by, for people.
    unit: str = "request"
    # What is compared: "cpu", "memory" or "latency".
    figure: str = "cpu"

    @property
    def tls(self) -> bool:
        return self.front in ("https", "tls-tcp", "grpc")

    @property
    def raw(self) -> bool:
        """The proxy sees no HTTP in it."""
        return self.front in ("tcp", "tls-tcp")

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def endpoint(self) -> str:
        """Which endpoint is behind it: "nginx" or "echo"."""
        return "echo" if self.front in ("grpc", "ws") else "nginx"

    @property
    def needs_own(self) -> bool:
        """Whether umay-load is a part of it."""
        return self.endpoint == "echo" or self.load in ("rate", "idle")

    @property
    def under_way(self) -> int:
        """Requests that may be under way at the same time."""
        return IDLE_AT_ONCE if self.load == "idle" else self.connections * self.streams


# Idle connections at the first look and at the second.
IDLE_STEPS = (1_000, 10_000)
# As many are opened at the same time; umay-load knows it too.
IDLE_AT_ONCE = 32
# Requests per second where latency is the question.
RATE = 1_000

_ALL = [
    Workload("h1-small", "HTTP/1.1 keep-alive, small answers", "http", "/small", 64),
    Workload("h1-tls", "the same over TLS 1.3", "https", "/small", 64),
    Workload("h1-64k", "HTTP/1.1 keep-alive, answers of 64 KiB", "http", "/files/64k", 32),
    Workload("h1-tls-1m", "answers of 1 MiB over TLS 1.3", "https", "/files/1m", 16),
    Workload(
        "h2-tls",
        "HTTP/2 over TLS 1.3, small answers, 32 streams on each connection",
        "https",
        "/small",
        16,
        load="h2load",
        streams=32,
    ),
    Workload(
        "grpc-unary",
        "small gRPC calls over TLS 1.3, h2c to the endpoint, 32 streams on each connection",
        "grpc",
        "/load.Echo/Say",
        16,
        load="h2load",
        streams=32,
        unit="call",
    ),
    Workload(
        "ws-echo",
        "WebSocket over HTTP/1.1, messages of 64 bytes echoed",
        "ws",
        "/ws",
        64,
        load="ws",
        unit="message",
    ),
    Workload(
        "connect-churn",
        "a new connection for every request, in the clear",
        "http",
        "/small",
        64,
        close=True,
    ),
    Workload(
        "tls-handshake",
        "a new TLS 1.3 connection for every request, full handshakes",
        "https",
        "/small",
        16,
        close=True,
        load="handshakes",
    ),
    Workload(
        "tls-resume",
        "a new TLS 1.3 connection for every request, resumed sessions",
        "https",
        "/small",
        32,
        close=True,
    ),
    Workload(
        "tcp-pingpong",
        "a raw stream of small messages to and fro (HTTP inside, unseen)",
        "tcp",
        "/small",
        64,
        unit="round trip",
    ),
    Workload(
        "tcp-bulk",
        "a raw stream, 1 MiB at a time (HTTP inside, unseen)",
        "tcp",
        "/files/1m",
        16,
        unit="MiB",
    ),
    Workload(
        "tls-tcp-pingpong",
        "tcp-pingpong with the client's TLS 1.3 ended by the proxy",
        "tls-tcp",
        "/small",
        64,
        unit="round trip",
    ),
    Workload(
        "tls-tcp-bulk",
        "tcp-bulk with the client's TLS 1.3 ended by the proxy",
        "tls-tcp",
        "/files/1m",
        16,
        unit="MiB",
    ),
    Workload(
        "added-latency",
        f"what a proxy adds to the endpoint's latency at {RATE} requests per second",
        "http",
        "/small",
        16,
        load="rate",
        figure="latency",
    ),
    Workload(
        "idle-10k",
        "memory for each idle keep-alive connection after one request, between 1,000 and 10,000",
        "http",
        "/small",
        IDLE_STEPS[-1],
        load="idle",
        figure="memory",
    ),
    Workload(
        "idle-10k-tls",
        "the same over TLS 1.3",
        "https",
        "/small",
        IDLE_STEPS[-1],
        load="idle",
        figure="memory",
    ),
]

WORKLOADS = {workload.name: workload for workload in _ALL}
DEFAULT = ["h1-small", "h1-tls"]
