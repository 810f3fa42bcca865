"""Demucs v2, Wave-U-Net and WaveGAN: the published sizes, what they see, and their graphs."""

import numpy as np
import onnxruntime
import pytest
import torch

from export.models.demucs import Demucs, DemucsConfig, half_sample_kernel
from export.models.wave_unet import WaveUNet, WaveUNetConfig
from export.models.waveform_graphs import emit_demucs, emit_wave_unet
from export.models.wavegan import Critic, GanConfig, Generator

NETWORKS = {
    "demucs": (Demucs, DemucsConfig(channels=4, depth=3), emit_demucs),
    "demucs in stereo": (Demucs, DemucsConfig(channels=4, depth=3, audio_channels=2), emit_demucs),
    "wave-u-net": (WaveUNet, WaveUNetConfig(levels=4, filters=4), emit_wave_unet),
    "wave-u-net in stereo": (
        WaveUNet,
        WaveUNetConfig(levels=4, filters=4, audio_channels=2),
        emit_wave_unet,
    ),
}


@pytest.fixture(params=NETWORKS)
def built(request):
    kind, config, emit = NETWORKS[request.param]
    torch.manual_seed(1)
    return kind(config).eval(), emit


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def on_paper(network, config):
    with torch.device("meta"):  # sizes without memory
        return parameters(network(config))


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(64, 265_679_496), (48, 149_462_504), (32, 66_443_592), (16, 16_622_760), (8, 4_161_624)],
)
def test_demucs_has_the_published_sizes(channels, expected):
    config = DemucsConfig(sample_rate=44_100, audio_channels=2, channels=channels, depth=6)
    assert on_paper(Demucs, config) == expected


def test_the_published_demucs_has_64_channels():
    assert on_paper(Demucs, DemucsConfig.published()) == 265_679_496


def test_wave_unet_has_the_published_size_and_context():
    config = WaveUNetConfig.published()
    assert on_paper(WaveUNet, config) == 10_263_054
    assert config.lengths(16_384) == (147_443, 16_389)  # as in the paper's table


def test_wavegan_has_the_published_sizes():
    config = GanConfig.published()
    assert config.samples == 16_384
    assert on_paper(Generator, config) == 19_065_345
    assert on_paper(Critic, config) == 17_427_969


def test_stems_are_as_long_as_the_mix(built):
    network, _ = built
    channels = network.config.audio_channels
    for samples in (1, 1000, 4321):
        mix = torch.randn(2, channels, samples)
        assert network.separate(mix).shape == (2, 4, channels, samples)


def test_graphs_do_what_torch_does(built):
    network, emit = built
    channels, samples = network.config.audio_channels, 3001
    graph = emit(network, samples).SerializeToString()
    mix = 0.1 * np.random.default_rng(0).standard_normal((2, channels, samples), np.float32)
    (found,) = onnxruntime.InferenceSession(graph).run(None, {"mix": mix})
    with torch.no_grad():
        expected = network.separate(torch.from_numpy(mix)).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max() + 1e-7


def test_wave_unet_leaves_nothing_of_the_mix():
    network = WaveUNet(WaveUNetConfig(levels=3, filters=4))
    mix = 0.3 * torch.randn(1, 1, 2000)
    assert torch.allclose(network.separate(mix).sum(dim=1), mix, atol=1e-6)


def test_wave_unet_sees_its_context_and_no_more():
    """The middle sample of the output depends on the whole input that belongs to it alone."""
    config = WaveUNetConfig(levels=2, filters=2)
    network, (length, out) = WaveUNet(config), config.lengths(1)
    mix = torch.randn(1, 1, length, requires_grad=True)
    network(mix)[0, 0, 0].sum().backward()
    seen = mix.grad[0, 0].nonzero()
    assert seen.min() <= 2**config.levels and seen.max() >= length - 1 - 2**config.levels
    wider = config.lengths(out + 4)[0]
    mix = torch.randn(1, 1, wider, requires_grad=True)
    network(mix)[0, 0, 0, 0].backward()
    assert (mix.grad[0, 0, length:] == 0).all()


def test_demucs_receptive_field_is_the_whole_excerpt():
    """Its LSTM carries the first samples to the last ones."""
    config = DemucsConfig(channels=4, depth=3)
    mix = torch.randn(1, 1, config.valid_length(2000), requires_grad=True)
    Demucs(config)(mix)[0, 0, 0, -1].backward()
    assert mix.grad[0, 0, :8].abs().max() > 0


def test_resampling_there_and_back_keeps_what_both_rates_hold():
    network = Demucs(DemucsConfig(channels=2, depth=1))
    at = torch.arange(4000) / 22_050
    tone = torch.sin(2 * torch.pi * 1000 * at)[None, None]
    back = network._downsample(network._upsample(tone))
    assert (back - tone)[..., 200:-200].abs().max() < 1e-3
    kernel = half_sample_kernel(56)[0, 0]
    assert torch.allclose(kernel, kernel.flip(0), atol=1e-6)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-3)


def test_a_generator_begins_silent_at_zero_and_listens_to_its_latents():
    torch.manual_seed(1)
    generator = Generator(GanConfig(width=4, layers=3))
    with torch.no_grad():
        assert not generator(torch.zeros(1, 100)).any()
        made = generator(2 * torch.rand(64, 100) - 1)
    moved = made.var(dim=0).mean() / made.square().mean()
    assert moved > 0.2  # of the energy; with the biases that torch begins with it is a hundredth


def test_wavegan_shapes_and_shuffle():
    config = GanConfig(width=2, layers=3)
    made = Generator(config)(torch.rand(5, config.latent) - 0.5)
    assert made.shape == (5, config.samples)
    assert made.abs().max() < 1
    critic = Critic(config)
    judged = [critic(made, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(judged[0], judged[1])
    assert not torch.equal(judged[0], judged[2])
