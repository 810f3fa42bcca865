"""The voices of a preset at work in a render: which pitches, which network, what is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .audio.reading import SourceInfo
from .evaluation.voice_picture import PICTURE_NAME, VOICES_FOLDER, write_picture
from .model.bundle import read_card
from .model.sessions import Device
from .model.two_passes import Separation
from .options import RenderOptions
from .voices.fitting import why_not_fit
from .voices.network import KIND, find_network
from .voices.pitch_files import pitches_json
from .voices.separation import VoicesAlone, VoiceSeparation, VoicesInside
from .voices.sources import PitchRequest, beside

if TYPE_CHECKING:
    from presets import Preset

Report = TypeVar("Report")

TRACKS_NAME = "pitches.f0.json"
BESIDE_VOICES = tuple(f"{VOICES_FOLDER}/{name}" for name in (TRACKS_NAME, PICTURE_NAME))


def voices_of(preset: Preset, options: RenderOptions, device: Device) -> VoiceSeparation | None:
    """The open network of a preset's voices; None where it has none.

    Raises StemwrightError for a bundle that is not there or no network, and where a network is to
    be fitted and torch is missing.
    """
    voices = preset.voices
    if voices is None:
        return None
    if voices.fit_minutes and (problem := why_not_fit()):
        raise problem
    return VoiceSeparation(
        voices.parts,
        network_path(preset, options),
        device,
        lambda info: pitch_request(preset, options, info),
        fit_minutes=voices.fit_minutes,
        seed=options.seed,
    )


def with_voices(
    voices: VoiceSeparation, preset: Preset, outer: Separation[Report] | None, nothing: Report
) -> VoicesAlone[Report] | VoicesInside[Report]:
    """Voices of the mix, or of one of the stems that `outer` finds."""
    of = preset.voices.of if preset.voices else None
    if outer is None or of is None:
        return VoicesAlone(voices, nothing)
    return VoicesInside(voices, outer, of)


def network_path(preset: Preset, options: RenderOptions) -> Path:
    """The bundle that a preset's voices name."""
    assert preset.voices is not None
    return find_network(preset.voices.network, options.prior_folders)


def network_hashes(preset: Preset, options: RenderOptions) -> dict[str, str]:
    """sha256 of the network's bundle, as `prior_hashes` names it; empty without voices."""
    if preset.voices is None:
        return {}
    return {"voices": read_card(network_path(preset, options), KIND)[2]}


def pitch_request(preset: Preset, options: RenderOptions, info: SourceInfo) -> PitchRequest:
    """What tells the pitches of a mix: what was given, else what lies beside the mix."""
    assert preset.voices is not None
    voices = preset.voices
    if options.score is not None or options.pitch_files:
        return PitchRequest(voices.parts, options.score, options.pitch_files, voices.pitches)
    if info.container == "array":  # it lies nowhere
        return PitchRequest(voices.parts, method=voices.pitches)
    return beside(info.path, voices.parts, voices.pitches)


def pitches_heard_by(preset: Preset) -> str | None:
    """sha256 of the network or graph that hears the pitches of a mix with nothing beside it; None
    where a preset has no voices or insists on a score. Raises StemwrightError where it is missing.
    """
    if preset.voices is None:
        return None
    return PitchRequest(preset.voices.parts, method=preset.voices.pitches).heard_by()


def pitch_hashes(preset: Preset, mix: Path, heard_by: str | None) -> dict[str, str]:
    """sha256 of what tells a mix's pitches, as keys of work name it: the files beside it, else
    what hears them (`pitches_heard_by`, which is the same for every mix of a preset)."""
    if preset.voices is None:
        return {}
    request = beside(mix, preset.voices.parts, preset.voices.pitches)
    return pitch_sources(request.hashes(), heard_by if request.is_heard else None)


def pitch_sources(files: Mapping[str, str], heard_by: str | None) -> dict[str, str]:
    """sha256 of files, whose names do not matter, and of what hears pitches, as a key has them."""
    numbered = {f"pitches:{n}": sha256 for n, sha256 in enumerate(sorted(files.values()))}
    return numbered | ({"pitches": heard_by} if heard_by else {})


def write_tracks(voices: VoiceSeparation, folder: Path) -> None:
    """Write the tracks, as `--f0` takes them, and their picture into a set."""
    assert voices.used is not None
    place = folder / VOICES_FOLDER
    place.mkdir()
    (place / TRACKS_NAME).write_text(pitches_json(voices.used.tracks), "utf-8")
    write_picture(place / PICTURE_NAME, voices.used.mono, voices.used.tracks)
