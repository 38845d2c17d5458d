"""The proxies that the machine's packages have, one class each; `wheels` has the others.

All do the same work: one worker, keep-alive on both sides without a limit on requests, the client's
address and scheme and a Via added to what goes to the endpoint, TLS 1.3 only, buffers of 32 KiB.
With the buffers that nginx and HAProxy have by default (4 and 16 KiB), large answers cost them up to
twice as much, which would flatter Umay. Apart from that they are left as they come.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .process import Process, free_ports
from .tools import as_root, nginx_program, nginx_stream_module, program, version

# Connections that a proxy has to bear at the same time, those to the endpoint included.
CONNECTIONS = 12_000


@dataclass(frozen=True)
class Setting:
    """What a proxy is to do."""

    work: Path
    cpus: set[int]
    # Ports of the endpoints: HTTP/1.1, WebSocket, gRPC in the clear.
    endpoint: int
    ws: int
    grpc: int
    # Where a collector of traces listens.
    collector: int
    cert: Path
    key: Path
    # Write an access log.
    log: bool
    # The binary of Umay.
    umay: Path


class Peer:
    """A proxy: writes its configuration and starts it."""

    name = ""
    # The kinds of listeners it has.
    fronts: tuple[str, ...] = ("http", "https", "grpc", "ws", "tcp", "tls-tcp")
    # What a client on loopback is called to the endpoint.
    client = r"127\.0\.0\.1"
    # What its environment has besides ours.
    environment: dict[str, str] = {}

    def __init__(self, setting: Setting):
        self.setting = setting
        self.ports = dict(zip(self.fronts, free_ports(len(self.fronts)), strict=True))
        self.process: Process | None = None

    @property
    def access_log(self) -> Path:
        # Not beside the configuration: who watches that is told of each line that is written.
        folder = self.setting.work / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{self.name}.access.log"

    def logs(self) -> bool:
        """Whether it writes an access log."""
        return self.setting.log

    @contextlib.contextmanager
    def observed(self, problems: list[str]) -> Iterator[None]:
        """Does what happens to it besides the load, and adds what was wrong."""
        yield

    def version(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        """Writes what it reads and says how it is started."""
        raise NotImplementedError

    def start(self) -> Process:
        """Starts it. What is pinned before it starts is pinned with all its threads."""
        output = self.setting.work / f"{self.name}.out"
        log = self.access_log if self.logs_to_stdout() else None
        cpus, command = self.setting.cpus, self.command()
        self.process = Process(self.name, command, cpus, output, log, self.environment)
        return self.process

    def wait(self) -> None:
        """Waits until it can be used."""
        self.process.wait_for(list(self.ports.values()))

    def logs_to_stdout(self) -> bool:
        return False

    def write(self, suffix: str, text: str) -> str:
        path = self.setting.work / f"{self.name}.{suffix}"
        path.write_text(text)
        return str(path)


class Umay(Peer):
    name = "umay"

    def telemetry(self) -> str:
        """What is configured of metrics and traces."""
        return """
[admin]
bind = "off"
"""

    def version(self) -> str:
        return version([str(self.setting.umay), "--version"], r"umay (\S+)")

    def command(self) -> list[str]:
        at = self.setting
        log = self.access_log if self.logs() else "off"
        tls = f"""cert = "{at.cert}"
key = "{at.key}"
tls_min = "1.3\""""
        config = self.write(
            "toml",
            f"""
workers = 1
{self.telemetry()}
[log]
access = "{log}"
level = "warn"

[timeouts]
keep_alive = "10m"

[limits]
connections = {CONNECTIONS}

[[listener]]
name = "http"
listen = "127.0.0.1:{self.ports["http"]}"

[[listener]]
name = "https"
listen = "127.0.0.1:{self.ports["https"]}"
{tls}

[[listener]]
name = "grpc"
listen = "127.0.0.1:{self.ports["grpc"]}"
{tls}

[[listener]]
name = "ws"
listen = "127.0.0.1:{self.ports["ws"]}"

[[listener]]
name = "tcp"
listen = "127.0.0.1:{self.ports["tcp"]}"

[[listener]]
name = "tls-tcp"
listen = "127.0.0.1:{self.ports["tls-tcp"]}"
{tls}

[[route]]
listeners = ["http", "https"]
to = ["http://127.0.0.1:{at.endpoint}"]

[[route]]
listeners = ["grpc"]
to = ["h2c://127.0.0.1:{at.grpc}"]

[[route]]
listeners = ["ws"]
to = ["http://127.0.0.1:{at.ws}"]

[[route]]
listeners = ["tcp", "tls-tcp"]
protocol = "tcp"
to = ["tcp://127.0.0.1:{at.endpoint}"]
""",
        )
        return [str(at.umay), "run", "--config", config]


class Nginx(Peer):
    name = "nginx"

    def __init__(self, setting: Setting):
        self.stream = nginx_stream_module()
        if self.stream is None:
            self.fronts = ("http", "https", "grpc", "ws")
        super().__init__(setting)

    def version(self) -> str:
        return version([nginx_program(), "-v"], r"nginx/(\S+)")

    def command(self) -> list[str]:
        at = self.setting
        # Written in batches, as Umay does it.
        log = f"{self.access_log} combined buffer=64k flush=1s" if at.log else "off"
        tls = f"""
        ssl_certificate {at.cert};
        ssl_certificate_key {at.key};
        ssl_protocols TLSv1.3;"""

        def added(directive: str) -> str:
            return f"""
            {directive} Host $http_host;
            {directive} X-Forwarded-For $proxy_add_x_forwarded_for;
            {directive} X-Forwarded-Proto $scheme;
            {directive} Via "1.1 nginx";"""

        location = f"""
        location / {{
            proxy_pass http://endpoint;
            proxy_http_version 1.1;
            proxy_set_header Connection "";{added("proxy_set_header")}
        }}"""
        stream = ""
        if self.stream is not None:
            stream = f"""
stream {{
    tcp_nodelay on;
    server {{
        listen 127.0.0.1:{self.ports["tcp"]} backlog=4096;
        proxy_pass 127.0.0.1:{at.endpoint};
    }}
    server {{
        listen 127.0.0.1:{self.ports["tls-tcp"]} ssl backlog=4096;
        proxy_pass 127.0.0.1:{at.endpoint};{tls}
    }}
}}"""
        config = self.write(
            "conf",
            f"""
{self.stream or ""}
{as_root()}
worker_processes 1;
pid {at.work}/nginx.pid;
error_log stderr error;
events {{ worker_connections {CONNECTIONS}; }}
http {{
    access_log {log};
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    proxy_max_temp_file_size 0;
    proxy_buffer_size 32k;
    proxy_buffers 8 32k;
    proxy_busy_buffers_size 64k;
    upstream endpoint {{
        server 127.0.0.1:{at.endpoint};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    upstream calls {{
        server 127.0.0.1:{at.grpc};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{self.ports["http"]} backlog=4096;{location}
    }}
    server {{
        listen 127.0.0.1:{self.ports["https"]} ssl http2 backlog=4096;{tls}{location}
    }}
    server {{
        listen 127.0.0.1:{self.ports["grpc"]} ssl http2 backlog=4096;{tls}
        location / {{
            grpc_pass grpc://calls;{added("grpc_set_header")}
        }}
    }}
    server {{
        listen 127.0.0.1:{self.ports["ws"]} backlog=4096;
        location / {{
            proxy_pass http://127.0.0.1:{at.ws};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";{added("proxy_set_header")}
        }}
    }}
}}{stream}
""",
        )
        command = [nginx_program(), "-e", "stderr", "-p", str(at.work), "-c", config]
        return [*command, "-g", "daemon off;"]


class Haproxy(Peer):
    name = "haproxy"

    def version(self) -> str:
        return version([program("haproxy"), "-v"], r"version (\d+\.\d+\.\d+)")

    def logs_to_stdout(self) -> bool:
        """HAProxy opens no file, but it writes to descriptors: a line a call."""
        return self.setting.log

    def command(self) -> list[str]:
        at = self.setting
        pair = self.write("pem", at.cert.read_text() + at.key.read_text())
        log = "log stdout format raw local0" if at.log else ""
        use = "log global\n    option httplog" if at.log else ""
        headers = """
    option forwardfor
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http unless { ssl_fc }
    http-request set-header Via "1.1 haproxy"
"""
        tls = f"ssl crt {pair} ssl-min-ver TLSv1.3 backlog 4096"
        config = self.write(
            "cfg",
            f"""
global
    nbthread 1
    maxconn {CONNECTIONS}
    # It asks for two descriptors for each connection beforehand; idle ones take one.
    no strict-limits
    # With a quarter of them in use it would keep no connection to the endpoint.
    tune.pool-low-fd-ratio 90
    tune.pool-high-fd-ratio 95
    tune.bufsize 32768
    {log}

defaults
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout tunnel 600s

frontend http
    mode http
    {use}
    bind 127.0.0.1:{self.ports["http"]} backlog 4096{headers}
    default_backend endpoint

frontend https
    mode http
    {use}
    bind 127.0.0.1:{self.ports["https"]} {tls} alpn h2,http/1.1{headers}
    default_backend endpoint

frontend grpc
    mode http
    {use}
    bind 127.0.0.1:{self.ports["grpc"]} {tls} alpn h2{headers}
    default_backend grpc

frontend ws
    mode http
    {use}
    bind 127.0.0.1:{self.ports["ws"]} backlog 4096{headers}
    default_backend ws

backend endpoint
    mode http
    http-reuse always
    server one 127.0.0.1:{at.endpoint}

backend grpc
    mode http
    http-reuse always
    server one 127.0.0.1:{at.grpc} proto h2

backend ws
    mode http
    server one 127.0.0.1:{at.ws}

listen tcp
    mode tcp
    bind 127.0.0.1:{self.ports["tcp"]} backlog 4096
    server one 127.0.0.1:{at.endpoint}

listen tls-tcp
    mode tcp
    bind 127.0.0.1:{self.ports["tls-tcp"]} {tls}
    server one 127.0.0.1:{at.endpoint}
""",
        )
        return [program("haproxy"), "-db", "-f", config]

