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

    def apply(self, magnitudes: Tensor | Float) -> Tensor:
        """(batch, frames, bands) -> (batch, bands, frames), on the device of what is given."""
        m = torch.as_tensor(magnitudes)
        mean, std = (torch.from_numpy(each).to(m.device) for each in (self.mean, self.std))
        return ((m**self.compression - mean) / std).transpose(1, 2).contiguous()
