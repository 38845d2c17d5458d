"""Calls `endpoint.py` through Umay: `client.py HOST:PORT [CA.PEM NAME]`. Says "all is well" or fails."""

import os
import queue
import sys
import time

import grpc


def channel():
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    if len(sys.argv) == 2:
        return grpc.insecure_channel(sys.argv[1], options=options)
    with open(sys.argv[2], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options.append(("grpc.ssl_target_name_override", sys.argv[3]))
    return grpc.secure_channel(sys.argv[1], credentials, options=options)


def fails(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


def kinds(to):
    assert to.unary_unary("/test.Echo/Unary")(b"hello", timeout=20) == b"hello"
    assert to.unary_unary("/test.Echo/Unary")(b"", timeout=20) == b""
    pieces = [b"x" * number for number in range(100)]
    assert to.stream_unary("/test.Echo/Length")(iter(pieces), timeout=20) == b"4950"
    numbers = to.unary_stream("/test.Echo/Count")(b"100", timeout=20)
    assert list(numbers) == [str(number).encode() for number in range(100)]
    # Each message is sent when the answer to the one before has come.
    messages = queue.Queue()
    answers = to.stream_stream("/test.Echo/Echo")(iter(messages.get, None), timeout=20)
    for number in range(100):
        messages.put(str(number).encode())
        assert next(answers) == str(number).encode()
    messages.put(None)
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def statuses(to):
    error = fails(lambda: to.unary_unary("/test.Echo/Missing")(b"", timeout=20))
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
    assert error.details() == "no such thing: grüß %", error
    trailers = dict(error.trailing_metadata())
    assert trailers["x-detail-bin"] == b"\x00\x01\x02" and trailers["x-why"] == "so", trailers
    answers = to.unary_stream("/test.Echo/Partial")(b"", timeout=20)
    assert next(answers) == b"first"
    error = fails(lambda: next(answers))
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "enough"), error
    # What Umay refuses by itself.
    error = fails(lambda: to.unary_unary("/nowhere.Service/Method")(b"", timeout=20))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    assert error.details().startswith("no_route"), error
    error = fails(lambda: to.unary_unary("/dead.Service/Method")(b"", timeout=20))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error


def ends(to):
    started = time.monotonic()
    error = fails(lambda: to.unary_unary("/test.Echo/Silent")(b"", timeout=0.3))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - started < 5
    assert to.unary_unary("/test.Echo/WasCancelled")(b"", timeout=30) == b"yes"
    call = to.unary_unary("/test.Echo/Silent").future(b"", timeout=20)
    time.sleep(0.1)
    call.cancel()
    assert to.unary_unary("/test.Echo/WasCancelled")(b"", timeout=30) == b"yes"


def loads(to):
    large = os.urandom(16 << 20)
    assert to.unary_unary("/test.Echo/Unary")(large, timeout=60) == large
    gzip = grpc.Compression.Gzip
    assert to.unary_unary("/test.Echo/Unary")(b"x" * 100_000, timeout=20, compression=gzip)
    metadata = (("x-one-bin", b"\xff\x00"), ("x-two", "a b"))
    seen = to.unary_unary("/test.Echo/Peer")(b"", timeout=20, metadata=metadata)
    assert b"x-one-bin: b'\\xff\\x00'" in seen and b"x-two: a b" in seen, seen
    unary = to.unary_unary("/test.Echo/Unary")
    calls = [unary.future(str(number).encode(), timeout=60) for number in range(1000)]
    assert [call.result() for call in calls] == [str(number).encode() for number in range(1000)]


if __name__ == "__main__":
    with channel() as to:
        for part in (kinds, statuses, ends, loads):
            part(to)
    print("all is well")
