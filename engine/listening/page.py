"""Writes `report.html` and its previews into a set's folder: one page to listen to the set.

The page opens from the disk. Browsers refuse such pages to fetch files, and what an audio
element plays from the disk reaches Web Audio as silence; scripts are loaded all the same. So
everything is in the page itself, but for the previews: these lie in `report/`, a script for each
lane and 20 seconds, and are loaded when they are played.
"""

from __future__ import annotations

import base64
import html
import json
import secrets
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from presets import PreviewDetail

from ..evaluation.heat_map import png
from ..evaluation.voice_picture import PICTURE_NAME, VOICES_FOLDER
from ..stems.manifest import Manifest, load_manifest, refuse_another_mix
from ..version import ENGINE_VERSION
from ..voices.sources import notes_on, summary_of
from .lanes import Lane, LaneFacts, lanes_of
from .passages import Found, worst_passages
from .previews import (
    BLOCK_S,
    QUALITIES,
    Previews,
    peaks_text,
    picture_levels,
    probe,
    write_previews,
)

PAGE_NAME, FOLDER_NAME = "report.html", "report"


class LaneData(LaneFacts):
    """One lane as page.js reads it: peaks and the picture as text."""

    key: str
    stem: str
    kind: str
    colour: str
    peaks: str
    columns: int
    picture: str


class PassageData(TypedDict):
    """A passage to listen to, in seconds."""

    start: float
    end: float
    stem: str
    why: str


class PitchData(TypedDict):
    """The pitches that voices were taken apart with: one line, remarks, and the picture."""

    summary: str
    notes: list[str]
    picture: str


class PageData(TypedDict):
    """All that page.js, view.js and player.js know of a set; `block` counts samples."""

    title: str
    program: str
    mix: dict[str, object]
    preset: str
    tier: str
    seconds: float
    null_dbfs: float | None
    rate: int
    channels: int
    frames: int
    block: int
    gain: float
    spent: dict[str, float]
    folder: str
    probe: str
    lanes: list[LaneData]
    passages: list[PassageData]
    pitches: PitchData | None


def write_report(folder: Path, quality: PreviewDetail = "light", mix: Path | None = None) -> Path:
    """Write the page of the set in `folder` (or of its manifest) and return its path.

    `mix` is the file that the set was made of, another one is refused by its hash; without it the
    mix lane is the sum of the dry stems. A page that was there is replaced when the new one is
    complete.
    """
    folder = folder.parent if folder.is_file() else folder
    manifest = load_manifest(folder)
    if mix is not None:
        refuse_another_mix(mix, manifest)
    lanes = lanes_of(folder, manifest, mix)
    mark = secrets.token_hex(4)
    aside = folder / f".{FOLDER_NAME}-{mark}"
    aside.mkdir()
    try:
        rate = manifest.input.sample_rate
        previews = write_previews(lanes, aside, QUALITIES[quality], rate)
        page = _page(folder, manifest, lanes, previews)
        new_page = folder / f".{PAGE_NAME}-{mark}"
        new_page.write_text(page, encoding="utf-8")
        if (folder / FOLDER_NAME).exists():
            shutil.rmtree(folder / FOLDER_NAME)
        aside.rename(folder / FOLDER_NAME)
        new_page.replace(folder / PAGE_NAME)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        (folder / f".{PAGE_NAME}-{mark}").unlink(missing_ok=True)
    return folder / PAGE_NAME


def _page(folder: Path, manifest: Manifest, lanes: list[Lane], previews: Previews) -> str:
    assets = files(__package__).joinpath("assets")
    template = assets.joinpath("page.html").read_text(encoding="utf-8")
    pieces = {
        "TITLE": html.escape(manifest.title),
        "STYLE": assets.joinpath("page.css").read_text(encoding="utf-8"),
        "DATA": script_json(_data(folder, manifest, lanes, previews)),
        "SCRIPT": "".join(
            assets.joinpath(name).read_text(encoding="utf-8")
            for name in ("player.js", "view.js", "page.js")
        ),
    }
    for name, text in pieces.items():
        template = template.replace(f"@@{name}@@", text, 1)
    return template


def script_json(data: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """JSON that can stand inside a script element: no tag, no comment, no line separator."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(folder: Path, manifest: Manifest, lanes: list[Lane], previews: Previews) -> PageData:
    source = manifest.input
    found = worst_passages(manifest, lanes, previews)
    full = max(1.0, *(heard.peak for heard in previews.heard.values()))
    return {
        "title": manifest.title,
        "program": f"Stemwright {ENGINE_VERSION}",
        "mix": source.model_dump(exclude={"loudness"}),
        "preset": manifest.preset.get("name", ""),
        "tier": manifest.search.get("tier", ""),
        "seconds": source.frames / source.sample_rate,
        "null_dbfs": manifest.null_dbfs,
        "rate": previews.rate,
        "channels": previews.channels,
        "frames": previews.frames,
        "block": previews.rate * BLOCK_S,
        "gain": 2.0**previews.shift,
        "spent": manifest.seconds,
        "folder": FOLDER_NAME,
        "probe": probe(previews.rate),
        "lanes": [_lane(lane, previews, full) for lane in lanes],
        "passages": [_passage(passage) for passage in found],
        "pitches": _pitches(folder, manifest),
    }


def _pitches(folder: Path, manifest: Manifest) -> PitchData | None:
    """What the set knows of its voices' pitches; None where it has no voices."""
    picture = folder / VOICES_FOLDER / PICTURE_NAME
    if manifest.voices is None or not picture.is_file():
        return None
    pitches = manifest.voices["pitches"]
    return {
        "summary": summary_of(pitches),
        "notes": notes_on(pitches),
        "picture": _address(picture.read_bytes()),
    }


def _lane(lane: Lane, previews: Previews, full: float) -> LaneData:
    heard = previews.heard[lane.key]
    return {
        "key": lane.key,
        "stem": lane.stem,
        "kind": lane.kind,
        "colour": lane.colour,
        "peaks": peaks_text(heard, full),
        "columns": len(heard.peaks),
        "picture": _picture(lane, previews),
        **lane.facts,
    }


def _picture(lane: Lane, previews: Previews) -> str:
    """The spectrogram as a PNG in a data address, from black over the lane's colour to white."""
    levels = picture_levels(previews.heard[lane.key], previews.rate)[..., None] / 255.0
    colour = np.array([int(lane.colour[at : at + 2], 16) for at in (1, 3, 5)])
    pixels = np.where(
        levels < 0.7, colour * levels / 0.7, colour + (255 - colour) * (levels - 0.7) / 0.3
    )
    return _address(png(pixels.astype(np.uint8)))


def _address(picture: bytes) -> str:
    """A PNG as a data address."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"


def _passage(passage: Found) -> PassageData:
    return {
        "start": passage.start_s,
        "end": passage.end_s,
        "stem": passage.stem,
        "why": passage.why,
    }
