"""Tiny pipelines of diffusers with random weights, made on the spot; and their drawing from given noise."""

import json
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


def text_pipeline(folder, scheduler=None):
    """A saved `StableDiffusionPipeline` of 16 x 16 pixels, 8 x 8 latents of 4 channels, and texts of letters."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    vocabulary = {text: i for i, text in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    source = folder.parent / f"{folder.name}_tokens"
    source.mkdir(parents=True)
    (source / "vocab.json").write_text(json.dumps(vocabulary))
    (source / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(source), model_max_length=20)
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(vocabulary), hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=20, projection_dim=8, bos_token_id=52, eos_token_id=53, pad_token_id=53,
        )
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4, norm_num_groups=2, sample_size=16,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
        cross_attention_dim=8,
    )  # fmt: skip
    # The pipeline insists on an offset, which is of the spacing `leading` alone.
    known = diffusers.DDIMScheduler(clip_sample=False, steps_offset=1, timestep_spacing="trailing")
    pipeline = diffusers.StableDiffusionPipeline(
        awake(vae, 1), awake(text, 2), tokenizer, awake(unet, 3), scheduler or known,
        None, None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return pipeline
