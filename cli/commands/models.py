"""``liquid models``: the models on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from liquid_mlx.config import LiquidConfig
from liquid_mlx.errors import FileError, HubError, LiquidError, UsageError
from liquid_mlx.files import user_path
from liquid_mlx.hub import DEMO, resolve

from ..printer import gigabytes, print_json, print_table


@dataclass(frozen=True)
class ModelInfo:
    """A converted model: its name for ``--model``, where it is from, and its weights."""

    name: str
    kind: str
    folder: Path
    bytes: int
    bits: str
    context: int
    needed: int
    sizes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether one image of the default size can be generated on this machine."""
        from liquid_mlx.memory import available  # MLX, which help does without

        return self.needed <= available()

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "folder": str(self.folder),
            "bytes": self.bytes,
            "bits": self.bits,
            "context": self.context,
            "sizes": list(self.sizes),
            "memory_bytes": self.needed,
            "fits": self.fits,
        }


def models(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FOLDER", help="Folders to search instead of this one."),
    ] = None,
    delete: Annotated[
        str | None, typer.Option(metavar="NAME", help="Delete this model after confirmation.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without confirmation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the models on this machine.

    That is: the bundled one, those in the Hugging Face cache, and those in and below this folder.
    """
    places = folders or [Path()]
    if missing := [str(place) for place in places if not user_path(place).is_dir()]:
        hint = "--delete NAME deletes a model" if missing[0] in ("delete", "rm", "remove") else ""
        raise UsageError(f"There is no folder {missing[0]}" + (f": {hint}." if hint else "."))
    found = list(find([*places, Path(delete)] if delete is not None else places))
    if delete is not None:
        _delete(delete, found, yes)
        return
    if as_json:
        print_json([model.to_dict() for model in found], indent=2)
        return
    print_table(
        ["MODEL", "KIND", "SIZE", "BITS", "IMAGES", "FITS"],
        (
            [m.name, m.kind, gigabytes(m.bytes), m.bits, ",".join(m.sizes), _yes_no(m.fits)]
            for m in found
        ),
    )


def find(folders: list[Path]) -> Iterator[ModelInfo]:
    """The bundled model, those in the Hugging Face cache, and those in and below folders."""
    yield from _read(DEMO, "bundled", resolve(DEMO))
    cache = hub_cache()
    for repo in sorted(cache.glob("models--*")) if cache.is_dir() else []:
        name = repo.name.removeprefix("models--").replace("--", "/")
        snapshots = [path for path in repo.glob("snapshots/*") if path.is_dir()]
        snapshots.sort(key=lambda path: path.stat().st_mtime)
        if snapshots:
            yield from _read(name, "cached", snapshots[-1])
    for folder in folders:
        folder = user_path(folder)
        below = (
            sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        )
        for path in [folder, *below]:
            yield from _read(str(path), "converted", path)


def hub_cache() -> Path:
    """Hugging Face's cache of repos; as huggingface_hub finds it, without importing that."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    return Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")))


def _read(name: str, kind: str, folder: Path) -> Iterator[ModelInfo]:
    """The model of a folder, if it is a converted one."""
    try:
        config = LiquidConfig.read(folder)
        found = ModelInfo(
            name=name,
            kind=kind,
            folder=folder,
            bytes=weight_bytes(folder),
            bits=bits(config.quantization, config.dtype),
            context=config.backbone.max_position_embeddings,
            needed=needed_bytes(folder, config),
            sizes=tuple(str(size) for size in config.sizes),
        )
    except (LiquidError, OSError):
        return
    yield found


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def weight_bytes(folder: Path) -> int:
    """Size of the weights, the image tokenizer's too."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def needed_bytes(folder: Path, config: LiquidConfig) -> int:
    """Memory that generating one image takes, computing in the stored dtype."""
    from liquid_mlx.memory import one_image  # MLX, which help does without
    from liquid_mlx.weights import DTYPES

    tokenizer = file_size(folder / "vqgan.safetensors")
    weights = weight_bytes(folder) - tokenizer
    return one_image(config, weights, tokenizer, DTYPES[config.dtype]).total


def file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def bits(quantization: Any, dtype: str) -> str:
    """``4`` for a quantized model, else its dtype."""
    return str(quantization["bits"]) if quantization else dtype


def _delete(name: str, found: list[ModelInfo], yes: bool) -> None:
    if name == DEMO:
        raise FileError("The demo model is part of liquid-mlx and cannot be deleted.")
    model = next((model for model in found if model.name == name), None)
    if model is None:
        raise HubError(f"There is no model {name!r} on this machine: `liquid models` lists them.")
    folder = model.folder.parents[1] if model.kind == "cached" else model.folder
    question = f"Delete {folder} ({gigabytes(model.bytes)})?"
    if not yes and not typer.confirm(question, err=True):
        return
    shutil.rmtree(folder)
    print(folder)
