"""Freed memory is kept for the next array."""

import platform
import resource
import subprocess
import sys

import pytest

PROBE = """
import resource
import sys

import numpy as np

from engine.freed_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):  # what is asked for once only
    np.ones(300_000, np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    np.ones(300_000, np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
def test_arrays_find_the_pages_of_those_before_them_under_a_nanny_of_dask():
    faults = {}
    for how in ("keep", "leave"):
        probe = [sys.executable, "-c", PROBE, how]
        environment = {"MALLOC_TRIM_THRESHOLD_": "65536", "PATH": "/usr/bin:/bin"}
        faults[how] = int(subprocess.check_output(probe, env=environment, text=True))
    pages = 200 * 1_200_000 // resource.getpagesize()
    assert faults["leave"] > pages // 2, "the C library keeps them by itself here"
    assert faults["keep"] < pages // 20
