"""``liquid models``: the models on this machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

ROOM = 1.2  # times its weights is what a model needs to draw one picture


@dataclass(frozen=True)
class ModelInfo:
    """A converted model: its name for ``--model``, where it is from, and its weights."""

    name: str
    kind: str
    folder: Path
    bytes: int
    bits: str
    context: int
    sizes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether it fits this machine's memory, with room to work."""
        return self.bytes * ROOM < memory()

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "folder": str(self.folder),
            "bytes": self.bytes,
            "bits": self.bits,
            "context": self.context,
            "sizes": list(self.sizes),
            "fits": self.fits,
        }


def models(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FOLDER", help="Where to look for converted models, too."),
    ] = None,
    delete: Annotated[
        str | None, typer.Option(metavar="NAME", help="Delete this model, after asking.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array.")] = False,
) -> None:
    """List the models here: bundled, in the Hugging Face cache, and converted in this folder."""
    from ..terminal import clean

    places = folders or [Path()]
    found = list(find([*places, Path(delete)] if delete is not None else places))
    if delete is not None:
        _delete(delete, found, yes)
        return
    if as_json:
        print(json.dumps([model.to_dict() for model in found], indent=2, ensure_ascii=False))
        return
    rows = [["MODEL", "KIND", "SIZE", "BITS", "PICTURES", "FITS"]]
    for model in found:
        fits = "yes" if model.fits else "no"
        size = gigabytes(model.bytes)
        rows.append([clean(model.name), model.kind, size, model.bits, ",".join(model.sizes), fits])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    if not found:
        typer.echo("No model here: `liquid convert` makes one.", err=True)


def find(folders: list[Path]) -> Iterator[ModelInfo]:
    """The bundled model, those in the Hugging Face cache, and those in and below folders."""
    from liquid_mlx.hub import DEMO, resolve

    yield from _read(DEMO, "bundled", resolve(DEMO))
    cache = hub_cache()
    for repo in sorted(cache.glob("models--*")) if cache.is_dir() else []:
        name = repo.name.removeprefix("models--").replace("--", "/")
        snapshots = sorted(repo.glob("snapshots/*"), key=lambda path: path.stat().st_mtime)
        if snapshots:
            yield from _read(name, "cached", snapshots[-1])
    for folder in folders:
        folder = folder.expanduser()
        below = (
            sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        )
        for path in [folder, *below]:
            yield from _read(str(path), "converted", path)


def hub_cache() -> Path:
    """Hugging Face's cache of repos; as huggingface_hub finds it, without importing that."""
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface"
    )
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()


def _read(name: str, kind: str, folder: Path) -> Iterator[ModelInfo]:
    """The model of a folder, if it is a converted one."""
    from liquid_mlx.config import LiquidConfig
    from liquid_mlx.errors import LiquidError

    try:
        config = LiquidConfig.read(folder)
    except LiquidError:
        return
    yield ModelInfo(
        name=name,
        kind=kind,
        folder=folder,
        bytes=weight_bytes(folder),
        bits=bits(config.quantization, config.dtype),
        context=config.backbone.max_position_embeddings,
        sizes=tuple(str(size) for size in config.sizes),
    )


def weight_bytes(folder: Path) -> int:
    """Size of the weights, the image tokenizer's too."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def bits(quantization: Any, dtype: str) -> str:
    """``4`` for a quantized model, else its dtype."""
    return str(quantization["bits"]) if quantization else dtype


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def memory() -> int:
    """Bytes that a model may use on this machine."""
    from liquid_mlx.memory import available

    return available()


def _delete(name: str, found: list[ModelInfo], yes: bool) -> None:
    from liquid_mlx.errors import HubError
    from liquid_mlx.hub import DEMO

    if name == DEMO:
        raise HubError("The demo model belongs to the program and cannot be deleted.")
    model = next((model for model in found if model.name == name), None)
    if model is None:
        raise HubError(f"There is no model {name!r} here: `liquid models` lists them.")
    folder = model.folder.parents[1] if model.kind == "cached" else model.folder
    question = f"Delete {folder} ({gigabytes(model.bytes)})?"
    if not yes and not typer.confirm(question, err=True):
        return
    shutil.rmtree(folder)
    print(folder)
