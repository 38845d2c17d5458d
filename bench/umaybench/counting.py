"""Counts what a request costs Umay: the difference between a long run and a short one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import callgrind, steady
from .endpoint import Endpoint, Nginx
from .process import BenchError, Place, Process, free_ports, unstopped
from .tools import program

# All on one core: with one worker, who has work and who waits is the same each time then.
CPUS = Place.one().proxy


@dataclass(frozen=True)
class Case:
    """What is counted."""

    name: str
    what: str
    # What sends requests; `None` counts what it takes to read the configuration, per route.
    load: Callable[[int, list[str], int], None] | None = steady.http1
    # Half of the routes name a host, half of them all hosts below a name.
    routes: int = 2
    endpoints: int = 2
    # Requests of the short run: after so many, nothing happens any more for the first time. (Or
    # routes.)
    short: int = 1_000
    # How many more the long run has.
    more: int = 5_000
    # Instructions of a request that may not be exceeded, whatever is stored.
    budget: int | None = None
    # There is an access log: JSON, in a file.
    logged: bool = True
    # What part of the requests is traced; the collector is the endpoint, which takes all spans.
    traced: float | None = None


_ALL = [
    Case("h1-small", "HTTP/1.1 keep-alive, small answers, an access log", budget=12_000),
    Case("h1-routes", "the same with 10,000 routes", routes=10_000, more=20_000),
    Case("h1-endpoints", "the same with 1,000 endpoints", endpoints=1_000, short=10_000),
    Case("routes-read", "the configuration's check, per route", load=None),
    Case("h2", "HTTP/2 in the clear, small answers, 32 streams", load=steady.http2),
    Case("h1-unlogged", "h1-small without an access log", logged=False),
    Case("h1-traced", "h1-small with one request in a hundred traced, as by default", traced=0.01),
    Case("h1-traced-all", "h1-small with all requests traced", traced=1),
    Case("scrape", "a scrape of the metrics", load=steady.scrapes, short=100, more=500),
]

CASES = {case.name: case for case in _ALL}


@dataclass(frozen=True)
class Cost:
    """What a request costs: instructions by function, or system calls by name."""

    parts: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def top(self, count: int) -> list[tuple[str, float]]:
        return sorted(self.parts.items(), key=lambda item: -item[1])[:count]


class Bench:
    """An endpoint, and one Umay after the other in front of it."""

    def __init__(self, umay: Path, case: Case):
        self._umay = umay
        self._case = case

    def instructions(self, by_line: bool = False) -> Cost:
        """Instructions in user space per request, by function or by line of the source."""
        case = self._case
        with self._lab() as (work, endpoint):
            out = work / "callgrind.out"

            def count(requests: int) -> Counter[str]:
                self._run(work, endpoint, requests, lambda inner: callgrind.command(out, inner))
                return callgrind.read(out, by_line)

            return self._each(count(case.short), count(case.short + case.more))

    def calls(self) -> Cost:
        """System calls per request."""
        case = self._case
        with self._lab() as (work, endpoint):
            out = work / "strace.out"
            strace = [program("strace"), "-f", "-c", "-U", "calls,name", "-o", str(out)]

            def count(requests: int) -> Counter[str]:
                self._run(work, endpoint, requests, lambda inner: [*strace, *inner])
                return _calls(out)

            return self._each(count(case.short), count(case.short + case.more))

    def _each(self, short: Counter[str], long: Counter[str]) -> Cost:
        names = short.keys() | long.keys()
        return Cost({name: (long[name] - short[name]) / self._case.more for name in names})

    @contextlib.contextmanager
    def _lab(self) -> Iterator[tuple[Path, Endpoint]]:
        with contextlib.ExitStack() as stack:
            work = Path(tempfile.mkdtemp(prefix="umay-count-"))
            stack.callback(shutil.rmtree, work, ignore_errors=True)
            count = self._case.endpoints
            # Of this process alone: elsewhere another may have taken the port.
            own = f"127.{64 + os.getpid() % 128}"
            self._addresses = tuple(f"{own}.{i // 250}.{1 + i % 250}" for i in range(count))
            endpoint = Nginx(work, CPUS, ("127.0.0.1", *self._addresses))
            with unstopped():
                process = endpoint.start()
                stack.callback(process.stop)
            process.wait_for([endpoint.port])
            yield work, endpoint

    def _run(
        self,
        work: Path,
        endpoint: Endpoint,
        requests: int,
        wrap: Callable[[list[str]], list[str]],
    ) -> None:
        """A fresh Umay from its start to its end."""
        (port, admin) = free_ports(2)
        config, case = work / "umay.toml", self._case
        scraped = case.load is steady.scrapes
        # Not beside the configuration: who watches that is told of each line that is written.
        log = work / "logs" / "access.log"
        log.parent.mkdir(exist_ok=True)
        routes = case.routes if case.load else requests
        bind = f"127.0.0.1:{admin}" if scraped else "off"
        config.write_text(self._config(port, endpoint.port, log, routes, bind))
        if case.load is None:
            done = subprocess.run(
                wrap([str(self._umay), "check", str(config)]), capture_output=True, text=True
            )
            if done.returncode != 0:
                raise BenchError(f"umay check failed:\n{done.stdout}{done.stderr}")
            return
        command = wrap([str(self._umay), "run", "--config", str(config)])
        with contextlib.ExitStack() as stack:
            with unstopped():
                process = Process("umay", command, CPUS, work / "umay.out")
                stack.callback(process.stop)
            ports = [port, admin] if scraped else [port]
            process.wait_for(ports, patience=120)
            try:
                case.load(admin if scraped else port, ["www.site-0000.test", "www.site-0001.test"], requests)
            except BenchError as error:
                said = (work / "umay.out").read_text(errors="replace")[-2000:]
                logged = log.read_text(errors="replace")[-1000:] if log.exists() else ""
                raise BenchError(f"{error}\nUmay said:\n{said}\nand logged:\n{logged}") from error
            process.finish(patience=60)
        if scraped or not case.logged:
            return
        lines = log.read_bytes().count(b"\n")
        if lines != requests:
            raise BenchError(f"{lines} lines in the log for {requests} requests")
        log.unlink()

    def _config(self, port: int, endpoint: int, log: Path, routes: int, admin: str) -> str:
        endpoints = ", ".join(f'"http://{at}:{endpoint}"' for at in self._addresses)
        table = "".join(
            f'[[route]]\nhost = "{"*" if number % 2 else "www"}.site-{number:04}.test"\n'
            'path = "/small"\nto = "app"\n'
            for number in range(routes)
        )
        traced = self._case.traced
        access = log if self._case.logged else "off"
        tracing = "" if traced is None else f'tracing = {{ endpoint = "http://127.0.0.1:{endpoint}", ratio = {traced} }}'
        return f"""
workers = 1
admin.bind = "{admin}"
log = {{ access = "{access}", level = "warn" }}
timeouts = {{ keep_alive = "10m", upstream_idle = "10m" }}
{tracing}

[[listener]]
listen = "127.0.0.1:{port}"

{table}
[upstream.app]
to = [{endpoints}]
"""


def _calls(output: Path) -> Counter[str]:
    found = re.findall(r"^\s*(\d+)\s+(\w+)$", output.read_text(), re.MULTILINE)
    return Counter({name: int(count) for count, name in found if name != "total"})
