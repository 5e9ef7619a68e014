"""A local folder of a pipeline of diffusers: which parts it has, their settings, their weights and hashes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.atomic import file_sha256, read_json
from bootlight.networks.peer import peer
from bootlight.pipelines.scheduler import Scheduler, read_scheduler

INDEX, NOTE = "model_index.json", "bootlight.json"
PIXELS = ("DDPMPipeline", "DDIMPipeline")
LATENTS = ("StableDiffusionPipeline",)
CLASSES = {  # of the parts that are understood
    "unet": {"UNet2DModel", "UNet2DConditionModel"},
    "vae": {"AutoencoderKL"},
    "text_encoder": {"CLIPTextModel"},
    "tokenizer": {"CLIPTokenizer", "CLIPTokenizerFast"},
}


class PipelineFolder:
    """What lies in a folder; nothing of its code is run, and only weights as safetensors are read.

    Args:
        path: of the folder.

    Raises:
        BootlightError: it is no such folder, or of a pipeline that is not understood.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / INDEX).is_file():
            raise BootlightError(f"{path} has no {INDEX}; give a local folder that save_pretrained of a pipeline has written")
        index = read_json(path / INDEX)
        name = index.get("_class_name") if isinstance(index, dict) else None
        if name not in PIXELS + LATENTS:
            raise BootlightError(f"{path / INDEX}: it is a {name}; those that are understood are {', '.join(PIXELS + LATENTS)}")
        self.is_latent = name in LATENTS
        self.pipeline = str(name)
        for part in ("unet", "scheduler", *(("vae", "text_encoder", "tokenizer") if self.is_latent else ())):
            found = index.get(part)
            named = found[1] if isinstance(found, list) and len(found) == 2 else None
            wrong = part in CLASSES and named not in CLASSES[part]
            if named is None or wrong or not (path / part).is_dir():
                raise BootlightError(f"{path}: its {part} is {named or 'missing'}; {name} needs one that is understood")

    def settings(self, part: str) -> dict[str, Any]:
        """Content of the configuration of a part, without notes.

        Raises:
            BootlightError: it is missing or damaged.
        """
        settings = read_json(self.path / part / ("scheduler_config.json" if part == "scheduler" else "config.json"))
        if not isinstance(settings, dict):
            raise BootlightError(f"{self.path / part}: its configuration is no JSON object; take another copy of the folder")
        return settings

    @cached_property
    def scheduler(self) -> Scheduler:
        """See `read_scheduler`."""
        where = str(self.path / "scheduler" / "scheduler_config.json")
        found = read_scheduler(self.settings("scheduler"), where, pixels=not self.is_latent)
        protocol = self.note.get("protocol")  # diffusers is told the number of steps by whoever draws
        if isinstance(protocol, dict) and protocol.get("sampler") == found.sampler.cls.__name__:
            steps = {"num_steps": protocol.get("num_steps")}
            return found._replace(sampler=found.sampler._replace(arguments={**found.sampler.arguments, **steps}))
        return found

    @cached_property
    def note(self) -> dict[str, Any]:
        """What `bootlight export` has noted, where it wrote the folder: classes and the run."""
        found = read_json(self.path / NOTE) if (self.path / NOTE).is_file() else {}
        return found if isinstance(found, dict) else {}

    def model(self, part: str, cls: str, package: str = "diffusers") -> Any:
        """A part with its weights, in eval mode, float32.

        Raises:
            BootlightError: they are missing, damaged, or not safetensors.
        """
        known = {"use_safetensors": True, "local_files_only": True}
        try:
            return peer(package, cls).from_pretrained(str(self.path / part), **known).float().eval()
        except BootlightError:
            raise
        except Exception as error:  # what the loaders of two packages raise
            reason = " ".join(str(error).split())
            raise BootlightError(
                f"{self.path / part}: its weights cannot be read ({type(error).__name__}: {reason}); it needs *.safetensors, "
                "which save_pretrained writes"
            ) from error

    def unet(self) -> Any:
        """The network with its weights."""
        name = "UNet2DConditionModel" if self.is_latent else "UNet2DModel"
        return self.model("unet", name)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file of weights, by its place in the folder."""
        return {str(file.relative_to(self.path)): file_sha256(file) for file in sorted(self.path.glob("*/*.safetensors"))}

    @property
    def described(self) -> Mapping[str, Any]:
        """For a JSON file: where the folder lies, and the hashes."""
        return {"folder": str(self.path), "pipeline": self.pipeline, "sha256": self.hashes()}
