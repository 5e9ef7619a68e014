"""`bootlight import FOLDER RUN`: a local folder of diffusers as a run that can be drawn from and trained on from there."""

from bootlight.errors import BootlightError
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
    parser.add_argument("--class-names", help="what the labels stand for, such as cat,dog")
    options = parser.parse_args(args)
    size: ImageSize | None = options.image_size
    if options.image_size is not None and len(options.image_size) == 1:
        size = options.image_size[0]

    from bootlight.generators.imported import check_empty, read_pixels, write_imported
    from bootlight.pipelines.folder import PipelineFolder

    run = RunFolder(options.run)
    check_empty(run)
    folder = PipelineFolder(options.folder)
    module, config, told = read_pixels(folder, size)
    names = folder.note.get("class_names") if options.class_names is None else options.class_names.split(",")
    if names is not None and module.num_classes is not None and len(names) != module.num_classes:
        raise BootlightError(f"--class-names has {len(names)} names, and the network {module.num_classes} classes")
    write_imported(run, module, config, folder, names)
    kinds = [config["init_args"][key]["class_path"].rpartition(".")[2] for key in ("schedule", "prediction", "sampler")]
    height, width = module.image_shape[1:]
    classes = "" if module.num_classes is None else f", {module.num_classes} classes"
    say(f"{folder.path}: {folder.pipeline}, {width} x {height}, {module.channels} channels{classes}, {', '.join(kinds)}")
    for what in told:
        say(f"  {what}")
    say(f"{run.path}@0: bootlight sample {run.path} --to FOLDER draws, start_from: {run.path}@0 trains on")
