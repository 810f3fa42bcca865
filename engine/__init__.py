"""A mix in, stems out: audio files, priors, latent search, masks, chains, manifest."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import ENGINE_VERSION

if TYPE_CHECKING:
    from .audio.containers import why_not_whole
    from .audio.layout import channel_groups
    from .audio.loudness import Loudness, LoudnessMeter
    from .audio.metadata import metadata_for, naming_fields
    from .audio.null import measure_null
    from .audio.reading import MixReader, probe, verify_mix
    from .cli.arguments import (
        DEADLINE,
        FILE,
        FOLDER,
        NATURAL,
        PRIORS,
        SEED,
        STRICT_DEVICE,
        THREADS,
        TIER,
    )
    from .evaluation.cross_likelihood import cut_excerpts, held_out, judge_priors, judgement_png
    from .evaluation.sampling import write_sample
    from .evaluation.stored_judgement import store_row
    from .model.bands import BandPlan, log_band_plan
    from .model.bundle import put_file, read_bundle, write_bundle_file
    from .model.card import PERCENTS, STEM_PATTERN, FrontEndCard, ModelCard, Source
    from .model.prior import Prior, find_prior, list_priors, open_priors, prior_folders
    from .model.sessions import Device, make_session, usable_cores
    from .model.spectrogram import FrontEnd
    from .plugins.catalogue import PluginCatalogue
    from .plugins.rack import PluginRack
    from .plugins.trial import try_plugin
    from .processing import assign_stems, process_stems, saved_presets
    from .rendering import Interrupted, Progress, Renderer, RenderOptions, prior_hashes, render
    from .separation.estimate import encoder_path
    from .stems.manifest import MANIFEST_NAME, Manifest, load_manifest
    from .stems.naming import PE_TEMPLATE, NameTemplate, render_name
    from .stems.wet import process_set

__all__ = [
    "DEADLINE",
    "ENGINE_VERSION",
    "FILE",
    "FOLDER",
    "MANIFEST_NAME",
    "NATURAL",
    "PERCENTS",
    "PE_TEMPLATE",
    "PRIORS",
    "SEED",
    "STEM_PATTERN",
    "STRICT_DEVICE",
    "THREADS",
    "TIER",
    "BandPlan",
    "Device",
    "FrontEnd",
    "FrontEndCard",
    "Interrupted",
    "Loudness",
    "LoudnessMeter",
    "Manifest",
    "MixReader",
    "ModelCard",
    "NameTemplate",
    "PluginCatalogue",
    "PluginRack",
    "Prior",
    "Progress",
    "RenderOptions",
    "Renderer",
    "Source",
    "assign_stems",
    "channel_groups",
    "cut_excerpts",
    "encoder_path",
    "find_prior",
    "held_out",
    "judge_priors",
    "judgement_png",
    "list_priors",
    "load_manifest",
    "log_band_plan",
    "make_session",
    "measure_null",
    "metadata_for",
    "naming_fields",
    "open_priors",
    "prior_folders",
    "prior_hashes",
    "probe",
    "process_set",
    "process_stems",
    "put_file",
    "read_bundle",
    "render",
    "render_name",
    "saved_presets",
    "store_row",
    "try_plugin",
    "usable_cores",
    "verify_mix",
    "why_not_whole",
    "write_bundle_file",
    "write_sample",
]

# The door opens a module when a name behind it is first asked for: `--help` stays instant.
_MODULES = {
    "cli.arguments": (
        "DEADLINE",
        "FILE",
        "FOLDER",
        "NATURAL",
        "PRIORS",
        "SEED",
        "STRICT_DEVICE",
        "THREADS",
        "TIER",
    ),
    "evaluation.sampling": ("write_sample",),
    "audio.reading": ("MixReader", "probe", "verify_mix"),
    "model.bands": ("BandPlan", "log_band_plan"),
    "model.bundle": ("put_file", "read_bundle", "write_bundle_file"),
    "model.card": ("PERCENTS", "STEM_PATTERN", "FrontEndCard", "ModelCard", "Source"),
    "separation.estimate": ("encoder_path",),
    "evaluation.cross_likelihood": ("cut_excerpts", "held_out", "judge_priors", "judgement_png"),
    "audio.containers": ("why_not_whole",),
    "audio.layout": ("channel_groups",),
    "audio.loudness": ("Loudness", "LoudnessMeter"),
    "stems.manifest": ("MANIFEST_NAME", "Manifest", "load_manifest"),
    "audio.metadata": ("metadata_for", "naming_fields"),
    "stems.naming": ("PE_TEMPLATE", "NameTemplate", "render_name"),
    "audio.null": ("measure_null",),
    "plugins.rack": ("PluginRack",),
    "plugins.trial": ("try_plugin",),
    "plugins.catalogue": ("PluginCatalogue",),
    "model.prior": ("Prior", "find_prior", "list_priors", "open_priors", "prior_folders"),
    "processing": ("assign_stems", "process_stems", "saved_presets"),
    "model.sessions": ("Device", "make_session", "usable_cores"),
    "rendering": (
        "Interrupted",
        "Progress",
        "RenderOptions",
        "Renderer",
        "prior_hashes",
        "render",
    ),
    "model.spectrogram": ("FrontEnd",),
    "evaluation.stored_judgement": ("store_row",),
    "stems.wet": ("process_set",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a door has every type
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
