"""A whole set of priors by one command: render, train every flow, train the heads, export, judge.

A recipe says which recordings each part consists of and which parts each prior stands for. Every
stage leaves its run in the output folder; called again, it goes on where it stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine import AUDIO_SUFFIXES, Device, judge_priors, open_priors, put_file, store_row
from presets import StemwrightError

from .data.corpus import Corpus, joined, load_corpus
from .data.pack import packed_corpus
from .data.recordings import Origins
from .data.sampling import Interference
from .estimates import run_heads
from .priors import export_prior, train_flow
from .synthesis.rendering import procedural_corpus, render_corpus
from .training.music_training import MUSICGLOW, check_labels, train_music_flow
from .training.options import SizeName, TrainingOptions
from .training.run import device_summary, training_device
from .training.runs import by_kind, corpus_summary, sized

Patterns = Annotated[tuple[str, ...], Field(min_length=1)]


class Recipe(BaseModel):
    """What a recipe file says.

    `parts` are patterns of files below the folders of recordings; `render` is minutes of a part
    to compose and play through SoundFonts on top, `procedural` the same on computed instruments
    and on drum kits taken apart; `songs` is how many whole songs to compose, all stems in step;
    `priors` are the parts of each prior.
    `catalogue`, beside the recipe, names the sources and what of them is held out for judging.
    Without `contrast` the flows learn by likelihood alone, as the paper's; with 0 `head_steps`
    the priors have no first estimate. `size` is that of the flows and their view; the encoder
    of first estimates knows the view of `cpu` alone. `music` asks for one flow that is told the
    stem by a label instead of one for each (MusicGlow), in one bundle without heads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: str
    parts: dict[str, Patterns]
    render: dict[str, Annotated[float, Field(gt=0)]] = {}
    procedural: dict[str, Annotated[float, Field(gt=0)]] = {}
    songs: int = Field(default=0, ge=0)
    render_seed: int = 0
    priors: dict[str, Patterns]
    flow_steps: int = Field(default=4000, gt=0)
    head_steps: int = Field(default=10000, ge=0)
    contrast: bool = True
    size: SizeName = "cpu"
    music: bool = False
    seed: int = 0


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe; raises StemwrightError with what is wrong in it."""
    try:
        recipe = Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise StemwrightError("recipe-malformed", f"{path}: {error}") from error
    unknown = {p for made_of in recipe.priors.values() for p in made_of} - recipe.parts.keys()
    unknown |= (recipe.render.keys() | recipe.procedural.keys()) - recipe.parts.keys()
    if unknown:
        raise StemwrightError(
            "recipe-malformed",
            f"{path}: {', '.join(sorted(unknown))} is used, but parts has only "
            f"{', '.join(recipe.parts)}.",
        )
    if recipe.music:
        check_labels(tuple(recipe.priors))
    if recipe.head_steps and (recipe.music or recipe.size != "cpu"):
        kind = "one flow for all stems (music)" if recipe.music else f"size {recipe.size}"
        raise StemwrightError(
            "recipe-malformed",
            f"{path}: head_steps is {recipe.head_steps}, but {kind} has no heads. Write "
            "head_steps: 0.",
        )
    if recipe.size != "cpu" and recipe.contrast and "contrast" in recipe.model_fields_set:
        raise StemwrightError(
            "recipe-malformed",
            f"{path}: contrast is true, but size {recipe.size} learns by likelihood alone, as "
            "published. Leave it out.",
        )
    return recipe


class RecipeRun:
    """The recordings of a recipe, found and loaded once for all of its priors."""

    def __init__(
        self,
        path: Path,
        recordings: Sequence[Path],
        soundfonts: Sequence[Path],
        kits: Path | None,
        instruments: Path | None,
        options: TrainingOptions,
    ) -> None:
        self.recipe, self.out = read_recipe(path), options.out
        self.catalogue = path.with_name(self.recipe.catalogue)
        r = self.recipe
        self.options = replace(options, steps=r.flow_steps, size=r.size, seed=r.seed)
        self.size = sized(self.options)
        if not r.contrast:
            settings = replace(self.size.settings, contrast_weight=0.0)
            self.size = self.size._replace(settings=settings)
        self._recordings, self._packs = by_kind(recordings)
        self._soundfonts, self._kits = soundfonts, kits
        self._instruments = instruments
        self._corpora: dict[tuple[str, ...], Corpus] = {}

    @property
    def runs(self) -> list[str]:
        """What is trained: a flow for each prior, or one for all."""
        return [MUSICGLOW] if self.recipe.music else list(self.recipe.priors)

    def render(self) -> Iterator[str]:
        """Compose and play what the recipe wants rendered and is not there yet."""
        recipe, seed = self.recipe, self.recipe.render_seed
        yield from self._play(
            "rendered",
            recipe.render,
            lambda out, part, minutes: render_corpus(out, part, minutes, seed, self._soundfonts),
        )
        yield from self._play(
            "procedural",
            recipe.procedural,
            lambda out, part, minutes: procedural_corpus(out, part, minutes, seed, self._kits),
        )
        folder = self.out / "songs"
        if recipe.songs and not folder.exists():
            aside = folder.with_name("songs.part")
            # not at the top: whole songs go through plug-ins, and a training needs none
            from .synthesis.song_rendering import open_studio, render_songs

            studio = open_studio(self._soundfonts, self._kits, self._instruments)
            files = sum(len(f) for f in render_songs(aside, recipe.songs, seed, studio))
            aside.rename(folder)
            yield f"{recipe.songs} whole songs: {files} stems"

    def _play(
        self,
        kind: str,
        minutes_of_part: Mapping[str, float],
        write: Callable[[Path, str, float], list[Path]],
    ) -> Iterator[str]:
        for part, minutes in minutes_of_part.items():
            folder = self.out / kind / part
            if not folder.exists():
                aside = folder.with_name(f"{part}.part")
                files = write(aside, part, minutes)
                aside.rename(folder)
                yield f"{part}: {len(files)} songs {kind}"

    def files(self, part: str) -> list[Path]:
        """Every recording of a part."""
        found = {
            path
            for root in self._recordings
            for pattern in self.recipe.parts[part]
            for path in root.glob(pattern)
            if path.suffix.lower() in AUDIO_SUFFIXES
        }
        for kind in ("rendered", "procedural", "songs"):
            found.update((self.out / kind / part).glob("*"))
        if not found and not self._packs:
            raise StemwrightError(
                "recordings-missing",
                f"{part}: no recording matches {', '.join(self.recipe.parts[part])} below "
                f"{', '.join(map(str, self._recordings))}.",
            )
        return sorted(found)

    def corpus(self, stem: str, parts: tuple[str, ...]) -> Corpus:
        """The recordings of some parts together, without those held out for judging."""
        if parts not in self._corpora:
            view = self.size.front_end
            found = [packed_corpus(pack, part, view) for pack, _ in self._packs for part in parts]
            if files := [path for part in parts for path in self.files(part)]:
                cache = self.out / "magnitudes"
                found.append(
                    load_corpus(
                        stem, files, view.front_end(), catalogue=self.catalogue, cache=cache
                    )
                )
            self._corpora[parts] = replace(joined(found), stem=stem)
        return self._corpora[parts]

    def held_out(self, parts: Sequence[str]) -> list[Path]:
        """The recordings of some parts that no training heard."""
        origins = Origins(self.catalogue)
        return [p for part in parts for p in self.files(part) if origins.of(p).held_out]

    def check_held_out(self) -> None:
        """Refuse a recipe whose priors could not be judged, before hours of training."""
        for stem, parts in self.recipe.priors.items():
            if not self.held_out(parts):
                raise StemwrightError(
                    "nothing-held-out",
                    f"{stem}: no recording of {', '.join(parts)} is kept for judging. Mark some "
                    f"with held_out: true in {self.catalogue}.",
                )


def make_priors(
    recipe: Path,
    recordings: Sequence[Path],
    soundfonts: Sequence[Path],
    kits: Path | None,
    instruments: Path | None,
    options: TrainingOptions,
    priors: Path,
) -> Iterator[str]:
    """Make every prior of a recipe, yielding lines for the terminal.

    Runs are kept in the options' folder; steps, size and seed are the recipe's. Bundles and the
    encoder come to `priors` when all were judged good, and stay with the runs otherwise.
    """
    device, out = training_device(options.device, options.threads), options.out
    run = RecipeRun(recipe, recordings, soundfonts, kits, instruments, options)
    yield device_summary(device)
    yield from run.render()
    run.check_held_out()
    for name in run.runs:
        for line in _train_flow(run, name, device):
            yield f"{name}: {line}"
    heads = out / "heads" if run.recipe.head_steps else None
    if heads is not None:
        yield from _train_heads(run, heads)
    bundles = out / "bundles.new"  # no stem has a dot in its name
    if bundles.exists():  # of an earlier call
        shutil.rmtree(bundles)
    for name in run.runs:
        yield export_prior(out / name, bundles / f"{name}.prior", heads)
    yield from _judge(run, bundles, priors)
    _put_in_place(bundles, priors)
    yield f"{', '.join(run.recipe.priors)}: in {priors}"


def _train_heads(run: RecipeRun, out: Path) -> Iterator[str]:
    recipe = run.recipe
    corpora = {part: run.corpus(part, (part,)) for part in recipe.parts}
    heads = {part: (part,) for part in recipe.parts} | recipe.priors
    options = replace(run.options, out=out, steps=recipe.head_steps)
    for line in run_heads(corpora, heads, options):
        yield f"heads: {line}"


def _train_flow(run: RecipeRun, stem: str, device: torch.device) -> Iterator[str]:
    recipe, size = run.recipe, run.size
    options = replace(run.options, out=run.out / stem)
    if recipe.music:
        corpora = {name: run.corpus(name, made_of) for name, made_of in recipe.priors.items()}
        for each in corpora.values():
            yield from corpus_summary(each)
        yield from train_music_flow(size, corpora, options, device)
        return
    corpus = run.corpus(stem, recipe.priors[stem])
    yield from corpus_summary(corpus)
    other_corpora = [
        run.corpus(part, (part,)) for part in recipe.parts if part not in recipe.priors[stem]
    ]
    leak = Interference(stem, other_corpora, device) if other_corpora else None
    leaks = "recordings" if other_corpora else "none"
    yield from train_flow(stem, size, corpus, leak, leaks, options, device)


def _judge(run: RecipeRun, bundles: Path, priors: Path) -> Iterator[str]:
    """Compare the new priors on what was held out and store every row in its card.

    Raises StemwrightError when one is not good.
    """
    held = {stem: run.held_out(parts) for stem, parts in run.recipe.priors.items()}
    wanted = {stem: (str(bundles / f"{stem}.prior"), "") for stem in held}
    if run.recipe.music:
        wanted = {stem: (str(bundles / f"{MUSICGLOW}.prior"), stem) for stem in held}
    opened = open_priors(wanted, (), Device("cpu"))
    judgement = judge_priors(opened, held, run.recipe.seed)
    yield from judgement.lines()
    for stem, prior in opened.items():
        store_row(prior.path, judgement.row(stem), prior.label)
    if poor := [stem for stem in held if judgement.good(stem) is False]:
        raise StemwrightError(
            "prior-not-good",
            f"{', '.join(poor)}: not good on held-out recordings, as the table says. The new "
            f"bundles lie in {bundles}, and {priors} is as it was. Train on more recordings, or "
            "copy the bundles if they will do.",
        )


def _put_in_place(bundles: Path, priors: Path) -> None:
    """Move everything to where priors are looked for: encoders before the heads that read them."""
    priors.mkdir(parents=True, exist_ok=True)
    for path in sorted(bundles.iterdir(), key=lambda path: (path.suffix == ".prior", path.name)):
        put_file(priors / path.name, path.read_bytes())
    shutil.rmtree(bundles)
