"""The check of a card on real music: a wrong card rarely fails, it just separates badly.

Three things decide whether a model works and cannot be read off its graph: the transform, the
order of the stems and the gain. They are heard. The model is run on an excerpt and, once more, on
the excerpt moved by a number of samples that is no multiple of anything; every stem is compared
with the mix and with itself.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from ..audio.closing import Closing
from ..audio.layout import ChannelGroups
from ..audio.reading import MixBlock, SourceInfo, probe
from ..audio.resampling import resampled, resampled_frames
from ..audio.signal import MixFile, blocks_of
from ..model.hooks import SearchHooks
from ..model.sessions import Device
from ..version import ENGINE_VERSION
from .estimating import CardSeparation
from .loading import LoadedCard
from .lock import Lock, StemFindings

Float = NDArray[np.float32]
Double = NDArray[np.float64]

EXCERPT_S = 24.0
MOVE = 12_347  # samples, a prime: no hop and no segment divides it
SILENT_DB = -60.0
_EDGE_S = 1.0  # at both ends, which the move changes
_LAGS = 20_000


@dataclass(frozen=True)
class Finding:
    """Something that a right card does not do. `refused` ones are almost certainly mistakes."""

    text: str
    refused: bool = False


@dataclass(frozen=True)
class Trial:
    """What a check has found."""

    lock: Lock
    findings: tuple[Finding, ...]

    @property
    def refused(self) -> bool:
        """Whether the card is not to be trusted."""
        return any(finding.refused for finding in self.findings)


def check_card(
    loaded: LoadedCard,
    music: Path | None,
    device: Device,
    threads: int,
    seconds: float = EXCERPT_S,
) -> Trial:
    """Run a card on music of the user's, or on computed music where there is none."""
    card = loaded.card
    mix = excerpt(music, card.sample_rate, seconds) if music else computed_music(card.sample_rate)
    began_s = time.monotonic()
    stems, got = _separated(loaded, mix, device, threads)
    elapsed_s = time.monotonic() - began_s
    moved = np.pad(mix, ((0, 0), (MOVE, 0)))
    again, _ = _separated(loaded, moved, device, threads)
    found = {
        name: measure(stem, mix, other[:, MOVE:], card.sample_rate)
        for name, stem, other in zip(card.used, stems, again, strict=True)
    }
    findings = (*judge(loaded, found), *_of_rest(loaded, stems, mix))
    lock = Lock(
        digest=loaded.digest,
        music=music.name if music else "computed music",
        program={"stemwright": ENGINE_VERSION, "onnxruntime": _runtime()},
        device=got,
        threads=threads,
        seconds_per_minute=round(elapsed_s * 60 * card.sample_rate / mix.shape[1], 3),
        peak_mib=round(_peak_mib(), 1),
        band_hz=round(card.band_hz, 1),
        stems=found,
        findings=tuple(finding.text for finding in findings),
    )
    return Trial(lock, findings)


def measure(stem: Float, mix: Float, moved: Float, sample_rate: int) -> StemFindings:
    """One stem (channels, n) against the mix, and against itself from the moved mix."""
    s, m = stem.astype(np.float64), mix.astype(np.float64)
    own, whole = float(np.sum(s * s)), float(np.sum(m * m))
    energy_db = 10 * np.log10(max(own / max(whole, 1e-30), 1e-12))
    if energy_db < SILENT_DB:
        return StemFindings(
            gain=None, lag=None, energy_db=round(energy_db, 2), shift_db=None, centroid_hz=None
        )
    edge = min(round(_EDGE_S * sample_rate), stem.shape[1] // 4)
    inside = slice(edge, stem.shape[1] - edge)
    difference = float(np.sum(np.square(s[:, inside] - moved[:, inside])))
    agreement = np.sum(np.square(s[:, inside])) / max(difference, 1e-20)
    return StemFindings(
        gain=round(float(np.sum(s * m)) / own, 4),
        lag=_lag(s, m),
        energy_db=round(energy_db, 2),
        shift_db=round(float(10 * np.log10(max(agreement, 1e-6))), 1),
        centroid_hz=round(_centroid(s, sample_rate), 1),
    )


def judge(loaded: LoadedCard, stems: dict[str, StemFindings]) -> list[Finding]:
    """What a right card would not do, in words."""
    found = []
    for name, stem in stems.items():
        found += _of_stem(loaded, name, stem)
    heard = {n: s.centroid_hz for n, s in stems.items() if s.centroid_hz is not None}
    if "bass" in heard and len(heard) > 1:
        lowest = min(heard, key=lambda name: heard[name])
        if lowest != "bass":
            found.append(
                Finding(
                    f"bass is not the lowest stem ({lowest} is): are stems in the order of the "
                    "model's outputs?"
                )
            )
    for index, gain in enumerate(loaded.card.gain):
        if gain > 1.2:
            found.append(Finding(f"gain[{index}] {gain:g} is more than models are known to need"))
    return found


def _of_stem(loaded: LoadedCard, name: str, stem: StemFindings) -> list[Finding]:
    found: list[Finding] = []

    def say(text: str, *, refused: bool = False) -> None:
        found.append(Finding(f"{name}: {text}", refused))

    if stem.gain is None or stem.lag is None or stem.shift_db is None or stem.energy_db is None:
        spectral = " or stft (n_fft, normalized)" if loaded.card.stft else ""
        say(
            f"silent ({stem.energy_db:g} dB against the mix). Does it play in this music? If it "
            f"does, axes{spectral} are wrong",
            refused=all_silent(stem),
        )
        return found
    if stem.gain < 0:
        say(f"turned over (gain {stem.gain:g}). Write a negative sign nowhere: is the order of "
            "the outputs or of (c r) right?", refused=True)  # fmt: skip
    elif not 0.5 <= stem.gain <= 2:
        say(f"is not at the mix's level: times {stem.gain:g} would fit. Are stft.n_fft, "
            "normalized and the window right?", refused=True)  # fmt: skip
    elif not 0.8 <= stem.gain <= 1.25:
        say(f"is not at the mix's level: times {stem.gain:g} would fit. See stft and gain")
    elif not 0.98 <= stem.gain <= 1.02:
        say(f"times {stem.gain:g} would fit the mix better; is gain (compensate) right? A little "
            "is bleed")  # fmt: skip
    if stem.lag:
        say(f"is {abs(stem.lag)} samples {'late' if stem.lag > 0 else 'early'} against the mix. "
            "Are stft.center, pre_pad, hop and the axes right?", refused=True)  # fmt: skip
    if loaded.card.stft is None:  # waves alone: no letter of a spectrum can be wrong
        if stem.shift_db < 20:
            say(f"changes when the mix is moved by {MOVE} samples ({stem.shift_db:g} dB alike). "
                "Networks on waveforms do, small ones most: are segment, overlap and discard "
                "right?")  # fmt: skip
    elif stem.shift_db < 10:
        say(f"changes when the mix is moved by {MOVE} samples ({stem.shift_db:g} dB alike). Is "
            "the order of (c r) or of (f c) right?", refused=True)  # fmt: skip
    elif stem.shift_db < 35:
        say(f"changes when the mix is moved by {MOVE} samples ({stem.shift_db:g} dB alike). Are "
            "stft.window, discard and overlap right?")  # fmt: skip
    if stem.energy_db > 0:
        say(f"is louder than the mix ({stem.energy_db:+g} dB)", refused=stem.energy_db > 3)
    elif stem.energy_db < -40:
        say(f"is very quiet ({stem.energy_db:g} dB against the mix). Does it play in this music?")
    return found


def _of_rest(loaded: LoadedCard, stems: Float, mix: Float) -> list[Finding]:
    """A card that promises no rest must leave next to none."""
    if loaded.card.rest != "none":
        return []
    left = float(np.square(mix - stems.sum(axis=0)).sum(dtype=np.float64))
    level_db = 10 * np.log10(max(left / max(float(np.square(mix).sum()), 1e-30), 1e-12))
    if level_db < -15:
        return []
    return [
        Finding(
            f"the stems leave {level_db:.1f} dB of the mix, and the card says rest: none. Is a "
            "stem missing under stems or use, or is gain wrong?"
        )
    ]


def all_silent(stem: StemFindings) -> bool:
    """Whether a stem is not merely absent from the music but nothing at all."""
    return stem.energy_db is None or stem.energy_db <= -79


def excerpt(music: Path, sample_rate: int, seconds: float) -> Float:
    """The loudest passage of a recording, stereo at the model's rate, (2, n)."""
    info = probe(music)
    signal = MixFile(music, info)
    rows = [float(np.square(block.double).mean()) for block in blocks_of(signal, info.sample_rate)]
    width = min(len(rows), max(1, round(seconds)))
    sums = np.convolve(rows, np.ones(width), "valid")
    if not sums.max() > 0:
        raise StemwrightError("check-silent", f"{music.name} is silent. Give other music.")
    start, frames = int(sums.argmax()) * info.sample_rate, width * info.sample_rate
    with signal.open() as reader:
        reader.seek(start)
        taken = reader.read(min(frames, info.frames - start)).audio
    stereo = taken[:2] if info.channels > 1 else np.repeat(taken, 2, axis=0)
    count = stereo.shape[1]
    pieces = resampled(iter([stereo]), 2, count, info.sample_rate, sample_rate)
    found = np.concatenate(list(pieces), axis=1)
    assert found.shape[1] == resampled_frames(count, info.sample_rate, sample_rate)
    return np.asarray(found, np.float32)


def computed_music(sample_rate: int, seconds: float = EXCERPT_S) -> Float:
    """A bass line, chords, a singing tone with vibrato and noise for drums, stereo (2, n)."""
    rng = np.random.default_rng(20261127)
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    beat = (time_s * 2).astype(int)

    def saw(hz: Double, partials: int) -> Double:
        phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, time_s.shape)) / sample_rate
        return np.asarray(sum(np.sin(k * phase) / k for k in range(1, partials + 1)))

    roots = np.array([55.0, 65.4, 73.4, 49.0])[(beat // 4) % 4]
    bass = 0.25 * saw(roots, 4)
    chords = 0.06 * sum(saw(4 * roots * ratio, 6) for ratio in (1, 1.25, 1.5))
    voice = 0.12 * saw(8 * roots * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * time_s)), 10)
    voice *= (beat % 8) < 5
    decay = np.exp(-25 * (time_s * 2 % 1))
    drums = 0.3 * decay * rng.standard_normal((2, len(time_s)))
    left = bass + 1.3 * chords + voice
    right = bass + 0.7 * chords + voice
    return np.asarray(0.5 * (np.stack([left, right]) + drums), np.float32)


@dataclass(frozen=True)
class _Excerpt:
    """Music in memory as something that can be separated."""

    audio: Float
    info: SourceInfo

    def open(self) -> _ExcerptReader:
        """A reader at the beginning."""
        return _ExcerptReader(self.audio)


class _ExcerptReader(Closing):
    """Reads music in memory."""

    def __init__(self, audio: Float) -> None:
        self._audio, self._done = audio, 0

    def read(self, frames: int, /) -> MixBlock:
        """The next frames."""
        part = self._audio[:, self._done : self._done + frames]
        self._done += part.shape[1]
        return MixBlock(part.astype(np.float64), 32)

    def close(self) -> None:
        """Nothing is held."""


def _separated(loaded: LoadedCard, mix: Float, device: Device, threads: int) -> tuple[Float, str]:
    """All used stems (stems, 2, n) and the device they were made on."""
    info = SourceInfo(
        loaded.path, "wav", "float", 32, 2, loaded.card.sample_rate, mix.shape[1], None
    )
    signal = _Excerpt(mix, info)
    groups = ChannelGroups(((0, 1),), ())
    separation = CardSeparation(loaded, device, threads)
    with tempfile.TemporaryDirectory() as folder:
        separation.search(signal, groups, Path(folder), SearchHooks())
        stems = np.concatenate(list(separation.stems_of(signal, groups, Path(folder))), axis=2)
    return stems, separation.got


def _lag(stem: Double, mix: Double) -> int:
    """Samples by which the stem is late: the peak of its correlation with the mix."""
    size = 1 << (2 * stem.shape[1] - 1).bit_length()
    spectra = np.fft.rfft(stem, size) * np.conj(np.fft.rfft(mix, size))
    correlation = np.abs(np.fft.irfft(spectra.sum(axis=0), size))
    near = np.concatenate([correlation[-_LAGS:], correlation[: _LAGS + 1]])
    # the middle wins a tie: of a tone every period is as good
    centre = near[_LAGS]
    peak = int(near.argmax())
    return 0 if near[peak] <= centre * 1.0001 else peak - _LAGS


def _centroid(stem: Double, sample_rate: int) -> float:
    power = np.square(np.abs(np.fft.rfft(stem))).sum(axis=0)
    hz = np.fft.rfftfreq(stem.shape[1], 1 / sample_rate)
    return float((power * hz).sum() / max(power.sum(), 1e-30))


def _peak_mib() -> float:
    """The most memory that this process has had; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _runtime() -> str:
    import onnxruntime

    return f"{onnxruntime.__version__} ({platform.machine()})"
