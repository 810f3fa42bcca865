"""A prior's file: read with every hash checked, written whole or not at all.

A bundle is a zip (stored, no pickle, no external data) with `card.json`, the graphs
`forward.onnx`, `inverse.onnx` and `gradient.onnx`, and `selftest.npz`, vectors that every
session must reproduce before it is used; with a head for first estimates also `head.onnx`.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from presets import StemwrightError

from .card import CARD_SCHEMA, ModelCard

SUFFIX = ".prior"
GRAPHS = ("forward", "inverse", "gradient")
HEAD = "head"
FLOW = "flow"
_MOST_BYTES = 512 * 2**20  # no bundle is near this; a zip bomb is
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes


def read_bundle(path: Path) -> tuple[ModelCard, dict[str, bytes], str]:
    """Read and check a bundle without opening a session: card, files, sha256 of the file."""
    fields, files, sha256 = read_card(path)
    try:
        card = ModelCard.model_validate(fields)
    except pydantic.ValidationError as error:
        raise damaged(path, f"its card cannot be read: {error}") from error
    check_files(path, GRAPHS, card.files, files)
    return card, files, sha256


def read_card(path: Path, kind: str = FLOW) -> tuple[dict[str, Any], dict[str, bytes], str]:
    """Read a bundle of one kind: what its card says, files, sha256 of the file."""
    try:
        blob = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(blob)) as bundle:
            if sum(info.file_size for info in bundle.infolist()) > _MOST_BYTES:
                raise damaged(path, "it unpacks to more than 512 MiB")
            files = {info.filename: bundle.read(info) for info in bundle.infolist()}
    except FileNotFoundError:
        raise StemwrightError("prior-not-found", f"{path}: no such prior bundle.") from None
    except OSError as error:
        raise StemwrightError("prior-unreadable", f"{path}: {error.strerror}.") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise damaged(path, str(error)) from error
    try:
        fields = json.loads(files["card.json"])
        schema, found = fields.get("schema_version"), fields.get("kind", FLOW)
    except KeyError:
        raise damaged(path, "it has no card.json") from None
    except (ValueError, AttributeError) as error:
        raise damaged(path, f"its card cannot be read: {error}") from error
    if schema != CARD_SCHEMA:
        raise damaged(path, f"its card has schema {schema}, this program reads {CARD_SCHEMA}")
    if found != kind:
        raise StemwrightError(
            "prior-kind",
            f"{path}: a prior of kind {found}, where one of kind {kind} is needed. Flows are "
            "searched in spectra, GANs as waveforms; name a bundle of the right kind.",
        )
    return fields, files, hashlib.sha256(blob).hexdigest()


def check_files(
    path: Path, graphs: Sequence[str], hashes: Mapping[str, str], files: Mapping[str, bytes]
) -> None:
    """Raise StemwrightError unless all graphs are there and every file has its sha256."""
    needed = {f"{graph}.onnx" for graph in graphs} | {"selftest.npz"}
    missing = needed - files.keys() | needed - hashes.keys()
    if missing:
        raise damaged(path, f"{', '.join(sorted(missing))} is missing")
    for name, expected in hashes.items():
        if name not in files or hashlib.sha256(files[name]).hexdigest() != expected:
            raise damaged(path, f"{name} does not match its sha256")


def damaged(path: Path, why: str) -> StemwrightError:
    """The error for a bundle that cannot be used."""
    return StemwrightError(
        "prior-damaged", f"{path}: not a usable prior bundle: {why}. Copy or export it again."
    )


def write_bundle_file(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a bundle of these files, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:
        for name, blob in files.items():
            bundle.writestr(zipfile.ZipInfo(name, _DATE), blob)
    put_file(path, buffer.getvalue())


def put_file(path: Path, blob: bytes) -> None:
    """Write aside and rename: whoever reads meanwhile gets the old file or the new one."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_bytes(blob)
    aside.replace(path)
