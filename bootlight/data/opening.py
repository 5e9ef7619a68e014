"""A folder or a zip, by what it is."""

import zipfile
from pathlib import Path

from bootlight.data.reader_files import ZipFiles
from bootlight.data.reader_folder import FolderFiles
from bootlight.errors import BootlightError


def open_files(root: Path, follow_links: bool = False) -> FolderFiles | ZipFiles:
    """Open a folder or a zip.

    Args:
        root: which.
        follow_links: see `reader_folder.FolderFiles`.

    Raises:
        BootlightError: `root` is missing, is neither, or holds what must not be read (see the two classes).
    """
    if root.is_dir():
        return FolderFiles(root, follow_links)
    if not root.exists():
        raise BootlightError(f"{root} does not exist; give a folder or a zip of images")
    if not zipfile.is_zipfile(root):
        raise BootlightError(f"{root} is neither a folder nor a readable zip; give a folder or a zip of images")
    return ZipFiles(root)
