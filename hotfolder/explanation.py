"""Why a job is where it is, in a sentence for a person."""

from __future__ import annotations

import time
from pathlib import Path

from presets import StemwrightError, duration_text, load_preset

from .clock import iso_time
from .disk_space import over_high_water
from .facts import JobFacts
from .job import Job, State
from .journal import Journal
from .root import Root
from .settings import HotFolderSettings


class Explainer:
    """Explains the jobs of one hot folder."""

    def __init__(self, journal: Journal, root: Root, settings: HotFolderSettings) -> None:
        self._journal, self._root, self._settings = journal, root, settings
        self._rates: dict[str, float] = {}

    def why(self, job: Job) -> str:
        """One job's state as a sentence."""
        now_s = time.time()
        match job.state:
            case State.SEEN:
                return self._why_seen(job, now_s)
            case State.SETTLED:
                return self._why_queued(job) + self._price(job)
            case State.RETRY_AT:
                wait_s = max(0.0, job.due_at - now_s)
                when = f"attempt {job.attempts + 1} in {wait_s:.0f} s"
                return f"waiting: {when}, because {job.reason}"
            case State.DONE:
                return f"done at {iso_time(job.updated_at)}: {job.destination}"
            case State.QUARANTINED:
                return (
                    f"quarantined: {job.reason} ({job.code}, attempts: {job.attempts}). The "
                    f"original is {job.filed}. To try again: stemwright retry '{job.filed}'"
                )
            case _:
                return self._why_running(job)

    def _why_seen(self, job: Job, now_s: float) -> str:
        if job.reason:
            return f"waiting: {job.reason}"
        return (
            f"waiting: size or time changed {max(0.0, now_s - job.changed_at):.0f} s ago; it must "
            f"stay the same for {self._settings.settle_s:g} s or more"
        )

    def _why_queued(self, job: Job) -> str:
        paused = self._journal.setting("paused")
        if paused:
            return f"queued, but paused: {paused}"
        try:
            full = over_high_water(
                [self._root.outbox, self._root.work], self._settings.high_water_percent
            )
        except OSError as error:
            return f"queued, but free space cannot be asked: {error.strerror}. Is it mounted?"
        if full:
            return f"queued, but no job is begun: {full}"
        behind = self._journal.statistics.queued_before(job) + len(self._journal.running())
        return f"queued behind {behind}" if behind else "queued: next"

    def _price(self, job: Job) -> str:
        """What its preset's separators cost, for a job whose length is not known yet."""
        if job.preset not in self._rates:
            self._rates[job.preset] = _rate_of(job.preset, self._settings)
        rate = self._rates[job.preset]
        return f"; its separators take about {60 * rate:.0f} s a minute" if rate else ""

    def _why_running(self, job: Job) -> str:
        where = f"{job.state}{_cost_of(job)}"
        if job.segments:
            where += f", segment {job.segment} of {job.segments}{_of_what(job)}"
        if job.owner is None:
            return f"interrupted ({where}); the next daemon goes on from there"
        return f"in work: {where}, attempt {job.attempts}, by {job.owner}"


def _rate_of(preset_name: str, settings: HotFolderSettings) -> float:
    """Seconds of separators for a second of audio; 0 where nobody knows (their jobs will say)."""
    from engine import separators_rate

    try:
        preset = load_preset(preset_name)
        folders = tuple(map(Path, settings.worker.separator_folders))
        return separators_rate(preset, folders) if preset.sources.cards else 0.0
    except StemwrightError:
        return 0.0


def _cost_of(job: Job) -> str:
    """How long the separators of a job take in all, where their checks tell."""
    cost_s = JobFacts.parse(job.facts).separators_s
    return f", about {duration_text(cost_s)} for its separators" if cost_s else ""


def _of_what(job: Job) -> str:
    """The separator that runs, and the time left, where the worker has told them."""
    facts = JobFacts.parse(job.facts)
    work = f" ({facts.work})" if facts.work else ""
    return work + ("" if facts.left_s is None else f", {duration_text(facts.left_s)} left")
