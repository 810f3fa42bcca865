"""Writes the small graphs with which the engine keeps a search on a graphics card.

They are part of the engine (engine/graphs/) and know nothing of any prior:
`python -m export.models.device_graphs engine/graphs` writes them again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx

from .graph_writer import GraphWriter

LATENTS = ("batch", "steps", "channels")


def device_graphs() -> dict[str, onnx.ModelProto]:
    """Every graph by its file's stem."""
    return {"adam": _adam(), "scaled_sum": _scaled_sum()}


def _adam() -> onnx.ModelProto:
    """One step of Kingma & Ba 2015: `rate` is the learning rate / (1 - 0.9^t), `correction`
    is 1 - 0.999^t."""
    g = GraphWriter()
    g.name(_towards(g, "mean", "gradient", 0.1), "new_mean")
    g.name(_towards(g, "square", g.op("Mul", "gradient", "gradient"), 0.001), "new_square")
    root = g.op("Sqrt", g.op("Div", "new_square", "correction"))
    move = g.op("Div", g.op("Mul", "new_mean", "rate"), g.op("Add", root, g.number(1e-8)))
    g.name(g.op("Sub", "latents", move), "moved")
    arrays = dict.fromkeys(("latents", "gradient", "mean", "square"), LATENTS)
    return g.model(
        {**arrays, "rate": (), "correction": ()},
        dict.fromkeys(("moved", "new_mean", "new_square"), LATENTS),
    )


def _towards(g: GraphWriter, old: str, new: str, share: float) -> str:
    """old + share * (new - old)."""
    return g.op("Add", old, g.op("Mul", g.op("Sub", new, old), g.number(share)))


def _scaled_sum() -> onnx.ModelProto:
    """sum = a + scale * b."""
    g = GraphWriter()
    g.name(g.op("Add", "a", g.op("Mul", "b", "scale")), "sum")
    shape = ("batch", "frames", "bands")
    return g.model({"a": shape, "b": shape, "scale": ()}, {"sum": shape})


if __name__ == "__main__":
    for name, model in device_graphs().items():
        onnx.save(model, Path(sys.argv[1]) / f"{name}.onnx")
