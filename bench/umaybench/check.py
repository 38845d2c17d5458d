"""What has to hold before a figure counts: right answers, and connections that are used again."""

from __future__ import annotations

import hashlib
import http.client
import ssl
from pathlib import Path

from .endpoint import Endpoint
from .peers import Peer
from .process import BenchError
from .workloads import Workload


def _connect(peer: Peer, workload: Workload, cert: Path) -> http.client.HTTPConnection:
    port = peer.ports[workload.front]
    if workload.front != "https":
        return http.client.HTTPConnection("localhost", port, timeout=10)
    context = ssl.create_default_context(cafile=str(cert))
    return http.client.HTTPSConnection("localhost", port, timeout=10, context=context)


def _fetch(conn: http.client.HTTPConnection, path: str, close: bool) -> bytes:
    conn.request("GET", path, headers={"Connection": "close"} if close else {})
    answer = conn.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise BenchError(f"{path} is answered with {answer.status}")
    if close != answer.will_close:
        raise BenchError("the connection is closed" if answer.will_close else "it is kept open")
    return body


def before(peer: Peer, workload: Workload, endpoint: Endpoint, cert: Path) -> dict[str, str]:
    """Asks as the load will, reads every byte, and looks at what the endpoint saw. Returns what TLS
    agreed on, to be compared between peers."""
    expected = endpoint.answers[workload.path]
    agreed = {}
    conn = _connect(peer, workload, cert)
    try:
        for _ in range(3):
            body = _fetch(conn, workload.path, workload.close)
            digest = hashlib.sha256(body).hexdigest()
            if (len(body), digest) != (expected.length, expected.sha256):
                raise BenchError(f"a body of {len(body)} bytes is not the endpoint's")
        seen = []
        for _ in range(3):
            seen.append(_fetch(conn, "/seen", False).decode().splitlines())
            if isinstance(conn.sock, ssl.SSLSocket):
                agreed = {"version": conn.sock.version(), "cipher": conn.sock.cipher()[0]}
        if len({connection for connection, *_ in seen}) != 1:
            raise BenchError("every request goes to the endpoint on another connection")
        _, via, client, scheme = seen[0]
        if workload.front == "tcp":
            if via or client or scheme:
                raise BenchError("a raw stream was changed")
        elif not via.startswith("1.1 ") or client != "127.0.0.1" or scheme != workload.scheme:
            raise BenchError(f"the endpoint sees via {via!r}, client {client!r}, {scheme!r}")
    except (OSError, http.client.HTTPException, BenchError) as error:
        raise BenchError(f"{peer.name}, {workload.name}: {error}") from error
    finally:
        conn.close()
    return agreed


def same_tls(agreed: dict[str, dict[str, str]]) -> None:
    """All peers have to encrypt alike."""
    if len({tuple(one.items()) for one in agreed.values()}) > 1:
        raise BenchError(f"the peers do not agree on the same TLS: {agreed}")
