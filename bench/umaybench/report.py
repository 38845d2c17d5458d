"""From samples to figures: medians, their spread, and ratios within a round."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass

from .lab import Plan, Run, Sample
from .telemetry import TELEMETRY
from .wheels import PEERS
from .workloads import IDLE_STEPS, Workload


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float

    @staticmethod
    def of(values: list[float]) -> Spread:
        if len(values) < 2:
            return Spread(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(low, median, high)

    def text(self, digits: int) -> str:
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


@dataclass(frozen=True)
class Row:
    """One peer at one workload."""

    peer: str
    rounds: int
    # CPU time per request in microseconds.
    micros: Spread
    user_micros: float
    # What peers are compared by: CPU time, bytes per idle connection, or added microseconds.
    cost: Spread
    # The cost beside the baseline's in the same round; None if the baseline is not there.
    ratio: Spread | None
    # Rounds in which it cost less than the baseline.
    wins: int
    per_second: float
    p50: float
    p99: float
    p999: float
    # Added to p50, p99 and p99.9, and those without a proxy, if latency is the question.
    added: list[float]
    direct: list[float]
    rss: float
    # Resident memory with each number of idle connections, if memory is the question.
    steps: list[float]
    proxy_busy: float
    client_busy: float
    endpoint_busy: float
    client_idle: float
    foreign: float

    @property
    def limit(self) -> str:
        """What kept the figure of requests per second from being higher."""
        if self.proxy_busy >= 0.95:
            return "proxy"
        if self.foreign >= 0.2:
            return "other work on the machine"
        if self.client_idle <= 0.05:
            return "client and endpoint"
        return "nobody was busy all the time"


def rows(run: Run, workload: Workload, baseline: str) -> list[Row]:
    """A row per peer, of the samples that count."""
    samples = [s for s in run.samples if s.workload == workload.name and not s.problems]
    base = {s.round: s.cost for s in samples if s.peer == baseline}
    found = []
    for peer in run.versions:
        own = [s for s in samples if s.peer == peer]
        if not own:
            continue

        def median(value: Callable[[Sample], float], own: list[Sample] = own) -> float:
            return statistics.median(value(s) for s in own)

        # Less than nothing has no ratio: that is the noise of a latency that nobody adds to.
        ratios = [s.cost / base[s.round] for s in own if base.get(s.round, 0) > 0]
        direct = [[s.direct.p50, s.direct.p99, s.direct.p999] for s in own if s.direct]

        def medians(lists: list[list[int]]) -> list[float]:
            return [statistics.median(values) for values in zip(*lists, strict=True)]

        found.append(
            Row(
                peer=peer,
                rounds=len(own),
                micros=Spread.of([s.micros for s in own]),
                cost=Spread.of([s.cost for s in own]),
                user_micros=median(lambda s: s.user_micros),
                ratio=Spread.of(ratios) if ratios else None,
                wins=sum(ratio < 1 for ratio in ratios),
                per_second=median(lambda s: s.per_second),
                p50=median(lambda s: s.load.p50),
                p99=median(lambda s: s.load.p99),
                p999=median(lambda s: s.load.p999),
                added=medians([s.added for s in own]),
                direct=medians(direct),
                rss=median(lambda s: s.rss),
                steps=medians([s.steps for s in own]),
                proxy_busy=median(lambda s: s.proxy_busy),
                client_busy=median(lambda s: s.client_busy),
                endpoint_busy=median(lambda s: s.endpoint_busy),
                client_idle=median(lambda s: s.client_idle),
                foreign=median(lambda s: s.foreign),
            )
        )
    return found


def _table(head: list[str], lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    text = []
    for line in [head, *lines]:
        first, *rest = (
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        text.append("  ".join([first, *rest]).rstrip())
    return "\n".join(text)


def text(plan: Plan, run: Run, baseline: str) -> str:
    """The report for people."""
    versions = ", ".join(f"{peer} {version}" for peer, version in run.versions.items())
    # What is compared by its telemetry has it in its name.
    same = all(issubclass(PEERS[name], TELEMETRY) for name in plan.peers)
    log = "on" if plan.log else "off"
    out = [
        f"{versions}; Linux {platform.release()}, {os.cpu_count()} cores"
        + ("" if same else f"; access log {log}"),
        f"{plan.rounds} rounds of {plan.seconds} s; {plan.place}",
    ]
    if run.tls:
        agreed = next(iter(run.tls.values()))
        out.append(f"TLS: {agreed['version']}, {agreed['cipher']}, P-256 certificate")
    for workload in plan.workloads:
        out += ["", *_section(run, workload, baseline)]
    bad = [s for s in run.samples if s.problems]
    out += ["", *run.skipped] if run.skipped else []
    if bad:
        out += ["", f"{len(bad)} of {len(run.samples)} samples do not count:"]
        out += [f"  {s.workload}, {s.peer}, round {s.round}: {'; '.join(s.problems)}" for s in bad]
    return "\n".join(out)


def _section(run: Run, workload: Workload, baseline: str) -> list[str]:
    found = rows(run, workload, baseline)
    columns = {"cpu": _cpu, "latency": _latency, "memory": _memory}[workload.figure]
    lines = [{"": row.peer} | columns(row, workload, baseline) for row in found]
    title = f"{workload.name}: {workload.what}; {workload.connections} connections"
    if not lines:
        return [title, "no sample counts"]
    return [title, _table(list(lines[0]), [list(line.values()) for line in lines])]


def _beside(row: Row, baseline: str) -> list[str]:
    """The ratio, and how often it was less than one."""
    wins = f"{row.wins}/{row.rounds}" if row.ratio and row.peer != baseline else "–"
    return [row.ratio.text(2) if row.ratio else "–", wins]


def _cpu(row: Row, workload: Workload, baseline: str) -> dict[str, str]:
    ratio, wins = _beside(row, baseline)
    return {
        f"CPU µs/{workload.unit}": row.micros.text(1),
        "of it user": f"{row.user_micros:.1f}",
        f"CPU / {baseline}": ratio,
        "less in": wins,
        "per second": f"{row.per_second:.0f}",
        "p50 µs": f"{row.p50:.0f}",
        "p99 µs": f"{row.p99:.0f}",
        "RSS MiB": f"{row.rss / 2**20:.1f}",
        "proxy": f"{row.proxy_busy:.0%}",
        "client": f"{row.client_busy:.0%}",
        "endpoint": f"{row.endpoint_busy:.0%}",
        "other": f"{row.foreign:.0%}",
        "limit": row.limit,
    }


def _latency(row: Row, workload: Workload, baseline: str) -> dict[str, str]:
    ratio, wins = _beside(row, baseline)
    through = [row.p50, row.p99, row.p999]
    names = ("p50", "p99", "p99.9")
    added = dict(zip((f"added {name}" for name in names), row.added, strict=True))
    every = dict(zip(names, through, strict=True))
    every |= dict(zip((f"direct {name}" for name in names), row.direct, strict=True))
    return {
        "added p50 µs": row.cost.text(0),
        f"added / {baseline}": ratio,
        "less in": wins,
        **{name: f"{value:.0f}" for name, value in list(added.items())[1:]},
        **{name: f"{value:.0f}" for name, value in every.items()},
        f"CPU µs/{workload.unit}": row.micros.text(1),
        "per second": f"{row.per_second:.0f}",
        "proxy": f"{row.proxy_busy:.0%}",
        "client": f"{row.client_busy:.0%}",
        "endpoint": f"{row.endpoint_busy:.0%}",
        "other": f"{row.foreign:.0%}",
    }


def _memory(row: Row, workload: Workload, baseline: str) -> dict[str, str]:
    ratio, wins = _beside(row, baseline)
    return {
        "bytes/connection": row.cost.text(0),
        f"bytes / {baseline}": ratio,
        "less in": wins,
        **{
            f"RSS MiB at {count}": f"{rss / 2**20:.1f}"
            for count, rss in zip(IDLE_STEPS, row.steps, strict=True)
        },
        # A connection is opened, and asked on twice.
        "CPU µs/connection": f"{row.micros.median * 2:.1f}",
        "other": f"{row.foreign:.0%}",
    }


def as_json(plan: Plan, run: Run, baseline: str) -> dict:
    """Everything, for programs."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"kernel": platform.release(), "cores": os.cpu_count()},
        "place": str(plan.place),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "access_log": plan.log,
        "baseline": baseline,
        "versions": run.versions,
        "tls": run.tls,
        "skipped": run.skipped,
        "results": {
            workload.name: [asdict(row) | {"limit": row.limit} for row in found]
            for workload in plan.workloads
            if (found := rows(run, workload, baseline))
        },
        "samples": [
            asdict(s) | {"micros": s.micros, "cost": s.cost, "added": s.added} for s in run.samples
        ],
    }
