"""Tiny pipelines of diffusers with random weights, made on the spot; and their drawing from given noise."""

import warnings
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch

with warnings.catch_warnings():  # of packages that are not ours
    warnings.simplefilter("ignore")
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'bootlight[diffusers]'")
    from diffusers.pipelines.ddpm import pipeline_ddpm
    from diffusers.schedulers import scheduling_ddpm

BLOCKS = {
    "sample_size": 8, "block_out_channels": (8, 16), "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4,
}  # fmt: skip


def awake(module, seed=0):
    """Weights that are nowhere 0 and answers that are about as large as images."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def pixel_pipeline(folder, scheduler=None, **settings):
    """A saved `DDPMPipeline` whose network is no U-Net of bootlight's, unless settings say so."""
    torch.manual_seed(0)
    unet = awake(diffusers.UNet2DModel(**{**BLOCKS, **settings}))
    pipeline = diffusers.DDPMPipeline(unet, scheduler or diffusers.DDPMScheduler())
    pipeline.save_pretrained(str(folder))
    return pipeline


@contextmanager
def given_noise(streams):
    """Let diffusers take its noise from `NoiseStreams`, draw by draw."""

    def draw(shape, **_):
        return streams.normal(*shape[1:])

    with patch.object(pipeline_ddpm, "randn_tensor", draw), patch.object(scheduling_ddpm, "randn_tensor", draw):
        yield


def drawn_by(pipeline, streams, count, steps):
    """Images in [-1, 1] of a `DDPMPipeline`, from given noise."""
    pipeline.set_progress_bar_config(disable=True)
    with given_noise(streams):
        images = pipeline(batch_size=count, num_inference_steps=steps, output_type="np").images
    return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1
