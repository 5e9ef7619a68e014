"""A folder, a zip or a `.npy` file, by what it is."""

import zipfile
from pathlib import Path

from bootlight.data.reader_files import ZipFiles
from bootlight.data.reader_folder import FolderFiles
from bootlight.data.reader_one import OneFile
from bootlight.errors import BootlightError
from bootlight.io.arrays import is_array


def open_files(root: Path, follow_links: bool = False) -> FolderFiles | ZipFiles | OneFile:
    """Open a folder, a zip or a `.npy` file.

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
    if is_array(root.name) and root.is_file():
        return OneFile(root)
    if not zipfile.is_zipfile(root):
        raise BootlightError(f"{root} is neither a folder nor a readable zip; give a folder or a zip of images, or a .npy file")
    return ZipFiles(root)
