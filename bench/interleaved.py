"""Trains the interleaved family in every mode and prints what its paper claims, true or false.

    python bench/interleaved.py SONGS --out build/interleaved --scores build/interleaved.jsonl

`SONGS` is a folder of song folders with stems. What is trained already is left as it is; another
seed wants another `--out`, and its page is given to the first's with `--beside NAME=SCORES`, which
puts its verdicts beside. Songs and `--set` are those of bench/quality.py, judged in mono at
22.05 kHz. On two cores the trainings take some hours, on a card minutes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import soundfile
from numpy.typing import NDArray

from export.separators import RUNS, FamilyOptions, export_family, train_family
from quality import FOUR, LEAST_POWER, Mix, Row
from scores import Estimated, bootstrap, bss_eval_db, over_stems, sdr_db
from systems import PaperSong, card_row, graph_parameters, songs_by_column

Table = NDArray[np.float64]
MEASURES = ("sdr", "sir", "sar", "over mixture / K")
WITHIN_DB, SHARE = 0.5, 0.8
FIRST = "first training"  # what a page calls it where others stand beside


@dataclass(frozen=True)
class Line:
    """One song and one run: stem -> MEASURES in dB."""

    column: str
    song: str
    run: str
    made_of: str
    decibels: dict[str, tuple[float, ...]]
    cpu_s: float
    audio_s: float


def measured(arguments: argparse.Namespace, cards: Mapping[str, Path]) -> Iterator[Line]:
    """Separate every song with every run; what stands in the scores file is taken from there."""
    arguments.scores.parent.mkdir(parents=True, exist_ok=True)
    known = lines_in(arguments.scores) if arguments.scores.exists() else []
    old = {(x.column, x.song, x.run, x.made_of): x for x in known}
    for run, card in cards.items():
        row = card_row(card, arguments.threads)
        for column, song in songs_by_column(arguments):
            made_of = f"{row.identity}/{arguments.seconds:g}"
            line = old.get((column, song.name, run, made_of))
            if line is None:
                line = _measure(column, song, run, row, made_of, arguments.seconds)
                with arguments.scores.open("a") as file:
                    file.write(json.dumps(asdict(line)) + "\n")
            yield line


def _measure(
    column: str, song: PaperSong, run: str, row: Row, made_of: str, seconds: float
) -> Line:
    truth, rate = song.read(seconds)
    audio = np.sum(list(truth.values()), axis=0)
    asked = {stem: part for stem, part in truth.items() if run != "frozen" or stem == "vocals"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mix.wav"
        soundfile.write(path, audio.T, rate, subtype="FLOAT")
        started = time.process_time()
        found = row.system(Mix(path, audio, rate, asked)) if asked else {}
        cpu_s = time.process_time() - started
    decibels: dict[str, tuple[float, ...]] = {}
    for stem, estimate in found.items():
        if float((truth[stem] ** 2).mean()) >= LEAST_POWER:
            sdr = sdr_db(truth[stem], estimate)
            _, sir, sar = bss_eval_db(truth, stem, estimate)
            decibels[stem] = (sdr, sir, sar, sdr - sdr_db(truth[stem], audio / len(truth)))
    return Line(column, song.name, run, made_of, decibels, cpu_s, audio.shape[1] / rate)


def table(lines: Sequence[Line], run: str, measure: str, stems: Sequence[str] = FOUR) -> Table:
    """(songs, stems), NaN where a song lacks the stem; songs in one order for all runs."""
    own = sorted((x for x in lines if x.run == run), key=lambda x: (x.column, x.song))
    index = MEASURES.index(measure)
    return np.array([[x.decibels.get(s, (np.nan,) * 4)[index] for s in stems] for x in own])


@dataclass(frozen=True)
class Claim:
    """What the paper says, what was found, and whether it holds here."""

    words: str
    found: str
    holds: bool


def claims(lines: Sequence[Line], sizes: Mapping[str, int], passes: int) -> list[Claim]:
    """The claims of the abstract on one column."""

    def apart(a: str, b: str, measure: str) -> Estimated:
        return bootstrap(table(lines, a, measure) - table(lines, b, measure))

    near = apart("interleaved", "independent", "sdr")
    rejects = apart("interleaved", "simultaneous", "sir")
    suffices = apart("apart", "interleaved", "sdr")
    gain = table(lines, "frozen", "over mixture / K", ("vocals",))
    scratch = table(lines, "independent", "over mixture / K", ("vocals",))
    share = _ratio(gain, scratch)
    better = bootstrap(table(lines, "apart", "over mixture / K"))
    fewer = sizes["interleaved"] / sizes["independent"]
    return [
        Claim(
            f"a shared encoder trained in turns is within {WITHIN_DB} dB of independent networks",
            f"SDR {near} dB",
            abs(near.mean) <= WITHIN_DB or near.mean > 0,
        ),
        Claim("with fewer parameters", f"{fewer:.2f} of theirs", fewer < 1),
        Claim("the encoder runs once", f"{passes} encoder in the graph", passes == 1),
        Claim(
            "turns reject other sources at least as well as simultaneous training",
            f"SIR {rejects} dB",
            rejects.mean >= 0,
        ),
        Claim(
            f"a new decoder on the frozen encoder has {SHARE:.0%} of the gain of a network of its"
            " own",
            f"{share.mean:.2f} [{share.low:.2f}, {share.high:.2f}] of {over_stems(scratch):.2f} dB"
            " (vocals)",
            share.mean >= SHARE and over_stems(scratch) > 0,  # a share of a loss is no gain
        ),
        Claim(
            f"databases that lack the other stems suffice (within {WITHIN_DB} dB)",
            f"SDR {suffices} dB; over mixture / K {better} dB",
            suffices.mean >= -WITHIN_DB,
        ),
    ]


def _ratio(gain: Table, scratch: Table) -> Estimated:
    """Mean over mean, songs drawn anew."""
    both = ~np.isnan(gain[:, 0]) & ~np.isnan(scratch[:, 0])
    a, b = gain[both, 0], scratch[both, 0]
    rng = np.random.default_rng(0)
    rows = (rng.integers(len(a), size=len(a)) for _ in range(2000))
    drawn = [a[r].mean() / b[r].mean() for r in rows]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimated(float(a.mean() / b.mean()), float(low), float(high))


def page(
    lines: Sequence[Line],
    sizes: Mapping[str, int],
    passes: int,
    introduction: str,
    beside: Mapping[str, Sequence[Line]] = MappingProxyType({}),
) -> str:
    """As Markdown; `beside` are lines of other trainings of the same family, by their names."""
    out = [
        "# Interleaved multitask training",
        "",
        f"Printed by `{shlex.join(['python', 'bench/interleaved.py', *sys.argv[1:]])}`.",
        "",
        "Doire and Okubadejo (arXiv:1908.05182): one encoder, a decoder for every stem, trained",
        "in turns on data that hold the mix and one stem. The paper's network and tables could",
        "not be read; what is tested is what its abstract claims. Encoder and decoders are of",
        "the shipped first estimate at half its width; that estimate is the *simultaneous* mode",
        "trained on random sums of isolated recordings, with decoders that can be added.",
        *(["", introduction] if introduction else []),
        "",
        "Mono at 22.05 kHz; SDR is the global one, SIR and SAR allow a gain. Means over songs.",
    ]
    for column in dict.fromkeys(line.column for line in lines):
        trainings = {
            name: [line for line in own if line.column == column]
            for name, own in {FIRST: lines, **beside}.items()
        }
        trainings = {name: own for name, own in trainings.items() if own}
        out += ["", f"## {column.capitalize()}"]
        for name, own in trainings.items():
            out += ["", *([f"{name.capitalize()}:", ""] if beside else []), *_rows(own, sizes)]
        out += ["", *_verdicts(trainings, sizes, passes)]
    return "\n".join(out) + "\n"


def _verdicts(
    trainings: Mapping[str, Sequence[Line]], sizes: Mapping[str, int], passes: int
) -> list[str]:
    """The claims and what every training says of them."""
    verdicts = [claims(own, sizes, passes) for own in trainings.values()]
    names = [f", {name}" if len(trainings) > 1 else "" for name in trainings]
    head = [cell for name in names for cell in (f"found{name}", f"holds here{name}")]
    rows = [["the paper claims", *head], ["---"] * (len(head) + 1)]
    for same in zip(*verdicts, strict=True):
        cells = [cell for c in same for cell in (c.found, "yes" if c.holds else "no")]
        rows.append([same[0].words, *cells])
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    if len(verdicts) > 1:
        differ = sum(len({c.holds for c in same}) > 1 for same in zip(*verdicts, strict=True))
        agreed = f"{len(verdicts[0]) - differ} of {len(verdicts[0])}"
        lines += ["", f"The trainings give the same verdict on {agreed} claims."]
    return lines


def _rows(lines: Sequence[Line], sizes: Mapping[str, int]) -> list[str]:
    head = [
        "run",
        *(f"{stem}: SDR SIR SAR" for stem in FOUR),
        "SDR, mean",
        "SIR, mean",
        "SAR, mean",
    ]
    rows = [[*head, "s/s", "parameters"], ["---"] * (len(head) + 2)]
    for run in dict.fromkeys(line.run for line in lines):
        tables = [table(lines, run, measure) for measure in MEASURES[:3]]
        cells = [
            " ".join(f"{np.nanmean(t[:, n]):.2f}" for t in tables)
            if np.isfinite(tables[0][:, n]).any()
            else "-"
            for n in range(len(FOUR))
        ]
        own = [line for line in lines if line.run == run]
        cost = sum(x.cpu_s for x in own) / sum(x.audio_s for x in own)
        means = [str(bootstrap(t)) for t in tables]
        rows.append([run, *cells, *means, f"{cost:.3f}", f"{sizes[run] / 1e6:.2f} M"])
    return [f"| {' | '.join(cells)} |" for cells in rows]


def main() -> None:
    """Train what is missing, measure, print."""
    arguments = _arguments()
    options = FamilyOptions(
        arguments.out,
        arguments.updates,
        arguments.batch,
        seed=arguments.seed,
        device=arguments.device,
        threads=arguments.threads,
    )
    if arguments.songs:
        for line in train_family(arguments.songs, options):
            print(line, file=sys.stderr)
    cards = {
        run: export_family(arguments.out / run, arguments.out / f"{run}.yaml")
        for run in RUNS
        if run != "trunk"
    }
    sizes = {run: graph_parameters(card) for run, card in cards.items()}
    from export.training.interleaved_training import load_family

    passes = len(load_family(arguments.out / "interleaved").encoders)
    lines = list(measured(arguments, cards))
    notes = arguments.notes.read_text(encoding="utf-8").strip() if arguments.notes else ""
    beside = {
        name: lines_in(Path(path))
        for name, _, path in (item.rpartition("=") for item in arguments.beside)
    }
    print(page(lines, sizes, passes, notes, beside), end="")


def lines_in(scores: Path) -> list[Line]:
    """The lines of a scores file."""
    return [Line(**json.loads(line)) for line in scores.read_text().splitlines()]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("songs", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=1000, help="of every decoder")
    parser.add_argument("--batch", type=int, default=16, help="excerpts of 3 s in an update")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--set", action="append", dest="sets", metavar="COLUMN=LAYOUT:FOLDER")
    parser.add_argument("--every", type=int, default=1, help="of the unfamiliar songs")
    parser.add_argument("--seconds", type=float, default=11.5)
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="NAME=SCORES",
        help="of another training of the family: its verdicts stand beside; may repeat",
    )
    parser.add_argument("--notes", type=Path)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
