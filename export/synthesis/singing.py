"""Singers without samples: a glottis, a vocal tract of random build, syllables and vibrato.

The source is a sawtooth whose period quivers; the tract is a chain of resonances (formants; vowels
after Peterson & Barney, JASA 24(2), 1952) that move from vowel to vowel; consonants are hisses,
bursts, hums and gaps between them. Every song has throats of its own.

All audio is mono, 44.1 kHz, float64 (samples,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from .computed_instruments import SAMPLE_RATE_HZ, Float64Audio
from .midi import Note

_HOP, _WINDOW = 512, 2048
_FRAME_S = _HOP / SAMPLE_RATE_HZ
FRAME_SECONDS = _FRAME_S
_HEARD = 0.02  # of the loudest: below, nobody is heard to sing
_LEAST = 1e-9
# the first three formants of a man's vowels, in Hz; F4 and above hardly move
VOWELS = (
    (730, 1090, 2440),  # father
    (270, 2290, 3010),  # heed
    (300, 870, 2240),  # who
    (530, 1840, 2480),  # head
    (570, 840, 2410),  # law
    (660, 1720, 2410),  # had
    (640, 1190, 2390),  # hut
    (390, 1990, 2550),  # hid
    (440, 1020, 2240),  # hood
    (490, 1350, 1690),  # heard
)
_HUM = (250, 1100, 2300)
_UPPER_HZ = (3400.0, 4300.0, 5300.0)
_WIDTHS_HZ = (70.0, 90.0, 130.0, 200.0, 280.0, 380.0)
# hiss: centre in Hz, octaves wide, seconds, loudness; burst: the same
_HISSES = ((6500.0, 0.7, 0.11, 1.0), (3500.0, 0.7, 0.1, 0.9), (8000.0, 1.6, 0.08, 0.25))
_BURSTS = ((1200.0, 1.2, 0.018, 0.6), (4000.0, 1.0, 0.025, 0.7), (2000.0, 0.9, 0.03, 0.7))


@dataclass(frozen=True)
class Throat:
    """One singer."""

    low: int  # the lowest comfortable pitch, MIDI
    tract: float  # formants against a man's
    tilt_db: float  # per octave, on top of a sawtooth's -6
    breath: float
    ring_db: float  # the singer's formant
    widths: float  # of formants against the usual
    vibrato_hz: float
    vibrato_cents: float
    vibrato_after_s: float
    glide_s: float
    scoop_cents: float
    quiver_cents: float
    consonants: float  # their loudness

    @classmethod
    def random(cls, rng: Random) -> Throat:
        """Anybody, from a bass to a child."""
        height = rng.random()
        return cls(
            low=round(44 + 17 * height + rng.gauss(0, 2)),
            tract=0.92 + 0.32 * height + rng.gauss(0, 0.04),
            tilt_db=rng.uniform(-6.0, 1.0),
            breath=10 ** rng.uniform(-1.4, -0.5),
            ring_db=rng.choice((0.0, 3.0, 7.0)) * rng.random(),
            widths=rng.uniform(0.9, 1.9),
            vibrato_hz=rng.uniform(4.5, 6.5),
            vibrato_cents=rng.choice((0.0, 15.0, 35.0, 70.0)),
            vibrato_after_s=rng.uniform(0.1, 0.6),
            glide_s=rng.choice((0.02, 0.06, 0.09, 0.13)),
            scoop_cents=rng.choice((0.0, 100.0, 250.0)),
            quiver_cents=rng.uniform(10.0, 32.0),
            consonants=10 ** rng.uniform(-0.5, 0.4),
        )

    def twin(self, rng: Random) -> Throat:
        """The same singer once more: a double sounds alike and not the same."""
        return replace(
            self,
            tract=self.tract * rng.uniform(0.97, 1.03),
            tilt_db=self.tilt_db + rng.uniform(-2, 1),
            breath=self.breath * rng.uniform(1.0, 2.5),
            vibrato_hz=self.vibrato_hz * rng.uniform(0.9, 1.1),
        )


@dataclass(frozen=True)
class Syllable:
    """A note that is sung: when, how high, how loud, and its sounds.

    `onset` is a consonant ("hiss", "burst", "hum", "" for none); a note of a melisma is `tied`.
    """

    start_s: float
    seconds: float
    pitch: float
    loudness: float
    vowel: int
    onset: str
    tied: bool


def syllables(
    notes: Sequence[Note], tempo_bpm: float, rng: Random, *, words: bool, melisma: float
) -> list[Syllable]:
    """Put words under notes; without `words` it is one vowel throughout (ooh, aah)."""
    beat_s, one = 60 / tempo_bpm, rng.choice((0, 2, 4))
    sung: list[Syllable] = []
    end_before = -1.0
    for note in sorted(notes, key=lambda n: n.start):
        start_s = note.start * beat_s
        joined = sung and start_s - end_before < 0.03
        tied = bool(joined and rng.random() < melisma)
        vowel = sung[-1].vowel if tied else rng.randrange(len(VOWELS)) if words else one
        onset = rng.choice(("hiss", "burst", "burst", "hum", "hum", "")) if words else ""
        loudness = note.velocity / 100
        seconds = max(note.length * beat_s, 0.06)
        sung.append(
            Syllable(start_s, seconds, note.pitch, loudness, vowel, "" if tied else onset, tied)
        )
        end_before = start_s + seconds
    return sung


@dataclass(frozen=True)
class Performance:
    """A line in one throat: audio (samples,), and its pitch in Hz every FRAME_SECONDS, 0 where
    the glottis rests."""

    audio: Float64Audio
    hertz: Float64Audio


def sing(sung: Sequence[Syllable], throat: Throat, seconds: float, rng: Random) -> Float64Audio:
    """The line in one throat, (samples,)."""
    return perform(sung, throat, seconds, rng).audio


def perform(sung: Sequence[Syllable], throat: Throat, seconds: float, rng: Random) -> Performance:
    """The line in one throat and the pitches that were sung."""
    samples = round(seconds * SAMPLE_RATE_HZ)
    frames = samples // _HOP + 1
    noise_rng = np.random.default_rng(rng.getrandbits(32))
    pitch = _pitch_track(sung, throat, frames, rng, noise_rng)
    voiced, hissed, formants = _articulation(sung, throat, frames, rng)
    at = np.arange(samples) / _HOP
    cents = np.interp(at, np.arange(frames), pitch)
    hz = 440 * 2 ** ((cents / 100 - 69) / 12)
    turn = np.cumsum(hz / SAMPLE_RATE_HZ)
    glottis = _saw(turn % 1.0, hz / SAMPLE_RATE_HZ)
    air = noise_rng.standard_normal(samples)
    tract = _tract(formants, throat)
    shimmer = 1 + 0.2 * noise_rng.standard_normal(frames)
    loud = np.interp(at, np.arange(frames), voiced * shimmer)
    voice = _through(glottis * loud, tract)
    level = np.sqrt(np.mean(voice[loud > 0.1] ** 2)) if (loud > 0.1).any() else 1.0
    voice /= level + _LEAST
    # breath hisses behind the mouth's resonances, more of it while the glottis is open
    blown = np.diff(air, prepend=0.0) * (0.4 + 0.6 * (turn % 1.0)) * loud
    hisses = (
        throat.breath * np.sqrt(tract / tract.max(axis=1, keepdims=True)) + 0.03 * throat.breath
    )
    hiss = _through(air, 1.0 * throat.consonants * hissed)
    audio = np.asarray(voice + _through(blown, hisses) + hiss, np.float64)
    tones = 440 * 2 ** ((pitch / 100 - 69) / 12)
    return Performance(audio, np.where(voiced > _HEARD * voiced.max(), tones, 0.0))


def _pitch_track(
    sung: Sequence[Syllable], throat: Throat, frames: int, rng: Random, noise: np.random.Generator
) -> Float64Audio:
    """Cents above MIDI pitch 0 in every frame."""
    track = np.full(frames, 100.0 * (sung[0].pitch if sung else 60))
    time = np.arange(frames) * _FRAME_S
    vibrato = np.zeros(frames)
    for i, one in enumerate(sung):
        first = round(one.start_s / _FRAME_S)
        track[first:] = 100.0 * one.pitch
        if not one.tied and throat.scoop_cents and rng.random() < 0.5:
            scoop = throat.scoop_cents * rng.random()
            track[first:] -= scoop * np.exp(-np.maximum(time[first:] - one.start_s, 0) / 0.06)
        last = round(sung[i + 1].start_s / _FRAME_S) if i + 1 < len(sung) else frames
        grown = np.clip((time[first:last] - one.start_s - throat.vibrato_after_s) / 0.3, 0, 1)
        turn = 2 * np.pi * throat.vibrato_hz * (time[first:last] - one.start_s)
        vibrato[first:last] = throat.vibrato_cents * grown * np.sin(turn)
    kernel = np.hanning(max(3, round(2 * throat.glide_s / _FRAME_S) | 1))
    track = _smoothed(track, kernel)
    drift = _smoothed(noise.standard_normal(frames), np.hanning(25)) * 3.0
    jitter = noise.standard_normal(frames)
    return np.asarray(track + vibrato + throat.quiver_cents * (drift + 0.7 * jitter), np.float64)


def _articulation(
    sung: Sequence[Syllable], throat: Throat, frames: int, rng: Random
) -> tuple[Float64Audio, NDArray[np.float32], Float64Audio]:
    """Loudness of the voice (frames,), gain of the hisses (frames, bins), and formants
    (3, frames)."""
    voiced = np.zeros(frames)
    formants = np.tile(np.array(VOWELS[0], np.float64)[:, None], frames)
    noises: dict[tuple[float, float], Float64Audio] = {}
    for one in sung:
        first, last = (round(s / _FRAME_S) for s in (one.start_s, one.start_s + one.seconds))
        last = min(max(last, first + 3), frames)
        swell = np.linspace(0, 1, max(last - first, 1))
        shape = 1 - 0.3 * swell + 0.15 * np.sin(np.pi * swell) * rng.random()
        voiced[first:last] = one.loudness**1.5 * shape[: max(last - first, 0)]
        formants[:, first:] = np.array(VOWELS[one.vowel], np.float64)[:, None]
        if one.onset == "hum":
            hummed = round(rng.uniform(0.04, 0.1) / _FRAME_S)
            voiced[first : first + hummed] *= 0.4
            formants[:, first : first + hummed] = np.array(_HUM, np.float64)[:, None]
        elif one.onset:
            kind = _HISSES if one.onset == "hiss" else _BURSTS
            centre, width, long_s, loud = rng.choice(kind)
            begin = max(first - round(0.6 * long_s / _FRAME_S), 0)
            end = min(begin + max(round(long_s / _FRAME_S), 1), frames)
            noises.setdefault((centre, width), np.zeros(frames))[begin:end] = loud * one.loudness
            voiced[max(begin - 3, 0) : end] *= 0.05  # the voice waits
    voiced = _smoothed(voiced, np.hanning(7))
    formants = np.stack([_smoothed(row, np.hanning(9)) for row in formants])
    hz = _bins_hz()
    hissed = np.zeros((frames, hz.size), np.float32)
    for (centre, width), gain in noises.items():
        colour = np.exp(-0.5 * (np.log2(hz / (centre * throat.tract**0.5)) / width) ** 2)
        heard = gain > 0
        hissed[heard] += (gain[heard, None] * colour).astype(np.float32)
    return voiced, hissed, formants


def _tract(formants: Float64Audio, throat: Throat) -> NDArray[np.float32]:
    """The gain of the vocal tract, (frames, bins)."""
    hz = _bins_hz().astype(np.float32)
    moving = [throat.tract * row.astype(np.float32)[:, None] for row in formants]
    fixed = [np.float32(throat.tract * upper) for upper in _UPPER_HZ]
    power = np.ones((formants.shape[1], hz.size), np.float32)
    for centre, width in zip((*moving, *fixed), _WIDTHS_HZ, strict=True):
        ratio = hz / centre
        power *= (1 - ratio**2) ** 2 + (ratio * np.float32(width * throat.widths) / centre) ** 2
    tilt = (throat.tilt_db + 4.0) * np.log2(hz / 500.0)
    ring = throat.ring_db * np.exp(-0.5 * ((hz - 2900 * throat.tract**0.5) / 350) ** 2)
    gain = 10 ** ((tilt + ring) / 20) / np.sqrt(np.maximum(power, 1e-6))
    # a chain of six resonances falls without end above the last: mouths do not
    return np.asarray(np.maximum(gain, 2e-4), np.float32)


def _through(source: Float64Audio, gain: NDArray[np.floating]) -> Float64Audio:
    """A filter that changes from frame to frame: overlap-add; (samples,)."""
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    padded = np.pad(source.astype(np.float32), _WINDOW // 2)
    frames = source.size // _HOP + 1
    padded = np.pad(padded, (0, max(0, (frames - 1) * _HOP + _WINDOW - padded.size)))
    cut = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:frames]
    spectra = np.fft.rfft(cut * window, axis=1)
    spectra *= gain[:frames]
    pieces = np.fft.irfft(spectra, _WINDOW, axis=1) * window
    out = np.zeros(padded.size)
    for shift in range(_WINDOW // _HOP):  # frames that do not overlap, at once
        some = pieces[shift :: _WINDOW // _HOP]
        begin = shift * _HOP
        out[begin : begin + some.size] += some.reshape(-1)[: out.size - begin]
    return np.asarray(out[_WINDOW // 2 :][: source.size] / 1.5, np.float64)


def _saw(phase: Float64Audio, step: Float64Audio) -> Float64Audio:
    """A sawtooth without its worst aliases (polynomial band-limited steps)."""
    saw = 2 * phase - 1
    near, past = phase < step, phase > 1 - step
    t = phase[near] / step[near]
    saw[near] -= 2 * t - t * t - 1
    t = (phase[past] - 1) / step[past]
    saw[past] -= t * t + 2 * t + 1
    return saw


def _smoothed(track: Float64Audio, kernel: Float64Audio) -> Float64Audio:
    padded = np.pad(track, kernel.size // 2, mode="edge")
    smooth = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return np.asarray(smooth[: track.size], np.float64)


def _bins_hz() -> Float64Audio:
    return np.asarray(np.maximum(np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE_HZ), 20.0), np.float64)
