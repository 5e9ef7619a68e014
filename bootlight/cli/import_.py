"""`bootlight import FOLDER RUN`: a local folder of diffusers as a run that can be drawn from and trained on from there."""

from bootlight.errors import check_range
from bootlight.io.paths import expanded
from bootlight.io.shape import ImageSize
from bootlight.runs.folder import RunFolder
from bootlight.terminal import Usage, say


def main(args: list[str]) -> None:
    """Read pipeline, scheduler and weights, and write `gen_000/model.safetensors` and `gen_000/model.json`."""
    parser = Usage(prog="bootlight import", description=__doc__)
    parser.add_argument("folder", type=expanded, help="that save_pretrained of a pipeline has written, with safetensors")
    parser.add_argument("run", type=expanded, help="folder of the run to write; not there yet")
    parser.add_argument(
        "--image-size", type=int, nargs="+", metavar="EDGE", help="edge, or height and width (default: as it says)"
    )
    parser.add_argument("--class-names", help="what labels stand for, such as cat,dog: words of prompts, where it reads texts")
    parser.add_argument("--template", help="prompt of a class, with {} where its name goes (default: a photo of a {})")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="draw N images into gen_000/samples too, for evaluate")
    parser.add_argument("--steps", type=int, help="sampler steps of those (default: as the folder says)")
    parser.add_argument(
        "--batch-size", type=int, default=16, help="of those, images of one network call (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="of those, such as cuda (default: %(default)s)")
    options = parser.parse_args(args)
    check_range("--draw", options.draw, 0)
    check_range("--batch-size", options.batch_size, 1)
    size: ImageSize | None = options.image_size
    if options.image_size is not None and len(options.image_size) == 1:
        size = options.image_size[0]

    from bootlight.generators.imported import check_empty, write_imported
    from bootlight.pipelines.folder import PipelineFolder
    from bootlight.pipelines.understood import understood

    run = RunFolder(options.run)
    check_empty(run)
    folder = PipelineFolder(options.folder)
    names = folder.note.get("class_names") if options.class_names is None else options.class_names.split(",")
    found = understood(folder, size, names, options.template)
    module = write_imported(run, found, names, options.steps)
    kinds = ", ".join(type(part).__name__ for part in (module.schedule, module.prediction, module.sampler))
    channels, height, width = found.image_shape
    classes = "" if module.num_classes is None else f", {module.num_classes} classes"
    say(f"{folder.path}: {folder.pipeline}, {width} x {height}, {channels} channels{classes}, {kinds}")
    for what in [*found.told, *(f"left out: {what}" for what in folder.scheduler.told)]:
        say(f"  {what}")
    say(f"{run.path}@0: bootlight sample {run.path} --to FOLDER draws, start_from: {run.path}@0 trains on")
    if options.draw:
        from bootlight.synthesis.published import draw_published

        draw_published(run.generation(0), module.to(options.device), options.draw, options.batch_size)
        say(f"{options.draw} images in {run.generation(0).samples}")
