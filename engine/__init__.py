"""A mix in, stems out: audio files, priors, latent search, masks, chains, manifest.

`__all__` is the door for Python (docs/python.md). The names behind it are for the other rooms of
this program and may change with any version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from presets import StemwrightError, lazy_door

from .version import ENGINE_VERSION

if TYPE_CHECKING:
    from .arrays import separate
    from .audio.containers import why_not_whole as why_not_whole
    from .audio.decoded import DecodedMix as DecodedMix
    from .audio.decoded import decode_mix as decode_mix
    from .audio.endings import AUDIO_SUFFIXES as AUDIO_SUFFIXES
    from .audio.layout import channel_groups as channel_groups
    from .audio.null import measure_null
    from .audio.reading import MixFacts as MixFacts
    from .audio.reading import probe as probe
    from .audio.reading import verify_mix
    from .evaluation.cross_likelihood import PLAYED as PLAYED
    from .evaluation.cross_likelihood import cut_excerpts as cut_excerpts
    from .evaluation.cross_likelihood import judge_priors as judge_priors
    from .evaluation.stored_judgement import store_row as store_row
    from .listening.page import script_json as script_json
    from .listening.page import write_report as write_report
    from .model.artist_pack import Heard as Heard
    from .model.artist_pack import PackCard as PackCard
    from .model.artist_pack import hashes_of as hashes_of
    from .model.artist_pack import write_artist_pack as write_artist_pack
    from .model.bands import log_band_plan as log_band_plan
    from .model.bundle import put_file as put_file
    from .model.bundle import read_bundle as read_bundle
    from .model.bundle import write_bundle_file as write_bundle_file
    from .model.card import PERCENTS as PERCENTS
    from .model.card import FrontEndCard as FrontEndCard
    from .model.card import ModelCard as ModelCard
    from .model.card import Source as Source
    from .model.prior import Prior as Prior
    from .model.prior import find_prior as find_prior
    from .model.prior import list_priors
    from .model.prior import open_priors as open_priors
    from .model.prior import prior_folders as prior_folders
    from .model.sessions import Device as Device
    from .model.sessions import make_session as make_session
    from .model.sessions import usable_cores as usable_cores
    from .model.spectrogram import FrontEnd as FrontEnd
    from .model.spectrogram import middle_and_side as middle_and_side
    from .options import Progress, RenderOptions
    from .plugins.catalogue import PluginCatalogue as PluginCatalogue
    from .rendering import Interrupted, Renderer, render
    from .rendering import cards_in_use as cards_in_use
    from .rendering import prior_hashes as prior_hashes
    from .separation.estimate import encoder_path as encoder_path
    from .separation.estimate import give_way as give_way
    from .separation.song_spectra import song_masks as song_masks
    from .separators.cost import separators_rate as separators_rate
    from .stems.manifest import Manifest, load_manifest
    from .voices.endings import BESIDE_ENDINGS as BESIDE_ENDINGS
    from .voices.features import frames_of as frames_of
    from .voices.features import mix_level as mix_level
    from .voices.features import stretch as stretch
    from .voices.features import voice_features as voice_features
    from .voices.masks import separate_voices as separate_voices
    from .voices.network import VOICE_INPUTS as VOICE_INPUTS
    from .voices.network import VOICE_OUTPUTS as VOICE_OUTPUTS
    from .voices.network import VOICE_SUFFIX as VOICE_SUFFIX
    from .voices.network import VoiceCard as VoiceCard
    from .voices.network import VoiceNetwork as VoiceNetwork
    from .voices.network import read_voice_weights as read_voice_weights
    from .voices.network_file import NETWORK_GRAPH as NETWORK_GRAPH
    from .voices.network_file import NetworkCard as NetworkCard
    from .voices.pitch_network import PITCH_INPUTS as PITCH_INPUTS
    from .voices.pitch_network import PITCH_KIND as PITCH_KIND
    from .voices.pitch_network import PITCH_MULTIPLES as PITCH_MULTIPLES
    from .voices.pitch_network import PITCH_OUTPUTS as PITCH_OUTPUTS
    from .voices.pitch_network import PitchNetwork as PitchNetwork
    from .voices.pitch_network import at_multiples as at_multiples
    from .voices.pitch_network import level_of as level_of
    from .voices.pitches import PitchTracks as PitchTracks
    from .voices.salience import PITCH_STRIDE as PITCH_STRIDE
    from .voices.salience import PitchFrames as PitchFrames
    from .voices.salience import pitch_grid as pitch_grid
    from .voices.sources import beside as beside
    from .voices.sources import find_pitches as find_pitches
    from .voices.synthesis import VOICE_HOP as VOICE_HOP
    from .voices.synthesis import VOICE_RATE as VOICE_RATE
    from .voices.synthesis import Excitation as Excitation
    from .voices.synthesis import VoiceBins as VoiceBins
    from .voices.synthesis import VoiceParameters as VoiceParameters
    from .voicing import BESIDE_VOICES as BESIDE_VOICES
    from .voicing import pitch_hashes as pitch_hashes
    from .voicing import pitch_sources as pitch_sources
    from .voicing import pitches_heard_by as pitches_heard_by

__all__ = [
    "ENGINE_VERSION",
    "Interrupted",
    "Manifest",
    "Progress",
    "RenderOptions",
    "Renderer",
    "StemwrightError",
    "list_priors",
    "load_manifest",
    "measure_null",
    "render",
    "separate",
    "verify_mix",
]

__getattr__ = lazy_door(
    __name__,
    {
        "arrays": ("separate",),
        "audio.containers": ("why_not_whole",),
        "audio.decoded": ("DecodedMix", "decode_mix"),
        "audio.endings": ("AUDIO_SUFFIXES",),
        "audio.layout": ("channel_groups",),
        "audio.null": ("measure_null",),
        "audio.reading": ("MixFacts", "probe", "verify_mix"),
        "evaluation.cross_likelihood": ("PLAYED", "cut_excerpts", "judge_priors"),
        "evaluation.stored_judgement": ("store_row",),
        "listening.page": ("script_json", "write_report"),
        "model.artist_pack": ("Heard", "PackCard", "hashes_of", "write_artist_pack"),
        "model.bands": ("log_band_plan",),
        "model.bundle": ("put_file", "read_bundle", "write_bundle_file"),
        "model.card": ("PERCENTS", "FrontEndCard", "ModelCard", "Source"),
        "model.prior": ("Prior", "find_prior", "list_priors", "open_priors", "prior_folders"),
        "model.sessions": ("Device", "make_session", "usable_cores"),
        "model.spectrogram": ("FrontEnd", "middle_and_side"),
        "options": ("Progress", "RenderOptions"),
        "plugins.catalogue": ("PluginCatalogue",),
        "rendering": ("Interrupted", "Renderer", "cards_in_use", "prior_hashes", "render"),
        "separation.estimate": ("encoder_path", "give_way"),
        "separation.song_spectra": ("song_masks",),
        "separators.cost": ("separators_rate",),
        "stems.manifest": ("Manifest", "load_manifest"),
        "voices.features": ("frames_of", "mix_level", "stretch", "voice_features"),
        "voices.endings": ("BESIDE_ENDINGS",),
        "voices.pitches": ("PitchTracks",),
        "voicing": ("BESIDE_VOICES", "pitch_sources", "pitch_hashes", "pitches_heard_by"),
        "voices.masks": ("separate_voices",),
        "voices.network": (
            "VOICE_INPUTS",
            "VOICE_OUTPUTS",
            "VOICE_SUFFIX",
            "VoiceCard",
            "VoiceNetwork",
            "read_voice_weights",
        ),
        "voices.network_file": ("NETWORK_GRAPH", "NetworkCard"),
        "voices.pitch_network": (
            "PITCH_INPUTS",
            "PITCH_KIND",
            "PITCH_MULTIPLES",
            "PITCH_OUTPUTS",
            "PitchNetwork",
            "at_multiples",
            "level_of",
        ),
        "voices.salience": ("PITCH_STRIDE", "PitchFrames", "pitch_grid"),
        "voices.sources": ("beside", "find_pitches"),
        "voices.synthesis": (
            "VOICE_HOP",
            "VOICE_RATE",
            "Excitation",
            "VoiceBins",
            "VoiceParameters",
        ),
    },
)
