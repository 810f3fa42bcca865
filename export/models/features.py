"""What a flow sees of magnitudes: compressed, and standardised band by band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """The standardised features of a prior: x = (m ** compression - mean) / std per band."""

    compression: float
    mean: Float
    std: Float

    def apply(self, magnitudes: Float) -> Tensor:
        """(batch, frames, bands) -> (batch, bands, frames)."""
        x = (magnitudes**self.compression - self.mean) / self.std
        return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1), np.float32))
