"""An endpoint in HTTP/1.1 that tells its name, and behaves badly from SIGUSR1 on, or well again.

Arguments: the address, the name, and what is bad: `late` (500 ms) or `cut` (a reset in the middle of a body).
"""

import asyncio
import signal
import socket
import struct
import sys

address, name, kind = (sys.argv[1:] + ["", ""])[:3]
bad = False


def turn():
    global bad
    bad = not bad


async def body_of(reader, head):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))


async def serve(reader, writer):
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await body_of(reader, head)
            if bad and kind == "late":
                await asyncio.sleep(0.5)
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (
                len(name),
                name.encode(),
            )
            if bad and kind == "cut":
                writer.write(answer[:-1])
                await writer.drain()
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            writer.write(answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, turn)
    host, port = address.rsplit(":", 1)
    server = await asyncio.start_server(serve, host, int(port), backlog=4096, reuse_address=True)
    await server.serve_forever()


asyncio.run(main())
