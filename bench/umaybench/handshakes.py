"""A load of full TLS handshakes, run as a program of its own: wrk resumes sessions and cannot be told
not to. A thread per connection; what is dear in it is OpenSSL's, which Python's lock does not cover.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time


class Counts:
    def __init__(self) -> None:
        self.bytes = 0
        self.micros: list[int] = []
        self.errors = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}


def one(port: int, request: bytes, context: ssl.SSLContext, counts: Counts) -> None:
    """A connection, a request, and all of the answer."""
    begun = time.perf_counter()
    kind = "connect"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(plain, server_hostname="localhost") as conn:
                if conn.session_reused:
                    raise AssertionError("a session was resumed")
                kind = "write"
                conn.sendall(request)
                kind = "read"
                answer = b""
                while piece := conn.recv(65536):
                    answer += piece
    except TimeoutError:
        counts.errors["timeout"] += 1
        return
    except OSError:
        counts.errors[kind] += 1
        return
    counts.micros.append(int((time.perf_counter() - begun) * 1e6))
    counts.bytes += len(answer)
    if not answer.startswith(b"HTTP/1.1 200 "):
        counts.errors["status"] += 1


def main() -> None:
    port, path, connections, seconds = sys.argv[1:]
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    context = ssl.create_default_context()
    # The checks before the measurement have verified it; wrk does not do it either.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    all_counts = [Counts() for _ in range(int(connections))]
    begun = time.perf_counter()
    end = begun + float(seconds)

    def work(counts: Counts) -> None:
        while time.perf_counter() < end:
            one(int(port), request, context, counts)

    threads = [threading.Thread(target=work, args=(counts,)) for counts in all_counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    micros = sorted(micros for counts in all_counts for micros in counts.micros) or [0]
    done = {
        "requests": sum(len(counts.micros) for counts in all_counts),
        "micros": int(took * 1e6),
        "bytes": sum(counts.bytes for counts in all_counts),
        "p50": micros[len(micros) // 2],
        "p99": micros[len(micros) * 99 // 100],
        "p999": micros[len(micros) * 999 // 1000],
    }
    for kind in all_counts[0].errors:
        done[kind] = sum(counts.errors[kind] for counts in all_counts)
    print(f"\nDONE {json.dumps(done)}")


if __name__ == "__main__":
    main()
