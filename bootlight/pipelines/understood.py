"""A folder of any pipeline that is understood."""

from collections.abc import Sequence

from bootlight.errors import BootlightError
from bootlight.io.shape import ImageSize
from bootlight.pipelines.folder import PipelineFolder
from bootlight.pipelines.found import Found
from bootlight.pipelines.latents import TEMPLATE, latent_network
from bootlight.pipelines.pixels import pixel_network


def understood(
    folder: PipelineFolder,
    image_size: ImageSize | None = None,
    class_names: Sequence[str] | None = None,
    template: str | None = None,
) -> Found:
    """The networks of a folder.

    Args:
        folder: of a pipeline.
        image_size: of its images; what its settings say if left out.
        class_names: what the labels stand for: words of the prompts of a text-to-image pipeline.
        template: of those prompts.

    Raises:
        BootlightError: they cannot be represented, or there are no prompts to make.
    """
    if folder.is_latent:
        return latent_network(folder, image_size, class_names, TEMPLATE if template is None else template)
    if template is not None:
        raise BootlightError(f"template: {folder.path} is a {folder.pipeline}, which reads no texts; leave it out")
    found = pixel_network(folder, image_size)
    if class_names is not None and len(class_names) != (found.num_classes or 0):
        raise BootlightError(f"class_names has {len(class_names)} names, and {folder.path} {found.num_classes or 'no'} classes")
    return found
