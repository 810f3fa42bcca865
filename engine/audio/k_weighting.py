"""Filters a stream by the K-weighting of BS.1770: a head's shelf and a high-pass at 38 Hz.

A recursive filter is a loop over samples. Here it is matrix products over blocks: what a block
of samples x gives alone is a product with the impulse response, and what lies before it has left
a state s of four numbers,

    y = x T + s O,    s' = s P + x R

where T (BLOCK, BLOCK) has the impulse response in its columns, O what a state still gives, R
what a block leaves in the state and P what remains of a state after a block. The states of all
blocks are summed up by doubling, in log2 of their number steps.

What comes in float32 is filtered in float32, 140 dB below the signal; the states, which add up
all that was before, are float64 in any case.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Double = npt.NDArray[np.float64]
Real = npt.NDArray[np.floating]

BLOCK = 32  # samples; twice as many are twice the work in T, half as many twice that in states
# OpenBLAS shares larger products out over threads, of which the pools have their own.
BLOCKS_AT_ONCE = 128


class KWeighting:
    """The filter with what it remembers of the stream; memory does not grow."""

    def __init__(self, channels: int, sample_rate: int) -> None:
        self._matrices = _BlockMatrices.of(_k_weighting(sample_rate))
        self._state = np.zeros((channels, 4))
        self._waiting: Real = np.zeros((channels, 0), np.float32)

    def push(self, block: Real) -> Real:
        """Filter the next frames (channels, n); a few of them wait until a block is whole."""
        precision = np.float32 if block.dtype == np.float32 else np.float64
        joined: Real = np.concatenate([self._waiting, block], axis=1, dtype=precision)
        whole = joined.shape[1] // BLOCK * BLOCK
        self._waiting = joined[:, whole:]
        return self._filtered(joined[:, :whole])

    def finish(self) -> Real:
        """What is left, (channels, n)."""
        waiting = self._waiting.shape[1]
        silence = np.zeros((len(self._waiting), -waiting % BLOCK), self._waiting.dtype)
        return self.push(silence)[:, :waiting]

    def _filtered(self, audio: Real) -> Real:
        channels, m = len(audio), self._matrices
        blocks = audio.reshape(channels, -1, BLOCK)
        response = m.response.astype(audio.dtype)
        into_state, out_of_state = m.into_state.astype(audio.dtype), m.out_of_state
        own, left = np.empty_like(blocks), np.empty((*blocks.shape[:2], 4), audio.dtype)
        for first in range(0, blocks.shape[1], BLOCKS_AT_ONCE):
            some = slice(first, first + BLOCKS_AT_ONCE)
            np.matmul(blocks[:, some], response, out=own[:, some])
            np.matmul(blocks[:, some], into_state, out=left[:, some])
        states = np.concatenate([self._state[:, None], left], axis=1)
        power, step = m.remaining, 1
        while step < states.shape[1]:
            states[:, step:] += states[:, :-step] @ power
            power, step = power @ power, 2 * step
        self._state = states[:, -1]
        own += states[:, :-1].astype(audio.dtype) @ out_of_state.astype(audio.dtype)
        return own.reshape(channels, -1)


class _StateSpace(NamedTuple):
    """s' = A s + b x, y = c s + d x."""

    a: Double
    b: Double
    c: Double
    d: float

    def before(self, other: _StateSpace) -> _StateSpace:
        """This one and then the other."""
        a = np.block([
            [self.a, np.zeros((len(self.a), len(other.a)))],
            [np.outer(other.b, self.c), other.a],
        ])  # fmt: skip
        return _StateSpace(
            a,
            np.concatenate([self.b, other.b * self.d]),
            np.concatenate([other.d * self.c, other.c]),
            self.d * other.d,
        )


class _BlockMatrices(NamedTuple):
    """T, R, P and O of the formula above."""

    response: Double
    into_state: Double
    remaining: Double
    out_of_state: Double

    @classmethod
    def of(cls, filter_: _StateSpace) -> _BlockMatrices:
        powers = [np.linalg.matrix_power(filter_.a, n) for n in range(BLOCK + 1)]
        impulse = [filter_.d, *(float(filter_.c @ power @ filter_.b) for power in powers)]
        response = np.zeros((BLOCK, BLOCK))
        for delay in range(BLOCK):
            response += np.diag(np.full(BLOCK - delay, impulse[delay]), delay)
        into_state = np.array([powers[BLOCK - 1 - n] @ filter_.b for n in range(BLOCK)])
        out_of_state = np.array([filter_.c @ powers[n] for n in range(BLOCK)]).T
        return cls(response, into_state, powers[BLOCK].T, out_of_state)


def _k_weighting(sample_rate: int) -> _StateSpace:
    """The analogue prototypes behind the standard's 48 kHz coefficients, found by inverting the
    bilinear transform, so that every rate gets the same curve."""
    shelf = _high_shelf(1681.974450955533, 3.999843853973347, 0.7071752369554196, sample_rate)
    return shelf.before(_high_pass(38.13547087602444, 0.5003270373238773, sample_rate))


def _high_shelf(frequency_hz: float, gain_db: float, q: float, sample_rate: int) -> _StateSpace:
    k = math.tan(math.pi * frequency_hz / sample_rate)
    high = 10 ** (gain_db / 20)
    middle = high**0.4996667741545416
    b = high + middle * k / q + k * k, 2 * (k * k - high), high - middle * k / q + k * k
    return _section(b, (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k))


def _high_pass(frequency_hz: float, q: float, sample_rate: int) -> _StateSpace:
    k = math.tan(math.pi * frequency_hz / sample_rate)
    norm = 1 + k / q + k * k  # the standard's numerator is 1, -2, 1 at every rate
    return _section((norm, -2 * norm, norm), (norm, 2 * (k * k - 1), 1 - k / q + k * k))


def _section(b: tuple[float, float, float], a: tuple[float, float, float]) -> _StateSpace:
    """A biquad in the second transposed direct form."""
    b0, b1, b2 = (value / a[0] for value in b)
    _, a1, a2 = (value / a[0] for value in a)
    return _StateSpace(
        np.array([[-a1, 1.0], [-a2, 0.0]]),
        np.array([b1 - a1 * b0, b2 - a2 * b0]),
        np.array([1.0, 0.0]),
        b0,
    )
