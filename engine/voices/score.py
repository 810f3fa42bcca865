"""The notes of a MIDI file, part by part, in seconds of its own tempo map."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError, printable

from .tracker import registers_of

if TYPE_CHECKING:
    import mido

Float = NDArray[np.float32]

DRUMS = 9  # the channel, from 0
MOST_BYTES = 8 << 20
TOGETHER_S = 0.03  # notes that begin so near to each other begin together
_DEFAULT_TEMPO = 500_000  # microseconds for each beat: 120 beats a minute
# What tracks are called in scores that are not English.
_CALLED = {
    "soprano": ("sop", "s", "cantus", "discant", "sopran", "tiple", "dessus", "treble"),
    "alto": ("alt", "a", "contralto", "contralt", "altus"),
    "tenor": ("ten", "t", "tenore", "lead"),
    "bass": ("bas", "b", "basso", "bajo", "bajos", "bassus", "bassvoice", "basse"),
    "baritone": ("bar", "bari", "bariton", "baritono"),
}


@dataclass(frozen=True)
class ScoreNote:
    """One note: seconds and MIDI's number of its pitch (69 is 440 Hz)."""

    begin_s: float
    end_s: float
    number: int


@dataclass(frozen=True)
class VoiceScore:
    """The notes of every part by the part's name, none overlapping within a part.

    `matched_by` says how parts were found: by `names`, or by `pitch` from the highest down.
    """

    parts: dict[str, tuple[ScoreNote, ...]]
    matched_by: str

    @property
    def seconds(self) -> float:
        """Where the last note ends."""
        return max((notes[-1].end_s for notes in self.parts.values() if notes), default=0.0)

    def numbers_at(self, times: NDArray[np.floating]) -> NDArray[np.float64]:
        """The note of every part at any times, (parts, times); nan where it rests."""
        found = np.full((len(self.parts), len(times)), np.nan)
        for row, notes in zip(found, self.parts.values(), strict=True):
            if not notes:
                continue
            begins = np.array([note.begin_s for note in notes])
            ends = np.array([note.end_s for note in notes])
            numbers = np.array([note.number for note in notes], float)
            which = np.searchsorted(begins, times, side="right") - 1
            sung = (which >= 0) & (times < ends[which])
            row[sung] = numbers[which[sung]]
        return found


def read_score(path: Path, names: Sequence[str]) -> VoiceScore:
    """Read a Standard MIDI File and match its tracks, channels or layers to `names`.

    Raises StemwrightError for what is no MIDI file, or has fewer parts than there are names.
    """
    voices = [part for part in _parts_of(path) if part.notes]
    if not voices:
        raise StemwrightError("voices-midi", f"{printable(path)}: no note is in it.")
    matched, matched_by = _matched(path, voices, names)
    return VoiceScore({name: _one_at_a_time(matched[name].notes) for name in names}, matched_by)


@dataclass(frozen=True)
class _Part:
    """A track, channel or layer."""

    name: str
    notes: tuple[ScoreNote, ...]

    @property
    def middle(self) -> float:
        """Mean pitch, longer notes counting more."""
        weights = [note.end_s - note.begin_s for note in self.notes]
        return float(np.average([note.number for note in self.notes], weights=weights))


def _parts_of(path: Path) -> list[_Part]:
    """Every track with notes; channels of a lone track, layers of a track with chords."""
    file = _opened(path)
    clock = _Clock(file)
    tracks: list[_Part] = []
    for track in file.tracks:
        by_channel = _notes_of(track, clock)
        name = next((m.name for m in track if m.type == "track_name"), "")
        many = len(by_channel) > 1
        for channel, notes in sorted(by_channel.items()):
            called = f"{name} {channel + 1}".strip() if many else name
            tracks.append(_Part(called, tuple(sorted(notes, key=lambda n: (n.begin_s, n.number)))))
    return [layer for part in tracks for layer in _layers(part)]


def _opened(path: Path) -> mido.MidiFile:
    import mido

    try:
        if path.stat().st_size > MOST_BYTES:
            raise StemwrightError(
                "voices-midi", f"{printable(path)}: more than {MOST_BYTES >> 20} MiB are no score."
            )
        file = mido.MidiFile(path)
    except OSError as error:
        why = error.strerror or str(error) or "cannot be read"
        raise StemwrightError(
            "voices-midi", f"{printable(path)}: no Standard MIDI File ({why})."
        ) from error
    except (ValueError, KeyError, IndexError, EOFError, TypeError, UnicodeError) as error:
        raise StemwrightError(
            "voices-midi", f"{printable(path)}: damaged or no Standard MIDI File ({error})."
        ) from error
    if file.type == 2:
        raise StemwrightError(
            "voices-midi",
            f"{printable(path)}: a MIDI file of type 2 (independent songs); expected type 0 or 1. "
            "Save the score again as type 1.",
        )
    return file


class _Clock:
    """Ticks to seconds by the tempo map of all tracks."""

    def __init__(self, file: mido.MidiFile) -> None:
        division = file.ticks_per_beat
        if division < 0:  # SMPTE: frames a second and ticks a frame; tempo means nothing
            frames, ticks = 256 - (division >> 8 & 0xFF), division & 0xFF
            self._ticks, self._seconds = np.zeros(1), np.zeros(1)
            self._rates = np.array([1.0 / (frames * ticks)])
            return
        changes = {0: _DEFAULT_TEMPO}
        for track in file.tracks:
            now = 0
            for message in track:
                now += message.time
                if message.type == "set_tempo":
                    changes[now] = message.tempo
        self._ticks = np.array(sorted(changes), float)
        self._rates = np.array([changes[int(t)] for t in self._ticks]) / (1e6 * max(division, 1))
        spans = np.diff(self._ticks) * self._rates[:-1]
        self._seconds = np.concatenate([[0.0], np.cumsum(spans)])

    def seconds(self, tick: int) -> float:
        """When a tick sounds."""
        which = int(np.searchsorted(self._ticks, tick, side="right")) - 1
        since = (tick - self._ticks[which]) * self._rates[which]
        return float(self._seconds[which] + since)


def _notes_of(track: mido.MidiTrack, clock: _Clock) -> dict[int, list[ScoreNote]]:
    """Sort the notes by channel, without drums."""
    found: dict[int, list[ScoreNote]] = defaultdict(list)
    open_notes: dict[tuple[int, int], list[int]] = defaultdict(list)
    now = 0
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
            continue
        key = message.channel, message.note
        if message.type == "note_on" and message.velocity:
            open_notes[key].append(now)
        elif open_notes[key]:
            begin = open_notes[key].pop(0)
            if now > begin:
                note = ScoreNote(clock.seconds(begin), clock.seconds(now), message.note)
                found[message.channel].append(note)
    return found


def _layers(part: _Part) -> list[_Part]:
    """A part with chords, such as a stave of two voices, as one part for each voice."""
    count = _most_at_once(part.notes)
    if count < 2:
        return [part]
    layers: list[list[ScoreNote]] = [[] for _ in range(count)]
    for group in _together(part.notes):
        group = sorted(group, key=lambda note: -note.number)[:count]
        free = [
            index
            for index, layer in enumerate(layers)
            if not layer or layer[-1].end_s <= group[0].begin_s + TOGETHER_S
        ]
        for note, index in zip(group, _nearest(group, layers, free), strict=False):
            layers[index].append(note)
    return [_Part(f"{part.name} layer {n + 1}".strip(), tuple(x)) for n, x in enumerate(layers)]


def _nearest(group: list[ScoreNote], layers: list[list[ScoreNote]], free: list[int]) -> list[int]:
    """Layers for notes that begin together, highest first: in order, as near as they go."""
    if len(group) >= len(free):
        return free
    middle = {n: float(np.mean([x.number for x in layers[n][-4:]])) if layers[n] else None
              for n in free}  # fmt: skip

    def far(chosen: Iterable[int]) -> float:
        pairs = zip(group, chosen, strict=True)
        return sum(abs(note.number - (middle[n] or note.number)) for note, n in pairs)

    return list(min(combinations(free, len(group)), key=far))


def _together(notes: Iterable[ScoreNote]) -> list[list[ScoreNote]]:
    groups: list[list[ScoreNote]] = []
    for note in notes:
        if groups and note.begin_s - groups[-1][0].begin_s <= TOGETHER_S:
            groups[-1].append(note)
        else:
            groups.append([note])
    return groups


def _most_at_once(notes: Sequence[ScoreNote]) -> int:
    """How many notes sound at once for more than a moment."""
    edges = [(note.begin_s + TOGETHER_S, 1) for note in notes]
    edges += [(note.end_s - TOGETHER_S, -1) for note in notes]
    now = most = 0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return max(most, 1)


def _one_at_a_time(notes: Sequence[ScoreNote]) -> tuple[ScoreNote, ...]:
    """Let each note of one singer end where the next begins, at the latest."""
    ordered = sorted(notes, key=lambda note: (note.begin_s, note.number))
    cut = [
        ScoreNote(note.begin_s, min(note.end_s, after.begin_s), note.number)
        for note, after in pairwise(ordered)
    ]
    return tuple(note for note in (*cut, *ordered[-1:]) if note.end_s > note.begin_s)


def _matched(
    path: Path, voices: list[_Part], names: Sequence[str]
) -> tuple[dict[str, _Part], str]:
    """A part for every name, and how they were told."""
    by_name: dict[str, _Part] = {}
    for name in names:
        fitting = [part for part in voices if _is_called(part.name, name)]
        if len(fitting) == 1:
            by_name[name] = fitting[0]
    if len(by_name) == len(names) == len({id(part) for part in by_name.values()}):
        return by_name, "names"
    if len(voices) != len(names):
        listed = ", ".join(
            f"{part.name or 'unnamed'} ({len(part.notes)} notes)" for part in voices
        )
        more = "fewer" if len(voices) < len(names) else "more"
        raise StemwrightError(
            "voices-parts",
            f"{printable(path)}: has {len(voices)} parts ({listed}), {more} than the {len(names)} "
            f"asked for ({', '.join(names)}). Give each part a track or channel of its own, named "
            "like the part, or ask for other parts with --parts.",
        )
    order = np.argsort(-registers_of(names), kind="stable")
    high_first = sorted(voices, key=lambda part: -part.middle)
    return {names[n]: part for n, part in zip(order, high_first, strict=True)}, "pitch"


def _is_called(track: str, name: str) -> bool:
    """Whether a track bears a part's name, or a word that means it."""
    words = re.findall(r"[a-z]+\d*|\d+", track.casefold())
    wanted = re.findall(r"[a-z]+\d*|\d+", name.casefold())
    if not wanted:
        return False
    if all(word in words for word in wanted):
        return True
    number = re.search(r"\d+$", name)
    stem = name.casefold().rstrip("0123456789-_ ")
    called = (stem, *_CALLED.get(stem, ()))
    suffix = number[0] if number else ""
    return any(
        word == other + suffix or (suffix and word == other and suffix in words)
        for word in words
        for other in called
    )
