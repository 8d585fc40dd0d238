"""What every Python client is put through; the twin of cases.js.

A peer has `response` (the Sec-WebSocket-Extensions that came), send, next, ping, close and, where the client can, fragments.
"""

import asyncio
import json
import os
import ssl

COMPRESSION = os.environ["INTEROP_COMPRESSION"]
URLS = os.environ["INTEROP_URLS"].split()
DEADLINE_S = 20
# Whoever failed so often will go on to, and each time may take the deadline.
FAILURES_MAX = 3
UNICODE = "Grüße, 世界 🌍 \0 ﷺ \U0010ffff e\u0301\n"
PARAMETERS = {
    "server_no_context_takeover": False,
    "client_no_context_takeover": False,
    "server_max_window_bits": True,
    "client_max_window_bits": True,
}


def tls(url):
    """Trusts the suite's own authority, and checks the name, for wss; nothing for ws."""
    return ssl.create_default_context(cafile=os.environ["INTEROP_CA"]) if url.startswith("wss:") else None


def noise(length, seed=1):
    """Bytes that deflate cannot shorten; the same in every run."""
    state, out = seed & 0xFFFFFFFF or 1, bytearray()
    while len(out) < length:
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        out += state.to_bytes(4, "little")
    return bytes(out[:length])


def sample(length, at=0):
    """JSON, cut to `length`."""
    parts, size = [], 0
    while size < length:
        record = {"id": at, "type": "position", "user": f"user-{at % 17}", "lat": 52.5 + at / 1e4, "ok": True}
        parts.append(json.dumps(record))
        size += len(parts[-1])
        at += 1
    return "".join(parts)[:length]


def messages():
    texts = [sample(n) for n in (0, 1, 125, 126, 1024, 65_535, 64 << 10, 512 << 10)]
    binaries = [noise(n, n + 1) for n in (0, 1, 125, 126, 1024, 65_535, 64 << 10, 512 << 10)]
    return texts + [UNICODE, UNICODE * 5000] + binaries + [bytes(512 << 10), sample(64 << 10).encode()]


async def within(what, awaitable):
    try:
        return await asyncio.wait_for(awaitable, DEADLINE_S)
    except asyncio.TimeoutError:
        raise TimeoutError(f"{what} did not come within {DEADLINE_S} s") from None


def assert_same(got, sent, what):
    if type(got) is not type(sent) or got != sent:
        length = len(got) if isinstance(got, (str, bytes)) else got
        raise AssertionError(f"{what} of {len(sent)} differs: {type(got).__name__} {length}")


async def exercise(peer):
    """Puts `peer` through everything; returns how many messages came back as they were."""
    echoed = 0

    async def expect(sent, what):
        nonlocal echoed
        assert_same(await within(what, peer.next()), sent, what)
        echoed += 1

    for message in messages():
        _, _ = await asyncio.gather(within("room", peer.send(message)), expect(message, "an echo"))

    # In a row, so that each can be deflated with those before it as its context.
    row = [sample(200 + at * 3, at) for at in range(200)]

    async def send_all():
        for message in row:
            await peer.send(message)

    async def expect_all():
        for message in row:
            await expect(message, "an echo in a row")

    await asyncio.gather(within("room", send_all()), expect_all())

    for payload in (b"", b"are you there?", b"p" * 125):
        assert_same(await within("a Pong", peer.ping(payload)), payload, "a Pong")

    if hasattr(peer, "fragments"):
        for size in (1, 7, 300, 70_000):
            for whole in (sample(size * 3), noise(size * 3, 5)):
                parts = [whole[at * size : (at + 1) * size] for at in range(3)]
                await asyncio.gather(within("room", peer.fragments(parts)), expect(whole, "three fragments"))

    code = await within("a closing handshake", peer.close(1000, "done"))
    if code != 1000:
        raise AssertionError(f"closed with {code}")
    return echoed


def check_agreed(response, offer):
    """Holds the server's answer against the offer and RFC 7692 §7.1; returns what to print."""
    if not response:
        # A small window is for the server to grant; everything else it has no reason to decline.
        if COMPRESSION != "off" and not (offer.get("server_max_window_bits") or 15) < 15:
            raise AssertionError("permessage-deflate was not agreed")
        return "none"
    if COMPRESSION == "off":
        raise AssertionError(f"agreed with --compression off: {response}")
    name, *fields = (part.strip() for part in response.split(";"))
    if name != "permessage-deflate":
        raise AssertionError(f"not the extension that was offered: {response}")
    agreed = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if key in agreed or key not in PARAMETERS or PARAMETERS[key] != bool(equals):
            raise AssertionError(f"malformed: {response}")
        agreed[key] = int(value.strip('"')) if equals else True
        if equals and not 8 <= agreed[key] <= 15:
            raise AssertionError(f"no window size: {response}")
    if offer.get("server_no_context_takeover") and "server_no_context_takeover" not in agreed:
        raise AssertionError(f"server_no_context_takeover was asked for: {response}")
    for key in ("server_max_window_bits", "client_max_window_bits"):
        limit = offer.get(key)
        if type(limit) is int and agreed.get(key, 16 if key[0] == "s" else 0) > limit:
            raise AssertionError(f"{key}={limit} was offered: {response}")
    if "client_max_window_bits" in agreed and not offer.get("client_max_window_bits"):
        raise AssertionError(f"client_max_window_bits was not offered: {response}")
    return "; ".join([name, *fields])


def describe(offer):
    told = [key if value is True else f"{key}={value}" for key, value in offer.items() if value not in (None, False)]
    return "; ".join(told) or "-"


async def run_all(client, offers, connect):
    """Runs `offers` over ws and wss; one line of JSON each. connect(url, offer) is an async context that gives a peer."""
    failures = 0
    for url in URLS:
        # Where nothing is to be agreed, one offer is as good as another.
        for offer in offers[:1] if COMPRESSION == "off" else offers:
            if failures == FAILURES_MAX:
                return
            row = {"compression": COMPRESSION, "client": client, "scheme": url.split(":")[0]}
            row |= {"offer": describe(offer), "agreed": "?", "echoed": 0}
            try:
                async with connect(url, offer) as peer:
                    row["agreed"] = check_agreed(peer.response, offer)
                    row["echoed"] = await exercise(peer)
                row["ok"] = True
            except Exception as error:  # Whatever it is, it is this row's.
                failures += 1
                row |= {"ok": False, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(row), flush=True)
