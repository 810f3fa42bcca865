"""The table of effects: every built-in pedalboard effect, its parameters, units and ranges.

The ranges are ours, not pedalboard's: it accepts NaN, negative times and cut-offs above
Nyquist, and then puts out infinities. Every parameter is required, because the library's
defaults surprise (Gain is +1 dB, both pass filters stand at 50 Hz). The check of a cut-off
against the sample rate of the audio happens when the chain is built, in the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from .section import Section

Level = Annotated[float, Field(ge=-100, le=0, description="dBFS")]
Decibels = Annotated[float, Field(ge=-60, le=36, description="dB")]
Attack = Annotated[float, Field(ge=0.01, le=500, description="ms")]
Release = Annotated[float, Field(ge=1, le=5000, description="ms")]
# 96 kHz is Nyquist of the highest rate that the readers accept; below 10 Hz the filters'
# 32-bit coefficients lose their precision.
Frequency = Annotated[float, Field(ge=10, le=96_000, description="Hz, below 0.49 x sample rate")]
Treble = Annotated[
    float, Field(ge=10, le=96_000, description="Hz; left out from 0.49 x sample rate on")
]
Q = Annotated[float, Field(ge=0.05, le=40, description="quality factor")]
Fraction = Annotated[float, Field(ge=0, le=1, description="0 to 1")]
# A feedback of 1 never dies away, and above 1 it grows without bound.
Feedback = Annotated[float, Field(ge=-0.98, le=0.98, description="fraction fed back")]
Rate = Annotated[float, Field(ge=0.01, le=20, description="Hz")]
ResampleQuality = Literal[
    "ZeroOrderHold", "Linear", "CatmullRom", "Lagrange", "WindowedSinc", "WindowedSinc256",
    "WindowedSinc128", "WindowedSinc64", "WindowedSinc32", "WindowedSinc16", "WindowedSinc8",
]  # fmt: skip
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


class Effect(Section):
    """One step of a chain, and what the engine must know of its kind.

    `frequency`: the parameter in Hz that must lie below 0.49 x sample rate. `treble_only`: it
    leaves alone what lies below that frequency, so it is left out where there is nothing above.
    `whole`: called block by block it loses its place, so it gets the whole stem at once.
    `codec_rates_hz`, `most_channels`: all that it takes, where it does not take everything.
    """

    frequency: ClassVar[str | None] = None
    treble_only: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    codec_rates_hz: ClassVar[tuple[int, ...] | None] = None
    most_channels: ClassVar[int | None] = None

    @property
    def frequency_hz(self) -> float | None:
        """The value of that parameter."""
        return None if self.frequency is None else float(getattr(self, self.frequency))

    @property
    def ceiling_dbtp(self) -> float | None:
        """The true peak that nothing behind this step exceeds, where it promises one."""
        return None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that this step reads."""
        return ()

    @property
    def label(self) -> str:
        """What messages and manifests call this step."""
        return str(getattr(self, "effect", type(self).__name__))


class Gain(Effect):
    """A fader."""

    effect: Literal["Gain"]
    gain_db: Decibels


class Invert(Effect):
    """Turns the polarity over."""

    effect: Literal["Invert"]


class Compressor(Effect):
    """Turns down what is louder than the threshold."""

    effect: Literal["Compressor"]
    threshold_db: Level
    ratio: Annotated[float, Field(ge=1, le=100, description="n:1")]
    attack_ms: Attack
    release_ms: Release


class NoiseGate(Effect):
    """Turns down what is quieter than the threshold."""

    effect: Literal["NoiseGate"]
    threshold_db: Level
    ratio: Annotated[float, Field(ge=1, le=100, description="1:n")]
    attack_ms: Attack
    release_ms: Release


class Limiter(Effect):
    """A loudness maximiser: adds make-up gain and clips hard at 0 dBFS. It is no ceiling."""

    effect: Literal["Limiter"]
    threshold_db: Annotated[float, Field(ge=-40, le=0, description="dBFS")]
    release_ms: Release


class BrickwallLimiter(Effect):
    """A look-ahead limiter whose ceiling holds; with true_peak also between the samples."""

    effect: Literal["BrickwallLimiter"]
    ceiling_db: Annotated[float, Field(ge=-40, le=0, description="dBFS, or dBTP")]
    release_ms: Release
    lookahead_ms: Annotated[float, Field(ge=0.1, le=100, description="ms")]
    true_peak: bool

    @property
    def ceiling_dbtp(self) -> float | None:
        return self.ceiling_db if self.true_peak else None


class HighpassFilter(Effect):
    """A filter that takes away what lies below the cut-off, 6 dB per octave."""

    frequency = "cutoff_frequency_hz"

    effect: Literal["HighpassFilter"]
    cutoff_frequency_hz: Frequency


class LowpassFilter(Effect):
    """A filter that takes away what lies above the cut-off, 6 dB per octave."""

    frequency = "cutoff_frequency_hz"
    treble_only = True

    effect: Literal["LowpassFilter"]
    cutoff_frequency_hz: Treble


class HighShelfFilter(Effect):
    """Lifts or lowers everything above a frequency."""

    frequency = "cutoff_frequency_hz"
    treble_only = True

    effect: Literal["HighShelfFilter"]
    cutoff_frequency_hz: Treble
    gain_db: Decibels
    q: Q


class LowShelfFilter(Effect):
    """Lifts or lowers everything below a frequency."""

    frequency = "cutoff_frequency_hz"

    effect: Literal["LowShelfFilter"]
    cutoff_frequency_hz: Frequency
    gain_db: Decibels
    q: Q


class PeakFilter(Effect):
    """Lifts or lowers a bell around a frequency."""

    frequency = "cutoff_frequency_hz"
    treble_only = True

    effect: Literal["PeakFilter"]
    cutoff_frequency_hz: Treble
    gain_db: Decibels
    q: Q


class LadderFilter(Effect):
    """A synthesiser's resonant filter."""

    frequency = "cutoff_hz"

    effect: Literal["LadderFilter"]
    mode: Literal["LPF12", "HPF12", "BPF12", "LPF24", "HPF24", "BPF24"]
    cutoff_hz: Frequency
    resonance: Fraction
    drive: Annotated[float, Field(ge=1, le=10, description="input gain into saturation")]


class Chorus(Effect):
    """A slowly moving short delay beside the signal."""

    effect: Literal["Chorus"]
    rate_hz: Rate
    depth: Fraction
    centre_delay_ms: Annotated[float, Field(ge=1, le=100, description="ms")]
    feedback: Feedback
    mix: Fraction


class Phaser(Effect):
    """Notches that sweep through the spectrum."""

    frequency = "centre_frequency_hz"

    effect: Literal["Phaser"]
    rate_hz: Rate
    depth: Fraction
    centre_frequency_hz: Frequency
    feedback: Feedback
    mix: Fraction


class Delay(Effect):
    """An echo."""

    effect: Literal["Delay"]
    delay_seconds: Annotated[float, Field(ge=0.001, le=30, description="s")]
    feedback: Annotated[float, Field(ge=0, le=0.98, description="fraction fed back")]
    mix: Fraction


class Reverb(Effect):
    """A room."""

    effect: Literal["Reverb"]
    room_size: Fraction
    damping: Fraction
    wet_level: Fraction
    dry_level: Fraction
    width: Fraction
    freeze_mode: Annotated[float, Field(ge=0, le=1, description="0.5 and above rings for ever")]


class Convolution(Effect):
    """A recorded room or cabinet. The response's energy is normalised: expect to add gain."""

    effect: Literal["Convolution"]
    impulse_response_filename: Annotated[
        str, Field(min_length=1, description="audio file, relative to the preset")
    ]
    mix: Fraction

    @property
    def files(self) -> tuple[str, ...]:
        return (self.impulse_response_filename,)


class Distortion(Effect):
    """A tanh curve driven by gain."""

    effect: Literal["Distortion"]
    drive_db: Annotated[float, Field(ge=0, le=60, description="dB")]


class Clipping(Effect):
    """A hard clip."""

    effect: Literal["Clipping"]
    threshold_db: Annotated[float, Field(ge=-60, le=0, description="dBFS")]


class Bitcrush(Effect):
    """Fewer bits. Zero bits double the level, so it begins at one."""

    effect: Literal["Bitcrush"]
    bit_depth: Annotated[float, Field(ge=1, le=32, description="bits")]


class PitchShift(Effect):
    """Another pitch at the same speed. Beyond two octaves nothing musical is left."""

    whole = True  # pedalboard 0.9.26

    effect: Literal["PitchShift"]
    semitones: Annotated[float, Field(ge=-24, le=24, description="semitones")]


class Resample(Effect):
    """Down to another sample rate and up again, for its sound."""

    effect: Literal["Resample"]
    target_sample_rate: Annotated[float, Field(ge=1000, le=192_000, description="Hz")]
    quality: ResampleQuality


class GSMFullRateCompressor(Effect):
    """A mobile telephone of 1991."""

    whole = True  # pedalboard 0.9.26

    effect: Literal["GSMFullRateCompressor"]
    quality: ResampleQuality


class MP3Compressor(Effect):
    """The sound of an MP3 file; mono and stereo only."""

    codec_rates_hz = MP3_RATES_HZ
    most_channels = 2

    effect: Literal["MP3Compressor"]
    vbr_quality: Annotated[float, Field(ge=0, le=9.9, description="0 best, 9.9 worst")]


class Plugin(Effect):
    """A VST3 or Audio Unit plug-in, run in a process of its own."""

    plugin: Annotated[
        str, Field(min_length=1, description="name of an installed plug-in, or a path to one")
    ]
    plugin_name: Annotated[
        str | None, Field(min_length=1, description="which one, when the file holds several")
    ] = None
    parameters: dict[str, bool | float | str] = Field(
        default_factory=dict, description="by the names and units that `plugin inspect` prints"
    )
    state: Annotated[
        str | None, Field(min_length=1, description=".vstpreset file, relative to the preset")
    ] = None

    @property
    def files(self) -> tuple[str, ...]:
        return (self.state,) if self.state else ()

    @property
    def label(self) -> str:
        return self.plugin_name or self.plugin


class Parallel(Effect):
    """Chains side by side, fed with the same signal, added up at the end."""

    parallel: Annotated[tuple[tuple[ChainStep, ...], ...], Field(min_length=2, max_length=8)]

    @property
    def label(self) -> str:
        return "parallel"


BuiltIn = Annotated[
    Gain | Invert | Compressor | NoiseGate | Limiter | BrickwallLimiter | HighpassFilter
    | LowpassFilter | HighShelfFilter | LowShelfFilter | PeakFilter | LadderFilter | Chorus
    | Phaser | Delay | Reverb | Convolution | Distortion | Clipping | Bitcrush | PitchShift
    | Resample | GSMFullRateCompressor | MP3Compressor,
    Field(discriminator="effect"),
]  # fmt: skip


def kind_of(step: Any) -> str | None:  # noqa: ANN401  pydantic hands over whatever was written
    """Which of the three kinds of step a mapping is, told by the key that it has.

    The tag is in brackets, so that in an error's location it is not taken for that key.
    """
    for kind in ("effect", "plugin", "parallel"):
        if kind in step if isinstance(step, Mapping) else hasattr(step, kind):
            return f"<{kind}>"
    return None


ChainStep = Annotated[
    Annotated[BuiltIn, Tag("<effect>")]
    | Annotated[Plugin, Tag("<plugin>")]
    | Annotated[Parallel, Tag("<parallel>")],
    Discriminator(kind_of),
]
Chain = Annotated[tuple[ChainStep, ...], Field(max_length=64)]

Parallel.model_rebuild()

BUILT_IN: dict[str, type[Effect]] = {
    cls.__name__: cls
    for cls in Effect.__subclasses__()
    if "effect" in cls.model_fields
}  # fmt: skip
