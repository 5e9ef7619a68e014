"""Where the Inception weights come from."""

import hashlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from tqdm import tqdm

from bootlight.errors import BootlightError, safe
from bootlight.io.atomic import atomic_write
from bootlight.io.cache_folder import FORMER, home_cache
from bootlight.io.paths import expanded

# The TensorFlow network of the original FID, converted; the name of the file carries the head of its SHA-256. pytorch-fid calls
# its file pt_inception-2015-12-05-6726825d.pth: the same hash, and the same names for the weights inside. Either will do.
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"
DEFAULT_FILE = Path("~/.cache/bootlight/weights-inception-2015-12-05-6726825d.pth")
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 20


def default_file() -> Path:
    """Where the weights are kept unless another file is named: in `home_cache`, or where an earlier version has put them."""
    file = home_cache() / DEFAULT_FILE.name
    former = expanded(DEFAULT_FILE)
    return file if file.parent != expanded(FORMER) and (file.exists() or not former.exists()) else former


def fetch_inception_weights(destination: Path) -> Path:
    """Download the Inception weights (96 MB) to the file `destination`, which appears only when whole and verified.

    Raises:
        BootlightError: no network, a silent server (30 s), or a file with another SHA-256.
    """
    digest = hashlib.sha256()
    try:
        response = urlopen(INCEPTION_URL, timeout=TIMEOUT_SECONDS)
    except (OSError, HTTPException) as error:
        raise _download_error(destination, error) from error
    with response, atomic_write(destination) as file:
        for chunk in _chunks(response, destination):
            digest.update(chunk)
            file.write(chunk)
        if not digest.hexdigest().startswith(INCEPTION_SHA256):
            raise BootlightError(f"{INCEPTION_URL}: SHA-256 {digest.hexdigest()[:8]} instead of {INCEPTION_SHA256}; try again")
    return destination


def _chunks(response: IO[bytes], destination: Path) -> Iterator[bytes]:
    """Pieces of the download behind a progress bar."""
    with tqdm(desc=safe(destination.name), unit="B", unit_scale=True) as bar:
        try:
            while chunk := response.read(CHUNK_BYTES):
                yield chunk
                bar.update(len(chunk))
        except (OSError, HTTPException) as error:
            raise _download_error(destination, error) from error


def _download_error(destination: Path, error: Exception) -> BootlightError:
    """What to do without a network."""
    return BootlightError(
        f"cannot download {INCEPTION_URL} ({error}); fetch it on another machine and copy it to {destination}"
    )
