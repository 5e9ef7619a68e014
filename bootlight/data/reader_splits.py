"""Folders that divide a set of images into parts to train on and parts to hold out."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable

from bootlight.errors import BootlightError

TRAINING = ("train", "training")
TEST = ("test", "testing", "holdout", "eval")
VALIDATION = ("val", "valid", "validation", "dev")
HELD_OUT = (*TEST, *VALIDATION)  # the first of them that is there is held out
SPLITS = (*TRAINING, *HELD_OUT)
MAX_FOLDERS = 8  # more of them are classes, though one be called `bullet_train` and one `test_tube`
MAX_NAMED = 4
_WORD = re.compile("[a-z]+")


def is_split(name: str) -> bool:
    """Whether a folder's name is that of a split, in any case of letters."""
    return name.lower() in SPLITS


def training_split(splits: Iterable[str]) -> str | None:
    """The split that is trained on, if there is one."""
    return next((split for split in splits if split in TRAINING), None)


def held_out_split(splits: Collection[str]) -> str | None:
    """The split that is held out from training: the first of `HELD_OUT` that is there, beside one to train on."""
    return next((split for split in HELD_OUT if split in splits), None) if training_split(splits) else None


def first_folder(name: str, base: str) -> str:
    """First folder of a name below `base`; empty for an image that lies at `base` itself."""
    return name[len(base) :].rpartition("/")[0].partition("/")[0]


def split_folders(names: Collection[str], base: str, where: str, *, listed: bool) -> dict[str, str]:
    """Folder of each split, by the split's name in lower case; empty where the folders at `base` are not splits.

    Args:
        names: of the images.
        base: the folder around them.
        where: how messages call the set.
        listed: whether a manifest lists them; folders then need not be splits though one is called so.

    Raises:
        BootlightError: there are splits and other things, so that nobody can tell what was meant.
    """
    found = {first_folder(name, base): name for name in names}
    splits = sorted(filter(is_split, found))
    others = sorted(found.keys() - splits)
    known = {folder.lower() for folder in splits}
    if splits and others and (not listed or (training_split(known) and not known <= set(TRAINING))):
        raise BootlightError(
            f"{where}: {_named(splits)} would be taken as splits, but beside them is {_beside(others, found[others[0]])}; "
            "put all pictures into splits or take the others away; if these are classes, rename them or list the pictures in a "
            "metadata.jsonl or metadata.csv"
        )
    if not listed:
        _check_nested(names, base if splits else None, where)
        _check_alike(list(found), where)
    if others or not splits or (len(splits) == 1 and not training_split(known)):
        return {}
    if len(known) < len(splits) or known >= set(TRAINING):
        raise BootlightError(f"{where}: {_named(splits)} are one split under two names; put their pictures into one folder")
    return {folder.lower(): f"{base}{folder}/" for folder in splits}


def choose_split(folders: dict[str, str], split: str | None, where: str) -> str:
    """The split that is meant; one name stands for another of its kind (`test` for `testing`) that alone is there.

    Args:
        folders: as `split_folders` has found them.
        split: as named by the user; None = the one to train on.
        where: how messages call the set.

    Raises:
        BootlightError: there is none.
    """
    wanted = "train" if split is None else split.lower()
    if wanted in folders:
        return wanted
    alike = [name for kind in (TRAINING, TEST, VALIDATION) if wanted in kind for name in kind if name in folders]
    if len(alike) != 1:
        raise BootlightError(f"{where} has no split {wanted!r}; it has {', '.join(sorted(folders))}: name one of them")
    return alike[0]


def _check_nested(names: Iterable[str], base: str | None, where: str) -> None:
    """Splits inside of classes, or with pictures beside what holds them, would be mixed up."""
    inner: defaultdict[str, set[str]] = defaultdict(set)
    for folder in {name.rpartition("/")[0] for name in names}:
        parts = folder.split("/")
        for i, part in enumerate(parts):
            if is_split(part):
                inner["".join(f"{outer}/" for outer in parts[:i])].add(part)
    for folder, splits in sorted(inner.items()):
        known = {split.lower() for split in splits}
        if folder != base and training_split(known) and not known <= set(TRAINING):
            raise BootlightError(
                f"{where}: {_named(sorted(splits))} in {folder} would be mixed up, because there are pictures outside of "
                f"{folder}; name {where}/{folder.rstrip('/')} alone, or put the splits outermost: train/..., test/..."
            )


def _check_alike(found: list[str], where: str) -> None:
    """`train2017` and `val2017` would become two classes."""
    words = {folder: set(_WORD.findall(folder.lower())) for folder in found}
    training = [folder for folder in found if not words[folder].isdisjoint(TRAINING) and not is_split(folder)]
    held_out = [folder for folder in found if not words[folder].isdisjoint(HELD_OUT) and folder not in training]
    if training and held_out and len(found) <= MAX_FOLDERS:
        raise BootlightError(
            f"{where}: {_named(sorted(training + held_out))} look like splits, but are not called so; rename them to train and "
            "test, or otherwise, if they are classes"
        )


def _beside(others: list[str], example: str) -> str:
    """What is in the way: a picture, or folders."""
    return f"the picture {example}" if others[0] == "" else _named(others)


def _named(folders: list[str]) -> str:
    more = f" and {len(folders) - MAX_NAMED:,} more" if len(folders) > MAX_NAMED else ""
    return f"folder{'s' * (len(folders) > 1)} {', '.join(folders[:MAX_NAMED])}{more}"
