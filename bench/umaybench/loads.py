"""Load generators."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .endpoint import MESSAGE, SMALL, WS_SIZE
from .process import BenchError, Cpu, prepared, unstopped
from .tools import program
from .workloads import IDLE_STEPS, RATE, Workload

# Only `done` is defined, so no Lua runs per request.
_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nDONE {"requests":%d,"micros":%d,"bytes":%d,"p50":%d,"p99":%d,"p999":%d,' ..
    '"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}\\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.connect, e.read, e.write, e.timeout, e.status))
end
"""
_KINDS = ("connect", "read", "write", "timeout", "status", "wrong")


@dataclass(frozen=True)
class Load:
    """What a load generator has done and seen."""

    requests: int
    seconds: float
    # Of answers: those of HTTP/2 without their heads.
    bytes: int
    # Microseconds.
    p50: int
    p99: int
    p999: int
    cpu: Cpu
    # What went wrong, by kind; empty if nothing did.
    errors: dict[str, int]

    @staticmethod
    def told(output: str, cpu: Cpu) -> Load:
        """From the line that wrk's script and our own generators end with."""
        line = next((line for line in output.splitlines() if line.startswith("DONE ")), None)
        if line is None:
            raise BenchError(f"a load generator failed:\n{output}")
        done = json.loads(line.removeprefix("DONE "))
        return Load(
            requests=done["requests"],
            seconds=done["micros"] / 1e6,
            bytes=done["bytes"],
            p50=done["p50"],
            p99=done["p99"],
            p999=done["p999"],
            cpu=cpu,
            errors={kind: done[kind] for kind in _KINDS if done.get(kind)},
        )


class Loads:
    """The generators, on their cores."""

    def __init__(self, work: Path, cpus: set[int], own: Path, cert: Path):
        self._cpus = cpus
        self._own = own
        self._cert = cert
        self._log = work / "h2load.log"
        self._script = self._file(work / "done.lua", _DONE.encode())
        self._message = self._file(work / "grpc.message", MESSAGE)
        self._small = self._file(work / "small.body", SMALL)

    @staticmethod
    def _file(path: Path, content: bytes) -> Path:
        path.write_bytes(content)
        return path

    def run(self, workload: Workload, port: int, seconds: int) -> Load:
        """Loads a port as the workload says. But for "rate", each connection always has `streams`
        requests under way."""
        if workload.load == "h2load":
            return self._h2load(workload, port, seconds)
        commands = {
            "wrk": self._wrk_command,
            "handshakes": self._handshakes_command,
            "ws": self._ws_command,
            "rate": self._rate_command,
        }
        with self._started(commands[workload.load](workload, port, seconds)) as popen:
            output = popen.stdout.read()
            return Load.told(output, self._finish(popen, output))

    def idle(self, workload: Workload, port: int, look: Callable[[], int]) -> tuple[Load, list[int]]:
        """Opens idle connections in steps, and looks after each."""
        command = [str(self._own), "idle", *self._ask(workload, port)]
        command += ["--steps", ",".join(map(str, IDLE_STEPS))]
        command += ["--cert", str(self._cert)] if workload.tls else []
        output, looks = "", []
        with self._started(command) as popen:
            for line in popen.stdout:
                output += line
                if line.startswith("OPEN "):
                    looks.append(look())
                    popen.stdin.write("\n")
                    popen.stdin.flush()
            return Load.told(output, self._finish(popen, output)), looks

    def _ask(self, workload: Workload, port: int) -> list[str]:
        return ["--to", f"127.0.0.1:{port}", "--path", workload.path, "--body", str(self._small)]

    def _wrk_command(self, workload: Workload, port: int, seconds: int) -> list[str]:
        url = f"{workload.scheme}://localhost:{port}{workload.path}"
        command = [program("wrk"), "-t", "1", "-c", str(workload.connections), "-d", f"{seconds}s"]
        command += ["--timeout", "5s", "--latency", "-s", str(self._script)]
        if workload.close:
            command += ["-H", "Connection: close"]
        return [*command, url]

    def _handshakes_command(self, workload: Workload, port: int, seconds: int) -> list[str]:
        script = Path(__file__).with_name("handshakes.py")
        command = [sys.executable, str(script), str(port), workload.path]
        return [*command, str(workload.connections), str(seconds)]

    def _ws_command(self, workload: Workload, port: int, seconds: int) -> list[str]:
        command = [str(self._own), "ws", "--to", f"127.0.0.1:{port}", "--size", str(WS_SIZE)]
        return [*command, "--connections", str(workload.connections), "--seconds", str(seconds)]

    def _rate_command(self, workload: Workload, port: int, seconds: int) -> list[str]:
        command = [str(self._own), "rate", *self._ask(workload, port), "--per-second", str(RATE)]
        return [*command, "--connections", str(workload.connections), "--seconds", str(seconds)]

    def _h2load(self, workload: Workload, port: int, seconds: int) -> Load:
        """A request that the end cuts is none."""
        self._log.unlink(missing_ok=True)
        url = f"{workload.scheme}://localhost:{port}{workload.path}"
        command = [program("h2load"), "-t", "1", "-c", str(workload.connections)]
        command += ["-m", str(workload.streams), "-D", str(seconds), "--log-file", str(self._log)]
        # It asks OpenSSL for a list of its own.
        command += ["--tls13-ciphers", "TLS_AES_256_GCM_SHA384"]
        if workload.front == "grpc":
            command += ["-d", str(self._message)]
            command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        with self._started([*command, url]) as popen:
            output = popen.stdout.read()
            cpu = self._finish(popen, output)
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
        traffic = re.search(r"\((\d+)\) data", output)
        if counts is None or traffic is None:
            raise BenchError(f"h2load failed:\n{output}")
        succeeded, _, errored, timeout = map(int, counts.groups())
        lines = [line.split() for line in self._log.read_text().splitlines()]
        took = sorted(int(line[2]) for line in lines if len(line) == 3 and line[1] == "200")
        wrong = sum(1 for line in lines if len(line) == 3 and line[1] != "200")
        self._log.unlink()
        errors = {"status": wrong, "read": errored, "timeout": timeout}
        took = took or [0]
        return Load(
            requests=succeeded,
            seconds=float(seconds),
            bytes=int(traffic.group(1)),
            p50=took[len(took) // 2],
            p99=took[len(took) * 99 // 100],
            p999=took[len(took) * 999 // 1000],
            cpu=cpu,
            errors={kind: count for kind, count in errors.items() if count},
        )

    @contextlib.contextmanager
    def _started(self, command: list[str]) -> Iterator[subprocess.Popen[str]]:
        """Starts a generator, and ends it if it has not ended by itself."""
        popen = None
        try:
            with unstopped():
                popen = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                    preexec_fn=prepared(self._cpus),
                )
            yield popen
        finally:
            if popen:
                if popen.returncode is None:
                    popen.kill()
                    popen.wait()
                for stream in (popen.stdin, popen.stdout):
                    with contextlib.suppress(OSError):
                        stream.close()

    @staticmethod
    def _finish(popen: subprocess.Popen[str], output: str) -> Cpu:
        """Waits for its end; gives its CPU time."""
        _, status, usage = os.wait4(popen.pid, 0)
        popen.returncode = os.waitstatus_to_exitcode(status)
        if popen.returncode != 0:
            raise BenchError(f"{Path(popen.args[0]).name} failed:\n{output}")
        return Cpu(usage.ru_utime, usage.ru_stime)
