"""`bootlight sample RUN[@GENERATION[/PART]]`: draw images from a trained generation, by its EMA weights."""

import math
from argparse import Namespace

from bootlight.errors import BootlightError, check_range
from bootlight.io.lines import MAX_IMAGES
from bootlight.io.paths import expanded
from bootlight.runs.folder import MODEL, GenerationFolder, RunFolder
from bootlight.runs.references import check_name
from bootlight.terminal import Usage, say

BATCH_SIZE, BATCH_PIXELS = 64, 2**20  # of one network call; 64 images of 128 x 128
TRUST = "import this class, such as my_file.MyFlow, where the run was made with code that is not bootlight's; may be repeated"


def parse(args: list[str]) -> Namespace:
    """The arguments of the command."""
    parser = Usage(prog="bootlight sample", description=__doc__)
    parser.add_argument(
        "run", help="folder of a run; its newest trained generation unless @GENERATION or @GENERATION/PART follows"
    )
    parser.add_argument("--seeds", default="0-15", help="such as 0-99 or 3,5,7 (default: %(default)s)")
    parser.add_argument("--label", type=int, help="class of all images, for a class-conditional model")
    parser.add_argument("--alone", action="store_true", help="without the composition that its samples were drawn through")
    parser.add_argument("--steps", type=int, help="sampler steps, for a diffusion model (default: as configured)")
    parser.add_argument("--batch-size", type=int, help="images of one network call (default: 64, fewer of large ones)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: %(default)s)")
    parser.add_argument("--trust", action="append", default=[], metavar="CLASS", help=TRUST)
    parser.add_argument("--to", type=expanded, required=True, help="folder to write into")
    options = parser.parse_args(args)
    if options.batch_size is not None:
        check_range("--batch-size", options.batch_size, 1)
    return options


def main(args: list[str]) -> None:
    """Draw and write, `SEED.png` for each seed; `SEED.npy`, (C, H, W), of float data and of what no PNG can hold."""
    options = parse(args)
    folder, seeds = find_generation(options.run), parse_seeds(options.seeds)

    import torch
    from tqdm import tqdm

    from bootlight.generators.as_drawn import compose_as_drawn
    from bootlight.generators.load import load_generator
    from bootlight.io.arrays import encode_array
    from bootlight.io.atomic import write_bytes
    from bootlight.io.pictures import encode_png, to_arrays
    from bootlight.io.shape import is_picture
    from bootlight.synthesis.written import as_numbers

    module = load_generator(folder, num_steps=options.steps, trust=options.trust)
    through = "" if options.alone else compose_as_drawn(module, folder, options.trust)
    try:
        module = module.to(options.device)
    except (RuntimeError, AssertionError) as error:  # torch has many ways to say so
        raise BootlightError(f"--device {options.device}: {str(error).splitlines()[0]}; try --device cpu") from error
    batch_size = options.batch_size or max(1, min(BATCH_SIZE, BATCH_PIXELS // math.prod(module.image_shape[1:])))
    pictures = is_picture(module.image_shape, module.image_dtype)
    for start in tqdm(range(0, len(seeds), batch_size), desc="sampling", unit="batch"):
        chunk = seeds[start : start + batch_size]
        labels = None if options.label is None else torch.full((len(chunk),), options.label)
        try:
            drawn = module.sample(chunk, labels=labels)
            images = as_numbers(drawn) if module.image_dtype == "float32" else to_arrays(drawn)
        except (RuntimeError, MemoryError) as error:
            reason = (str(error).splitlines() or ["no memory is left"])[0]
            raise BootlightError(f"{folder.path}: cannot draw images ({reason}); try a smaller --batch-size") from error
        for seed, image in zip(chunk, images, strict=True):
            data = encode_png(image) if pictures else encode_array(image.transpose(2, 0, 1))
            write_bytes(options.to / f"{seed:06d}.{'png' if pictures else 'npy'}", data)
    how = f", drawn through {through} as its samples are" if through else ""
    say(f"{len(seeds)} images of {folder.path} in {options.to}{how}")


def find_generation(text: str) -> GenerationFolder:
    """The generation that `RUN`, `RUN@GENERATION` or `RUN@GENERATION/PART` names.

    Raises:
        BootlightError: it is not there or not trained.
    """
    from bootlight.data.resolve import split_suffix

    path, suffix = split_suffix(text)
    number, _, part = suffix.partition("/")
    check_name("part", part or MODEL)
    generations = [folder.of_part(part or MODEL) for folder in RunFolder(path).generations()]
    trained = [folder for folder in generations if folder.is_trained]
    if not suffix and trained:
        return trained[-1]
    wanted = [folder for folder in trained if number.isdecimal() and folder.number == int(number)]
    if not wanted:
        of = f" of {part}" if part else ""
        raise BootlightError(f"{text}: no such trained generation{of}; {path} has {len(trained)}, counted from 0")
    return wanted[0]


def parse_seeds(text: str) -> list[int]:
    """Seeds from `0-99`, `3,5,7` or a mixture.

    Raises:
        BootlightError: something else.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise BootlightError(f"--seeds {text}: expected numbers and ranges such as 0-99 or 3,5,7")
        if len(seeds) + int(last) - int(first) >= MAX_IMAGES:
            raise BootlightError(f"--seeds {text}: more than {MAX_IMAGES} images; draw them in several calls")
        seeds += range(int(first), int(last) + 1)
    return seeds
