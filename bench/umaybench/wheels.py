"""The proxies that come as Python wheels, and all of them by name."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from typing import Any

from .peers import Haproxy, Nginx, Peer, Setting, Umay
from .process import BenchError
from .telemetry import TELEMETRY
from .tools import version, wheel_program


class Envoy(Peer):
    name = "envoy"
    # It passes on an address of the machine's own in place of loopback's.
    client = r"[0-9a-f.:]+"

    def __init__(self, setting: Setting):
        self._program = wheel_program("envoy")
        super().__init__(setting)

    def version(self) -> str:
        return version([self._program, "--version"], r"/(\d+\.\d+\.\d+)/")

    def command(self) -> list[str]:
        at = self.setting
        config = {
            "static_resources": {
                "listeners": [
                    self._http("http", "endpoint"),
                    self._http("https", "endpoint", alpn=["h2", "http/1.1"]),
                    self._http("grpc", "grpc", alpn=["h2"]),
                    self._http("ws", "ws"),
                    self._tcp("tcp"),
                    self._tcp("tls-tcp", alpn=[]),
                ],
                "clusters": [
                    self._cluster("endpoint", at.endpoint),
                    self._cluster("ws", at.ws),
                    self._cluster("grpc", at.grpc, h2=True),
                ],
            }
        }
        # JSON is YAML.
        path = self.write("yaml", json.dumps(config, indent=1))
        command = [self._program, "-c", path, "--concurrency", "1", "--disable-hot-restart"]
        return [*command, "--log-level", "error", "--file-flush-interval-msec", "1000"]

    @staticmethod
    def _typed(kind: str, **what: Any) -> dict[str, Any]:
        return {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **what}

    def _listener(self, front: str, filter_: dict[str, Any], alpn: list[str] | None) -> dict[str, Any]:
        chain: dict[str, Any] = {"filters": [{"name": front, "typed_config": filter_}]}
        if alpn is not None:
            pair = {
                "certificate_chain": {"filename": str(self.setting.cert)},
                "private_key": {"filename": str(self.setting.key)},
            }
            common = {
                "tls_certificates": [pair],
                "alpn_protocols": alpn,
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_3",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
            }
            kind = "transport_sockets.tls.v3.DownstreamTlsContext"
            tls = self._typed(kind, common_tls_context=common)
            chain["transport_socket"] = {"name": "tls", "typed_config": tls}
        address = {"address": "127.0.0.1", "port_value": self.ports[front]}
        return {
            "name": front,
            "address": {"socket_address": address},
            "filter_chains": [chain],
        }

    def _http(self, front: str, cluster: str, alpn: list[str] | None = None) -> dict[str, Any]:
        router = self._typed("filters.http.router.v3.Router")
        route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}
        manager = self._typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=front,
            use_remote_address=True,
            via="1.1 envoy",
            http_filters=[{"name": "router", "typed_config": router}],
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        )
        if front == "ws":
            manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
        if self.setting.log:
            file = self._typed("access_loggers.file.v3.FileAccessLog", path=str(self.access_log))
            manager["access_log"] = [{"name": "file", "typed_config": file}]
        return self._listener(front, manager, alpn)

    def _tcp(self, front: str, alpn: list[str] | None = None) -> dict[str, Any]:
        kind = "filters.network.tcp_proxy.v3.TcpProxy"
        return self._listener(front, self._typed(kind, stat_prefix=front, cluster="endpoint"), alpn)

    def _cluster(self, name: str, port: int, h2: bool = False) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        one = {"endpoint": {"address": address}}
        cluster: dict[str, Any] = {
            "name": name,
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [one]}]},
        }
        if h2:
            http = self._typed(
                "upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={"http2_protocol_options": {}},
            )
            key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            cluster["typed_extension_protocol_options"] = {key: http}
        return cluster


class Caddy(Peer):
    name = "caddy"
    # Raw streams take a plugin.
    fronts = ("http", "https", "grpc", "ws")

    def __init__(self, setting: Setting):
        self._program = wheel_program("caddy")
        self.environment = {
            "GOMAXPROCS": "1",
            "XDG_DATA_HOME": str(setting.work),
            "XDG_CONFIG_HOME": str(setting.work),
        }
        super().__init__(setting)

    def version(self) -> str:
        return version([self._program, "version"], r"v(\S+)")

    def _site(self, front: str, to: str) -> str:
        at = self.setting
        tls = f"tls {at.cert} {at.key} {{\n protocols tls1.3\n }}" if front in ("https", "grpc") else ""
        # What is written in full does not rotate and has every line.
        log = f"log {{\n output file {self.access_log} {{\n roll_disabled\n }}\n }}" if at.log else ""
        return f"""
{"https://localhost" if tls else "http://"}:{self.ports[front]} {{
    bind 127.0.0.1
    {tls}
    {log}
    reverse_proxy {to} {{
        transport http {{
            keepalive_idle_conns_per_host 1024
        }}
    }}
}}
"""

    def command(self) -> list[str]:
        at = self.setting
        options = """
{
    admin off
    persist_config off
    auto_https off
    servers {
        timeouts {
            idle 10m
        }
    }
    log {
        level ERROR
    }
}
"""
        sites = [
            self._site("http", f"127.0.0.1:{at.endpoint}"),
            self._site("https", f"127.0.0.1:{at.endpoint}"),
            self._site("grpc", f"h2c://127.0.0.1:{at.grpc}"),
            self._site("ws", f"127.0.0.1:{at.ws}"),
        ]
        path = self.write("caddyfile", options + "".join(sites))
        return [self._program, "run", "--adapter", "caddyfile", "--config", path]


class Traefik(Peer):
    name = "traefik"

    def __init__(self, setting: Setting):
        self._program = wheel_program("traefik")
        self.environment = {"GOMAXPROCS": "1"}
        super().__init__(setting)

    def version(self) -> str:
        return version([self._program, "version"], r"Version:\s+(\S+)")

    def wait(self) -> None:
        """It listens first and reads its routes then: until it has them, everything is 404."""
        super().wait()
        for _ in range(100):
            conn = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=5)
            with contextlib.closing(conn):
                conn.request("GET", "/")
                answer = conn.getresponse()
                answer.read()
                if answer.headers["Server"]:
                    return
            time.sleep(0.05)
        raise BenchError("traefik does not read its routes")

    def command(self) -> list[str]:
        at = self.setting

        def router(front: str, rule: str, service: str) -> dict[str, Any]:
            one: dict[str, Any] = {"entryPoints": [front], "rule": rule, "service": service}
            if front in ("http", "https", "grpc", "ws"):
                one["middlewares"] = ["via"]
            if front in ("https", "grpc", "tls-tcp"):
                one["tls"] = {}
            return one

        def service(*servers: dict[str, str]) -> dict[str, Any]:
            return {"loadBalancer": {"servers": list(servers)}}

        path, any_name = "PathPrefix(`/`)", "HostSNI(`*`)"
        pair = {"certFile": str(at.cert), "keyFile": str(at.key)}
        config = {
            "http": {
                "routers": {
                    "http": router("http", path, "endpoint"),
                    "https": router("https", path, "endpoint"),
                    "grpc": router("grpc", path, "grpc"),
                    "ws": router("ws", path, "ws"),
                },
                "middlewares": {"via": {"headers": {"customRequestHeaders": {"Via": "1.1 traefik"}}}},
                "services": {
                    "endpoint": service({"url": f"http://127.0.0.1:{at.endpoint}"}),
                    "grpc": service({"url": f"h2c://127.0.0.1:{at.grpc}"}),
                    "ws": service({"url": f"http://127.0.0.1:{at.ws}"}),
                },
            },
            "tcp": {
                "routers": {
                    "tcp": router("tcp", any_name, "raw"),
                    "tls-tcp": router("tls-tcp", any_name, "raw"),
                },
                "services": {"raw": service({"address": f"127.0.0.1:{at.endpoint}"})},
            },
            "tls": {
                "certificates": [pair],
                "stores": {"default": {"defaultCertificate": pair}},
                "options": {"default": {"minVersion": "VersionTLS13"}},
            },
        }
        # JSON is YAML.
        file = self.write("yaml", json.dumps(config, indent=1))
        command = [self._program, f"--providers.file.filename={file}", "--log.level=ERROR"]
        command += ["--providers.file.watch=false", "--serversTransport.maxIdleConnsPerHost=1024"]
        command += ["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]
        for front, port in self.ports.items():
            command.append(f"--entryPoints.{front}.address=127.0.0.1:{port}")
            command.append(f"--entryPoints.{front}.transport.respondingTimeouts.idleTimeout=600s")
        if at.log:
            command += ["--accessLog=true", f"--accessLog.filePath={self.access_log}"]
        return command


PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (Umay, Nginx, Haproxy, Envoy, Caddy, Traefik, *TELEMETRY)
}
