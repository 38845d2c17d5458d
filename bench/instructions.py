#!/usr/bin/env python3
"""Counts the instructions that a request costs Umay, and holds them to what is stored.

    make instructions                          # counts, and fails if a figure has grown by more than 3 %
    make instructions BLESS=1                  # stores what was counted
    make instructions ARGS="h1-small --top"    # where they go: the 40 functions that take most
    make instructions ARGS="--top 100 --calls" # and the system calls per request, with strace

Instructions in user space do not depend on what else the machine does, so the figure is the same
each time, within a thousandth. It is the difference between two fresh processes of one worker that answer a
thousand and some thousand requests, so what a start costs is not in it. It does not say how long a
request takes: the kernel's part is not in it, nor are waits for memory. `run.py` measures that.

`--top` shows functions without what they call; what the compiler has put into its caller counts there.
To see which lines it was, build with their numbers:

    CARGO_PROFILE_DIST_DEBUG=line-tables-only CARGO_PROFILE_DIST_STRIP=none \\
        make instructions ARGS="h1-small --lines --top 80"
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from umaybench.counting import CASES, Bench, Case, Cost
from umaybench.process import BenchError
from umaybench.tools import toolchain

ROOT = Path(__file__).resolve().parent.parent
STORED = Path(__file__).with_suffix(".json")

# How far a figure may be from the stored one.
TOLERANCE = 0.03
# Functions that are stored, to tell which of them has grown.
KEPT = 100


def _arguments() -> argparse.Namespace:
    names = "\n".join(f"  {case.name:14} {case.what}" for case in CASES.values())
    parser = argparse.ArgumentParser(
        description="Instructions per request of Umay, held to what is stored.",
        epilog=f"workloads:\n{names}\n\nwithout any: all",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    parser.add_argument("--bless", action="store_true", help="store what is counted")
    parser.add_argument(
        "--top", type=int, nargs="?", const=40, metavar="N", help="show the functions that take most"
    )
    parser.add_argument("--lines", action="store_true", help="with --top: lines, not functions")
    parser.add_argument("--calls", action="store_true", help="count system calls too")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="count so often")
    parser.add_argument("--umay", type=Path, default=ROOT / "target/dist/umay", metavar="PATH")
    args = parser.parse_args()
    args.workloads = args.workloads or list(CASES)
    for name in args.workloads:
        if name not in CASES:
            parser.error(f"there is no workload {name}; there are {', '.join(CASES)}")
    return args


def _verdict(case: Case, cost: Cost, stored: dict | None) -> tuple[bool, list[str]]:
    """Whether a figure will do, and what there is to say about it."""
    found = cost.total
    if stored is None:
        return False, [f"{found:,.0f}; nothing is stored to hold it to: make instructions BLESS=1"]
    before = stored["instructions"]
    change = found / before - 1
    text = f"stored {before:,.0f}, now {found:,.0f}: {change:+.1%}"
    # Who is above the budget still has to get there; who was below it stays there.
    if case.budget and found > case.budget >= before:
        return False, [f"{text}; the budget is {case.budget:,}", *_grown(cost, stored)]
    if change > TOLERANCE:
        hint = "if that has to be: make instructions BLESS=1, and say why in the commit"
        return False, [text, *_grown(cost, stored), hint]
    lines = [text]
    if change < -TOLERANCE:
        lines.append("lower the stored figure, so that it stays so: make instructions BLESS=1")
    if case.budget and found > case.budget:
        lines.append(f"still above the budget of {case.budget:,}")
    return True, lines


def _grown(cost: Cost, stored: dict) -> list[str]:
    """The functions that have grown most."""
    before = stored["functions"]
    # What is not stored took no more than the least of what is.
    least = min(before.values())
    grown = [(now - before.get(name, least), name) for name, now in cost.parts.items()]
    grown = sorted((change, name) for change, name in grown if change >= 10)
    return [f"  {change:+8.0f}  {name}" for change, name in grown[:-11:-1]]


def _store(name: str, cost: Cost, all_stored: dict) -> None:
    all_stored["toolchain"] = toolchain()
    all_stored.setdefault("workloads", {})[name] = {
        "instructions": round(cost.total),
        "functions": {name: round(count) for name, count in cost.top(KEPT)},
    }
    STORED.write_text(json.dumps(all_stored, indent=1) + "\n")


def _show(cost: Cost, count: int) -> None:
    total = cost.total
    for name, each in cost.top(count):
        print(f"  {each:8.0f}  {each / total:5.1%}  {name}")


def _count(args: argparse.Namespace, name: str, all_stored: dict) -> bool:
    case = CASES[name]
    good = True
    for _ in range(args.repeat):
        cost = Bench(args.umay.resolve(), case).instructions()
        good, lines = _verdict(case, cost, all_stored.get("workloads", {}).get(name))
        print(f"{name}: {lines[0]}", *lines[1:], sep="\n", flush=True)
    if args.top:
        shown = Bench(args.umay.resolve(), case).instructions(by_line=True) if args.lines else cost
        _show(shown, args.top)
    if args.calls and case.load:
        calls = Bench(args.umay.resolve(), case).calls()
        text = ", ".join(f"{name} {count:.2f}" for name, count in calls.top(10) if count >= 0.01)
        print(f"  system calls: {calls.total:.2f} ({text})")
    if args.bless:
        _store(name, cost, all_stored)
        return True
    return good


def main() -> int:
    args = _arguments()
    if not args.umay.is_file():
        print(f"{args.umay} is not there; build it: cargo build --profile dist", file=sys.stderr)
        return 2
    all_stored = json.loads(STORED.read_text()) if STORED.is_file() else {}
    built = all_stored.get("toolchain")
    if built and built != toolchain():
        print(f"stored with {built}, this is {toolchain()}: figures may differ for that alone")
    try:
        good = [_count(args, name, all_stored) for name in args.workloads]
    except BenchError as error:
        print(f"instructions: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
