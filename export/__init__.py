"""Where do priors come from? Isolated recordings to flow, training, ONNX graphs, bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presets import lazy_door

if TYPE_CHECKING:
    from .data.mixtures import Mixture as Mixture
    from .estimates import EstimateOptions, train_heads
    from .gan_bundle import train_gan
    from .priors import export_prior, pack_recordings, train_prior
    from .recipe import make_priors
    from .separators import train_separator
    from .training.music_training import train_music
    from .training.options import TrainingOptions
    from .training.runs import paper_front_end, standard_front_end
    from .training.voice_training import VoiceSettings as VoiceSettings
    from .voices import VoiceProgress as VoiceProgress
    from .voices import fit_voices

__all__ = [
    "EstimateOptions",
    "TrainingOptions",
    "export_prior",
    "fit_voices",
    "make_priors",
    "pack_recordings",
    "paper_front_end",
    "standard_front_end",
    "train_gan",
    "train_heads",
    "train_music",
    "train_prior",
    "train_separator",
]

__getattr__ = lazy_door(  # nothing of torch is loaded before a name is asked for
    __name__,
    {
        "gan_bundle": ("train_gan",),
        "estimates": ("EstimateOptions", "train_heads"),
        "priors": ("export_prior", "pack_recordings", "train_prior"),
        "recipe": ("make_priors",),
        "separators": ("train_separator",),
        "data.mixtures": ("Mixture",),
        "training.voice_training": ("VoiceSettings",),
        "voices": ("VoiceProgress", "fit_voices"),
        "training.music_training": ("train_music",),
        "training.options": ("TrainingOptions",),
        "training.runs": ("paper_front_end", "standard_front_end"),
    },
)  # fmt: skip
