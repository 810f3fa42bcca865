"""Where do priors come from? Isolated recordings to flow, training, ONNX graphs, bundle."""

from __future__ import annotations

from .priors import export_prior, train_heads, train_prior
from .recipe import make_priors
from .training.music_training import train_music
from .training.runs import paper_front_end, standard_front_end

__all__ = [
    "export_prior",
    "make_priors",
    "paper_front_end",
    "standard_front_end",
    "train_heads",
    "train_music",
    "train_prior",
]
