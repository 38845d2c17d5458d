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
from dataclasses import dataclass, field
from pathlib import Path

from . import check
from .endpoint import Endpoint
from .loads import Load, Loads
from .peers import PEERS, Peer, Setting
from .process import Cpu, Place, Process, idle_seconds, unstopped
from .tools import self_signed
from .workloads import Workload


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

    @property
    def micros(self) -> float:
        """CPU time per request in microseconds."""
        return self.cpu.total / max(self.load.requests, 1) * 1e6

    @property
    def user_micros(self) -> float:
        return self.cpu.user / max(self.load.requests, 1) * 1e6

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
        cert, key = self_signed(work)
        endpoint = Endpoint(work, plan.place.endpoint)
        self.endpoint, self.endpoint_process = endpoint, self._start(stack, endpoint.start)
        self.endpoint_process.wait_for([endpoint.port])
        self.loads = Loads(work, plan.place.client)
        cpus = plan.place.proxy
        setting = Setting(work, cpus, endpoint.port, cert, key, plan.log, plan.umay)
        peers = [PEERS[name](setting) for name in plan.peers]
        for peer in peers:
            process = self._start(stack, peer.start)
            process.wait_for(list(peer.ports.values()))
            run.versions[peer.name] = peer.version()
        jobs = []
        for workload in plan.workloads:
            able = [peer for peer in peers if workload.front in peer.ports]
            run.skipped += [f"{p.name} cannot do {workload.name}" for p in peers if p not in able]
            agreed = {p.name: check.before(p, workload, endpoint, cert) for p in able}
            check.same_tls(agreed)
            if workload.front == "https":
                run.tls = agreed
            jobs.append((workload, able))
        for workload, able in jobs:
            for peer in able:
                self.tell(f"warm-up: {workload.name}, {peer.name}")
                self._measure(0, workload, peer)
        for number in range(1, plan.rounds + 1):
            for workload, able in jobs:
                # Nobody always comes after the same neighbour.
                for peer in random.sample(able, len(able)):
                    self.tell(f"round {number} of {plan.rounds}: {workload.name}, {peer.name}")
                    run.samples.append(self._measure(number, workload, peer))
        return run

    def _start(self, stack: contextlib.ExitStack, start: Callable[[], Process]) -> Process:
        with unstopped():
            process = start()
            stack.callback(process.stop)
        return process

    def _measure(self, number: int, workload: Workload, peer: Peer) -> Sample:
        plan, process = self.plan, peer.process
        others = plan.place.client | plan.place.endpoint
        cores = plan.place.proxy | others
        accepted = self.endpoint.accepted()
        begun = (process.cpu(), self.endpoint_process.cpu())
        idle, idle_all = idle_seconds(others), idle_seconds(cores)
        load = self.loads.run(workload, peer.ports[workload.front], plan.seconds if number else 1)
        idle, idle_all = idle_seconds(others) - idle, idle_seconds(cores) - idle_all
        cpu = process.cpu() - begun[0]
        endpoint_cpu = self.endpoint_process.cpu() - begun[1]
        connections = self.endpoint.accepted() - accepted - 1
        own = cpu.total + load.cpu.total + endpoint_cpu.total
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
            upstream_connections=connections,
            problems=self._problems(workload, peer, load, connections),
        )

    def _problems(self, workload: Workload, peer: Peer, load: Load, connections: int) -> list[str]:
        """Why a sample does not count."""
        problems = [f"{count} {kind} errors" for kind, count in load.errors.items()]
        if load.requests == 0:
            problems.append("no request was answered")
        body = self.endpoint.answers[workload.path].length
        if load.bytes < load.requests * body:
            problems.append("answers are shorter than the endpoint's")
        # Each request under way may need one, and a new one if the old was idle too long.
        if connections > 2 * workload.connections * workload.streams + 8:
            problems.append(f"{connections} connections to the endpoint")
        if self.plan.log and workload.front != "tcp":
            problems += self._log_problems(peer, load)
        return problems

    def _log_problems(self, peer: Peer, load: Load) -> list[str]:
        """Whether every request is in the log, which is then emptied."""
        lines = _count_lines(peer.access_log, load.requests)
        os.truncate(peer.access_log, 0)
        if lines < load.requests:
            return [f"{lines} lines in the log for {load.requests} requests"]
        return []


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

