"""The child process in which one mix is worked on: `python -m hotfolder.worker_process`.

It takes commands on stdin and sends events on stdout (`worker_protocol`). Decoders, plug-ins and
priors may crash, hang or eat memory here; the daemon outlives them all. When stdin closes, the
parent is gone, and so is this process: nobody works on a job without its holder.

Behind a published set it waits for another mix, imports done and sessions open, until its parent
ends it. Behind anything else it ends by itself: nobody knows what a failure has left in memory.
"""

from __future__ import annotations

import errno
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from presets import StemwrightError, load_preset, unplaced

from .engine_protocol import load_engine, render_options
from .facts import SetFacts, WorkFacts
from .failures import Failure, failure_from
from .job import State
from .kept_renderer import KeptRenderer
from .publish_guard import PublishGuard
from .published import work_key
from .worker_protocol import (
    Command,
    Event,
    FailedEvent,
    InterruptedEvent,
    ProgressEvent,
    PublishCommand,
    PublishedEvent,
    RenderCommand,
    StopCommand,
    VerifiedEvent,
    WithdrawCommand,
    WorkCommand,
    encode_event,
    parse_command,
)

if TYPE_CHECKING:
    from engine import Manifest, MixFacts, Progress, RenderOptions
    from presets import Preset

    from .engine_protocol import Engine

ORPHANED = 70
PROGRESS_EVERY_S = 0.2
STATES_OF_STAGES = {
    "searching": State.SEARCHING,
    "writing": State.PROCESSING,
    "processing": State.PROCESSING,
    "publishing": State.PUBLISHING,
}


class Channel:
    """The two pipes to the parent. What libraries print goes to stderr instead."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._commands: queue.Queue[Command] = queue.Queue()
        self.stop = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, event: Event) -> None:
        """Send one event."""
        self._out.write(encode_event(event))
        self._out.flush()

    def receive(self) -> Command:
        """Wait for the next command."""
        return self._commands.get()

    def _listen(self) -> None:
        for line in sys.stdin:
            try:
                command = parse_command(line)
            except Exception as error:  # the daemon is of another version than this process
                reason = f"a command was not understood ({error}). Start the daemon again."
                self.send(FailedEvent(Failure("program-broken", reason, transient=True)))
                break
            if isinstance(command, StopCommand):  # no answer that anybody waits for
                self.stop.set()
            else:
                self._commands.put(command)
        os._exit(ORPHANED)


def main() -> None:
    """Do one job after another; every outcome but a crash is told as an event."""
    _offer_to_be_killed_first()
    channel, kept = Channel(), KeptRenderer()
    while True:
        command = channel.receive()
        assert isinstance(command, WorkCommand)
        try:
            outcome = _perform(command, channel, kept)
        except Exception as error:
            outcome = FailedEvent(failure_of(error, command.mix))
        if outcome is not None:
            channel.send(outcome)
        if not isinstance(outcome, PublishedEvent):
            return


def failure_of(error: Exception, mix: Path) -> Failure:
    """An exception of the work on a mix as a failure; its reason does not repeat the mix's name,
    because the path, which says more, stands wherever a reason does."""
    if isinstance(error, StemwrightError):
        # the place was free when it was reserved: somebody else has published there meanwhile
        code = "output-taken" if error.code == "destination-exists" else error.code
        return Failure(code, unplaced(mix, error.sentence), error.transient)
    if isinstance(error, OSError):
        return _system_failure(error)
    if isinstance(error, MemoryError):
        return Failure("out-of-memory", "memory ran out.", bug=True)
    if isinstance(error, ImportError | SyntaxError):  # an upgrade in progress
        return Failure("program-broken", f"{error}.", transient=True)
    return failure_from(error)


def _perform(command: WorkCommand, channel: Channel, kept: KeptRenderer) -> Event | None:
    """Work on a mix; what became of it, nothing where it was to be withdrawn."""
    engine = load_engine(command.backend)
    preset = load_preset(command.preset)
    refuse_foreign_plugins(preset, command.plugin_folders)
    options = render_options(engine, command.settings, _Reporter(channel), channel.stop.is_set)
    samples = command.workspace / "decoded"
    try:
        mix = engine.decode_mix(command.mix, samples)
        hashes = engine.prior_hashes(preset, options)
        work = work_facts(engine, mix.facts, preset, options, hashes)
        channel.send(VerifiedEvent(work))
        answer = channel.receive()
        if not isinstance(answer, RenderCommand):
            return None
        guard = partial(_insist, answer.guard)
        guard()
        options = replace(
            options, guard=guard, workspace=_checkpoints(command.workspace, work.key)
        )
        renderer = kept.of(engine, preset, hashes, options)
        return PublishedEvent(facts_of_set(renderer.render(mix, answer.destination)))
    except engine.Interrupted:
        return InterruptedEvent()
    finally:
        shutil.rmtree(samples, ignore_errors=True)


def work_facts(
    engine: Engine,
    mix_facts: MixFacts,
    preset: Preset,
    options: RenderOptions,
    hashes: dict[str, str],
) -> WorkFacts:
    """What the work on a decoded mix will be; `hashes` are those of the preset's priors."""
    info = mix_facts.info
    rate = engine.separators_rate(preset, options.separator_folders)
    separators_s = rate * info.frames / info.sample_rate
    key = work_key(
        mix_facts.sha256,
        preset.digest(),
        hashes | engine.pitch_hashes(preset, info.path, engine.pitches_heard_by(preset)),
        engine.ENGINE_VERSION,
        preset.search.resolved(options.tier).as_json(),
        options.seed,
    )
    return WorkFacts(
        sha256=mix_facts.sha256,
        key=key,
        frames=info.frames,
        channels=info.channels,
        sample_rate=info.sample_rate,
        file_count=(len(preset.stems) + 1) * (2 if preset.has_wet else 1),
        file_bytes=_bytes_of_a_sample(preset.output.depth, info.bits),
        # pieces of a recipe lie in the workspace as 64-bit floats until all is written
        stem_count=len(preset.stems) + 2 * len(preset.sources.pieces),
        separators_s=round(separators_s, 1),
    )


def facts_of_set(manifest: Manifest) -> SetFacts:
    """What the journal keeps of a set that was just published."""
    return SetFacts.model_validate_json(manifest.to_json())


def _bytes_of_a_sample(depth: str | int, source_bits: int) -> int:
    """As it is written to a stem's file; a lossy mix, which has no bits, counts as 32."""
    if depth == "source":
        depth = source_bits or 32
    return -(-int(str(depth).removeprefix("float")) // 8)


def _insist(guard: PublishGuard) -> None:
    if reason := guard.why_kept_back():
        raise StemwrightError("folder-lost", reason, transient=True)


def _checkpoints(workspace: Path, key: str) -> Path:
    """Checkpoints are kept by the work's key: a changed preset never continues an old search."""
    folder = workspace / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Reporter:
    """Passes progress on. At the last step it waits for leave: the holder may have changed.

    A draft passes forty segments a second, and whoever hears of one syncs it to disk: of those
    that are news only by their number, the last one is told and others now and then.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asked = False
        self._said: tuple[str, str] | None = None
        self._said_at_s = 0.0

    def __call__(self, progress: Progress) -> None:
        state = STATES_OF_STAGES.get(progress.stage)
        if state is None or not self._is_news(progress):
            return
        self._channel.send(
            ProgressEvent(
                state, progress.segment, progress.segments, progress.work, progress.left_s
            )
        )
        if state == State.PUBLISHING and not self._asked:
            self._asked = True
            while not isinstance(command := self._channel.receive(), PublishCommand):
                if isinstance(command, WithdrawCommand):
                    os._exit(0)

    def _is_news(self, progress: Progress) -> bool:
        step, now_s = (progress.stage, progress.work), time.monotonic()
        is_last = progress.segment == progress.segments > 0
        if step == self._said and not is_last and now_s - self._said_at_s < PROGRESS_EVERY_S:
            return False
        self._said, self._said_at_s = step, now_s
        return True


def refuse_foreign_plugins(preset: Preset, folders: Sequence[str] | None) -> None:
    """A preset may name plug-ins in the allowed folders only; `None` allows all that exist."""
    steps = [(place, step) for place, step in preset.steps() if hasattr(step, "plugin")]
    if folders is None or not steps:
        return
    from engine import PluginCatalogue

    catalogue = PluginCatalogue()
    allowed = [Path(folder).resolve() for folder in folders]
    for place, step in steps:
        plugin = catalogue.find(step.plugin).resolve()
        if not any(plugin.is_relative_to(folder) for folder in allowed):
            raise StemwrightError(
                "plugin-not-allowed",
                f"{place}: plug-in {plugin} lies in none of the hot folder's plugin_folders. Add "
                "its folder there, or name another plug-in.",
            )


def _system_failure(error: OSError) -> Failure:
    what = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return Failure(
        code="disk-full" if full else "system-error",
        reason=f"{what}.",
        transient=True,
        errno=error.errno,
        log="".join(traceback.format_exception(error)),
    )


def _offer_to_be_killed_first() -> None:
    """When memory runs out, Linux is to end this process and not the daemon."""
    adjustment = Path("/proc/self/oom_score_adj")
    if adjustment.exists():
        adjustment.write_text("500")


if __name__ == "__main__":
    main()
