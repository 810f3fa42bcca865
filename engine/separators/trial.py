"""The check of a card on real music: a wrong card rarely fails, it just separates badly.

Four things decide whether a model works and cannot be read off its graph: the transform, the
order of the stems, the gain and the level it is fed at. They are heard. The model is run on an
excerpt and, once more, on the excerpt moved by a number of samples that is no multiple of
anything; every stem is compared with the mix and with itself. What the file says of itself is
compared with the card, too.
"""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..model.sessions import Device
from ..version import ENGINE_VERSION
from .card import Normalise, StftCard
from .drafting import keys_in_metadata
from .excerpt import EXCERPT_S, computed_music, excerpt, separated_excerpt
from .levels import better_level, try_levels
from .loading import LoadedCard
from .lock import LevelFindings, Lock, StemFindings

Float = NDArray[np.float32]
Double = NDArray[np.float64]

MOVE = 12_347  # samples, a prime: no hop and no segment divides it
SILENT_DB = -60.0
_EDGE_S = 1.0  # at both ends, which the move changes
_LAGS = 20_000
LOW_HZ = 120.0  # below it there is next to no voice
_BESIDE_VOCALS = ("drums", "bass", "instrumental", "accompaniment", "no-vocals")
_SOME_LOW, _SHARPER_DB = 0.05, 2.0
_MOST_ALIKE = 1e3  # condition of the stems' correlations


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
    stems, got = separated_excerpt(loaded, mix, device, threads)
    elapsed_s = time.monotonic() - began_s
    moved = np.pad(mix, ((0, 0), (MOVE, 0)))
    again, _ = separated_excerpt(loaded, moved, device, threads)
    found = {
        name: measure(stem, mix, other[:, MOVE:], card.sample_rate, gain)
        for name, stem, other, gain in zip(
            card.used, stems, again, fitting_gains(stems, mix), strict=True
        )
    }
    level = try_levels(loaded, mix, device, threads)
    findings = (
        *against_metadata(loaded),
        *judge(loaded, found),
        *_of_rest(loaded, stems, mix),
        *_of_level(loaded, level),
    )
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
        level=level,
        findings=tuple(finding.text for finding in findings),
    )
    return Trial(lock, findings)


def fitting_gains(stems: Float, mix: Float) -> list[float]:
    """The gain that each stem (stems, channels, n) wants for their sum to be nearest the mix.

    All are fitted together: alone, a soft stem with some bleed of a loud one would want a large
    gain, however right it is. Stems that say the same are fitted alone.
    """
    rows = stems.reshape(len(stems), -1).astype(np.float64)
    powers, with_mix = rows @ rows.T, rows @ mix.reshape(-1).astype(np.float64)
    own = np.maximum(np.diag(powers), 1e-30)
    heard = own > 10 ** (SILENT_DB / 10) * max(float(np.square(mix).sum()), 1e-30)
    gains = with_mix / own
    together = powers[np.ix_(heard, heard)] / np.sqrt(np.outer(own[heard], own[heard]))
    if heard.any() and np.linalg.cond(together) < _MOST_ALIKE:
        gains[heard] = np.linalg.solve(powers[np.ix_(heard, heard)], with_mix[heard])
    return [float(gain) for gain in gains]


def measure(stem: Float, mix: Float, moved: Float, sample_rate: int, gain: float) -> StemFindings:
    """One stem (channels, n) against the mix, and against itself from the moved mix; `gain` is
    what it wants among its like."""
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
        gain=round(gain, 4),
        lag=_lag(s, m),
        energy_db=round(energy_db, 2),
        shift_db=round(float(10 * np.log10(max(agreement, 1e-6))), 1),
        centroid_hz=round(_centroid(s, sample_rate), 1),
        low_share=round(_low_share(s, sample_rate), 4),
        crest_db=round(_crest_db(s, sample_rate), 2),
    )


def judge(loaded: LoadedCard, stems: dict[str, StemFindings]) -> list[Finding]:
    """What a right card would not do, in words."""
    found = []
    # a wrong transform moves all stems alike; of a faint one in periodic music the peak may be any
    moved_alike = len({stem.lag for stem in stems.values() if stem.lag is not None}) == 1
    for name, stem in stems.items():
        found += _of_stem(loaded, name, stem, moved_alike=moved_alike)
    found += _of_order(stems)
    for index, gain in enumerate(loaded.card.gain):
        if gain > 1.2:
            found.append(Finding(f"gain[{index}] {gain:g} is more than models are known to need"))
    return found


def _of_order(stems: dict[str, StemFindings]) -> list[Finding]:
    """Names that do not go with the sound: nothing in a graph tells the order of its stems."""

    def say(text: str) -> Finding:
        return Finding(f"{text}: are stems in the order of the model's outputs?")

    found = []
    heard = {name: stem for name, stem in stems.items() if stem.centroid_hz is not None}
    centroids = {name: stem.centroid_hz or 0.0 for name, stem in heard.items()}
    lows = {name: stem.low_share for name, stem in heard.items() if stem.low_share is not None}
    crests = {name: stem.crest_db for name, stem in heard.items() if stem.crest_db is not None}
    if "bass" in centroids and (lowest := min(centroids, key=lambda n: centroids[n])) != "bass":
        found.append(say(f"bass is not the lowest stem ({lowest} is)"))
    for name in _BESIDE_VOCALS:
        if name in lows and lows.get("vocals", 0.0) > max(2 * lows[name], _SOME_LOW):
            shares = f"{lows['vocals']:.0%} of their energy below {LOW_HZ:g} Hz"
            found.append(say(f"vocals have {shares}, {name} {lows[name]:.0%}"))
    if "drums" in crests and len(crests) > 1:
        sharpest = max(crests, key=lambda name: crests[name])
        if crests[sharpest] > crests["drums"] + _SHARPER_DB:
            found.append(say(f"drums are not the most transient stem ({sharpest} is)"))
    return found


def _of_stem(
    loaded: LoadedCard, name: str, stem: StemFindings, *, moved_alike: bool
) -> list[Finding]:
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
        cause = "stft.n_fft, normalized and the window" if loaded.card.stft else "gain and axes"
        say(f"is not at the mix's level: times {stem.gain:g} would fit. Are {cause} right?",
            refused=True)  # fmt: skip
    elif not 0.8 <= stem.gain <= 1.25:
        cause = "stft and gain" if loaded.card.stft else "gain"
        say(f"is not at the mix's level: times {stem.gain:g} would fit. See {cause}")
    elif not 0.98 <= stem.gain <= 1.02:
        say(f"times {stem.gain:g} would fit the mix better; is gain (compensate) right? A little "
            "is bleed")  # fmt: skip
    if stem.lag:
        say(f"is {abs(stem.lag)} samples {'late' if stem.lag > 0 else 'early'} against the mix. "
            "Are stft.center, pre_pad, hop and the axes right?", refused=moved_alike)  # fmt: skip
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


def against_metadata(loaded: LoadedCard) -> list[Finding]:
    """What an export says of itself is believed: its author wrote both."""
    metadata, card = keys_in_metadata(loaded.path_of(loaded.card.graphs[0])), loaded.card
    expected = {key: value for key, value in metadata.items() if key not in ("stems", "stft")}
    written: dict[str, object] = {key: getattr(card, key) for key in expected}
    stems = metadata.get("stems")
    if stems and sorted(stems) == sorted(card.stems):  # they may be called otherwise
        expected["stems"], written["stems"] = tuple(stems), card.stems
    if card.stft is not None and "stft" in metadata:
        theirs = StftCard.model_validate(metadata["stft"])
        for key in ("n_fft", "hop", "window", "normalized", "bins", "pre_pad", "trim_frames"):
            name = "stft.dim_f" if key == "bins" else f"stft.{key}"
            expected[name], written[name] = getattr(theirs, key), getattr(card.stft, key)
    return [
        Finding(
            f"{key}: the file says of itself {_word(value)}, the card {_word(written[key])}",
            refused=True,
        )
        for key, value in expected.items()
        if written[key] != value
    ]


def _word(value: object) -> str:
    """As it stands in a card."""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _of_level(loaded: LoadedCard, level: LevelFindings) -> list[Finding]:
    """A card must feed the network at the level it was trained for, where that matters."""
    own = loaded.card.normalise
    other: Normalise = "track-mean-std" if own == "none" else "none"
    if not level.matters or (better := better_level(level)) == own:
        return []
    likeness = (
        f"normalise: {own} and {other} give stems that are only {level.alike_db:g} dB alike, "
    )
    if better is None:
        return [
            Finding(
                f"{likeness}and nothing in them tells which is right ({level.summary(own)}; "
                f"{level.summary(other)}). Does the model's own program normalise the song?"
            )
        ]
    return [
        Finding(
            f"{likeness}and {other} fits better ({level.summary(other)}) than the card's {own} "
            f"({level.summary(own)}). Was the model trained on "
            f"{'songs as they are' if other == 'none' else 'normalised songs'}?"
        )
    ]


def all_silent(stem: StemFindings) -> bool:
    """Whether a stem is not merely absent from the music but nothing at all."""
    return stem.energy_db is None or stem.energy_db <= -79


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


def _low_share(stem: Double, sample_rate: int) -> float:
    """The part of a stem's energy that lies below LOW_HZ."""
    power = np.square(np.abs(np.fft.rfft(stem))).sum(axis=0)
    low = np.fft.rfftfreq(stem.shape[1], 1 / sample_rate) < LOW_HZ
    return float(power[low].sum() / max(power.sum(), 1e-30))


def _crest_db(stem: Double, sample_rate: int) -> float:
    """How far the loudest hundredth of all 10 ms stands above the mean: hits do, tones do not."""
    width = max(1, sample_rate // 100)
    power = np.square(stem).sum(axis=0)
    frames = power[: len(power) // width * width].reshape(-1, width).mean(axis=1)
    return float(10 * np.log10(np.percentile(frames, 99) / max(float(frames.mean()), 1e-30)))


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
