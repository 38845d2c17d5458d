"""Programs that have to be there, and what to do if they are not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from .process import BenchError

_PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "openssl": "openssl", "h2load": "nghttp2-client"}
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def program(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name, path=_PATH)
    if not found:
        package = _PACKAGES.get(name, name)
        raise BenchError(f"{name} is not installed; on Debian: apt-get install {package}")
    return found


def nginx_program() -> str:
    return program("nginx")


def nginx_stream_module() -> str | None:
    """nginx's module for raw streams: the line that loads it, empty if built in, None if missing."""
    built = subprocess.run([nginx_program(), "-V"], capture_output=True, text=True).stderr
    if re.search(r"--with-stream(\s|$)", built):
        return ""
    configured = re.search(r"--modules-path=(\S+)", built)
    folder = Path(configured.group(1) if configured else "/usr/lib/nginx/modules")
    module = folder / "ngx_stream_module.so"
    return f"load_module {module};" if module.exists() else None


def as_root() -> str:
    """Lets nginx's workers read what root has written, if it is root that runs us."""
    return "user root;" if os.geteuid() == 0 else ""


def version(command: list[str], pattern: str) -> str:
    """A program's version, or "?"."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "?"


def toolchain() -> str:
    """The compiler, as it names itself."""
    return "rustc " + version(["rustc", "--version"], r"rustc (\S+)")


def self_signed(work: Path) -> tuple[Path, Path]:
    """A certificate for localhost with a P-256 key, and the key."""
    cert, key = work / "cert.pem", work / "key.pem"
    command = [program("openssl"), "req", "-x509", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(cert)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"openssl made no certificate:\n{done.stderr}")
    return cert, key
