"""A service of gRPC on an address: `endpoint.py HOST:PORT`. Messages are bytes as they are."""

import sys
import threading
import time
from concurrent import futures

import grpc

cancelled = threading.Event()


def unary(request, context):
    return request


def length(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def echo(requests, context):
    yield from requests


def missing(request, context):
    context.set_trailing_metadata((("x-detail-bin", b"\x00\x01\x02"), ("x-why", "so")))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: grüß %")


def partial(request, context):
    yield b"first"
    context.abort(grpc.StatusCode.ABORTED, "enough")


def silent(request, context):
    context.add_callback(cancelled.set)
    while context.is_active():
        time.sleep(0.01)
    return b""


def was_cancelled(request, context):
    seen = cancelled.wait(20)
    cancelled.clear()
    return b"yes" if seen else b"no"


def peer(request, context):
    return "\n".join(f"{key}: {value}" for key, value in context.invocation_metadata()).encode()


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Length": grpc.stream_unary_rpc_method_handler(length),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
    "Missing": grpc.unary_unary_rpc_method_handler(missing),
    "Partial": grpc.unary_stream_rpc_method_handler(partial),
    "Silent": grpc.unary_unary_rpc_method_handler(silent),
    "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    "Peer": grpc.unary_unary_rpc_method_handler(peer),
}

if __name__ == "__main__":
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=options)
    handlers = grpc.method_handlers_generic_handler("test.Echo", HANDLERS)
    server.add_generic_rpc_handlers((handlers,))
    if server.add_insecure_port(sys.argv[1]) == 0:
        sys.exit("the port is taken")
    server.start()
    server.wait_for_termination()
