#!/usr/bin/env python3
"""Measures Umay beside other proxies; README.md in this folder says how, and how to read it."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from umaybench import chart, report
from umaybench.lab import Lab, Plan, progress
from umaybench.process import BenchError, Place
from umaybench.telemetry import TELEMETRY
from umaybench.wheels import PEERS
from umaybench.workloads import DEFAULT, WORKLOADS

ROOT = Path(__file__).resolve().parent.parent


def _arguments() -> argparse.Namespace:
    names = "\n".join(f"  {w.name:16} {w.what}" for w in WORKLOADS.values())
    parser = argparse.ArgumentParser(
        description="What Umay costs beside other proxies: CPU time per request, memory, latency.",
        epilog=f"workloads:\n{names}\n  {'all':16} all of them"
        f"\n  {'telemetry':16} h1-small (or what else is named) with Umay's telemetry off, on, and on for all"
        f"\n\nwithout any: {' '.join(DEFAULT)}"
        f"\npeers: {', '.join(PEERS)}; those from envoy to traefik are installed when asked for",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    parser.add_argument("--peers", default="nginx,haproxy", help="default: %(default)s")
    parser.add_argument("--baseline", default="nginx", help="what is 1.00; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=2, help="per measurement; default: 2")
    parser.add_argument("--log", action="store_true", help="with access logs")
    parser.add_argument(
        "--place",
        choices=["split", "one"],
        default="split",
        help="split: the proxy on a core of its own; one: everything on one core",
    )
    parser.add_argument("--umay", type=Path, default=ROOT / "target/dist/umay", metavar="PATH")
    parser.add_argument(
        "--load", type=Path, default=ROOT / "target/dist/umay-load", metavar="PATH", help="umay-load"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw the ratios")
    args = parser.parse_args()
    if "telemetry" in args.workloads:
        # A comparison of Umay with itself.
        args.workloads = [name for name in args.workloads if name != "telemetry"] or ["h1-small"]
        off, *_ = names = [peer.name for peer in TELEMETRY]
        args.peers, args.baseline = ",".join(names), off
    args.workloads = args.workloads or DEFAULT
    if "all" in args.workloads:
        args.workloads = list(WORKLOADS)
    for name in args.workloads:
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name}; there are {', '.join(WORKLOADS)}")
    args.peers = [name for name in args.peers.split(",") if name]
    if not any(name.startswith("umay") for name in args.peers):
        args.peers = ["umay", *args.peers]
    for name in [*args.peers, args.baseline]:
        if name not in PEERS:
            parser.error(f"there is no peer {name}; there are {', '.join(PEERS)}")
    if args.rounds < 1 or args.seconds < 1:
        parser.error("at least one round of one second")
    return args


def _plan(args: argparse.Namespace) -> Plan:
    umay, load = args.umay.resolve(), args.load.resolve()
    workloads = [WORKLOADS[name] for name in dict.fromkeys(args.workloads)]
    for binary in (umay, load) if any(one.needs_own for one in workloads) else (umay,):
        if not binary.is_file():
            raise BenchError(f"{binary} is not there; build it: cargo build --profile dist")
    return Plan(
        workloads=workloads,
        peers=list(dict.fromkeys(args.peers)),
        rounds=args.rounds,
        seconds=args.seconds,
        log=args.log,
        place=Place.one() if args.place == "one" else Place.split(),
        umay=umay,
        load=load,
    )


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    args = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        plan = _plan(args)
        run = Lab(plan, progress).run()
    except BenchError as error:
        progress("")
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress("")
        print("bench: stopped", file=sys.stderr)
        return 130
    progress("")
    print(report.text(plan, run, args.baseline))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report.as_json(plan, run, args.baseline), indent=1) + "\n")
    if args.chart:
        args.chart.parent.mkdir(parents=True, exist_ok=True)
        args.chart.write_text(chart.svg(plan, run, args.baseline))
    return 1 if any(sample.problems for sample in run.samples) else 0


if __name__ == "__main__":
    sys.exit(main())
