"""What compression costs a server: CPU per echoed JSON text, compressed both ways.

A client's message is compressed as browsers do (zlib's level 6, sync flush), the server's reply by the
server. In each round, in turns, on the same core:

    library   zlib-rs alone inflates and deflates that text (benches/deflate.rs)
    plain     wsfast echoes it uncompressed
    deflated  wsfast echoes it compressed
    ws        npm ws does (perMessageDeflate, no context takeover, zlib's default level and its own)

The table shows the medians of the rounds' ratios: what compression adds to an echo over what the library
needs, and the whole over npm ws's. Memory is measured apart.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import zlib

import floor

OFFER = "permessage-deflate; client_max_window_bits"
TEXT = "benches/texts/feed.json"
SIZES = {"1k": 1024, "16k": 16 * 1024}
CONNS = 100
WS_SERVER = """
const { WebSocketServer } = require('ws');
const level = Number(process.argv[3]);
new WebSocketServer({ port: Number(process.argv[2]), host: '127.0.0.1', perMessageDeflate: {
  threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true, concurrencyLimit: 10,
  ...(level ? { zlibDeflateOptions: { level } } : {}),
} }).on('connection', (peer) => peer.on('message', (data, binary) => peer.send(data, { binary })));
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    bench = build_bench()
    write_payloads()
    with open("target/floor/ws-echo.js", "w") as file:
        file.write(WS_SERVER)
    servers = {
        "wsfast": "target/release/wsfast --port {port}",
        "ws, level 1": "node target/floor/ws-echo.js {port} 1",
        "ws": "node target/floor/ws-echo.js {port} 0",
    }
    report = {"rounds": options.rounds, "load_before": os.getloadavg()[0], "sizes": {}}
    for name in SIZES:
        report["sizes"][name] = measure(name, servers, options.rounds, bench)
    report["memory"] = measure_memory()
    print_report(report)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


def build_bench():
    """The criterion program's path."""
    command = ["cargo", "bench", "--bench", "deflate", "--no-run", "--message-format=json", "--quiet"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    artifacts = [json.loads(line) for line in lines if line.startswith("{")]
    return next(one["executable"] for one in artifacts if one.get("target", {}).get("name") == "deflate" and one.get("executable"))


def write_payloads():
    with open(TEXT, "rb") as file:
        text = file.read()
    for name, size in SIZES.items():
        stream = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = stream.compress(text[:size]) + stream.flush(zlib.Z_SYNC_FLUSH)
        for suffix, payload in (("plain", text[:size]), ("deflated", packed[:-4])):
            with open(f"target/floor/feed-{name}-{suffix}", "wb") as file:
                file.write(payload)


def measure(name, servers, rounds, bench):
    rows = {key: [] for key in ("library", "plain", "deflated", "ws, level 1", "ws")}
    usual = ["--conns", str(CONNS), "--secs", str(floor.SLICE_S), "--warmup", str(floor.WARMUP_S), "--spin", "--text"]
    deflated = [*usual, "--payload-file", f"target/floor/feed-{name}-deflated", "--rsv1", "--ext", OFFER]
    plain = [*usual, "--payload-file", f"target/floor/feed-{name}-plain"]
    with floor.contextlib.ExitStack() as stack:
        running = {key: stack.enter_context(floor.server(command)) for key, command in servers.items()}
        for number in range(rounds):
            floor.progress(f"{name}: round {number + 1} of {rounds}")
            rows["library"].append(library_us(bench, name))
            for key, load, server in (
                ("plain", plain, "wsfast"),
                ("deflated", deflated, "wsfast"),
                ("ws, level 1", deflated, "ws, level 1"),
                ("ws", deflated, "ws"),
            ):
                process, port = running[server]
                outcome = floor.slice_of({"discarded": 0}, load, process, port)
                if outcome is None:
                    raise SystemExit(f"{key}, {name}: the generator never had its core to itself")
                rows[key].append(outcome["srv_cpu_us"])
    return rows


def library_us(bench, name):
    command = ["taskset", "-c", floor.SERVER_CORE, bench, "--bench", f"deflate/{name}/library", "--noplot"]
    command += ["--warm-up-time", "0.3", "--measurement-time", "0.8", "--sample-size", "20"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    value, unit = re.search(r"time:\s+\[\S+ \S+ (\S+) (\S+)", text).groups()
    return float(value) * {"ns": 1e-3, "µs": 1, "us": 1, "ms": 1e3}[unit]


def measure_memory():
    """Bytes per connection, each of which exchanged one compressed message."""
    load = ["--mode", "idle", "--conns", str(floor.IDLE_CONNS), "--secs", "0.3", "--touch", "--text"]
    load += ["--payload-file", "target/floor/feed-1k-deflated", "--rsv1", "--ext", OFFER]
    with floor.server("target/release/wsfast --port {port} --compression shared") as (process, port):
        outcome = floor.generate(load, process, port)
    if not outcome or outcome["errors"] or outcome["open"] != floor.IDLE_CONNS:
        raise SystemExit(f"idle connections: {outcome}")
    return outcome["rss_bytes_per_conn"]


def print_report(report):
    ratio = lambda over, under: statistics.median(a / b for a, b in zip(over, under))
    floor.progress("")
    floor.print_row(["JSON", "library, µs", "plain echo", "compressed", "added / library", "/ npm ws", "/ npm ws, level 1"])
    floor.print_row(["---"] + ["---:"] * 6)
    for name, rows in report["sizes"].items():
        median = {key: statistics.median(values) for key, values in rows.items()}
        added = [deflated - plain for deflated, plain in zip(rows["deflated"], rows["plain"])]
        floor.print_row([
            name, f"{median['library']:.1f}", f"{median['plain']:.1f}", f"{median['deflated']:.1f}",
            f"{ratio(added, rows['library']):.2f}", f"{ratio(rows['deflated'], rows['ws']):.2f}",
            f"{ratio(rows['deflated'], rows['ws, level 1']):.2f}",
        ])
    print(f"\n{floor.IDLE_CONNS:,} idle connections that each exchanged one compressed message: {report['memory']:.0f} bytes each")
    print(f"{report['rounds']} rounds. Load average when it began: {report['load_before']:.1f}.")


main()
