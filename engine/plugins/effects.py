"""Builds pedalboard's own effects from their preset steps and runs them over streams."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from presets import Effect, StemwrightError

from ..audio.blocks import BLOCK_FRAMES, AudioBlock, Stream, reblocked, take
from ..audio.writing import sound_path

if TYPE_CHECKING:
    import pedalboard

HIGHEST_CUTOFF = 0.49  # of the sample rate; at Nyquist the filters' coefficients blow up
# pedalboard's limiter measures at 4x: white noise at 96 kHz was seen 0.49 dB above its ceiling.
TRUE_PEAK_MARGIN_DB = 0.5
LONGEST_IMPULSE_S = 30
# An effect that gets the whole stem holds signal, result and its own copies at once: 1.6 GB at
# this many samples.
MOST_WHOLE_SAMPLES = 100_000_000
SILENT_BLOCKS_ALLOWED = 64  # 95 s of 44.1 kHz: no effect has that much latency


def check_effect(step: Effect, sample_rate: int, channels: int, where: str) -> None:
    """Refuse what this effect cannot do at this sample rate or with so many channels."""
    limit, frequency = HIGHEST_CUTOFF * sample_rate, step.frequency_hz
    if frequency is not None and frequency >= limit and not step.treble_only:
        raise StemwrightError(
            "effect-out-of-range",
            f"{where}.{step.frequency}: must be below {limit:g} at {sample_rate} Hz, got "
            f"{frequency:g}. Lower it, or take it out for sources of this rate.",
        )
    rates, most = step.codec_rates_hz, step.most_channels
    if (rates and sample_rate not in rates) or (most and channels > most):
        raise StemwrightError(
            "effect-unsuitable",
            f"{where}: {step.label} takes mono and stereo at the codec's rates up to 48000 Hz, "
            f"this source has {channels} channels at {sample_rate} Hz.",
        )


def above_the_band(step: Effect, sample_rate: int) -> str | None:
    """Why a filter has nothing to do at this rate, if its frequency lies above what there is.

    Presets are written for full-band music; an archive's 16 kHz file has none of the treble that
    a shelf at 8 kHz would lower.
    """
    frequency = step.frequency_hz
    if not step.treble_only or frequency is None or frequency < HIGHEST_CUTOFF * sample_rate:
        return None
    return f"{step.label} at {frequency:g} Hz: audio at {sample_rate} Hz has nothing there"


def build_effect(step: Effect, sample_rate: int) -> pedalboard.Plugin:
    """pedalboard's effect with exactly these parameters."""
    import pedalboard

    cls = getattr(pedalboard, step.label)
    values: dict[str, Any] = step.model_dump(exclude={"effect"})
    if "mode" in values:
        values["mode"] = cls.Mode.__members__[values["mode"]]
    if "quality" in values:
        values["quality"] = pedalboard.Resample.Quality.__members__[values["quality"]]
    if file := values.get("impulse_response_filename"):
        values["impulse_response_filename"], values["sample_rate"] = _impulse(Path(file))
    if step.ceiling_dbtp is not None:
        values["ceiling_db"] -= TRUE_PEAK_MARGIN_DB
    built: pedalboard.Plugin = cls(**values)
    return built


def effect_stream(
    stream: Stream, step: Effect, sample_rate: int, frames: int, where: str
) -> Stream:
    """The stream behind one effect; a NaN or infinity that it makes is told with its name."""
    effect = build_effect(step, sample_rate)
    if step.whole:
        return _whole(stream, effect, sample_rate, frames, f"{where}: {step.label}")
    outputs = (
        effect.process(block, sample_rate, buffer_size=BLOCK_FRAMES, reset=False)
        for block in stream
    )
    return reblocked(checked(outputs, f"{where}: {step.label}", sample_rate))


def checked(outputs: Stream, name: str, sample_rate: int) -> Stream:
    """The same parts, as long as they are finite and keep coming."""
    position, empty = 0, 0
    for output in outputs:
        if not np.isfinite(output).all():
            raise StemwrightError(
                "effect-not-finite",
                f"{name} put out NaN or infinity {position / sample_rate:.1f} s into "
                "the stem. Change its parameters.",
            )
        empty = 0 if output.size else empty + 1
        if empty > SILENT_BLOCKS_ALLOWED:
            raise StemwrightError("effect-silent", f"{name} gives no output.")
        position += output.shape[1]
        yield output


def _whole(
    stream: Stream, effect: pedalboard.Plugin, sample_rate: int, frames: int, name: str
) -> Stream:
    """All at once, in memory."""
    first = next(stream)
    channels = first.shape[0]
    if channels * frames > MOST_WHOLE_SAMPLES:
        minutes = MOST_WHOLE_SAMPLES / channels / sample_rate / 60
        raise StemwrightError(
            "effect-too-long",
            f"{name} works on at most {minutes:.0f} minutes of this source at once.",
        )
    signal = np.concatenate(list(take(itertools.chain([first], stream), frames)), axis=1)
    result: AudioBlock = effect.process(signal, sample_rate)
    silence = np.zeros((channels, BLOCK_FRAMES), np.float32)
    parts = itertools.chain([result], itertools.repeat(silence))
    yield from reblocked(checked(parts, name, sample_rate))


def _impulse(file: Path) -> tuple[AudioBlock, float]:
    """An impulse response `(channels, samples)` and its sample rate."""
    import soundfile

    try:
        with soundfile.SoundFile(sound_path(file)) as sound:
            if not 0 < sound.frames <= LONGEST_IMPULSE_S * sound.samplerate:
                raise StemwrightError(
                    "impulse-invalid",
                    f"{file.name}: an impulse response has 1 sample to {LONGEST_IMPULSE_S} s.",
                )
            samples = sound.read(dtype="float32", always_2d=True).T
            rate = float(sound.samplerate)
    except soundfile.LibsndfileError as error:
        raise StemwrightError("impulse-invalid", f"{file.name}: {error.error_string}") from None
    if not np.isfinite(samples).all() or not samples.any():
        raise StemwrightError("impulse-invalid", f"{file.name}: silent, or not finite.")
    return np.ascontiguousarray(samples), rate
