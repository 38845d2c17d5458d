"""Loads that do the same every time, for counting: so many requests, and no clock."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess

from .endpoint import SMALL
from .process import BenchError
from .tools import program

# What curl sends, so that a head is neither empty nor long.
_HEAD = "GET /small?n=1 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"


def http1(port: int, hosts: list[str], count: int) -> None:
    """One connection, one request at a time, the hosts in turn."""
    requests = [_HEAD.format(host=host).encode() for host in hosts]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count):
            conn.sendall(requests[number % len(requests)])
            answer = b""
            try:
                # What is no such answer may leave the connection open.
                while not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(SMALL)):
                    if b"\r\n" in answer and not answer.startswith(b"HTTP/1.1 200 "):
                        raise BenchError("no such answer")
                    piece = conn.recv(65536)
                    if not piece:
                        raise BenchError("the end of the connection")
                    answer += piece
            except (OSError, BenchError) as error:
                text = f"request {number + 1} of {count}: {error}; answered was {answer!r}"
                raise BenchError(text) from error


def scrapes(port: int, _: list[str], count: int) -> None:
    """Scrapes of the metrics, one at a time on one connection."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(count):
        conn.request("GET", "/metrics")
        answer = conn.getresponse()
        if answer.status != 200 or not answer.read():
            raise BenchError(f"a scrape is answered with {answer.status}")
    conn.close()


def http2(port: int, hosts: list[str], count: int) -> None:
    """One connection with prior knowledge, 32 requests under way."""
    command = [program("h2load"), "-n", str(count), "-c", "1", "-m", "32", "-t", "1", "-p", "h2c"]
    command += ["-H", f":authority: {hosts[0]}", f"http://127.0.0.1:{port}/small?n=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    answered = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if answered is None or int(answered.group(1)) != count:
        raise BenchError(f"h2load failed:\n{done.stdout}{done.stderr}")
