"""``liquid info``: what a model is, or what an image was generated with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from liquid_mlx.config import LiquidConfig
from liquid_mlx.files import user_path
from liquid_mlx.hub import resolve

from ..printer import gigabytes, print_fields, print_json, print_table
from ..startup import settings
from ..terminal import one_line
from .models import bits, needed_bytes, weight_bytes

_LABELS = {"codes": "image tokens", "pictures": "image sizes"}


def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|PNG", help="A model, or a generated PNG.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Describe a model, or show the settings inside a PNG. The model is not loaded."""
    path = user_path(name)
    if path.is_file():
        from liquid_mlx.images import read_settings  # numpy and Pillow, which help does without

        values = dict(read_settings(path))
    else:
        values = _model(name)
    if as_json:
        print_json(values, indent=2)
    else:
        print_fields(
            {_LABELS.get(key, key).replace("_", " "): _text(values[key]) for key in values}
        )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _model(name: str) -> dict[str, Any]:
    from liquid_mlx.memory import available  # MLX, which help does without

    folder = resolve(name)
    config = LiquidConfig.read(folder)
    backbone, vqgan = config.backbone, config.vqgan
    rows, columns = config.grid(config.sizes[0])
    recommended = config.recommended
    return {
        "model": name,
        "folder": str(folder),
        "weights": gigabytes(weight_bytes(folder)),
        "bits": bits(config.quantization, config.dtype),
        "memory_needed": gigabytes(needed_bytes(folder, config)),
        "machine_memory": gigabytes(available()),
        "architecture": backbone.model_type,
        "layers": backbone.num_hidden_layers,
        "hidden_size": backbone.hidden_size,
        "heads": f"{backbone.num_attention_heads}, {backbone.num_key_value_heads} key-value",
        "vocabulary": f"{backbone.vocab_size} ({config.image_offset} text, {vqgan.n_embed} image)",
        "context": backbone.max_position_embeddings,
        "pictures": [str(size) for size in config.sizes],
        "codes": f"{rows} x {columns} for {config.sizes[0]}, {vqgan.factor} pixels each",
        "recommended": (
            f"guidance {recommended.guidance:g}, temperature {recommended.temperature:g}, "
            f"top-k {recommended.top_k}, top-p {recommended.top_p:g}"
        ),
        "licence": _licence(folder),
        "source": ", ".join(f"{key} {value}" for key, value in config.source.items()) or "unknown",
    }


def _licence(folder: Path) -> str:
    """The licence that the model card names in its first lines."""
    card = folder / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            head = file.read(4096)
        for line in head.splitlines():
            key, colon, value = line.partition(":")
            if colon and key.strip() == "license" and value.strip():
                return value.strip()
    return "not stated"


def config(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show the settings in force, and where each is from.

    Flags win over LIQUID_* variables, these over the config file, this over the defaults.
    """
    from ..main import COMMANDS, load_command  # the application, which imports this

    path = settings.config_path()
    values = settings.read_config(path)
    settings.check(values, COMMANDS, path)
    shared: dict[str, settings.Setting] = {}
    own: dict[str, settings.Setting] = {}
    for name in COMMANDS:
        for key, _, found in settings.settings(name, load_command(name), values, path):
            alone = found.source.endswith("]") or found.source.startswith(f"LIQUID_{name.upper()}_")
            (own if alone else shared)[f"{name}.{key}" if alone else key] = found
    rows = {key: shared.get(key) or settings.Setting(None, "default") for key in settings.SHARED}
    rows |= own
    if as_json:
        found_rows = {key: {"value": row.value, "from": row.source} for key, row in rows.items()}
        print_json({"file": str(path), "settings": found_rows}, indent=2)
        return
    there = "" if path.is_file() else "  (not there)"
    print(f"{one_line(str(path))}{there}\n")
    shown = [
        [key, settings.SHARED[key] if row.value is None else str(row.value), row.source]
        for key, row in rows.items()
    ]
    print_table(["SETTING", "VALUE", "FROM"], shown)
