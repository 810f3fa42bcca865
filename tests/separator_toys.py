"""Small ONNX graphs with the tensors of the wild, and cards for them.

Keyed: a linear toy would pass with a wrong card. These pass their own bins of each channel, and
only where a bin is loud enough, so that a wrong transform, order of axes or scale is heard.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

RATE = 44100
THRESHOLD = 0.01  # amplitude of a sine below which its bins do not pass
# Hz that pass: stem, channel
KEYS = {
    "low": ((245, 355), (460, 575)),
    "high": ((4945, 5060), (2945, 3060)),
}
TONES = {"low": (300.0, 517.0), "high": (5003.0, 3001.0)}


def tones(seconds: float, rate: int = RATE, level: float = 0.2) -> dict[str, np.ndarray]:
    """The stems that the toys know, float32 (2, samples)."""
    time = np.arange(round(seconds * rate)) / rate
    return {
        stem: np.stack([level * np.sin(2 * np.pi * f * time + i) for i, f in enumerate(pair)])
        .astype(np.float32)
        for stem, pair in TONES.items()
    }  # fmt: skip


class Graph:
    """Collects nodes and constants of one graph."""

    def __init__(self) -> None:
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def constant(self, array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def take(self, name: str, shape) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def give(self, value: str, name: str, shape) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def save(self, path: Path, metadata=None, **changes) -> Path:
        graph = helper.make_graph(self.nodes, "toy", self.inputs, self.outputs, self.constants)
        opset = [helper.make_opsetid("", changes.pop("opset", 17))]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        helper.set_model_props(model, metadata or {})
        onnx.save(model, path, **changes)
        return path


def parsed(pattern: str) -> list[list[str]]:
    """`b (c r) f t` as lists of letters."""
    return [
        inside.split() or [single] for inside, single in re.findall(r"\(([^)]*)\)|(\w)", pattern)
    ]


def unpacked(graph: Graph, tensor: str, pattern: str, sizes: dict, order: str) -> str:
    """A tensor of a pattern with the axes `order`; b may be of any size."""
    letters = [letter for axis in parsed(pattern) for letter in axis]
    shape = graph.constant(np.array([sizes[x] for x in letters], np.int64))
    split = graph.op("Reshape", tensor, shape)
    return graph.op("Transpose", split, perm=[letters.index(letter) for letter in order])


def packed(graph: Graph, tensor: str, pattern: str, sizes: dict, order: str) -> str:
    """The other way; axes that the pattern lacks have size one."""
    letters = [letter for axis in parsed(pattern) for letter in axis]
    gone = [order.index(letter) for letter in order if letter not in letters]
    if gone:
        tensor = graph.op("Squeeze", tensor, graph.constant(np.array(gone, np.int64)))
        order = "".join(letter for letter in order if letter in letters)
    turned = graph.op("Transpose", tensor, perm=[order.index(letter) for letter in letters])
    shape = [int(np.prod([sizes[x] for x in axis])) for axis in parsed(pattern)]
    return graph.op("Reshape", turned, graph.constant(np.array(shape, np.int64)))


def keys(stems, bins: int, n_fft: int) -> np.ndarray:
    """One where a stem's bins of a channel are, (1, stems, 2, bins, 1)."""
    hz = np.arange(bins) * RATE / n_fft
    rows = [[(hz >= low) & (hz <= high) for low, high in KEYS[stem]] for stem in stems]
    return np.array(rows, np.float32)[None, :, :, :, None]


def gate(graph: Graph, magnitude: str, level: float) -> str:
    """One where a magnitude (b, c, f, t) is above a level, (b, 1, c, f, t)."""
    loud = graph.op("Greater", magnitude, graph.constant(np.float32(level)))
    number = graph.op("Cast", loud, to=TensorProto.FLOAT)
    return graph.op("Unsqueeze", number, graph.constant(np.array([1], np.int64)))


def loudness_of_bin(n_fft: int, *, normalized: bool = False, window: str = "hann") -> float:
    """Magnitude that a sine of amplitude THRESHOLD has at its bin."""
    share = 0.25 if window == "hann" else 0.5
    return THRESHOLD * n_fft * share * (n_fft**-0.5 if normalized else 1.0)


def masks(graph: Graph, real: str, imag: str, stems, bins: int, stft: dict) -> str:
    """Keyed masks (b, s, c, f, t) from a spectrum (b, c, f, t)."""
    squares = [graph.op("Mul", part, part) for part in (real, imag)]
    magnitude = graph.op("Sqrt", graph.op("Add", *squares))
    level = loudness_of_bin(
        stft["n_fft"], normalized=stft.get("normalized", False), window=stft.get("window", "hann")
    )
    key = graph.constant(keys(stems, bins, stft["n_fft"]))
    return graph.op("Mul", key, gate(graph, magnitude, level))


def part(graph: Graph, tensor: str, index: int, axis: int) -> str:
    """One index of an axis, which goes."""
    return graph.op("Gather", tensor, graph.constant(np.array(index, np.int64)), axis=axis)


def joined(graph: Graph, parts, axis: int) -> str:
    """Several tensors along a new axis."""
    where = graph.constant(np.array([axis], np.int64))
    return graph.op("Concat", *[graph.op("Unsqueeze", p, where) for p in parts], axis=axis)


def with_stems(graph: Graph, tensor: str) -> str:
    """A stem axis of size one behind the batch."""
    return graph.op("Unsqueeze", tensor, graph.constant(np.array([1], np.int64)))


def band_pass(graph: Graph, wave: str, stems, length: int, taps: int = 1023) -> str:
    """Keyed waveforms (b, s, c, n) by filters of each stem and channel, (b, 2, n) in."""
    kernels = []
    for stem in stems:
        for low, high in KEYS[stem]:
            time = np.arange(taps) - taps // 2
            ideal = [2 * f / RATE * np.sinc(2 * f / RATE * time) for f in (low - 150, high + 150)]
            kernels.append((ideal[1] - ideal[0]) * np.hanning(taps))
    weights = np.array(kernels, np.float32)[:, None]  # (stems * 2, 1, taps)
    doubled = graph.op("Concat", *[wave] * len(stems), axis=1)
    filtered = graph.op(
        "Conv", doubled, graph.constant(weights), group=2 * len(stems), pads=[taps // 2] * 2
    )
    shape = graph.constant(np.array([-1, len(stems), 2, length], np.int64))
    return graph.op("Reshape", filtered, shape)


def spectral_toy(
    path: Path,
    stems,
    source: tuple,
    back: tuple,
    stft: dict,
    frames: int,
    *,
    mask=False,
    batch="b",
) -> Path:
    """One spectral input and output: (name, pattern) each."""
    bins = stft.get("dim_f", stft["n_fft"] // 2 + 1)
    sizes = {"b": -1, "s": len(stems), "c": 2, "r": 2, "f": bins, "t": frames}
    graph = Graph()
    name, pattern = source
    fed = graph.take(name, wild_shape(pattern, sizes, batch))
    whole = unpacked(graph, fed, pattern, sizes, "bcrft")
    real, imag = (part(graph, whole, index, 2) for index in (0, 1))
    gains = masks(graph, real, imag, stems, bins, stft)
    if mask:
        silent = graph.op("Mul", gains, graph.constant(np.float32(0)))
        out = joined(graph, (gains, silent), 3)
    else:
        out = joined(
            graph, [graph.op("Mul", gains, with_stems(graph, x)) for x in (real, imag)], 3
        )
    name, pattern = back
    graph.give(
        packed(graph, out, pattern, sizes, "bscrft"), name, wild_shape(pattern, sizes, batch)
    )
    return graph.save(path)


def wild_shape(pattern: str, sizes: dict, batch) -> list:
    """What the graph says of a tensor."""
    return [
        batch if axis == ["b"] else int(np.prod([sizes[x] for x in axis]))
        for axis in parsed(pattern)
    ]


def wave_toy(path: Path, stems, length: int, names=("mix", "stems")) -> Path:
    """Waveforms in and out, as htdemucs with its transform inside."""
    graph = Graph()
    fed = graph.take(names[0], [1, 2, length])
    out = band_pass(graph, fed, stems, length)
    graph.give(out, names[1], [1, len(stems), 2, length])
    return graph.save(path)


def two_branch_toy(path: Path, dialect: str, metadata=None, length=343980, frames=336) -> Path:
    """htdemucs with its transform outside: `low` comes from the spectrum, `high` as a waveform."""
    graph, stems = Graph(), ("low", "high")
    stft = {"n_fft": 4096, "normalized": True}
    sizes = {"b": -1, "s": 2, "c": 2, "r": 2, "f": 2048, "t": frames}
    if dialect == "unblend":
        real = graph.take("spec_real", ["b", 2, 2048, frames])
        imag = graph.take("spec_imag", ["b", 2, 2048, frames])
        wave = graph.take("audio", ["b", 2, length])
    else:
        wave = graph.take("mix", [1, 2, length])
        fed = graph.take("spec", [1, 4, 2048, frames])
        whole = unpacked(graph, fed, "b (c r) f t", sizes, "bcrft")
        real, imag = (part(graph, whole, index, 2) for index in (0, 1))
    only = graph.constant(np.array([1, 0], np.float32).reshape(1, 2, 1, 1, 1))
    gains = graph.op("Mul", masks(graph, real, imag, stems, 2048, stft), only)
    parts = [graph.op("Mul", gains, with_stems(graph, x)) for x in (real, imag)]
    silent = graph.constant(np.array([0, 1], np.float32).reshape(1, 2, 1, 1))
    waves = graph.op("Mul", band_pass(graph, wave, stems, length), silent)
    if dialect == "unblend":
        graph.give(parts[0], "out_spec_real", ["b", 2, 2, 2048, frames])
        graph.give(parts[1], "out_spec_imag", ["b", 2, 2, 2048, frames])
        graph.give(waves, "out_wave", ["b", 2, 2, length])
    else:
        both = joined(graph, parts, 3)
        graph.give(packed(graph, both, "b s (c r) f t", sizes, "bscrft"), "output_spec",
                   [1, 2, 4, 2048, frames])  # fmt: skip
        graph.give(waves, "output_wave", [1, 2, 2, length])
    return graph.save(path, metadata)


def halves_toy(path: Path, stems, stft: dict, frames: int, metadata=None) -> Path:
    """Real and imaginary parts in tensors of their own, as unblend writes RoFormer and SCNet."""
    graph = Graph()
    bins = stft.get("dim_f", stft["n_fft"] // 2 + 1)
    real = graph.take("spec_real", ["b", 2, bins, frames])
    imag = graph.take("spec_imag", ["b", 2, bins, frames])
    gains = masks(graph, real, imag, stems, bins, stft)
    for name, x in (("out_spec_real", real), ("out_spec_imag", imag)):
        out = graph.op("Mul", gains, with_stems(graph, x))
        graph.give(out, name, ["b", len(stems), 2, bins, frames])
    return graph.save(path, metadata)


def magnitude_toy(path: Path, stem: str, stft: dict, *, patch: int | None = None) -> Path:
    """One file for one stem: magnitudes in, magnitudes out (Spleeter with patches, Open-Unmix)."""
    graph = Graph()
    bins = stft.get("dim_f", stft["n_fft"] // 2 + 1)
    key = keys((stem,), bins, stft["n_fft"])[0, 0]  # (2, bins, 1)
    level = graph.constant(np.float32(loudness_of_bin(stft["n_fft"])))
    if patch:
        fed, name = graph.take("x", [2, "num_splits", patch, bins]), "y"
        key, shape = key.transpose(0, 2, 1)[:, None], [2, "num_splits", patch, bins]
    else:
        fed, name = graph.take("x", ["b", 2, bins, "t"]), "y"
        key, shape = key[None], ["b", 2, bins, "t"]
    loud = graph.op("Cast", graph.op("Greater", fed, level), to=TensorProto.FLOAT)
    # a trace of the mix where the key is not, or every stem would be silent there
    passed = graph.op("Mul", graph.constant(key), loud)
    faint = graph.op("Add", passed, graph.constant(np.float32(1e-4)))
    graph.give(graph.op("Mul", fed, faint), name, shape)
    return graph.save(path)


def echo(folder: Path, length: int = 4096, *, bias: float = 0.0, most="b", **changes) -> Path:
    """A stem that is what is fed plus a constant: for what the driver does itself."""
    graph = Graph()
    fed = graph.take("mix", [most, changes.get("channels", 2), length])
    out = graph.op("Add", fed, graph.constant(np.float32(bias)))
    graph.give(out, "stem", [most, changes.get("channels", 2), length])
    model = graph.save(folder / "echo.onnx")
    keys_ = {"stems": ["all"], "segment": length, "inputs": [tensor("mix", "wave", "b c n")],
             "outputs": [tensor("stem", "wave", "b c n")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def levelled(folder: Path, kind: str, length: int = 65536, **changes) -> Path:
    """Networks with a level of their own. `even` wants a deviation of one, swallows what is softer
    and clips what is far louder; `raw` wants songs as they are; `any` scales by itself."""
    graph = Graph()
    fed = graph.take("mix", ["b", 2, length])
    if kind == "even":
        loud = graph.op("Sub", graph.op("Abs", fed), graph.constant(np.float32(0.3)))
        gate = graph.op("Sigmoid", graph.op("Mul", loud, graph.constant(np.float32(20))))
        ends = [graph.constant(np.float32(value)) for value in (-3, 3)]
        heard = graph.op("Clip", graph.op("Mul", fed, gate), *ends)
    elif kind == "raw":
        ends = [graph.constant(np.float32(value)) for value in (-0.6, 0.6)]
        heard = graph.op("Clip", fed, *ends)
    else:
        peak = graph.op("ReduceMax", graph.op("Abs", fed), axes=[1, 2], keepdims=1)
        even = graph.op("Div", fed, peak)
        heard = graph.op("Mul", graph.op("Tanh", even), peak)
    graph.give(band_pass(graph, heard, BOTH, length, 511), "stems", ["b", 2, 2, length])
    model = graph.save(folder / f"{kind}.onnx")
    keys_ = {"segment": length, "inputs": [tensor("mix", "wave", "b c n")],
             "outputs": [tensor("stems", "wave", "b s c n")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def for_deviation_one(model: Path, level: float, path: Path) -> Path:
    """A trained network f as g(x) = f(level x) / level: the same one, trained on songs that were
    normalised."""
    network = onnx.load(model)
    graph = network.graph
    fed, returned = graph.input[0].name, graph.output[0].name
    new = {fed: "at-its-level", returned: "as-it-gives"}
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    graph.initializer.append(numpy_helper.from_array(np.float32(level), "level"))
    graph.node.insert(0, helper.make_node("Mul", [fed, "level"], [new[fed]]))
    graph.node.append(helper.make_node("Div", [new[returned], "level"], [returned]))
    onnx.save(network, path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_card(folder: Path, graphs, **keys_) -> Path:
    """A card for graphs in a folder; `name` is the card's and its file's."""
    keys_ = {"name": "toy", "licence": "none: made by a test", "stems": ["low", "high"]} | keys_
    card = {"card": 1} | keys_ | {"files": [{"path": f.name, "sha256": sha256(f)} for f in graphs]}
    path = folder / f"{card['name']}.yaml"
    path.write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
    return path


MDX = {"n_fft": 7680, "hop": 1024, "dim_f": 3072}
ROFORMER = {"n_fft": 2048, "hop": 441}
HTDEMUCS = {"n_fft": 4096, "hop": 1024, "dim_f": 2048, "normalized": True,
            "pre_pad": 1536, "trim_frames": 2}  # fmt: skip
MDX23C = {"n_fft": 8192, "hop": 1024, "dim_f": 4096}
SCNET = {"n_fft": 4096, "hop": 1024, "window": "none", "normalized": True}
SPLEETER = {"n_fft": 4096, "hop": 1024, "dim_f": 1024, "center": False}
UNMIX = {"n_fft": 4096, "hop": 1024}
BOTH = ["low", "high"]


def tensor(name: str, role: str, axes: str, **more) -> dict:
    return {"name": name, "role": role, "axes": axes, **more}


def mdx(folder: Path, **changes) -> Path:
    """Row 1: UVR's MDX-Net."""
    model = spectral_toy(folder / "my-vocals.onnx", ["low"], ("input", "b (c r) f t"),
                         ("output", "b (c r) f t"), MDX, 256)  # fmt: skip
    keys_ = {"stems": ["low"], "rest": "instrumental", "segment": 261120, "discard": 3840,
             "stft": MDX | {"zero_low_bins": 3},
             "inputs": [tensor("input", "spec", "b (c r) f t")],
             "outputs": [tensor("output", "spec", "b (c r) f t")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def htdemucs_wave(folder: Path, length: int = 343980, **changes) -> Path:
    """Row 3: htdemucs with everything in the graph."""
    model = wave_toy(folder / "htdemucs.onnx", BOTH, length)
    keys_ = {"segment": length, "normalise": "none", "inputs": [tensor("mix", "wave", "b c n")],
             "outputs": [tensor("stems", "wave", "b s c n")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def unblend_htdemucs(folder: Path, **changes) -> Path:
    """Row 5: two branches, real and imaginary parts apart."""
    model = two_branch_toy(folder / "unblend.onnx", "unblend")
    keys_ = {"segment": 343980, "stft": HTDEMUCS,
             "inputs": [tensor("spec_real", "real", "b c f t"),
                        tensor("spec_imag", "imag", "b c f t"),
                        tensor("audio", "wave", "b c n")],
             "outputs": [tensor("out_spec_real", "real", "b s c f t"),
                         tensor("out_spec_imag", "imag", "b s c f t"),
                         tensor("out_wave", "wave", "b s c n")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def sevagh_htdemucs(folder: Path, **changes) -> Path:
    """Row 6: two branches, complex as channels."""
    model = two_branch_toy(folder / "sevagh.onnx", "sevagh")
    keys_ = {"segment": 343980, "stft": HTDEMUCS,
             "inputs": [tensor("mix", "wave", "b c n"), tensor("spec", "spec", "b (c r) f t")],
             "outputs": [tensor("output_spec", "spec", "b s (c r) f t"),
                         tensor("output_wave", "wave", "b s c n")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def unblend_roformer(folder: Path, **changes) -> Path:
    """Row 8: RoFormer by unblend."""
    model = halves_toy(folder / "roformer.onnx", BOTH, ROFORMER, 801)
    keys_ = {"segment": 352800, "stft": ROFORMER,
             "inputs": [tensor("spec_real", "real", "b c f t"),
                        tensor("spec_imag", "imag", "b c f t")],
             "outputs": [tensor("out_spec_real", "real", "b s c f t"),
                         tensor("out_spec_imag", "imag", "b s c f t")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def roformer_mask(folder: Path, **changes) -> Path:
    """Row 9: a complex mask."""
    model = spectral_toy(folder / "port.onnx", BOTH, ("spec", "b (f c) t r"),
                         ("mask", "b s (f c) t r"), ROFORMER, 801, mask=True, batch=1)  # fmt: skip
    keys_ = {"segment": 352800, "overlap": 0.5, "edge": "reflect",
             "stft": ROFORMER | {"zero_dc_out": True},
             "inputs": [tensor("spec", "spec", "b (f c) t r")],
             "outputs": [tensor("mask", "mask", "b s (f c) t r")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def roformer_mss(folder: Path, **changes) -> Path:
    """Row 10: frames first, everything of a frame in one axis."""
    model = spectral_toy(folder / "mss.onnx", BOTH, ("input", "b t (f c r)"),
                         ("output", "b s (f c) t r"), ROFORMER, 801, mask=True)  # fmt: skip
    keys_ = {"segment": 352800, "stft": ROFORMER,
             "inputs": [tensor("input", "spec", "b t (f c r)")],
             "outputs": [tensor("output", "mask", "b s (f c) t r")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def mdx23c(folder: Path, **changes) -> Path:
    """Row 12: MDX23C."""
    model = spectral_toy(folder / "mdx23c.onnx", BOTH, ("input", "b (c r) f t"),
                         ("output", "b s (c r) f t"), MDX23C, 256)  # fmt: skip
    keys_ = {"segment": 261120, "discard": 4096, "stft": MDX23C,
             "inputs": [tensor("input", "spec", "b (c r) f t")],
             "outputs": [tensor("output", "spec", "b s (c r) f t")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def scnet(folder: Path, **changes) -> Path:
    """Row 13: plain SCNet, without a window."""
    model = halves_toy(folder / "scnet.onnx", BOTH, SCNET, 476)
    keys_ = {"segment": 486400, "stft": SCNET,
             "inputs": [tensor("spec_real", "real", "b c f t"),
                        tensor("spec_imag", "imag", "b c f t")],
             "outputs": [tensor("out_spec_real", "real", "b s c f t"),
                         tensor("out_spec_imag", "imag", "b s c f t")]}  # fmt: skip
    return write_card(folder, [model], **keys_ | changes)


def spleeter(folder: Path, **changes) -> Path:
    """Row 14: magnitudes in patches, a file for each stem, no centring."""
    models = [magnitude_toy(folder / f"{stem}.onnx", stem, SPLEETER, patch=512) for stem in BOTH]
    keys_ = {"segment": 527360, "discard": 4096, "stft": SPLEETER,
             "inputs": [tensor("x", "mag", "c k t f", patch=512)],
             "outputs": [tensor("y", "mag", "c k t f", patch=512)]}  # fmt: skip
    return write_card(folder, models, **keys_ | changes)


def open_unmix(folder: Path, **changes) -> Path:
    """Row 15: magnitudes, a file for each target, any number of frames."""
    models = [magnitude_toy(folder / f"{stem}.onnx", stem, UNMIX) for stem in BOTH]
    keys_ = {"segment": 262144, "stft": UNMIX, "inputs": [tensor("x", "mag", "b c f t")],
             "outputs": [tensor("y", "mag", "b c f t")]}  # fmt: skip
    return write_card(folder, models, **keys_ | changes)


ROWS = {
    1: mdx, 3: htdemucs_wave, 5: unblend_htdemucs, 6: sevagh_htdemucs, 8: unblend_roformer,
    9: roformer_mask, 10: roformer_mss, 12: mdx23c, 13: scnet, 14: spleeter, 15: open_unmix,
}  # fmt: skip
