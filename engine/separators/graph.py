"""The files behind a card: hashes, sessions, and whether the graph is what the card says.

Everything is looked at before any audio is. Every error names the card's line.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from presets import StemwrightError, sha256_of

from ..model.sessions import Device, make_session
from .axes import Axes
from .card import CardFile, InputCard, OutputCard

if TYPE_CHECKING:
    import onnxruntime

    from .loading import LoadedCard

MOST_BYTES = 16 << 30  # no separator is near this
FLOATS = ("tensor(float)", "tensor(float16)")
# {key: "location", value: <name>} as protobuf writes an entry of `external_data`
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x00-\x7f])")


def external_files(path: Path) -> set[str]:
    """Names of the files in which a graph keeps weights outside itself, without reading it all."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return set()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = set()
            for match in _LOCATION.finditer(content):
                length = match[1][0]
                name = content[match.end() : match.end() + length]
                found.add(name.decode("utf-8", "replace"))
            return found


def check_files(loaded: LoadedCard) -> None:
    """Refuse files that are missing, elsewhere, changed, or that the card does not list."""
    card, listed = loaded.card, {file.path for file in loaded.card.files}
    for index, file in enumerate(card.files):
        path, where = loaded.path_of(file), ("files", index)
        if not path.is_file():
            raise loaded.error(
                "separator-file", (*where, "path"), f"no file {path}. Put it beside the card."
            )
        if not path.resolve().is_relative_to(loaded.folder.resolve()):
            raise loaded.error(
                "separator-file",
                (*where, "path"),
                f"{file.path} is a link out of the card's folder. Copy the file there.",
            )
        if path.stat().st_size > MOST_BYTES:
            raise loaded.error("separator-file", (*where, "path"), f"{path} has more than 16 GiB.")
        got = sha256_of(path)
        if got != file.sha256:
            raise loaded.error(
                "separator-hash",
                (*where, "sha256"),
                f"{file.path} has sha256 {got}, the card says {file.sha256}. Copy the right file; "
                "if this is the one that you mean, write its hash and run `separator check`.",
            )
        for name in sorted(external_files(path) - listed) if file.is_graph else ():
            outside = name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name)
            raise loaded.error(
                "separator-external-data",
                (*where, "path"),
                f"{file.path} keeps weights in {name!r}, "
                + (
                    "outside the card's folder, which is never read. Save the model again with "
                    "its weights inside or beside it."
                    if outside
                    else "which the card does not list. Add it to files with its sha256."
                ),
            )


def open_graph(
    loaded: LoadedCard, file: CardFile, device: Device, threads: int
) -> tuple[onnxruntime.InferenceSession, str]:
    """A session of one graph, compared with the card; and the device that it got."""
    where = ("files", loaded.card.files.index(file), "path")
    try:
        session, got = make_session(loaded.path_of(file), device, threads)
    except StemwrightError:
        raise
    except Exception as error:
        raise loaded.error("separator-graph", where, _why_unreadable(file, str(error))) from error
    _compare(loaded, file, session)
    return session, got


def _why_unreadable(file: CardFile, message: str) -> str:
    """ONNX Runtime's reason and what to do."""
    reason = " ".join(message.split())[:300]
    advice = "Is it a whole ONNX file? Torch checkpoints must be exported first."
    if re.search(
        r"not a registered function|custom op|No Op registered|is not a registered", message
    ):
        advice = (
            "It needs operators that ONNX Runtime does not have; custom ones are never loaded. "
            "Export the model anew with standard operators only."
        )
    elif "opset" in message.lower():
        advice = "Export it with an opset that this ONNX Runtime has, or install a newer one."
    elif "external" in message.lower() or "escape" in message.lower():
        advice = "Its outside weights must lie beside the card and be listed in files."
    return f"{file.path} cannot be loaded: {reason}. {advice}"


def sizes_of(loaded: LoadedCard) -> dict[str, int | None]:
    """How long every axis is when one call is made; None for what the graph may decide."""
    card = loaded.card
    stft = loaded.stft
    return {
        "b": None,
        "s": len(card.stems) if len(card.graphs) == 1 else None,
        "c": card.channels,
        "r": 2,
        "f": stft.kept_bins if stft else None,
        "t": stft.frames if stft else None,
        "n": card.segment,
        "k": None,
    }


def _compare(loaded: LoadedCard, file: CardFile, session: onnxruntime.InferenceSession) -> None:
    """Names, ranks, sizes and types of the graph against the card."""
    card = loaded.card
    sides: tuple[tuple[str, Sequence[InputCard | OutputCard], Any], ...] = (
        ("inputs", card.inputs, session.get_inputs()),
        ("outputs", card.outputs, session.get_outputs()),
    )
    for side, entries, tensors in sides:
        known = {tensor.name: tensor for tensor in tensors}
        for index, entry in enumerate(entries):
            where = (side, index)
            if entry.name not in known:
                raise loaded.error(
                    "separator-tensor",
                    (*where, "name"),
                    f"{file.path} has no {side[:-1]} {entry.name!r}; it has "
                    + "; ".join(f"{t.name} {_shape_text(t.shape)}" for t in tensors)
                    + ".",
                )
            _compare_tensor(loaded, file, (*where,), entry, known[entry.name])
        if side == "inputs" and (more := set(known) - {entry.name for entry in entries}):
            raise loaded.error(
                "separator-tensor",
                ("inputs",),
                f"{file.path} also wants {', '.join(sorted(more))}, which the card does not feed."
                " Describe all inputs; graphs that keep a state cannot be used.",
            )


def _compare_tensor(
    loaded: LoadedCard,
    file: CardFile,
    where: tuple[str | int, ...],
    entry: InputCard | OutputCard,
    tensor: Any,  # noqa: ANN401
) -> None:
    if tensor.type not in FLOATS:
        raise loaded.error(
            "separator-tensor",
            (*where, "name"),
            f"{entry.name} of {file.path} is {tensor.type}; float and float16 can be used. Export "
            "the model with real tensors (complex numbers as two channels).",
        )
    shape = list(tensor.shape)
    if not shape:
        return  # the graph does not tell
    layout = entry.layout
    if len(shape) != layout.rank:
        raise loaded.error(
            "separator-rank",
            (*where, "axes"),
            f"{entry.name} of {file.path} has {len(shape)} axes, {_shape_text(shape)}, but "
            f"{entry.axes!r} has {layout.rank}. Describe every axis of the tensor.",
        )
    for axis, size, expected in zip(
        layout.axes, shape, _expected(loaded, entry, layout), strict=True
    ):
        if isinstance(size, int) and expected is not None and size != expected:
            raise loaded.error(
                "separator-size",
                (*where, "axes"),
                f"{entry.name} of {file.path} is {_shape_text(shape)}, and its axis "
                f"{_axis_text(axis)} is {size}; the card makes it {expected}. "
                + _what_decides(axis),
            )


def _expected(
    loaded: LoadedCard, entry: InputCard | OutputCard, layout: Axes
) -> tuple[int | None, ...]:
    sizes = sizes_of(loaded)
    if entry.patch is not None:
        sizes["t"] = entry.patch
    if "c" not in layout.letters or entry.role == "mask":
        sizes["c"] = sizes["c"] if entry.role != "mask" else None
    return layout.shape(sizes)


def _what_decides(axis: tuple[str, ...]) -> str:
    """Which keys of the card make the size of an axis."""
    keys = {
        "f": "stft.n_fft and stft.dim_f",
        "t": "segment, stft.hop, n_fft, center, pre_pad and trim_frames",
        "n": "segment",
        "c": "channels",
        "r": "the order of the letters",
        "s": "stems",
    }
    deciding = [keys[letter] for letter in axis if letter in keys]
    return f"See {'; '.join(deciding)}, or the order of axes."


def _axis_text(axis: tuple[str, ...]) -> str:
    return axis[0] if len(axis) == 1 else f"({' '.join(axis)})"


def _shape_text(shape: Sequence[object]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def static_batch(
    session: onnxruntime.InferenceSession, entries: Sequence[InputCard]
) -> int | None:
    """The batch that a graph was exported for; None where it may be any."""
    found: Iterator[object] = (
        tensor.shape[index]
        for entry in entries
        for tensor in session.get_inputs()
        if tensor.name == entry.name and tensor.shape
        for index, axis in enumerate(entry.layout.axes)
        if axis == ("b",)
    )
    return next((size for size in found if isinstance(size, int)), None)
