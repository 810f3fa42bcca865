"""K-weighting in blocks is the recursive filter of the standard, sample by sample."""

import numpy as np
import pytest

from engine.audio.k_weighting import BLOCK, KWeighting

# BS.1770-5, tables 1 and 2, at 48 kHz: b and a of the shelf and of the high-pass
SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (-1.69065929318241, 0.73248077421585),
)
HIGH_PASS = (1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621)
ROUNDING = 1e-9  # of the standard's fifteen digits, and of sums in another order
SILENCE = 1e-7  # -140 dB


def recursive(audio, b, a):
    """The second transposed direct form, a sample at a time."""
    out, first, second = np.empty_like(audio), 0.0, 0.0
    for n, x in enumerate(audio):
        out[n] = y = b[0] * x + first
        first, second = b[1] * x - a[0] * y + second, b[2] * x - a[1] * y
    return out


def streamed(audio, rate, piece):
    weighting = KWeighting(len(audio), rate)
    parts = [weighting.push(audio[:, at : at + piece]) for at in range(0, audio.shape[1], piece)]
    return np.concatenate([*parts, weighting.finish()], axis=1)


def test_it_is_the_standards_filter(rng):
    audio = rng.standard_normal((2, 5000))
    expected = [recursive(recursive(channel, *SHELF), *HIGH_PASS) for channel in audio]
    np.testing.assert_allclose(streamed(audio, 48_000, 1777), expected, atol=ROUNDING)


@pytest.mark.parametrize("piece", [1, BLOCK - 1, BLOCK, 1000, 20_000])
def test_the_cut_of_the_stream_does_not_matter(rng, piece):
    audio = rng.standard_normal((1, 700))
    whole = streamed(audio, 44_100, audio.shape[1])
    np.testing.assert_allclose(streamed(audio, 44_100, piece), whole, atol=ROUNDING)


@pytest.mark.parametrize("rate", [8000, 384_000])
def test_a_constant_dies_away(rate):
    """The high-pass forgets at every rate; what it keeps in its states does not pile up."""
    filtered = streamed(np.ones((1, 2 * rate)), rate, 65_536)
    assert np.abs(filtered[0, rate:]).max() < SILENCE
