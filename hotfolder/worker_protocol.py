"""What a worker pool and a worker process say to each other: a JSON object in ASCII, one a line.

The pool gives commands, which bear a `word`; the process sends events, in which it `say`s what has
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

# -- commands ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkCommand:
    """The first command of a job: decode a mix, and say what the work on it will be."""

    backend: str
    mix: Path
    preset: str
    workspace: Path
    plugin_folders: tuple[str, ...] | None
    settings: WorkerSettings


@dataclass(frozen=True)
class RenderCommand:
    """Make the set of the mix that was decoded."""

    destination: Path
    guard: PublishGuard


@dataclass(frozen=True)
class PublishCommand:
    """Leave to make the set visible."""


@dataclass(frozen=True)
class WithdrawCommand:
    """End without a set: somebody else has done the work, or it must wait."""


@dataclass(frozen=True)
class StopCommand:
    """Keep the segment that is at work, and end."""


Command = WorkCommand | RenderCommand | PublishCommand | WithdrawCommand | StopCommand
_BARE_COMMANDS: dict[str, Command] = {
    "publish": PublishCommand(),
    "withdraw": WithdrawCommand(),
    "stop": StopCommand(),
}


def work_command(
    job: Job, mix: Path, workspace: Path, settings: HotFolderSettings, backend: str
) -> WorkCommand:
    """The command for a job."""
    return WorkCommand(
        backend, mix, job.preset, workspace, settings.plugin_folders, settings.worker
    )


def encode_command(command: Command) -> bytes:
    """A command as a line."""
    match command:
        case WorkCommand():
            return _line(
                word="work",
                backend=command.backend,
                mix=str(command.mix),
                preset=command.preset,
                workspace=str(command.workspace),
                plugin_folders=command.plugin_folders,
                options=command.settings.model_dump(mode="json"),
            )
        case RenderCommand():
            return _line(
                word="render", destination=str(command.destination), guard=asdict(command.guard)
            )
        case _:
            return _line(word=next(word for word, o in _BARE_COMMANDS.items() if o == command))


def parse_command(line: str) -> Command:
    """The command that a line gives."""
    found = json.loads(line)
    match found["word"]:
        case "work":
            folders = found["plugin_folders"]
            return WorkCommand(
                backend=found["backend"],
                mix=Path(found["mix"]),
                preset=found["preset"],
                workspace=Path(found["workspace"]),
                plugin_folders=None if folders is None else tuple(folders),
                settings=WorkerSettings.model_validate(found["options"]),
            )
        case "render":
            return RenderCommand(Path(found["destination"]), PublishGuard.of(**found["guard"]))
        case word:
            return _BARE_COMMANDS[word]


# -- events --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VerifiedEvent:
    """The mix is decoded and whole; a command to render or to withdraw is waited for."""

    work: WorkFacts


@dataclass(frozen=True)
class ProgressEvent:
    """How far the work is. With `publishing`, leave to publish is waited for.

    `work` names what runs, such as a separator; `left_s` is an estimate.
    """

    state: State
    segment: int
    segments: int
    work: str = ""
    left_s: float | None = None


@dataclass(frozen=True)
class PublishedEvent:
    """The set is visible at its destination."""

    facts: SetFacts


@dataclass(frozen=True)
class InterruptedEvent:
    """The work stopped as it was asked to, and can go on from its checkpoint."""


@dataclass(frozen=True)
class FailedEvent:
    """The attempt came to nothing."""

    failure: Failure


Event = VerifiedEvent | ProgressEvent | PublishedEvent | InterruptedEvent | FailedEvent


def encode_event(event: Event) -> bytes:
    """An event as a line."""
    match event:
        case VerifiedEvent():
            return _line(say="verified", **asdict(event.work))
        case ProgressEvent():
            return _line(say="progress", **asdict(event))
        case PublishedEvent():
            facts = event.facts.model_dump(mode="json", exclude_unset=True)
            return _line(say="published", facts=facts)
        case InterruptedEvent():
            return _line(say="interrupted")
        case FailedEvent():
            return _line(say="failed", **asdict(event.failure))


def parse_event(line: bytes) -> Event:
    """The event that a line makes."""
    found = json.loads(line)
    match found.pop("say"):
        case "verified":
            return VerifiedEvent(WorkFacts(**found))
        case "progress":
            return ProgressEvent(**found | {"state": State(found["state"])})
        case "published":
            return PublishedEvent(SetFacts.model_validate(found["facts"]))
        case "interrupted":
            return InterruptedEvent()
        case "failed":
            return FailedEvent(Failure(**found))
        case what:
            raise ValueError(f"no event {what!r} is known")


def _line(**fields: object) -> bytes:
    return json.dumps(fields).encode("ascii") + b"\n"
