"""A preset to look at: in words, as resolved YAML, and the JSON Schema that editors use."""

from __future__ import annotations

from typing import Any

from .effects import Effect, Parallel
from .printable import printable
from .schema import Preset
from .search import OF_FLOWS


def explain(preset: Preset) -> list[str]:
    """What a preset does, one line for each step."""
    head = [f"{preset.name}: {preset.title}".rstrip(": "), " ".join(preset.description.split())]
    lines = [*filter(None, head), ""]
    for name, spec in preset.stems.items():
        if preset.voices and name == preset.voices.of:
            lines.append(f"{name} ({_source(preset, name)}), not kept: its voices are")
            continue
        lines += [f"{name} ({_source(preset, name)})", *_chain_lines(spec.chain)]
        lines += [f"  fader {spec.gain_db:+g} dB"] if spec.gain_db else []
    into = preset.residual.into
    lines.append(f"residual: part of {into}" if into else "residual: a stem of its own")
    lines += _chain_lines(preset.residual.chain)
    if preset.sum_chain:
        lines += ["sum of the wet stems, one more file", *_chain_lines(preset.sum_chain)]
    return [printable(line) for line in (*lines, "", *_settings(preset))]


def show(preset: Preset) -> str:
    """The whole preset as YAML, with every default and everything inherited written out."""
    import yaml

    data = preset.model_dump(mode="json")
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    if any(printable(line) != line for line in text.splitlines()):
        return yaml.safe_dump(data, sort_keys=False)  # escapes, in YAML's own way
    return text


def json_schema() -> dict[str, Any]:
    """JSON Schema of a preset file; a file may also name the preset that it extends.

    What is inherited may be left out, so nothing is required at the outer levels of a file.
    """
    schema = Preset.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Stemwright preset"
    schema["properties"] = {
        "extends": {"type": "string", "description": "name or path of another preset"},
        **schema["properties"],
    }
    del schema["required"]
    stems = schema["properties"]["stems"]
    del stems["minProperties"]
    for pattern, stem in stems["patternProperties"].items():
        stems["patternProperties"][pattern] = {"anyOf": [stem, {"type": "null"}]}
    stems["additionalProperties"] = False
    return schema


def _source(preset: Preset, stem: str) -> str:
    """Where a stem comes from."""
    spec = preset.stems[stem]
    if preset.voices and stem in preset.sources.parts:
        return f"voice of {preset.voices.of or 'the mix'}, pitches: {preset.voices.pitches}"
    if stem in preset.sources.searched:
        inside = f", searched inside {preset.sources.inside}" if preset.sources.inside else ""
        return f"prior {spec.prior}" + (f", label {spec.label}" if spec.label else "") + inside
    if spec.separator:
        return f"separator {spec.separator}, output {spec.output or stem}"
    piece = next(piece for piece in preset.sources.pieces if piece.name == stem and piece.is_leaf)
    if piece.is_rest:
        return f"what the others leave of {piece.parent}"
    split = (
        next(p.node for p in (*preset.sources.pieces,) if p.name == piece.parent and not p.is_leaf)
        if piece.depth > 1
        else preset.sources.tree
    )
    assert split and split.split
    cards = piece.node.card or ", ".join(split.split.names)
    return f"{piece.output} of {piece.parent} by {cards}"


def _chain_lines(chain: tuple[Effect, ...], indent: str = "  ") -> list[str]:
    lines = []
    for step in chain:
        lines.append(f"{indent}{step.label}{_values(step)}")
        if isinstance(step, Parallel):
            for number, branch in enumerate(step.parallel, 1):
                inner = _chain_lines(branch, indent + "    ") or [f"{indent}    (untouched)"]
                lines += [f"{indent}  branch {number}", *inner]
    return lines


def _values(step: Effect) -> str:
    values = step.model_dump(exclude={"effect", "plugin", "plugin_name", "parallel"})
    values |= values.pop("parameters", {})
    text = ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)
    return f": {text}" if text else ""


def _search(preset: Preset) -> str:
    """The tier, or what the preset has in its place."""
    values = preset.search.resolved()
    numbers = ", ".join(f"{name} {getattr(values, name):g}" for name in OF_FLOWS)
    rest = ", the rest unknown" if values.rest == "unknown" else ""
    return (values.tier or f"{numbers} (no tier)") + rest


def _settings(preset: Preset) -> list[str]:
    loudness = preset.loudness
    target, ceiling = loudness.target_lufs, loudness.true_peak_ceiling_dbtp
    tail = f"{preset.tail_seconds:g} s" if preset.tail_seconds else "none, the mix's length"
    return [
        f"search: {_search(preset)}",
        f"tail: {tail}",
        "loudness: " + ("as it comes" if target is None else f"{target:g} LUFS"),
        "true peak: " + ("as it comes" if ceiling is None else f"at most {ceiling:g} dBTP"),
        f"above 0 dBFS: {preset.overflow}",
        f"a plug-in that fails: {preset.on_plugin_error}",
        f"files: {preset.naming.template}, {preset.output.format}, depth {preset.output.depth}",
    ]
