"""Features of a set of images, computed once and kept in files.

There is one file for each set of images and network, `<folder>/features/<key>.safetensors`; all outputs of Inception are 20 kB
an image. Files are never changed; their time is that of the last use. Any of them, or the whole folder, may be deleted at any
time, also while a run goes on: what is missing is computed again when it is needed. Files of images, weights or versions that
are no longer used are never read again; they are the first to go when the cache exceeds its limit.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.io.atomic import write_bytes
from bootlight.io.cache_entries import note_use
from bootlight.io.cache_folder import tell_not_kept
from bootlight.io.cache_limit import cache_limit, keep_below
from bootlight.metrics.features.features import feature_name

FORMAT = 3  # to be raised when bootlight's own networks answer otherwise than before, or the files change
CHECKSUM = "sha256"  # of the tensors, in the metadata of the file


@dataclass(frozen=True)
class KeptIn:
    """`cached_features` of one folder."""

    folder: Path

    def __call__(self, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """See `cached_features`."""
        return cached_features(key, compute, self.folder)


def cached_features(key: str, compute: Callable[[], dict[str, Tensor]], folder: Path) -> dict[str, Tensor]:
    """Features from the file of this key, or computed and written to it.

    Several processes may ask for one key at once: each that finds no file computes, and the last to finish leaves its file,
    which is whole at any moment. A folder that cannot be read or written costs the time of another pass next time, and a
    warning. A file that was cut off or changed elsewhere (a full disk, a broken copy) is computed again with a warning.

    Args:
        key: from `feature_key`.
        compute: answers with features by output of the network, each (N, D).
        folder: cache; the files lie in its folder `features`.

    Returns:
        What `compute` answers, on the CPU; the same whether computed or read.
    """
    limit = cache_limit(folder)  # a wrong one is told before anything is computed
    path = folder / "features" / f"{key}.safetensors"
    try:
        found = _read(path)
    except OSError as error:
        tell_not_kept(folder, "features", error)
        found = None
    if found is None:
        found = {name: values.detach().cpu().clone().contiguous() for name, values in compute().items()}
        try:
            write_bytes(path, safetensors.torch.save(found, metadata={CHECKSUM: tensors_hash(found)}))
        except BootlightError as error:
            tell_not_kept(folder, "features", error)
        else:
            keep_below(limit, folder)
    else:
        note_use(path)
    return found


def _read(path: Path) -> dict[str, Tensor] | None:
    """Features from a file, None where there is no whole one."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # Copied to where torch puts tensors: matrix products of a file in memory that begins elsewhere round differently.
            found = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 it is no dictionary
            checksum = (file.metadata() or {}).get(CHECKSUM)
        if checksum != tensors_hash(found):
            raise safetensors.SafetensorError("its checksum is another")
        return found
    except (FileNotFoundError, NotADirectoryError):  # writing tells what is in the way
        return None
    except safetensors.SafetensorError as error:
        warnings.warn(f"{path} is damaged ({error}); its features are computed again", stacklevel=3)
        return None


def feature_key(content: str, network: nn.Module) -> str:
    """Everything that features depend on, as a hexadecimal SHA-256.

    Of the network these are its class path, `name`, `protocol` and `channels`, and all its parameters and buffers. A network
    that depends on anything else (a setting, a file read later) must say so in its `protocol`, as `FileNetwork` does with the
    hash of its file. The code of the network is not part of the key: give it another `name` when you change it.

    Args:
        content: key of the images as they are given to the network, and of their order, such as `Store.key`.
        network: the feature network.
    """
    kind = type(network)
    identity = {
        "format": FORMAT,
        "content": content,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "name": feature_name(network),
        "channels": getattr(network, "channels", 3),
        "protocol": getattr(network, "protocol", {}),
        "weights": tensors_hash(network.state_dict()),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def tensors_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        values = value.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)  # numpy knows no bfloat16
    return digest.hexdigest()
