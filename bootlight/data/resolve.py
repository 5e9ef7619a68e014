"""What a user names by a text: a folder, a zip, a split of one, or the images that a generation of a run has drawn."""

import os
from pathlib import Path

from bootlight.data.reader_splits import is_split
from bootlight.errors import BootlightError, check_named
from bootlight.io.paths import expanded_text
from bootlight.runs.drawn import check_drawn, read_drawn
from bootlight.runs.folder import SAMPLES, GenerationFolder, RunFolder
from bootlight.runs.marks import GENERATION, is_run


def split_suffix(text: str) -> tuple[Path, str]:
    """Path, expanded, and what follows the last `@`: nothing where the whole text is the name of something that exists.

    Raises:
        BootlightError: there is no path. An empty one would be the working folder, which a variable that is not set then means.
    """
    text = expanded_text(text)
    path, at, suffix = text.rpartition("@")
    if not at or Path(text).exists():
        path, suffix = text, ""
    check_named("the name of a set of images", path)
    return Path(path), suffix


def resolve(text: str) -> tuple[Path, str | None]:
    """Folder or zip, and split (or None).

    Args:
        text: a folder or zip of images; a run folder, meaning the newest generation that has images; a run folder followed by
            `@` and a generation (`runs/x@2`), or the folder of a generation (`runs/x/gen_002`); or images followed by `@` and a
            split (`faces.zip@test`).

    Raises:
        BootlightError: no name, a run without images of that generation, or images that were changed since they were drawn.
    """
    root, suffix = split_suffix(text)
    if is_split(suffix):
        return root, suffix.lower()
    if is_generation(root):
        return _drawn_alone(text, root, suffix), None
    suffix, _, into = suffix.partition("/")
    generations = [folder.of_images(into or SAMPLES) for folder in RunFolder(root).generations()]
    drawn = [folder for folder in generations if folder.is_synthesized]
    if not drawn and not suffix:
        if others := [other for folder in generations for other in folder.image_folders if other.is_synthesized]:
            known = f"{root}@{others[-1].number}/{others[-1].into}"
            raise BootlightError(f"{text}: no generation has all images of {SAMPLES}; name another folder, as {known}")
        return root, None
    wanted = drawn[-1:] if not suffix else [folder for folder in drawn if suffix == str(folder.number)]
    if not root.exists():
        raise BootlightError(f"{text} does not exist; give a folder or a zip of images")
    if not wanted:
        known = ", ".join(str(folder.number) for folder in drawn)
        raise BootlightError(f"{text}: no generation {suffix} with images; {root} has {known or 'none'}")
    return _checked(wanted[0]), None


def is_generation(root: Path) -> bool:
    """Whether a folder is that of a generation, by its name or by what lies in it."""
    named = GENERATION.fullmatch(root.resolve().name) is not None
    if (root / SAMPLES).is_dir():
        return named or is_run(os.listdir(root))
    return named and any(folder.drawn.exists() for folder in GenerationFolder(root).image_folders)


def _drawn_alone(text: str, root: Path, suffix: str) -> Path:
    """Images of a generation, by its folder: those of `samples`, or where it has another folder alone, those of that."""
    folders = GenerationFolder(root).image_folders
    folder = folders[0] if len(folders) == 1 else GenerationFolder(root)
    if suffix or not folder.is_synthesized:
        known = ", ".join(other.into for other in folders if other.is_synthesized)
        lacking = f"so it has no {suffix}" if suffix else f"but has not all of its images yet ({known or 'none'} alone)"
        raise BootlightError(f"{text}: {root} is a generation of a run, {lacking}; name another one")
    return _checked(folder)


def _checked(folder: GenerationFolder) -> Path:
    check_drawn(folder, read_drawn(folder))
    return folder.samples
