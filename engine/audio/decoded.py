"""A mix decoded once: verified on the way, and kept as raw samples for every pass that follows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .raw_samples import RawReader, RawSignal
from .reading import MixBlock, MixFacts, SourceInfo, verify_mix
from .tags import FileTags, read_tags
from .writing import telling_disk_errors

SAMPLES_NAME = "mix.raw"


@dataclass(frozen=True)
class DecodedMix:
    """A verified mix whose samples lie in a raw file: `int32` for PCM, `float64` for the rest,
    interleaved, exactly as the decoder gave them. `facts.info.path` is the mix itself, `tags` all
    that it says of itself, `seconds` how long the decoding took."""

    facts: MixFacts
    tags: FileTags
    samples: Path
    seconds: float

    @property
    def info(self) -> SourceInfo:
        """What the mix is."""
        return self.facts.info

    def open(self) -> RawReader:
        """A reader at the beginning; it needs no decoder."""
        dtype = np.int32 if self.info.encoding == "pcm" else np.float64
        return RawSignal(self.samples, self.info, dtype).open()


def decode_mix(path: Path, folder: Path, tags: FileTags | None = None) -> DecodedMix:
    """Decode and verify a mix once; its samples stay in `folder` for whoever needs them again.

    `tags` are those of the mix, where somebody has read them already. Raises StemwrightError for
    what `verify_mix` refuses, and when the disk is full.
    """
    samples, began_s = folder / SAMPLES_NAME, time.monotonic()
    with telling_disk_errors(samples):
        folder.mkdir(parents=True, exist_ok=True)
        file = samples.open("wb")
    with file:

        def keep(block: MixBlock) -> None:
            with telling_disk_errors(samples):
                file.write(np.ascontiguousarray(block.exact.T).tobytes())

        facts = verify_mix(path, keep)
        with telling_disk_errors(samples):
            file.flush()
    seconds = time.monotonic() - began_s
    return DecodedMix(facts, tags or read_tags(path), samples, seconds)
