"""A trained generator from its published files."""

from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from bootlight.atomic import read_json, read_weights
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.run_folder import GenerationFolder


def load_generator(folder: GenerationFolder, *, num_steps: int | None = None) -> GeneratorModule:
    """The generator of a trained generation, in eval mode on the CPU.

    Args:
        folder: of the generation.
        num_steps: sampler steps instead of the configured ones, for a diffusion model.

    Raises:
        BootlightError: not trained, or its class cannot be imported (run from the folder of the plug-in).
    """
    published: dict[str, Any] = read_json(folder.model_config)
    config = published["model"]
    config["init_args"] |= {key: published[key] for key in ("image_size", "channels")}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(GeneratorModule, "model")
    try:
        module: GeneratorModule = parser.instantiate(parser.parse_object({"model": config})).model
    except ArgumentError as error:
        raise BootlightError(
            f"{folder.model_config}: cannot build {config['class_path']} ({str(error).splitlines()[0]})"
        ) from error
    if num_steps is not None:
        module.set_num_steps(num_steps)
    module.load_published(read_weights(folder.weights, also=folder.model_config.name))
    return module.eval()
