"""`bootlight export RUN[@GENERATION[/PART]] --to diffusers FOLDER`: averaged weights as a folder of another program."""

from bootlight.cli.sample import TRUST, find_generation
from bootlight.io.paths import expanded
from bootlight.terminal import Usage, say


def main(args: list[str]) -> None:
    """Write `model_index.json`, the network and the scheduler, which `DDPMPipeline.from_pretrained` loads and draws with."""
    parser = Usage(prog="bootlight export", description=__doc__)
    parser.add_argument(
        "run", help="folder of a run; its newest trained generation unless @GENERATION or @GENERATION/PART follows"
    )
    parser.add_argument(
        "--to", choices=["diffusers"], required=True, help="whose format; needs pip install 'bootlight[diffusers]'"
    )
    parser.add_argument("folder", type=expanded, help="to write; not there yet")
    parser.add_argument("--trust", action="append", default=[], metavar="CLASS", help=TRUST)
    options = parser.parse_args(args)
    found = find_generation(options.run)

    from bootlight.generators.exported import export
    from bootlight.generators.load import load_generator
    from bootlight.generators.published import weights_hash
    from bootlight.io.atomic import read_json

    module = load_generator(found, trust=options.trust)
    note = {"run": str(found.path), "part": found.part, "weights_sha256": weights_hash(found)}
    names = None if module.num_classes is None else read_json(found.model_config).get("class_names")
    told = export(module, options.folder, note | {"class_names": names})
    steps = module.protocol().get("num_steps")
    say(f"{options.folder}: DDPMPipeline.from_pretrained(...) draws with it as {found.path} does, num_inference_steps={steps}")
    for what in told:
        say(f"not as here: {what}")
