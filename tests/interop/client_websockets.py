"""Python websockets: the strictest judge of what a server answers to an offer; fragments; every parameter."""

import asyncio
from contextlib import asynccontextmanager

import websockets
from websockets.asyncio.client import connect as open_connection
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from cases import run_all, tls

BITS = "client_max_window_bits"
OFFERS = [
    {BITS: True},
    {},
    {BITS: True, "server_no_context_takeover": True},
    {BITS: True, "client_no_context_takeover": True},
    {BITS: True, "server_no_context_takeover": True, "client_no_context_takeover": True},
    *({BITS: bits} for bits in (9, 12, 15)),
    *({BITS: True, "server_max_window_bits": bits} for bits in (8, 9, 12, 15)),
    {BITS: 10, "server_max_window_bits": 10, "server_no_context_takeover": True, "client_no_context_takeover": True},
]


class Peer:
    def __init__(self, connection):
        self.connection = connection
        self.response = connection.response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message):
        await self.connection.send(message)

    async def next(self):
        return await self.connection.recv()

    async def ping(self, payload):
        # The Pong is waited for by its payload; an empty one would be replaced by a random one.
        await (await self.connection.ping(payload or None))
        return payload

    async def fragments(self, parts):
        await self.connection.send(parts)

    async def close(self, code, reason):
        await self.connection.close(code, reason)
        received = self.connection.protocol.close_rcvd
        return received and received.code


@asynccontextmanager
async def connect(url, offer):
    deflate = ClientPerMessageDeflateFactory(**{BITS: None, **offer})
    options = {"ssl": tls(url), "extensions": [deflate], "compression": None, "proxy": None, "max_size": None}
    async with open_connection(url, ping_interval=None, **options) as connection:
        yield Peer(connection)


asyncio.run(run_all(f"websockets {websockets.__version__}", OFFERS, connect))
