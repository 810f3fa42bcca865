"""Songs that a new instrument's head is judged on, as they were mixed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine import FrontEndCard, list_priors
from presets import StemwrightError, sha256_of

from ..data.multitracks import find_multitracks
from ..data.pack import read_pack
from ..data.recordings import find_recordings
from ..data.true_mixes import TrueMix
from .runs import by_kind


def read_judges(
    stem: str, places: Sequence[Path], recordings: Sequence[Path], view: FrontEndCard
) -> tuple[TrueMix, ...]:
    """The songs in some places in which the stem plays among others.

    Raises StemwrightError where there is none, or where one of its files is among the recordings
    that the stem is to learn from.
    """
    if not places:
        return ()
    tracks = find_multitracks(places, {*list_priors(), stem})
    songs = {
        name: stems for name, stems in tracks.songs.items() if stem in stems and len(stems) > 1
    }
    audio, packs = by_kind(recordings)
    heard = {sha256_of(path): path for path in find_recordings(audio)}
    packed = {
        each.song: pack
        for pack, part in packs
        for each in read_pack(pack).recordings
        if each.part == (part or stem)
    }
    for name, stems in songs.items():
        for path in stems[stem]:
            # a pack holds no audio: its recordings are known by their songs' names
            take = heard.get(sha256_of(path)) or packed.get(name)
            if take is not None:
                raise StemwrightError(
                    "judged-on-takes",
                    f"--judge: {path} of the song {name} is {take} among the "
                    "recordings. A song that judges must not be learned from: leave it out of one "
                    "of the two.",
                )
    found = tracks.true_mixes(songs, {each: each for each in tracks.stems}, view.front_end())
    plays = [song for song in found if stem in song.sdr_db(np.zeros_like(song.own))]
    if not plays:
        raise StemwrightError(
            "no-songs",
            f"--judge: in no song of {', '.join(map(str, places))} does {stem} play among others. "
            f"Expected SONGS/<song>/{stem}.wav beside the song's other stems.",
        )
    return tuple(plays)
