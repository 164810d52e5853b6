"""The model card: the ``README.md`` of a converted folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liquid_mlx.display import sentence
from liquid_mlx.hub import is_repo_id

from ..planning.plan import Plan
from ..report import gigabytes, plan_to_dict
from ..verify import Verification

_LICENCE = re.compile(r"^(license(?:_name|_link)?): *([\w./:-]+) *$", re.MULTILINE)
_BASES = {"gemma": "Gemma", "gemma2": "Gemma 2", "llama": "Llama", "qwen2": "Qwen2.5"}


def write_card(plan: Plan, folder: Path, found: Verification | None, name: str) -> None:
    """Write ``folder/README.md`` about the model called ``name`` that was converted into it."""
    base = _BASES[plan.config.backbone.model_type]
    source, name = sentence(str(plan.config.source.get("name", "a checkpoint"))), sentence(name)
    head = [
        "---",
        "library_name: mlx",
        "pipeline_tag: any-to-any",
        *_licence_lines(plan.origin.folder / "README.md"),
        *([f"base_model: {source}"] if is_repo_id(source) else []),
        *(["base_model_relation: quantized"] if is_repo_id(source) and _quantized(plan) else []),
        "tags:",
        *(f"- {tag}" for tag in ("mlx", "liquid", "text-to-image", "visual-question-answering")),
        "---",
    ]
    body = [
        f"# {name}",
        "",
        f"{source}, converted for liquid-mlx: Liquid "
        "([arXiv 2412.04332](https://arxiv.org/abs/2412.04332)) is one language model that draws "
        "pictures, answers questions about them, and chats.",
        "",
        *_usage(name),
        *_settings(plan),
        *_inside(plan),
        *(_measured(found) if found else []),
        "## Licence",
        "",
        f"The weights stay under the licence of the checkpoint that they come from, and of what it "
        f"was made from: {base} for the language model, and the image tokenizer of Chameleon, "
        "which has a licence of its own.",
    ]
    (folder / "README.md").write_text("\n".join([*head, *body]) + "\n", encoding="utf-8")


def _quantized(plan: Plan) -> bool:
    return any(part.quantization for part in plan.parts)


def _licence_lines(readme: Path) -> list[str]:
    """What the source's own card says about its licence."""
    if not readme.is_file():
        return []
    with readme.open(encoding="utf-8", errors="replace") as file:
        text = file.read(1 << 16)
    front = text[3:].partition("\n---")[0] if text.startswith("---") else ""
    return [f"{key}: {value}" for key, value in _LICENCE.findall(front)]


def _usage(name: str) -> list[str]:
    return [
        "```sh",
        f'liquid generate "a red circle" --model {name} -o circle.png',
        f'liquid ask circle.png "What colour is it?" --model {name}',
        "```",
        "```python",
        "from liquid_mlx import load",
        "",
        f'liquid = load("{name}")',
        'liquid.generate_image("a red circle")[0].save("circle.png")',
        "```",
        "The language model alone also opens in `mlx_lm`.",
        "",
    ]


def _settings(plan: Plan) -> list[str]:
    values = plan.config.recommended
    sizes = ", ".join(str(size) for size in plan.config.sizes)
    return [
        "## Settings",
        "",
        f"Pictures of {sizes} pixels; guidance {values.guidance:g}, temperature "
        f"{values.temperature:g}, top-k {values.top_k}, top-p {values.top_p:g}.",
        "",
    ]


def _inside(plan: Plan) -> list[str]:
    rows: Sequence[dict[str, Any]] = plan_to_dict(plan)["parts"]
    return [
        "## What is inside",
        "",
        f"{gigabytes(plan.nbytes)}, {plan.bits_per_weight:.2f} bits per weight of the language "
        "model.",
        "",
        "| part | stored as | size |",
        "| --- | --- | --- |",
        *(f"| {r['part']} | {r['form']} | {gigabytes(r['bytes'])} |" for r in rows),
        "",
        *(f"- {note}" for note in plan.notes),
        *([""] if plan.notes else []),
    ]


def _measured(found: Verification) -> list[str]:
    return [
        "## Measured against the source",
        "",
        f"Logits behind the first tokens of a picture: cosine {found.cosine:.5f} or more, the "
        f"same most likely id at {found.agreement:.0%} of positions. Decoded pixels differ by at "
        f"most {found.pixels:.2g} of 255.",
        "",
        "| part | relative error of weights |",
        "| --- | --- |",
        *(f"| {kind} | {error:.2%} |" for kind, error in found.errors.items()),
        "",
    ]
