"""Server CPU per echoed message, as a multiple of what a bare TCP echo spends on the same bytes.

The servers run on core 0, the generator spins on core 1. Each round gives every server one slice of
under a second, in turns, because a machine changes speed within minutes: only ratios within a round
count. A slice is discarded and taken again, twice at most, if the generator did not have its core to
itself or reported an error. The table shows the median of the rounds' ratios. Memory is measured
apart, each time on a server just started.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time

KIB, MIB = 1024, 1024 * 1024
FLOOR = "raw TCP echo"
SERVER_CORE, GENERATOR_CORE = "0", "1"
SLICE_S, WARMUP_S = 0.8, 0.3
GENERATOR_UTIL_MIN = 0.9
TRIES_MAX = 3
IDLE_CONNS, IDLE_ROUNDS_MAX = 10_000, 3
CHINESE = "网络套接字服务器将收到的消息原样返回，既不丢失，也不重复。"

# name: (conns, depth, payload bytes, kind)
SHAPES = {
    "64": (100, 1, 64, "binary"),
    "64x16": (100, 16, 64, "binary"),
    "1k": (100, 1, KIB, "binary"),
    "1kx16": (100, 16, KIB, "binary"),
    "1kx64": (100, 64, KIB, "binary"),
    "16k": (100, 1, 16 * KIB, "binary"),
    "16k-ascii": (100, 1, 16 * KIB, "ASCII text"),
    "16k-chinese": (100, 1, 16 * KIB, "Chinese text"),
    "64k": (50, 1, 64 * KIB, "binary"),
    "1m": (10, 1, MIB, "binary"),
    "1m-ascii": (10, 1, MIB, "ASCII text"),
    "1m-chinese": (10, 1, MIB, "Chinese text"),
    "64x10000": (10_000, 1, 64, "binary"),
}
USUAL = ["64", "64x16", "1kx64", "16k", "16k-chinese", "64k", "1m", "1m-chinese", "64x10000"]
MEMORY = {"idle": [], "idle-touched": ["--touch"]}


def main():
    options = parse_options()
    open("target/floor/server.log", "w").close()
    report = {"rounds": options.rounds, "slice_s": SLICE_S, "load_before": os.getloadavg()[0], "shapes": {}, "memory": {}}
    for name in options.shapes:
        if name in SHAPES:
            report["shapes"][name] = measure(name, options.servers, options.rounds)
        else:
            report["memory"][name] = measure_memory(name, options.servers, min(options.rounds, IDLE_ROUNDS_MAX))
    if sys.stderr.isatty():
        progress("")
    print_tables(report, list(options.servers))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
    slices = [one for shape in report["shapes"].values() for one in shape.values()]
    sys.exit(1 if any(one["median_us"] is None for one in slices) else 0)


def parse_options():
    known = list(SHAPES) + list(MEMORY)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(USUAL + list(MEMORY)), help="of: " + ", ".join(known))
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "5")))
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND",
                        help="one more server; {port} stands for its port; wsfast= leaves wsfast out")
    parser.add_argument("--json", metavar="FILE", help="every slice and median")
    options = parser.parse_args()
    options.shapes = options.shapes.split(",")
    for name in options.shapes:
        if name not in known:
            parser.error(f"no such shape: {name}; there are {', '.join(known)}")
    if options.rounds < 1:
        parser.error("at least one round")
    if os.cpu_count() < 2:
        parser.error("server and generator need a core each")
    options.servers = {
        FLOOR: "target/floor/rawecho {port}",
        "wsfast": "target/release/wsfast --port {port} --max-message-bytes 2M",
    }
    for server in options.server:
        name, _, command = server.partition("=")
        options.servers[name] = command
    options.servers = {name: command for name, command in options.servers.items() if command}
    return options


def measure(shape, servers, rounds):
    """Every server's slices of one shape, its ratios to the floor's and what was discarded."""
    conns, depth, size, kind = SHAPES[shape]
    load = ["--conns", str(conns), "--depth", str(depth), "--secs", str(SLICE_S), "--warmup", str(WARMUP_S), "--spin"]
    load += payload_options(size, kind)
    rows = {name: {"us": [], "ratios": [], "rss_kb": [], "discarded": 0} for name in servers}
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(server(command)) for name, command in servers.items()}
        for number in range(rounds):
            floor_us = None
            for name, (process, port) in running.items():
                progress(f"{shape}: round {number + 1} of {rounds}, {name}")
                row = rows[name]
                outcome = slice_of(row, load + (["--raw"] if name == FLOOR else []), process, port)
                if outcome is None:
                    continue
                row["us"].append(outcome["srv_cpu_us"])
                row["rss_kb"].append(outcome["rss_kb"])
                if name == FLOOR:
                    floor_us = outcome["srv_cpu_us"]
                if floor_us:
                    row["ratios"].append(outcome["srv_cpu_us"] / floor_us)
    for row in rows.values():
        row["median_us"] = median(row["us"])
        row["median_ratio"] = median(row["ratios"])
    return rows


def slice_of(row, load, process, port):
    for _ in range(TRIES_MAX):
        outcome = generate(load, process, port)
        if outcome and not outcome["errors"] and outcome["gen_util"] >= GENERATOR_UTIL_MIN and outcome["n"]:
            return outcome
        row["discarded"] += 1
    return None


def measure_memory(name, servers, rounds):
    load = ["--mode", "idle", "--conns", str(IDLE_CONNS), "--size", str(16 * KIB), "--secs", "0.3", *MEMORY[name]]
    rows = {}
    for server_name, command in servers.items():
        row = rows[server_name] = {"bytes_per_conn": [], "rss_kb": [], "discarded": 0}
        for number in range(rounds):
            progress(f"{name}: round {number + 1} of {rounds}, {server_name}")
            with server(command) as (process, port):
                outcome = generate(load + (["--raw"] if server_name == FLOOR else []), process, port)
            if outcome and not outcome["errors"] and outcome["open"] == IDLE_CONNS:
                row["bytes_per_conn"].append(outcome["rss_bytes_per_conn"])
                row["rss_kb"].append(outcome["rss_kb"])
            else:
                row["discarded"] += 1
    return rows


@contextlib.contextmanager
def server(command):
    """Runs `command` on its core, on a free port, until the block ends: (process, port)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = shlex.split(command.replace("{port}", str(port)))
    with open("target/floor/server.log", "ab") as log:
        process = subprocess.Popen(["taskset", "-c", SERVER_CORE, *words], stdout=log, stderr=log)
    try:
        wait_for_port(process, port, command)
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(process, port, command):
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit(f"did not listen on port {port}: {command}; see target/floor/server.log")


def generate(load, process, port):
    """One run of the generator: its figures, or None if it could not measure."""
    words = ["taskset", "-c", GENERATOR_CORE, "target/floor/wsload", "--port", str(port), "--pid", str(process.pid)]
    done = subprocess.run(words + load, capture_output=True, text=True, timeout=180)
    if done.stderr:
        progress("")
        print(done.stderr.strip(), file=sys.stderr)
    if process.poll() is not None:
        raise SystemExit(f"the server ended ({process.returncode}): {' '.join(process.args)}; see target/floor/server.log")
    return json.loads(done.stdout) if done.stdout else None


def payload_options(size, kind):
    if kind == "binary":
        return ["--binary", "--size", str(size)]
    if kind == "ASCII text":
        return ["--text", "--size", str(size)]
    # Three bytes a character throughout; a file, because the generator's own text mixes widths.
    path = f"target/floor/chinese-{size}.txt"
    chars = size // 3
    with open(path, "w", encoding="utf-8") as file:
        file.write((CHINESE * (chars // len(CHINESE) + 1))[:chars])
    return ["--text", "--payload-file", path]


def print_tables(report, names):
    if report["shapes"]:
        others = [name for name in names if name != FLOOR]
        print(f"Server CPU per echoed message, × the raw TCP echo (median of {report['rounds']} interleaved rounds)\n")
        print_row(["shape", "connections", f"{FLOOR}, µs", *others])
        print_row(["---"] + ["---:"] * (len(others) + 2))
        for shape, rows in report["shapes"].items():
            conns, depth, size, kind = SHAPES[shape]
            floor = rows[FLOOR]["median_us"]
            cells = [ratio_cell(rows[name], report["rounds"], conns) for name in others]
            print_row([label(size, depth, kind), f"{conns:,}", "none" if floor is None else f"{floor:.2f}", *cells])
        print()
    if report["memory"]:
        print(f"Growth of resident memory, bytes per connection, {IDLE_CONNS:,} connections (whole process, MB)\n")
        print_row(["state", *names])
        print_row(["---"] + ["---:"] * len(names))
        for name, rows in report["memory"].items():
            state = "idle" if name == "idle" else "idle after one 16 KiB echo each"
            print_row([state, *(memory_cell(rows[server_name]) for server_name in names)])
        print()
    discarded = sum(row["discarded"] for part in ("shapes", "memory") for rows in report[part].values() for row in rows.values())
    taken = sum(len(row["us"]) for rows in report["shapes"].values() for row in rows.values())
    print(f"{taken} slices counted; {discarded} discarded (generator below {GENERATOR_UTIL_MIN} of its core, or errors).")
    print(f"Load average when it began: {report['load_before']:.1f}.")


def label(size, depth, kind):
    text = f"{size} B" if size < KIB else f"{size // KIB} KiB" if size < MIB else f"{size // MIB} MiB"
    return f"{text}, {kind}" + (f", {depth} deep" if depth > 1 else "")


def ratio_cell(row, rounds, conns):
    if row["median_ratio"] is None:
        return "none"
    text = f"{row['median_ratio']:.2f}"
    if len(row["ratios"]) < rounds:
        text += f" (of {len(row['ratios'])})"
    if conns >= IDLE_CONNS:
        text += f" ({max(row['rss_kb']) / 1000:.1f} MB)"
    return text


def memory_cell(row):
    if not row["bytes_per_conn"]:
        return "none"
    return f"{median(row['bytes_per_conn']):.0f} ({median(row['rss_kb']) / 1000:.1f})"


def median(values):
    return statistics.median(values) if values else None


def print_row(cells):
    print("| " + " | ".join(cells) + " |")


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
