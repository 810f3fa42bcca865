"""Puts recordings that lie by instrument together as songs, by links: what full supervision reads.

    python bench/song_folders.py ../shared/audio/stems build/rivals/songs

`STEMS/<instrument>/<song>.ogg` becomes `OUT/<song>/<instrument>.ogg` for every song that has all
of the instruments; with `--stems FOLDER` also `FOLDER/<stem>/<song>-<instrument>.ogg`, which
priors are trained on, guitar and piano as other. Songs whose number ends in 3 are held out for
judging and stay out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from engine import AUDIO_SUFFIXES
from multitracks import HELD_OUT_DIGIT

INSTRUMENTS = ("vocals", "bass", "drums", "guitar", "piano")
STEM_OF = {"guitar": "other", "piano": "other"}


def gathered(stems: Path, prefix: str = "rendered_") -> dict[str, dict[str, Path]]:
    """Files of every whole song by instrument."""
    songs: dict[str, dict[str, Path]] = defaultdict(dict)
    for instrument in INSTRUMENTS:
        for path in sorted((stems / instrument).glob(f"{prefix}*")):
            if path.suffix.lower() in AUDIO_SUFFIXES and not path.stem.endswith(HELD_OUT_DIGIT):
                songs[path.stem][instrument] = path
    return {name: own for name, own in songs.items() if len(own) == len(INSTRUMENTS)}


def link_songs(stems: Path, out: Path, prefix: str = "rendered_") -> int:
    """Make the folders; returns how many songs there are. What is there already is replaced."""
    songs = gathered(stems, prefix)
    for name, own in songs.items():
        for instrument, path in own.items():
            _link(path, out / name / f"{instrument}{path.suffix}")
    return len(songs)


def link_stems(stems: Path, out: Path, prefix: str = "rendered_") -> None:
    """The same files by stem."""
    for name, own in gathered(stems, prefix).items():
        for instrument, path in own.items():
            stem = STEM_OF.get(instrument, instrument)
            _link(path, out / stem / f"{name}-{instrument}{path.suffix}")


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path.resolve())


def main() -> None:
    """Link and say how many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stems", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stems", dest="by_stem", type=Path, metavar="FOLDER")
    parser.add_argument("--prefix", default="rendered_", help="of the songs' names")
    arguments = parser.parse_args()
    found = link_songs(arguments.stems, arguments.out, arguments.prefix)
    if arguments.by_stem:
        link_stems(arguments.stems, arguments.by_stem, arguments.prefix)
    print(f"{found} songs in {arguments.out}")
    if not found:
        raise SystemExit(f"{arguments.stems}: no song has all of {', '.join(INSTRUMENTS)}")


if __name__ == "__main__":
    main()
