"""What has to hold before a figure counts: right answers, and connections that are used again."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
import subprocess
from pathlib import Path

from .endpoint import MESSAGE, WS_SIZE, Endpoint
from .peers import Peer
from .process import BenchError
from .tools import program
from .workloads import Workload


def before(peer: Peer, workload: Workload, endpoint: Endpoint, cert: Path) -> dict[str, str]:
    """Asks as the load will, reads every byte, and looks at what the endpoint saw. Returns what TLS
    agreed on, to be compared between peers."""
    try:
        if workload.front == "ws":
            _ws(peer)
        elif workload.front == "grpc":
            _grpc(peer)
        else:
            _http(peer, workload, endpoint, cert)
        return _agreed(peer, workload, cert) if workload.tls else {}
    except (OSError, http.client.HTTPException, BenchError) as error:
        raise BenchError(f"{peer.name}, {workload.name}: {error}") from error


def same_tls(agreed: dict[str, dict[str, str]]) -> None:
    """All peers have to encrypt alike."""
    if len({tuple(one.items()) for one in agreed.values()}) > 1:
        raise BenchError(f"the peers do not agree on the same TLS: {agreed}")


def _agreed(peer: Peer, workload: Workload, cert: Path) -> dict[str, str]:
    port = peer.ports[workload.front]
    context = ssl.create_default_context(cafile=str(cert))
    if workload.load == "h2load":
        context.set_alpn_protocols(["h2"])
    with socket.create_connection(("localhost", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as conn:
            if workload.load == "h2load" and conn.selected_alpn_protocol() != "h2":
                raise BenchError("HTTP/2 is not spoken")
            return {"version": conn.version() or "?", "cipher": conn.cipher()[0]}


def _one_connection(seen: list[list[str]]) -> None:
    if len({connection for connection, *_ in seen}) != 1:
        raise BenchError("every request goes to the endpoint on another connection")


def _added(seen: list[str], peer: Peer, scheme: str) -> None:
    """Whether the endpoint sees what a proxy has to add."""
    via, client, proto = seen
    right = re.match(r"(1\.1|2|2\.0) ", via) and re.fullmatch(peer.client, client)
    # To Traefik a WebSocket's scheme is its own.
    if not right or proto not in (scheme, scheme.replace("http", "ws")):
        raise BenchError(f"the endpoint sees via {via!r}, client {client!r}, {proto!r}")


def _connect(port: int, workload: Workload, cert: Path) -> http.client.HTTPConnection:
    if not workload.tls:
        return http.client.HTTPConnection("localhost", port, timeout=10)
    context = ssl.create_default_context(cafile=str(cert))
    return http.client.HTTPSConnection("localhost", port, timeout=10, context=context)


def _fetch(conn: http.client.HTTPConnection, path: str, close: bool) -> bytes:
    conn.request("GET", path, headers={"Connection": "close"} if close else {})
    answer = conn.getresponse()
    body = answer.read()
    # A head that is cut is a whole one to this client.
    if answer.headers["Content-Length"] != str(len(body)):
        raise BenchError(f"{len(body)} bytes came with the fields {answer.getheaders()}")
    if answer.status != 200:
        raise BenchError(f"{path} is answered with {answer.status}")
    if close != answer.will_close:
        raise BenchError("the connection is closed" if answer.will_close else "it is kept open")
    return body


def _http(peer: Peer, workload: Workload, endpoint: Endpoint, cert: Path) -> None:
    expected = endpoint.answers[workload.path]
    conn = _connect(peer.ports[workload.front], workload, cert)
    try:
        for _ in range(3):
            body = _fetch(conn, workload.path, workload.close)
            digest = hashlib.sha256(body).hexdigest()
            if (len(body), digest) != (expected.length, expected.sha256):
                raise BenchError(f"a body of {len(body)} bytes is not the endpoint's")
        # The proxy may close its connection to the endpoint with the client's, if it closes them.
        seen = [_fetch(conn, "/seen", False).decode().splitlines() for _ in range(3)]
    finally:
        conn.close()
    _one_connection(seen)
    if not workload.raw:
        _added(seen[0][1:], peer, workload.scheme)
    elif any(seen[0][1:]):
        raise BenchError("a raw stream was changed")


def _grpc(peer: Peer) -> None:
    """A call, its answer and its status in the trailers; and what the endpoint sees of three."""
    message = peer.setting.work / "message"
    message.write_bytes(MESSAGE)
    command = [program("nghttp"), "-v", "-y", "-d", str(message)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    seen = []
    for call in ("Say", "Seen", "Seen", "Seen"):
        url = f"https://localhost:{peer.ports['grpc']}/load.Echo/{call}"
        done = subprocess.run([*command, url], capture_output=True, timeout=10)
        said = done.stdout
        trailers = said.rpartition(b"DATA frame")[2]
        if b" :status: 200\n" not in said or b" grpc-status: 0\n" not in trailers:
            text = said.decode(errors="replace")[-2000:]
            raise BenchError(f"a call has no good status in trailers:\n{text}")
        if call == "Say":
            if MESSAGE not in said:
                raise BenchError("a call is answered with another message")
        elif found := re.search(rb"\0\0\0\0.((?:[^\n]*\n){4})", said, re.DOTALL):
            seen.append(found.group(1).decode().splitlines())
    if len(seen) != 3:
        raise BenchError("the endpoint does not tell what it sees")
    _one_connection(seen)
    _added(seen[0][1:], peer, "https")


def _ws(peer: Peer) -> None:
    """An upgrade, and three messages that are echoed."""
    with socket.create_connection(("localhost", peer.ports["ws"]), timeout=10) as conn:
        conn.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        stream = conn.makefile("rb")
        status = stream.readline().decode()
        fields = http.client.parse_headers(stream)
        if " 101 " not in status or fields["Sec-WebSocket-Accept"] != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=":
            raise BenchError(f"an upgrade is answered with {status.strip()}")
        names = ("via", "x-forwarded-for", "x-forwarded-proto")
        _added([fields[f"Seen-{name}"] or "" for name in names], peer, "http")
        for _ in range(3):
            payload, mask = os.urandom(WS_SIZE), os.urandom(4)
            masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            conn.sendall(bytes([0x82, 0x80 | WS_SIZE]) + mask + masked)
            if stream.read(2 + WS_SIZE) != bytes([0x82, WS_SIZE]) + payload:
                raise BenchError("a message is not echoed")
