"""The STFTs that separation networks were trained with, in float32 and without a loop over frames.

They differ from the program's own (`model.spectrogram`): any hop, with or without centring, a
scale of 1/sqrt(n_fft), no window, frames cut off at both ends, bins left away at the top. The
conventions are those of `torch.stft`, from which all of these models come.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]

_LEAST_ENVELOPE = 1e-8  # where no window reaches, as at the ends without centring


@dataclass(frozen=True)
class ModelStft:
    """One model's transform of segments of `segment` samples.

    Shape: audio (..., segment) <-> spectrum (..., dim_f, frames).
    """

    segment: int
    n_fft: int
    hop: int
    window_name: str = "hann"
    center: bool = True
    normalized: bool = False
    dim_f: int = 0
    pre_pad: int = 0
    trim_frames: int = 0

    @property
    def bins(self) -> int:
        """Bins before the top ones are left away."""
        return self.n_fft // 2 + 1

    @property
    def kept_bins(self) -> int:
        """Bins that the model sees."""
        return self.dim_f or self.bins

    @property
    def frames(self) -> int:
        """Frames that the model sees of one segment."""
        return self._all_frames - 2 * self.trim_frames

    @property
    def _right_pad(self) -> int:
        """With `pre_pad` the right side is also filled up to a whole number of hops (Demucs)."""
        return self.pre_pad + (-self.segment % self.hop if self.pre_pad else 0)

    @property
    def _length(self) -> int:
        return self.pre_pad + self.segment + self._right_pad

    @property
    def _all_frames(self) -> int:
        inside = self._length if self.center else self._length - self.n_fft
        return inside // self.hop + 1

    @cached_property
    def window(self) -> Float:
        """Shape (n_fft,): a periodic Hann window, or ones."""
        if self.window_name == "none":
            return np.ones(self.n_fft, np.float32)
        phase = np.arange(self.n_fft) * (2 * np.pi / self.n_fft)
        return np.asarray(0.5 - 0.5 * np.cos(phase), np.float32)

    @property
    def _scale(self) -> np.float32:
        return np.float32(self.n_fft**-0.5 if self.normalized else 1.0)

    def forward(self, audio: Float) -> Complex:
        """(..., segment) -> (..., kept_bins, frames)."""
        padded = audio
        if self.pre_pad:
            padded = _reflected(padded, self.pre_pad, self._right_pad)
        if self.center:
            padded = _reflected(padded, self.n_fft // 2, self.n_fft // 2)
        pieces = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft, axis=-1)
        first, last = self.trim_frames, self._all_frames - self.trim_frames
        pieces = pieces[..., first * self.hop : (last - 1) * self.hop + 1 : self.hop, :]
        spectrum = np.fft.rfft(pieces * (self.window * self._scale), axis=-1)
        kept = spectrum[..., : self.kept_bins].astype(np.complex64, copy=False)
        return np.swapaxes(kept, -1, -2)

    def inverse(self, spectrum: Complex) -> Float:
        """(..., kept_bins, frames) -> (..., segment); bins and frames left away are zero."""
        frames = np.swapaxes(spectrum, -1, -2)
        lead = frames.shape[:-2]
        full = np.zeros((*lead, self.frames, self.bins), np.complex64)
        full[..., : self.kept_bins] = frames
        pieces = np.fft.irfft(full, n=self.n_fft, axis=-1).astype(np.float32, copy=False)
        pieces *= self.window / self._scale
        audio = self._overlap_added(pieces)
        audio *= self._per_envelope
        start = self.n_fft // 2 * self.center + self.pre_pad
        return np.ascontiguousarray(audio[..., start : start + self.segment])

    def _overlap_added(self, pieces: Float) -> Float:
        """Frames (..., frames, n_fft) to audio that begins with the first of all frames.

        Frames are filled up to whole hops, so that one shifted sum for each hop in a frame does
        what a loop over frames would.
        """
        parts = -(-self.n_fft // self.hop)
        *lead, count, _ = pieces.shape
        filled = np.zeros((*lead, count, parts * self.hop), np.float32)
        filled[..., : self.n_fft] = pieces
        out = np.zeros((*lead, self._all_frames + parts, self.hop), np.float32)
        for part in range(parts):
            begin = self.trim_frames + part
            share = filled[..., part * self.hop : (part + 1) * self.hop]
            out[..., begin : begin + count, :] += share
        audio = out.reshape(*lead, -1)
        missing = self._reach - audio.shape[-1]
        return np.pad(audio, [(0, 0)] * len(lead) + [(0, missing)]) if missing > 0 else audio

    @property
    def _reach(self) -> int:
        return self.n_fft // 2 * self.center + self.pre_pad + self.segment

    @cached_property
    def _per_envelope(self) -> Float:
        """One over the sum of the squared windows, frames that are cut off included."""
        whole = ModelStft(self._length, self.n_fft, self.hop, self.window_name, self.center)
        squares = np.broadcast_to(self.window**2, (self._all_frames, self.n_fft))
        envelope = whole._overlap_added(np.asarray(squares, np.float32))
        wanted = max(self._reach, (self._all_frames + -(-self.n_fft // self.hop)) * self.hop)
        envelope = np.pad(envelope, (0, max(0, wanted - len(envelope))))[:wanted]
        inverse = np.where(envelope > _LEAST_ENVELOPE, 1 / np.maximum(envelope, 1e-12), 0)
        return inverse.astype(np.float32)


def _reflected(audio: Float, left: int, right: int) -> Float:
    """Mirrored at both ends without repeating the first and the last sample."""
    return np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(left, right)], mode="reflect")
