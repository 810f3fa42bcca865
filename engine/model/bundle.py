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
from collections.abc import Mapping
from pathlib import Path

import pydantic

from presets import StemwrightError

from .card import CARD_SCHEMA, ModelCard

SUFFIX = ".prior"
GRAPHS = ("forward", "inverse", "gradient")
HEAD = "head"
_MOST_BYTES = 512 * 2**20  # no bundle is near this; a zip bomb is
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes


def read_bundle(path: Path) -> tuple[ModelCard, dict[str, bytes], str]:
    """Read and check a bundle without opening a session: card, files, sha256 of the file."""
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
        about = json.loads(files["card.json"])
        if about.get("schema_version") != CARD_SCHEMA:
            raise damaged(
                path,
                f"its card has schema {about.get('schema_version')}, this program reads "
                f"{CARD_SCHEMA}",
            )
        card = ModelCard.model_validate(about)
    except KeyError:
        raise damaged(path, "it has no card.json") from None
    except (ValueError, AttributeError, pydantic.ValidationError) as error:
        raise damaged(path, f"its card cannot be read: {error}") from error
    _check_files(path, card, files)
    return card, files, hashlib.sha256(blob).hexdigest()


def _check_files(path: Path, card: ModelCard, files: dict[str, bytes]) -> None:
    needed = {f"{graph}.onnx" for graph in GRAPHS} | {"selftest.npz"}
    missing = needed - files.keys() | needed - card.files.keys()
    if missing:
        raise damaged(path, f"{', '.join(sorted(missing))} is missing")
    for name, expected in card.files.items():
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
