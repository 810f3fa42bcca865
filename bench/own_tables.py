"""The scores of the bench of own instruments, and the tables of docs/own-instrument-bench.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from scores import bootstrap

Key = tuple[str, str, str, str, float]  # set, song, view, row, minutes

MIXTURE, PROMISE = "mixture / K", "own, as promised"
PROMISE_AT_LEVEL = "own, as promised at its level"
HALF = "half of the mix"
SHIPPED, OWN = "shipped, rest unknown", "own, rest unknown"
BESIDE_BAND = "own beside its band, rest unknown"
NOTES = """\
Songs of a set are left out fold by fold; takes and packs come from the other folds. SDR in dB of
the target, gain over the mixture divided by the number of stems (inside: by two), mean over songs
with its 95 % bootstrap interval; the last column is the mean over all stems of the set. Masks of
the first estimate on the true mixes' spectra, middle and side of a pair each on its own, without
the stereo image. *Inside* is a true `other` with all else 10 dB below it. *Rest unknown* knows the
target's head and nothing else. Minutes are those of the takes that were there. *Beside its band*
has learned beside the other stems of the songs that its takes are from, too.
""".splitlines()


@dataclass(frozen=True)
class Score:
    """Signal to distortion in dB of one row on one song: of the target, and the mean over the set
    where the row has all stems. `view` is the whole mix, or `inside` a foreign stem. `minutes` of
    takes were asked for and `heard` were there. What a training promised has an interval."""

    data: str
    song: str
    view: str
    row: str
    minutes: float
    target_db: float
    mean_db: float | None = None
    heard: float = 0.0
    low_db: float | None = None
    high_db: float | None = None

    @classmethod
    def parse(cls, line: str) -> Score:
        """A line of a scores file."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in json.loads(line).items() if name in names})

    @property
    def key(self) -> Key:
        """What is measured once."""
        return self.data, self.song, self.view, self.row, self.minutes


def page(scores: Sequence[Score], command: str, notes: Sequence[str] = ()) -> Iterator[str]:
    """The page, line by line."""
    yield "# What is an own instrument worth on songs it has not heard?"
    yield ""
    yield f"Printed by `{command}`."
    yield ""
    yield from NOTES
    yield from notes
    yield from minutes_table(scores)
    yield from promise_table(scores)
    for data in dict.fromkeys(score.data for score in scores):
        mine = [score for score in scores if score.data == data]
        for view in dict.fromkeys(score.view for score in mine):
            yield from set_table(data, view, [score for score in mine if score.view == view])


def minutes_table(scores: Sequence[Score]) -> Iterator[str]:
    """How much an own head gains with how many minutes of takes, over nothing and over what is
    shipped."""
    rows = []
    every = [(at, row) for row in (OWN, BESIDE_BAND) for at in _trained(scores, row)]
    for (data, view, minutes), trained in sorted(every, key=lambda each: each[0]):
        own, heard = _by_song(scores, data, view, trained, minutes)
        beside = "its band" if trained == BESIDE_BAND else "strangers"
        cells = [data, view, f"{heard:.1f}", beside, str(len(own))]
        cells += [_gain(own, _by_song(scores, data, view, row)[0]) for row in (MIXTURE, SHIPPED)]
        best, _ = _by_song(scores, data, view, "oracle")
        rows.append([*cells, _gain(best, own)])
    head = ["set", "view", "minutes", "beside", "songs", "over mixture / K", "over shipped"]
    title = "How many minutes of takes, and beside whom? Rest unknown"
    yield from titled(title, [*head, "oracle ahead by"], rows)


def promise_table(scores: Sequence[Score]) -> Iterator[str]:
    """What the end of a training promised over half of the mix, and what songs say."""
    rows = []
    for data, view, minutes in _trained(scores, PROMISE):
        promises = [s for s in scores if (s.data, s.row, s.minutes) == (data, PROMISE, minutes)]
        own, heard = _by_song(scores, data, view, OWN, minutes)
        half, _ = _by_song(scores, data, view, HALF)
        found = {song: own[song] - half[song] for song in own}
        low, high = (np.mean([getattr(s, end) for s in promises]) for end in ("low_db", "high_db"))
        cells = [data, f"{heard:.1f}", str(len(own)), f"({low:+.1f} to {high:+.1f})"]
        for row in (PROMISE, PROMISE_AT_LEVEL):
            promised, _ = _by_song(scores, data, view, row, minutes)
            if not promised:  # a training from before levels were heeded
                cells += ["", ""]
                continue
            wrong = np.mean([abs(promised[song] - found[song]) for song in promised])
            cells += [f"{np.mean([*promised.values()]):+.1f}", f"{wrong:.1f}"]
        gains = np.array(list(found.values()))[:, None]
        rows.append([*cells[:3], cells[4], *cells[3:4], *cells[5:], str(bootstrap(gains))])
    head = ["set", "minutes", "songs", "promised", "its interval", "off by", "at the song's level"]
    yield from titled("Does the promise hold?", [*head, "off by", "measured"], rows)


def set_table(data: str, view: str, scores: Sequence[Score]) -> Iterator[str]:
    """All rows of a set in one view."""
    songs = {score.song for score in scores}
    floor, _ = _by_song(scores, data, view, MIXTURE)
    lines = []
    for row, minutes in sorted(dict.fromkeys((score.row, score.minutes) for score in scores)):
        if row in (PROMISE, PROMISE_AT_LEVEL):
            continue
        mine = [s for s in scores if (s.row, s.minutes) == (row, minutes)]
        found, heard = _by_song(scores, data, view, row, minutes)
        means = [score.mean_db for score in mine if score.mean_db is not None]
        lines.append([
            row, f"{heard:.1f}" if heard else "", str(len(mine)),
            f"{np.mean(list(found.values())):.2f}", _gain(found, floor),
            f"{np.mean(means):.2f}" if means else "",
        ])  # fmt: skip
    head = ["row", "minutes", "songs", "target", "over mixture / K", "all stems"]
    yield from titled(f"{data}: {view}, {len(songs)} songs", head, lines)


def _trained(scores: Sequence[Score], row: str) -> list[tuple[str, str, float]]:
    """Sets, views and minutes that have a row."""
    return list(dict.fromkeys((s.data, s.view, s.minutes) for s in scores if s.row == row))


def _by_song(
    scores: Sequence[Score], data: str, view: str, row: str, minutes: float = 0.0
) -> tuple[dict[str, float], float]:
    """What a row says of each song, and the minutes that it has heard on average."""
    mine = [s for s in scores if (s.data, s.view, s.row, s.minutes) == (data, view, row, minutes)]
    heard = float(np.mean([s.heard for s in mine])) if mine else 0.0
    return {s.song: s.target_db for s in mine}, heard


def _gain(found: dict[str, float], over: dict[str, float]) -> str:
    """The mean of the songs that both have, with its interval."""
    both = [found[song] - over[song] for song in found if song in over]
    return str(bootstrap(np.array(both)[:, None])) if both else ""


def titled(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A section with a table; nothing where it has no rows."""
    if not rows:
        return
    yield from ("", f"## {title}", "", f"| {' | '.join(head)} |", "| --- " * len(head) + "|")
    for row in rows:
        yield f"| {' | '.join(row)} |"
