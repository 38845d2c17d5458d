"""What is measured: one row each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Requests of one kind."""

    name: str
    what: str
    # Which of a proxy's listeners takes it: "http", "https" or "tcp".
    front: str
    # Which of the endpoint's answers is asked for.
    path: str
    connections: int
    # A new connection for every request.
    close: bool = False
    # Which generator makes it: "wrk", "handshakes" or "h2load".
    load: str = "wrk"
    # Requests under way on each connection.
    streams: int = 1
    # What CPU time is divided by, for people.
    unit: str = "request"

    @property
    def scheme(self) -> str:
        return "https" if self.front == "https" else "http"


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
]

WORKLOADS = {workload.name: workload for workload in _ALL}
DEFAULT = ["h1-small", "h1-tls"]
