"""Starts wstest as published, or its Python 3 port, with this job's share of the cases.

AB_COUNT=N   send N messages in each compression case instead of 1,000 (0: leave it)
AB_JOB=I AB_JOBS=N   run every N-th case, from the I-th on
"""
import os
import sys

if sys.version_info[0] >= 3:
    import ab_shim3  # noqa: F401  (patches what the conversion alone does not mend)

from autobahntestsuite import fuzzing, wstest
from autobahntestsuite.case import Cases

count = int(os.environ.get("AB_COUNT") or 0)
job = int(os.environ.get("AB_JOB") or 0)
jobs = int(os.environ.get("AB_JOBS") or 1)

if count:
    for case in Cases:
        if hasattr(case, "AUTOFRAGSIZE"):
            case.COUNT = count

if jobs > 1:
    every_case = fuzzing.CaseSet.parseSpecCases
    fuzzing.CaseSet.parseSpecCases = lambda self, spec: every_case(self, spec)[job::jobs]

wstest.run()
