"""What a worker pool and a worker process say to each other: a JSON object in ASCII, one a line.

The pool gives orders, which bear a `word`; the process makes reports, in which it `say`s what has
happened. A program that is upgraded while its daemon runs starts workers of the newer version, so
names and fields on these lines stay what they are.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .facts import SetFacts, WorkFacts
from .failures import Failure
from .job import Job, State
from .publish_guard import PublishGuard
from .settings import HotFolderSettings, WorkerSettings

# -- orders --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkOrder:
    """The first order: decode a mix, and say what the work on it will be."""

    backend: str
    mix: Path
    preset: str
    workspace: Path
    plugin_folders: tuple[str, ...] | None
    settings: WorkerSettings


@dataclass(frozen=True)
class RenderOrder:
    """Make the set of the mix that was decoded."""

    destination: Path
    guard: PublishGuard


@dataclass(frozen=True)
class PublishOrder:
    """Leave to make the set visible."""


@dataclass(frozen=True)
class WithdrawOrder:
    """End without a set: somebody else has done the work, or it must wait."""


@dataclass(frozen=True)
class StopOrder:
    """Keep the segment that is at work, and end."""


Order = WorkOrder | RenderOrder | PublishOrder | WithdrawOrder | StopOrder
_BARE_ORDERS: dict[str, Order] = {
    "publish": PublishOrder(),
    "withdraw": WithdrawOrder(),
    "stop": StopOrder(),
}


def work_order(
    job: Job, mix: Path, workspace: Path, settings: HotFolderSettings, backend: str
) -> WorkOrder:
    """The order for a job."""
    return WorkOrder(backend, mix, job.preset, workspace, settings.plugin_folders, settings.worker)


def order_line(order: Order) -> bytes:
    """An order as a line."""
    match order:
        case WorkOrder():
            return _line(
                word="work",
                backend=order.backend,
                mix=str(order.mix),
                preset=order.preset,
                workspace=str(order.workspace),
                plugin_folders=order.plugin_folders,
                options=order.settings.model_dump(mode="json"),
            )
        case RenderOrder():
            return _line(
                word="render", destination=str(order.destination), guard=asdict(order.guard)
            )
        case _:
            return _line(word=next(word for word, o in _BARE_ORDERS.items() if o == order))


def order_of(line: str) -> Order:
    """The order that a line gives."""
    found = json.loads(line)
    match found["word"]:
        case "work":
            folders = found["plugin_folders"]
            return WorkOrder(
                backend=found["backend"],
                mix=Path(found["mix"]),
                preset=found["preset"],
                workspace=Path(found["workspace"]),
                plugin_folders=None if folders is None else tuple(folders),
                settings=WorkerSettings.model_validate(found["options"]),
            )
        case "render":
            return RenderOrder(Path(found["destination"]), PublishGuard.of(**found["guard"]))
        case word:
            return _BARE_ORDERS[word]


# -- reports -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VerifiedReport:
    """The mix is decoded and whole; an order to render or to withdraw is waited for."""

    work: WorkFacts


@dataclass(frozen=True)
class ProgressReport:
    """How far the work is. With `publishing`, leave to publish is waited for.

    `work` names what runs, such as a separator; `left_s` is an estimate.
    """

    state: State
    segment: int
    segments: int
    work: str = ""
    left_s: float | None = None


@dataclass(frozen=True)
class PublishedReport:
    """The set is visible at its destination."""

    facts: SetFacts


@dataclass(frozen=True)
class InterruptedReport:
    """The work stopped as it was asked to, and can go on from its checkpoint."""


@dataclass(frozen=True)
class FailedReport:
    """The attempt came to nothing."""

    failure: Failure


Report = VerifiedReport | ProgressReport | PublishedReport | InterruptedReport | FailedReport


def report_line(report: Report) -> bytes:
    """A report as a line."""
    match report:
        case VerifiedReport():
            return _line(say="verified", **asdict(report.work))
        case ProgressReport():
            return _line(say="progress", **asdict(report))
        case PublishedReport():
            facts = report.facts.model_dump(mode="json", exclude_unset=True)
            return _line(say="published", facts=facts)
        case InterruptedReport():
            return _line(say="interrupted")
        case FailedReport():
            return _line(say="failed", **asdict(report.failure))


def report_of(line: bytes) -> Report:
    """The report that a line makes."""
    found = json.loads(line)
    match found.pop("say"):
        case "verified":
            return VerifiedReport(WorkFacts(**found))
        case "progress":
            return ProgressReport(**found | {"state": State(found["state"])})
        case "published":
            return PublishedReport(SetFacts.model_validate(found["facts"]))
        case "interrupted":
            return InterruptedReport()
        case "failed":
            return FailedReport(Failure(**found))
        case what:
            raise ValueError(f"no report {what!r} is known")


def _line(**fields: object) -> bytes:
    return json.dumps(fields).encode("ascii") + b"\n"
