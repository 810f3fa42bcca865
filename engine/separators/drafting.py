"""A card's first draft from what an ONNX file tells of itself, and from a table of the user's.

Graphs tell names and sizes. unblend writes its exports' settings into them; UVR finds the settings
of its models by a key in a table that every studio with UVR has on disk. Nothing tells the length
of the transform of any other graph, the order of its stems or the licence: those are asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from presets import StemwrightError, sha256_of

from ..model.sessions import Device, make_session
from .card import GRAPH_SUFFIXES
from .card_keys import CardKeys, FileKeys, StftKeys, TensorKeys
from .graph import external_files
from .layouts import Tensor, guessed, stated_tensors

if TYPE_CHECKING:
    import onnxruntime

UVR_KEY_BYTES = 10_240_000  # of a file's end
_UNKNOWN = "FILL IN"
TENSOR = "tensor "  # begins the name of what is missing where no layout is known
_STATED = ("sample_rate", "channels", "stems", "segment", "stft", "normalise")


@dataclass
class Draft:
    """Keys of a card that is being written, and what nobody has said yet."""

    keys: CardKeys = field(default_factory=CardKeys)
    missing: dict[str, str] = field(default_factory=dict)

    def ask(self, key: str, what: str) -> None:
        """A key that must be given; `what` says how to find it."""
        self.missing[key] = what


@dataclass(frozen=True)
class DraftOptions:
    """What the user says on the command line; None where he does not."""

    name: str | None = None
    licence: str | None = None
    stems: tuple[str, ...] = ()
    n_fft: int | None = None
    hop: int | None = None
    uvr_table: Path | None = None
    segment: int | None = None
    sample_rate: int | None = None
    tensors: tuple[str, ...] = ()  # "name role axes"


def draft_card(models: Sequence[Path], options: DraftOptions) -> Draft:
    """A draft for graphs that are run side by side; `missing` is what must be filled in."""
    folder = models[0].parent
    for model in models:
        if model.parent != folder:
            raise StemwrightError(
                "separator-file", f"{model} does not lie beside {models[0]}. Copy them together."
            )
        if model.suffix.lower() not in GRAPH_SUFFIXES:
            raise StemwrightError(
                "separator-file",
                f"{model}: expected a file that ends in .onnx. Torch checkpoints (.ckpt, .pth, "
                ".th) must be exported first (docs/separators.md names exporters).",
            )
    session = _session(models[0])
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    sides = _sides(session)
    draft = Draft({"card": 1, "name": options.name or models[0].stem.replace(" ", "-")})
    _say_licence(draft, options, metadata)
    draft.keys["files"] = _files(models)
    if _is_unblend(metadata):
        _from_unblend(draft, metadata, sides)
    else:
        _from_shapes(draft, sides, len(models), options.tensors)
        if options.uvr_table:
            _from_uvr(draft, models[0], options.uvr_table, sides[0])
    _apply_options(draft, options)
    return draft


def keys_in_metadata(model: Path) -> CardKeys:
    """Keys of a card that an export by unblend carries in itself; of other files none."""
    session = _session(model)
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    if not _is_unblend(metadata):
        return {}
    draft = Draft()
    _from_unblend(draft, metadata, _sides(session))
    keys = cast(CardKeys, {key: value for key, value in draft.keys.items() if key in _STATED})
    if "external_normalization" in metadata:
        keys.setdefault("normalise", "none")
    return keys


def card_text(draft: Draft) -> str:
    """The card as YAML; what is missing stands in comments at the keys' places."""
    keys = {key: value for key, value in draft.keys.items() if value is not None}
    lines = [
        "# A separator card; every key is explained in docs/separators.md. Then run",
        "# `stemwright separator check` on music of yours.",
    ]
    for key in (*keys, *(name for name in draft.missing if name not in keys)):
        if key in draft.missing:
            lines.append(f"# {_UNKNOWN} {key}: {draft.missing[key]}")
        if key in keys:
            lines += _yaml_lines(key, keys[key])
    for key, what in draft.missing.items():
        if "." in key and key.split(".")[0] in keys:
            place = next(i for i, line in enumerate(lines) if line.startswith(key.split(".")[0]))
            lines.remove(f"# {_UNKNOWN} {key}: {what}")
            lines.insert(place, f"# {_UNKNOWN} {key}: {what}")
    return "\n".join(lines) + "\n"


def _yaml_lines(key: str, value: object) -> list[str]:
    """A key with its value: lists of mappings one a line, all else on one."""
    if isinstance(value, list) and isinstance(value[0], dict):
        return [f"{key}:", *(f"  - {_flow(item)}" for item in value)]
    return [f"{key}: {_flow(value)}"]


def _flow(value: object) -> str:
    text = yaml.safe_dump(value, sort_keys=False, default_flow_style=True, width=10_000)
    return text.removesuffix("\n...\n").strip()


def uvr_key(path: Path) -> str:
    """MD5 of a file's last 10,240,000 bytes: the name that UVR's tables know a model by."""
    with path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(0, size - UVR_KEY_BYTES))
        return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()


def _is_unblend(metadata: Mapping[str, str]) -> bool:
    return "stft_n_fft" in metadata or "segment_samples" in metadata


def _sides(session: onnxruntime.InferenceSession) -> Sequence[tuple[Tensor, ...]]:
    """Inputs and outputs of a graph."""
    return [
        tuple(Tensor(t.name, tuple(t.shape)) for t in side)
        for side in (session.get_inputs(), session.get_outputs())
    ]


def _session(model: Path) -> onnxruntime.InferenceSession:
    if not model.is_file():
        raise StemwrightError("separator-file", f"{model}: no such file.")
    try:
        return make_session(model, Device.parse("cpu"))[0]
    except StemwrightError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise StemwrightError(
            "separator-graph",
            f"{model} cannot be loaded: {reason}. Is it a whole ONNX file, with its weights "
            "beside it and with standard operators only?",
        ) from error


def _files(models: Sequence[Path]) -> list[FileKeys]:
    paths = list(models)
    for model in models:
        for name in sorted(external_files(model)):
            if (model.parent / name).is_file() and model.parent / name not in paths:
                paths.append(model.parent / name)
    return [{"path": path.name, "sha256": sha256_of(path)} for path in paths]


def _say_licence(draft: Draft, options: DraftOptions, metadata: Mapping[str, str]) -> None:
    licence = options.licence or metadata.get("license") or metadata.get("licence")
    draft.keys["licence"] = licence
    if not licence:
        draft.ask("licence", "of the weights, as their author states it, or `not stated`")


def _from_unblend(draft: Draft, meta: Mapping[str, str], sides: Sequence[Any]) -> None:
    """Exports of unblend say everything."""
    sources = meta.get("sources", "")
    stems = json.loads(sources) if sources.startswith("[") else sources.replace(" ", "").split(",")
    draft.keys |= {
        "source": f"{meta.get('model_family', 'model')}, exported by unblend",
        "sample_rate": int(meta.get("sample_rate", 44100)),
        "channels": int(meta.get("audio_channels", 2)),
        "stems": [stem.lower() for stem in stems if stem],
        "segment": int(meta["segment_samples"]),
    }
    if "stft_n_fft" in meta:
        bins = next(t.size(2) for t in sides[0] if len(t.shape) == 4)
        n_fft = int(meta["stft_n_fft"])
        stft: StftKeys = {"n_fft": n_fft, "hop": int(meta["stft_hop_length"])}
        if meta.get("stft_window", "hann").lower() in ("none", "ones", "rectangular"):
            stft["window"] = "none"
        if meta.get("stft_normalized", "false").lower() in ("true", "1"):
            stft["normalized"] = True
        if bins and bins != n_fft // 2 + 1:
            stft["dim_f"] = bins
        if "stft_frame_trim" in meta:
            stft |= {"pre_pad": int(meta.get("stft_pad_samples", 0)),
                     "trim_frames": int(meta["stft_frame_trim"])}  # fmt: skip
        draft.keys["stft"] = stft
    if meta.get("external_normalization", "none").lower() in (
        "true",
        "1",
        "track",
        "track-mean-std",
    ):
        draft.keys["normalise"] = "track-mean-std"
    draft.keys["inputs"] = [_unblend_entry(t.name, "") for t in sides[0]]
    draft.keys["outputs"] = [_unblend_entry(t.name, "s ") for t in sides[1]]


def _unblend_entry(name: str, stem: str) -> TensorKeys:
    if name.endswith(("_real", "_imag")):
        return {"name": name, "role": name[-4:], "axes": f"b {stem}c f t"}
    return {"name": name, "role": "wave", "axes": f"b {stem}c n"}


def _from_shapes(
    draft: Draft, sides: Sequence[Sequence[Tensor]], files: int, tensors: Sequence[str]
) -> None:
    """Layouts that are told by rank and sizes, or by the user; others are asked for."""
    inputs, outputs = sides
    stated = stated_tensors(tensors, (*inputs, *outputs))
    found_inputs = [stated.get(t.name) or guessed(t, inputs=True) for t in inputs]
    found_outputs = [stated.get(t.name) or guessed(t, inputs=False) for t in outputs]
    for tensor, entry in zip((*inputs, *outputs), (*found_inputs, *found_outputs), strict=True):
        if entry is None:
            draft.ask(
                f"{TENSOR}{tensor.name}",
                f"{tensor.shape_text}: its role and axes, such as "
                f'--tensor "{tensor.name} wave b c n"',
            )
    input_entries = [entry for entry in found_inputs if entry]
    output_entries = [entry for entry in found_outputs if entry]
    if len(input_entries) + len(output_entries) < len(found_inputs) + len(found_outputs):
        return
    draft.keys["inputs"], draft.keys["outputs"] = input_entries, output_entries
    stems = next(
        (
            size
            for t, e in zip(outputs, output_entries, strict=True)
            if (size := t.size_of("s", e))
        ),
        None,
    )
    draft.ask("stems", f"{stems or files} names, in the order of the model's outputs: --stems a,b")
    channels = {t.size_of("c", e) for t, e in zip(inputs, input_entries, strict=True)} - {None}
    if channels == {1}:
        draft.keys["channels"] = 1
    lengths = [t.size_of("n", e) for t, e in zip(inputs, input_entries, strict=True)]
    if length := next((length for length in lengths if length), None):
        draft.keys["segment"] = length
    if any(e["role"] != "wave" for e in (*input_entries, *output_entries)):
        _transform(draft, inputs, input_entries)
    elif "segment" not in draft.keys:
        draft.ask("segment", "samples of one call; the graph takes any number: --segment")


def _transform(draft: Draft, inputs: Sequence[Tensor], fed: Sequence[TensorKeys]) -> None:
    """What is known of the transform: bins and frames, never its length."""
    spectral = [(t, e) for t, e in zip(inputs, fed, strict=True) if e["role"] != "wave"]
    tensor, entry = spectral[0] if spectral else (inputs[0], fed[0])
    bins, frames = tensor.size_of("f", entry), tensor.size_of("t", entry)
    draft.keys["stft"] = {"n_fft": None, "hop": None, "dim_f": bins, "frames": frames}
    sees = "any number of" if bins is None else bins
    draft.ask("stft.n_fft", f"cannot be read off the graph, which sees {sees} bins: --n-fft")
    sees = "any number of" if frames is None else frames
    draft.ask("stft.hop", f"cannot be read off the graph, which sees {sees} frames: --hop")


def _from_uvr(draft: Draft, model: Path, table: Path, inputs: Sequence[Tensor]) -> None:
    """Settings of an MDX-Net model from UVR's own table, by the model's key."""
    key = uvr_key(model)
    try:
        entries = json.loads(table.read_text("utf-8"))
        settings = entries[key]
    except OSError as error:
        raise StemwrightError("uvr-table", f"{table}: {error.strerror}.") from error
    except ValueError as error:
        raise StemwrightError("uvr-table", f"{table}: no JSON ({error}).") from error
    except (KeyError, TypeError):
        raise StemwrightError(
            "uvr-table",
            f"{table} has no entry {key}, which is the key of {model.name}. Update UVR's models, "
            "or give --n-fft, --hop and --stems.",
        ) from None
    if "mdx_n_fft_scale_set" not in settings:
        raise StemwrightError(
            "uvr-table",
            f"{table}: {model.name} is no MDX-Net model there but {sorted(settings)}. Its "
            "settings are in a YAML file of UVR's; write them into the card by hand.",
        )
    frames = 2 ** int(settings["mdx_dim_t_set"])
    n_fft, dim_f = int(settings["mdx_n_fft_scale_set"]), int(settings["mdx_dim_f_set"])
    stem = str(settings["primary_stem"]).lower().replace(" ", "-")
    rest = {"vocals": "instrumental", "instrumental": "vocals"}.get(stem, f"no-{stem}")
    stft: StftKeys = {"n_fft": n_fft, "hop": 1024, "dim_f": dim_f, "zero_low_bins": 3}
    draft.keys |= {
        "source": "UVR MDX-Net",
        "stems": [stem],
        "rest": rest,
        "gain": float(settings.get("compensate", 1.0)),
        "segment": 1024 * (frames - 1),
        "discard": n_fft // 2,
        "stft": stft,
    }
    for name in ("stems", "stft.n_fft", "stft.hop"):
        draft.missing.pop(name, None)
    name = inputs[0].name
    draft.keys["inputs"] = [{"name": name, "role": "spec", "axes": "b (c r) f t"}]


def _apply_options(draft: Draft, options: DraftOptions) -> None:
    """What the command line says, and what follows from it."""
    keys = draft.keys
    if options.stems:
        keys["stems"] = list(options.stems)
        draft.missing.pop("stems", None)
    if options.sample_rate:
        keys["sample_rate"] = options.sample_rate
    if options.segment:
        keys["segment"] = options.segment
        draft.missing.pop("segment", None)
    stft = keys.get("stft")
    if not stft or "frames" not in stft:
        return
    frames, bins = stft.pop("frames"), stft["dim_f"]
    stft["n_fft"], stft["hop"] = options.n_fft, options.hop
    for name, value in (("stft.n_fft", options.n_fft), ("stft.hop", options.hop)):
        if value:
            draft.missing.pop(name, None)
    if options.n_fft and bins == options.n_fft // 2 + 1:
        stft.pop("dim_f")
    if options.n_fft and options.hop and "segment" not in keys:
        patch = next((e["patch"] for e in keys["inputs"] if "patch" in e), None)
        if patch:
            stft["center"] = False
            keys |= {
                "segment": (patch - 1) * options.hop + options.n_fft,
                "discard": options.n_fft,
            }
        elif frames:
            keys["segment"] = options.hop * (frames - 1)
            if keys["inputs"][0]["axes"] == "b (c r) f t":
                keys["discard"] = options.n_fft // 2
        else:
            keys["segment"] = options.hop * 255
    elif "segment" not in keys:
        draft.ask(
            "segment", "follows from --n-fft and --hop; by hand, hop x (frames - 1) if centred"
        )
    known = {key: value for key, value in stft.items() if value is not None}
    keys["stft"] = cast(StftKeys, known)
