"""What becomes of memory that was freed: kept for the next array, not handed back at once."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h. The values are those that glibc reaches by itself once a block of 32 MiB has
# been freed, unless one of the two was set from outside: then it stays at 128 KiB for ever.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 << 20  # bytes; a larger array has pages of its own
_KEPT = 2 * _LARGEST_KEPT


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, so that arrays of every block find their pages there.

    Without it each array of a few hundred kilobytes asks the kernel for zeroed pages anew: an
    eighth of a render, and more than half of it in a Dask worker, whose nanny sets
    MALLOC_TRIM_THRESHOLD_. False where the C library is not glibc; nothing is changed there.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_TRIM_THRESHOLD, _KEPT))
