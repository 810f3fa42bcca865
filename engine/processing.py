"""The chain alone: stems from anywhere through a preset's chains, once or at every save."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from presets import RESIDUAL, Preset, StemwrightError, load_preset, name_text

from .audio.metadata import naming_fields
from .audio.reading import probe
from .audio.tags import read_tags
from .plugins.rack import PluginRack
from .stems.float_grid import ROUNDING
from .stems.manifest import Levels
from .stems.naming import NameTemplate
from .stems.publish import publishing
from .stems.wet import WetReport, process_set
from .version import ENGINE_VERSION

REPORT_NAME = "processing.json"


def assign_stems(files: Sequence[str], preset: Preset) -> dict[str, Path]:
    """Which stem each file is: `drums=FILE`, or told by a word of the file's name."""
    assigned: dict[str, Path] = {}
    for argument in files:
        name, separator, rest = argument.partition("=")
        if separator and name in (*preset.stems, RESIDUAL) and not Path(argument).exists():
            path = Path(rest)
        else:
            path = Path(argument)
            name = _stem_in_name(path, preset)
        if name in assigned:
            raise StemwrightError(
                "stem-ambiguous", f"{assigned[name].name} and {path.name} would both be {name}."
            )
        assigned[name] = path
    return assigned


def process_stems(
    stems: Mapping[str, Path],
    preset: Preset,
    destination: Path,
    rack: PluginRack,
    *,
    replace: bool = False,
    seed: int = 0,
) -> WetReport:
    """Write the wet set of these stems, and what was done, as a new folder.

    With `replace` a folder that this function wrote before is exchanged for the new one.
    """
    for path in stems.values():
        probe(path)  # a missing or broken stem is told before anything is made
    target = destination
    if replace and destination.exists():
        if not (destination / REPORT_NAME).is_file():
            raise StemwrightError(
                "destination-exists",
                f"{destination} holds something else than processed stems. Choose another folder.",
            )
        target = destination.with_name(f".{destination.name}.next-{secrets.token_hex(4)}")
    with publishing(target) as folder:
        naming = NameTemplate(preset.naming.template, _fields(stems, preset), preset.naming.ascii)
        report = process_set(
            stems, folder, preset, naming, rack=rack, workspace=folder.parent, seed=seed
        )
        text = json.dumps(_report(stems, preset, report, seed), indent=1)
        (folder / REPORT_NAME).write_text(text + "\n", "utf-8")
    if target != destination:
        _exchange(target, destination)
    return report


def saved_presets(
    name_or_path: str | Path, wait: Callable[[], bool]
) -> Iterator[Preset | StemwrightError]:
    """The preset now and after every save that changes it, or why it cannot be used.

    `wait` sleeps until it is time to look again; False ends. What the preset extends and the
    files that it names count too, because the digest is what is compared.
    """
    last = ""
    while True:
        found: Preset | StemwrightError
        try:
            found = load_preset(name_or_path)
            now = found.digest()
        except StemwrightError as error:
            found, now = error, str(error)
        except OSError:  # an editor is just putting the file in its place
            now = last
        if now != last:
            last = now
            yield found
        if not wait():
            return


def _stem_in_name(path: Path, preset: Preset) -> str:
    """The stem whose name is a word of the file's name; the last word counts first."""
    words = re.split(r"[^a-z0-9]+", path.stem.lower())
    names = {re.sub(r"[^a-z0-9]+", "", name): name for name in (*preset.stems, RESIDUAL, ROUNDING)}
    for start in reversed(range(len(words))):
        for end in range(len(words), start, -1):
            if (joined := "".join(words[start:end])) in names:
                return names[joined]
    first = next(iter(preset.stems))
    raise StemwrightError(
        "stem-unknown",
        f"{path.name}: its name tells none of {', '.join(preset.stems)}. Write, for example, "
        f"{first}={path.name}.",
    )


def _fields(stems: Mapping[str, Path], preset: Preset) -> dict[str, str]:
    """The name fields: a title without the word that said which stem it is."""
    name, path = next(iter(stems.items()))
    fields = naming_fields(path, read_tags(path))
    if fields["title"] == (title := name_text(path.stem)):
        bare = re.sub(rf"[\s_.-]*{re.escape(name)}[\s_.-]*$", "", title, flags=re.I)
        fields["title"] = bare
    return {**fields, "preset": preset.name, "rev": str(preset.naming.revision)}


def _report(
    stems: Mapping[str, Path], preset: Preset, report: WetReport, seed: int
) -> dict[str, object]:
    """What was done, for `processing.json`."""
    return {
        "engine": ENGINE_VERSION,
        "preset": preset.name,
        "preset_sha256": preset.digest(),
        "seed": seed,
        "sources": {name: path.name for name, path in stems.items()},
        "chains": report.chains,
        "sum_loudness": Levels.of(report.sum_loudness).model_dump(),
        "files": [
            {
                "stem": file.stem,
                "path": file.name,
                "sha256": file.sha256,
                "frames": file.frames,
                "loudness": Levels.of(file.loudness).model_dump(),
            }
            for file in report.files
        ],
    }


def _exchange(new: Path, old: Path) -> None:
    """Put one folder in the place of another; no name is ever half written."""
    away = old.with_name(f".{old.name}.old-{secrets.token_hex(4)}")
    old.rename(away)
    new.rename(old)
    shutil.rmtree(away, ignore_errors=True)
