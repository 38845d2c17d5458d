"""A run: everything is started, checked, warmed up, measured in turns, and stopped."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import check, telemetry
from .endpoint import Counts, Echo, Endpoint, Nginx
from .loads import Load, Loads
from .peers import Peer, Setting
from .process import (
    Cpu,
    Place,
    Process,
    connections_opened,
    idle_seconds,
    may_open_files,
    unstopped,
)
from .tools import self_signed
from .wheels import PEERS
from .workloads import IDLE_STEPS, Workload


@dataclass(frozen=True)
class Plan:
    """What a run is to do."""

    workloads: list[Workload]
    peers: list[str]
    rounds: int
    seconds: int
    log: bool
    place: Place
    umay: Path
    # umay-load.
    load: Path


@dataclass(frozen=True)
class Sample:
    """One peer, one workload, one round."""

    round: int
    peer: str
    workload: str
    load: Load
    cpu: Cpu
    rss: int
    # Shares of a core while the load ran.
    proxy_busy: float
    client_busy: float
    endpoint_busy: float
    # Idle time of the cores that the client and the endpoint run on, as a share.
    client_idle: float
    # Cores' worth of time that went to work that is not ours.
    foreign: float
    upstream_connections: int
    problems: list[str]
    # "latency": the same load without a proxy, just before.
    direct: Load | None = None
    # "memory": resident memory after each step.
    steps: list[int] = field(default_factory=list)

    @property
    def micros(self) -> float:
        """CPU time per request in microseconds."""
        return self.cpu.total / max(self.load.requests, 1) * 1e6

    @property
    def user_micros(self) -> float:
        return self.cpu.user / max(self.load.requests, 1) * 1e6

    @property
    def added(self) -> list[int]:
        """What the proxy adds to p50, p99 and p99.9, in microseconds."""
        if self.direct is None:
            return []
        through, direct = self.load, self.direct
        return [
            through.p50 - direct.p50,
            through.p99 - direct.p99,
            through.p999 - direct.p999,
        ]

    @property
    def cost(self) -> float:
        """What peers are compared by."""
        if self.steps:
            return (self.steps[-1] - self.steps[0]) / (IDLE_STEPS[-1] - IDLE_STEPS[0])
        return self.added[0] if self.direct else self.micros

    @property
    def per_second(self) -> float:
        return self.load.requests / self.load.seconds


@dataclass
class Run:
    """What came of it."""

    versions: dict[str, str] = field(default_factory=dict)
    tls: dict[str, dict[str, str]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class Lab:
    """The machinery of a run."""

    def __init__(self, plan: Plan, tell: Callable[[str], None]):
        self.plan = plan
        self.tell = tell

    def run(self) -> Run:
        with contextlib.ExitStack() as stack:
            memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            work = Path(tempfile.mkdtemp(prefix="umay-bench-", dir=memory))
            stack.callback(shutil.rmtree, work, ignore_errors=True)
            return self._run(work, stack)

    def _run(self, work: Path, stack: contextlib.ExitStack) -> Run:
        plan, run = self.plan, Run()
        if any(workload.load == "idle" for workload in plan.workloads):
            may_open_files(IDLE_STEPS[-1] + 1_000)
        cert, key = self_signed(work)
        nginx = Nginx(work, plan.place.endpoint)
        collector = Nginx(work / "collector", plan.place.endpoint)
        echo = Echo(work, plan.place.endpoint, plan.load)
        self.endpoints: dict[str, Endpoint] = {"nginx": nginx, "echo": echo}
        for name in dict.fromkeys(workload.endpoint for workload in plan.workloads):
            endpoint = self.endpoints[name]
            self._start(stack, endpoint.start).wait_for([endpoint.port])
        if any(issubclass(PEERS[name], telemetry.On) for name in plan.peers):
            self._start(stack, collector.start).wait_for([collector.port])
        self.loads = Loads(work, plan.place.client, plan.load, cert)
        cpus = plan.place.proxy
        ports = (nginx.port, echo.port, echo.grpc_port, collector.port)
        self.setting = Setting(work, cpus, *ports, cert, key, plan.log, plan.umay)
        peers = [PEERS[name](self.setting) for name in plan.peers]
        for peer in peers:
            self._start(stack, peer.start)
            peer.wait()
            run.versions[peer.name] = peer.version()
        jobs = []
        for workload in plan.workloads:
            able = [peer for peer in peers if workload.front in peer.ports]
            run.skipped += [f"{p.name} cannot do {workload.name}" for p in peers if p not in able]
            endpoint = self.endpoints[workload.endpoint]
            agreed = {p.name: check.before(p, workload, endpoint, cert) for p in able}
            check.same_tls(agreed)
            if workload.tls:
                run.tls = agreed
            jobs.append((workload, able))
        for workload, able in jobs:
            # What idle connections cost is measured on proxies that have done nothing before.
            for peer in able if workload.load != "idle" else []:
                self.tell(f"warm-up: {workload.name}, {peer.name}")
                self._measure(0, workload, peer)
        for number in range(1, plan.rounds + 1):
            for workload, able in jobs:
                # Nobody always comes after the same neighbour.
                for peer in random.sample(able, len(able)):
                    self.tell(f"round {number} of {plan.rounds}: {workload.name}, {peer.name}")
                    if workload.load == "idle":
                        run.samples.append(self._measure_fresh(number, workload, peer))
                    else:
                        run.samples.append(self._measure(number, workload, peer))
        return run

    def _start(self, stack: contextlib.ExitStack, start: Callable[[], Process]) -> Process:
        with unstopped():
            process = start()
            stack.callback(process.stop)
        return process

    def _measure_fresh(self, number: int, workload: Workload, peer: Peer) -> Sample:
        """Measures another process of the same kind, which ends thereafter."""
        with contextlib.ExitStack() as stack:
            work = self.setting.work / f"{workload.name}-{peer.name}-{number}"
            work.mkdir()
            stack.callback(shutil.rmtree, work, ignore_errors=True)
            fresh = type(peer)(replace(self.setting, work=work))
            self._start(stack, fresh.start)
            fresh.wait()
            return self._measure(number, workload, fresh)

    def _measure(self, number: int, workload: Workload, peer: Peer) -> Sample:
        plan, process = self.plan, peer.process
        endpoint, port = self.endpoints[workload.endpoint], peer.ports[workload.front]
        seconds = plan.seconds if number else 1
        others = plan.place.client | plan.place.endpoint
        cores = plan.place.proxy | others
        direct, steps, problems = None, [], []
        if workload.figure == "latency":
            direct = self.loads.run(workload, endpoint.port, seconds)
        counts, opened = endpoint.settled(), connections_opened()
        begun = (process.cpu(), endpoint.process.cpu())
        idle, idle_all = idle_seconds(others), idle_seconds(cores)
        with peer.observed(problems):
            if workload.load == "idle":
                load, steps = self.loads.idle(workload, port, lambda: _settled(process))
            else:
                load = self.loads.run(workload, port, seconds)
        idle, idle_all = idle_seconds(others) - idle, idle_seconds(cores) - idle_all
        cpu = process.cpu() - begun[0]
        endpoint_cpu = endpoint.process.cpu() - begun[1]
        opened = connections_opened() - opened
        counts = endpoint.counts() - counts
        own = cpu.total + load.cpu.total + endpoint_cpu.total
        problems += self._problems(workload, load, counts, opened)
        if direct and direct.errors:
            problems.append("errors without a proxy")
        if peer.logs():
            problems += self._log_problems(workload, peer, load)
        return Sample(
            round=number,
            peer=peer.name,
            workload=workload.name,
            load=load,
            cpu=cpu,
            rss=process.rss(),
            proxy_busy=cpu.total / load.seconds,
            client_busy=load.cpu.total / load.seconds,
            endpoint_busy=endpoint_cpu.total / load.seconds,
            client_idle=idle / load.seconds / len(others),
            foreign=max(0.0, len(cores) - (idle_all + own) / load.seconds),
            upstream_connections=counts.accepted - 1,
            problems=problems,
            direct=direct,
            steps=steps,
        )

    def _problems(self, workload: Workload, load: Load, counts: Counts, opened: int) -> list[str]:
        """Why a sample does not count. `counts` and `opened` are what was added in it."""
        problems = [f"{count} {kind} errors" for kind, count in load.errors.items()]
        if load.requests == 0:
            problems.append("no request was answered")
        body = self.endpoints[workload.endpoint].answers[workload.path].length
        if load.bytes < load.requests * body:
            problems.append("answers are shorter than the endpoint's")
        # The end cuts those that are under way, and h2load some more that come while it ends: the
        # endpoint may have answered them all the same.
        some = 2 * workload.under_way + 8
        if not load.requests <= counts.answered <= load.requests + some:
            problems.append(f"{counts.answered} answers of the endpoint for {load.requests}")
        # Each request under way may need one, and a new one if the old was idle too long.
        if counts.accepted - 1 > some:
            problems.append(f"{counts.accepted - 1} connections to the endpoint")
        # Others on this machine may open some too: then it says less, but nothing that is wrong.
        if workload.close and opened < load.requests:
            problems.append(f"{opened} connections for {load.requests} requests")
        return problems

    def _log_problems(self, workload: Workload, peer: Peer, load: Load) -> list[str]:
        """Whether every request is in the log, which is then emptied."""
        # A WebSocket is one request, whatever goes over it.
        requests = workload.connections if workload.front == "ws" else load.requests
        expected = 0 if workload.raw else requests
        lines = _count_lines(peer.access_log, expected)
        os.truncate(peer.access_log, 0)
        return [f"{lines} lines in the log for {expected} requests"] if lines < expected else []


def _settled(process: Process) -> int:
    """Resident memory when what the last request needed is given back."""
    time.sleep(1)
    return process.rss()


def _count_lines(path: Path, enough: int) -> int:
    """Lines of a log; waits a little for those that are still on their way."""
    for _ in range(20):
        lines = 0
        with path.open("rb") as log:
            while piece := log.read(1 << 20):
                lines += piece.count(b"\n")
        if lines >= enough:
            break
        time.sleep(0.1)
    return lines


def progress(text: str) -> None:
    """One line on a terminal's standard error that is written over; nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

