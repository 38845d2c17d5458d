"""A bar chart of what peers cost beside the baseline, as SVG."""

from __future__ import annotations

from html import escape

from .lab import Plan, Run
from .report import rows

_COLOURS = ["#2f6f6a", "#8a8f98", "#c98a3b", "#7a5ea8", "#b5544d", "#4d7fb5"]
_LEFT, _RIGHT, _TOP, _BAR, _GAP = 190, 90, 64, 18, 16
_WIDTH = 760


def svg(plan: Plan, run: Run, baseline: str) -> str:
    """Bars are medians, whiskers quartiles, the line is the baseline."""
    groups = []
    for workload in plan.workloads:
        if found := [row for row in rows(run, workload, baseline) if row.ratio]:
            groups.append((workload.name, found))
    peers = list(dict.fromkeys(row.peer for _, found in groups for row in found))
    colours = dict(zip(peers, _COLOURS * len(peers), strict=False))
    most = max((row.ratio.high for _, found in groups for row in found), default=1.0)
    scale = (_WIDTH - _LEFT - _RIGHT) / max(most, 1.0)
    height = _TOP + sum(len(found) * _BAR + _GAP for _, found in groups) + 28
    log = "on" if plan.log else "off"
    kinds = {"cpu": "CPU time per unit", "memory": "memory per connection", "latency": "added latency"}
    shown = list(dict.fromkeys(kinds[workload.figure] for workload in plan.workloads))
    title = "CPU time per request" if shown == [kinds["cpu"]] else ", ".join(shown)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="24" font-size="15" fill="#222222">{escape(title)}, '
        f"{escape(baseline)} = 1.00 (less is better)</text>",
        f'<text x="16" y="42" fill="#555555">medians of {plan.rounds} rounds with quartiles; '
        f"access log {log}; one worker each</text>",
    ]
    y = _TOP
    for name, found in groups:
        out.append(
            f'<text x="16" y="{y + len(found) * _BAR / 2 + 4:.1f}" fill="#222222" '
            f'font-weight="bold">{escape(name)}</text>'
        )
        for row in found:
            out += _bar(row.peer, row.ratio, y, scale, colours[row.peer])
            y += _BAR
        y += _GAP
    line = _LEFT + scale
    out += [
        f'<line x1="{line:.1f}" y1="{_TOP - 6}" x2="{line:.1f}" y2="{y - _GAP + 6}" '
        'stroke="#222222" stroke-dasharray="3 3"/>',
        f'<text x="16" y="{height - 10}" fill="#555555">'
        + escape(", ".join(f"{peer} {version}" for peer, version in run.versions.items()))
        + "</text>",
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def _bar(peer: str, ratio, y: float, scale: float, colour: str) -> list[str]:
    low, end, high = (_LEFT + scale * value for value in (ratio.low, ratio.median, ratio.high))
    middle = y + _BAR / 2
    return [
        f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end" fill="#222222">'
        f"{escape(peer)}</text>",
        f'<rect x="{_LEFT}" y="{y + 2}" width="{end - _LEFT:.1f}" height="{_BAR - 4}" '
        f'fill="{colour}"/>',
        f'<line x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" stroke="#222222"/>',
        f'<text x="{high + 6:.1f}" y="{middle + 4}" fill="#222222">{ratio.median:.2f}</text>',
    ]
