"""Google's health service on an address: `health.py HOST:PORT [CERT KEY]`, with TLS if there is a certificate."""

import pathlib
import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

STATUSES = {
    "": health_pb2.HealthCheckResponse.SERVING,
    "up.Service": health_pb2.HealthCheckResponse.SERVING,
    "down.Service": health_pb2.HealthCheckResponse.NOT_SERVING,
    "odd.Service": health_pb2.HealthCheckResponse.UNKNOWN,
    "lost.Service": health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
}

if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    servicer = health.HealthServicer()
    for name, status in STATUSES.items():
        servicer.set(name, status)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if len(sys.argv) > 2:
        cert, key = (pathlib.Path(path).read_bytes() for path in sys.argv[2:])
        credentials = grpc.ssl_server_credentials([(key, cert)])
        port = server.add_secure_port(sys.argv[1], credentials)
    else:
        port = server.add_insecure_port(sys.argv[1])
    if port == 0:
        sys.exit("the port is taken")
    server.start()
    server.wait_for_termination()
