"""Runs a program under callgrind and reads how many instructions each function took."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from .process import BenchError
from .tools import program


def command(output: Path, inner: list[str]) -> list[str]:
    """What counts `inner` into `output`."""
    # Threads take turns in order, so that two runs take the same ones.
    options = ["--tool=callgrind", f"--callgrind-out-file={output}", "--fair-sched=yes"]
    return [program("valgrind"), *options, *inner]


def read(output: Path, by_line: bool = False) -> Counter[str]:
    """The instructions of each function without those that it calls, or of each line."""
    costs: Counter[str] = Counter()
    names: dict[str, dict[str, str]] = {"fn": {}, "ob": {}, "fl": {}}
    function, library, file, line, callee = "", "", "", 0, False
    with output.open(errors="replace") as text:
        for entry in text:
            key, _, value = entry.rstrip().partition("=")
            if entry[0].isdigit() or entry[0] in "+-*":
                position, cost = entry.split()[:2]
                line = _position(line, position)
                # What stands behind `calls=` is what the callee took.
                if not callee:
                    costs[f"{file}:{line}" if by_line else function + library] += int(cost)
                callee = False
            elif key == "fn":
                function = _short(_name(names["fn"], value))
            elif key in ("fl", "fi", "fe"):
                # The second and third are about code that was put in from elsewhere.
                file = _name(names["fl"], value)
            elif key == "ob":
                loaded = _name(names["ob"], value).rpartition("/")[2]
                library = f" [{loaded}]" if ".so" in loaded else ""
            elif key in ("cfn", "cob", "cfi", "cfl"):
                _name(names["fl" if key == "cfi" else key[1:]], value)
            callee = callee or key == "calls"
    if not costs:
        raise BenchError(f"callgrind has written nothing into {output}")
    return costs


def _position(before: int, text: str) -> int:
    """A line's number, which may be relative to the one before."""
    if text[0] in "+-":
        return before + int(text)
    return before if text == "*" else int(text)


def _name(known: dict[str, str], text: str) -> str:
    """A name is written out once and has a number from then on."""
    number, _, name = text.partition(" ")
    if name:
        known[number] = name
    return known.get(number, name)


def _short(name: str) -> str:
    """Without the hash of the build, and without what makes a name unreadable."""
    name = re.sub(r"::h[0-9a-f]{16}", "", name)
    return re.sub(r"\[[0-9a-f]{16}\]", "", name)
