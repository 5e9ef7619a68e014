"""What a user names by a text: a folder, a zip, a split of one, or the images that a generation of a run has drawn."""

from pathlib import Path

from bootlight.data.reader import SPLITS
from bootlight.errors import BootlightError
from bootlight.paths import expanded_text
from bootlight.run_folder import RunFolder


def split_suffix(text: str) -> tuple[Path, str]:
    """Path, expanded, and what follows the last `@`: nothing where the whole text is the name of something that exists."""
    text = expanded_text(text)
    path, at, suffix = text.rpartition("@")
    return (Path(path), suffix) if at and not Path(text).exists() else (Path(text), "")


def resolve(text: str) -> tuple[Path, str | None]:
    """Folder or zip, and split (or None).

    Args:
        text: a folder or zip of images; a run folder, meaning the newest generation that has images; a run folder followed by
            `@` and a generation (`runs/x@2`), or images followed by `@` and a split (`faces.zip@test`).

    Raises:
        BootlightError: a run without images of that generation.
    """
    root, suffix = split_suffix(text)
    drawn = [folder for folder in RunFolder(root).generations() if folder.is_synthesized]
    if suffix.lower() in SPLITS:
        return root, suffix.lower()
    if not drawn and not suffix:
        return root, None
    wanted = drawn[-1:] if not suffix else [folder for folder in drawn if suffix == str(int(folder.path.name[4:]))]
    if not root.exists():
        raise BootlightError(f"{text} does not exist; give a folder or a zip of images")
    if not wanted:
        known = ", ".join(str(int(folder.path.name[4:])) for folder in drawn)
        raise BootlightError(f"{text}: no generation {suffix} with images; {root} has {known or 'none'}")
    return wanted[0].samples, None
