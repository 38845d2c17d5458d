"""What the proxies stand in front of: nginx with answers from memory, and umay-load for what nginx does
not speak."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
from dataclasses import dataclass
from pathlib import Path

from .process import BenchError, Process, free_ports
from .tools import as_root, nginx_program

# A gRPC message: not compressed, its length, and itself.
MESSAGE = b"\0\0\0\0\x14twenty bytes of text"
# Bytes of a WebSocket message.
WS_SIZE = 64
SMALL = b"The quick brown fox jumps over the lazy dog, and the lazy dog sleeps on.\n"


@dataclass(frozen=True)
class Answer:
    """What an answer has to be."""

    length: int
    sha256: str

    @staticmethod
    def of(body: bytes) -> Answer:
        return Answer(len(body), hashlib.sha256(body).hexdigest())


@dataclass(frozen=True)
class Counts:
    """What an endpoint has done so far."""

    # Connections accepted, those for the counts included.
    accepted: int
    # Requests, messages or calls.
    answered: int

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.accepted - other.accepted, self.answered - other.answered)


class Endpoint:
    """A process that answers, and counts what it does."""

    def __init__(self, work: Path, cpus: set[int], addresses: tuple[str, ...] = ("127.0.0.1",)):
        """It listens on all addresses, on the same port of each."""
        self._work = work
        self._addresses = addresses
        self._cpus = cpus
        # Where its counts are asked for.
        (self.port,) = free_ports(1)
        self.answers: dict[str, Answer] = {}
        self.process: Process | None = None

    def start(self) -> Process:
        raise NotImplementedError

    def counts(self) -> Counts:
        """What it has done so far. What asks is a connection, and to nginx a request."""
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            conn.request("GET", "/status")
            return self._read(conn.getresponse().read().decode().splitlines())
        except (OSError, IndexError, ValueError, http.client.HTTPException) as error:
            raise BenchError(f"the endpoint does not tell its counts: {error}") from error
        finally:
            conn.close()

    def settled(self) -> Counts:
        """The same when nothing is left of the load before: what a client has sent last may still be
        on its way when the client is gone."""
        now = self.counts()
        for _ in range(40):
            time.sleep(0.05)
            before, now = now, self.counts()
            if now.answered - before.answered <= 1 and now.accepted - before.accepted == 1:
                break
        return now

    def _read(self, lines: list[str]) -> Counts:
        raise NotImplementedError


class Nginx(Endpoint):
    """One worker; nothing of it touches a disk."""

    def start(self) -> Process:
        self.answers["/small"] = Answer.of(SMALL)
        files = self._work / "files"
        files.mkdir(parents=True)
        for name, size in {"64k": 64 * 1024, "1m": 1024 * 1024}.items():
            body = os.urandom(size)
            (files / name).write_bytes(body)
            self.answers[f"/files/{name}"] = Answer.of(body)
        config = self._work / "endpoint.conf"
        listen = "\n        ".join(f"listen {at}:{self.port} backlog=4096;" for at in self._addresses)
        small = SMALL.decode().replace("\n", "\\n")
        config.write_text(f"""
{as_root()}
worker_processes 1;
pid {self._work}/endpoint.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    server {{
        {listen}
        location = /small {{ return 200 "{small}"; }}
        location = /seen {{
            return 200 "$connection\\n$http_via\\n$http_x_forwarded_for\\n$http_x_forwarded_proto\\n";
        }}
        location = /status {{ stub_status; }}
        # Of a collector of traces, what an exporter sees of it.
        location = /v1/traces {{ default_type application/x-protobuf; return 200 ""; client_max_body_size 0; }}
        location /files/ {{ root {self._work}; }}
    }}
}}
""")
        command = [nginx_program(), "-e", "stderr", "-p", str(self._work), "-c", str(config)]
        command += ["-g", "daemon off;"]
        output = self._work / "endpoint.out"
        self.process = Process("endpoint", command, self._cpus, output)
        return self.process

    def _read(self, lines: list[str]) -> Counts:
        accepted, _, requests = map(int, lines[2].split())
        # Of two looks, the second has counted itself.
        return Counts(accepted, requests)


class Echo(Endpoint):
    """WebSocket and gRPC: says what it was told."""

    def __init__(self, work: Path, cpus: set[int], load: Path):
        super().__init__(work, cpus)
        self._load = load
        (self.grpc_port,) = free_ports(1)

    def start(self) -> Process:
        self.answers["/load.Echo/Say"] = Answer.of(MESSAGE)
        self.answers["/ws"] = Answer(WS_SIZE, "")
        command = [str(self._load), "endpoint", "--ws", f"127.0.0.1:{self.port}"]
        command += ["--grpc", f"127.0.0.1:{self.grpc_port}"]
        self.process = Process("echo", command, self._cpus, self._work / "echo.out")
        return self.process

    def _read(self, lines: list[str]) -> Counts:
        accepted, answered = map(int, lines)
        return Counts(accepted, answered)
