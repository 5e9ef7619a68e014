"""A resolved configuration as text that can be read back."""

import re
import warnings
from enum import Enum
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser

# What stock callbacks have as defaults, and jsonargparse cannot write into a configuration by itself.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))
register_type(torch.device)


def written(parser: LightningArgumentParser, settings: Any) -> str:
    """A configuration as YAML; jsonargparse does not find the text again where a function could stand in its place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unable to serialize")
        text: str = parser.dump(settings, skip_none=False)
    return re.sub(r"Unable to serialize instance (\w+)$", r"\1", text, flags=re.MULTILINE)
