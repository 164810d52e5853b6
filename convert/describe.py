"""A plan, and what came of it, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from liquid_mlx.convert.estimate import estimate, smallest_mac
from liquid_mlx.convert.parts import Part
from liquid_mlx.convert.planning import Plan


@dataclass(frozen=True)
class Verification:
    """How far a converted model is from its source.

    ``errors`` is |written - source| / |source| by kind of part, over rows spread through each
    matrix; ``cosine`` the lowest of the logits' cosines over a few positions, ``agreement`` the
    share of positions with the same most likely id, ``pixels`` the largest difference of a decoded
    patch on the scale 0 to 255.
    """

    errors: Mapping[str, float] = field(default_factory=dict)
    cosine: float = 1.0
    agreement: float = 1.0
    pixels: float = 0.0


KINDS = {
    "embed_tokens": "embedding",
    "lm_head": "head",
    "self_attn": "attention",
    "mlp": "MLP",
}


def kind_of(part: Part) -> str:
    """The group that a part of the language model is shown in."""
    return next((kind for key, kind in KINDS.items() if f"{key}." in part.name), "norms")


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; sizes in bytes."""
    memory = estimate(plan)
    return {
        "source": dict(plan.config.source),
        "model_type": plan.config.backbone.model_type,
        "parameters": plan.parameters,
        "dtype": plan.config.dtype,
        "bits_per_weight": round(plan.bits_per_weight, 3),
        "source_bytes": plan.source_bytes,
        "bytes": plan.nbytes,
        "parts": _groups(plan),
        "sizes": [str(size) for size in plan.config.sizes],
        "memory": {
            "weights": memory.weights,
            "cache": memory.cache,
            "decoding": memory.decoding,
            "total": memory.total,
            "low_ram": memory.low_ram,
            "smallest_mac_gb": smallest_mac(memory.total),
            "smallest_mac_gb_low_ram": smallest_mac(memory.low_ram),
        },
        "notes": list(plan.notes),
    }


def plan_lines(plan: Plan) -> list[str]:
    """The plan as lines of text."""
    memory = estimate(plan)
    groups = _groups(plan)
    return [
        f"{plan.config.backbone.model_type}, {_count(plan.parameters)} parameters, "
        f"{plan.config.vqgan.n_embed} codes, {plan.config.sizes[0]} pictures",
        *(
            f"  {g['part']:<16} {_count(g['parameters']):>8}   {g['form']:<38} "
            f"{gigabytes(g['bytes']):>9}"
            for g in groups
        ),
        f"{gigabytes(plan.source_bytes)} become {gigabytes(plan.nbytes)}: "
        f"{plan.bits_per_weight:.2f} bits per weight of the language model",
        f"To draw one picture: about {gigabytes(memory.total)} of memory, {_mac(memory.total)}; "
        f"with --low-ram {gigabytes(memory.low_ram)}, {_mac(memory.low_ram)} (estimates)",
        *(f"Note: {note}" for note in plan.notes),
    ]


def _mac(needed: int) -> str:
    size = smallest_mac(needed)
    return f"a Mac with {size} GB or more" if size else "more than any Mac has"


def verification_lines(found: Verification) -> list[str]:
    """The comparison with the source as lines of text."""
    errors = ", ".join(f"{kind} {error:.2%}" for kind, error in found.errors.items() if error)
    return [
        f"Compared with the source: logits' cosine {found.cosine:.5f} or more, same first choice "
        f"at {found.agreement:.0%} of positions, pixels within {found.pixels:.2g} of 255",
        f"Relative error of weights: {errors or 'none'}",
    ]


def _groups(plan: Plan) -> list[dict[str, Any]]:
    """One row for each kind of part and each form that parts of it take."""
    rows: dict[tuple[str, str], list[Part]] = {}
    for part in plan.parts:
        rows.setdefault((kind_of(part), form_of(part)), []).append(part)
    for part in plan.vqgan_parts:
        rows.setdefault(("image tokenizer", part.dtype), []).append(part)
    return [
        {
            "part": kind,
            "form": form,
            "tensors": len(parts),
            "parameters": _sum(part.parameters for part in parts),
            "bytes": _sum(part.nbytes for part in parts),
        }
        for (kind, form), parts in rows.items()
    ]


def form_of(part: Part) -> str:
    """What becomes of it, in a few words."""
    if part.form is None:
        return part.dtype
    form = part.form
    name = f"{form.bits} bits" if form.mode == "affine" else form.mode
    return f"{name}, groups of {form.group_size}"


def _sum(values: Iterable[int]) -> int:
    return sum(values)


def _count(number: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def gigabytes(number: float) -> str:
    """Bytes as people write them."""
    for size, unit in ((1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number / 1e3:.1f} kB"
