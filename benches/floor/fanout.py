"""Fan-out: server CPU per delivery, one publisher to many subscribers.

    wsfast        the standalone server: a topic with its history, message ids and cursors
    bare loop     wsfloor: the same bytes to the same sockets, one write a subscriber and turn, no state, no checks
    uWebSockets   its publish and subscribe, through socketify: one Python call a message, a thousand writes of its own

Servers in turns on one core, the generator on the other, as floor.py does; medians of the rounds' ratios.
"8 a turn" publishes so many at once. The last column is a burst's cost per delivery as a part of a
single message's.
"""

import argparse
import contextlib
import json
import os
import statistics

import floor

SHAPES = {"64 B": (64, 1), "1 KiB": (1024, 1), "64 B, 8 a turn": (64, 8), "64 B, 16 a turn": (64, 16)}
# name: command, and where its subscribers and its publisher connect
SERVERS = {
    "wsfast": ("target/release/wsfast --port {port}", "/bench", "/bench?self=0"),
    "bare loop": ("target/floor/wsfloor {port}", "/sub", "/pub"),
    "uWebSockets": ("target/floor/venv/bin/python target/floor/uws-fanout.py {port}", "/sub", "/pub"),
}
UWS_SERVER = """
import sys
from socketify import App, AppOptions, CompressOptions, OpCode
app = App()
def message(ws, message, opcode):
    app.publish("all", message, opcode, False)
def options(open=None, message=None):
    return {"compression": CompressOptions.DISABLED, "max_payload_length": 16 << 20, "max_backpressure": 64 << 20,
            "idle_timeout": 120, "open": open, "message": message}
app.ws("/sub", options(open=lambda ws: ws.subscribe("all")))
app.ws("/pub", options(message=message))
app.listen(int(sys.argv[1]))
app.run()
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--server", metavar="NAME=COMMAND", help="another build of wsfast to compare with; {port} stands for its port")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    options.other = None
    if options.server:
        options.other, _, command = options.server.partition("=")
        SERVERS[options.other] = (command, *SERVERS["wsfast"][1:])
    with open("target/floor/uws-fanout.py", "w") as file:
        file.write(UWS_SERVER)
    open("target/floor/server.log", "w").close()
    report = {"rounds": options.rounds, "subscribers": options.subscribers, "load_before": os.getloadavg()[0], "other": options.other}
    report["shapes"] = {name: measure(*shape, options) for name, shape in SHAPES.items() if name in options.shapes}
    print_report(report)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


def measure(size, depth, options):
    """Each server's rounds, in us per delivery; None: a slice that could not be had."""
    rows = {name: [] for name in SERVERS}
    with contextlib.ExitStack() as running:
        started = {name: running.enter_context(floor.server(command)) for name, (command, _, _) in SERVERS.items()}
        for _ in range(options.rounds):
            for name, (_, path, publisher) in SERVERS.items():
                load = ["--mode", "broadcast", "--conns", str(options.subscribers), "--size", str(size), "--depth", str(depth),
                        "--secs", str(floor.SLICE_S), "--warmup", str(floor.WARMUP_S), "--spin", "--binary",
                        "--path", path, "--pub-path", publisher]
                rows[name].append(slice_of(load, *started[name]))
    return rows


def slice_of(load, process, port):
    for _ in range(floor.TRIES_MAX):
        result = floor.generate(load, process, port)
        if result and not result["errors"] and result["gen_util"] >= floor.GENERATOR_UTIL_MIN:
            return result["srv_cpu_us"]
    return None


def print_report(report):
    shapes = report["shapes"]
    print(f"{report['rounds']} rounds, {report['subscribers']} subscribers, load before {report['load_before']:.2f}\n")
    compared = ["bare loop", "uWebSockets"] + ([report["other"]] if report["other"] else [])
    print("| wsfast | us a delivery | " + " | ".join(f"x {name}" for name in compared) + " | of a single message |")
    print("|---|---|" + "---|" * len(compared) + "---|")
    for name, rows in shapes.items():
        cells = [f"{median(rows['wsfast']):.2f}", *(ratio(rows["wsfast"], rows[other]) for other in compared)]
        is_burst = name.startswith("64 B") and "64 B" in shapes
        cells.append(f"{median(rows['wsfast']) / median(shapes['64 B']['wsfast']):.2f}" if is_burst else "")
        print(f"| {name} | " + " | ".join(cells) + " |")
    missing = sum(us is None for rows in shapes.values() for row in rows.values() for us in row)
    if missing:
        print(f"\n{missing} slices were discarded: the generator did not have its core.")


def ratio(ours, theirs):
    ratios = [a / b for a, b in zip(ours, theirs) if a and b]
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def median(row):
    return statistics.median([us for us in row if us] or [float("nan")])


if __name__ == "__main__":
    main()
