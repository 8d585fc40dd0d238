"""What the Autobahn runs say, as one line of counts and as a comparison with the expected results.

results.py spec DIR JOB URL CASES EXCLUDE   writes DIR/specJOB.json for the fuzzing client
results.py judge DIR JOBS [EXPECTED [EXCLUDE]]   prints the counts; exit 1 if anything is amiss
results.py record DIR JOBS                  prints the results in the form of expected.json
"""

import fnmatch
import json
import os
import re
import sys

NOT_RUN = {"behavior": "NOT RUN", "behaviorClose": "NOT RUN"}


def main():
    command, out, *rest = sys.argv[1:]
    if command == "spec":
        write_spec(out, *rest)
    elif command == "record":
        print(encode(read_results(out, int(rest[0]))[0]))
    elif command == "judge":
        sys.exit(judge(out, int(rest[0]), *rest[1:]))
    else:
        sys.exit(__doc__)


def write_spec(out, job, url, cases, exclude):
    spec = {
        "outdir": f"{out}/reports{job}",
        "servers": [{"agent": "server", "url": url}],
        "cases": cases.split(","),
        "exclude-cases": [pattern for pattern in exclude.split(",") if pattern],
        "exclude-agent-cases": {},
    }
    with open(f"{out}/spec{job}.json", "w") as file:
        json.dump(spec, file)


def read_results(out, jobs):
    """All results by case id, in the suite's order, and how long each took in milliseconds.

    A case that was announced in the log and has no report is there as NOT_RUN.
    """
    results, took_ms = {}, {}
    for job in range(jobs):
        with open(f"{out}/log{job}.txt", errors="replace") as file:
            announced = re.search(r"^Cases = (\[.*\])$", file.read(), re.M)
        for case in re.findall(r"[\d.]+", announced.group(1)) if announced else []:
            results[case] = NOT_RUN
        try:
            with open(f"{out}/reports{job}/index.json") as file:
                reports = json.load(file).get("server", {})
        except OSError:
            reports = {}
        for case, report in reports.items():
            results[case] = {key: report[key] for key in NOT_RUN}
            took_ms[case] = report["duration"]
    order = sorted(results, key=numeric)
    return {case: results[case] for case in order}, took_ms


def judge(out, jobs, expected_path="", exclude=""):
    results, took_ms = read_results(out, jobs)
    kinds = {kind: [] for kind in ("ok", "informational", "non-strict", "unimplemented", "failed")}
    for case, result in results.items():
        kinds[kind_of(result)].append(case)
    counts = ", ".join(f"{len(cases)} {kind}" for kind, cases in kinds.items())
    print(f"{len(results)} cases: {counts}")

    not_run = [case for case, result in results.items() if result is NOT_RUN]
    if not_run:
        print(f"not run: {len(not_run)}, from {not_run[0]} on; the logs in {os.path.relpath(out)} may say why")
    for kind in ("non-strict", "unimplemented", "failed"):
        ran = [case for case in kinds[kind] if results[case] is not NOT_RUN]
        if ran:
            print(f"{kind}: " + ", ".join(f"{case} ({spell(results[case])})" for case in ran))
    if os.environ.get("AB_TIMES"):
        print("9.* ms: " + " ".join(f"{case}={ms}" for case, ms in took_ms.items() if case.startswith("9.")))

    amiss = not results or bool(kinds["failed"])
    amiss |= os.environ.get("AB_STRICT") == "1" and bool(kinds["non-strict"])
    amiss |= os.environ.get("AB_REQUIRE_ALL") == "1" and bool(kinds["unimplemented"])
    if expected_path:
        amiss |= not as_expected(results, expected_path, exclude.split(","))
    return 1 if amiss else 0


def kind_of(result):
    """Draws the lines where the suite's own report draws them."""
    behavior, close = result["behavior"], result["behaviorClose"]
    if behavior == "UNIMPLEMENTED":
        return "unimplemented"
    if behavior not in ("OK", "NON-STRICT", "INFORMATIONAL") or close in ("FAILED", "UNCLEAN"):
        return "failed"
    if behavior == "NON-STRICT" or close in ("WRONG CODE", "FAILED BY CLIENT"):
        return "non-strict"
    return "informational" if behavior == "INFORMATIONAL" else "ok"


def as_expected(results, expected_path, exclude):
    with open(expected_path) as file:
        expected = json.load(file)
    expected = {
        case: result
        for case, result in expected.items()
        if not any(fnmatch.fnmatch(case, pattern) for pattern in exclude)
    }
    differences = [
        f"  {case}: expected {spell(expected.get(case))}, got {spell(results.get(case))}"
        for case in sorted(expected.keys() | results.keys(), key=numeric)
        if expected.get(case) != results.get(case)
    ]
    if differences:
        print(f"{len(differences)} results differ from {os.path.relpath(expected_path)}:")
        print("\n".join(differences))
    else:
        print(f"all {len(expected)} results are those of {os.path.relpath(expected_path)}")
    return not differences


def spell(result):
    if result is None:
        return "no such case"
    return f"{result['behavior']}, close {result['behaviorClose']}"


def encode(results):
    """One case a line, so that a change of the table reads as what changed."""
    lines = [f'  "{case}": {json.dumps(result)}' for case, result in results.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def numeric(case):
    return [int(part) for part in case.split(".")]


main()
