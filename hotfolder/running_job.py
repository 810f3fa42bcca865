"""A job in work: the job itself, the child process that does it, and the mix it began with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from .clock import Instant
from .facts import JobFacts
from .failures import Failure
from .identity import content_identity
from .job import Job
from .worker import Worker


@dataclass
class RunningJob:
    """A job, the child that does it, and what its mix looked like at the start."""

    job: Job
    worker: Worker
    mix: Path
    identity: str
    started: Instant
    ended: bool = False
    published: bool = False  # by its worker, which waits for another mix now
    failure: Failure | None = None
    part: str = ""  # of the work, such as a separator
    facts: JobFacts = field(default_factory=JobFacts)

    def has_changed(self) -> bool:
        """True when the mix is not the file any more that the work began with."""
        try:
            return content_identity(os.lstat(self.mix)) != self.identity
        except OSError:
            return True

    def crash(self, exit_code: int) -> Failure:
        """What to say of a worker that ended without a word."""
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        log = self.worker.last_words()
        return Failure("worker-crash", f"its worker ended with {how}", log=log)
