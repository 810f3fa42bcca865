"""Checkpoints are read back as foreign input: what is no batch of this search is searched anew."""

import os

import numpy as np
import pytest

from engine.separation.mask_files import MaskBatch

SHAPE = (2, 1, 3, 4, 5)


def batch(masks):
    return MaskBatch(masks.astype(np.float32), 3, 1.0, 0.5, 8)


def test_checkpoint_comes_back(tmp_path, rng):
    path = tmp_path / "masks.npz"
    whole = batch(rng.random(SHAPE).astype(np.float16))
    whole.save(path)
    whole.save(path)
    again = MaskBatch.kept(path, SHAPE)
    np.testing.assert_array_equal(again.masks, whole.masks)
    assert (again.windows, again.steps) == (3, 8)


@pytest.mark.parametrize(
    "how",
    ["missing", "empty", "noise", "cut", "shape", "negative", "nan", "pickle", "keys", "link",
     "folder", "text"],
)  # fmt: skip
def test_checkpoint_that_is_not_ours_is_none(tmp_path, rng, how):
    path, masks = tmp_path / "masks.npz", rng.random(SHAPE)
    batch(masks).save(path)
    raw = path.read_bytes()
    path.unlink()
    if how in ("empty", "noise", "cut", "text"):
        content = {"empty": b"", "noise": os.urandom(999), "cut": raw[:200], "text": b"hello"}
        path.write_bytes(content[how])
    if how in ("shape", "negative", "nan"):
        wrong = {"shape": masks[:1], "negative": masks - 2, "nan": masks * np.nan}
        batch(wrong[how]).save(path)
    if how == "pickle":
        np.savez(path, masks=np.array([{}], object), windows=1, losses=[1, 1], steps=1)
    if how == "keys":
        np.savez(path, masks=masks)
    if how == "link":
        (tmp_path / "other.npz").write_bytes(raw)
        path.symlink_to(tmp_path / "other.npz")
    if how == "folder":
        path.mkdir()
    assert MaskBatch.kept(path, SHAPE) is None
