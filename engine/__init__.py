"""A mix in, stems out: audio files, priors, latent search, masks, chains, manifest."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

ENGINE_VERSION = "0.1.0"

if TYPE_CHECKING:
    from .arguments import (
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
    from .audio import MixReader, probe, verify_mix
    from .audition import write_sample
    from .bands import BandPlan, log_band_plan
    from .bundle import put_file, read_bundle, write_bundle_file
    from .card import PERCENTS, STEM_PATTERN, FrontEndCard, ModelCard, Source
    from .estimate import encoder_path
    from .judging import cut_excerpts, held_out, judge_priors, judgement_png
    from .layout import channel_groups
    from .loudness import Loudness, LoudnessMeter, measure_loudness
    from .manifest import MANIFEST_NAME, Manifest, load_manifest
    from .metadata import metadata_for, naming_fields
    from .names import PE_TEMPLATE, Naming, render_name
    from .null import measure_null
    from .plugin_rack import PluginRack
    from .plugin_trial import try_plugin
    from .plugins import PluginCatalogue
    from .prior import Prior, find_prior, list_priors, open_priors, prior_folders
    from .processing import assign_stems, process_stems, saved_presets
    from .providers import Device, make_session, usable_cores
    from .rendering import Interrupted, Progress, Renderer, RenderOptions, prior_hashes, render
    from .spectrogram import FrontEnd
    from .verdict import store_row
    from .wet import process_set

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
    "Naming",
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
    "measure_loudness",
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
    "write_bundle_file",
    "write_sample",
]

# The door opens a module when a name behind it is first asked for: `--help` stays instant.
_MODULES = {
    "arguments": (
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
    "audition": ("write_sample",),
    "audio": ("MixReader", "probe", "verify_mix"),
    "bands": ("BandPlan", "log_band_plan"),
    "bundle": ("put_file", "read_bundle", "write_bundle_file"),
    "card": ("PERCENTS", "STEM_PATTERN", "FrontEndCard", "ModelCard", "Source"),
    "estimate": ("encoder_path",),
    "judging": ("cut_excerpts", "held_out", "judge_priors", "judgement_png"),
    "layout": ("channel_groups",),
    "loudness": ("Loudness", "LoudnessMeter", "measure_loudness"),
    "manifest": ("MANIFEST_NAME", "Manifest", "load_manifest"),
    "metadata": ("metadata_for", "naming_fields"),
    "names": ("PE_TEMPLATE", "Naming", "render_name"),
    "null": ("measure_null",),
    "plugin_rack": ("PluginRack",),
    "plugin_trial": ("try_plugin",),
    "plugins": ("PluginCatalogue",),
    "prior": ("Prior", "find_prior", "list_priors", "open_priors", "prior_folders"),
    "processing": ("assign_stems", "process_stems", "saved_presets"),
    "providers": ("Device", "make_session", "usable_cores"),
    "rendering": (
        "Interrupted",
        "Progress",
        "RenderOptions",
        "Renderer",
        "prior_hashes",
        "render",
    ),
    "spectrogram": ("FrontEnd",),
    "verdict": ("store_row",),
    "wet": ("process_set",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a door has every type
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
