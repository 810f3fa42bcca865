"""The flow's laws: a bijection with the right Jacobian."""

import math

import pytest
import torch

from export.models.flow import Flow, FlowConfig, squeeze, unsqueeze
from prior_fixtures import random_flow

INVERSE_ERROR = 1e-3  # single precision
LOG_DET_ERROR = 1e-3  # relative, double precision

SHAPES = [(1, 2), (2, 6), (3, 14)]
CONFIGS = [
    FlowConfig(bands=4, blocks=1, hidden=4, layers=1, kernel=3),
    FlowConfig(bands=8, blocks=3, hidden=8, layers=3, kernel=5),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize(("batch", "frames"), SHAPES)
def test_inverse_of_forward_is_identity(config, batch, frames):
    flow = random_flow(0, config)
    x = torch.randn(batch, config.bands, frames)
    z, _ = flow(x)
    assert (flow.inverse(z) - x).abs().max() < INVERSE_ERROR


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_log_determinant_is_the_jacobians(config):
    flow = random_flow(1, config).double()
    x = torch.randn(1, config.bands, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v)[0], x)
    size = x.numel()
    expected = torch.linalg.slogdet(jacobian.reshape(size, size))[1]
    log_det = flow(x)[1].detach()
    assert abs(float(log_det[0] - expected)) < LOG_DET_ERROR * max(1.0, abs(float(expected)))


def test_untrained_flow_is_a_gaussian_after_actnorm():
    """With zero-initialised couplings only linear maps are left, so the density is Gaussian."""
    torch.manual_seed(3)
    flow = Flow(FlowConfig(bands=4, blocks=2, hidden=4, layers=1))
    x = 3 + 2 * torch.randn(8, 4, 64)
    z, _ = flow(x)
    assert abs(float(z.detach().std()) - 1) < 0.05
    expected = -0.5 * math.log(2 * math.pi * math.e) - math.log(2)
    assert abs(float(flow.log_prob(x).mean().detach()) - expected) < 0.05


def test_gradients_reach_every_parameter():
    flow = random_flow(2)
    flow.log_prob(torch.randn(2, 16, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())


def test_squeeze_keeps_even_frames_first():
    x = torch.arange(8.0).view(1, 2, 4)
    assert squeeze(x)[0, :, 0].tolist() == [0, 4, 1, 5]
    assert torch.equal(unsqueeze(squeeze(x)), x)


def test_paper_size_has_the_papers_parameters():
    parameters = sum(p.numel() for p in Flow(FlowConfig.paper()).parameters())
    # 11,695,440 with 514 channels (Zhu et al.); two channels fewer here: no padding bin
    assert abs(parameters - 11_695_440) < 0.005 * 11_695_440
