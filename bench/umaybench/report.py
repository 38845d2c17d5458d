"""From samples to figures: medians, their spread, and ratios within a round."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass

from .lab import Plan, Run, Sample
from .workloads import Workload


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
    # CPU time beside the baseline's in the same round; None if the baseline is not there.
    ratio: Spread | None
    # Rounds in which it took less than the baseline.
    wins: int
    per_second: float
    p50: float
    p99: float
    rss: float
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
    base = {s.round: s.micros for s in samples if s.peer == baseline}
    found = []
    for peer in run.versions:
        own = [s for s in samples if s.peer == peer]
        if not own:
            continue

        def median(value: Callable[[Sample], float], own: list[Sample] = own) -> float:
            return statistics.median(value(s) for s in own)

        ratios = [s.micros / base[s.round] for s in own if base.get(s.round)]
        found.append(
            Row(
                peer=peer,
                rounds=len(own),
                micros=Spread.of([s.micros for s in own]),
                user_micros=median(lambda s: s.user_micros),
                ratio=Spread.of(ratios) if ratios else None,
                wins=sum(ratio < 1 for ratio in ratios),
                per_second=median(lambda s: s.per_second),
                p50=median(lambda s: s.load.p50),
                p99=median(lambda s: s.load.p99),
                rss=median(lambda s: s.rss),
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
    log = "on" if plan.log else "off"
    out = [
        f"{versions}; Linux {platform.release()}, {os.cpu_count()} cores; access log {log}",
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
    head = ["", f"CPU µs/{workload.unit}", "of it user", f"CPU / {baseline}", "less in"]
    head += ["per second", "p50 µs", "p99 µs", "RSS MiB", "proxy", "client", "endpoint", "other", "limit"]
    lines = [
        [
            row.peer,
            row.micros.text(1),
            f"{row.user_micros:.1f}",
            row.ratio.text(2) if row.ratio else "–",
            f"{row.wins}/{row.rounds}" if row.ratio and row.peer != baseline else "–",
            f"{row.per_second:.0f}",
            f"{row.p50:.0f}",
            f"{row.p99:.0f}",
            f"{row.rss / 2**20:.1f}",
            f"{row.proxy_busy:.0%}",
            f"{row.client_busy:.0%}",
            f"{row.endpoint_busy:.0%}",
            f"{row.foreign:.0%}",
            row.limit,
        ]
        for row in found
    ]
    title = f"{workload.name}: {workload.what}; {workload.connections} connections"
    return [title, _table(head, lines) if lines else "no sample counts"]


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
        "samples": [asdict(s) | {"micros": s.micros} for s in run.samples],
    }
