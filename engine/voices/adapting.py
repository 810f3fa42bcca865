"""What the recording itself says of its voices' timbres, on top of what a network says.

A throat that no training heard is given the filter of one that some did. The mix knows better: in
every round the masks say which power each voice has in each band over half a second, the model
says which it expected, and the voice's gain there is multiplied by their ratio. These are updates
of a factorisation whose parts are already near (multiplicative rules for the Kullback-Leibler
divergence of powers: Lee & Seung, NIPS 2000; Fevotte & Idier, Neural Computation 23(9), 2011),
smooth in frequency and in time, and held near 1 by a prior. Few rounds are best: with many the
louder voices take from the softer ones what lies between their harmonics.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .synthesis import GAIN_BANDS, VoiceBins, VoiceParameters, voice_magnitudes

Float = NDArray[np.float32]

FRAMES = 15  # of 32 ms, that are heard together
ITERATIONS = 5
PRIOR = 0.1  # of a voice's mean power in a band: as if so much more had been seen, and as expected
MOST = 30.0  # of a gain, 15 dB: pitches that are wrong would ask for more, and for noise alone
_LEAST = np.float32(1e-12)
_NOTHING = 1e-6  # of the mix's mean power: below, no voice is told from another


def band_gains(
    mix: Float, parameters: VoiceParameters, excitation: Float, bins: VoiceBins
) -> Float:
    """Gains of every voice's power, (voices, frames, GAIN_BANDS).

    mix -- magnitudes (frames, bins) of the mix at the level that the parameters are told for
    excitation -- magnitudes (voices, frames, bins) of the voices' harmonics
    """
    expected = voice_magnitudes(parameters, excitation, bins) ** 2
    bands = bins.gain_bands(GAIN_BANDS)
    power = mix**2
    least = np.float32(_NOTHING) * power.mean() + _LEAST
    gains = np.ones((*expected.shape[:2], GAIN_BANDS), np.float32)
    for _ in range(ITERATIONS):
        own = expected * (gains @ bands)
        share = own * (power / (own.sum(axis=0) + least))
        seen, said = (_over_frames(values @ bands.T) for values in (share, own))
        prior = PRIOR * said.mean(axis=(1, 2), keepdims=True) + _LEAST
        gains = np.clip((gains * seen + prior) / (said + prior), 1 / MOST, MOST, dtype=np.float32)
    return gains


def _over_frames(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sums over FRAMES frames around each one, (voices, frames, bands); fewer at the edges."""
    half = FRAMES // 2
    padded = np.pad(values, ((0, 0), (half, half), (0, 0)))
    found = np.zeros_like(values)
    for shift in range(FRAMES):
        found += padded[:, shift : shift + values.shape[1]]
    return found
