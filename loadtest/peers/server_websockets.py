"""Python's websockets as an echo server: PORT, and for wss CERTIFICATE KEY."""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main(port, *files):
    tls = None
    if files:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*files)
    async with serve(echo, "127.0.0.1", int(port), ssl=tls, backlog=4096) as server:
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
