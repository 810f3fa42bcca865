"""What an estimate in torch says of a song, as a separation at `draft` asks its ONNX graphs: of
the middle and the side of a pair each on its own, in windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine import ModelCard, give_way

from ..models.estimator import Encoder

Float = NDArray[np.float32]

_LEAST = np.float32(1e-7)


def masks_of(
    halves: Float,
    stems: Sequence[str],
    encoder: Encoder,
    heads: Mapping[str, nn.Module],
    cards: Mapping[str, ModelCard],
) -> Float:
    """What an estimate says of the halves of a song (1 or 2, windows, frames, bands) in which
    these stems play: masks that sum to one, (stems, windows, frames, bands), each half counting
    as much as it has of the power."""

    def shared_out(found: Float) -> Float:
        masks = give_way(found, [cards[stem] for stem in stems]) + _LEAST
        return np.asarray(masks / masks.sum(axis=0), np.float32)

    said = said_of_halves(halves, stems, encoder, heads)
    return _over_halves(halves, [shared_out(found) for found in said])


def masks_alone(
    halves: Float, stems: Sequence[str], encoder: Encoder, heads: Mapping[str, nn.Module]
) -> Float:
    """What each head says of the halves of a song with nothing known of the others, (stems,
    windows, frames, bands)."""
    return _over_halves(halves, said_of_halves(halves, stems, encoder, heads))


@torch.no_grad()
def said_of_halves(
    halves: Float, stems: Sequence[str], encoder: Encoder, heads: Mapping[str, nn.Module]
) -> list[Float]:
    """What heads say of each half of a song, (stems, windows, frames, bands)."""
    return [_said_of_half(half, stems, encoder, heads) for half in halves]


def _over_halves(halves: Float, found: Sequence[Float]) -> Float:
    """Masks of the whole, each half counting as much as it has of the power."""
    power = np.square(halves) + _LEAST
    return np.asarray((np.stack(found, axis=1) * power).sum(axis=1) / power.sum(axis=0))


def _said_of_half(
    half: Float,
    stems: Sequence[str],
    encoder: Encoder,
    heads: Mapping[str, nn.Module],
) -> Float:
    device = next(encoder.parameters()).device
    power = np.mean(np.square(half, dtype=np.float64), axis=(1, 2), keepdims=True)
    scaled = half / np.sqrt(np.maximum(power, 1e-12))
    x = torch.from_numpy(scaled.astype(np.float32)).to(device).transpose(1, 2)
    features = encoder(x**encoder.config.compression)
    return np.stack(
        [heads[stem](features).transpose(1, 2).float().cpu().numpy() for stem in stems]
    )
