"""The child process in which one mix is worked on: `python -m hotfolder.worker_process`.

It gets one request as a JSON line on stdin and answers with JSON lines on stdout. Decoders,
plug-ins and priors may crash, hang or eat memory here; the daemon outlives them all. When stdin
closes, the parent is gone, and so is this process: nobody works on a job without its holder.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import shutil
import sys
import threading
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from presets import StemwrightError, load_preset

from .engine_protocol import load_engine, render_options
from .job_files import PublishGuard, why_kept_back
from .published import summary, work_key

if TYPE_CHECKING:
    from engine import DecodedMix, MixFacts, Progress, RenderOptions
    from presets import Preset

    from .engine_protocol import Engine

ORPHANED = 70
STATES_OF_STAGES = {
    "searching": "searching",
    "writing": "processing",
    "processing": "processing",
    "publishing": "publishing",
}


class Channel:
    """The two pipes to the parent. What libraries print goes to stderr instead."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="ascii")
        os.dup2(2, 1)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stop = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, word: str, **details: object) -> None:
        """Send one message."""
        self._out.write(json.dumps({"say": word, **details}) + "\n")
        self._out.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the next message."""
        return self._answers.get()

    def _listen(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if message["word"] == "stop":
                self.stop.set()
            self._answers.put(message)
        os._exit(ORPHANED)


def main() -> None:
    """Do one request and end; every outcome but a crash is told as a message."""
    _offer_to_be_killed_first()
    channel = Channel()
    request = channel.receive()
    try:
        _perform(request, channel)
    except Exception as error:
        channel.send("failed", **failure_of(error))


def failure_of(error: Exception) -> dict[str, Any]:
    """An exception as the fields of a `Failure`, which pass through any pipe."""
    if isinstance(error, StemwrightError):
        # the place was free when it was reserved: somebody else has published there meanwhile
        code = "output-taken" if error.code == "destination-exists" else error.code
        return {"code": code, "reason": error.sentence, "transient": error.transient}
    if isinstance(error, OSError):
        return _described(error)
    if isinstance(error, MemoryError):
        return {"code": "out-of-memory", "reason": "memory ran out.", "bug": True}
    if isinstance(error, ImportError | SyntaxError):  # an upgrade in progress
        return {"code": "program-broken", "reason": f"{error}.", "transient": True}
    log = "".join(traceback.format_exception(error))
    reason = f"{type(error).__name__}: {error}"
    return {"code": "internal-error", "reason": reason, "bug": True, "log": log}


def _perform(request: dict[str, Any], channel: Channel) -> None:
    engine = load_engine(request["backend"])
    preset = load_preset(request["preset"])
    refuse_foreign_plugins(preset, request["plugin_folders"])
    options = render_options(
        engine, request["options"], progress=_Reporter(channel), should_stop=channel.stop.is_set
    )
    samples = Path(request["workspace"]) / "decoded"
    try:
        mix = engine.decode_mix(Path(request["mix"]), samples)
        _render(engine, mix, preset, options, request["workspace"], channel)
    finally:
        shutil.rmtree(samples, ignore_errors=True)


def _render(
    engine: Engine,
    mix: DecodedMix,
    preset: Preset,
    options: RenderOptions,
    workspace: str,
    channel: Channel,
) -> None:
    """Say what was decoded, and render it when the parent gives a place for it."""
    facts = work_facts(engine, mix.facts, preset, options)
    channel.send("verified", **facts)
    answer = channel.receive()
    if answer["word"] != "render":
        return
    guard = partial(_insist, answer["guard"])
    guard()
    options = replace(options, guard=guard)
    options = _with_workspace(options, workspace, facts["key"])
    try:
        manifest = engine.render(mix, Path(answer["destination"]), preset, options)
    except engine.Interrupted:
        channel.send("interrupted")
        return
    channel.send("published", facts=summary(json.loads(manifest.to_json())))


def work_facts(
    engine: Engine, mix_facts: MixFacts, preset: Preset, options: RenderOptions
) -> dict[str, Any]:
    """What the work on a decoded mix will be."""
    info = mix_facts.info
    rate = engine.separators_rate(preset, options.separator_folders)
    separators_s = rate * info.frames / info.sample_rate
    key = work_key(
        mix_facts.sha256,
        preset.digest(),
        engine.prior_hashes(preset, options),
        engine.ENGINE_VERSION,
        preset.search.resolved(options.tier).as_json(),
        options.seed,
    )
    return {
        "sha256": mix_facts.sha256,
        "key": key,
        "frames": info.frames,
        "channels": info.channels,
        "sample_rate": info.sample_rate,
        "file_count": (len(preset.stems) + 1) * (2 if preset.has_wet else 1),
        "file_bytes": _bytes_of_a_sample(preset.output.depth, info.bits),
        # pieces of a recipe lie in the workspace as 64-bit floats until all is written
        "stem_count": len(preset.stems) + 2 * len(preset.pieces),
    } | ({"separators_s": round(separators_s, 1)} if separators_s else {})


def _bytes_of_a_sample(depth: str | int, source_bits: int) -> int:
    """As it is written to a stem's file; a lossy mix, which has no bits, counts as 32."""
    if depth == "source":
        depth = source_bits or 32
    return -(-int(str(depth).removeprefix("float")) // 8)


def _insist(guard: PublishGuard) -> None:
    if reason := why_kept_back(guard):
        raise StemwrightError("folder-lost", reason, transient=True)


def _with_workspace(options: RenderOptions, workspace: str, key: str) -> RenderOptions:
    """Checkpoints are kept by the work's key: a changed preset never continues an old search."""
    folder = Path(workspace) / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return replace(options, workspace=folder)


class _Reporter:
    """Passes progress on. At the last step it waits for leave: the holder may have changed."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asked = False

    def __call__(self, progress: Progress) -> None:
        state = STATES_OF_STAGES.get(progress.stage)
        if state is None:
            return
        self._channel.send(
            "progress",
            state=state,
            segment=progress.segment,
            segments=progress.segments,
            work=progress.work,
            left_s=progress.left_s,
        )
        if state == "publishing" and not self._asked:
            self._asked = True
            while (word := self._channel.receive()["word"]) != "publish":
                if word == "withdraw":
                    os._exit(0)


def refuse_foreign_plugins(preset: Preset, folders: list[str] | None) -> None:
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


def _described(error: OSError) -> dict[str, Any]:
    what = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return {
        "code": "disk-full" if full else "system-error",
        "reason": f"{what}.",
        "errno": error.errno,
        "log": "".join(traceback.format_exception(error)),
        "transient": True,
    }


def _offer_to_be_killed_first() -> None:
    """When memory runs out, Linux is to end this process and not the daemon."""
    adjustment = Path("/proc/self/oom_score_adj")
    if adjustment.exists():
        adjustment.write_text("500")


if __name__ == "__main__":
    main()
