"""Processes that a run starts: pinned, counted, and stopped whatever happens."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchError(Exception):
    """The run cannot go on; the text says why."""


@dataclass(frozen=True)
class Cpu:
    """CPU time in seconds."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user - other.user, self.system - other.system)

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user + other.user, self.system + other.system)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on; the second may have blanks in it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def tree(root: int) -> list[int]:
    """`root` and everything below it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, and that nobody is given by the kernel. Umay, Envoy
    and Caddy listen with SO_REUSEPORT: a port that another has too is not refused but shared, and
    then each answers some of the connections."""
    low, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    ports: list[int] = []
    below = range(10_000, max(int(low), 12_000))
    for port in random.sample(below, len(below)):
        if len(ports) == count:
            break
        with contextlib.suppress(OSError):
            if port not in _given:
                socket.create_server(("127.0.0.1", port)).close()
                ports.append(port)
    if len(ports) < count:
        raise BenchError("there are no free ports")
    _given.update(ports)
    return ports


_STOPPERS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextlib.contextmanager
def unstopped() -> Iterator[None]:
    """Puts off a stop until what was started is written down somewhere."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepared(cpus: set[int]) -> Callable[[], None]:
    """What a child does before it becomes its program: pins itself, and hears signals again."""

    def prepare() -> None:
        os.sched_setaffinity(0, cpus)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPERS)

    return prepare


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Our own environment without what is meant for clients only."""
    return {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"} | (more or {})


class Process:
    """A process of ours with whatever it forks."""

    def __init__(
        self,
        name: str,
        command: list[str],
        cpus: set[int],
        output: Path,
        stdout: Path | None = None,
        env: dict[str, str] | None = None,
    ):
        """What it says goes to `output`; standard output can go elsewhere. `env` is added to ours."""
        self.name = name
        self.output = output
        # Appended to: what is cut to nothing between two measurements begins at nothing again.
        with output.open("ab") as err, (stdout or output).open("ab") as out:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(env),
                # Ctrl-C is for the script, which stops everything in order.
                start_new_session=True,
                preexec_fn=prepared(cpus),
            )
        self.pid = self._popen.pid

    def wait_for(self, ports: list[int], patience: float = 10.0) -> None:
        """Waits until it listens on all ports."""
        deadline = time.monotonic() + patience
        for port in ports:
            while True:
                if self._popen.poll() is not None or time.monotonic() > deadline:
                    tail = self.output.read_text(errors="replace")[-2000:]
                    raise BenchError(f"{self.name} does not listen on port {port}:\n{tail}")
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.02)

    def cpu(self) -> Cpu:
        """CPU time so far of the whole tree, children that have ended included."""
        user = system = 0
        for pid in tree(self.pid):
            if fields := _stat(pid):
                user += int(fields[11]) + int(fields[13])
                system += int(fields[12]) + int(fields[14])
        return Cpu(user / TICKS, system / TICKS)

    def rss(self) -> int:
        """Resident memory of the tree in bytes; pages that its processes share count in each."""
        pages = 0
        for pid in tree(self.pid):
            if fields := _stat(pid):
                pages += int(fields[21])
        return pages * PAGE

    def finish(self, patience: float) -> None:
        """Asks it to end, and waits until it has written all that it writes at its end."""
        os.kill(tree(self.pid)[-1], signal.SIGTERM)
        try:
            self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} does not end") from None

    def stop(self) -> None:
        """Ends the tree: politely, then not. Touches no process but those."""
        if self._popen.poll() is not None:
            return
        below = [pid for pid in tree(self.pid) if pid != self.pid]
        begun = {pid: fields[19] for pid in below if (fields := _stat(pid))}
        self._popen.terminate()
        try:
            self._popen.wait(3)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for pid, start in begun.items():
            # The same number with another start would be somebody else.
            if (fields := _stat(pid)) and fields[19] == start:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


@dataclass(frozen=True)
class Place:
    """Which cores are whose."""

    proxy: set[int]
    client: set[int]
    endpoint: set[int]

    @staticmethod
    def split() -> Place:
        """The proxy alone on a core; client and endpoint on the others, apart if there are two."""
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) == 1:
            return Place(set(cpus), set(cpus), set(cpus))
        if len(cpus) == 2:
            return Place({cpus[1]}, {cpus[0]}, {cpus[0]})
        return Place({cpus[2]}, {cpus[0]}, {cpus[1]})

    @staticmethod
    def one() -> Place:
        """Everything on one core: what a saturated machine is like."""
        last = {max(os.sched_getaffinity(0))}
        return Place(last, last, last)

    def __str__(self) -> str:
        def text(cpus: set[int]) -> str:
            return ",".join(map(str, sorted(cpus)))

        return (
            f"proxy on core {text(self.proxy)}, client on {text(self.client)}, "
            f"endpoint on {text(self.endpoint)}"
        )


def connections_opened() -> int:
    """TCP connections that were accepted on this machine so far, whosever they are."""
    head, values = (
        line.split()
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Tcp:")
    )
    return int(values[head.index("PassiveOpens")])


def may_open_files(count: int) -> None:
    """Raises the limit on open files of this process, and so of all that it starts, to what it may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchError(f"{count} open files are needed and {hard} allowed: raise the hard limit")


def idle_seconds(cpus: set[int]) -> float:
    """How long these cores have been idle, whoever uses them."""
    idle = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            idle += int(fields[3]) + int(fields[4])
    return idle / TICKS
