#!/usr/bin/env python3
"""Writes seeds for the fuzz targets into a directory: the messages of hostile.txt for those that read
HTTP, the examples of the configuration for `config`, contexts of traces for `trace`, and everything for `detect`.

usage: seeds.py DIRECTORY
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def unescape(text):
    """The bytes of a line of hostile.txt; its first lines tell the format."""
    out, at = bytearray(), 0
    while at < len(text):
        if text[at] != "\\":
            out += text[at].encode()
            at += 1
        elif text[at + 1] == "x":
            out.append(int(text[at + 2 : at + 4], 16))
            at += 4
        elif text[at + 1] == "{":
            end = text.index("}", at)
            count, piece = text[at + 2 : end].split("*", 1)
            out += unescape(piece) * int(count)
            at = end + 1
        else:
            out += ESCAPES[text[at + 1]]
            at += 2
    return bytes(out)


def cases():
    """Kind and bytes of each case."""
    kind, wire = None, b""
    for line in (ROOT / "crates/umay-h1/tests/hostile.txt").read_text().splitlines():
        if line.startswith("# "):
            kind, wire = ("response" if line.startswith("# response: ") else "request"), b""
        elif line.startswith("> "):
            wire += unescape(line[2:])
        elif line.startswith("= "):
            yield kind, wire


def documents():
    """Configurations: the examples, and those that stand in the documents."""
    for path in sorted(ROOT.glob("examples/**/*.toml")):
        yield path.read_bytes()
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        for block in re.findall(r"```toml\n(.*?)```", path.read_text(), re.S):
            yield block.encode()
    yield b'listen = ":8080"\nto = "http://127.0.0.1:3000"\n'
    keys = (ROOT / "crates/umay-core/src/config/keys.rs").read_text()
    for key, example in re.findall(r'^    "([a-z_.]+)": "[^"]*", "(?:[^"\\]|\\.)*", "((?:[^"\\]|\\.)*)"', keys, re.M):
        yield f"{key} = {example}\n".replace('\\"', '"').encode()


def main(directory):
    seeds = {name: set() for name in ("request_head", "response_head", "body", "exchange", "detect", "config", "trace")}
    for kind, wire in cases():
        if len(wire) > 4096:
            continue
        seeds["detect"].add(wire)
        head, _, body = wire.partition(b"\r\n\r\n")
        if body:
            seeds["body"].add(b"\x02\x00\x03\x40" + body)
        if kind == "request":
            seeds["request_head"].add(wire)
            seeds["exchange"].add(wire)
        else:
            seeds["response_head"].add(wire)
    seeds["config"].update(documents())
    hello = b"\x16\x03\x01\x00\x36\x01\x00\x00\x32\x03\x03" + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00"
    hello += b"\x00\x07\x00\x00\x00\x03\x00\x01\x00"
    mqtt = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd"
    seeds["detect"].update([hello, mqtt, b"\x00\x04", b"EHLO a\r\n"])
    w3c = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate: a=1,t@s=2\nbaggage: a=1;b"
    b3 = b"b3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-d"
    multi = b"X-B3-TraceId: 8448eb211c80319c\nX-B3-SpanId: b7ad6b7169203331\nX-B3-Sampled: 1"
    seeds["trace"].update(first + fields for first in (b"+", b"-") for fields in (w3c, b3, multi, b"b3: 1"))
    for name, wires in seeds.items():
        folder = pathlib.Path(directory) / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, wire in enumerate(sorted(wires)):
            (folder / f"seed-{number:04}").write_bytes(wire)


if __name__ == "__main__":
    main(sys.argv[1])
