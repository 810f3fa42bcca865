"""Where do priors come from? Isolated recordings to flow, training, ONNX graphs, bundle."""

from __future__ import annotations

from .priors import (
    export_prior,
    paper_front_end,
    standard_front_end,
    train_heads,
    train_prior,
)

__all__ = ["export_prior", "paper_front_end", "standard_front_end", "train_heads", "train_prior"]
