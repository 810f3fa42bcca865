"""Notes of a composed part and the standard MIDI file that carries them to a synthesiser."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

TICKS_PER_BEAT = 480
DRUM_CHANNEL = 9
BEND_RANGE_SEMITONES = 2.0
_MICROSECONDS_PER_MINUTE = 60_000_000


@dataclass(frozen=True)
class Note:
    """One note; times are in beats (quarter notes)."""

    start: float
    length: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Control:
    """One controller value at a beat (7 volume, 10 pan, 11 expression, 64 sustain pedal...)."""

    beat: float
    number: int
    value: int


@dataclass(frozen=True)
class Bend:
    """Pitch wheel at a beat, in semitones within +-`BEND_RANGE_SEMITONES`."""

    beat: float
    semitones: float


@dataclass(frozen=True)
class Track:
    """What one instrument plays: a General MIDI program (a kit when `is_drums`)."""

    program: int
    notes: tuple[Note, ...]
    is_drums: bool = False
    controls: tuple[Control, ...] = ()
    bends: tuple[Bend, ...] = ()


@dataclass(frozen=True)
class Score:
    """Tracks that play together at one tempo for `beats` quarter notes."""

    tempo_bpm: float
    beats: float
    tracks: tuple[Track, ...] = field(default=())

    @property
    def seconds(self) -> float:
        """Length without the last notes' tails."""
        return self.beats * 60.0 / self.tempo_bpm


def midi_bytes(score: Score) -> bytes:
    """The score as a standard MIDI file, format 1: a tempo track, then one track each."""
    tempo = round(_MICROSECONDS_PER_MINUTE / score.tempo_bpm)
    chunks = [_track_chunk([(0, b"\xff\x51\x03" + tempo.to_bytes(3, "big"))])]
    melodic_channels = iter(c for c in range(16) if c != DRUM_CHANNEL)
    for track in score.tracks:
        channel = DRUM_CHANNEL if track.is_drums else next(melodic_channels)
        chunks.append(_track_chunk(_events(track, channel)))
    return struct.pack(">4sIHHH", b"MThd", 6, 1, len(chunks), TICKS_PER_BEAT) + b"".join(chunks)


def _events(track: Track, channel: int) -> list[tuple[int, bytes]]:
    """(tick, message) in playing order; at one tick notes end before others begin."""
    timed: list[tuple[int, int, bytes]] = [(0, 0, bytes((0xC0 | channel, track.program)))]
    for control in track.controls:
        message = bytes((0xB0 | channel, control.number, _seven_bits(control.value)))
        timed.append((_ticks(control.beat), 2, message))
    for bend in track.bends:
        wheel = round(8192 + bend.semitones / BEND_RANGE_SEMITONES * 8192)
        wheel = min(max(wheel, 0), 16383)
        message = bytes((0xE0 | channel, wheel & 0x7F, wheel >> 7))
        timed.append((_ticks(bend.beat), 2, message))
    for note in track.notes:
        pitch = _seven_bits(note.pitch)
        start = _ticks(note.start)
        end = max(_ticks(note.start + note.length), start + 1)
        timed.append(
            (start, 3, bytes((0x90 | channel, pitch, max(1, _seven_bits(note.velocity)))))
        )
        timed.append((end, 1, bytes((0x80 | channel, pitch, 64))))
    timed.sort(key=lambda event: event[:2])  # stable: of two volumes at one tick the later stays
    return [(tick, message) for tick, _, message in timed]


def _track_chunk(events: list[tuple[int, bytes]]) -> bytes:
    body = bytearray()
    now = 0
    for tick, message in events:
        body += _variable_length(tick - now) + message
        now = tick
    body += b"\x00\xff\x2f\x00"  # end of track
    return b"MTrk" + struct.pack(">I", len(body)) + bytes(body)


def _variable_length(value: int) -> bytes:
    """Seven bits per byte, most significant first, the top bit set on all but the last."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | (value & 0x7F))
    return bytes(reversed(digits))


def _ticks(beat: float) -> int:
    return max(0, round(beat * TICKS_PER_BEAT))


def _seven_bits(value: int) -> int:
    return min(max(value, 0), 127)
