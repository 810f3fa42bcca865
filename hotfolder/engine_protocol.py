"""What the hot folder, the batch and the cluster ask of the engine, and how they ask for it.

The engine is a module: the real one, or in tests a toy with the same door. It is named by a string
because the name goes to child processes and to other machines; here it gets its types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from engine import DecodedMix, MixFacts, Progress, Renderer
    from engine import RenderOptions as Options
    from presets import Preset

    from .settings import WorkerSettings


class Engine(Protocol):
    """The names behind the engine's door that are used here."""

    ENGINE_VERSION: str
    Interrupted: type[Exception]
    Renderer: type[Renderer]
    RenderOptions: type[Options]

    def decode_mix(self, path: Path, folder: Path, /) -> DecodedMix:
        """Decode and verify a mix once; its samples stay in `folder`."""

    def verify_mix(self, path: Path, /) -> MixFacts:
        """Decode and verify a mix, and keep nothing."""

    def prior_hashes(self, preset: Preset, options: Options, /) -> dict[str, str]:
        """sha256 of the bundle of every stem."""

    def cards_in_use(self, preset: Preset, options: Options, /) -> tuple[object, ...]:
        """What the cards of a preset say, to compare; refuses one that may not be used."""

    def pitches_heard_by(self, preset: Preset, /) -> str | None:
        """sha256 of what hears the pitches of voices where nothing beside a mix tells them."""

    def pitch_hashes(self, preset: Preset, mix: Path, heard_by: str | None, /) -> dict[str, str]:
        """sha256 of what tells the pitches of a mix's voices: what lies beside it, else that."""

    def separators_rate(self, preset: Preset, folders: Sequence[Path], /) -> float:
        """Seconds that separators take for each second of audio, by their checks."""


def load_engine(name: str) -> Engine:
    """The engine of that name."""
    return cast(Engine, import_module(name))


def render_options(
    engine: Engine,
    worker: WorkerSettings,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Options:
    """The options of a render by a worker's settings, and what only this process can give."""
    return engine.RenderOptions(
        device=worker.device,
        strict_device=worker.strict_device,
        seed=worker.seed,
        tier=worker.tier,
        threads=worker.threads,
        prior_folders=tuple(map(Path, worker.prior_folders)),
        separator_folders=tuple(map(Path, worker.separator_folders)),
        unchecked_separators=worker.unchecked_separators,
        commercial_only=worker.commercial_only,
        deadline_s=worker.deadline_s,
        progress=progress,
        should_stop=should_stop,
    )
