import os

# No test may reach for the network, and no tracker may phone home.
os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true")

import pytest
import torch

from ddpm_course import UNet


def randomise(module, seed=0):
    """Weights N(0, 1/fan_in), biases and norm shifts N(0, 0.1²): zero-initialised layers would
    make two networks equal whatever they compute.
    """
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
        if parameter.ndim > 1:
            noise = noise / parameter[0].numel() ** 0.5
        else:
            noise = 0.1 * noise + (1 if "norm" in name and name.endswith("weight") else 0)
        parameter.data = noise
    return module


@pytest.fixture
def small_net():
    """A U-Net of two levels that runs in milliseconds, weights randomised."""
    return randomise(UNet(channels=(8, 16), attention_levels=(1,), head_dim=8, image_size=8)).eval()
