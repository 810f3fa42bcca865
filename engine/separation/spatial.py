"""Masks that know where a stem stands between two loudspeakers.

A mask says how much of a band is a stem's, in both channels alike. But a voice in the middle and
a guitar on the left differ in more than that. In the local Gaussian model (Duong, Vincent &
Gribonval, IEEE TASLP 18(7), 2010) a stem with the mask m_k has the covariance m_k R_k in a band,
where R_k is its image: how its power lies between the channels and how alike these are. The best
linear estimate of it is then m_k R_k (sum_j m_j R_j)^-1 x, a matrix of 2 x 2 in the mask's place.
The matrices of all stems sum to the identity as masks sum to one, and where all images are the
same, as in a mono mix, they are the masks.

The images are taken from what the masks take of the mix, each once: going on as the
expectation-maximisation of the paper does sharpens the masks and makes the stems worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio.layout import ChannelGroups
from ..model.bands import spread_by_band, summed_by_band
from ..model.frames import with_next

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]
Images = NDArray[np.complex128]  # (stems, bands, 2, 2)

_DIFFUSE = 0.003  # share of an image that is alike in both channels and unrelated
_NEIGHBOURS = 0.5  # how much the images of the blocks before and behind count
_LEAST = 1e-30
_FRAMES_AT_ONCE = 32  # whose matrices stay in the cache while they are made


@dataclass(frozen=True)
class Shared:
    """A block of the mix, (channels, frames, bins), and the masks that share it out, (stems,
    groups, frames, bands). `matrices` are those of the groups that are pairs, by the group's
    number, (stems, frames, bands, 2, 2); `band` (bins,) is the band that each bin belongs to."""

    mix: Complex
    masks: Float
    matrices: dict[int, Complex]
    groups: ChannelGroups
    band: NDArray[np.intp]

    def stem(self, index: int, some: slice = slice(None)) -> Complex:
        """One stem's share of every channel in some frames, (channels, frames, bins)."""
        mix = self.mix[:, some]
        share = np.empty_like(mix)
        share[list(self.groups.residual_only)] = 0
        for number, channels in enumerate(self.groups.groups):
            if number in self.matrices:
                matrix = np.moveaxis(self.matrices[number][index, some], (-2, -1), (0, 1))
                for row, into in enumerate(channels):
                    parts = [spread_by_band(entries, self.band) for entries in matrix[row]]
                    for part, channel in zip(parts, channels, strict=True):
                        part *= mix[channel]
                    np.add(parts[0], parts[1], out=share[into])
                continue
            mask = spread_by_band(self.masks[index, number, some], self.band)
            for channel in channels:
                np.multiply(mask, mix[channel], out=share[channel])
        return share


def shared_out(
    blocks: Iterator[tuple[Complex, Float]],
    groups: ChannelGroups,
    band: NDArray[np.intp],
    *,
    spatial: bool,
) -> Iterator[Shared]:
    """Successive blocks and their masks with the matrices of all pairs, if `spatial`.

    A pair's images are those of its block and, with half the weight, of its neighbours, so that
    they follow a mix that moves and do not jump.
    """
    pairs = {n: group for n, group in enumerate(groups.groups) if spatial and len(group) == 2}
    located = (
        (mix, masks, {n: images(mix[list(pairs[n])], masks[:, n], band) for n in pairs})
        for mix, masks in blocks
    )
    before: dict[int, Images] = {}
    for (mix, masks, here), following in with_next(located):
        after = following[2] if following else {}
        matrices = {
            n: matrix_masks(
                masks[:, n], here[n] + _NEIGHBOURS * (before.get(n, 0) + after.get(n, 0))
            )
            for n in pairs
        }
        yield Shared(mix, masks, matrices, groups, band)
        before = here


def images(pair: Complex, masks: Float, band: NDArray[np.intp]) -> Images:
    """Covariances of what each mask takes of two channels, summed over frames.

    Shape: pair (2, frames, bins), masks (stems, frames, bands) -> (stems, bands, 2, 2).
    """
    bands = masks.shape[2]
    # the fourth power of a mask: what it is sure of tells where its stem stands
    certain = np.square(np.square(masks.astype(np.float64)))
    left, right = pair
    power = summed_by_band(pair.real**2 + pair.imag**2, band, bands)
    together = summed_by_band(left * right.conj(), band, bands)

    def summed(by_band: NDArray[np.inexact]) -> NDArray[np.inexact]:
        return np.asarray(np.einsum("stb,tb->sb", certain, by_band))

    found = np.empty((len(masks), bands, 2, 2), np.complex128)
    found[..., 0, 0], found[..., 1, 1] = summed(power[0]), summed(power[1])
    found[..., 0, 1] = summed(together.real) + 1j * summed(together.imag)
    found[..., 1, 0] = found[..., 0, 1].conj()
    return found


def matrix_masks(masks: Float, found: Images) -> Complex:
    """m_k R_k (sum_j m_j R_j)^-1; masks (stems, frames, bands), which sum to one.

    Shape: (stems, frames, bands, 2, 2). The entries lie apart in memory, each as (frames, bands):
    whoever spreads them over the bins reads one after the other.
    """
    power = (found[..., 0, 0].real + found[..., 1, 1].real) / 2
    alike = (1 - _DIFFUSE) * found / np.maximum(power, _LEAST)[..., None, None]
    # R = [[p, q], [q*, r]], q = re + i im: in real numbers, of which half as many are needed
    p, r = alike[..., 0, 0].real + _DIFFUSE, alike[..., 1, 1].real + _DIFFUSE
    image = np.stack([p, r, alike[..., 0, 1].real, alike[..., 0, 1].imag])
    matrices = np.empty((len(masks), 2, 2, *masks.shape[1:]), np.complex64)
    for first in range(0, masks.shape[1], _FRAMES_AT_ONCE):
        some = slice(first, first + _FRAMES_AT_ONCE)
        _matrices_into(matrices[..., some, :], masks[:, some].astype(np.float64), image)
    return np.moveaxis(matrices, (1, 2), (3, 4))


def _matrices_into(
    into: Complex, weights: NDArray[np.float64], image: NDArray[np.float64]
) -> None:
    """The matrices of some frames, (stems, 2, 2, frames, bands), from the masks `weights` (stems,
    frames, bands), which are used up, and the images' p, r and parts of q, (4, stems, bands)."""
    a, d, re, im = np.einsum("stb,nsb->ntb", weights, image)  # [[a, b], [b*, d]], b = re + i im
    weights /= a * d - re * re - im * im
    p, r, q_re, q_im = image[:, :, None]
    shared, turned = q_re * re + q_im * im, q_re * im - q_im * re
    for row, column, real, imaginary in (
        (0, 0, p * d - shared, turned),
        (0, 1, q_re * a - p * re, q_im * a - p * im),
        (1, 0, q_re * d - r * re, r * im - q_im * d),
        (1, 1, r * a - shared, -turned),
    ):
        np.multiply(weights, real, out=into[:, row, column].real, casting="same_kind")
        np.multiply(weights, imaginary, out=into[:, row, column].imag, casting="same_kind")
