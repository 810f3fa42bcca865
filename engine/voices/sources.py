"""Where the pitches of a mix come from, in the order of trust, and what is known of them.

A score of the parts comes first, then tables that somebody has made, then a tracker. What a score
says is checked against the recording: one of another song is refused and never guessed around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError, printable, sha256_of

from ..model.bundle import read_card
from .alignment import Alignment, align
from .basic_pitch import PACKAGE, need_graph, strengths_by_graph
from .endings import BESIDE_ENDINGS, SCORE_ENDINGS
from .pitch_files import read_pitch_files
from .pitch_network import PITCH_KIND, SHIPPED_PITCHES, PitchNetwork
from .pitches import PitchTracks
from .refining import refine, stand_out
from .report import PitchReport, SungPart
from .retuning import retune
from .salience import FRAME_S, PITCH_STRIDE, RATE, PitchFrames
from .score import VoiceScore, read_score
from .tracker import Coarse, TrackerSettings, assign, track

Float = NDArray[np.float32]

LEAST_MARGIN = 0.25  # a score agrees better than by chance; of 12 wrong songs the best had 0.06
SCORE_SLACK_CENTS = 80.0  # singers drift, and tune to each other
SCORE_SLACK_FRAMES = 4  # 64 ms: notes begin before or after the beat
TRACKER_SLACK_CENTS = 40.0
GRAPH_SETTINGS = TrackerSettings(  # Basic Pitch is less sure of all that it says
    floor=0.5, reward=0.6, leap=0.035, most_leap=1.6, enter=1.2, register=0.05
)
LITTLE_AGREEMENT = 0.25  # of tables: below, the report warns
UNISON_CENTS = 35.0
_CHANGES_S = 0.5  # unisons and crossings that last longer are told


@dataclass(frozen=True)
class PitchRequest:
    """What was asked for.

    parts -- the voices, from the highest down where their names do not say
    score, files -- a MIDI file; tables of pitches, as `read_pitch_files` takes them
    method -- `auto`: score, else files, else the tracker; `score` insists on one
    """

    parts: tuple[str, ...]
    score: Path | None = None
    files: tuple[str, ...] = ()
    method: str = "auto"

    @property
    def from_score(self) -> Path | None:
        """The score that is followed, if one is."""
        return self.score if self.method in ("auto", "score") else None

    @property
    def from_files(self) -> tuple[str, ...]:
        """The tables that are read: only where no score is."""
        return self.files if self.method == "auto" and self.score is None else ()

    def sources(self) -> tuple[Path, ...]:
        """Every file that the pitches depend on."""
        named = [
            text.partition("=")[2] if "=" in text and not Path(text).exists() else text
            for text in self.from_files
        ]
        return (*([self.from_score] if self.from_score else []), *map(Path, named))

    @property
    def is_heard(self) -> bool:
        """Whether the audio alone tells the pitches, by a network or a graph."""
        return self.method != "score" and self.from_score is None and not self.from_files

    def heard_by(self) -> str | None:
        """sha256 of what hears the pitches in the audio; None where something else tells them."""
        if not self.is_heard:
            return None
        if self.method == PACKAGE:
            return need_graph()[1]
        return read_card(SHIPPED_PITCHES, PITCH_KIND)[2]

    def hashes(self) -> dict[str, str]:
        """sha256 of these files by their names."""
        try:
            return {path.name: sha256_of(path) for path in self.sources()}
        except OSError as error:
            raise StemwrightError(
                "voices-f0", f"{printable(error.filename)}: {error.strerror}."
            ) from error


@dataclass(frozen=True)
class FoundPitches:
    """Tracks, and what the manifest says of them in JSON."""

    tracks: PitchTracks
    report: PitchReport = field(default_factory=PitchReport)


def beside(mix: Path, parts: Sequence[str], method: str = "auto") -> PitchRequest:
    """What lies beside a mix and is called like it (see BESIDE_ENDINGS)."""
    spelt = (spelling for end in BESIDE_ENDINGS for spelling in (end, end.upper()))
    named = (mix.with_name(mix.stem + ending) for ending in spelt)
    there = [path for path in named if path.is_file()]
    score = next((path for path in there if path.suffix.lower() in SCORE_ENDINGS), None)
    tables = tuple(str(path) for path in there if path.suffix.lower() not in SCORE_ENDINGS)[:1]
    return PitchRequest(tuple(parts), score, tables, method)


def find_pitches(
    mono: Float, request: PitchRequest, tick: Callable[[], None] = lambda: None
) -> FoundPitches:
    """Find the pitches of all parts in (samples,) at RATE.

    Raises StemwrightError for a score of another song, for fewer parts than were asked for, and
    for files that are no pitches. `tick` is called now and then and may raise.
    """
    if request.method == "score" and request.score is None:
        raise StemwrightError(
            "voices-score-missing",
            "the preset asks for pitches by a score, and none is there. Give it with --midi, put "
            f"it beside the mix with the ending {SCORE_ENDINGS[0]}, or set pitches: auto.",
        )
    frames = PitchFrames(mono)
    tick()
    report = PitchReport(files=request.hashes())
    network = None
    if request.is_heard and request.method == PACKAGE:
        report["graph_sha256"] = need_graph()[1]
    elif request.is_heard:
        network = PitchNetwork.load()
        report["tracked_by"] = network.described
    if not frames.level.max() > 1e-5:
        silent = np.zeros((len(request.parts), len(frames)), np.float32)
        found = PitchTracks(request.parts, silent, FRAME_S, silent + 1, "silence")
        report["notes"] = ["nothing is heard in the mix"]
    elif request.from_score is not None:
        found, more = _by_score(frames, request.from_score, request.parts, tick)
        report |= more
    elif request.from_files:
        found, more = _by_files(frames, request)
        report |= more
    elif network is not None:
        found = tracked(frames, request.parts, network, tick)
    else:
        found = _by_graph(mono, frames, request.parts, tick)
    return FoundPitches(found, {"origin": found.origin, **report, **_singing(found)})


def _by_score(
    frames: PitchFrames, path: Path, parts: Sequence[str], tick: Callable[[], None]
) -> tuple[PitchTracks, PitchReport]:
    score = read_score(path, parts)
    fit = align(frames, score)
    tick()
    if fit.margin < LEAST_MARGIN:
        raise StemwrightError(
            "voices-score-disagrees",
            f"{printable(path.name)}: no agreement with the audio ({fit.agreement:.2f}; in other "
            f"keys, by chance, {fit.chance:.2f}). Is it of another song or another "
            "arrangement? Give the right one, or none: then the pitches are tracked.",
        )
    near = _sung_by(score, fit, len(frames))
    best = refine(frames, near, SCORE_SLACK_CENTS, SCORE_SLACK_FRAMES)
    tracks = PitchTracks(tuple(parts), best.hertz, FRAME_S, best.confidence, "midi")
    notes = []
    if fit.transposition:
        notes.append(f"the singers are {fit.transposition:+d} semitones off the score")
    report: PitchReport = {
        "matched_by": score.matched_by,
        "offset_s": round(fit.offset_s, 3),
        "stretch": round(fit.stretch, 4),
        "agreement": round(fit.agreement, 3),
        "agreement_by_chance": round(fit.chance, 3),
        "notes": notes,
    }
    return tracks, report


def _sung_by(score: VoiceScore, fit: Alignment, frames: int) -> Float:
    """The score's pitches at every frame of the recording, in Hz."""
    numbers = score.numbers_at(fit.score_times(frames)) + fit.transposition
    hertz = 440 * 2 ** ((np.nan_to_num(numbers) - 69) / 12)
    return np.where(np.isnan(numbers), 0, hertz).astype(np.float32)


def _by_files(frames: PitchFrames, request: PitchRequest) -> tuple[PitchTracks, PitchReport]:
    tables = read_pitch_files(request.files, request.parts)
    hertz = tables.at(np.arange(len(frames)) * FRAME_S)
    retuned = retune(frames, hertz)
    sure = _nearest(tables.confidence, len(frames))
    tracks = PitchTracks(tables.names, retuned.hertz, FRAME_S, sure, "file")
    heard = stand_out(frames, retuned.hertz, 10.0)
    sung = hertz > 0
    agreement = float(heard.confidence[sung].mean()) if sung.any() else 0.0
    notes = []
    if sung.any() and agreement < LITTLE_AGREEMENT:
        notes.append("the given pitches agree little with the audio: are they of this recording?")
    report: PitchReport = {"agreement": round(agreement, 3), "notes": notes}
    moved = zip(tables.names, retuned.moved_hz, strict=True)
    if by_voice := {name: round(float(by_hz), 2) for name, by_hz in moved if by_hz}:
        report["moved_hz"] = by_voice
    return tracks, report


def tracked(
    frames: PitchFrames,
    parts: Sequence[str],
    network: PitchNetwork,
    tick: Callable[[], None] = lambda: None,
) -> PitchTracks:
    """Pitches by our own tracker."""
    return _refined(frames, track(frames, parts, network, tick), "tracker", parts)


def _by_graph(
    mono: Float, frames: PitchFrames, parts: Sequence[str], tick: Callable[[], None]
) -> PitchTracks:
    times = np.arange(0, len(frames), PITCH_STRIDE, dtype=np.float64) * FRAME_S
    strengths = strengths_by_graph(mono, RATE, times)
    tick()
    coarse = assign(strengths, frames.level[::PITCH_STRIDE], parts, GRAPH_SETTINGS, tick)
    return _refined(frames, coarse.every_frame(len(frames)), PACKAGE, parts)


def _refined(
    frames: PitchFrames, coarse: Coarse, origin: str, parts: Sequence[str]
) -> PitchTracks:
    best = refine(frames, coarse.hertz, TRACKER_SLACK_CENTS)
    sung = coarse.hertz > 0
    # as sure as the weaker of both: that a voice is there, and that its harmonics are
    sure = np.where(sung, np.minimum(coarse.confidence, best.confidence), coarse.confidence)
    return PitchTracks(tuple(parts), best.hertz, FRAME_S, sure, origin)


def _singing(tracks: PitchTracks) -> PitchReport:
    """How long each voice sings, how sure that is, and what is odd."""
    sung, sure = tracks.voiced(), tracks.sureness()
    voices: dict[str, SungPart] = {
        name: {"sung_s": round(float(s), 2), "confidence": round(float(c), 3)}
        for name, s, c in zip(tracks.names, sung, sure, strict=True)
    }
    report = PitchReport(voices=voices)
    if unisons := _unisons(tracks):
        report["unison_s"] = unisons
    if crossings := _crossings(tracks):
        report["crossing_s"] = crossings
    return report


def summary_of(report: PitchReport) -> str:
    """Where pitches come from, how well they agree and how sure they are, in one line."""
    files = ", ".join(report.get("files", ())) or "no file"
    agreed = f", agreement {report['agreement']:.2f}" if "agreement" in report else ""
    if "agreement_by_chance" in report:
        agreed += f" (by chance {report['agreement_by_chance']:.2f})"
    sure = ", ".join(f"{name} {v['confidence']:.2f}" for name, v in report["voices"].items())
    return f"{report['origin']} ({files}){agreed}; sure: {sure}"


def notes_on(report: PitchReport) -> list[str]:
    """What a person should know of the pitches, in sentences."""
    notes = list(report.get("notes", ()))
    for name, hertz in report.get("moved_hz", {}).items():
        notes.append(f"{name}: the given pitches were {hertz:.1f} Hz off, and were moved")
    for name, voice in report.get("voices", {}).items():
        if not voice["sung_s"]:
            notes.append(f"{name} never sings")
    for pair, seconds in report.get("unison_s", {}).items():
        notes.append(f"{pair} sing the same note for {seconds:g} s")
    for pair, seconds in report.get("crossing_s", {}).items():
        notes.append(f"{pair} cross for {seconds:g} s")
    return notes


def _unisons(tracks: PitchTracks) -> dict[str, float]:
    return _pairs(tracks, lambda high, low: abs(1200 * np.log2(high / low)) < UNISON_CENTS)


def _crossings(tracks: PitchTracks) -> dict[str, float]:
    """Where a voice is below the next one by more than a unison's width."""
    order = np.argsort(-_middles(tracks), kind="stable")
    found = {}
    for a, b in pairwise(order):
        both = (tracks.hertz[a] > 0) & (tracks.hertz[b] > 0)
        cents = 1200 * np.log2(np.where(both, tracks.hertz[b] / np.maximum(tracks.hertz[a], 1), 1))
        seconds = float((both & (cents > UNISON_CENTS)).sum() * tracks.frame_seconds)
        if seconds > _CHANGES_S:
            first, second = sorted((int(a), int(b)))
            found[f"{tracks.names[first]} and {tracks.names[second]}"] = round(seconds, 2)
    return found


def _pairs(tracks: PitchTracks, test: Callable[[Float, Float], Any]) -> dict[str, float]:
    found = {}
    for a in range(len(tracks.names)):
        for b in range(a + 1, len(tracks.names)):
            both = (tracks.hertz[a] > 0) & (tracks.hertz[b] > 0)
            same = test(tracks.hertz[a][both], tracks.hertz[b][both])
            seconds = float(np.count_nonzero(same) * tracks.frame_seconds)
            if seconds > _CHANGES_S:
                found[f"{tracks.names[a]} and {tracks.names[b]}"] = round(seconds, 2)
    return found


def _middles(tracks: PitchTracks) -> NDArray[np.float64]:
    """Median pitch of each voice; 0 where it never sings."""
    return np.array([np.median(row[row > 0]) if row.any() else 0.0 for row in tracks.hertz])


def _nearest(rows: Float, frames: int) -> Float:
    """Rows cut or filled up with zeros to so many frames."""
    found = np.zeros((len(rows), frames), np.float32)
    width = min(frames, rows.shape[1])
    found[:, :width] = rows[:, :width]
    return found
