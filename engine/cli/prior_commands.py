"""The commands of `prior` that work with finished bundles; those that train are added outside.

Training needs torch, which lives in a room that this one does not know.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from presets import say, say_json

from .arguments import DEVICE, FILE, JSON, NATURAL, PRIORS, SEED, output
from .endings import one_of_many


@click.group()
def prior() -> None:
    """List, check, train and export priors."""


@prior.command("list")
@PRIORS
@JSON
def prior_list(priors: tuple[Path, ...], as_json: bool) -> None:
    """List every prior and artist pack.

    What presets can name, and where it lies.
    """
    from ..model.artist_pack import list_artist_packs, read_artist_pack
    from ..model.bundle import read_bundle
    from ..model.prior import list_priors

    for name, path in list_priors(priors).items():
        card, _, sha256 = read_bundle(path)
        entry = {"name": name, "stem": card.stem, "path": str(path), "sha256": sha256}
        if as_json:
            say_json({**entry, "labels": card.labels})
        else:
            labels = f"  ({', '.join(card.labels)})" if card.labels else ""
            say(f"{name:12} {card.parameters / 1e6:5.2f} M  {sha256[:12]}  {path}{labels}")
    for name, folder in list_artist_packs(priors).items():
        pack = read_artist_pack(folder)
        if as_json:
            say_json({"pack": name, "path": str(folder), "stems": list(pack.stems)})
        else:
            gain = pack.after_db - pack.before_db
            say(f"{name:12} artist pack: {', '.join(pack.stems)}; {gain:+.2f} dB  {folder}")


@prior.command("show")
@click.argument("name")
@PRIORS
def prior_show(name: str, priors: tuple[Path, ...]) -> None:
    """Print the card of a prior or an artist pack.

    Data, licences, training, hashes.
    """
    from ..model.artist_pack import list_artist_packs, read_artist_pack
    from ..model.bundle import read_bundle
    from ..model.prior import find_prior, list_priors

    if name not in list_priors(priors) and (pack := list_artist_packs(priors).get(name)):
        say_json(read_artist_pack(pack).model_dump(mode="json"), indent=1)
    else:
        say_json(read_bundle(find_prior(name, priors))[0].to_dict(), indent=1)


@prior.command("verify")
@click.argument("names", nargs=-1)
@PRIORS
@DEVICE
def prior_verify(names: tuple[str, ...], priors: tuple[Path, ...], device: str) -> None:
    """Check hashes and run self-tests, of everything by default.

    That is, of all priors and artist packs.
    """
    from ..model.artist_pack import list_artist_packs, verify_artist_pack
    from ..model.prior import Prior, find_prior, list_priors
    from ..model.sessions import Device

    asked, worst = Device.parse(device), 0
    known, packs = list_priors(priors), list_artist_packs(priors)
    for name in names or [*known, *packs]:
        with one_of_many(Path(name)) as codes:
            if name in packs and name not in known:
                for line in verify_artist_pack(packs[name], asked):
                    say(line)
                continue
            opened = Prior(find_prior(name, priors), asked)
            opened.verify()
            labels = f" for {', '.join(opened.card.labels)}" if opened.card.labels else ""
            say(f"{name}: hashes and self-tests pass{labels} on {opened.got}")
        worst = max([worst, *codes])
    sys.exit(worst)


@prior.command("remove")
@click.argument("name")
@PRIORS
def prior_remove(name: str, priors: tuple[Path, ...]) -> None:
    """Delete an artist pack.

    Its bundles, encoder and card go, and nothing else.
    """
    from ..model.artist_pack import find_artist_pack, remove_artist_pack

    folder = find_artist_pack(name, priors)
    remove_artist_pack(folder)
    say(f"{folder}: removed")


@prior.command("judge")
@click.argument("places", nargs=-1, required=True, metavar="STEM=FOLDER...")
@PRIORS
@click.option("--bundle", help="Judge the labels of this one, not the stems' own priors.")
@click.option("--picture", type=FILE, help="Write the table as a PNG heat map.")
@click.option("--store", is_flag=True, help="Write every prior's row into its card.")
@JSON
@DEVICE
@click.option("--seed", type=NATURAL, default=0, show_default=True, help="Of the bootstrap.")
def prior_judge(
    places: tuple[str, ...],
    priors: tuple[Path, ...],
    bundle: str | None,
    picture: Path | None,
    store: bool,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Compare priors on held-out recordings.

    Each must win its own instrument's audio.

    STEM=FOLDER names a prior, or a label of --bundle, and recordings of its instrument alone
    that no training heard. Exits with 1 when a prior is not good, or has nothing to compare with.
    """
    from ..evaluation.cross_likelihood import held_out, judge_priors, judgement_png
    from ..evaluation.stored_judgement import store_row
    from ..model.prior import open_priors
    from ..model.sessions import Device

    recordings = held_out(places)
    wanted = {stem: (bundle, stem) if bundle else (stem, "") for stem in recordings}
    opened = open_priors(wanted, priors, Device.parse(device))
    judgement = judge_priors(opened, recordings, seed)
    if picture:
        picture.write_bytes(judgement_png(judgement))
    if store:
        for stem, judged in opened.items():
            store_row(judged.path, judgement.row(stem), judged.label)
    if as_json:
        say_json(judgement.to_dict(), indent=1)
    else:
        for line in judgement.lines():
            say(line)
    if not all(judgement.good(stem) for stem in judgement.stems):
        sys.exit(1)


@prior.command("sample")
@click.argument("name")
@output("A .wav or .flac file.", kind=FILE, required=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 600),
    default=6.0,
    show_default=True,
    help="How long it plays.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    default=0.7,
    show_default=True,
    help="Spread of the latents; 1 is what the prior believes.",
)
@click.option("--label", help="Which instrument, in a bundle with labels.")
@PRIORS
@SEED
def prior_sample(
    name: str,
    output: Path,
    seconds: float,
    temperature: float,
    label: str | None,
    priors: tuple[Path, ...],
    seed: int,
) -> None:
    """Let a prior play.

    Latents are drawn, magnitudes decoded, and phases found by Griffin-Lim.
    """
    from ..evaluation.sampling import write_sample
    from ..model.prior import Prior, find_prior
    from ..model.sessions import Device

    opened = Prior(find_prior(name, priors), Device.parse("cpu"), label)
    write_sample(opened, output, seconds, temperature, seed)
    say(f"{output}: {seconds:g} s of {opened.stem}")
