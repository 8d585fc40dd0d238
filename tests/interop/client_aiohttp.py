"""Python aiohttp: window sizes 9 to 15 for the server. It reads the answer with a pattern that wants "; " between fields."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp

from cases import run_all, tls

# What compress=N sends; 15 goes without a value.
OFFERS = [
    {"client_max_window_bits": True, "server_max_window_bits": bits if bits < 15 else None} for bits in range(15, 8, -1)
]


class Peer:
    def __init__(self, connection):
        self.connection = connection
        self.response = connection._response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message):
        await (self.connection.send_str if isinstance(message, str) else self.connection.send_bytes)(message)

    async def next(self):
        message = await self.connection.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise ConnectionError(f"{message.type.name} {message.data} {message.extra}")
        return message.data if isinstance(message.data, str) else bytes(message.data)

    async def ping(self, payload):
        await self.connection.ping(payload)
        message = await self.connection.receive()
        if message.type is not aiohttp.WSMsgType.PONG:
            raise ConnectionError(f"{message.type.name} in place of a Pong")
        return bytes(message.data)

    async def close(self, code, reason):
        await self.connection.close(code=code, message=reason.encode())
        return self.connection.close_code


@asynccontextmanager
async def connect(url, offer):
    options = {"compress": offer["server_max_window_bits"] or 15, "max_msg_size": 0, "autoping": False}
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, ssl=tls(url) or True, **options) as connection:
            yield Peer(connection)


asyncio.run(run_all(f"aiohttp {aiohttp.__version__}", OFFERS, connect))
