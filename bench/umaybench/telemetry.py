"""Umay with all of its telemetry off, on, and on for every request: what that costs is measured as peers are.

- `umay-off`: no access log and no traces. Metrics are always counted.
- `umay-on`: the access log as JSON in a file, metrics scraped once a second, traces to a collector as they come: one
  request in a hundred.
- `umay-all`: the same with every request traced.

The threads that write and send are the proxy's own, so what they take is in its CPU time.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from collections.abc import Iterator

from .peers import Setting, Umay
from .process import BenchError, free_ports

# Seconds between two scrapes.
SCRAPE = 1.0
# Seconds after which the first spans have come to the collector.
PATIENCE = 10.0


class Off(Umay):
    name = "umay-off"

    def logs(self) -> bool:
        return False


class On(Umay):
    name = "umay-on"
    # What else is said of traces.
    tracing = ""

    def __init__(self, setting: Setting):
        super().__init__(setting)
        (self._admin,) = free_ports(1)
        self._lost = 0
        self._begun = time.monotonic()

    def logs(self) -> bool:
        return True

    def telemetry(self) -> str:
        return f"""
[admin]
bind = "127.0.0.1:{self._admin}"

[tracing]
endpoint = "http://127.0.0.1:{self.setting.collector}"
# Sooner than by default, so that what is measured includes that it is sent.
interval = "1s"
{self.tracing}
"""

    def wait(self) -> None:
        super().wait()
        self.process.wait_for([self._admin])

    @contextlib.contextmanager
    def observed(self, problems: list[str]) -> Iterator[None]:
        """Scrapes while the load runs, and says what was lost."""
        stop = threading.Event()

        def scrape() -> None:
            while not stop.wait(SCRAPE):
                self._scrape()

        scraping = threading.Thread(target=scrape, daemon=True)
        scraping.start()
        try:
            yield
        finally:
            stop.set()
            scraping.join()
        text = self._scrape()
        lost = r"^umay_(?:trace_spans|access_log)_dropped_total(?:{[^}]*})? (\d+)$"
        before, self._lost = self._lost, sum(map(int, re.findall(lost, text, re.MULTILINE)))
        if self._lost > before:
            problems.append(f"{self._lost - before} lines or spans were lost")
        sent = re.search(r"^umay_trace_spans_exported_total ([1-9]\d*)$", text, re.MULTILINE)
        if sent is None and time.monotonic() - self._begun > PATIENCE:
            problems.append("no span has come to the collector")

    def _scrape(self) -> str:
        conn = http.client.HTTPConnection("127.0.0.1", self._admin, timeout=5)
        try:
            conn.request("GET", "/metrics")
            answer = conn.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{self.name} tells no metrics: {error}") from error
        finally:
            conn.close()
        if answer.status != 200 or not text:
            raise BenchError(f"{self.name} answers a scrape with {answer.status}")
        return text


class All(On):
    name = "umay-all"
    tracing = "ratio = 1.0"


# What is compared, the baseline first.
TELEMETRY = (Off, On, All)
