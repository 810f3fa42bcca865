"""How the daemon does: measured at the moment of asking, never remembered from better times."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from .clock import Instant, iso_time

SCANS_MISSED = 3


class Findings(TypedDict):
    """What the daemon's loop last found, as the health document repeats it."""

    pid: int
    owner: str
    scan_interval_s: float
    scan_took_s: float
    watcher_trouble: str | None
    watching: str
    lost: str | None
    paused: str | None
    settings_trouble: str | None
    journal_trouble: str | None
    bug: str | None
    ignored: int
    queue: dict[str, int]
    in_flight: list[str]
    failures_24h: int
    free_bytes: dict[str, int]
    provider: str


@dataclass(frozen=True)
class Vitals:
    """What the daemon's loop last wrote down about itself, and the instants it is judged by."""

    findings: Findings
    started_wall_s: float
    scanned: Instant | None
    oldest_wait_since_s: float | None

    @property
    def degraded(self) -> list[str]:
        """What is wrong and stops nothing."""
        found = self.findings
        troubles = (
            found["watcher_trouble"], found["paused"], found["settings_trouble"],
            found["journal_trouble"], found["bug"],
        )  # fmt: skip
        return [trouble for trouble in troubles if trouble]


class HealthDocument(Findings):
    """What `/health` answers and `health.json` holds; times in ISO 8601 or seconds."""

    healthy: bool
    degraded: list[str]
    at: str
    started: str
    last_scan: str | None
    last_scan_age_s: float | None
    watcher_alive: bool
    oldest_wait_s: float | None


def health_of(vitals: Vitals, now: Instant) -> HealthDocument:
    """The health document. `healthy` means that the last scan is recent and the root is there."""
    found = vitals.findings
    age_s = None if vitals.scanned is None else now.steady_s - vitals.scanned.steady_s
    late = age_s is None or age_s > SCANS_MISSED * max(found["scan_interval_s"], 1.0)
    oldest = vitals.oldest_wait_since_s
    return {
        "healthy": not late and found["lost"] is None,
        "degraded": vitals.degraded,
        "at": iso_time(now.wall_s),
        "started": iso_time(vitals.started_wall_s),
        "last_scan": None if vitals.scanned is None else iso_time(vitals.scanned.wall_s),
        "last_scan_age_s": None if age_s is None else round(age_s, 3),
        "watcher_alive": found["watcher_trouble"] is None,
        "oldest_wait_s": None if oldest is None else round(now.wall_s - oldest, 3),
        **found,
    }


def metrics_of(health: HealthDocument) -> str:
    """The same in Prometheus's text format."""
    lines: list[str] = []

    def gauge(name: str, text: str, values: Mapping[str, float | None]) -> None:
        lines.append(f"# HELP stemwright_{name} {text}")
        lines.append(f"# TYPE stemwright_{name} gauge")
        for labels, value in values.items():
            number = "NaN" if value is None else f"{float(value):g}"
            lines.append(f"stemwright_{name}{labels} {number}")

    gauge("healthy", "1 when the last scan is recent.", {"": health["healthy"]})
    gauge("last_scan_age_seconds", "Time since the last scan.", {"": health["last_scan_age_s"]})
    gauge("scan_seconds", "Duration of the last scan.", {"": health["scan_took_s"]})
    gauge("watcher_alive", "1 when events arrive for every folder.", {"": health["watcher_alive"]})
    gauge("root_lost", "1 when the hot folder is not there.", {"": health["lost"] is not None})
    gauge("paused", "1 when no job is claimed.", {"": health["paused"] is not None})
    gauge("jobs", "Jobs by state.", {
        f'{{state="{state}"}}': count for state, count in health["queue"].items()
    })  # fmt: skip
    gauge("in_flight", "Jobs in work in this process.", {"": len(health["in_flight"])})
    gauge("ignored", "Files in the inbox that are left alone.", {"": health["ignored"]})
    gauge("oldest_wait_seconds", "Age of the oldest wait.", {"": health["oldest_wait_s"] or 0})
    gauge("failures_24h", "Failed attempts in 24 hours.", {"": health["failures_24h"]})
    gauge("free_bytes", "Free space.", {
        f'{{folder="{folder}"}}': free for folder, free in health["free_bytes"].items()
    })  # fmt: skip
    return "\n".join(lines) + "\n"


def free_bytes(folders: Mapping[str, Path]) -> dict[str, int]:
    """Free space by folder name; a folder that is not there is left out."""
    found = {}
    for name, folder in folders.items():
        try:
            found[name] = shutil.disk_usage(folder).free
        except OSError:
            continue
    return found
