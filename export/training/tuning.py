"""Where a training begins that does not begin anew: in the bundles of an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from engine import Source, read_bundle
from presets import StemwrightError

from ..models.estimator import Encoder, Head
from ..models.features import Features
from ..models.flow import Flow
from ..models.graph_reader import read_encoder, read_flow, read_head


def bundled_flow(bundle: Path) -> tuple[Flow, Features]:
    """The flow of a bundle and what it sees of magnitudes."""
    card, files, _ = read_bundle(bundle)
    flow, mean, std = read_flow(files["forward.onnx"], card.flow)
    return flow, Features(card.compression, mean, std)


def bundled_estimate(folder: Path) -> tuple[Encoder, Mapping[str, Head]]:
    """The encoder in a folder of bundles, and the heads that read it."""
    sha256, heads = _heads_of(folder)
    encoder = read_encoder((folder / f"{sha256[:16]}.encoder.onnx").read_bytes())
    return encoder, {stem: read_head(graph) for stem, graph in heads.items()}


def heard_before(places: Iterable[Path]) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    """What the weights of bundles have heard: their own instruments' sources, named with what
    plays in each, and everyone else's. A training that goes on from them has heard it, too."""
    own, other_sources = [], []
    for path in places:
        card = read_bundle(path)[0]
        own += list(card.sources)
        named = (s.model_copy(update={"name": f"{card.stem}: {s.name}"}) for s in card.sources)
        other_sources += [*named, *card.other_sources]
    return tuple(own), tuple(other_sources)


def unlike(sources: Sequence[Source], before: Sequence[Source]) -> tuple[Source, ...]:
    """Sources, and what was heard before of those that are not among them, each once by name."""
    found = {source.name: source for source in (*reversed(before), *reversed(sources))}
    return tuple(reversed(found.values()))


def encoder_name(folder: Path) -> str:
    """The sha256 of the encoder in a folder of bundles."""
    return _heads_of(folder)[0]


def _heads_of(folder: Path) -> tuple[str, dict[str, bytes]]:
    """The encoder's sha256 and every head's graph by stem.

    Raises StemwrightError unless the folder's bundles share one encoder.
    """
    heads, encoders = {}, set()
    for path in sorted(folder.glob("*.prior")):
        card, files, _ = read_bundle(path)
        if card.encoder_sha256 is not None:
            heads[card.stem] = files["head.onnx"]
            encoders.add(card.encoder_sha256)
    if len(encoders) != 1:
        raise StemwrightError(
            "encoder-not-found",
            f"the heads of {folder} read {len(encoders)} encoders, and one is needed to begin "
            "from. Name the folder of a set of priors, such as engine/priors.",
        )
    return encoders.pop(), heads
