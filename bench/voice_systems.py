"""What takes choirs apart in the comparison of voice models: mix and pitches in, voices out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import voice_nmf
import voice_unet
from choirs import RATE, Choir
from engine import PitchTracks, VoiceNetwork, VoiceParameters, separate_voices
from engine.voices.masks import VoiceMasks, mask_stft
from engine.voices.retuning import retune
from engine.voices.salience import FRAME_S, PitchFrames

Float = NDArray[np.float32]
System = Callable[[Float, PitchTracks], Float]  # (samples,), tracks -> (voices, samples)

NMF_POWER = {"templates": 1.0, "source-filter": 1.0}  # of magnitudes in masks; on validation


def network(bundle: Path, mix: Float, tracks: PitchTracks) -> Float:
    """Our own, as the program runs it: pitches that are given lie in a table."""
    if tracks.origin != "tracker":
        frames = PitchFrames(mix)
        exact = tracks.at(np.arange(len(frames)) * FRAME_S)
        hertz = retune(frames, exact).hertz
        tracks = PitchTracks(tracks.names, hertz, FRAME_S, np.ones_like(hertz), tracks.origin)
    found = separate_voices(mix[None], RATE, tracks, VoiceNetwork.load(bundle))
    return np.stack([voice[0] for voice in found.values()])


def comb(mix: Float, tracks: PitchTracks) -> Float:
    """The signal model with nothing learned: flat filters, equal voices, no noise."""
    voices, frames = len(tracks.names), 2
    flat = np.tile(np.pi * np.arange(1, 21) / 21, (voices, frames, 1)).astype(np.float32)
    one, none = np.ones((voices, frames), np.float32), np.full((voices, frames), 1e-3, np.float32)
    still = VoiceParameters(one, none, flat, np.ones((voices, frames, 40), np.float32))
    masks = VoiceMasks(still, tracks, RATE, len(mix))
    return _masked(mix, masks.masks(0, masks.stft.frames(len(mix))))


def templates(mix: Float, tracks: PitchTracks) -> Float:
    """NMF with harmonic templates."""
    magnitudes, times = _analysed(mix)
    powers = voice_nmf.harmonic_templates(magnitudes, tracks, times)
    return _masked(mix, _shares(powers, NMF_POWER["templates"]))


def source_filter(mix: Float, tracks: PitchTracks) -> Float:
    """NMF of combs through smooth filters."""
    magnitudes, _ = _analysed(mix)
    stft = mask_stft(RATE)
    powers = voice_nmf.source_filter(magnitudes, tracks, stft.n_fft, stft.hop)
    return _masked(mix, _shares(powers, NMF_POWER["source-filter"]))


def unet(net: voice_unet.UNet, mix: Float, tracks: PitchTracks) -> Float:
    """The supervised rival, in its own transform."""
    shares = voice_unet.masks(net, mix, tracks)
    bins = voice_unet.BINS
    padded = np.pad(mix, bins.n_fft // 2)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, bins.n_fft)[:: voice_unet.HOP]
    hann = bins.window / bins.window.max()
    spectrum = np.fft.rfft(pieces[: shares.shape[1]] * hann, axis=-1)
    parts = np.fft.irfft(shares * spectrum, axis=-1) * hann
    out = np.zeros((len(shares), len(padded) + bins.n_fft), np.float32)
    for frame in range(shares.shape[1]):
        begin = frame * voice_unet.HOP
        out[:, begin : begin + bins.n_fft] += parts[:, frame]
    half = bins.n_fft // 2
    return np.asarray(out[:, half : half + len(mix)] / 1.5, np.float32)


def shared_evenly(mix: Float, tracks: PitchTracks) -> Float:
    """The mix divided by the number of voices."""
    return np.stack([mix / len(tracks.names)] * len(tracks.names))


def ideal(choir: Choir) -> Float:
    """Masks of the true powers: what no mask of this kind goes beyond by much."""
    stft = mask_stft(RATE)
    powers = np.abs(stft.forward(choir.voices)) ** 2
    return _masked(choir.mixture.mix, _shares(powers, 2.0))


LEARNED = ("all", "short", "all taught", "short taught")
NOTHING_LEARNED: dict[str, System] = {
    "mix / K": shared_evenly,
    "comb alone": comb,
    "NMF, harmonic templates": templates,
    "NMF, source-filter": source_filter,
}


def of_bundle(bundle: Path) -> System:
    """A system of a bundle."""
    return partial(network, bundle)


def tracked(mix: Float, names: Sequence[str]) -> PitchTracks:
    """What the program's own tracker finds."""
    from engine.voices.sources import PitchRequest, find_pitches

    return find_pitches(mix, PitchRequest(tuple(names))).tracks


def wrong(tracks: PitchTracks, hertz: float = 0.0, ratio: float = 1.0) -> PitchTracks:
    """Pitches with an error: every note of every voice up or down by `hertz`, as a coin says,
    and times `ratio`."""
    found = tracks.hertz.astype(np.float64)
    rng = np.random.default_rng(7)
    for track in found:
        jumps = np.abs(np.diff(np.log2(np.maximum(track, 1)), prepend=0)) > 1 / 24
        signs = rng.choice((-1.0, 1.0), len(track))[np.cumsum(jumps)]
        sung = track > 0
        track[sung] = np.clip(ratio * track[sung] + hertz * signs[sung], 41, 1999)
    return PitchTracks(
        tracks.names, found.astype(np.float32), tracks.frame_seconds, tracks.confidence, "wrong"
    )


def _analysed(mix: Float) -> tuple[Float, NDArray[np.float64]]:
    stft = mask_stft(RATE)
    spectrum = np.abs(stft.forward(mix[None])[0])
    spectrum *= np.float32(4 / stft.n_fft)
    return spectrum, (np.arange(len(spectrum)) - 1.0) * stft.hop / RATE


def _shares(powers: Float, of_magnitudes: float) -> Float:
    raised = powers.astype(np.float64) ** (of_magnitudes / 2)
    return np.asarray(raised / (raised.sum(axis=0) + 1e-30), np.float32)


def _masked(mix: Float, shares: Float) -> Float:
    stft = mask_stft(RATE)
    return stft.inverse(shares * stft.forward(mix[None]), len(mix))
