"""Load generators."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .process import BenchError, Cpu, prepared, unstopped
from .tools import program
from .workloads import Workload

# Only `done` is defined, so no Lua runs per request.
_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nDONE {"requests":%d,"micros":%d,"bytes":%d,"p50":%d,"p99":%d,' ..
    '"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}\\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.timeout, e.status))
end
"""


@dataclass(frozen=True)
class Load:
    """What a load generator has done and seen."""

    requests: int
    seconds: float
    bytes: int
    # Microseconds.
    p50: int
    p99: int
    cpu: Cpu
    # What went wrong, by kind; empty if nothing did.
    errors: dict[str, int]


class Loads:
    """The generators, on their cores."""

    def __init__(self, work: Path, cpus: set[int]):
        self._wrk = program("wrk")
        self._cpus = cpus
        self._script = work / "done.lua"
        self._script.write_text(_DONE)

    def run(self, workload: Workload, port: int, seconds: int) -> Load:
        """Loads a port as the workload says. Each connection has one request under way."""
        if workload.load == "h2load":
            return self._h2load(workload, port, seconds)
        commands = {"wrk": self._wrk_command, "handshakes": self._handshakes_command}
        output, cpu = self._finish(commands[workload.load](workload, port, seconds))
        line = next((line for line in output.splitlines() if line.startswith("DONE ")), None)
        if line is None:
            raise BenchError(f"{workload.load} failed:\n{output}")
        done = json.loads(line.removeprefix("DONE "))
        kinds = ("connect", "read", "write", "timeout", "status")
        return Load(
            requests=done["requests"],
            seconds=done["micros"] / 1e6,
            bytes=done["bytes"],
            p50=done["p50"],
            p99=done["p99"],
            cpu=cpu,
            errors={kind: done[kind] for kind in kinds if done[kind]},
        )

    def _wrk_command(self, workload: Workload, port: int, seconds: int) -> list[str]:
        url = f"{workload.scheme}://localhost:{port}{workload.path}"
        command = [self._wrk, "-t", "1", "-c", str(workload.connections), "-d", f"{seconds}s"]
        command += ["--timeout", "5s", "--latency", "-s", str(self._script)]
        if workload.close:
            command += ["-H", "Connection: close"]
        return [*command, url]

    def _handshakes_command(self, workload: Workload, port: int, seconds: int) -> list[str]:
        script = Path(__file__).with_name("handshakes.py")
        command = [sys.executable, str(script), str(port), workload.path]
        return [*command, str(workload.connections), str(seconds)]

    def _h2load(self, workload: Workload, port: int, seconds: int) -> Load:
        """Each connection has `streams` requests under way. A request that the end cuts is none."""
        log = self._script.with_name("h2load.log")
        log.unlink(missing_ok=True)
        url = f"{workload.scheme}://localhost:{port}{workload.path}"
        command = [program("h2load"), "-t", "1", "-c", str(workload.connections)]
        command += ["-m", str(workload.streams), "-D", str(seconds), "--log-file", str(log), url]
        output, cpu = self._finish(command)
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
        traffic = re.search(r"\((\d+)\) total", output)
        if counts is None or traffic is None:
            raise BenchError(f"h2load failed:\n{output}")
        succeeded, _, errored, timeout = map(int, counts.groups())
        lines = [line.split() for line in log.read_text().splitlines()]
        took = sorted(int(line[2]) for line in lines if len(line) == 3 and line[1] == "200")
        wrong = sum(1 for line in lines if len(line) == 3 and line[1] != "200")
        log.unlink()
        errors = {"status": wrong, "read": errored, "timeout": timeout}
        return Load(
            requests=succeeded,
            seconds=float(seconds),
            bytes=int(traffic.group(1)),
            p50=took[len(took) // 2] if took else 0,
            p99=took[len(took) * 99 // 100] if took else 0,
            cpu=cpu,
            errors={kind: count for kind, count in errors.items() if count},
        )

    def _finish(self, command: list[str]) -> tuple[str, Cpu]:
        """Runs a generator to its end; gives what it has written, and its CPU time."""
        popen = None
        try:
            with unstopped():
                popen = subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                    preexec_fn=prepared(self._cpus),
                )
            output = popen.stdout.read()
            _, status, usage = os.wait4(popen.pid, 0)
            popen.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if popen and popen.returncode is None:
                popen.kill()
                popen.wait()
        if popen.returncode != 0:
            raise BenchError(f"{Path(command[0]).name} failed:\n{output}")
        return output, Cpu(usage.ru_utime, usage.ru_stime)
