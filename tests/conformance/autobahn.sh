#!/usr/bin/env bash
# Runs the Autobahn test suite's fuzzing client against an echo server on loopback.
#
#   autobahn.sh PORT [PATH]
#
# Prints one line of counts and the ids of what failed. Exit 0: nothing failed and every case ran;
# 1: at least one failed or did not run; 2: the suite could not be set up.
#
#   AB_SET=fast    all but 9.*, 12.*, 13.*: 247 cases, about 12 s (default)
#   AB_SET=nocomp  all but 12.*, 13.*: 301 cases, about 20 s
#   AB_SET=ci      all 517, with 50 messages instead of 1,000 in each compression case, about 45 s
#   AB_SET=full    all of it, untouched, about ten minutes
#   AB_CASES='9.*,12.1.*'  these patterns instead of a set; AB_EXCLUDE likewise
#   AB_COUNT=N             messages in each 12.* and 13.* case
#   AB_JOBS=N              clients at a time (default 1)
#   AB_SCHEME=wss AB_HOST=127.0.0.1
#   AB_STRICT=1            NON-STRICT is a failure; AB_REQUIRE_ALL=1: so is UNIMPLEMENTED
#   AB_EXPECT=FILE         compare the results as a whole with FILE, less what the set leaves out; any
#                          difference is a failure
#   AB_TIMEOUT=SECONDS     for the whole run (default 900)
#   AB_OUT=DIR             reports (default target/conformance/reports)
#   AB_HOME=DIR            where the suite is installed (default ~/.cache/wsfast-autobahn)
#   AB_PY=2|3, PYTHON2=, PYTHON3=   see below
#
# The suite is Python 2 code. Where a python2.7 is found it runs as published; elsewhere py3port/
# converts it for a python3.9 to 3.12. Both give the same results, case by case. Either is installed
# from the Python package index on the first run.
set -euo pipefail

port=${1:?usage: autobahn.sh PORT [PATH]}
path=${2:-/}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${AB_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/wsfast-autobahn}
out=${AB_OUT:-$here/../../target/conformance/reports}
host=${AB_HOST:-127.0.0.1}
jobs=${AB_JOBS:-1}

trouble() { echo "autobahn.sh: $*" >&2; exit 2; }

count=${AB_COUNT:-0}
exclude=${AB_EXCLUDE:-}
if [ -z "${AB_CASES:-}" ]; then
  case "${AB_SET:-fast}" in
    fast) exclude=${exclude:-9.*,12.*,13.*} ;;
    nocomp) exclude=${exclude:-12.*,13.*} ;;
    ci) count=${AB_COUNT:-50} ;;
    full) ;;
    *) trouble "no such set: ${AB_SET}" ;;
  esac
fi

# --- the suite -----------------------------------------------------------------------------------

find_python2() {
  local candidate
  for candidate in "${PYTHON2:-}" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7 \
    /usr/local/bin/python2.7 /usr/bin/python2.7; do
    if [ -x "$candidate" ]; then echo "$candidate"; return; fi
  done
}

# lib2to3 left the standard library with 3.13.
find_python3() {
  local candidate
  for candidate in "${PYTHON3:-}" python3.11 python3.12 python3.10 python3.9 python3; do
    if [ -n "$candidate" ] && "$candidate" -W ignore -c 'import lib2to3, venv, ensurepip' 2>/dev/null; then
      echo "$candidate"; return
    fi
  done
}

install_python2() {
  python3 -m venv "$home/boot"
  "$home/boot/bin/pip" install -q 'virtualenv==20.21.1'
  "$home/boot/bin/virtualenv" -q -p "$python2" "$home/py2"
  "$home/py2/bin/pip" install -q --no-compile --no-python-version-warning 'autobahntestsuite==25.10.1'
}

mkdir -p "$home"
python2=$(find_python2)
flavour=${AB_PY:-$([ -n "$python2" ] && echo 2 || echo 3)}
case $flavour in
  2)
    [ -n "$python2" ] || trouble "no python2.7 found; AB_PY=3 does without"
    install=(install_python2)
    python=$home/py2/bin/python ;;
  3)
    python3=$(find_python3)
    [ -n "$python3" ] || trouble "needs a python3.9 to 3.12 with venv and lib2to3 (Debian: python3-venv, python3-lib2to3)"
    install=("$here/py3port/setup.sh" "$home/py3" "$python3")
    python=$home/py3/venv/bin/python
    export PYTHONPATH=$here/py3port:$home/py3/src ;;
  *) trouble "AB_PY is 2 or 3" ;;
esac
# The marker is written last, so that an interrupted installation is begun again. The installation
# is a process of its own because `set -e` does not reach into a function called from a condition.
if [ ! -e "$home/ready-$flavour" ]; then
  echo "autobahn.sh: installing the suite (once)"
  export -f install_python2
  if ! home=$home python2=$python2 bash -euc '"$@"' - "${install[@]}" > "$home/setup.log" 2>&1; then
    tail -n 5 "$home/setup.log" >&2
    trouble "the suite could not be installed; $home/setup.log has the rest"
  fi
  touch "$home/ready-$flavour"
fi

# --- the run -------------------------------------------------------------------------------------

(exec 3<> "/dev/tcp/$host/$port") 2>/dev/null || trouble "nothing listens on $host:$port"

rm -rf "$out"
mkdir -p "$out"
export PYTHONDONTWRITEBYTECODE=1
pids=()
for ((job = 0; job < jobs; job++)); do
  python3 "$here/results.py" spec "$out" "$job" "${AB_SCHEME:-ws}://$host:$port$path" "${AB_CASES:-*}" "$exclude"
  AB_COUNT=$count AB_JOB=$job AB_JOBS=$jobs timeout "${AB_TIMEOUT:-900}" \
    "$python" -W ignore "$here/launch.py" -m fuzzingclient -s "$out/spec$job.json" > "$out/log$job.txt" 2>&1 &
  pids+=($!)
done
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
for pid in "${pids[@]}"; do wait "$pid" || true; done   # what did not run shows in the results
trap - EXIT

python3 "$here/results.py" judge "$out" "$jobs" "${AB_EXPECT:-}" "$exclude"
