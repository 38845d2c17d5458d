"""What the proxies stand in front of: nginx with answers from memory."""

from __future__ import annotations

import hashlib
import http.client
import os
from dataclasses import dataclass
from pathlib import Path

from .process import BenchError, Process, free_ports
from .tools import as_root, nginx_program

SMALL = b"The quick brown fox jumps over the lazy dog, and the lazy dog sleeps on.\n"


@dataclass(frozen=True)
class Answer:
    """What an answer has to be."""

    length: int
    sha256: str

    @staticmethod
    def of(body: bytes) -> Answer:
        return Answer(len(body), hashlib.sha256(body).hexdigest())


class Endpoint:
    """One worker; nothing of it touches a disk."""

    def __init__(self, work: Path, cpus: set[int], addresses: tuple[str, ...] = ("127.0.0.1",)):
        """It listens on all addresses, on the same port of each."""
        self._work = work
        self._addresses = addresses
        self._cpus = cpus
        (self.port,) = free_ports(1)
        self.answers = {"/small": Answer.of(SMALL)}

    def start(self) -> Process:
        files = self._work / "files"
        files.mkdir()
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
events {{ worker_connections 8192; }}
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
        location /files/ {{ root {self._work}; }}
    }}
}}
""")
        command = [nginx_program(), "-e", "stderr", "-p", str(self._work), "-c", str(config)]
        command += ["-g", "daemon off;"]
        return Process("endpoint", command, self._cpus, self._work / "endpoint.out")

    def accepted(self) -> int:
        """Connections that it has accepted so far, the one that asks included."""
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            conn.request("GET", "/status")
            lines = conn.getresponse().read().decode().splitlines()
            return int(lines[2].split()[0])
        except (OSError, IndexError, ValueError) as error:
            raise BenchError(f"the endpoint does not tell its connections: {error}") from error
        finally:
            conn.close()
