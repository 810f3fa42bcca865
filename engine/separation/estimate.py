"""The first estimate: one shared encoder listens to the mix, one head per stem says its share.

Heads do not know each other, so a new instrument brings its own head and leaves all other
bundles as they are. The encoder lies beside the bundles in a file named after its sha256;
every bundle with a head says which encoder it was trained with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from ..model.card import ModelCard
from ..model.prior import PACK_CARD, Prior, prior_folders
from ..model.sessions import Device, make_session, telling_device_faults

Float = NDArray[np.float32]

ENCODER_SUFFIX = ".encoder.onnx"


class Estimate:
    """Masks from the shared encoder and the priors' heads."""

    def __init__(self, priors: Sequence[Prior], folders: Sequence[Path], device: Device) -> None:
        self.priors = priors
        self._encoder, self._got = make_session(_encoder_bytes(priors, folders), device)

    def magnitudes(self, mix: Float, weight: Float | None = None) -> Float:
        """First magnitudes of every prior: (batch, frames, bands) -> (priors, batch, frames,
        bands). The encoder knows mixes of mean square 1, which is that of the points that have
        a `weight`: what stands for audio before the start and behind the end must not count."""
        counts = np.ones(mix.shape) if weight is None else weight.astype(np.float64)
        square = counts * mix.astype(np.float64) ** 2
        power = square.sum(axis=(1, 2), keepdims=True) / counts.sum(axis=(1, 2), keepdims=True)
        scaled = np.asarray(mix / np.sqrt(np.maximum(power, 1e-12)), np.float32)
        with telling_device_faults(self._got):
            (features,) = self._encoder.run(["features"], {"mix": scaled})
        masks = np.stack([prior.head(features) for prior in self.priors])
        return give_way(masks, [prior.card for prior in self.priors]) * mix


def give_way(masks: Float, cards: Sequence[ModelCard]) -> Float:
    """What remains of each mask (priors, ...) when a set names parts of a collective stem.

    A head with `against` was trained to find everything but those stems (other: all but vocals,
    bass and drums), so any further stem G of the set is part of what it finds, and its mask is
    multiplied by 1 - mask_G.
    """
    left = masks.copy()
    for index, card in enumerate(cards):
        for part, mask in zip(cards, masks, strict=True):
            if card.against and part.stem not in (card.stem, *card.against):
                left[index] *= 1 - mask
    return left


def encoder_path(sha256: str, folders: Sequence[Path]) -> Path | None:
    """Find an encoder by its hash, in the folders of priors or in the artist packs there."""
    name = f"{sha256[:16]}{ENCODER_SUFFIX}"
    for folder in prior_folders(folders):
        if (folder / name).is_file():
            return folder / name
        for card in sorted(folder.glob(f"*/{PACK_CARD}")):
            if (card.parent / name).is_file():
                return card.parent / name
    return None


def _encoder_bytes(priors: Sequence[Prior], folders: Sequence[Path]) -> bytes:
    """The encoder that all heads share, checked."""
    wanted = {prior.stem: prior.card.encoder_sha256 or "" for prior in priors}
    without = [stem for stem, sha256 in wanted.items() if not sha256]
    if without:
        raise StemwrightError(
            "prior-without-head",
            f"the priors of {', '.join(without)} have no head for a first estimate. Train one, or "
            "set tier: search, guided_steps: 0 and flow_weight: 1 in the preset's search.",
        )
    if len(set(wanted.values())) > 1:
        raise StemwrightError(
            "encoders-differ",
            "the priors' heads belong to different encoders: "
            + ", ".join(f"{stem} {sha256[:12]}" for stem, sha256 in wanted.items())
            + ". Use priors that were made with the same encoder.",
        )
    sha256 = next(iter(wanted.values()))
    path = encoder_path(sha256, folders)
    if path is None:
        raise StemwrightError(
            "encoder-not-found",
            f"the encoder {sha256[:16]}{ENCODER_SUFFIX} is in no folder of priors. Copy it "
            "from where the priors came from.",
        )
    blob = path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != sha256:
        raise StemwrightError(
            "encoder-damaged", f"{path} does not match its sha256. Copy it again."
        )
    return blob
