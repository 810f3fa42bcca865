"""Masks that know where stems stand: matrices for pairs of channels."""

import numpy as np
import pytest
import soundfile

from engine import RenderOptions, channel_groups, measure_null, render
from engine.separation.spatial import images, matrix_masks, shared_out
from presets import load_preset

FRAMES, BANDS, BINS = 60, 12, 40
BAND = np.minimum(np.arange(BINS) // 3, BANDS - 1)
STEREO = channel_groups(2)


def noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def stems_at(rng, *places):
    """Unrelated stems at places from 0 (left) to 1 (right), (stems, 2, frames, bins)."""
    loud = rng.random((len(places), 1, FRAMES, 1)) ** 2
    gains = np.array([(np.cos(p * np.pi / 2), np.sin(p * np.pi / 2)) for p in places])
    return noise(rng, len(places), 1, FRAMES, BINS) * loud * gains[:, :, None, None]


def masks_of(stems, rng, wrong):
    """Masks of the stems' power in every band, wavering by `wrong`."""
    power = np.zeros((len(stems), FRAMES, BANDS))
    np.add.at(power, (slice(None), slice(None), BAND), (np.abs(stems) ** 2).sum(axis=1))
    masks = power * np.exp(wrong * rng.standard_normal(power.shape))
    return (masks / masks.sum(axis=0)).astype(np.float32)


def random_masks(rng, stems=3, groups=1):
    masks = rng.dirichlet(np.ones(stems), (groups, FRAMES, BANDS)).astype(np.float32)
    return np.moveaxis(masks, -1, 0)


def shares(mix, masks, groups=STEREO, spatial=True):
    (shared,) = shared_out(iter([(mix, masks)]), groups, BAND, spatial=spatial)
    return np.stack([shared.stem(index) for index in range(len(masks))])


def sdr_db(stems, found):
    wrong = (np.abs(stems - found) ** 2).sum(axis=(1, 2, 3))
    return 10 * np.log10((np.abs(stems) ** 2).sum(axis=(1, 2, 3)) / wrong)


def test_shares_sum_to_the_mix(rng):
    mix, masks = noise(rng, 2, FRAMES, BINS), random_masks(rng)
    np.testing.assert_allclose(shares(mix, masks).sum(axis=0), mix, atol=3e-6)


def test_in_a_mono_mix_the_matrices_are_the_masks(rng):
    mono, masks = noise(rng, 1, FRAMES, BINS), random_masks(rng)
    mix = np.concatenate([mono, mono])
    np.testing.assert_allclose(
        shares(mix, masks), masks[:, 0, :, BAND].transpose(1, 2, 0)[:, None] * mix, atol=1e-5
    )


@pytest.mark.parametrize("places", [(0.0, 1.0), (0.5, 0.1), (0.5, 0.3, 0.9)])
def test_stems_in_different_places_are_told_apart(places, rng):
    stems = stems_at(rng, *places)
    masks = masks_of(stems, rng, wrong=1.0)[:, None]
    mix = stems.sum(axis=0).astype(np.complex64)
    blind, placed = (shares(mix, masks, spatial=s) for s in (False, True))
    assert np.all(sdr_db(stems, placed) > sdr_db(stems, blind) + 1)


def test_stems_in_one_place_lose_nothing(rng):
    stems = stems_at(rng, 0.4, 0.4)
    masks = masks_of(stems, rng, wrong=1.0)[:, None]
    mix = stems.sum(axis=0).astype(np.complex64)
    blind, placed = (shares(mix, masks, spatial=s) for s in (False, True))
    np.testing.assert_allclose(sdr_db(stems, placed), sdr_db(stems, blind), atol=0.05)


def test_channels_without_a_partner_keep_their_masks(rng):
    groups = channel_groups(6)
    mix, masks = noise(rng, 6, FRAMES, BINS), random_masks(rng, groups=len(groups.groups))
    placed, blind = (shares(mix, masks, groups, spatial=s) for s in (True, False))
    for number, group in enumerate(groups.groups):
        found = placed[:, list(group)]
        if len(group) == 1:
            np.testing.assert_array_equal(found, blind[:, list(group)])
        else:
            alone = shares(mix[list(group)], masks[:, number : number + 1])
            np.testing.assert_array_equal(found, alone)
    assert not placed[:, list(groups.residual_only)].any()


@pytest.mark.parametrize("silent", ["mix", "channel", "stem"])
def test_silence_is_shared_out_too(silent, rng):
    mix, masks = noise(rng, 2, FRAMES, BINS), random_masks(rng)
    if silent == "mix":
        mix[:] = 0
    elif silent == "channel":
        mix[1] = 0
    else:
        masks[0], masks[1:] = 0, masks[1:] / masks[1:].sum(axis=0)
    found = shares(mix, masks)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=0), mix, atol=3e-6)


def test_bands_that_no_bin_belongs_to_do_no_harm(rng):
    few = np.array([0, 2, 2, 5])  # of twelve bands, as at a low rate
    pair, masks = noise(rng, 2, FRAMES, 4), random_masks(rng)[:, 0]
    matrices = matrix_masks(masks, images(pair, masks, few))
    identity = np.broadcast_to(np.eye(2), (FRAMES, BANDS, 2, 2))
    np.testing.assert_allclose(matrices.sum(axis=0), identity, atol=1e-6)


def test_a_block_hears_its_neighbours(rng):
    """A stem that pauses in one block is placed by those around it."""
    masks = random_masks(rng)
    loud, quiet = noise(rng, 2, FRAMES, BINS), np.zeros((2, FRAMES, BINS), np.complex64)
    loud[1] *= 0.1
    blocks = [(quiet, masks), (loud, masks), (quiet, masks), (quiet, masks)]
    heard = list(shared_out(iter(blocks), STEREO, BAND, spatial=True))
    assert [np.array_equal(b.mix, m) for b, (m, _) in zip(heard, blocks, strict=True)] == [
        True
    ] * 4
    even = matrix_masks(masks[:, 0], np.zeros((3, BANDS, 2, 2)))
    near = [np.abs(b.matrices[0] - even).max() > 1e-3 for b in heard]
    assert near == [True, True, True, False]


def test_a_preset_switches_it_off(tmp_path, rng, tiny_prior_folder):
    options = RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")
    time = np.arange(22_050)[:, None] / 22_050
    placed = np.sin(2 * np.pi * 110 * time) * [1, 0] + np.sin(2 * np.pi * 3000 * time) * [0, 1]
    noisy = 0.1 * placed + 0.01 * rng.standard_normal((22_050, 2))
    soundfile.write(tmp_path / "mix.wav", noisy, 22_050, subtype="PCM_24")
    sets = {}
    for spatial in ("true", "false"):
        path = tmp_path / f"{spatial}.yaml"
        path.write_text(
            "name: p\nstems:\n  low: {}\n  high: {}\n"
            f"search: {{steps: 2, spatial: {spatial}}}\n"
        )
        manifest = render(tmp_path / "mix.wav", tmp_path / spatial, load_preset(path), options)
        assert manifest.search["spatial"] == (spatial == "true")
        stems = [tmp_path / spatial / file.path for file in manifest.files]
        assert measure_null(tmp_path / "mix.wav", stems).exact
        sets[spatial] = np.stack([soundfile.read(stem)[0] for stem in stems])
    assert np.abs(sets["true"] - sets["false"]).max() > 1e-4  # a thousand steps of 24 bits
