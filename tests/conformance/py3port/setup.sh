#!/usr/bin/env bash
# Makes DIR/venv and DIR/src: the Autobahn test suite 25.10.1 for Python 3.9 to 3.12.
#
#   setup.sh DIR PYTHON
#
# The conversion is lib2to3, three mechanical edits below, and ab_shim3.py at run time.
set -euo pipefail
dir=${1:?usage: setup.sh DIR PYTHON}
python=${2:?usage: setup.sh DIR PYTHON}

mkdir -p "$dir"
cd "$dir"
rm -rf venv src download
"$python" -m venv venv
venv/bin/pip install -q 'setuptools<81' 'twisted==26.10.0' 'txaio==2.1.0' 'autobahn==0.10.9' 'wsaccel==0.6.7' \
  'pyopenssl==26.4.0' 'service_identity==26.1.0' 'jinja2==3.1.6' 'six==1.17.0'
mkdir -p src download
venv/bin/pip download -q --no-deps --no-binary autobahntestsuite -d download 'autobahntestsuite==25.10.1'
tar xzf download/autobahntestsuite-25.10.1.tar.gz -C download
cp -r download/autobahntestsuite-25.10.1/autobahntestsuite src/
venv/bin/python -W ignore -m lib2to3 -w -n --no-diffs src/autobahntestsuite > 2to3.log 2>&1
venv/bin/python - <<'PY'
import glob, re
for path in glob.glob("src/autobahntestsuite/case/*.py"):
    with open(path, encoding="utf8") as file:
        old = file.read()
    new = re.sub(r"\(object,\s*Case,\s*\)", "(Case,)", old)     # no consistent method order otherwise
    new = re.sub(r"\A# coding=utf-8", "# coding=latin-1", new)   # a Python 2 literal is bytes
    new = new.replace("len(self.payload) / self.p.autoFragmentSize", "len(self.payload) // self.p.autoFragmentSize")
    if new != old:
        with open(path, "w", encoding="utf8") as file:
            file.write(new)
PY
