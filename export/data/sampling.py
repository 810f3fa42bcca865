"""Excerpts as they are drawn: placed, treated, layered and finished on the device that trains.

A `Sampler` holds the frames of several corpora in one tensor. Which pieces make up an excerpt, and
what is done to it, is drawn by numpy on the host; frames are gathered and treated on the device,
the excerpts of all stems at once. Each excerpt is one stem's; only `Interference` adds excerpts
up, and only the contrastive term asks it. The likelihood term therefore never sees two stems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .augmentation import LAYER_DB, on
from .corpus import SPEEDS, Clip, Corpus
from .finishing import finish

Rng = np.random.Generator
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CPU = torch.device("cpu")
SILENCE_SHARE = 0.05
LONGEST_GAP_FRAMES = 30
_RATIOS = 2 ** (np.array(SPEEDS) / 12)


@dataclass(frozen=True)
class InStep:
    """Which rows are parts of a song (-1: none), where in it they lie (0 to 1) and at which of
    `SPEEDS`; all (rows,). Parts of one excerpt of a song have the same numbers."""

    song: Ints
    place: Floats
    speed: Ints


class Sampler:
    """Draws excerpts of several corpora on a device; `stems` are theirs, in the order given.

    `songs` are those whose parts lie in several corpora and sound together: (songs, corpora)
    numbers of clips, -1 where a song has no such part.
    """

    def __init__(self, corpora: Sequence[Corpus], device: torch.device = CPU) -> None:
        self.corpora, self.device = tuple(corpora), device
        self.stems = tuple(corpus.stem for corpus in corpora)
        self.bands, self.frame_s = corpora[0].bands, corpora[0].frame_s
        clips, owner = _by_source(self.corpora)
        self._alone = np.array([clip.alone for clip in clips])
        self._stay = np.array(
            [not corpora[n].finish_takes or c.source in corpora[n].finished for n, c in owner]
        )
        self._lay_down(clips)
        self._index_sources(owner)
        rests = np.array([n for n, _ in owner])[self._rests]
        self._resting = np.searchsorted(rests, np.arange(len(self.corpora) + 1))
        self.songs = _songs(self.corpora, owner)
        edges = self.corpora[0].edges_hz
        self._warps = (
            torch.from_numpy(np.stack([warping(edges, ratio) for ratio in _RATIOS])).to(device)
            if self._alone.any()
            else None
        )

    def _lay_down(self, clips: Sequence[Clip]) -> None:
        """Put all frames into one tensor, and list the places of those that are played."""
        playing = np.concatenate([clip.playing for clip in clips])
        frames = np.zeros((playing.size + 1, self.bands), np.float16)  # the last one is silence
        np.concatenate([clip.magnitudes for clip in clips], out=frames[:-1])
        self._frames = torch.from_numpy(frames).to(self.device)
        lists = [np.arange(playing.size), np.flatnonzero(playing), np.flatnonzero(~playing)]
        begins = np.cumsum([0, *(len(found) for found in lists)])
        places = np.concatenate([*lists, [playing.size, playing.size]])
        self._places = torch.from_numpy(places).to(self.device)
        self._silence = int(begins[-1])
        whole = np.array([len(clip.playing) for clip in clips])
        active = np.array([int(clip.playing.sum()) for clip in clips])
        self._lengths = {"whole": whole, "active": active, "pauses": whole - active}
        self._starts = {
            kind: begin + np.cumsum([0, *lengths[:-1]])
            for begin, (kind, lengths) in zip(begins, self._lengths.items(), strict=False)
        }
        self._rests = np.flatnonzero(self._lengths["pauses"])

    def _index_sources(self, owner: Sequence[tuple[int, Clip]]) -> None:
        """Chances of every source, corpus by corpus, and the clips of each by their lengths."""
        keys = [(n, clip.source) for n, clip in owner]
        firsts = [i for i, key in enumerate(keys) if i == 0 or keys[i - 1] != key]
        self._reach = np.concatenate([[0], np.cumsum(self._lengths["active"])])
        self._ranges = self._reach[[*firsts, len(keys)]]
        shares = np.zeros(len(firsts))
        for index, first in enumerate(firsts):
            corpus, source = self.corpora[keys[first][0]], keys[first][1]
            length = self._ranges[index + 1] - self._ranges[index]
            shares[index] = corpus.weights.get(source, 1.0) * np.sqrt(length)
        whose = np.array([keys[first][0] for first in firsts])
        self._chances = np.concatenate(
            [n + np.cumsum(mine := shares[whose == n]) / mine.sum() for n in np.unique(whose)]
        )

    def sample(self, rng: Rng, batch: int, frames: int) -> Tensor:
        """Draw augmented excerpts of the first corpus, shape (batch, frames, bands)."""
        return self.rows(rng, np.zeros(batch, np.int64), frames)

    def rows(self, rng: Rng, which: Ints, frames: int, step: InStep | None = None) -> Tensor:
        """Draw an augmented excerpt of corpus `which[r]` for every row r: (rows, frames, bands).

        Rows `step` names are parts of songs as they lie there, pauses included, and silent where
        a song has no such part. The others are playing without longer pauses or, one in twenty,
        silence.
        """
        rows = len(which)
        free = np.ones(rows, bool) if step is None else step.song < 0
        silent = free & (rng.random(rows) < SILENCE_SHARE)
        share = np.array([corpus.production.layer for corpus in self.corpora])[which]
        layered = np.flatnonzero(free & ~silent & (rng.random(rows) < share))
        stems = np.concatenate([which, which[layered]])
        places = np.full((len(stems), frames), float(self._silence))
        ratio = np.zeros(len(stems), np.int64)  # of speeds; 0 where a clip brings its own
        first = np.zeros(len(stems), np.int64)  # clip
        playing = np.r_[np.flatnonzero(free & ~silent), np.arange(rows, len(stems))]
        self._place_playing(rng, places, first, ratio, stems, playing)
        self._place_pauses(rng, places, stems, np.flatnonzero(silent))
        if step is not None:
            self._place_songs(places, first, ratio, which, step)
        excerpts = self._gathered(places, ratio)
        sounding = np.flatnonzero(~np.r_[silent, np.zeros(len(layered), bool)])
        self._treat(rng, excerpts, stems, sounding)
        return self._finished(rng, excerpts, which, first[:rows], silent, layered)

    def _place_playing(
        self, rng: Rng, places: Floats, first: Ints, ratio: Ints, stems: Ints, rows: Ints
    ) -> None:
        """Fill rows with pieces of one source each; short recordings follow each other with gaps
        between."""
        source = np.searchsorted(self._chances, stems[rows] + rng.random(rows.size), "right")
        at, begun = np.zeros(rows.size, np.int64), False
        while (going := np.flatnonzero(at < places.shape[1])).size:
            low, high = self._ranges[source[going]], self._ranges[source[going] + 1]
            drawn = low + rng.random(going.size) * (high - low)
            clip = np.searchsorted(self._reach, drawn, "right") - 1
            if not begun:
                first[rows] = clip
                ratio[rows] = self._alone[clip] * (1 + rng.integers(len(SPEEDS), size=rows.size))
                begun = True
            used = self._copy(
                places, rows[going], at[going], "active", clip, ratio, rng.random(going.size)
            )
            at[going] += used + rng.integers(0, LONGEST_GAP_FRAMES, going.size)

    def _place_pauses(self, rng: Rng, places: Floats, stems: Ints, rows: Ints) -> None:
        """Leave digital silence, or half of the time what the recordings' pauses sound like."""
        low, high = self._resting[stems[rows]], self._resting[stems[rows] + 1]
        some = (high > low) & (rng.random(rows.size) < 0.5)
        clip = self._rests[(low + rng.random(rows.size) * (high - low)).astype(int)[some]]
        at, still = np.zeros(clip.size, np.int64), np.zeros(len(places), np.int64)
        self._copy(places, rows[some], at, "pauses", clip, still, rng.random(clip.size))

    def _place_songs(
        self, places: Floats, first: Ints, ratio: Ints, which: Ints, step: InStep
    ) -> None:
        """Fill rows with the parts of songs, all of one at the same place."""
        rows = np.flatnonzero(step.song >= 0)
        parts = self.songs[step.song[rows]]
        clip = parts[np.arange(rows.size), which[rows]]
        # nobody's part reaches beyond the shortest one
        lengths = np.where(parts >= 0, self._lengths["whole"][parts], np.iinfo(np.int64).max)
        here = clip >= 0
        rows, clip, shortest = rows[here], clip[here], lengths.min(axis=1)[here]
        first[rows] = clip
        ratio[rows] = self._alone[clip] * (1 + step.speed[rows])
        at = np.zeros(rows.size, np.int64)
        self._copy(places, rows, at, "whole", clip, ratio, step.place[rows], shortest)

    def _copy(
        self,
        places: Floats,
        rows: Ints,
        at: Ints,
        kind: str,
        clip: Ints,
        ratio: Ints,
        where: Floats,
        lengths: Ints | None = None,
    ) -> Ints:
        """Place a piece of a clip at frame `at` of each row; return how many frames it fills."""
        lengths = self._lengths[kind][clip] if lengths is None else lengths
        speed = np.r_[1.0, _RATIOS][ratio[rows]]
        wanted = np.ceil((places.shape[1] - at - 1) * speed) + 1
        start = np.floor(where * (np.maximum(lengths - wanted, 0) + 1))
        time = np.arange(places.shape[1]) - at[:, None]
        read = start[:, None] + time * speed[:, None]
        filled = (time >= 0) & (read <= (lengths - 1)[:, None])
        begin = self._starts[kind][clip].astype(float)[:, None]
        places[rows] = np.where(filled, begin + read, places[rows])
        return np.asarray(filled.sum(axis=1))

    def _gathered(self, places: Floats, ratio: Ints) -> Tensor:
        """Magnitudes (rows, frames, bands) at places between frames, at their speeds."""
        whole = np.floor(places)
        at = torch.from_numpy(whole.astype(np.int64)).to(self.device)
        found = self._frames[self._places[at]].float()
        if self._warps is None or not (moved := np.flatnonzero(ratio)).size:
            return found
        rows = on(moved, found)
        share = on((places - whole)[moved], found)[:, :, None]
        after = self._frames[self._places[at[rows] + 1]].float()
        between = (1 - share) * found[rows] ** 2 + share * after**2
        power = torch.bmm(between, self._warps[on(ratio[moved] - 1, found)])
        found[rows] = torch.sqrt(power)
        return found

    def _treat(self, rng: Rng, excerpts: Tensor, stems: Ints, rows: Ints) -> None:
        """Treat rows in place, those of one production together."""
        for production in dict.fromkeys(corpus.production for corpus in self.corpora):
            mine = np.array([corpus.production == production for corpus in self.corpora])
            at = on(rows[mine[stems[rows]]], excerpts)
            heard = excerpts[at]
            production.treat(rng, heard, self.frame_s)
            excerpts[at] = heard

    def _finished(
        self, rng: Rng, excerpts: Tensor, which: Ints, first: Ints, silent: Bools, layered: Ints
    ) -> Tensor:
        """Add layers, a second excerpt of the same stem (choirs, doubled guitars, percussion over
        a kit), and finish what is to be finished and no stem of a mix already."""
        out, layers = excerpts[: len(which)], excerpts[len(which) :]
        if layered.size:
            at = on(layered, out)
            gain = on(10 ** (rng.uniform(*LAYER_DB, layered.size) / 20), out)[:, None, None]
            out[at] = torch.sqrt(out[at] ** 2 + (layers * gain) ** 2)
        if (rows := np.flatnonzero(~silent & ~self._stay[first])).size:
            at = on(rows, out)
            heard = out[at]
            finish(rng, heard, [self.stems[n] for n in which[rows]])
            out[at] = heard
        return out


class Interference:
    """Random sums of one to three *other* stems' excerpts, for the contrastive term alone."""

    def __init__(self, own: str, leaking: Sequence[Corpus], device: torch.device = CPU) -> None:
        stems = [corpus.stem for corpus in leaking]
        if own in stems or not leaking:
            raise ValueError(f"interference for {own} needs other stems' corpora, got {stems}")
        self.corpora = tuple(leaking)
        self._sampler = Sampler(leaking, device)

    def __call__(self, rng: Rng, batch: int, frames: int) -> Tensor:
        """Draw leaks of shape (batch, frames, bands): powers add, as of unrelated signals."""
        most = min(3, len(self.corpora))
        playing = np.arange(most) < rng.integers(1, most + 1, (batch, 1))
        order = rng.random((batch, len(self.corpora))).argsort(axis=1)[:, :most]
        row, place = np.nonzero(playing)
        drawn = self._sampler.rows(rng, order[row, place], frames)
        power = torch.zeros((batch, *drawn.shape[1:]), device=drawn.device)
        return torch.sqrt(power.index_add_(0, on(row, drawn), drawn**2))


def warping(edges_hz: Sequence[float], ratio: float) -> NDArray[np.float32]:
    """What a tape at another speed does to powers in bands: (bands, bands), to be multiplied from
    the right. Every band's power is spread evenly and goes to where its edges move."""
    edges = np.asarray(edges_hz, np.float64)
    moved = ratio * edges
    low = np.maximum(moved[:-1, None], edges[None, :-1])
    high = np.minimum(moved[1:, None], edges[None, 1:])
    share = np.maximum(high - low, 0) / np.diff(moved)[:, None]
    return np.asarray(share, np.float32)


def _by_source(corpora: Sequence[Corpus]) -> tuple[list[Clip], list[tuple[int, Clip]]]:
    """All clips, those of one source beside each other, and the number of the corpus of each."""
    owner = [
        (n, clip)
        for n, corpus in enumerate(corpora)
        for clip in sorted(corpus.clips, key=lambda clip: clip.source)
    ]
    return [clip for _, clip in owner], owner


def _songs(corpora: Sequence[Corpus], owner: Sequence[tuple[int, Clip]]) -> Ints:
    """(songs, corpora) clips that sound together: parts of one song at one speed."""
    found: dict[tuple[str, float, bool], Ints] = {}
    for index, (n, clip) in enumerate(owner):
        if clip.source in corpora[n].in_step:
            parts = found.setdefault(
                (clip.song, clip.semitones, clip.alone), np.full(len(corpora), -1)
            )
            parts[n] = index
    whole = [parts for parts in found.values() if (parts >= 0).sum() > 1]
    return np.array(whole, np.int64).reshape(len(whole), len(corpora))
