"""The desk of one song: what makes stems of parts, in stereo, by a desk that the stems share.

Stems of a finished song have one room in common, are ducked by one kick, balanced against each
other and held down by one limiter; and each has its place, its equaliser and its compressor.
Effects are pedalboard's. Audio is (2, samples), 44.1 kHz, float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pedalboard import (
    Chorus,
    Compressor,
    Delay,
    Distortion,
    HighpassFilter,
    LowpassFilter,
    Plugin,
    Reverb,
)

from .computed_instruments import SAMPLE_RATE_HZ, fft_size
from .song_form import Plan

Stereo = NDArray[np.float32]

_LEAST = 1e-9
# Long-term spectra of stems: power in dB of the whole around these frequencies, medians of MUSDB18
# training songs, and how far songs lie apart (standard deviation, dB).
_CENTRES_HZ = (55.0, 127.0, 251.0, 495.0, 990.0, 1980.0, 3960.0, 7920.0, 13_000.0)
_SPECTRA_DB = MappingProxyType(
    {
        "vocals": (-37.2, -31.6, -8.0, -4.4, -6.9, -11.7, -16.1, -21.2, -31.3),
        "bass": (-4.2, -3.1, -12.8, -26.8, -34.4, -42.4, -49.5, -57.4, -62.6),
        "drums": (-3.1, -6.3, -9.9, -16.2, -20.7, -21.0, -17.8, -19.7, -26.7),
        "other": (-25.9, -9.7, -5.1, -6.2, -8.5, -10.9, -17.1, -29.9, -48.4),
    }
)
_APART_DB = MappingProxyType(
    {
        "vocals": (8, 8, 4, 2, 3, 4, 4, 5, 6),
        "bass": (4, 3, 4, 6, 8, 10, 10, 7, 6),
        "drums": (3, 2.5, 4, 5, 5, 5, 5, 6, 7),
        "other": (7, 6, 4, 3, 4, 4, 6, 8, 10),
    }
)
_SHARE = MappingProxyType({"vocals": (0.7, 1.0), "bass": (0.75, 1.0), "drums": (0.7, 1.0)})
_OTHER_SHARE = (0.3, 0.9)  # what makes `other` up differs more
_GAIN_DB = (-30.0, 10.0)
_COMPRESSED = MappingProxyType({"vocals": 0.95, "bass": 0.6, "drums": 0.6})
# levels of the stems in the mix: medians and spread over songs, dB
_LEVEL_DB = MappingProxyType(
    {"vocals": 2.5, "bass": 1.0, "drums": 1.0, "guitar": -2.5, "piano": -4.0, "other": -2.5}
)
_LEVEL_APART_DB = 2.5


@dataclass(frozen=True)
class Desk:
    """What the stems of one song share."""

    room: Reverb
    sends_db: Mapping[str, float]
    highest_hz: float  # what the codec of a finished song leaves
    limiting: float  # dB that the mix's peaks are held down by
    pumping: float  # share of the rest that a kick takes away
    pump_s: float

    @classmethod
    def random(cls, plan: Plan) -> Desk:
        """The desk of a song."""
        rng = plan.rng("desk")
        room = Reverb(
            room_size=rng.uniform(0.2, 0.95),
            damping=rng.uniform(0.2, 0.9),
            wet_level=1.0,
            dry_level=0.0,
            width=rng.uniform(0.6, 1.0),
        )
        sends_db = {
            "vocals": rng.uniform(-34, -15),
            "bass": rng.uniform(-55, -32),
            "drums": rng.uniform(-38, -17),
            "guitar": rng.uniform(-36, -16),
            "piano": rng.uniform(-36, -16),
            "other": rng.uniform(-34, -13),
        }
        return cls(
            room,
            sends_db,
            highest_hz=rng.choice((16_000.0, 16_500.0, 17_000.0, 19_500.0)),
            limiting=rng.choice((0.0, 2.0, 4.0, 6.0)) * rng.random(),
            pumping=rng.uniform(0.3, 0.85) if rng.random() < plan.style.pumping else 0.0,
            pump_s=rng.uniform(0.1, 0.3),
        )

    def finish(self, stem: str, audio: Stereo, rng: Random) -> Stereo:
        """A stem through its channel: compressor, the room, equaliser."""
        dry = _through(self._dynamics(stem, audio, rng), audio)
        if stem == "drums":
            dry = _beside_itself(dry, rng)
        wet = self.room(dry, SAMPLE_RATE_HZ) * np.float32(10 ** (self.sends_db[stem] / 20))
        if stem == "drums":  # kicks are kept out of rooms
            wet = HighpassFilter(200.0)(wet, SAMPLE_RATE_HZ)
        # last, as compressors and rooms change the spectrum
        return self._equalised(stem, dry + wet + _noise_floor(dry, rng), rng)

    def _dynamics(self, stem: str, audio: Stereo, rng: Random) -> list[Plugin]:
        """A compressor in most channels, a firm one for voices and basses."""
        effects: list[Plugin] = []
        if stem == "vocals":
            effects.append(HighpassFilter(rng.uniform(60, 150)))
        level_db = 20 * float(np.log10(_loudness(audio) + _LEAST))
        if rng.random() < _COMPRESSED.get(stem, 0.5):
            firm = stem in ("vocals", "bass")
            ratio = rng.uniform(2, 8) if firm else rng.uniform(1.5, 4)
            threshold_db = level_db + (rng.uniform(-14, 2) if firm else rng.uniform(-8, 4))
            attack_ms = rng.uniform(5, 40) if firm else rng.uniform(3, 40)
            effects.append(Compressor(threshold_db, ratio, attack_ms, rng.uniform(40, 250)))
        return effects

    def balanced(
        self, stems: Mapping[str, Stereo], kick: NDArray[np.float32], rng: Random
    ) -> dict[str, Stereo]:
        """All stems at their levels, ducked, and limited as their sum is."""
        shared = {s for s in stems if s in ("guitar", "piano", "other")}
        out = {}
        for stem, audio in stems.items():
            level_db = _LEVEL_DB[stem] + rng.gauss(0, _LEVEL_APART_DB)
            level_db += 2.0 * (len(shared) < 2) if stem in shared else 0.0
            gain = np.float32(10 ** (level_db / 20) / (_loudness(audio) + _LEAST))
            ducked = 1 - self.pumping * kick if stem not in ("drums", "vocals") else np.float32(1)
            out[stem] = np.asarray(gain * audio * ducked, np.float32)
        held = self._held_down(_sum(out))
        out = {stem: np.asarray(audio * held, np.float32) for stem, audio in out.items()}
        peak = max(float(np.abs(audio).max()) for audio in (*out.values(), _sum(out)))
        return {stem: np.asarray(0.7 / peak * audio, np.float32) for stem, audio in out.items()}

    def _held_down(self, mix: NDArray[np.float32]) -> NDArray[np.float32]:
        """The limiter's gain (samples,): peaks of the mix come down by `limiting` dB at most."""
        if self.limiting <= 0:
            return np.ones(mix.shape[1], np.float32)
        size = 256
        blocks = -(-mix.shape[1] // size)
        peaks = np.abs(np.pad(mix, ((0, 0), (0, blocks * size - mix.shape[1])))).max(axis=0)
        peaks = peaks.reshape(blocks, size).max(axis=1)
        ceiling = peaks.max() * 10 ** (-self.limiting / 20)
        wanted = np.minimum(1.0, ceiling / (peaks + _LEAST))
        ahead = np.minimum.reduce([np.roll(wanted, shift) for shift in range(-2, 9)])
        smooth = np.convolve(ahead, np.ones(5) / 5, mode="same")
        at = np.arange(mix.shape[1]) / size - 0.5
        return np.asarray(np.interp(at, np.arange(blocks), smooth), np.float32)

    def _equalised(self, stem: str, audio: Stereo, rng: Random) -> Stereo:
        """Drawn a share of the way to a spectrum that a finished stem could have, and cut off
        where the codec ends."""
        known = stem if stem in _SPECTRA_DB else "other"
        wanted = np.array(
            [rng.gauss(m, a) for m, a in zip(_SPECTRA_DB[known], _APART_DB[known], strict=True)]
        )
        size = fft_size(audio.shape[1])
        spectrum = np.fft.rfft(audio, size, axis=1)
        hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
        power = (np.abs(spectrum) ** 2).sum(axis=0)
        edges = np.searchsorted(hz, (5, 90, 180, 350, 700, 1400, 2800, 5600, 11_200))
        heard = np.add.reduceat(power, edges) + _LEAST
        heard_db = 10 * np.log10(heard / heard.sum())
        share = rng.uniform(*_SHARE.get(stem, _OTHER_SHARE))
        gain_db = share * (wanted - heard_db)
        gain_db -= np.average(gain_db, weights=10 ** (np.maximum(wanted, heard_db) / 20))
        curve = np.interp(np.log(hz + 1), np.log(_CENTRES_HZ), np.clip(gain_db, *_GAIN_DB))
        gain = 10 ** (curve / 20)
        gain *= 1 / np.sqrt(1 + (hz / self.highest_hz) ** 80)
        return np.fft.irfft(spectrum * gain.astype(np.float32), size, axis=1)[
            :, : audio.shape[1]
        ].astype(np.float32)


def placed(mono: NDArray[np.floating], pan: float) -> Stereo:
    """A part at a place from left (-1) to right (1), at constant power; levelled."""
    angle = (pan + 1) * np.pi / 4
    part = np.asarray(mono / (np.sqrt(np.mean(np.square(mono))) + _LEAST), np.float32)
    return np.stack([np.float32(np.cos(angle)) * part, np.float32(np.sin(angle)) * part])


def effected(part: Stereo, stem: str, tempo_bpm: float, rng: Random) -> Stereo:
    """A part through the boxes that its player stands before: chorus, delay, a room of its own."""
    beat_s = 60 / tempo_bpm
    boxes: list[Plugin] = []
    if stem in ("guitar", "piano", "other") and rng.random() < 0.25:
        boxes.append(
            Chorus(rng.uniform(0.2, 2.5), rng.uniform(0.1, 0.5), 7.0, 0.0, rng.uniform(0.3, 0.6))
        )
    if stem == "vocals" and rng.random() < 0.12:
        boxes.append(Distortion(rng.uniform(6, 20)))
    if stem in ("vocals", "guitar", "other") and rng.random() < 0.3:
        seconds = beat_s * rng.choice((0.25, 0.5, 0.75, 1.0))
        boxes.append(Delay(seconds, rng.uniform(0.1, 0.4), rng.uniform(0.05, 0.22)))
    if stem != "bass" and rng.random() < 0.25:
        wet = rng.uniform(0.03, 0.15)
        boxes.append(
            Reverb(rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.9), wet, 1 - wet, rng.random())
        )
    return _through(boxes, part)


def _through(effects: Iterable[Plugin], audio: Stereo) -> Stereo:
    for effect in effects:
        audio = np.asarray(effect(audio, SAMPLE_RATE_HZ), np.float32)
    return audio


def _sum(stems: Mapping[str, Stereo]) -> Stereo:
    return np.asarray(sum(stems.values()), np.float32)


def duck_curve(starts_s: list[float], seconds: float, samples: int) -> NDArray[np.float32]:
    """1 at every stroke of a kick, back to 0 within `seconds`; (samples,)."""
    curve = np.zeros(samples, np.float32)
    shape = np.linspace(1, 0, round(seconds * SAMPLE_RATE_HZ), dtype=np.float32) ** 2
    shape[:200] *= np.linspace(0, 1, 200, dtype=np.float32)
    for start_s in starts_s:
        first = max(round(start_s * SAMPLE_RATE_HZ), 0)
        piece = curve[first : first + shape.size]
        np.maximum(piece, shape[: piece.size], out=piece)
    return curve


def _beside_itself(audio: Stereo, rng: Random) -> Stereo:
    """With a copy that is squashed flat, up to as loud: what rings between the strokes comes up
    and the strokes stay."""
    threshold_db = 20 * np.log10(_loudness(audio) + _LEAST) - rng.uniform(12, 24)
    flat = Compressor(threshold_db, rng.uniform(6, 20), 0.5, rng.uniform(40, 150))(
        audio, SAMPLE_RATE_HZ
    )
    share = np.float32(rng.uniform(0.2, 1.0) * _loudness(audio) / (_loudness(flat) + _LEAST))
    return np.asarray(audio + share * flat, np.float32)


def _noise_floor(audio: Stereo, rng: Random) -> Stereo:
    """What amplifiers, microphones and tape leave in a stem's pauses: noise, 45 to 75 dB down,
    that falls by up to 6 dB an octave."""
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(audio.shape, np.float32)
    pole = np.float32(rng.choice((0.0, 0.8, 0.95)))
    if pole:
        noise = HighpassFilter(40.0)(
            LowpassFilter(3000.0 * (1 - float(pole)))(noise, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ
        )
    level = 10 ** (rng.uniform(-75, -45) / 20) * _loudness(audio)
    return np.asarray(level * noise / (np.sqrt(np.mean(noise**2)) + _LEAST), np.float32)


def _loudness(audio: Stereo) -> float:
    """RMS of the blocks of 50 ms within 30 dB of the loudest."""
    size = 2205
    power = np.square(audio).mean(axis=0)
    blocks = power[: power.size // size * size].reshape(-1, size).mean(axis=1)
    return float(np.sqrt(blocks[blocks >= 1e-3 * blocks.max()].mean()))
