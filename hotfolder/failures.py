"""What to do about a failure: wait and try again, wait for the file, or give up with a reason.

Three questions decide. Is it the file's fault? A full disk, a lost share or a broken preset is
not, however often it happens. Can it pass? A busy file can, a damaged one cannot. Is the file
perhaps still being written? Then it is too early to call it damaged.
"""

from __future__ import annotations

import errno
import random
import traceback
from dataclasses import dataclass
from enum import Enum

from .settings import RetrySettings

POISON_KILLS = 2
BUG_ATTEMPTS = 2

_PASSING_ERRNOS = {
    errno.EBUSY, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOTCONN,
    errno.ETIMEDOUT, errno.EAGAIN, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.EACCES,
    errno.EPERM, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ECONNRESET,
    errno.ETXTBSY, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip
# The mix is not to blame: what is needed to work on it is missing, broken or full.
_BLAMELESS = (
    "preset-", "prior", "encoder", "pack-", "label-", "separator-", "card-", "impulse-", "naming-",
    "voices-network", "voices-basic-pitch", "voices-no-torch", "voices-selftest", "plugin-not-",
    "plugin-quarantined", "device-", "program-", "settings-", "home-", "root-", "disk-", "output-",
    "folder-",
)  # fmt: skip
_BY_THE_MIX = ("separator-not-finite",)  # the same separator may take the next one
_INCOMPLETE = (
    "mix-truncated", "mix-unfinished", "mix-left-over", "mix-empty", "still-growing",
)  # fmt: skip


class PlaceError(OSError):
    """A folder is not what it should be until somebody mends it; no fault of any mix."""

    code = "folder-outside"


class Decision(Enum):
    """What becomes of the job."""

    TRY_AGAIN = "try again"
    WAIT_FOR_FILE = "wait for the file"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Failure:
    """One failed attempt, as a worker tells it. `bug`: nobody expected this error."""

    code: str
    reason: str
    transient: bool = False
    bug: bool = False
    errno: int | None = None
    log: str = ""

    @property
    def blameless(self) -> bool:
        """True when any other file would have failed as well."""
        passing = self.errno in _PASSING_ERRNOS if self.errno is not None else self.transient
        set_up = self.code.startswith(_BLAMELESS) and self.code not in _BY_THE_MIX
        return passing or set_up

    @property
    def incomplete(self) -> bool:
        """True when the file may only need more time to arrive."""
        return self.code in _INCOMPLETE


def decide(
    failure: Failure, faults: int, quiet_s: float, incomplete_after_s: float, retry: RetrySettings
) -> Decision:
    """Decide after a failure; `faults` counts it, `quiet_s` is how long the file is the same."""
    if failure.blameless:
        return Decision.TRY_AGAIN
    if failure.incomplete and quiet_s < incomplete_after_s:
        return Decision.WAIT_FOR_FILE
    cap = BUG_ATTEMPTS if failure.bug else retry.attempts if failure.transient else 1
    return Decision.TRY_AGAIN if faults < cap else Decision.GIVE_UP


def failure_from(error: Exception) -> Failure:
    """An error of this process as a failure: the system's may pass, any other is a bug of ours."""
    log = "".join(traceback.format_exception(error))
    if isinstance(error, OSError):
        code = error.code if isinstance(error, PlaceError) else "system-error"
        return Failure(code, str(error), transient=True, errno=error.errno, log=log)
    return Failure("internal-error", f"{type(error).__name__}: {error}", bug=True, log=log)


def back_off_s(job_id: str, attempt: int, retry: RetrySettings) -> float:
    """Seconds before the next attempt: doubling, capped, and spread by up to a half.

    The spread keeps a hundred jobs that failed together from coming back together; it is drawn
    from the job's own number, so that a run can be repeated.
    """
    longest = min(retry.first_s * 2.0 ** min(attempt - 1, 40), retry.longest_s)
    return longest * random.Random(f"{job_id}:{attempt}").uniform(0.5, 1.0)
